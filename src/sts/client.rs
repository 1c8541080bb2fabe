//! The call: no redirect, bounded body, bounded time, a connection of its own.
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
use super::endpoint::Endpoint;
use super::signature::{BODY, signed_headers};
use super::trust::{CaBundle, tls};
use crate::domain::signed_call::{CallFailure, Reason};
use crate::domain::{Region, SigningCredentials};
use crate::platform::clock::Clock;

/// A whole call, connection included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection: less than the whole, so that a way that is closed can be told from an STS that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 64 * 1024;

/// How to reach STS.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The region; without one, the one that IMDS names.
    pub region: Option<Region>,
    /// The address; without one, that of the region.
    pub endpoint: Option<Endpoint>,
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

    fn for_client(&self) -> Result<reqwest::Proxy, reqwest::Error> {
        let exempted = self.exempted.as_deref().and_then(NoProxy::from_string);
        Ok(reqwest::Proxy::https(&self.url)?.no_proxy(exempted))
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
    clock: Arc<dyn Clock>,
}

impl Sts {
    /// A client that has sent nothing yet. Reads the bundles of authorities.
    ///
    /// # Errors
    /// What is wrong with a bundle, with the name of its variable.
    pub fn new(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let Options { region, endpoint, proxy, ca_bundles } = options;
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
        if let Some(proxy) = proxy {
            let proxy = proxy.for_client().map_err(|_| "HTTPS_PROXY: is not the URL of an HTTP proxy")?;
            builder = builder.proxy(proxy);
        }
        let client = builder.build().map_err(|error| error.without_url().to_string())?;
        Ok(Self { client, region: region.clone(), endpoint: endpoint.clone(), clock })
    }

    /// The region that is configured.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    /// Where STS is asked for credentials of the region.
    #[must_use]
    pub fn endpoint(&self, region: &Region) -> Endpoint {
        self.endpoint.clone().unwrap_or_else(|| Endpoint::of_region(region))
    }

    /// Asks STS in the region whose credentials these are. Ends in bounded time.
    ///
    /// # Errors
    /// Why AWS did not say.
    pub async fn call(&self, region: &Region, credentials: SigningCredentials) -> Result<CallerIdentity, CallFailure> {
        let endpoint = self.endpoint(region);
        let headers = signed_headers(&endpoint, region, &credentials, self.clock.now());
        drop(credentials);
        let request = self.client.post(endpoint.url()).headers(headers.ok_or(Reason::Unexpected)?).body(BODY);
        let mut answer = request.send().await.map_err(|error| reason_of(&error))?;
        let status = answer.status().as_u16();
        let failed = |reason| CallFailure { status: Some(status), ..CallFailure::from(reason) };
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(reason_of(&error)))? {
            if body.len() + chunk.len() > LONGEST_BODY {
                return Err(failed(Reason::Unexpected));
            }
            body.extend_from_slice(&chunk);
        }
        match status {
            200 => parse_identity(&body).ok_or(failed(Reason::Unexpected)),
            _ => Err(parse_error(status, &body)),
        }
    }
}

/// | what happened | reason |
/// | --- | --- |
/// | TLS failed, at any time | `tls` |
/// | no connection, for whatever reason | `connect` |
/// | time ran out later | `timeout` |
/// | anything else | `unexpected` |
fn reason_of<'a>(error: &'a reqwest::Error) -> Reason {
    // The source of an I/O error is that of the error within it, which would be passed over.
    let next = |error: &'a (dyn Error + 'static)| match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(within) => Some(within as &(dyn Error + 'static)),
        None => error.source(),
    };
    let mut chain = std::iter::successors(Some(error as &(dyn Error + 'static)), |error| next(*error));
    if chain.any(<dyn Error>::is::<rustls::Error>) {
        Reason::Tls
    } else if error.is_connect() {
        Reason::Connect
    } else if error.is_timeout() {
        Reason::Timeout
    } else {
        Reason::Unexpected
    }
}
