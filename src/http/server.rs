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
#[cfg(feature = "web-config")]
use axum::http::HeaderValue;
#[cfg(feature = "web-config")]
use axum::http::header::AUTHORIZATION;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tower_service::Service;
use tracing::warn;

use crate::clock::monotonic;
use crate::web::Door;

/// Bounds on what clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Time for the handshake of TLS.
    pub handshake: Duration,
    /// Size of a request's head in bytes.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Time from one request's head to the next one's, the taking of the answer included: for clients that idle, send
    /// slowly or do not read.
    pub quiet: Duration,
    /// Time for answers that are being written when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            handshake: Duration::from_secs(10),
            head_bytes: 16 * 1024,
            headers: 64,
            // Longer than any usual scrape interval, so that Prometheus keeps its connection.
            quiet: Duration::from_secs(90),
            drain: Duration::from_millis(300),
        }
    }
}

/// Pause after the system could not give a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves whom `door` admits until `stop`, then lets answers that are being written end.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, door: Door, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(false);
    let places = Places::default();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let place = places.take(limits.connections);
                    connections.spawn(connection(stream, router.clone(), limits, door.clone(), place, stopped.clone()));
                    // In a flood each has its turn before so many others came that it must give way.
                    tokio::task::yield_now().await;
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
    let _out_of_time = timeout(limits.drain, drained).await;
}

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    door: Door,
    (place, given_up): (Place, oneshot::Receiver<Infallible>),
    mut stopped: watch::Receiver<bool>,
) {
    // One timer for many requests: a request wakes nobody, and the timer is set anew when it has run out.
    let quiet = async {
        while let Some(asked_at) = place.asked_at()
            && let until = asked_at + limits.quiet
            && until > monotonic()
        {
            sleep_until(until).await;
        }
    };
    let touch = || place.touch();
    let stop = async {
        let _sender_gone = stopped.wait_for(|stopped| *stopped).await;
    };
    let conversation = async {
        #[cfg(feature = "web-config")]
        if let Some(tls) = door.tls() {
            if let Ok(Ok(stream)) = timeout(limits.handshake, tls.accept(stream)).await {
                converse(stream, router, limits, &door, stop, touch).await;
            }
            return;
        }
        converse(stream, router, limits, &door, stop, touch).await;
    };
    tokio::select! {
        () = conversation => {}
        () = quiet => {}
        _ = given_up => {}
    }
}

/// Requests and answers over one connection, until either side ends it; after `stop` the answer that is being
/// written is the last. `asked` hears of each request.
pub async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    limits: Limits,
    door: &Door,
    stop: impl Future<Output = ()>,
    asked: impl Fn(),
) {
    let service = service_fn(|request: Request<Incoming>| {
        asked();
        let mut router = router.clone();
        async move { if admitted(door, &request).await { router.call(request).await } else { Ok(who_is_it()) } }
    });
    let connection = http1::Builder::new()
        .half_close(true)
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

#[cfg(feature = "web-config")]
async fn admitted(door: &Door, request: &Request<Incoming>) -> bool {
    door.admits(request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes)).await
}

#[cfg(not(feature = "web-config"))]
#[expect(clippy::unused_async, reason = "the other form waits")]
async fn admitted(_: &Door, _: &Request<Incoming>) -> bool {
    true
}

fn who_is_it() -> Response {
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Basic realm=\"imds-exporter\"")], "unauthorized\n").into_response()
}

/// The places of the open connections, the one that was quiet for longest first.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Order>>);

#[derive(Default)]
struct Order {
    next: u64,
    open: VecDeque<Open>,
}

struct Open {
    number: u64,
    asked_at: Instant,
    /// Dropped, it tells the connection to give way.
    _keep: oneshot::Sender<Infallible>,
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
        order.open.push_back(Open { number, asked_at: monotonic(), _keep: sender });
        (Place { places: self.clone(), number }, receiver)
    }
}

impl Place {
    /// A request came.
    fn touch(&self) {
        let open = &mut self.places.lock().open;
        if let Some(index) = open.iter().position(|place| place.number == self.number) {
            let place = open.remove(index);
            open.extend(place.map(|place| Open { asked_at: monotonic(), ..place }));
        }
    }

    /// When the last request came, or the connection; nothing once the place was given to another one.
    fn asked_at(&self) -> Option<Instant> {
        let order = self.places.lock();
        order.open.iter().find(|place| place.number == self.number).map(|place| place.asked_at)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().open.retain(|place| place.number != self.number);
    }
}
