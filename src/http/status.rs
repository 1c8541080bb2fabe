//! The status: one value, from which the status page, the JSON and the report of `check` are made.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use strum::VariantArray;

use crate::domain::boto3::{Created, Prognosis, SDK};
use crate::domain::outage::Outage;
use crate::domain::place::Place;
use crate::domain::poll_history::Poll;
use crate::domain::signed_call::{CallFailure, Caller, Obstacle, Reason, SignedCall, SignedCalls};
use crate::domain::state::{FailureStreak, State};
use crate::domain::workload::Workload;
use crate::domain::{Failure, ImdsState, Kind, Outcome, Shadow, Step};
use crate::metrics::Build;
use crate::runbook::{Explanation, Sentence, explanation, reason_explanation, sentence};
use crate::workload::{SuspectProcess, Watched};

/// What `/api/v1/status` returns. Absent values are null.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The verdict.
    pub state: ImdsState,
    /// The exporter's version.
    pub version: &'static str,
    /// When this was written.
    pub now: Timestamp,
    /// When the exporter started.
    pub started_at: Timestamp,
    /// The address of IMDS.
    pub endpoint: String,
    /// Whether the last poll returned credentials; null before the first poll ended.
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
    /// The clock of IMDS minus the local clock.
    pub clock_skew_seconds: Option<f64>,
    /// The present failure.
    pub failure: Option<FailureStatus>,
    /// What this means for boto3 clients.
    pub clients: Vec<ClientStatus>,
    /// IMDS is fine, but clients that were created when the workload started hold no credentials, permanently.
    pub clients_stuck: bool,
    /// Start of the present outage.
    pub outage_since: Option<Timestamp>,
    /// Outages that are over, oldest first.
    pub outages: Vec<Outage>,
    /// Which workload is declared to start with the exporter.
    pub workload: &'static str,
    /// When the declared workload started; null if none is declared, or that is not known.
    pub workload_started_at: Option<Timestamp>,
    /// What the SDKs' default chain finds before it would ask IMDS; then no claim about clients is made.
    pub chain_shadowed: Option<Shadow>,
    /// The proxy variable through which the SDKs would ask IMDS.
    pub imds_through_proxy: Option<&'static str>,
    /// Why the token request fails, while credentials resolve by IMDSv1 only.
    pub v1_fallback: Option<Kind>,
    /// The same with its explanation.
    pub v1_fallback_advice: Option<Advice>,
    /// The last signed call; null where none are made, and before the first one ended.
    pub signed_call: Option<SignedCallStatus>,
    /// Watched processes that started in an outage that is over; null if processes are not watched.
    pub suspects: Option<Vec<SuspectProcess>>,
    /// Number of watched processes; null if processes are not watched.
    pub watched_processes: Option<usize>,
    /// Whether any process can be seen but the exporter itself; null if processes are not watched.
    pub sees_other_processes: Option<bool>,
    /// The polls of the last hour, oldest first: for the page.
    #[serde(skip)]
    pub history: Vec<Poll>,
}

/// The explanation of a kind of failure or of a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What was seen.
    pub observed: &'static str,
    /// Its likely cause.
    pub cause: String,
    /// A command that confirms the cause.
    pub confirm: String,
    /// What to do.
    pub action: String,
}

impl Advice {
    fn new(observed: &'static str, explanation: Explanation) -> Self {
        let Explanation { cause, confirm, action, .. } = explanation;
        Self { observed, cause, confirm, action }
    }

    fn about(kind: Kind, state: &State) -> Self {
        Self::new(kind.observed(), explanation(kind, state.circumstances()))
    }
}

/// A failure with its explanation.
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
    /// What it means and what to do.
    #[serde(flatten)]
    pub advice: Advice,
}

impl FailureStatus {
    fn of(FailureStreak { failure, since, polls }: FailureStreak, state: &State) -> Self {
        let Failure { kind, step } = failure;
        let since = since.wall(state.booted_at());
        Self { kind, step, since, polls: polls.get(), advice: Advice::about(kind, state) }
    }
}

/// The last signed call: whose the credentials are, or why AWS did not say.
#[derive(Clone, Debug, Serialize)]
pub struct SignedCallStatus {
    /// Whether AWS accepted it.
    pub up: bool,
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub duration_seconds: f64,
    /// The account, as AWS says.
    pub account: Option<String>,
    /// The role, as AWS says.
    pub role: Option<String>,
    /// When the last one that AWS accepted ended.
    pub last_success_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<CallFailureStatus>,
}

/// A failed signed call with its explanation.
#[derive(Clone, Debug, Serialize)]
pub struct CallFailureStatus {
    /// The reason.
    pub reason: Reason,
    /// Whether AWS refused the credentials; otherwise STS could not be asked.
    pub refused: bool,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The error's code, if it is a known one.
    pub code: Option<&'static str>,
    /// What else is known of the cause.
    pub obstacle: Option<Obstacle>,
    /// Since when signed calls fail.
    pub since: Option<Timestamp>,
    /// What it means and what to do.
    #[serde(flatten)]
    pub advice: Advice,
}

