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
pub(crate) struct Status {
    pub(crate) state: ImdsState,
    pub(crate) version: &'static str,
    /// When this was written.
    pub(crate) now: Timestamp,
    pub(crate) started_at: Timestamp,
    pub(crate) endpoint: String,
    /// Whether the last poll returned credentials; null before the first poll ended.
    pub(crate) up: Option<bool>,
    pub(crate) role: Option<String>,
    /// `Expiration` of the last document seen.
    pub(crate) expiration: Option<Timestamp>,
    /// Time to expiry; negative once past.
    pub(crate) remaining_seconds: Option<i64>,
    /// `LastUpdated` of the last document seen.
    pub(crate) last_updated: Option<Timestamp>,
    pub(crate) last_attempt_at: Option<Timestamp>,
    pub(crate) last_success_at: Option<Timestamp>,
    /// The clock of IMDS minus the local clock.
    pub(crate) clock_skew_seconds: Option<f64>,
    pub(crate) failure: Option<FailureStatus>,
    pub(crate) clients: Vec<ClientStatus>,
    /// IMDS is fine, but clients that were created when the workload started hold no credentials, permanently.
    pub(crate) clients_stuck: bool,
    pub(crate) outage_since: Option<Timestamp>,
    /// Outages that are over, oldest first.
    pub(crate) outages: Vec<Outage>,
    /// Which workload is declared to start with the exporter.
    pub(crate) workload: &'static str,
    /// When the declared workload started; null if none is declared, or that is not known.
    pub(crate) workload_started_at: Option<Timestamp>,
    /// What the SDKs' default chain finds before it would ask IMDS; then no claim about clients is made.
    pub(crate) chain_shadowed: Option<Shadow>,
    /// The proxy variable through which the SDKs would ask IMDS.
    pub(crate) imds_through_proxy: Option<&'static str>,
    /// Why the token request fails, while credentials resolve by IMDSv1 only.
    pub(crate) v1_fallback: Option<Kind>,
    /// The same with its explanation.
    pub(crate) v1_fallback_advice: Option<Advice>,
    /// The last signed call; null where none are made, and before the first one ended.
    pub(crate) signed_call: Option<SignedCallStatus>,
    /// Watched processes that started in an outage that is over; null if processes are not watched.
    pub(crate) suspects: Option<Vec<SuspectProcess>>,
    /// Number of watched processes; null if processes are not watched.
    pub(crate) watched_processes: Option<usize>,
    /// Whether any process can be seen but the exporter itself; null if processes are not watched.
    pub(crate) sees_other_processes: Option<bool>,
    /// The polls of the last hour, oldest first: for the page.
    #[serde(skip)]
    pub(crate) history: Vec<Poll>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    pub(crate) observed: &'static str,
    pub(crate) cause: String,
    /// A command that confirms the cause.
    pub(crate) confirm: String,
    pub(crate) action: String,
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

#[derive(Clone, Debug, Serialize)]
pub(crate) struct FailureStatus {
    pub(crate) kind: Kind,
    pub(crate) step: Step,
    /// Since when polls fail.
    pub(crate) since: Timestamp,
    /// How many polls failed in a row.
    pub(crate) polls: u32,
    #[serde(flatten)]
    pub(crate) advice: Advice,
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
pub(crate) struct SignedCallStatus {
    pub(crate) up: bool,
    pub(crate) at: Timestamp,
    pub(crate) duration_seconds: f64,
    /// The account, as AWS says.
    pub(crate) account: Option<String>,
    /// The role, as AWS says.
    pub(crate) role: Option<String>,
    /// When the last one that AWS accepted ended.
    pub(crate) last_success_at: Option<Timestamp>,
    pub(crate) failure: Option<CallFailureStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct CallFailureStatus {
    pub(crate) reason: Reason,
    /// Whether AWS refused the credentials; otherwise STS could not be asked.
    pub(crate) refused: bool,
    pub(crate) status: Option<u16>,
    /// The error's code, if it is a known one.
    pub(crate) code: Option<&'static str>,
    /// What else is known of the cause.
    pub(crate) obstacle: Option<Obstacle>,
    /// Since when signed calls fail.
    pub(crate) since: Option<Timestamp>,
    #[serde(flatten)]
    pub(crate) advice: Advice,
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
            account: caller.map(|Caller { account, .. }| account.as_str().to_owned()),
            role: caller.and_then(|Caller { role, .. }| role.as_ref().map(ToString::to_string)),
            last_success_at: calls.last_success_at(),
            failure,
        })
    }
}

/// One entry of the client table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClientStatus {
    pub(crate) sdk: &'static str,
    pub(crate) created: &'static str,
    /// The same for people.
    pub(crate) meaning: &'static str,
    /// Whether it could sign; null where this is unknown.
    pub(crate) usable: Option<bool>,
    /// What the state means for it; absent where no such client is known.
    #[serde(flatten)]
    pub(crate) prognosis: Option<Prognosis>,
    /// The same for people.
    #[serde(serialize_with = "as_text")]
    pub(crate) text: Sentence,
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
pub(crate) struct KnownPast {
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
    pub(crate) fn new(state: &State, watched: Option<Watched>, endpoint: &str, now: Timestamp) -> Self {
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
    pub(crate) fn with_past(mut self, past: &KnownPast) -> Self {
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

/// As indented JSON, with a newline at its end. All keys must be texts.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    let mut json = serde_json::to_string_pretty(value).expect("all keys are strings");
    json.push('\n');
    json
}
