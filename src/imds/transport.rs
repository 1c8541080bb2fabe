//! HTTP to IMDS: no proxy, no redirect, bounded bodies, bounded time.
//!
//! Owns the only mapping of HTTP errors to kinds. Must not know which request follows which.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, SERVER, VIA};
use reqwest::{Client, Method, redirect};
use rustix::io::Errno;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::endpoint::Endpoint;
use super::session_token::{SessionToken, TOKEN_HEADER, TOKEN_TTL_SECONDS, TTL_HEADER};
use crate::domain::{Kind, NetworkError, Server};
use crate::platform::clock::{Clock, monotonic};

/// A time limit is waited for in parts.
const SLICE: Duration = Duration::from_millis(10);

/// A part that takes longer than this was not waiting for IMDS, but for the CPU.
const LONGEST_SLICE: Duration = Duration::from_millis(20);

/// Turns of the runtime in which an answer that has arrived is delivered.
const TURNS_AFTER_TIMEOUT: u32 = 8;

/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 64 * 1024;

/// The longest text of a cause, in characters.
const LONGEST_CAUSE: usize = 200;

/// Why a request got no answer.
#[derive(Debug)]
pub(super) struct TransportError {
    pub(super) kind: Kind,
    /// The status of an answer whose body could not be read.
    pub(super) status: Option<u16>,
    /// What the operating system or the HTTP library said.
    pub(super) cause: Option<String>,
    pub(super) network_error: Option<NetworkError>,
}

impl TransportError {
    /// Connected and asked, no whole answer in time.
    pub(super) const fn timed_out() -> Self {
        Self { kind: Kind::ReadTimeout, status: None, cause: None, network_error: None }
    }

    fn invalid(cause: &str) -> Self {
        Self { kind: Kind::InvalidResponse, status: Some(200), cause: Some(cause.to_owned()), network_error: None }
    }

    fn in_body(self) -> Self {
        Self { status: Some(200), ..self }
    }
}

/// An answer of any status. The body is read for 200 only.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) via: bool,
    pub(super) server: Option<Server>,
    pub(super) clock_skew: Option<SignedDuration>,
    pub(super) body: Vec<u8>,
}

impl Response {
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.body).ok()
    }
}

