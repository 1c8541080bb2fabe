//! HTTP to IMDS: no proxy, no redirect, bounded bodies, bounded time. By hyper alone: the time-outs of boto3 are those of a
//! connection and of each read, which a client of higher level does not tell apart.
//!
//! Owns the only mapping of HTTP errors to kinds. Must not know which request follows which.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderValue, SERVER, USER_AGENT, VIA};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, yield_now};

use super::endpoint::Endpoint;
use super::session_token::{SessionToken, TOKEN_HEADER, TTL_HEADER};
use super::text::Charset;
use super::time_limit::{OutOfTime, within};
use crate::domain::{Kind, NetworkError, Server};
use crate::platform::clock::Clock;

/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 64 * 1024;

/// The longest text of a cause, in characters.
const LONGEST_CAUSE: usize = 200;

const OWN_NAME: &str = concat!("imds-exporter/", env!("CARGO_PKG_VERSION"));

/// Why a request got no answer.
#[derive(Debug)]
pub(super) struct TransportError {
    pub(super) kind: Kind,
    /// The status of an answer whose body could not be read to its end.
    pub(super) status: Option<u16>,
    /// What the operating system or the HTTP library said.
    pub(super) cause: Option<String>,
    pub(super) network_error: Option<NetworkError>,
}

impl TransportError {
    fn new(kind: Kind, status: Option<u16>, cause: Option<&dyn Error>) -> Self {
        // The text of a library's error is bounded and printable, whatever it quotes.
        let printable =
            |error: &dyn Error| error.to_string().chars().filter(|c| !c.is_control()).take(LONGEST_CAUSE).collect();
        Self { kind, status, cause: cause.map(printable), network_error: None }
    }

    /// Connected and asked, no whole answer in time.
    pub(super) fn timed_out(why: OutOfTime) -> Self {
        let status = match why {
            OutOfTime::Silent => None,
            OutOfTime::TooSlow => Some(200),
        };
        Self::new(Kind::ReadTimeout, status, None)
    }
}

/// An answer of any status. The body is read for 200 only.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) via: bool,
    pub(super) server: Option<Server>,
    pub(super) clock_skew: Option<SignedDuration>,
    pub(super) charset: Charset,
    pub(super) body: Vec<u8>,
}

/// A request that was sent, and its answer, which may come.
pub(super) struct Asked {
    answer: Pin<Box<dyn Future<Output = Result<Response, TransportError>> + Send>>,
    connection: Connection,
}

impl Asked {
    /// The answer, if it comes in time. May be asked again after it was silent, but not after it came.
    pub(super) async fn answer(&mut self, limit: Duration) -> Result<Result<Response, TransportError>, OutOfTime> {
        within(limit, &self.connection.reads, self.answer.as_mut()).await
    }
}

struct Connection {
    sender: SendRequest<String>,
    reads: Arc<AtomicUsize>,
    /// Its task, which ends with it: until then its buffers hold the session token and the document.
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) struct Transport {
    endpoint: Endpoint,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    /// The connection of the last answer, if it may be used again.
    kept: Option<Connection>,
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint, timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { endpoint, timeout, clock, kept: None }
    }

    /// Closes the connection that is kept. One is used again within a poll, as boto3 does, not across polls: a firewall that
    /// lets only established connections through would go unnoticed.
    pub(super) fn close_connection(&mut self) {
        self.kept = None;
    }

    /// Sends the token request.
    pub(super) async fn put_token(&mut self, path: &str, ttl_seconds: u64) -> Result<Asked, TransportError> {
        self.send(Method::PUT, path, Some((TTL_HEADER, HeaderValue::from(ttl_seconds)))).await
    }

    /// A GET, with a session token or without.
    pub(super) async fn get(&mut self, path: &str, token: Option<&SessionToken>) -> Result<Response, TransportError> {
        let mut asked = self.send(Method::GET, path, token.map(|token| (TOKEN_HEADER, token.header()))).await?;
        let response = asked.answer(self.timeout).await.map_err(TransportError::timed_out)??;
        self.keep(asked);
        Ok(response)
    }

    /// Keeps the connection of an answer that came.
    pub(super) fn keep(&mut self, Asked { connection, .. }: Asked) {
        self.kept = Some(connection);
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        header: Option<(&'static str, HeaderValue)>,
    ) -> Result<Asked, TransportError> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.endpoint.target(path))
            .header(HOST, self.endpoint.authority())
            .header(USER_AGENT, OWN_NAME);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        // The library adds a content length of 0 to a PUT, for which a proxy in between may ask, and none to a GET.
        let request = request.body(String::new());
        let request = request.map_err(|error| TransportError::new(Kind::InvalidResponse, None, Some(&error)))?;
        let mut connection = self.connection().await?;
        let answer = read(connection.sender.send_request(request), Arc::clone(&self.clock));
        Ok(Asked { answer: Box::pin(answer), connection })
    }

    async fn connection(&mut self) -> Result<Connection, TransportError> {
        if let Some(mut kept) = self.kept.take() {
            // Lets its task see that the other side has closed it.
            yield_now().await;
            if kept.sender.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let reads = Arc::new(AtomicUsize::new(0));
        let connecting = pin!(TcpStream::connect(self.endpoint.address()));
        let stream = match within(self.timeout, &reads, connecting).await {
            Ok(connected) => connected.map_err(|error| connect_error(&error))?,
            Err(_) => return Err(TransportError::new(Kind::ConnectTimeout, None, None)),
        };
        let stream = CountedReads { stream: TokioIo::new(stream), reads: Arc::clone(&reads) };
        let (sender, connection) = handshake(stream).await.map_err(|error| http_error(&error, None))?;
        let task = tokio::spawn(async {
            let _the_request_has_the_error = connection.await;
        });
        Ok(Connection { sender, reads, task })
    }
}

