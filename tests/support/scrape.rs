//! Scrapes of an exporter, and single values of them.

use std::net::SocketAddr;

use imds_exporter::domain::Kind;
use strum::VariantArray;

use super::request::get;
use super::wait::{DEADLINE, answer_within};

/// An exposition.
pub(crate) struct Scrape(pub(crate) String);

impl Scrape {
    /// Scrapes, which must always succeed.
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let response = get(address, "/metrics").await;
        assert_eq!(response.status, 200);
        Self(response.body().to_owned())
    }

    /// The value of a series of whole numbers; 0 if it does not exist.
    pub(crate) fn value(&self, series: &str) -> u64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a whole number"))
    }

    pub(crate) fn polls(&self) -> u64 {
        self.value("imds_fetches_total")
    }

    /// Polls with this outcome.
    pub(crate) fn outcomes(&self, outcome: &str) -> u64 {
        self.value(&format!("imds_fetch_duration_seconds_count{{outcome=\"{outcome}\"}}"))
    }

    pub(crate) fn failures(&self, kind: Kind) -> u64 {
        self.value(&format!("imds_fetch_failures_total{{kind=\"{kind}\"}}"))
    }

    pub(crate) fn all_failures(&self) -> u64 {
        Kind::VARIANTS.iter().map(|kind| self.failures(*kind)).sum()
    }

    /// The kind of the current failure.
    pub(crate) fn active_kind(&self) -> Option<&str> {
        let line = self.0.lines().find(|line| line.starts_with("imds_failure_active{"))?;
        line.split('"').nth(1)
    }
}

/// Scrapes until it is as wanted. The deadline allows for a machine that runs one exporter per failure kind.
pub(crate) async fn scrape_until(address: SocketAddr, what: &str, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
    let scrape = answer_within(DEADLINE * 2, async || Some(Scrape::of(address).await).filter(&wanted)).await;
    let Some(scrape) = scrape else { panic!("{what}: timeout; the last scrape: {}", Scrape::of(address).await.0) };
    scrape
}

/// Scrapes until there are this many more polls than in `before`.
pub(crate) async fn polls_after(before: &Scrape, more: u64, address: SocketAddr) -> Scrape {
    let polls = before.polls() + more;
    scrape_until(address, "polling continues", |scrape| scrape.polls() >= polls).await
}
