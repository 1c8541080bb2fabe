//! The server: bounded connections, header time and request size.
//!
//! Owns the listener. When all places are taken, the connection that was quiet for longest gives way to a new one,
//! so that idle or slow clients never keep an honest one out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tower_service::Service;
use tracing::warn;

/// Bounds on what clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Time for a request's head, and between two requests on one connection.
    pub head: Duration,
    /// Size of a request's head in bytes.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Time for answers that are being written when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            // Longer than any usual scrape interval, so that Prometheus keeps its connection.
            head: Duration::from_secs(75),
            head_bytes: 16 * 1024,
            headers: 64,
            drain: Duration::from_millis(300),
        }
    }
}

/// Pause after the system could not give a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`, then lets answers that are being written end.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(false);
    let places = Places::default();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let place = places.take(limits.connections);
                    connections.spawn(connection(stream, router.clone(), limits, place, stopped.clone()));
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = &mut stop => break,
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _out_of_time = tokio::time::timeout(limits.drain, drained).await;
}

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    (place, given_up): (Place, oneshot::Receiver<Infallible>),
    mut stopped: watch::Receiver<bool>,
) {
    let stop = async {
        let _sender_gone = stopped.wait_for(|stopped| *stopped).await;
    };
    tokio::select! {
        () = converse(stream, router, limits, stop, || place.touch()) => {}
        _ = given_up => {}
    }
}

/// Requests and answers over one connection, until either side ends it; after `stop` the answer that is being
/// written is the last. `asked` hears of each request.
pub async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
    asked: impl Fn(),
) {
    let service = service_fn(|request| {
        asked();
        router.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // A client's mistake or disappearance is its own affair.
        _ = &mut connection => return,
        () = stop => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// The places of the open connections, the one that was quiet for longest first.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Order>>);

#[derive(Default)]
struct Order {
    next: u64,
    open: VecDeque<(u64, oneshot::Sender<Infallible>)>,
}

/// A connection's place; free when dropped.
struct Place {
    places: Places,
    number: u64,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, and word of when it must be given up (by the sender's end).
    fn take(&self, limit: usize) -> (Place, oneshot::Receiver<Infallible>) {
        let (sender, receiver) = oneshot::channel();
        let mut order = self.lock();
        while order.open.len() >= limit.max(1) {
            order.open.pop_front();
        }
        let number = order.next;
        order.next += 1;
        order.open.push_back((number, sender));
        (Place { places: self.clone(), number }, receiver)
    }
}

impl Place {
    /// A request came.
    fn touch(&self) {
        let open = &mut self.places.lock().open;
        if let Some(index) = open.iter().position(|(number, _)| *number == self.number) {
            let entry = open.remove(index);
            open.extend(entry);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().open.retain(|(number, _)| *number != self.number);
    }
}
