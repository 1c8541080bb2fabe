//! The server: bounded connections, header time and request size.
//!
//! Owns the listener. Must not know the routes.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::{AUTHORIZATION, SERVER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tower_service::Service;
use tracing::warn;

use super::auth::Auth;
use super::client_address::ClientAddress;
use super::connection_slots::{ConnectionSlots, Slot};
use crate::platform::clock::monotonic;

/// Bounds on what clients may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// Time-out of the TLS handshake.
    pub handshake_timeout: Duration,
    /// Size of a request head in bytes.
    pub head_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Time-out from the head of one request to that of the next one, reading the response included: for clients that
    /// are idle, send slowly or do not read.
    pub idle_timeout: Duration,
    /// Time-out of responses that are being written when the server stops.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            handshake_timeout: Duration::from_secs(10),
            head_bytes: 16 * 1024,
            headers: 64,
            // Longer than any usual scrape interval, so that Prometheus keeps its connection.
            idle_timeout: Duration::from_secs(90),
            drain_timeout: Duration::from_millis(300),
        }
    }
}

/// The `Server` header of every response: by it the commands know the exporter from another program.
pub const SERVER_NAME: &str = "imds-exporter";

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves everybody whom `auth` allows, or all without it, until `stop`; then finishes the responses that are being written.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    auth: Option<Arc<Auth>>,
    stop: impl Future<Output = ()>,
) {
    let (stopping, stopped) = watch::channel(false);
    let slots = ConnectionSlots::default();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let client = peer.ip().into();
                    let slot = slots.acquire(limits.connections, client);
                    let (router, auth) = (router.clone(), auth.clone());
                    connections.spawn(connection(stream, client, router, limits, auth, slot, stopped.clone()));
                    // In a flood, each connection is served before so many others came that it is closed.
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
    let _out_of_time = timeout(limits.drain_timeout, drained).await;
}

async fn connection(
    stream: TcpStream,
    client: ClientAddress,
    router: Router,
    limits: Limits,
    auth: Option<Arc<Auth>>,
    (slot, evicted): (Slot, oneshot::Receiver<Infallible>),
    mut stopped: watch::Receiver<bool>,
) {
    // One timer for many requests: a request does not touch the timer, which is set again when it fires.
    let idle = async {
        while let Some(last_request_at) = slot.last_request_at()
            && let until = last_request_at + limits.idle_timeout
            && until > monotonic()
        {
            sleep_until(until).await;
        }
    };
    let touch = || slot.touch();
    let stop = async {
        let _sender_gone = stopped.wait_for(|stopped| *stopped).await;
    };
    let served = async {
        let auth = auth.as_deref();
        let Some(tls) = auth.and_then(Auth::tls) else {
            return serve_connection(stream, client, router, limits, auth, stop, touch).await;
        };
        if let Ok(Ok(stream)) = timeout(limits.handshake_timeout, tls.accept(stream)).await {
            serve_connection(stream, client, router, limits, auth, stop, touch).await;
        }
    };
    tokio::select! {
        () = served => {}
        () = idle => {}
        _ = evicted => {}
    }
}

/// Serves the requests of one connection until either side closes it; after `stop` the response that is being written
/// is the last one. `on_request` is called for each request.
pub async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: ClientAddress,
    router: Router,
    limits: Limits,
    auth: Option<&Auth>,
    stop: impl Future<Output = ()>,
    on_request: impl Fn(),
) {
    let service = service_fn(|request: Request<Incoming>| {
        on_request();
        let mut router = router.clone();
        async move {
            let authorization = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
            let is_allowed = match auth {
                Some(auth) => auth.allows(authorization, client).await,
                None => true,
            };
            let response = if is_allowed { router.call(request).await } else { Ok(unauthorized()) };
            response.map(|mut response| {
                response.headers_mut().insert(SERVER, HeaderValue::from_static(SERVER_NAME));
                response
            })
        }
    });
    let connection = http1::Builder::new()
        // No password is verified for a client that has gone, which looks like one that has only finished sending.
        .half_close(!auth.is_some_and(Auth::demands_passwords))
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // Errors of a client, or its disappearance, are not reported.
        _ = &mut connection => return,
        () = stop => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn unauthorized() -> Response {
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Basic realm=\"imds-exporter\"")], "unauthorized\n").into_response()
}
