//! The exporter inside the process of the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use imds_exporter::config::Config;
use imds_exporter::exporter::{self, Listeners};
use imds_exporter::platform::clock::{Clock, SystemClock};
use imds_exporter::simulator::Simulator;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::wait::DEADLINE;

/// A listener on a free port, and its address.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// All pages on this listener, for everybody.
pub(crate) fn open(listener: TcpListener) -> Listeners {
    Listeners { pages: vec![listener], ..Listeners::default() }
}

pub(crate) fn config(variables: &[(&str, &str)]) -> Config {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    Config::from_environment(variables).expect("a valid configuration")
}

/// An exporter that runs as a task.
pub(crate) struct Exporter {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Exporter {
    /// An exporter that polls the simulator every second.
    pub(crate) async fn start(simulator: &Simulator) -> Self {
        Self::start_with(simulator, &[]).await
    }

    /// As [`Self::start`], with more variables.
    pub(crate) async fn start_with(simulator: &Simulator, more: &[(&str, &str)]) -> Self {
        let endpoint = format!("http://{}", simulator.address());
        let own = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()), ("IMDS_EXPORTER_POLL_INTERVAL", "1s")];
        let variables: BTreeMap<_, _> = own.iter().chain(more).copied().collect();
        Self::start_config(config(&variables.into_iter().collect::<Vec<_>>())).await
    }

    /// An exporter with this configuration, on a free port.
    pub(crate) async fn start_config(config: Config) -> Self {
        let (listener, address) = listen().await;
        let (stop, stopped) = oneshot::channel();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let task = tokio::spawn(exporter::run(config, open(listener), clock, async {
            let _sender_gone = stopped.await;
        }));
        Self { address, stop: Some(stop), task }
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        timeout(DEADLINE, self.task).await.expect("it stops").expect("it does not panic").expect("it succeeds");
    }
}
