//! Where the system has no threads left: the exporter does not start without its server, and goes on with what it has.

use tokio::process::Command;

use crate::support::cgroup::Cgroup;
use crate::support::program::{ExporterProcess, in_shell, output, program_with_imds};
use crate::support::request::{get_until, send};
use crate::support::scrape::Scrape;
use crate::support::simulator::start_simulator;
use crate::support::web_config::{WebConfigFile, authorization, users};

/// The command in this group.
fn in_group(group: &Cgroup, inner: &Command) -> Command {
    in_shell(&format!("echo $$ > {} && exec", group.processes().display()), inner)
}

#[tokio::test]
#[ignore = "needs root and control groups"]
async fn without_a_thread_for_its_server_the_exporter_ends_with_an_error() {
    let simulator = start_simulator().await;
    let group = Cgroup::create("pids", "").expect("root can make a group");
    group.limit_pids(1);
    let output = output(in_group(&group, &program_with_imds(simulator.address(), &[]))).await;
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "needs root and control groups"]
async fn without_threads_for_more_polls_scrapes_and_passwords_go_on() {
    let simulator = start_simulator().await;
    let group = Cgroup::create("pids", "").expect("root can make a group");
    let config = WebConfigFile::new();
    config.write(&users(4));
    let mut inner = program_with_imds(simulator.address(), &[]);
    inner.env("IMDS_EXPORTER_WEB_CONFIG_FILE", config.path()).env("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", "127.0.0.1:0");
    inner.env("IMDS_EXPORTER_WATCH_PROCESSES", "there-is-no-such-process");
    inner.env("IMDS_EXPORTER_STATE_FILE", config.path().with_file_name("state.json"));
    let exporter = ExporterProcess::start_with(in_group(&group, &inner)).await;
    get_until(exporter.probe_address.expect("it has one"), "/-/startup", |response| response.status == 200).await;
    group.limit_pids(1);
    let ask = async |password: &str| {
        let head = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        send(exporter.address, &[head, &authorization(password), "\r\n"].concat()).await
    };
    for _ in 0..3 {
        assert_eq!(ask("wrong").await.status, 401);
    }
    let polls = async || Scrape(ask("right").await.body().to_owned()).polls();
    let before = polls().await;
    while polls().await < before + 3 {}
}
