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
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::change::{Change, Health};
use super::connection::Connection;
use super::imds::Imds;
use super::port::{Port, PortState};
use super::scenario::{Scenario, Step};
use super::settings::Settings;
use crate::domain::Kind;
use crate::platform::clock::monotonic;

/// Why a change did not take effect.
#[derive(Debug)]
pub enum ApplyError {
    /// `flap` without a fault.
    NothingFlaps,
    /// The port could not be bound again, or could not be closed.
    Port(io::Error),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingFlaps => f.write_str("`flap`: there is no fault that could flap"),
            Self::Port(error) => write!(f, "the simulator's port: {error}"),
        }
    }
}

impl std::error::Error for ApplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NothingFlaps => None,
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
        let faulty = match change.fault {
            Some(health) => health != Health::Healthy,
            None => self.imds.settings().fault.is_some(),
        };
        if change.flap.is_some() && !faulty {
            return Err(ApplyError::NothingFlaps);
        }
        if change.fault.is_some() || change.flap.is_some() {
            // The task waits while the port is locked, so that it is never cancelled halfway.
            listening.flapping.shutdown().await;
        }
        self.imds.apply(change);
        listening.port.set(port_state(&self.imds.settings())).await.map_err(ApplyError::Port)?;
        if let Some(period) = change.flap {
            listening.flapping.spawn(flap(Arc::downgrade(self), period));
        }
        Ok(())
    }

    /// Plays the scenario from now on; `on_step` is called for each step when it has taken effect.
    pub(super) async fn play(
        self: &Arc<Self>,
        scenario: &Scenario,
        mut on_step: impl FnMut(&Step),
    ) -> Result<(), ApplyError> {
        let start = monotonic();
        for step in &scenario.steps {
            sleep_until(start + step.at).await;
            self.apply(&step.change).await?;
            on_step(step);
        }
        Ok(())
    }

    /// Closes the port and resets the connections.
    pub(super) async fn close(&self) {
        let mut listening = self.listening.lock().await;
        listening.flapping.shutdown().await;
        listening.port.close().await;
    }
}

async fn flap(server: Weak<Server>, period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, and the fault is active already.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(server) = server.upgrade() else { return };
        let mut listening = server.listening.lock().await;
        server.imds.flap();
        if let Err(error) = listening.port.set(port_state(&server.imds.settings())).await {
            tracing::warn!(%error, "the simulator's port did not follow the flapping fault");
        }
    }
}

fn port_state(settings: &Settings) -> PortState {
    match settings.active_fault().map(|fault| fault.kind()) {
        Some(Kind::ConnectRefused) => PortState::Refusing,
        Some(Kind::ConnectTimeout) => PortState::Silent,
        _ => PortState::Open,
    }
}
