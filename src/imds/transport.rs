//! HTTP to IMDS: no proxy, no redirect, bounded bodies, bounded time; and the only mapping of its errors to kinds.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{DATE, HeaderMap, HeaderName, HeaderValue, VIA};
use reqwest::{Client, Method, Url, redirect};

use super::session::TTL_HEADER;
use crate::clock::Clock;
use crate::model::{Kind, Step};

/// The longest body that is read.
const LONGEST_BODY: usize = 64 * 1024;

/// A connection is used again within a poll, not across polls: a firewall that lets only old connections through
/// would else go unseen, and so would an IMDS that closes idle ones.
const CONNECTION_KEPT: Duration = Duration::from_secs(3);

/// The longest text of a cause.
const LONGEST_CAUSE: usize = 200;

/// Where IMDS is: an `http` URL without user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Parses an endpoint as the SDKs take it.
    ///
    /// # Errors
    /// What is wrong with it; the text never repeats the value, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut url = Url::parse(text).map_err(|_| "is not a URL that begins with http://")?;
        if url.scheme() != "http" {
            return Err("must begin with http:// (IMDS has no TLS)");
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("has no host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must not hold a query or fragment");
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self(url))
    }

    /// As text, without the last slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path()));
        url
    }
}

/// Why an exchange gave no answer.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) kind: Kind,
    cause: Option<String>,
}

impl Failed {
    pub(super) fn at(self, step: Step) -> Fault {
        Fault { kind: self.kind, step, cause: self.cause }
    }
}

/// Why a resolution failed.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) step: Step,
    pub(super) cause: Option<String>,
}

impl Fault {
    pub(super) fn new(kind: Kind, step: Step) -> Self {
        Self { kind, step, cause: None }
    }
}

/// An answer of any status. The body is read for 200 only.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) via: bool,
    pub(super) clock_skew: Option<SignedDuration>,
    pub(super) token_ttl: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Answer {
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
            // A little less than the whole, so that the two cannot be confused when both run out. Linux sends a
            // lost SYN again only after a second: what has not connected by then does not in the rest.
            .connect_timeout(timeout.mul_f64(0.9))
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(CONNECTION_KEPT)
            // Each would be a system call for each connection, and IMDS may close one after each answer. What they
            // are good for, the timeout and a request that is written in one piece make needless.
            .tcp_keepalive(None)
            .tcp_keepalive_interval(None)
            .tcp_keepalive_retries(None)
            .tcp_user_timeout(None)
            .tcp_nodelay(false)
            .build()?;
        Ok(Self { client, endpoint, clock })
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        (name, value): (HeaderName, HeaderValue),
    ) -> Result<Answer, Failed> {
        // A PUT without a body says so: what stands between may ask for a length (411).
        let request = self.client.request(method, self.endpoint.join(path)).header(name, value);
        let request = request.header(reqwest::header::CONTENT_LENGTH, 0);
        let mut response = request.send().await.map_err(failed)?;

        let headers = response.headers();
        let mut answer = Answer {
            status: response.status().as_u16(),
            via: headers.contains_key(VIA),
            clock_skew: date(headers).map(|date| self.clock.now().duration_until(date)),
            token_ttl: token_ttl(headers),
            body: Vec::new(),
        };
        if answer.status == 200 {
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                if answer.body.len() + chunk.len() > LONGEST_BODY {
                    return Err(Failed {
                        kind: Kind::InvalidResponse,
                        cause: Some("the body is too large".to_owned()),
                    });
                }
                answer.body.extend_from_slice(&chunk);
            }
            if answer.text().is_none() {
                return Err(Failed { kind: Kind::InvalidResponse, cause: Some("the body is not text".to_owned()) });
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

fn failed(error: reqwest::Error) -> Failed {
    let error = error.without_url();
    let kind = kind_of(&error);
    let cause = chain(&error).last().map(|root| {
        // The text of a foreign error is bounded and made of printable characters, whatever it quotes.
        root.to_string().chars().filter(|c| !c.is_control()).take(LONGEST_CAUSE).collect()
    });
    Failed { kind, cause }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_what_the_sdks_take() {
        for (text, shown) in [
            ("http://169.254.169.254", "http://169.254.169.254"),
            ("http://127.0.0.1:1338/", "http://127.0.0.1:1338"),
            ("http://[fd00:ec2::254]", "http://[fd00:ec2::254]"),
            ("http://proxy.local/imds", "http://proxy.local/imds"),
        ] {
            assert_eq!(Endpoint::parse(text).expect("a good endpoint").as_str(), shown);
        }
        for text in
            ["", "169.254.169.254", "https://169.254.169.254", "http://", "http://u:p@h", "http://h/?q", "file:///x"]
        {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
        let endpoint = Endpoint::parse("http://proxy.local/imds").expect("a good endpoint");
        assert_eq!(endpoint.join("latest/x").as_str(), "http://proxy.local/imds/latest/x");
    }
}
