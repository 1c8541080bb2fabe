//! The exporter: its parts put together, the poll loop, and the graceful stop.

mod event_log;
pub mod poll_loop;

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use crate::config::Config;
use crate::domain::Source;
use crate::domain::state::{Report, Shared, State};
use crate::http::auth::Auth;
use crate::http::{self, Context, Limits};
use crate::imds::Imds;
use crate::metrics::{self, Build, Metrics};
use crate::platform::clock::Clock;
use crate::platform::state_file::StateFile;
use crate::platform::systemd;
use crate::workload::{ProcessWatcher, SuspectProcess};
use poll_loop::Poller;

/// Where to serve, and to whom.
pub struct Listeners {
    /// For all pages.
    pub pages: TcpListener,
    /// Who may read them.
    pub auth: Auth,
    /// For the probes alone, without TLS or a password.
    pub probes: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(pages: TcpListener) -> Self {
        Self { pages, auth: Auth::default(), probes: None }
    }
}

/// Polls IMDS and serves on `listeners`, until `stop`.
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
    run_with(config, imds, listeners, clock, |_| {}, stop).await;
    Ok(())
}

/// Like [`run`], with any source; `on_poll` is called after every poll.
pub async fn run_with(
    config: Config,
    source: impl Source,
    listeners: impl Into<Listeners>,
    clock: Arc<dyn Clock>,
    mut on_poll: impl FnMut(&Report),
    stop: impl Future<Output = ()>,
) {
    let started_at = clock.now();
    let state_file = config.state_file.clone().map(StateFile::new);
    let restored = state_file.as_ref().and_then(|file| file.load(started_at));
    let fresh = State::new(started_at);
    let state = Shared::new(match restored {
        Some(restored) => fresh.with_restored(restored),
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
    let watcher = config.watch.clone().map(|pattern| Arc::new(Mutex::new(ProcessWatcher::new(pattern))));

    let context = Arc::new(Context {
        state: state.clone(),
        heartbeat: poller.heartbeat(),
        exposition: exposition(&metrics, &state, watcher.as_ref(), &clock),
        clock,
        watcher: watcher.clone(),
        endpoint: config.imds.endpoint.as_str().to_owned(),
    });
    let Listeners { pages, auth, probes } = listeners.into();
    let (stop_server, server_stopped) = watch::channel(());
    let stopped = |mut server_stopped: watch::Receiver<()>| async move {
        let _sender_gone = server_stopped.changed().await;
    };
    let limits = Limits::default();
    let server =
        tokio::spawn(http::serve(pages, http::router(&context), limits, auth, stopped(server_stopped.clone())));
    let probes = probes.map(|probes| {
        let router = http::probe_router(&context);
        tokio::spawn(http::serve(probes, router, limits, Auth::default(), stopped(server_stopped)))
    });
    systemd::ready();
    let watchdog = tokio::spawn(systemd::notify_watchdog(poller.heartbeat()));
    let (save, latest) = watch::channel(None);
    let writer = state_file.map(|file| (tokio::spawn(StateFile::keep(file.clone(), latest)), file));

    let mut stop = std::pin::pin!(stop);
    loop {
        let report = tokio::select! {
            report = poller.turn() => report,
            () = &mut stop => break,
        };
        if let Some(watcher) = &watcher {
            look_for_suspects(watcher, &state, &report);
        }
        event_log::poll(&report, &state.lock(), config.expected_role.as_ref());
        metrics.record(&report);
        with_facts(&state, watcher.as_ref(), |state, suspects| metrics.prepare(state, suspects));
        systemd::polled(&state.lock());
        if let Some((_, file)) = &writer {
            save.send_replace(Some(file.saved(&state.lock())));
        }
        on_poll(&report);
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
        let _out_of_time = tokio::time::timeout(Limits::default().drain_timeout, writer).await;
    }
    watchdog.abort();
}

fn exposition(
    metrics: &Arc<Metrics>,
    state: &Shared,
    watcher: Option<&Arc<Mutex<ProcessWatcher>>>,
    clock: &Arc<dyn Clock>,
) -> Box<dyn Fn() -> String + Send + Sync> {
    let (metrics, state, watcher, clock) = (Arc::clone(metrics), state.clone(), watcher.cloned(), Arc::clone(clock));
    Box::new(move || {
        with_facts(&state, watcher.as_ref(), |state, suspects| metrics.render(state, suspects, clock.now()))
    })
}

/// Passes what is known now to `use_them`; the suspects are those of the last look at the processes.
fn with_facts<T>(
    state: &Shared,
    watcher: Option<&Arc<Mutex<ProcessWatcher>>>,
    use_them: impl FnOnce(&State, Option<&[SuspectProcess]>) -> T,
) -> T {
    let watcher = watcher.map(|watcher| watcher.lock().unwrap_or_else(PoisonError::into_inner));
    use_them(&state.lock(), watcher.as_ref().map(|watcher| watcher.suspects()))
}

fn look_for_suspects(watcher: &Mutex<ProcessWatcher>, state: &Shared, report: &Report) {
    let windows: Vec<_> = state.lock().outages().ended().copied().collect();
    let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
    let before = watcher.suspects().to_vec();
    watcher.scan(&windows, report.at);
    event_log::suspects(&before, watcher.suspects());
}
