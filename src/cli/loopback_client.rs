//! Asks the exporter on this machine, over HTTP or HTTPS: one request, bounded in time and size.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::header::SERVER;
use reqwest::{Client, Response, redirect};
use tokio_rustls::rustls::crypto::ring;

use crate::http::SERVER_NAME;
use crate::platform::listener::ListenAddress;

/// One exchange, connection included.
const TIMEOUT: Duration = Duration::from_secs(2);

const LONGEST_BODY: usize = 1024 * 1024;

pub(super) enum Asked {
    Exporter {
        status: u16,
        body: String,
    },
    /// No exporter runs: nothing listens, or another program does. Why, for people.
    NoExporter(String),
    /// What listens does not answer in time, or cannot be understood. Why, for people.
    Unclear(String),
}

pub(super) struct LoopbackClient(Client);

impl LoopbackClient {
    /// Accepts any certificate: nothing secret is sent, and the exporter's is not one of this machine's loopback address.
    ///
    /// # Errors
    /// When the client cannot be built.
    pub(super) fn new() -> io::Result<Self> {
        let _set_already = ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .tls_danger_accept_invalid_certs(true)
            .build();
        client.map(Self).map_err(io::Error::other)
    }

    /// `GET path` of the exporter that listens on one of these.
    pub(super) async fn get(&self, listen: &[ListenAddress], path: &str) -> Asked {
        let mut unclear = None;
        let mut none = Asked::NoExporter("nothing to listen on".to_owned());
        for address in listen.iter().flat_map(ListenAddress::reachable) {
            match self.get_from(address, path).await {
                exporter @ Asked::Exporter { .. } => return exporter,
                Asked::Unclear(why) => unclear = Some(Asked::Unclear(why)),
                no_exporter @ Asked::NoExporter(_) => none = no_exporter,
            }
        }
        unclear.unwrap_or(none)
    }

    pub(super) async fn get_from(&self, address: SocketAddr, path: &str) -> Asked {
        let mut last = None;
        for scheme in ["http", "https"] {
            match self.0.get(format!("{scheme}://{address}{path}")).send().await {
                Ok(response) => return answer(response, address).await,
                Err(error) if error.is_connect() && scheme == "http" => {
                    return Asked::NoExporter(format!("no answer from {address}: {}", cause(&error)));
                }
                Err(error) if error.is_timeout() => return Asked::Unclear(format!("no answer from {address} in time")),
                Err(error) => last = Some(error),
            }
        }
        let why = last.as_ref().map(cause).unwrap_or_default();
        Asked::Unclear(format!("{address} answers neither HTTP nor HTTPS: {why}"))
    }
}

async fn answer(mut response: Response, address: SocketAddr) -> Asked {
    if response.headers().get(SERVER).is_none_or(|name| name != SERVER_NAME) {
        return Asked::NoExporter(format!("{address} is answered by another program"));
    }
    let mut body = Vec::new();
    while body.len() < LONGEST_BODY {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => {
                let (status, body) = (response.status().as_u16(), String::from_utf8_lossy(&body).into_owned());
                return Asked::Exporter { status, body };
            }
            Err(_) => return Asked::Unclear(format!("{address} breaks off")),
        }
    }
    Asked::Unclear(format!("{address} answers too much"))
}

/// The innermost cause: those around it repeat the address.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
