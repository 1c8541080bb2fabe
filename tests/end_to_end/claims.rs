//! What an exporter claims of stuck clients, wherever it says something.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::program::ExporterProcess;
use crate::support::request::{metrics_with, try_get};

/// What is said at one moment.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) metrics: String,
    pub(crate) status: Value,
    page: String,
}

impl Claims {
    /// Once the last poll succeeded or failed, as wanted.
    pub(crate) async fn once_up_is(up: u8, address: SocketAddr) -> Self {
        let metrics = metrics_with(address, &format!("\nimds_up {up}\n")).await;
        let status = try_get(address, "/api/v1/status").await.expect("the status");
        let status = serde_json::from_str(&status).expect("JSON");
        let page = try_get(address, "/").await.expect("the page");
        Self { metrics, status, page }
    }

    /// The row of the table of clients; the JSON has the same.
    pub(crate) fn usable(&self, created: &str) -> Option<bool> {
        let series = format!("imds_client_usable{{sdk=\"boto3\",created=\"{created}\"}} ");
        let value = self.metrics.lines().find_map(|line| line.strip_prefix(&series)).map(|value| value == "1");
        let rows = self.status["clients"].as_array().expect("a list");
        let row = rows.iter().find(|row| row["created"] == created).and_then(|row| row["usable"].as_bool());
        assert_eq!(value, row, "the metric, and the JSON: {created}");
        value
    }

    /// Whether clients are stuck; metrics, JSON and page say the same.
    pub(crate) fn stuck(&self) -> bool {
        let stuck = self.status["clients_stuck"].as_bool().expect("it is always said");
        let by_metrics = self.usable("now") == Some(true) && self.usable("at_start") == Some(false);
        assert_eq!(by_metrics, stuck, "{}\n{}", self.metrics, self.status);
        assert_eq!(self.page.contains("Clients are stuck"), stuck, "{}", self.page);
        assert_eq!(self.page.to_lowercase().contains("stuck"), stuck, "{}", self.page);
        stuck
    }
}

/// Whether the log says that clients of an outage have no credentials.
pub(crate) fn log_warns_of_clients(exporter: &ExporterProcess) -> bool {
    exporter.logged(|line| line["level"] == "WARN" && text(line).contains("until it is re-created")).is_some()
}

/// Whether the log says that something is stuck.
pub(crate) fn log_says_stuck(exporter: &ExporterProcess) -> bool {
    exporter.logged(|line| line.to_string().to_lowercase().contains("stuck")).is_some()
}

fn text(line: &Value) -> &str {
    line["message"].as_str().or_else(|| line["fields"]["message"].as_str()).unwrap_or_default()
}
