//! The server's thread: it has an event loop of its own, so that no flood of requests delays a poll.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tracing::error;

use crate::http::auth::Auth;
use crate::http::{self, Context, Limits};

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

/// A running server.
pub(super) struct Server {
    stop: watch::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

impl Server {
    /// Starts the thread.
    pub(super) fn start(listeners: Listeners, context: Arc<Context>) -> Self {
        let (stop, stopping) = watch::channel(());
        let (ended, stopped) = oneshot::channel();
        let spawned = thread::Builder::new().name("http".to_owned()).spawn(move || {
            if let Err(error) = serve(listeners, &context, &stopping) {
                error!(%error, "the server cannot run");
            }
            let _nobody_waits = ended.send(());
        });
        if let Err(error) = spawned {
            error!(%error, "the server cannot start");
        }
        Self { stop, stopped }
    }

    /// Stops it; responses that are being written are finished first.
    pub(super) async fn stop(self) {
        drop(self.stop);
        let _panicked = self.stopped.await;
    }
}

fn serve(listeners: Listeners, context: &Arc<Context>, stopping: &watch::Receiver<()>) -> io::Result<()> {
    let stopped = || {
        let mut stopping = stopping.clone();
        async move {
            let _sender_gone = stopping.changed().await;
        }
    };
    let Listeners { pages, auth, probes } = listeners;
    let (pages, probes) = (pages.into_std()?, probes.map(TcpListener::into_std).transpose()?);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let limits = Limits::default();
        let pages = http::serve(TcpListener::from_std(pages)?, http::router(context), limits, auth, stopped());
        match probes.map(TcpListener::from_std).transpose()? {
            Some(probes) => {
                let router = http::probe_router(context);
                let probes = http::serve(probes, router, limits, Auth::default(), stopped());
                tokio::join!(pages, probes);
            }
            None => pages.await,
        }
        Ok(())
    })
}
