//! The simulated IMDS and its port together.
//!
//! Owns the order in which a change takes effect, flapping, and playing scenarios. Must not know the control
//! interface.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::change::Change;
use super::connection::Connection;
use super::fault::{Fault, FaultError, PortState};
use super::imds::Imds;
use super::port::Port;
use super::scenario::Scenario;
use crate::platform::clock::monotonic;

/// A shorter period would keep the machine busy.
const SHORTEST_FLAP: Duration = Duration::from_millis(10);

/// Why a change did not take effect.
#[derive(Debug)]
pub enum ApplyError {
    /// There is no such fault, or none that could flap.
    Fault(FaultError),
    /// The port could not be bound again, or could not be closed.
    Port(io::Error),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(error) => write!(f, "`{}`: {error}", error.key()),
            Self::Port(error) => write!(f, "the simulator's port: {error}"),
        }
    }
}

impl std::error::Error for ApplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Fault(error) => Some(error),
            Self::Port(error) => Some(error),
        }
    }
}

pub(super) struct Server {
    pub(super) imds: Arc<Imds>,
    address: SocketAddr,
    listening: Mutex<Listening>,
}

struct Listening {
    port: Port,
    /// At most one task, which makes the fault flap.
    flapping: JoinSet<()>,
}

impl Server {
    pub(super) fn open(listen: SocketAddr, imds: Imds) -> io::Result<Arc<Self>> {
        let imds = Arc::new(imds);
        let port = Port::open(listen, Connection { imds: Arc::clone(&imds) })?;
        let address = port.address();
        Ok(Arc::new(Self { imds, address, listening: Mutex::new(Listening { port, flapping: JoinSet::new() }) }))
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the change; it has taken effect when this returns.
    pub(super) async fn apply(self: &Arc<Self>, change: &Change) -> Result<(), ApplyError> {
        let mut listening = self.listening.lock().await;
        self.imds.apply(change).map_err(ApplyError::Fault)?;
        if change.fault.is_some() || change.flap.is_some() {
            // The task waits while the port is locked, so that it is never cancelled halfway.
            listening.flapping.shutdown().await;
        }
        listening.port.set(self.port_state()).await.map_err(ApplyError::Port)?;
        if let Some(period) = change.flap {
            listening.flapping.spawn(flap(Arc::downgrade(self), period));
        }
        Ok(())
    }

    /// Plays the scenario from now on; `on_step` is called for each step when it has taken effect.
    pub(super) async fn play(
        self: &Arc<Self>,
        scenario: &Scenario,
        mut on_step: impl FnMut(&Change),
    ) -> Result<(), ApplyError> {
        let start = monotonic();
        for step in &scenario.steps {
            sleep(step.at.unwrap_or_default().saturating_sub(start.elapsed())).await;
            self.apply(step).await?;
            on_step(step);
        }
        Ok(())
    }

    fn port_state(&self) -> PortState {
        self.imds.active_fault().as_ref().map_or(PortState::Open, Fault::port)
    }

    /// Closes the port and resets the connections.
    pub(super) async fn close(&self) {
        let mut listening = self.listening.lock().await;
        listening.flapping.shutdown().await;
        listening.port.close().await;
    }
}

async fn flap(server: Weak<Server>, period: Duration) {
    loop {
        sleep(period.max(SHORTEST_FLAP)).await;
        let Some(server) = server.upgrade() else { return };
        let mut listening = server.listening.lock().await;
        server.imds.flap();
        if let Err(error) = listening.port.set(server.port_state()).await {
            tracing::warn!(%error, "the simulator's port did not follow the flapping fault");
        }
    }
}
