//! What people and programs are told beside the metrics: one value, from which the page and the JSON are made.

use jiff::Timestamp;
use serde::Serialize;

use crate::client::{Created, SDKS};
use crate::metrics::Build;
use crate::model::{Kind, Outcome, Step};
use crate::outage::Window;
use crate::process::Suspect;
use crate::recent::Poll;
use crate::state::State;

/// How things stand, as `/api/v1/status` tells it. Absent values are null.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The exporter's version.
    pub version: &'static str,
    /// When this was written.
    pub now: Timestamp,
    /// When the exporter started.
    pub started_at: Timestamp,
    /// Where IMDS is.
    pub endpoint: String,
    /// Whether the last poll returned credentials; null before the first ended.
    pub up: Option<bool>,
    /// The role in force.
    pub role: Option<String>,
    /// `Expiration` of the last document seen.
    pub expiration: Option<Timestamp>,
    /// Time to expiry; negative once past.
    pub remaining_seconds: Option<i64>,
    /// `LastUpdated` of the last document seen.
    pub last_updated: Option<Timestamp>,
    /// When the last poll ended.
    pub last_attempt_at: Option<Timestamp>,
    /// When the last successful poll ended.
    pub last_success_at: Option<Timestamp>,
    /// IMDS's clock minus the local one.
    pub clock_skew_seconds: Option<f64>,
    /// The failure in force.
    pub failure: Option<FailureStatus>,
    /// Would such a client have credentials to sign with?
    pub clients: Vec<ClientStatus>,
    /// IMDS is fine, but clients created when the exporter started are not.
    pub clients_stuck: bool,
    /// Start of the outage in force.
    pub outage_since: Option<Timestamp>,
    /// Outages that are over, oldest first.
    pub outages: Vec<Window>,
    /// Watched processes that started in an outage that is over; null where watching is off.
    pub suspects: Option<Vec<Suspect>>,
    /// The polls of the last hour, oldest first: for the page.
    #[serde(skip)]
    pub recent: Vec<Poll>,
}

/// A failure with what a person needs to know about it.
#[derive(Clone, Debug, Serialize)]
pub struct FailureStatus {
    /// Its kind.
    pub kind: Kind,
    /// The step in which it happens.
    pub step: Step,
    /// Since when polls fail.
    pub since: Timestamp,
    /// How many polls failed in a row.
    pub polls: u32,
    /// What was seen.
    pub when: &'static str,
    /// Its likely cause.
    pub cause: &'static str,
    /// What to do.
    pub action: &'static str,
}

/// One entry of the client table.
#[derive(Clone, Debug, Serialize)]
pub struct ClientStatus {
    /// The SDK.
    pub sdk: &'static str,
    /// When the client was created.
    pub created: &'static str,
    /// The same for people.
    pub meaning: &'static str,
    /// Whether it could sign; null before the first poll ended.
    pub usable: Option<bool>,
}

impl Status {
    /// How things stand at `now`.
    #[must_use]
    pub fn new(state: &State, suspects: Option<Vec<Suspect>>, endpoint: &str, now: Timestamp) -> Self {
        let credential = state.credential();
        let clients = SDKS.iter().enumerate().flat_map(|(index, sdk)| {
            Created::ALL.iter().map(move |created| ClientStatus {
                sdk: sdk.label,
                created: created.label(),
                meaning: created.meaning(),
                usable: state.client_usable(index, *created, now),
            })
        });
        Self {
            version: Build::THIS.version,
            now,
            started_at: state.started_at(),
            endpoint: endpoint.to_owned(),
            up: state.last_outcome().map(|outcome| outcome == Outcome::Success),
            role: credential.map(|credential| credential.role.to_string()),
            expiration: credential.map(|credential| credential.expiration),
            remaining_seconds: credential.map(|credential| credential.remaining(now).as_secs()),
            last_updated: credential.and_then(|credential| credential.last_updated),
            last_attempt_at: state.last_attempt_at(),
            last_success_at: state.last_success_at(),
            clock_skew_seconds: state.clock_skew().map(|skew| skew.as_secs_f64()),
            failure: state.failing().map(|run| FailureStatus {
                kind: run.failure.kind,
                step: run.failure.step,
                since: run.since,
                polls: run.polls.get(),
                when: run.failure.kind.when(),
                cause: run.failure.kind.cause(),
                action: run.failure.kind.action(),
            }),
            clients: clients.collect(),
            clients_stuck: state.clients_stuck(now),
            outage_since: state.outages().open(),
            outages: state.outages().ended().copied().collect(),
            suspects,
            recent: state.recent().polls().copied().collect(),
        }
    }

    /// As JSON, with a newline at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("all keys are strings");
        json.push('\n');
        json
    }
}
