//! The IMDS simulator: the instance metadata service on loopback, with made-up credentials and every fault that it can
//! have.
//!
//! | module | owns |
//! | --- | --- |
//! | `change`, `scenario` | what it can be told to do, and how that is written |
//! | `fault` | each kind of failure, and how it looks on the wire |
//! | `imds`, `endpoint`, `document`, `tokens`, `counts` | the rules of IMDS, and what it was asked |
//! | `sts`, `signature` | the simulated STS |
//! | `answer`, `connection`, `request`, `acceptor`, `port` | HTTP and sockets |
//! | `server`, `control` | changing it while it runs |
//!
//! HTTP is written by hand over plain sockets, because most faults are below HTTP. Must not know the exporter: it uses
//! the vocabulary and the clock alone.

mod acceptor;
mod answer;
mod change;
mod connection;
mod control;
mod counts;
mod document;
mod endpoint;
mod fault;
mod imds;
mod port;
mod request;
mod scenario;
mod server;
mod signature;
mod sts;
#[cfg(test)]
mod tests;
mod tokens;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use acceptor::Acceptor;
use control::Control;
use imds::Imds;
use server::Server;
use sts::Sts;

pub use change::{Change, Health, Part, TokenPolicy, Verdict};
pub use counts::{Counts, Seen};
pub use document::{CREDENTIAL_TOKEN_PREFIX, KEY_ID_PREFIX, Off, Rotation, SECRET_KEY_PREFIX};
pub use endpoint::Endpoint;
pub use fault::{Fault, FaultError, is_client_side};
pub use scenario::{Scenario, ScenarioError};
pub use server::ApplyError;
pub use tokens::SESSION_TOKEN_PREFIX;

use tokio::net::TcpListener;

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
    server: Arc<Server>,
    control: Option<(SocketAddr, Acceptor)>,
    sts: Option<(SocketAddr, Acceptor)>,
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
        let server = Server::open(options.listen, Imds::new(Arc::clone(&clock)))?;
        let control = options.control.map(bound).transpose()?.map(|(listener, address)| {
            (address, Acceptor::start(listener, Control::new(Arc::clone(&server), address)))
        });
        let sts = options.sts.map(bound).transpose()?.map(|(listener, address)| {
            (address, Acceptor::start(listener, Sts { imds: Arc::clone(&server.imds), clock }))
        });
        Ok(Self { server, control, sts })
    }

    /// Where it listens; the address stays the same during outages.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where the control interface listens.
    #[must_use]
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(|(address, _)| *address)
    }

    /// Where the simulated STS listens.
    #[must_use]
    pub fn sts_address(&self) -> Option<SocketAddr> {
        self.sts.as_ref().map(|(address, _)| *address)
    }

    /// Applies the change; it has taken effect when this returns.
    ///
    /// # Errors
    /// If there is no fault to flap, or the port cannot be closed or bound again.
    pub async fn apply(&self, change: &Change) -> Result<(), ApplyError> {
        self.server.apply(change).await
    }

    /// The number of requests since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.server.imds.counts()
    }

    /// The requests to the simulated IMDS, the newest last; the older of many are forgotten.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.server.imds.seen()
    }

    /// What it was told to do.
    #[must_use]
    pub fn settings(&self) -> Change {
        self.server.imds.settings()
    }

    /// The credentials that a client would get now if there were no fault.
    #[must_use]
    pub fn credential(&self) -> Credential {
        self.server.imds.credential()
    }

    /// Plays the scenario; `on_step` is called for each step when it has taken effect. Returns after the last one.
    ///
    /// # Errors
    /// As for [`Simulator::apply`], for the first step that fails.
    pub async fn play(&self, scenario: &Scenario, on_step: impl FnMut(&Change)) -> Result<(), ApplyError> {
        self.server.play(scenario, on_step).await
    }

    /// Stops it: when this returns, its ports and connections are closed.
    pub async fn shutdown(self) {
        if let Some((_, control)) = self.control {
            control.stop().await;
        }
        if let Some((_, sts)) = self.sts {
            sts.stop().await;
        }
        self.server.close().await;
    }
}

fn bound(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = port::bind(address)?.listen(16)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
