//! The server's thread: it has a separate event loop, so that no flood of requests delays a poll.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::http::auth::Auth;
use crate::http::{self, Context, Limits};

/// Where to serve, and to whom.
#[derive(Default)]
pub struct Listeners {
    /// For all pages.
    pub pages: Vec<TcpListener>,
    /// Who may read them; without it, everybody.
    pub auth: Option<Arc<Auth>>,
    /// For the probes alone, without TLS or a password.
    pub probes: Vec<TcpListener>,
}

pub(super) struct Server {
    stop: watch::Sender<()>,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Server {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread or no descriptors for it.
    pub(super) fn start(listeners: Listeners, context: Arc<Context>) -> io::Result<Self> {
        let (stop, stopping) = watch::channel(());
        let (started, has_started) = mpsc::channel();
        let (ends, ended) = oneshot::channel();
        thread::Builder::new().name("http".to_owned()).spawn(move || {
            let (runtime, error) = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => (Some(runtime), Ok(())),
                Err(error) => (None, Err(error)),
            };
            let _nobody_waits = started.send(error);
            if let Some(runtime) = runtime {
                let _nobody_waits = ends.send(runtime.block_on(serve(listeners, &context, &stopping)));
            }
        })?;
        has_started.recv().map_err(io::Error::other)??;
        Ok(Self { stop, ended })
    }

    /// Waits until it ends although nobody stops it; returns why.
    pub(super) async fn ended(&mut self) -> io::Error {
        match (&mut self.ended).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) | Err(_) => io::Error::other("the server ended"),
        }
    }

    /// Stops it; responses that are being written are finished first.
    pub(super) async fn stop(self) {
        drop(self.stop);
        let _panicked = self.ended.await;
    }
}

async fn serve(listeners: Listeners, context: &Arc<Context>, stopping: &watch::Receiver<()>) -> io::Result<()> {
    let Listeners { pages, auth, probes } = listeners;
    let pages = pages.into_iter().map(|listener| (listener, http::router(context), auth.clone()));
    let probes = probes.into_iter().map(|listener| (listener, http::probe_router(context), None));
    let mut servers = JoinSet::new();
    for (listener, router, auth) in pages.chain(probes) {
        // It was bound in another event loop.
        let listener = TcpListener::from_std(listener.into_std()?)?;
        let mut stopping = stopping.clone();
        let stopped = async move {
            let _sender_gone = stopping.changed().await;
        };
        servers.spawn(http::serve(listener, router, Limits::default(), auth, stopped));
    }
    while servers.join_next().await.is_some() {}
    Ok(())
}
