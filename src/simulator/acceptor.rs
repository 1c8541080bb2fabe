//! A listener with its connections.
//!
//! Owns accepting and killing them. Must not know what is spoken on a connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// Keeps a client that connects without end from using up the file descriptors.
const MAX_CONNECTIONS: usize = 512;
/// `accept` fails as often as it is called while the process is out of file descriptors.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

pub(super) trait Service: Clone + Send + Sync + 'static {
    /// Serves the connection until it is done with, or breaks.
    fn serve(&self, stream: &mut TcpStream) -> impl Future<Output = io::Result<()>> + Send;
}

/// HTTP, where it has no faults.
impl Service for Router {
    async fn serve(&self, stream: &mut TcpStream) -> io::Result<()> {
        let service = TowerToHyperService::new(self.clone());
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.map_err(io::Error::other)
    }
}

/// A listener at work; dropped, it closes and kills its connections.
pub(super) struct Acceptor {
    pub(super) address: SocketAddr,
    /// Nothing is ever sent: that it is dropped is the message.
    running: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Acceptor {
    pub(super) fn start(listener: TcpListener, service: impl Service) -> io::Result<Self> {
        let (address, (running, stopped)) = (listener.local_addr()?, watch::channel(()));
        Ok(Self { address, running, task: tokio::spawn(accept(listener, service, stopped)) })
    }

    /// Returns when the listener is closed and its connections are reset.
    pub(super) async fn stop(self) {
        drop(self.running);
        // A panic of the task closed the listener just as well.
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, service: impl Service, mut stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(serve(stream, service.clone(), stopped.clone()));
                }
                Ok(_) => {}
                Err(_) => sleep(PAUSE_AFTER_FAILURE).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(mut stream: TcpStream, service: impl Service, mut stopped: watch::Receiver<()>) {
    // Answers are small and shall not wait for each other.
    let _ = stream.set_nodelay(true);
    tokio::select! {
        _ = stopped.changed() => {
            // Without lingering the end of the connection is a reset.
            let _ = stream.set_zero_linger();
        }
        // What a client does wrong ends its connection.
        _ = service.serve(&mut stream) => {}
    }
}
