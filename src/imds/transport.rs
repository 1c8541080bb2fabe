//! HTTP to IMDS: no proxy, no redirect, bounded bodies, bounded time.
//!
//! Owns the only mapping of HTTP errors to kinds. Must not know which request follows which.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{DATE, HeaderMap, HeaderName, HeaderValue, VIA};
use reqwest::{Client, Method, redirect};

use super::endpoint::Endpoint;
use super::session_token::TTL_HEADER;
use crate::domain::Kind;
use crate::platform::clock::Clock;

/// The longest body that is read.
const LONGEST_BODY: usize = 64 * 1024;

/// A connection is used again within a poll, not across polls: otherwise a firewall that lets only established
/// connections through would go unnoticed.
const CONNECTION_KEPT: Duration = Duration::from_secs(3);

/// The longest text of a cause, in characters.
const LONGEST_CAUSE: usize = 200;

/// Why a request got no answer.
#[derive(Debug)]
pub(super) struct TransportError {
    pub(super) kind: Kind,
    /// What the operating system or the HTTP library said.
    pub(super) cause: Option<String>,
}

/// An answer of any status. The body is read for 200 only.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) via: bool,
    pub(super) clock_skew: Option<SignedDuration>,
    pub(super) token_ttl: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Response {
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.body).ok()
    }
}

pub(super) struct Transport {
    client: Client,
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
}

impl Transport {
    pub(super) fn new(endpoint: Endpoint, timeout: Duration, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .timeout(timeout)
            // A little less than the whole, so that the two time-outs can be told apart. Linux repeats a lost SYN only
            // after a second, so that the rest of the time makes no difference.
            .connect_timeout(timeout.mul_f64(0.9))
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(CONNECTION_KEPT)
            .build()?;
        Ok(Self { client, endpoint, clock })
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        (name, value): (HeaderName, HeaderValue),
    ) -> Result<Response, TransportError> {
        // A PUT without a body says so: a proxy in between may demand a length (411).
        let request = self.client.request(method, self.endpoint.join(path)).header(name, value);
        let request = request.header(reqwest::header::CONTENT_LENGTH, 0);
        let mut response = request.send().await.map_err(transport_error)?;

        let headers = response.headers();
        let mut answer = Response {
            status: response.status().as_u16(),
            via: headers.contains_key(VIA),
            clock_skew: date(headers).map(|date| self.clock.now().duration_until(date)),
            token_ttl: token_ttl(headers),
            body: Vec::new(),
        };
        if answer.status == 200 {
            while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
                if answer.body.len() + chunk.len() > LONGEST_BODY {
                    return Err(TransportError {
                        kind: Kind::InvalidResponse,
                        cause: Some("the body is too large".to_owned()),
                    });
                }
                answer.body.extend_from_slice(&chunk);
            }
            if answer.text().is_none() {
                return Err(TransportError {
                    kind: Kind::InvalidResponse,
                    cause: Some("the body is not text".to_owned()),
                });
            }
        }
        Ok(answer)
    }
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

fn token_ttl(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(TTL_HEADER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn transport_error(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    let kind = kind_of(&error);
    let cause = chain(&error).last().map(|root| {
        // The text of a library's error is bounded and printable, whatever it quotes.
        root.to_string().chars().filter(|c| !c.is_control()).take(LONGEST_CAUSE).collect()
    });
    TransportError { kind, cause }
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

fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |&error| error.source())
}
