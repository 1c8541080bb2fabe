//! The IMDS simulator: the instance metadata service on loopback, with made-up credentials, and every way in which
//! it can fail.
//!
//! Owns the public face; each part stands in a module of its own:
//!
//! | module | owns |
//! | --- | --- |
//! | `fault`, `variant`, `change`, `scenario` | what the simulator can be told |
//! | `spelling`, `scenario_error`, `words` | how that is written, and what is wrong with it |
//! | `settings`, `counts` | what it does at present, and how often it was asked |
//! | `imds`, `endpoint`, `document`, `tokens` | the rules of IMDS |
//! | `strike`, `answer` | how the faults look on the wire |
//! | `connection`, `request`, `acceptor`, `gate` | sockets |
//! | `plant`, `control` | changing it while it runs |
//!
//! HTTP is written by hand over plain sockets, for most faults are below HTTP. Must not know the exporter: of the
//! crate it uses the vocabulary and the clock.

mod acceptor;
mod answer;
mod change;
mod connection;
mod control;
mod counts;
mod document;
mod endpoint;
mod fault;
mod gate;
mod imds;
mod plant;
mod request;
mod scenario;
mod scenario_error;
mod settings;
mod spelling;
mod strike;
#[cfg(test)]
mod tests;
mod tokens;
mod variant;
mod words;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use acceptor::Acceptor;
use control::Control;
use imds::Imds;
use plant::Plant;

pub use change::{Change, Content, Health, Rotation, TokenPolicy};
pub use counts::Counts;
pub use document::{CREDENTIAL_TOKEN_PREFIX, KEY_ID_PREFIX, SECRET_KEY_PREFIX};
pub use fault::{Fault, FaultError, is_client_side, steps, variants};
pub use plant::ApplyError;
pub use scenario::{Scenario, Step};
pub use scenario_error::ScenarioError;
pub use settings::Settings;
pub use tokens::SESSION_TOKEN_PREFIX;
pub use variant::{Field, Variant};

use crate::clock::Clock;
use crate::model::Credential;

/// Where the simulator listens.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The simulated IMDS; with port 0 the system picks one.
    pub listen: SocketAddr,
    /// The control interface, if there shall be one.
    pub control: Option<SocketAddr>,
    /// Allows addresses other than loopback's. Whoever reaches the control interface has the simulator in hand.
    pub allow_any_address: bool,
}

impl Default for Options {
    /// Loopback, any port, no control interface.
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), control: None, allow_any_address: false }
    }
}

/// A simulated IMDS that runs; dropped, it stops.
pub struct Simulator {
    plant: Arc<Plant>,
    control: Option<(SocketAddr, Acceptor)>,
}

impl Simulator {
    /// Starts it, healthy.
    ///
    /// # Errors
    /// If an address cannot be bound, or is not loopback's and that was not allowed (`InvalidInput`).
    #[expect(clippy::unused_async, reason = "it needs a runtime, and may come to wait")]
    pub async fn start(options: Options, clock: Arc<dyn Clock>) -> io::Result<Self> {
        for address in [Some(options.listen), options.control].into_iter().flatten() {
            if !address.ip().to_canonical().is_loopback() && !options.allow_any_address {
                let text = format!("{address} is not a loopback address, and no other is allowed");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        let plant = Plant::open(options.listen, Imds::new(clock))?;
        let control = match options.control {
            Some(address) => {
                let listener = gate::bind(address)?.listen(16)?;
                let address = listener.local_addr()?;
                Some((address, Acceptor::start(listener, Control::new(Arc::clone(&plant), address))))
            }
            None => None,
        };
        Ok(Self { plant, control })
    }

    /// Where it listens; it stays the same while it goes down and comes back.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.plant.address()
    }

    /// Where the control interface listens.
    #[must_use]
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control.as_ref().map(|(address, _)| *address)
    }

    /// Makes the change; it has taken effect when this returns.
    ///
    /// # Errors
    /// If there is no fault to flap, or the port cannot be closed or taken back.
    pub async fn apply(&self, change: &Change) -> Result<(), ApplyError> {
        self.plant.apply(change).await
    }

    /// How often it was asked since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.plant.imds.counts()
    }

    /// What it does at present.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.plant.imds.settings()
    }

    /// The credentials that a client would get now, were there no fault.
    #[must_use]
    pub fn credential(&self) -> Credential {
        self.plant.imds.credential()
    }

    /// Plays the scenario from now on; `told` hears of each step when it has taken effect. Returns after the last.
    ///
    /// # Errors
    /// As [`Simulator::apply`], for the first step that fails.
    pub async fn play(&self, scenario: &Scenario, told: impl FnMut(&Step)) -> Result<(), ApplyError> {
        self.plant.play(scenario, told).await
    }

    /// Stops it: when this returns its ports are closed and its connections are dead.
    pub async fn shutdown(self) {
        if let Some((_, control)) = self.control {
            control.stop().await;
        }
        self.plant.close().await;
    }
}
