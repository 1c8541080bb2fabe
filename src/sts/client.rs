//! The call: no redirect, bounded body, bounded time, a separate connection.
//!
//! Owns the mapping of HTTP errors to reasons.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, NoProxy, Url, redirect};
use tokio_rustls::rustls;

use super::answer::{CallerIdentity, parse_error, parse_identity};
use super::endpoint::{Choice, Endpoint};
use super::signature::{BODY, Unsignable, signed_headers};
use super::trust::{CaBundle, tls};
use crate::domain::signed_call::{CallFailure, Obstacle, Reason};
use crate::domain::{Region, Signing};
use crate::platform::clock::Clock;

/// A whole call, connection included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection: less than the whole, so that a way that is closed can be told from an STS that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

const LONGEST_BODY: usize = 64 * 1024;

/// How to reach STS.
#[derive(Clone, Debug, Default)]
pub struct StsOptions {
    /// The region; without one, the one that IMDS names.
    pub region: Option<Region>,
    /// The address; without one, that of the region.
    pub endpoint: Option<Endpoint>,
    /// Which address of the region.
    pub choice: Choice,
    /// The proxy.
    pub proxy: Option<Proxy>,
    /// Authorities that are accepted beside the built-in ones.
    pub ca_bundles: Vec<CaBundle>,
}

/// A proxy for `https`, and the hosts that are asked without it. Its URL may hold a password, so its `Debug` shows nothing.
#[derive(Clone)]
pub struct Proxy {
    url: String,
    exempted: Option<String>,
}

impl Proxy {
    /// Parses the values of `HTTPS_PROXY` and `NO_PROXY`.
    ///
    /// # Errors
    /// What is wrong with the URL, without repeating it.
    pub fn parse(url: &str, exempted: Option<String>) -> Result<Self, &'static str> {
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let parsed = Url::parse(&with_scheme).map_err(|_| "is not the URL of a proxy")?;
        if !["http", "https"].contains(&parsed.scheme()) || parsed.host_str().is_none_or(str::is_empty) {
            return Err("is not the URL of an HTTP proxy");
        }
        Ok(Self { url: with_scheme, exempted })
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

/// The STS client.
#[derive(Clone)]
pub struct Sts {
    client: Client,
    region: Option<Region>,
    endpoint: Option<Endpoint>,
    choice: Choice,
    clock: Arc<dyn Clock>,
}

impl Sts {
    /// A client that has sent nothing yet. Reads the bundles of authorities.
    ///
    /// # Errors
    /// What is wrong with a bundle, with the name of its variable.
    pub fn new(options: &StsOptions, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let StsOptions { region, endpoint, choice, proxy, ca_bundles } = options;
        let mut builder = Client::builder()
            .no_proxy()
            .tls_backend_preconfigured(tls(ca_bundles)?)
            .user_agent(concat!("imds-exporter/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // No connection is kept: its buffers would outlive the call.
            .pool_max_idle_per_host(0);
        if let Some(Proxy { url, exempted }) = proxy {
            let proxy = reqwest::Proxy::https(url).map_err(|_| "HTTPS_PROXY: is not the URL of an HTTP proxy")?;
            builder = builder.proxy(proxy.no_proxy(exempted.as_deref().and_then(NoProxy::from_string)));
        }
        let client = builder.build().map_err(|error| error.without_url().to_string())?;
        Ok(Self { client, region: region.clone(), endpoint: endpoint.clone(), choice: *choice, clock })
    }

    /// Where STS is asked, and the region for which the call is signed: the one that is configured, else that of IMDS. `None`
    /// if neither is known.
    #[must_use]
    pub fn endpoint(&self, of_imds: Option<&Region>) -> Option<(Endpoint, Region)> {
        let region = self.region.as_ref().or(of_imds)?;
        Some(match &self.endpoint {
            Some(endpoint) => (endpoint.clone(), region.clone()),
            None => Endpoint::of_region(region, self.choice),
        })
    }

    /// Asks STS whose credentials these are. Ends in bounded time.
    ///
    /// # Errors
    /// Why AWS did not say.
    pub async fn call(&self, Signing { credentials, region }: Signing) -> Result<CallerIdentity, CallFailure> {
        let no_region = CallFailure::by(Reason::Unexpected, Obstacle::NoRegion);
        let (endpoint, region) = self.endpoint(region.as_ref()).ok_or(no_region)?;
        let headers = signed_headers(&endpoint, &region, &credentials, self.clock.now());
        drop(credentials);
        let headers = headers.map_err(|Unsignable| CallFailure::by(Reason::Unexpected, Obstacle::Unsignable))?;
        let request = self.client.post(endpoint.as_str()).headers(headers).body(BODY);
        let mut answer = request.send().await.map_err(|error| failure_of(&error))?;
        let status = answer.status().as_u16();
        let with_status = |failure| CallFailure { status: Some(status), ..failure };
        let not_sts = with_status(CallFailure::by(Reason::Unexpected, Obstacle::NotSts));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| with_status(failure_of(&error)))? {
            if body.len() + chunk.len() > LONGEST_BODY {
                return Err(not_sts);
            }
            body.extend_from_slice(&chunk);
        }
        match status {
            200 => parse_identity(&body).ok_or(not_sts),
            _ => Err(parse_error(status, &body)),
        }
    }
}

/// Why there is no answer, or only a part of one.
fn failure_of(error: &reqwest::Error) -> CallFailure {
    let tls = chain(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => CallFailure::by(Reason::Tls, Obstacle::Certificate),
        Some(_) => CallFailure::by(Reason::Tls, Obstacle::Handshake),
        None if error.is_connect() => CallFailure::by(Reason::Connect, no_connection(error)),
        None if error.is_timeout() => Reason::Timeout.into(),
        None => CallFailure::by(Reason::Unexpected, Obstacle::ConnectionClosed),
    }
}

fn no_connection(error: &reqwest::Error) -> Obstacle {
    // The library's errors of a proxy have no public type.
    if chain(error).any(|cause| cause.to_string().starts_with("tunnel error")) {
        return Obstacle::ProxyRefused;
    }
    let system =
        chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).find(|e| e.raw_os_error().is_some());
    match system.map(io::Error::kind) {
        _ if error.is_timeout() => Obstacle::ConnectTimeout,
        Some(io::ErrorKind::TimedOut) => Obstacle::ConnectTimeout,
        Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset) => Obstacle::ConnectionRefused,
        Some(_) => Obstacle::Unreachable,
        // Names are resolved by the C library, whose errors are not the system's.
        None => Obstacle::NoSuchName,
    }
}

/// The error and its causes. The source of an I/O error is that of the error within it, which would be passed over.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(within) => Some(within as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}
