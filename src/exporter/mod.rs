//! The exporter: its parts put together, the poll loop, and the graceful stop.

mod event_log;
mod persistence;
pub mod poll_loop;
mod server;
mod signed_call;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use regex_lite::Regex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::Config;
use crate::domain::state::{PollReport, Shared, State};
use crate::domain::workload::Workload;
use crate::domain::{Moment, Source};
use crate::http::{Context, LatestScan};
use crate::imds::Imds;
use crate::metrics::{self, Build, Metrics};
use crate::platform::clock::Clock;
use crate::platform::state_file::StateFile;
use crate::platform::systemd;
use crate::sts::Sts;
use crate::workload::scan;
use persistence::Persistence;
use poll_loop::Poller;
pub use server::Listeners;
use server::Server;
use signed_call::SignedCaller;

/// How long a stop waits for the disk: less than any process manager waits for the exporter.
const SAVED_IN: Duration = Duration::from_secs(2);

/// Polls IMDS and serves on `listeners`, until `stop`.
///
/// # Errors
/// When the HTTP client cannot be built, a file of authorities cannot be read, or a part of the exporter ends.
pub async fn run(
    config: Config,
    listeners: Listeners,
    clock: Arc<dyn Clock>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let imds = Imds::new(config.imds.clone(), Arc::clone(&clock));
    run_with(config, imds, listeners, clock, |_| {}, stop).await
}

/// Like [`run`], with any source; `on_poll` is called after every poll.
///
/// # Errors
/// When a file of authorities cannot be read, or a part of the exporter ends.
pub async fn run_with(
    config: Config,
    source: impl Source,
    listeners: Listeners,
    clock: Arc<dyn Clock>,
    mut on_poll: impl FnMut(&PollReport),
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let sts = sts(&config, &clock)?;
    let persistence = config.state_file.clone().map(StateFile::open).transpose()?.map(Persistence::new);
    let state = Shared::new(initial_state(&config, persistence.as_ref(), clock.moment()));
    let metrics = Arc::new(metrics(&config, sts.is_some()));
    let latest_scan = config.watch.as_ref().map(|_| LatestScan::default());
    let signed_caller = sts.map(|sts| SignedCaller {
        sts,
        state: state.clone(),
        metrics: Arc::clone(&metrics),
        clock: Arc::clone(&clock),
    });
    let longest_poll = config.imds.longest_poll();
    let mut poller = Poller::new(source, Arc::clone(&clock), state.clone(), config.poll_interval, longest_poll);

    let context = Arc::new(Context {
        state: state.clone(),
        heartbeat: poller.heartbeat(),
        metrics: Arc::clone(&metrics),
        clock: Arc::clone(&clock),
        latest_scan: latest_scan.clone(),
        endpoint: config.imds.endpoint.as_str().to_owned(),
    });
    let mut server = Server::start(listeners, context)?;
    systemd::ready();
    let watchdog = tokio::spawn(systemd::notify_watchdog(poller.heartbeat()));
    let (save, latest) = watch::channel(None);
    let writer = persistence.map(|file| (tokio::spawn(file.clone().keep(latest)), file));
    let (after_poll, polls) = watch::channel(());
    // One task where processes are watched, else none.
    let mut scans = JoinSet::new();
    if let (Some(pattern), Some(latest)) = (config.watch.clone(), latest_scan) {
        scans.spawn(watch_processes(pattern, polls, latest, state.clone(), Arc::clone(&metrics)));
    }

    let mut stop = std::pin::pin!(stop);
    loop {
        let (report, signing) = tokio::select! {
            finished = poller.next_poll(|report| metrics.record(report)) => finished,
            () = &mut stop => break,
            error = server.ended() => return Err(error),
            Some(_) = scans.join_next() => return Err(io::Error::other("the scans of the processes ended")),
        };
        if let (Some(caller), Some(signing), Ok(credential)) = (&signed_caller, signing, &report.resolution.outcome) {
            caller.submit(credential, signing);
        }
        // A copy: nothing that can block is done while the state is locked.
        let after = state.lock().clone();
        event_log::poll(&report, &after, config.expected_role.as_ref());
        systemd::polled(&after);
        if let Some((_, file)) = &writer {
            save.send_replace(Some(file.saved(&after, false)));
        }
        after_poll.send_replace(());
        on_poll(&report);
    }

    info!("stopping");
    systemd::stopping();
    drop(save);
    drop(scans);
    // Before the server stops, which may take as long as a client or a disk lets it.
    if let Some((writer, file)) = writer {
        writer.abort();
        let last = file.saved(&state.lock(), true);
        let written = tokio::task::spawn_blocking(move || file.write_last(&last));
        match tokio::time::timeout(SAVED_IN, written).await {
            Ok(Ok(Err(error))) => warn!(%error, "the state file cannot be written"),
            Err(_out_of_time) => warn!("the disk is slow: the state file may not say that the exporter was stopped"),
            Ok(_) => {}
        }
    }
    server.stop().await;
    watchdog.abort();
    Ok(())
}

/// The state before the first poll: with what an earlier run saved.
fn initial_state(config: &Config, persistence: Option<&Persistence>, now: Moment) -> State {
    let new = State::new(config.environment, now);
    let new = match config.signed_call_interval {
        Some(interval) => new.with_signed_calls(interval),
        None => new,
    };
    let Some(persistence) = persistence else { return new };
    let state = persistence.restore(new, now.since_boot);
    if config.environment.workload != Workload::Independent
        && let Err(error) = persistence.write(&persistence.saved(&state, false))
    {
        // Without the file, a restart of the exporter alone would look like a start of both.
        warn!(%error, "the state file cannot be written: at_start is not exported");
        return state.without_workload();
    }
    state
}

fn metrics(config: &Config, with_signed_calls: bool) -> Metrics {
    let (poll_interval, expected_role) = (config.poll_interval, config.expected_role.clone());
    let options = metrics::MetricsOptions { poll_interval, expected_role, process_metrics: true };
    let metrics = Metrics::new(options, Build::THIS);
    if with_signed_calls { metrics.with_signed_calls() } else { metrics }
}

fn sts(config: &Config, clock: &Arc<dyn Clock>) -> io::Result<Option<Sts>> {
    let Some(options) = config.signed_call_interval.and(config.sts.as_ref().ok()) else { return Ok(None) };
    Sts::new(options, Arc::clone(clock)).map(Some).map_err(io::Error::other)
}

/// Scans the processes after each poll, on a separate thread: processes can make a scan take long.
async fn watch_processes(
    pattern: Regex,
    mut polls: watch::Receiver<()>,
    latest: LatestScan,
    state: Shared,
    metrics: Arc<Metrics>,
) {
    let pattern = Arc::new(pattern);
    while polls.changed().await.is_ok() {
        let (outages, booted_at): (Vec<_>, _) = {
            let state = state.lock();
            (state.outages().past().copied().collect(), state.booted_at())
        };
        let pattern = Arc::clone(&pattern);
        let scanned = tokio::task::spawn_blocking(move || scan(&pattern, &outages, booted_at));
        let Ok(found) = scanned.await else { return };
        let before = latest.replace(found.clone());
        event_log::watched(before.as_ref(), &found);
        metrics.changed();
    }
}
