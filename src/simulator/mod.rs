//! The IMDS simulator: the instance metadata service on loopback, with made-up credentials and every fault that it can
//! have.
//!
//! | module | owns |
//! | --- | --- |
//! | `change`, `scenario` | what it can be told to do, and how that is written |
//! | `fault` | each kind of failure, and how it looks on the wire |
//! | `imds`, `document`, `tokens`, `counts` | the rules of IMDS, and what it was asked |
//! | `imds_request`, `answer`, `connection` | its HTTP, written by hand: most faults are below HTTP |
//! | `acceptor`, `port` | sockets |
//! | `server`, `control` | changing it while it runs |
//! | `sts`, `signature` | the simulated STS |
//!
//! Must not know the exporter: it uses the vocabulary and the clock alone.

mod acceptor;
mod answer;
mod change;
mod connection;
mod control;
mod counts;
mod document;
mod fault;
mod imds;
mod imds_request;
mod port;
mod scenario;
mod server;
mod signature;
mod sts;
mod tokens;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use acceptor::Acceptor;
use imds::SharedImds;
use server::ImdsServer;
use tokio::net::TcpListener;

pub use change::{Change, Health, Part, StsVerdict, TokenPolicy};
pub use counts::{Counts, Seen};
pub use document::{CREDENTIAL_TOKEN_PREFIX, KEY_ID_PREFIX, Rotation, SECRET_KEY_PREFIX};
pub use fault::{Fault, is_client_side};
pub use imds_request::Resource;
pub use scenario::Scenario;
pub use tokens::SESSION_TOKEN_PREFIX;

use crate::domain::Credential;
use crate::platform::clock::Clock;

/// Where the simulator listens.
#[derive(Clone, Copy, Debug)]
pub struct SimulatorOptions {
    /// The simulated IMDS; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The control interface, if any.
    pub control: Option<SocketAddr>,
    /// The simulated STS, if any.
    pub sts: Option<SocketAddr>,
    /// Allows addresses other than those of loopback. Anybody who reaches the control interface controls the simulator.
    pub allow_any_address: bool,
}

impl Default for SimulatorOptions {
    /// Loopback, any port, no control interface, no STS.
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), control: None, sts: None, allow_any_address: false }
    }
}

/// A running simulated IMDS; dropping it stops it.
pub struct Simulator {
    server: Arc<ImdsServer>,
    control: Option<Acceptor>,
    sts: Option<Acceptor>,
}

impl Simulator {
    /// Starts it, healthy.
    ///
    /// # Errors
    /// If an address cannot be bound, or is not one of loopback and that is not allowed (`InvalidInput`).
    #[expect(clippy::unused_async, reason = "it needs a runtime")]
    pub async fn start(options: SimulatorOptions, clock: Arc<dyn Clock>) -> io::Result<Self> {
        for address in [Some(options.listen), options.control, options.sts].into_iter().flatten() {
            if !address.ip().to_canonical().is_loopback() && !options.allow_any_address {
                let text = format!("{address} is not a loopback address, and no other is allowed");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        let server = ImdsServer::open(options.listen, SharedImds::new(Arc::clone(&clock)))?;
        let open = |address: Option<_>| address.map(|address| port::bind(address)?.listen(16)).transpose();
        let serve_control = |listener: TcpListener| {
            let router = control::router(Arc::clone(&server), listener.local_addr()?);
            Acceptor::start(listener, router)
        };
        let control = open(options.control)?.map(serve_control).transpose()?;
        let sts = sts::router(server.imds.clone(), clock);
        let sts = open(options.sts)?.map(|listener| Acceptor::start(listener, sts)).transpose()?;
        Ok(Self { server, control, sts })
    }

    /// Where it listens; the address stays the same during outages.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Where the control interface listens.
    #[must_use]
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(|acceptor| acceptor.address)
    }

    /// Where the simulated STS listens.
    #[must_use]
    pub fn sts_address(&self) -> Option<SocketAddr> {
        self.sts.as_ref().map(|acceptor| acceptor.address)
    }

    /// Applies the change; it has taken effect when this returns.
    ///
    /// # Errors
    /// If its keys do not fit together or there is no fault to flap (`InvalidInput`), or the port cannot be bound again.
    pub async fn apply(&self, change: &Change) -> io::Result<()> {
        self.server.apply(change).await
    }

    /// The number of requests since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.server.imds.lock().counts
    }

    /// The requests to the simulated IMDS, the newest last; the older of many are forgotten.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.server.imds.lock().seen.iter().cloned().collect()
    }

    /// What it was told to do.
    #[must_use]
    pub fn settings(&self) -> Change {
        self.server.imds.lock().settings.clone()
    }

    /// The credentials that a client would get now if there were no fault.
    #[must_use]
    pub fn credential(&self) -> Credential {
        self.server.imds.lock().credential()
    }

    /// Plays the scenario; `on_step` is called for each step when it has taken effect. Returns after the last one.
    ///
    /// # Errors
    /// As for [`Simulator::apply`], for the first step that fails.
    pub async fn play(&self, scenario: &Scenario, on_step: impl FnMut(&Change)) -> io::Result<()> {
        self.server.play(scenario, on_step).await
    }

    /// Stops it: when this returns, its ports and connections are closed.
    pub async fn shutdown(self) {
        for acceptor in [self.control, self.sts].into_iter().flatten() {
            acceptor.stop().await;
        }
        self.server.close().await;
    }
}
