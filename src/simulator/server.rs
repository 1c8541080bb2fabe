//! The simulated IMDS and its port together.
//!
//! Owns the order in which a change takes effect, flapping, and playing scenarios. Must not know the control
//! interface.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::change::Change;
use super::fault::{Fault, PortState};
use super::imds::SharedImds;
use super::port::Port;
use super::scenario::Scenario;
use crate::platform::clock::monotonic;

/// A shorter period would keep the machine busy.
const SHORTEST_FLAP: Duration = Duration::from_millis(10);

pub(super) struct ImdsServer {
    pub(super) imds: SharedImds,
    pub(super) address: SocketAddr,
    listening: Mutex<Listening>,
}

struct Listening {
    port: Port,
    /// At most one task, which makes the fault flap.
    flapping: JoinSet<()>,
}

impl ImdsServer {
    pub(super) fn open(listen: SocketAddr, imds: SharedImds) -> io::Result<Arc<Self>> {
        let port = Port::open(listen, imds.clone())?;
        let address = port.address;
        Ok(Arc::new(Self { imds, address, listening: Mutex::new(Listening { port, flapping: JoinSet::new() }) }))
    }

    /// Makes the change; it has taken effect when this returns.
    pub(super) async fn apply(self: &Arc<Self>, change: &Change) -> io::Result<()> {
        let mut listening = self.listening.lock().await;
        self.imds.lock().apply(change).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        if change.fault.is_some() || change.flap.is_some() {
            // The task waits while the port is locked, so that it is never cancelled halfway.
            listening.flapping.shutdown().await;
        }
        self.follow(&mut listening.port).await?;
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
    ) -> io::Result<()> {
        let start = monotonic();
        for step in &scenario.steps {
            sleep(step.at.unwrap_or_default().saturating_sub(start.elapsed())).await;
            self.apply(step).await?;
            on_step(step);
        }
        Ok(())
    }

    async fn follow(&self, port: &mut Port) -> io::Result<()> {
        let state = self.imds.lock().active_fault().as_ref().map_or(PortState::Open, Fault::port);
        port.set(state).await.map_err(|error| io::Error::new(error.kind(), format!("the simulator's port: {error}")))
    }

    pub(super) async fn close(&self) {
        let mut listening = self.listening.lock().await;
        listening.flapping.shutdown().await;
        listening.port.close().await;
    }
}

async fn flap(server: Weak<ImdsServer>, period: Duration) {
    loop {
        sleep(period.max(SHORTEST_FLAP)).await;
        let Some(server) = server.upgrade() else { return };
        let mut listening = server.listening.lock().await;
        server.imds.lock().fault_active ^= true;
        if let Err(error) = server.follow(&mut listening.port).await {
            tracing::warn!(%error, "a flapping fault did not take effect");
        }
    }
}
