//! Composition: the parts put together, the loop, the graceful stop.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use crate::clock::Clock;
use crate::config::Config;
use crate::http::{Context, Limits};
use crate::imds::Imds;
use crate::metrics::{Build, Metrics};
use crate::poller::Poller;
use crate::process::{Suspect, Watch};
use crate::source::Source;
use crate::state::{Report, Shared, State};
use crate::statefile::StateFile;
use crate::web::Door;
use crate::{http, journal, metrics, systemd};

/// Where to serve, and for whom.
pub struct Listeners {
    /// For all pages.
    pub pages: TcpListener,
    /// Who may ask for them.
    pub door: Door,
    /// For the probes alone, whoever asks.
    pub probes: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(pages: TcpListener) -> Self {
        Self { pages, door: Door::default(), probes: None }
    }
}

/// Resolves from IMDS and serves on `listeners`, until `stop`.
///
/// # Errors
/// When the HTTP client cannot be built.
pub async fn run(
    config: Config,
    listeners: impl Into<Listeners>,
    clock: Arc<dyn Clock>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let imds = Imds::new(config.imds.clone(), Arc::clone(&clock)).map_err(io::Error::other)?;
    serve(config, imds, listeners, clock, |_| {}, stop).await;
    Ok(())
}

/// As [`run`], from any source; `told` hears of every finished poll.
pub async fn serve(
    config: Config,
    source: impl Source,
    listeners: impl Into<Listeners>,
    clock: Arc<dyn Clock>,
    mut told: impl FnMut(&Report),
    stop: impl Future<Output = ()>,
) {
    let started_at = clock.now();
    let state_file = config.state_file.clone().map(StateFile::new);
    let past = state_file.as_ref().and_then(|file| file.load(started_at));
    let fresh = State::new(started_at);
    let state = Shared::new(match past {
        Some(past) => fresh.with_past(past),
        None => fresh,
    });
    let mut poller = Poller::new(source, Arc::clone(&clock), state.clone(), config.poll_interval);
    let metrics = Arc::new(Metrics::new(
        metrics::Options {
            poll_interval: config.poll_interval,
            expected_role: config.expected_role.clone(),
            process_metrics: true,
        },
        Build::THIS,
    ));
    let watch = config.watch.clone().map(|pattern| Arc::new(Mutex::new(Watch::new(pattern))));

    let context = Arc::new(Context {
        state: state.clone(),
        pulse: poller.pulse(),
        exposition: exposition(&metrics, &state, watch.as_ref(), &clock),
        clock,
        watch: watch.clone(),
        endpoint: config.imds.endpoint.as_str().to_owned(),
    });
    let Listeners { pages, door, probes } = listeners.into();
    let (stop_server, server_stopped) = watch::channel(());
    let stopped = |mut server_stopped: watch::Receiver<()>| async move {
        let _sender_gone = server_stopped.changed().await;
    };
    let limits = Limits::default();
    let server =
        tokio::spawn(http::serve(pages, http::router(&context), limits, door, stopped(server_stopped.clone())));
    let probes = probes.map(|probes| {
        let router = http::probe_router(&context);
        tokio::spawn(http::serve(probes, router, limits, Door::default(), stopped(server_stopped)))
    });
    systemd::ready();
    let watchdog = tokio::spawn(systemd::feed_watchdog(poller.pulse()));
    let (save, latest) = watch::channel(None);
    let writer = state_file.map(|file| (tokio::spawn(StateFile::keep(file.clone(), latest)), file));

    let mut stop = std::pin::pin!(stop);
    loop {
        let report = tokio::select! {
            report = poller.turn() => report,
            () = &mut stop => break,
        };
        if let Some(watch) = &watch {
            look_for_suspects(watch, &state, &report);
        }
        journal::poll(&report, &state.lock(), config.expected_role.as_ref());
        metrics.record(&report);
        with_facts(&state, watch.as_ref(), |state, suspects| metrics.prepare(state, suspects));
        systemd::polled(&state.lock());
        if let Some((_, file)) = &writer {
            save.send_replace(Some(file.saved(&state.lock())));
        }
        told(&report);
    }

    info!("stopping");
    systemd::stopping();
    drop(stop_server);
    drop(save);
    let _panicked = server.await;
    if let Some(probes) = probes {
        let _panicked = probes.await;
    }
    if let Some((writer, _)) = writer {
        let _out_of_time = tokio::time::timeout(Limits::default().drain, writer).await;
    }
    watchdog.abort();
}

fn exposition(
    metrics: &Arc<Metrics>,
    state: &Shared,
    watch: Option<&Arc<Mutex<Watch>>>,
    clock: &Arc<dyn Clock>,
) -> Box<dyn Fn() -> [Bytes; 2] + Send + Sync> {
    let (metrics, state, watch, clock) = (Arc::clone(metrics), state.clone(), watch.cloned(), Arc::clone(clock));
    Box::new(move || with_facts(&state, watch.as_ref(), |state, suspects| metrics.parts(state, suspects, clock.now())))
}

/// Hands out what is known at this moment; the suspects are those of the last look.
fn with_facts<T>(
    state: &Shared,
    watch: Option<&Arc<Mutex<Watch>>>,
    use_them: impl FnOnce(&State, Option<&[Suspect]>) -> T,
) -> T {
    let watch = watch.map(|watch| watch.lock().unwrap_or_else(PoisonError::into_inner));
    use_them(&state.lock(), watch.as_ref().map(|watch| watch.suspects()))
}

fn look_for_suspects(watch: &Mutex<Watch>, state: &Shared, report: &Report) {
    let windows: Vec<_> = state.lock().outages().ended().copied().collect();
    let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
    let before = watch.suspects().to_vec();
    watch.scan(&windows, report.at);
    journal::suspects(&before, watch.suspects());
}
