//! The simulated IMDS and its port, changed as one.
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
use super::gate::{Gate, Posture};
use super::imds::Imds;
use super::scenario::{Scenario, Step};
use super::settings::Settings;
use crate::clock::monotonic;
use crate::model::Kind;

/// Why a change did not take effect.
#[derive(Debug)]
pub enum ApplyError {
    /// `flap` without a fault that could come and go.
    NothingFlaps,
    /// The port could not be taken back, or not be closed to all.
    Port(io::Error),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingFlaps => f.write_str("`flap`: there is no fault that could come and go"),
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

pub(super) struct Plant {
    pub(super) imds: Arc<Imds>,
    address: SocketAddr,
    port: Mutex<Port>,
}

struct Port {
    gate: Gate,
    /// At most one task, which lets the fault come and go.
    flapping: JoinSet<()>,
}

impl Plant {
    pub(super) fn open(listen: SocketAddr, imds: Imds) -> io::Result<Arc<Self>> {
        let imds = Arc::new(imds);
        let gate = Gate::open(listen, Connection { imds: Arc::clone(&imds) })?;
        let address = gate.address();
        Ok(Arc::new(Self { imds, address, port: Mutex::new(Port { gate, flapping: JoinSet::new() }) }))
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the change; it has taken effect when this returns.
    pub(super) async fn apply(self: &Arc<Self>, change: &Change) -> Result<(), ApplyError> {
        let mut port = self.port.lock().await;
        let faulty = match change.fault {
            Some(health) => health != Health::Sound,
            None => self.imds.settings().fault.is_some(),
        };
        if change.flap.is_some() && !faulty {
            return Err(ApplyError::NothingFlaps);
        }
        if change.fault.is_some() || change.flap.is_some() {
            // While the port is locked the task is asleep, so that it is never cut off halfway.
            port.flapping.shutdown().await;
        }
        self.imds.apply(change);
        port.gate.take(posture(&self.imds.settings())).await.map_err(ApplyError::Port)?;
        if let Some(period) = change.flap {
            port.flapping.spawn(flap(Arc::downgrade(self), period));
        }
        Ok(())
    }

    /// Plays the scenario from now on; `told` hears of each step when it has taken effect.
    pub(super) async fn play(
        self: &Arc<Self>,
        scenario: &Scenario,
        mut told: impl FnMut(&Step),
    ) -> Result<(), ApplyError> {
        let start = monotonic();
        for step in &scenario.steps {
            sleep_until(start + step.at).await;
            self.apply(&step.change).await?;
            told(step);
        }
        Ok(())
    }

    /// Closes the port and kills the connections.
    pub(super) async fn close(&self) {
        let mut port = self.port.lock().await;
        port.flapping.shutdown().await;
        port.gate.close().await;
    }
}

async fn flap(plant: Weak<Plant>, period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, and the fault strikes already.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(plant) = plant.upgrade() else { return };
        let mut port = plant.port.lock().await;
        plant.imds.flap();
        if let Err(error) = port.gate.take(posture(&plant.imds.settings())).await {
            tracing::warn!(%error, "the simulator's port did not follow the flapping fault");
        }
    }
}

fn posture(settings: &Settings) -> Posture {
    match settings.fault_in_force().map(|fault| fault.kind()) {
        Some(Kind::ConnectRefused) => Posture::Refusing,
        Some(Kind::ConnectTimeout) => Posture::Silent,
        _ => Posture::Open,
    }
}
