//! The commands that talk to IMDS or to the exporter that runs here.

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{error, field, info};

use super::{EXIT_USAGE, local, tell};
use crate::app::Listeners;
use crate::check::Check;
use crate::clock::{Clock, SystemClock, monotonic};
use crate::config::Config;
use crate::http::{Page, WAIT_USER_AGENT};
use crate::imds::Imds;
use crate::metrics::Build;
use crate::model::{Credential, Failure};
use crate::outage::Window;
use crate::pace;
use crate::source::Source;
use crate::web::Door;
use crate::{app, log};

/// Sockets that are looked at in one go; the others come next. tokio's 1,024 would be resident.
const EVENTS_PER_TICK: usize = 64;

const AGENT: &str = "imds-exporter";

/// Polls and serves until SIGTERM or Ctrl-C.
pub(super) fn serve(config: Config) -> ExitCode {
    log::set_up(&config.log);
    block_on(async {
        let Build { version, revision, .. } = Build::THIS;
        let door = match door(&config) {
            Ok(door) => door,
            Err(mistake) => {
                eprintln!("imds-exporter: the configuration is wrong:\nIMDS_EXPORTER_WEB_CONFIG_FILE: {mistake}");
                return Ok(EXIT_USAGE.into());
            }
        };
        let Some(listener) = bind(config.listen, "IMDS_EXPORTER_LISTEN_ADDRESS").await else {
            return Ok(ExitCode::FAILURE);
        };
        let probes = match config.probe_listen {
            Some(address) => match bind(address, "IMDS_EXPORTER_PROBE_LISTEN_ADDRESS").await {
                Some(probes) => Some(probes),
                None => return Ok(ExitCode::FAILURE),
            },
            None => None,
        };
        let probe_address = probes.as_ref().map(TcpListener::local_addr).transpose()?.map(field::display);
        info!(
            version,
            revision,
            address = %listener.local_addr()?,
            probe_address,
            endpoint = config.imds.endpoint.as_str(),
            poll_interval = %humantime::format_duration(config.poll_interval),
            timeout = %humantime::format_duration(config.imds.timeout),
            "serving"
        );
        let listeners = Listeners { pages: listener, door, probes };
        app::run(config, listeners, Arc::new(SystemClock), stop_signal()?).await?;
        Ok(ExitCode::SUCCESS)
    })
}

#[cfg(feature = "web-config")]
fn door(config: &Config) -> Result<Door, String> {
    config.web_config_file.as_deref().map_or_else(|| Ok(Door::default()), Door::guarded)
}

#[cfg(not(feature = "web-config"))]
#[expect(clippy::unnecessary_wraps, reason = "the other form can fail")]
fn door(_: &Config) -> Result<Door, String> {
    Ok(Door::default())
}

async fn bind(address: SocketAddr, variable: &str) -> Option<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.inspect_err(|error| error!(%address, %error, "cannot listen: is {variable} taken?")).ok()
}

/// Where the probes are answered; there they need neither TLS nor a password.
fn probes(config: &Config) -> SocketAddr {
    config.probe_listen.unwrap_or(config.listen)
}

/// One resolution, told whole.
pub(super) fn check(config: &Config, json: bool) -> ExitCode {
    block_on(async {
        let resolution = client(config)?.resolve().await;
        let check = Check {
            endpoint: config.imds.endpoint.as_str(),
            resolution: &resolution,
            at: SystemClock.now(),
            expected_role: config.expected_role.as_ref(),
            last_outage: last_outage_known_here(config),
        };
        tell(&if json { check.json() } else { check.text() });
        Ok(check.verdict().exit_code().into())
    })
}

/// The last outage that the exporter knows of which runs here, if one does.
fn last_outage_known_here(config: &Config) -> Option<Window> {
    #[derive(Deserialize)]
    struct Known {
        outages: Vec<Window>,
    }
    let (_, body) = local::get(config.listen, "/api/v1/status", AGENT).ok()?;
    serde_json::from_str::<Known>(&body).ok()?.outages.pop()
}

/// Waits until credentials resolve; tells changes, not tries.
pub(super) fn wait(config: &Config, time: Duration) -> ExitCode {
    block_on(async {
        let mut imds = client(config)?;
        let mut told: Option<Failure> = None;
        let deadline = monotonic().checked_add(time).unwrap_or_else(far_future);
        tell_exporter_here(config);
        loop {
            let began = monotonic();
            let Ok(resolution) = timeout_at(deadline, imds.resolve()).await else { break };
            let failure = match resolution.outcome {
                Ok(credential) => {
                    tell_exporter_here(config);
                    let Credential { role, expiration, .. } = credential;
                    tell_now(&format_args!("credentials resolve: role {role}, until {expiration}"));
                    return Ok(ExitCode::SUCCESS);
                }
                Err(failure) => failure,
            };
            if told != Some(failure) {
                let (kind, step) = (failure.kind, failure.step);
                tell_now(&format_args!("waiting: {kind} at the step {step}: {}", kind.when()));
                told = Some(failure);
            }
            let next = began + pace::delay(pace::SHORTEST_INTERVAL, true, fastrand::f64());
            sleep_until(next.min(deadline)).await;
        }
        match told {
            Some(Failure { kind, step }) => {
                tell_now(&format_args!("the time is up: {kind} at the step {step}. {}", kind.action()));
            }
            None => tell_now(&"the time is up before the first answer"),
        }
        Ok(ExitCode::FAILURE)
    })
}

/// A line of what goes on, with the time.
fn tell_now(what: &dyn Display) {
    tell(&format_args!("{:.0} {what}\n", SystemClock.now()));
}

/// If an exporter runs here: what waits now creates its clients only afterwards, and is not to be called stuck.
fn tell_exporter_here(config: &Config) {
    let _no_exporter = local::get(probes(config), Page::Startup.path(), WAIT_USER_AGENT);
}

fn far_future() -> Instant {
    monotonic() + Duration::from_hours(24 * 365)
}

/// Whether the exporter that runs here says that it is healthy.
pub(super) fn healthcheck(config: &Config) -> ExitCode {
    match local::get(probes(config), "/-/healthy", AGENT) {
        Ok((200, _)) => ExitCode::SUCCESS,
        Ok((status, body)) => {
            eprintln!("imds-exporter: unhealthy: HTTP {status}: {}", body.trim());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("imds-exporter: no answer from {}: {error}", config.listen);
            ExitCode::FAILURE
        }
    }
}

fn client(config: &Config) -> io::Result<Imds> {
    Imds::new(config.imds.clone(), Arc::new(SystemClock)).map_err(io::Error::other)
}

/// Runs a command on one thread; an error of the system ends it with its text.
pub(super) fn block_on(command: impl Future<Output = io::Result<ExitCode>>) -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().max_io_events_per_tick(EVENTS_PER_TICK).build();
    let ended = runtime.and_then(|runtime| runtime.block_on(command));
    ended.unwrap_or_else(|error| {
        eprintln!("imds-exporter: {error}");
        ExitCode::FAILURE
    })
}

/// Ends with SIGTERM or Ctrl-C.
// Not tokio's: for each of 128 signals it keeps what would be resident.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut came, comes) = UnixStream::pair()?;
    let comes = comes.into_std()?;
    pipe::register(SIGINT, comes.try_clone()?)?;
    pipe::register(SIGTERM, comes)?;
    Ok(async move {
        // An error would come with the signal's end of the pair, which this process holds for good.
        let _one = came.read_u8().await;
    })
}