impl SignedCallStatus {
    fn of(calls: &SignedCalls, place: Place) -> Option<Self> {
        let SignedCall { at, duration, outcome } = calls.last()?;
        let caller = outcome.as_ref().ok();
        let failure = outcome.as_ref().err().map(|CallFailure { reason, status, code, obstacle }| {
            let observed = obstacle.map_or(reason.observed(), Obstacle::meaning);
            CallFailureStatus {
                reason: *reason,
                refused: reason.is_refusal(),
                status: *status,
                code: *code,
                obstacle: *obstacle,
                since: calls.failing_since(),
                advice: Advice::new(observed, reason_explanation(*reason, place)),
            }
        });
        Some(Self {
            up: outcome.is_ok(),
            at: *at,
            duration_seconds: duration.as_secs_f64(),
            account: caller.map(|Caller { account, .. }| account.to_string()),
            role: caller.and_then(|Caller { role, .. }| role.as_ref().map(ToString::to_string)),
            last_success_at: calls.last_success_at(),
            failure,
        })
    }
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
    /// Whether it could sign; null where this is unknown.
    pub usable: Option<bool>,
    /// What the state means for it; absent where no such client is known.
    #[serde(flatten)]
    pub prognosis: Option<Prognosis>,
    /// The same for people.
    #[serde(serialize_with = "as_text")]
    pub text: Sentence,
}

fn as_text<S: Serializer>(sentence: &Sentence, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(sentence)
}

impl ClientStatus {
    fn of(state: &State, created: Created, now: Timestamp) -> Self {
        let client = Self::new(created, state.client_usable(created, now), state.prognosis(created, now), now);
        if state.stands_for_boto3() {
            return client;
        }
        Self { text: "Unknown: boto3 does not ask IMDS here as the exporter does.".into(), ..client }
    }

    fn new(created: Created, usable: Option<bool>, prognosis: Option<Prognosis>, now: Timestamp) -> Self {
        let text = sentence(created, prognosis, now);
        Self { sdk: SDK, created: created.label(), meaning: created.meaning(), usable, prognosis, text }
    }
}

/// What an exporter on this machine knows of the past: the part of its [`Status`] that `check` takes over.
#[derive(Debug, Default, Deserialize)]
pub struct KnownPast {
    outages: Vec<Outage>,
    clients: Vec<KnownClient>,
}

#[derive(Debug, Deserialize)]
struct KnownClient {
    created: String,
    usable: Option<bool>,
    #[serde(flatten)]
    prognosis: Option<Prognosis>,
}

impl KnownClient {
    /// `None` for one that is created now, or of which nothing is known.
    fn status(&self, now: Timestamp) -> Option<ClientStatus> {
        let created = Created::VARIANTS.iter().find(|created| created.label() == self.created)?;
        let prognosis = self.prognosis.filter(|_| *created != Created::Now)?;
        Some(ClientStatus::new(*created, self.usable, Some(prognosis), now))
    }
}

impl Status {
    /// The status at `now`. `watched` is the latest scan of the processes, if processes are watched; `endpoint` is the
    /// address of IMDS.
    #[must_use]
    pub fn new(state: &State, watched: Option<Watched>, endpoint: &str, now: Timestamp) -> Self {
        let environment = state.environment();
        let credential = state.credential();
        let shown = |created: &&Created| **created != Created::AtStart || environment.workload != Workload::Independent;
        let clients = Created::VARIANTS.iter().filter(shown).map(|created| ClientStatus::of(state, *created, now));
        Self {
            state: ImdsState::of(state, now),
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
            failure: state.failing().map(|streak| FailureStatus::of(streak, state)),
            clients: clients.collect(),
            clients_stuck: state.clients_stuck(now),
            outage_since: state.outage_since(),
            outages: state.past_outages(),
            workload: environment.workload.into(),
            workload_started_at: state.workload_started_at(),
            chain_shadowed: environment.earlier_in_chain,
            imds_through_proxy: environment.proxied_by,
            v1_fallback: state.v1_fallback(),
            v1_fallback_advice: state.v1_fallback().map(|kind| Advice::about(kind, state)),
            signed_call: state.signed_calls().and_then(|calls| SignedCallStatus::of(calls, state.environment().place)),
            watched_processes: watched.as_ref().map(|watched| watched.processes),
            sees_other_processes: watched.as_ref().map(|watched| watched.sees_others),
            suspects: watched.map(|watched| watched.suspects),
            history: state.history().collect(),
        }
    }

    /// The status of one poll, with what an exporter that has followed the clients knows of the past.
    #[must_use]
    pub fn with_past(mut self, past: &KnownPast) -> Self {
        self.clients.retain(|client| client.created == Created::Now.label());
        if self.chain_shadowed.is_none() && self.imds_through_proxy.is_none() {
            self.clients.extend(past.clients.iter().filter_map(|client| client.status(self.now)));
        }
        self.outages.clone_from(&past.outages);
        let signs = |client: &ClientStatus| client.created == Created::Now.label() && client.usable == Some(true);
        let bound = |client: &ClientStatus| {
            client.created == Created::AtStart.label() && client.prognosis == Some(Prognosis::BoundToNothing)
        };
        self.clients_stuck = self.clients.iter().any(signs) && self.clients.iter().any(bound);
        if self.clients_stuck && self.state == ImdsState::Fine {
            self.state = ImdsState::Stuck;
        }
        self
    }
}

/// As indented JSON, with a newline at its end.
///
/// # Panics
/// If a key is no text.
#[must_use]
pub fn to_json(value: &impl Serialize) -> String {
    let mut json = serde_json::to_string_pretty(value).expect("all keys are strings");
    json.push('\n');
    json
}