#[derive(Clone)]
pub(super) struct Transport {
    client: Client,
    /// Made once, since a client is made for each poll.
    tls: ClientConfig,
    endpoint: Endpoint,
    timeout: Duration,
    clock: Arc<dyn Clock>,
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint, timeout: Duration, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        let tls = no_tls();
        Ok(Self { client: client(timeout, &tls)?, tls, endpoint, timeout, clock })
    }

    /// Closes all connections: until then their buffers hold the session token and the document.
    ///
    /// A connection is used again within a poll, not across polls, also because a firewall that lets only established
    /// connections through would go unnoticed otherwise.
    pub(super) fn close_connections(&mut self) {
        self.client = client(self.timeout, &self.tls).expect("the same options gave a client before");
    }

    /// The time-out of one request.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The token request. The caller limits its time; it ends after `longest` at the latest.
    pub(super) async fn put_token(self, path: &str, longest: Duration) -> Result<Response, TransportError> {
        let header = (HeaderName::from_static(TTL_HEADER), HeaderValue::from(TOKEN_TTL_SECONDS));
        let sent = pin!(self.send(Method::PUT, path, Some(header)));
        within(longest, sent).await.unwrap_or_else(|| Err(TransportError::timed_out()))
    }

    /// A GET within the time-out, with a session token or without.
    pub(super) async fn get(&self, path: &str, token: Option<&SessionToken>) -> Result<Response, TransportError> {
        let header = token.map(|token| (HeaderName::from_static(TOKEN_HEADER), token.header()));
        let sent = pin!(self.send(Method::GET, path, header));
        within(self.timeout, sent).await.unwrap_or_else(|| Err(TransportError::timed_out()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Response, TransportError> {
        // A PUT without a body says so: a proxy in between may demand a length (411).
        let mut request = self.client.request(method, self.endpoint.join(path)).header(CONTENT_LENGTH, 0);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let mut answer = request.send().await.map_err(transport_error)?;
        let headers = answer.headers();
        let mut response = Response {
            status: answer.status().as_u16(),
            via: headers.contains_key(VIA),
            server: headers.get(SERVER).map(|name| if name == "EC2ws" { Server::Ec2 } else { Server::Other }),
            clock_skew: date(headers).map(|date| self.clock.now().duration_until(date)),
            body: Vec::new(),
        };
        if response.status == 200 {
            while let Some(chunk) = answer.chunk().await.map_err(|error| transport_error(error).in_body())? {
                if response.body.len() + chunk.len() > LONGEST_BODY {
                    return Err(TransportError::invalid("the body is too large"));
                }
                response.body.extend_from_slice(&chunk);
            }
            if response.text().is_none() {
                return Err(TransportError::invalid("the body is not text"));
            }
        }
        Ok(response)
    }
}

fn client(timeout: Duration, tls: &ClientConfig) -> Result<Client, reqwest::Error> {
    Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(tls.clone())
        .user_agent(concat!("imds-exporter/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        // A little less than the whole, so that the two time-outs can be told apart. Linux repeats a lost SYN only
        // after a second, so that the rest of the time makes no difference.
        .connect_timeout(timeout.mul_f64(0.9))
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(None)
        .build()
}

/// The output of the future, if it comes within the time limit.
///
/// A starved exporter does not report a failure of IMDS: time in which this process did not get the CPU does not count, and
/// once the time is up, the runtime gets a few turns to deliver an answer that has arrived.
pub(super) async fn within<F: Future>(limit: Duration, mut future: Pin<&mut F>) -> Option<F::Output> {
    let mut left = limit;
    while !left.is_zero() {
        let began = monotonic();
        if let Ok(output) = timeout(left.min(SLICE), future.as_mut()).await {
            return Some(output);
        }
        left = left.saturating_sub((monotonic() - began).min(LONGEST_SLICE));
    }
    for _ in 0..TURNS_AFTER_TIMEOUT {
        yield_now().await;
        let now = poll_fn(|context| {
            Poll::Ready(match future.as_mut().poll(context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            })
        });
        if let Some(output) = now.await {
            return Some(output);
        }
    }
    None
}

/// IMDS has no TLS; without this, the HTTP client would prepare for it with the roots of the system.
fn no_tls() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports them")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn transport_error(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    let kind = kind_of(&error);
    let cause = chain(&error).last().map(|root| {
        // The text of a library's error is bounded and printable, whatever it quotes.
        root.to_string().chars().filter(|c| !c.is_control()).take(LONGEST_CAUSE).collect()
    });
    let network_error = (kind == Kind::NetworkUnreachable).then(|| network_error(&error));
    TransportError { kind, status: None, cause, network_error }
}

/// | what happened | kind |
/// | --- | --- |
/// | time ran out while connecting | `connect_timeout` |
/// | refused or reset while connecting | `connect_refused` |
/// | any other reason not to get a connection | `network_unreachable` |
/// | time ran out later | `read_timeout` |
/// | what came is no HTTP | `invalid_response` |
/// | anything else on an open connection | `connection_closed` |
fn kind_of(error: &reqwest::Error) -> Kind {
    let io = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    if error.is_connect() {
        return match io {
            _ if error.is_timeout() => Kind::ConnectTimeout,
            Some(io::ErrorKind::TimedOut) => Kind::ConnectTimeout,
            Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset) => Kind::ConnectRefused,
            _ => Kind::NetworkUnreachable,
        };
    }
    if error.is_timeout() {
        return Kind::ReadTimeout;
    }
    let not_http = chain(error)
        .filter_map(|cause| cause.downcast_ref::<hyper::Error>())
        .any(|hyper| hyper.is_parse() || hyper.is_parse_too_large());
    let bad_framing = matches!(io, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    if not_http || bad_framing { Kind::InvalidResponse } else { Kind::ConnectionClosed }
}

fn network_error(error: &reqwest::Error) -> NetworkError {
    // A name is resolved by the C library, which has errors of its own.
    let Some(code) =
        chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).find_map(io::Error::raw_os_error)
    else {
        return NetworkError::NoSuchName;
    };
    match Errno::from_raw_os_error(code) {
        Errno::NETUNREACH => NetworkError::NoRoute,
        Errno::HOSTUNREACH => NetworkError::HostUnreachable,
        Errno::INVAL => NetworkError::BlackholeRoute,
        Errno::ACCESS | Errno::PERM => NetworkError::Forbidden,
        Errno::ADDRNOTAVAIL => NetworkError::NoLocalPort,
        Errno::AFNOSUPPORT => NetworkError::NoAddressFamily,
        _ => NetworkError::Other,
    }
}

fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_until_the_limit() {
        let after = async |delay| {
            let mut answer = pin!(sleep(Duration::from_millis(delay)));
            within(LIMIT, answer.as_mut()).await.is_some()
        };
        assert!(after(0).await && after(15).await && after(90).await);
        assert!(!after(110).await && !after(10_000).await);
        let began = monotonic();
        assert!(!after(10_000).await);
        assert!((LIMIT..LIMIT + SLICE * 2).contains(&(monotonic() - began)));
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_the_cpu_does_not_count() {
        let mut answer = pin!(async {
            for _ in 0..4 {
                advance(Duration::from_secs(1)).await;
                sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(within(LIMIT, answer.as_mut()).await.is_some());
    }
}