/// Reads an answer to its end.
async fn read(
    answer: impl Future<Output = hyper::Result<hyper::Response<Incoming>>>,
    clock: Arc<dyn Clock>,
) -> Result<Response, TransportError> {
    let (head, mut body) = answer.await.map_err(|error| http_error(&error, None))?.into_parts();
    let headers = head.headers;
    let mut response = Response {
        status: head.status.as_u16(),
        via: headers.contains_key(VIA),
        server: headers.get(SERVER).map(|name| if name == "EC2ws" { Server::Ec2 } else { Server::Other }),
        clock_skew: date(&headers).map(|date| clock.now().duration_until(date)),
        charset: Charset::of(headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes)),
        body: Vec::new(),
    };
    if response.status != 200 {
        return Ok(response);
    }
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| http_error(&error, Some(response.status)))?;
        let data = frame.data_ref().map_or(&[][..], |data| data);
        if response.body.len() + data.len() > LONGEST_BODY {
            let cause = io::Error::other("the body is too large");
            return Err(TransportError::new(Kind::InvalidResponse, Some(200), Some(&cause)));
        }
        response.body.extend_from_slice(data);
    }
    Ok(response)
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// | what happened | kind |
/// | --- | --- |
/// | refused or reset while connecting | `connect_refused` |
/// | the system's own time-out while connecting | `connect_timeout` |
/// | any other reason not to get a connection | `network_unreachable` |
fn connect_error(error: &io::Error) -> TransportError {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Kind::ConnectRefused,
        io::ErrorKind::TimedOut => Kind::ConnectTimeout,
        _ => Kind::NetworkUnreachable,
    };
    let network_error = (kind == Kind::NetworkUnreachable).then(|| network_error(error));
    TransportError { network_error, ..TransportError::new(kind, None, Some(error)) }
}

fn network_error(error: &io::Error) -> NetworkError {
    // A name is resolved by the C library, whose errors are not the system's.
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        None => NetworkError::NoSuchName,
        Some(Errno::NETUNREACH) => NetworkError::NoRoute,
        Some(Errno::HOSTUNREACH) => NetworkError::HostUnreachable,
        Some(Errno::INVAL) => NetworkError::BlackholeRoute,
        Some(Errno::ACCESS | Errno::PERM) => NetworkError::Forbidden,
        Some(Errno::ADDRNOTAVAIL) => NetworkError::NoLocalPort,
        Some(Errno::AFNOSUPPORT) => NetworkError::NoAddressFamily,
        Some(_) => NetworkError::Other,
    }
}

/// What came is no HTTP: `invalid_response`. Anything else on an open connection: `connection_closed`.
fn http_error(error: &hyper::Error, status: Option<u16>) -> TransportError {
    let io = chain(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    let bad_framing = matches!(io, Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    let not_http = error.is_parse() || error.is_parse_too_large() || bad_framing;
    let kind = if not_http { Kind::InvalidResponse } else { Kind::ConnectionClosed };
    TransportError::new(kind, status, chain(error).last())
}

fn chain(error: &hyper::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source())
}

/// A stream that counts the reads that brought something.
struct CountedReads {
    stream: TokioIo<TcpStream>,
    reads: Arc<AtomicUsize>,
}

impl Read for CountedReads {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let ready = Pin::new(&mut self.stream).poll_read(context, buffer);
        if ready.is_ready() {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        ready
    }
}

impl Write for CountedReads {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
