//! What is known after zero or more polls: facts, from which everything that is shown is derived.
//!
//! Owns the transitions. Must not know thresholds, metrics, the wire format or a clock.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::boto3::{BoundCredentials, CachedDocument, Created, Prognosis, new_client_can_sign};
use super::credential::{Credential, RoleName};
use super::kind::Kind;
use super::moment::{Moment, SinceBoot};
use super::outage::{Outage, Outages};
use super::place::{Circumstances, Place};
use super::poll_history::{Poll, PollHistory};
use super::resolution::{Creation, Evidence, Failure, KeyFingerprint, Outcome, Resolution};
use super::shadow::Shadow;
use super::signed_call::{Reason, SignedCalls};
use super::workload::{Workload, WorkloadClient};

/// By how much the wall clock and the time since the boot must drift apart to count as a clock that was set.
const CLOCK_WAS_SET: SignedDuration = SignedDuration::from_secs(1);

/// Failed polls in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureStreak {
    /// The failure of the last one.
    pub failure: Failure,
    /// When the first one ended.
    pub since: SinceBoot,
    /// Their number.
    pub polls: NonZeroU32,
}

/// The result of the polls so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollStatus {
    /// No poll has ended yet.
    Unpolled,
    /// The last poll returned credentials.
    Resolved,
    /// The last polls failed.
    Failing(FailureStreak),
}

/// The workload as it is declared, and its environment, which is that of the exporter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkloadEnvironment {
    /// Which workload starts with the exporter.
    pub workload: Workload,
    /// What the SDKs' default chain finds before it would ask IMDS.
    pub earlier_in_chain: Option<Shadow>,
    /// boto3 assumes a role with the credentials of IMDS, so that a poll shows only a part of what a client does.
    pub assumes_role: bool,
    /// The proxy variable through which boto3 would send its requests to IMDS, so that a poll does not stand for it.
    pub proxied_by: Option<&'static str>,
    /// Where this program runs.
    pub place: Place,
}

/// Everything that is known.
#[derive(Clone, Debug)]
pub struct State {
    environment: WorkloadEnvironment,
    started_at: Moment,
    /// When the machine booted, by the wall clock.
    booted_at: Timestamp,
    poll_status: PollStatus,
    document: Option<Credential>,
    /// The key of the last document, as a fingerprint.
    key: Option<KeyFingerprint>,
    /// When a client may have fetched the last document: the last success, also of an earlier run.
    fetched_at: Timestamp,
    /// Whether a client that held it may have got a newer one before the outage began.
    may_be_renewed: bool,
    role_attached: bool,
    last_attempt_at: Option<Moment>,
    last_success_at: Option<Timestamp>,
    clock_skew: Option<SignedDuration>,
    v1_fallback: Option<Kind>,
    evidence: Evidence,
    /// What the creation of a client does since the last poll; `None` before the first.
    creation: Option<Creation>,
    outages: Outages,
    workload_client: WorkloadClient,
    /// Credentials were resolved in this boot, by this run of the exporter or an earlier one.
    resolved_in_boot: bool,
    history: PollHistory,
    signed_calls: Option<SignedCalls>,
}

/// What an earlier run of the exporter saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredState {
    /// The outages that it saw.
    pub outages: Outages,
    /// What is only true within one boot of the machine, if this is the same boot.
    pub of_this_boot: Option<RestoredInBoot>,
}

/// The part of the saved state that ends with the boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredInBoot {
    /// The last document that it saw, and when that was fetched last.
    pub document: Option<(Credential, Timestamp)>,
    /// Whether a role was attached.
    pub role_attached: bool,
    /// Credentials were resolved in this boot.
    pub resolved: bool,
    /// The client of the declared workload.
    pub workload_client: WorkloadClient,
}

/// What a poll changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an event of its own")]
pub struct PollChange {
    /// It is the first poll of this run.
    pub first: bool,
    /// IMDS has rotated the credentials: another `Expiration`, or another key.
    pub rotated: bool,
    /// The former role, if it changed.
    pub former_role: Option<RoleName>,
    /// An outage began.
    pub outage_began: bool,
    /// An outage ended.
    pub outage_ended: Option<Outage>,
    /// The failure is not that of the poll before.
    pub failure_changed: bool,
    /// Credentials resolve by IMDSv1 only since this poll, or for another reason, or not any more.
    pub v1_fallback_changed: bool,
}

impl State {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(environment: WorkloadEnvironment, started_at: impl Into<Moment>) -> Self {
        let started_at = started_at.into();
        Self {
            environment,
            started_at,
            booted_at: started_at.booted_at(),
            poll_status: PollStatus::Unpolled,
            document: None,
            key: None,
            fetched_at: started_at.wall,
            may_be_renewed: false,
            role_attached: false,
            last_attempt_at: None,
            last_success_at: None,
            clock_skew: None,
            v1_fallback: None,
            evidence: Evidence::default(),
            creation: None,
            outages: Outages::new(started_at.since_boot),
            workload_client: WorkloadClient::new(environment.workload),
            resolved_in_boot: false,
            history: PollHistory::default(),
            signed_calls: None,
        }
    }

    /// With signed calls, the time between which is `interval`.
    #[must_use]
    pub fn with_signed_calls(self, interval: Duration) -> Self {
        Self { signed_calls: Some(SignedCalls::new(interval)), ..self }
    }

    /// Takes over what an earlier run saved.
    #[must_use]
    pub fn with_restored(mut self, restored: RestoredState) -> Self {
        self.outages = restored.outages;
        if let Some(RestoredInBoot { document, role_attached, resolved, workload_client }) = restored.of_this_boot {
            self.role_attached = role_attached;
            self.resolved_in_boot = resolved;
            if let Some((document, fetched_at)) = document {
                self.document = Some(document);
                self.fetched_at = fetched_at;
            }
            self.workload_client = match (self.environment.workload, workload_client) {
                (Workload::Independent, _) => WorkloadClient::NotDeclared,
                (_, WorkloadClient::NotDeclared) => WorkloadClient::Unseen,
                (_, client) => client,
            };
        }
        self
    }

    /// Without a declared workload.
    #[must_use]
    pub fn without_workload(mut self) -> Self {
        self.environment.workload = Workload::Independent;
        self.workload_client = WorkloadClient::NotDeclared;
        self
    }

    /// An earlier run saved something that is lost.
    #[must_use]
    pub fn with_unknown_past(self) -> Self {
        let workload_client = match self.workload_client {
            WorkloadClient::NotDeclared => WorkloadClient::NotDeclared,
            _ => WorkloadClient::Unseen,
        };
        Self { workload_client, ..self }
    }

    /// Records a poll that ended at `at`.
    pub fn record(&mut self, resolution: &Resolution, duration: Duration, at: impl Into<Moment>) -> PollChange {
        let moment = at.into();
        let at = moment.wall;
        let mut change = PollChange { first: self.last_attempt_at.is_none(), ..PollChange::default() };
        self.last_attempt_at = Some(moment);
        if self.booted_at.duration_until(moment.booted_at()).abs() > CLOCK_WAS_SET {
            self.booted_at = moment.booted_at();
        }
        self.clock_skew = resolution.clock_skew;
        change.v1_fallback_changed = self.v1_fallback != resolution.v1_fallback;
        self.v1_fallback = resolution.v1_fallback;
        self.evidence = resolution.evidence;
        let (started_before, last_success) = (self.outages.started_total(), self.outages.last_success());
        let ended = self.outages.record(resolution.outcome.is_ok(), moment.since_boot);
        change.outage_ended = ended.map(|outage| outage.wall(self.booted_at));
        change.outage_began = self.outages.started_total() > started_before;
        if change.outage_began {
            let from = last_success.wall(self.booted_at);
            self.may_be_renewed = self.before_outage().is_some_and(|document| document.may_be_renewed(from, at));
            self.workload_client.record_gap(from, at);
        }

        match &resolution.outcome {
            Ok(credential) => {
                if let Some(earlier) = &self.document {
                    change.rotated = credential.is_rotated(earlier) || self.key.is_some() && self.key != resolution.key;
                    change.former_role = (earlier.role != credential.role).then(|| earlier.role.clone());
                }
                self.document = Some(credential.clone());
                self.key = resolution.key;
                self.fetched_at = at;
                self.may_be_renewed = false;
                self.role_attached = true;
                self.last_success_at = Some(at);
                self.resolved_in_boot = true;
                self.poll_status = PollStatus::Resolved;
            }
            Err(failure) => {
                if failure.kind.says_no_role() {
                    self.role_attached = false;
                }
                let before = self.failing();
                change.failure_changed = before.is_none_or(|streak| streak.failure != *failure);
                let since = before.map_or(moment.since_boot, |streak| streak.since);
                let polls = before.map_or(NonZeroU32::MIN, |streak| streak.polls.saturating_add(1));
                self.poll_status = PollStatus::Failing(FailureStreak { failure: *failure, since, polls });
            }
        }

        self.creation = Some(resolution.creation);
        let creation = self.creation().unwrap_or(Creation::Unknown);
        let workload = self.environment.workload;
        self.workload_client.record(workload, self.resolved_in_boot, creation, self.started_at, moment);
        self.history.push(moment.since_boot, duration, resolution.outcome.as_ref().err().copied());
        change
    }

    /// When the exporter started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at.wall
    }

    /// When the machine booted, by the wall clock.
    #[must_use]
    pub fn booted_at(&self) -> Timestamp {
        self.booted_at
    }

    /// The result of the polls so far.
    pub(crate) fn poll_status(&self) -> PollStatus {
        self.poll_status
    }

    /// How the last poll ended; `None` before the first one did.
    #[must_use]
    pub fn last_outcome(&self) -> Option<Outcome> {
        match self.poll_status {
            PollStatus::Unpolled => None,
            PollStatus::Resolved => Some(Outcome::Success),
            PollStatus::Failing(_) => Some(Outcome::Failure),
        }
    }

    /// The failed polls in a row, if the last poll failed.
    #[must_use]
    pub fn failing(&self) -> Option<FailureStreak> {
        match self.poll_status {
            PollStatus::Failing(streak) => Some(streak),
            PollStatus::Unpolled | PollStatus::Resolved => None,
        }
    }

    /// The last document seen, unless IMDS has said since that there is no role.
    #[must_use]
    pub fn credential(&self) -> Option<&Credential> {
        self.document.as_ref().filter(|_| self.role_attached)
    }

    /// When the last poll ended.
    pub(crate) fn last_attempt_at(&self) -> Option<Timestamp> {
        self.last_attempt_at.map(|at| at.wall)
    }

    /// When the last poll ended, or the exporter started.
    pub(crate) fn last_attempt_since_boot(&self) -> SinceBoot {
        self.last_attempt_at.unwrap_or(self.started_at).since_boot
    }

    /// When the last successful poll of this exporter ended.
    #[must_use]
    pub fn last_success_at(&self) -> Option<Timestamp> {
        self.last_success_at
    }

    /// IMDS's clock minus the local one, at the last poll.
    #[must_use]
    pub fn clock_skew(&self) -> Option<SignedDuration> {
        self.clock_skew
    }

    /// The outages.
    #[must_use]
    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    /// The start of the present outage, by the wall clock.
    #[must_use]
    pub fn outage_since(&self) -> Option<Timestamp> {
        self.outages.ongoing_since().map(|since| since.wall(self.booted_at))
    }

    /// The outages that are over, oldest first, by the wall clock.
    #[must_use]
    pub fn past_outages(&self) -> Vec<Outage> {
        self.outages.all_past(self.booted_at)
    }

    /// When the declared workload started, by the wall clock, if it did.
    #[must_use]
    pub fn workload_started_at(&self) -> Option<Timestamp> {
        self.workload_client.started_at().map(|at| at.wall(self.booted_at))
    }

    /// The polls of the last hour, oldest first.
    #[must_use]
    pub fn history(&self) -> impl DoubleEndedIterator<Item = Poll> + ExactSizeIterator {
        self.history.polls(self.booted_at)
    }

    /// The signed calls; `None` where none are made.
    pub(crate) fn signed_calls(&self) -> Option<&SignedCalls> {
        self.signed_calls.as_ref()
    }

    /// The signed calls, to record one.
    pub fn signed_calls_mut(&mut self) -> Option<&mut SignedCalls> {
        self.signed_calls.as_mut()
    }

    /// Why AWS refused the credentials in the last signed call, if it did.
    pub(crate) fn refusal(&self) -> Option<Reason> {
        let failure = self.signed_calls.as_ref()?.last()?.outcome.as_ref().err()?;
        Some(failure.reason).filter(|reason| reason.is_refusal())
    }

    /// The workload and its environment.
    #[must_use]
    pub fn environment(&self) -> WorkloadEnvironment {
        self.environment
    }

    /// Whether no SDK in this environment asks IMDS: it finds credentials before it would, or IMDS is disabled.
    pub(crate) fn is_unused(&self) -> bool {
        let disabled = |streak: FailureStreak| streak.failure.kind == Kind::DisabledByEnvironment;
        self.environment.earlier_in_chain.is_some() || self.failing().is_some_and(disabled)
    }

    /// Why the token request fails, while credentials resolve only because IMDSv1 answers.
    #[must_use]
    pub fn v1_fallback(&self) -> Option<Kind> {
        self.v1_fallback
    }

    /// What advice about the last poll depends on.
    pub(crate) fn circumstances(&self) -> Circumstances {
        Circumstances { place: self.environment.place, evidence: self.evidence }
    }

    /// The last document seen, also after IMDS has said that there is no role: clients may hold it.
    #[must_use]
    pub fn document(&self) -> Option<&Credential> {
        self.document.as_ref()
    }

    /// When the last document was fetched last, also by an earlier run; the exporter's start before any.
    #[must_use]
    pub fn fetched_at(&self) -> Timestamp {
        self.fetched_at
    }

    /// Whether a role was attached at the last document, and IMDS has not said since that there is none.
    #[must_use]
    pub fn role_attached(&self) -> bool {
        self.role_attached
    }

    /// Whether credentials were resolved in this boot of the machine.
    pub(crate) fn resolved_in_boot(&self) -> bool {
        self.resolved_in_boot
    }

    /// The client of the declared workload.
    #[must_use]
    pub fn workload_client(&self) -> &WorkloadClient {
        &self.workload_client
    }

    /// What a client holds that was created at the last success, also of an earlier run in this boot.
    #[must_use]
    pub fn before_outage(&self) -> Option<CachedDocument> {
        let Credential { expiration, .. } = self.document.as_ref()?;
        Some(CachedDocument { fetched_at: self.fetched_at, expiration: *expiration })
    }

    fn held_before_outage(&self) -> Option<BoundCredentials> {
        let document = self.before_outage()?;
        Some(if self.may_be_renewed { BoundCredentials::Unknown } else { BoundCredentials::OneOf(vec![document]) })
    }

    /// Whether a poll shows what a client gets: boto3 neither finds credentials before it would ask IMDS, nor asks through a
    /// proxy, nor assumes another role.
    pub(crate) fn stands_for_boto3(&self) -> bool {
        let WorkloadEnvironment { earlier_in_chain, proxied_by, assumes_role, .. } = self.environment;
        earlier_in_chain.is_none() && proxied_by.is_none() && !assumes_role
    }

    /// What the creation of a client does since the last poll; `None` before the first one ended, and where a poll does not
    /// stand for boto3.
    #[must_use]
    pub fn creation(&self) -> Option<Creation> {
        self.creation.filter(|_| self.stands_for_boto3())
    }

    /// Whether a client that was created at that time could sign a request at `at`; `None` is unknown.
    #[must_use]
    pub fn client_usable(&self, created: Created, at: Timestamp) -> Option<bool> {
        let creation = self.creation()?;
        match created {
            Created::Now => new_client_can_sign(creation, at),
            Created::BeforeOutage => self.held_before_outage()?.can_sign(creation, at),
            Created::AtStart => self.workload_client.credentials()?.can_sign(creation, at),
        }
    }

    /// What the state means for a client that was created at that time; `None` where there is no such client, and before
    /// the first poll ended.
    #[must_use]
    pub fn prognosis(&self, created: Created, at: Timestamp) -> Option<Prognosis> {
        let creation = self.creation()?;
        Some(match created {
            Created::Now => Prognosis::of_new_client(creation, at),
            Created::BeforeOutage => Prognosis::of(&self.held_before_outage()?, creation, at),
            Created::AtStart => Prognosis::of(self.workload_client.credentials()?, creation, at),
        })
    }

    /// Whether a new client works, but that of the declared workload is bound to nothing, permanently.
    #[must_use]
    pub fn clients_stuck(&self, at: Timestamp) -> bool {
        self.client_usable(Created::Now, at) == Some(true)
            && self.workload_client.credentials() == Some(&BoundCredentials::Nothing)
    }
}

/// A finished poll: its result, and what it changed.
#[derive(Clone, Debug)]
pub struct PollReport {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Its result.
    pub resolution: Resolution,
    /// What it changed.
    pub change: PollChange,
}

/// The state, shared between the poll loop, which writes it, and everything that shows it.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<State>>);

impl Shared {
    /// Shares a state.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// Locks the state; never bound across an await.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::moment::test::{at, since_boot};
    use super::super::resolution::Step;
    use super::*;

    const HOUR: i64 = 3_600;
    const EVERY_CREATION: [Created; 3] = [Created::Now, Created::BeforeOutage, Created::AtStart];

    fn document(role: &str, last_updated: i64) -> Credential {
        Credential {
            role: role.to_owned().try_into().expect("a role name"),
            last_updated: Some(at(last_updated)),
            expiration: at(last_updated + 6 * HOUR),
        }
    }

    fn up() -> Resolution {
        Resolution::from(Ok(document("web", 1_000)))
    }

    fn down(kind: Kind, step: Step) -> Resolution {
        Resolution::from(Err(Failure { kind, step }))
    }

    fn refused() -> Resolution {
        down(Kind::ConnectRefused, Step::Token)
    }

    fn state(workload: Workload) -> State {
        State::new(WorkloadEnvironment { workload, ..WorkloadEnvironment::default() }, at(1_000))
    }

    /// Records each poll at its second.
    fn after(mut state: State, polls: &[(i64, Resolution)]) -> State {
        for (second, poll) in polls {
            state.record(poll, Duration::from_millis(7), at(*second));
        }
        state
    }

    #[test]
    fn the_boot_moves_when_the_clock_is_set_and_not_by_less() {
        for (set_by, moved_by) in [(0, 0), (1, 0), (2, 2), (-2, -2)] {
            let mut state = state(Workload::Independent);
            let polled = Moment { wall: at(1_005 + set_by), since_boot: since_boot(1_005) };
            state.record(&up(), Duration::ZERO, polled);
            assert_eq!((state.booted_at(), state.fetched_at()), (at(moved_by), polled.wall), "{set_by}");
            assert_eq!(state.last_attempt_since_boot(), polled.since_boot);
        }
    }

    #[test]
    fn advice_depends_on_the_place_and_on_what_the_last_poll_saw() {
        let place = Place { ipv6: true, ..Place::default() };
        let environment = WorkloadEnvironment { place, ..WorkloadEnvironment::default() };
        let evidence = Evidence { get_answered: true, ..Evidence::default() };
        let state = after(State::new(environment, at(1_000)), &[(1_005, Resolution { evidence, ..refused() })]);
        assert_eq!(state.circumstances(), Circumstances { place, evidence });
    }

    #[test]
    fn nothing_is_known_before_the_first_poll() {
        let state = state(Workload::StartsWithExporter);
        assert_eq!((state.started_at(), state.poll_status()), (at(1_000), PollStatus::Unpolled));
        assert_eq!((state.last_outcome(), state.failing()), (None, None));
        assert_eq!((state.document(), state.credential()), (None, None));
        assert!(!state.role_attached() && !state.resolved_in_boot());
        assert_eq!((state.last_attempt_at(), state.last_success_at()), (None, None));
        assert_eq!((state.clock_skew(), state.v1_fallback()), (None, None));
        assert_eq!(*state.outages(), Outages::new(since_boot(1_000)));
        assert_eq!((state.history().len(), state.before_outage()), (0, None));
        assert_eq!((state.workload_client(), state.creation()), (&WorkloadClient::NotCreated, None));
        for created in EVERY_CREATION {
            assert_eq!(state.client_usable(created, at(1_000)), None);
            assert_eq!(state.prognosis(created, at(1_000)), None);
        }
        assert!(!state.clients_stuck(at(1_000)));
    }

    #[test]
    fn a_success_is_known_with_its_document() {
        let poll =
            Resolution { clock_skew: Some(SignedDuration::from_secs(3)), v1_fallback: Some(Kind::HopLimit), ..up() };
        let mut state = state(Workload::Independent);
        let change = state.record(&poll, Duration::from_millis(7), at(1_010));
        assert_eq!(change, PollChange { first: true, v1_fallback_changed: true, ..PollChange::default() });
        assert_eq!((state.poll_status(), state.last_outcome()), (PollStatus::Resolved, Some(Outcome::Success)));
        assert_eq!(state.failing(), None);
        assert_eq!((state.document(), state.credential()), (Some(&document("web", 1_000)), state.document()));
        assert!(state.role_attached() && state.resolved_in_boot());
        assert_eq!((state.last_attempt_at(), state.last_success_at()), (Some(at(1_010)), Some(at(1_010))));
        assert_eq!(state.clock_skew(), Some(SignedDuration::from_secs(3)));
        assert_eq!(state.v1_fallback(), Some(Kind::HopLimit));
        let polls: Vec<_> = state.history().map(|poll| (poll.at, poll.duration, poll.failure)).collect();
        assert_eq!(polls, [(at(1_010), Duration::from_millis(7), None)]);
        assert_eq!(state.outages().last_success().wall(state.booted_at()), at(1_010));
        // The same again, and then with a session token.
        assert_eq!(state.record(&poll, Duration::ZERO, at(1_025)), PollChange::default());
        let change = state.record(&up(), Duration::ZERO, at(1_040));
        assert_eq!(change, PollChange { v1_fallback_changed: true, ..PollChange::default() });
        assert_eq!((state.clock_skew(), state.v1_fallback()), (None, None));
    }

    #[test]
    fn a_newer_document_is_a_rotation_and_another_role_is_named() {
        let mut state = after(state(Workload::Independent), &[(1_010, up())]);
        let mut record = |document, second| state.record(&Resolution::from(Ok(document)), Duration::ZERO, at(second));
        let rotated = PollChange { rotated: true, ..PollChange::default() };
        assert_eq!(record(document("web", 2_000), 2_010), rotated);
        assert_eq!(record(document("web", 2_000), 2_025), PollChange::default());
        let former_role = Some(document("web", 0).role);
        let replaced = PollChange { former_role, ..PollChange::default() };
        assert_eq!(record(document("batch", 2_000), 2_040), replaced);
        let updated = Credential { last_updated: Some(at(2_050)), ..document("batch", 2_000) };
        assert_eq!(record(updated.clone(), 2_055), PollChange::default(), "LastUpdated alone is no rotation");
        assert_eq!(state.document(), Some(&updated));
        // The same expiration with another key; a document without a fingerprint is compared by its expiration alone.
        let mut with_key = |key| {
            let poll = Resolution { key, ..Resolution::from(Ok(updated.clone())) };
            state.record(&poll, Duration::ZERO, at(2_070)).rotated
        };
        let [first, second] = [1, 2].map(|hash| Some(KeyFingerprint(hash)));
        assert_eq!([first, first, second, second].map(&mut with_key), [false, false, true, false]);
    }

    #[test]
    fn failed_polls_are_counted_and_each_change_is_named() {
        let mut state = after(state(Workload::Independent), &[(1_010, up())]);
        let mut record = |poll: &Resolution, second| {
            let change = state.record(poll, Duration::ZERO, at(second));
            (change, state.clone())
        };
        let (change, state) = record(&refused(), 1_025);
        assert_eq!(change, PollChange { outage_began: true, failure_changed: true, ..PollChange::default() });
        assert_eq!((state.last_outcome(), state.outage_since()), (Some(Outcome::Failure), Some(at(1_010))));
        assert_eq!((state.last_attempt_at(), state.last_success_at()), (Some(at(1_025)), Some(at(1_010))));

        assert_eq!(record(&refused(), 1_030).0, PollChange::default());
        let (change, state) = record(&down(Kind::Throttled, Step::Role), 1_035);
        assert_eq!(change, PollChange { failure_changed: true, ..PollChange::default() });
        let failure = Failure { kind: Kind::Throttled, step: Step::Role };
        let streak = FailureStreak { failure, since: since_boot(1_025), polls: NonZeroU32::new(3).expect("not zero") };
        assert_eq!((state.poll_status(), state.failing()), (PollStatus::Failing(streak), Some(streak)));
        assert_eq!(state.history().last().expect("it is kept").failure, Some(failure));
        let (change, _) = record(&down(Kind::Throttled, Step::Token), 1_040);
        assert_eq!(change, PollChange { failure_changed: true, ..PollChange::default() }, "in another step");

        let (change, state) = record(&up(), 1_045);
        let outage = Outage { start: at(1_010), end: at(1_045) };
        assert_eq!(change, PollChange { outage_ended: Some(outage), ..PollChange::default() });
        assert_eq!((state.failing(), state.past_outages()), (None, vec![outage]));
    }

    #[test]
    fn only_imds_itself_says_that_there_is_no_role() {
        let state = after(state(Workload::Independent), &[(1_010, up()), (1_025, refused())]);
        assert!(state.role_attached() && state.credential().is_some());
        let mut state = after(state, &[(1_030, down(Kind::NoRole, Step::Role)), (1_035, refused())]);
        assert!(!state.role_attached() && state.resolved_in_boot());
        assert_eq!((state.credential(), state.document()), (None, Some(&document("web", 1_000))));
        let change = state.record(&up(), Duration::ZERO, at(1_040));
        assert!(state.role_attached() && !change.rotated);
        assert_eq!(state.credential(), Some(&document("web", 1_000)));
    }

    #[test]
    fn a_workload_that_started_in_an_outage_is_stuck_once_new_clients_work() {
        let failing = after(state(Workload::StartsWithExporter), &[(1_010, refused())]);
        let usable = |state: &State| EVERY_CREATION.map(|created| state.client_usable(created, at(1_020)));
        let prognoses = |state: &State| EVERY_CREATION.map(|created| state.prognosis(created, at(1_020)));
        let bound_to_nothing = Some(Prognosis::BoundToNothing);
        assert_eq!(failing.creation(), Some(Creation::Nothing));
        assert_eq!(usable(&failing), [Some(false), None, Some(false)]);
        assert_eq!(prognoses(&failing), [bound_to_nothing, None, bound_to_nothing]);
        assert!(!failing.clients_stuck(at(1_020)), "a restart would not help");

        let recovered = after(failing, &[(1_015, up())]);
        assert_eq!(usable(&recovered), [Some(true), Some(true), Some(false)]);
        let signs = Some(Prognosis::Signs);
        assert_eq!(prognoses(&recovered), [signs, signs, bound_to_nothing]);
        assert!(recovered.clients_stuck(at(1_020)));
        // The same polls, but no workload is declared.
        let polls = [(1_010, refused()), (1_015, up())];
        assert!(!after(state(Workload::Independent), &polls).clients_stuck(at(1_020)));
    }

    #[test]
    fn a_client_from_before_an_outage_holds_the_last_document() {
        let expiration = at(1_000 + 6 * HOUR);
        let state = after(state(Workload::Independent), &[(1_010, up()), (1_025, up()), (1_040, refused())]);
        assert_eq!(state.before_outage(), Some(CachedDocument { fetched_at: at(1_025), expiration }));
        let usable = |second| state.client_usable(Created::BeforeOutage, at(second));
        let last = 1_000 + 6 * HOUR - 15 * 60;
        assert_eq!((usable(last - 1), usable(last)), (Some(true), Some(false)));
        let until = at(last);
        assert_eq!(state.prognosis(Created::BeforeOutage, at(1_040)), Some(Prognosis::SignsUntil { until }));
    }

    #[test]
    fn nothing_is_said_of_clients_where_a_poll_does_not_stand_for_boto3() {
        let workload = Workload::StartsWithExporter;
        for environment in [
            WorkloadEnvironment { earlier_in_chain: Some(Shadow::WebIdentity), ..WorkloadEnvironment::default() },
            WorkloadEnvironment { proxied_by: Some("HTTP_PROXY"), ..WorkloadEnvironment::default() },
        ] {
            let environment = WorkloadEnvironment { workload, ..environment };
            let state = after(State::new(environment, at(1_000)), &[(1_010, refused()), (1_015, up())]);
            assert_eq!((state.environment(), state.creation()), (environment, None));
            for created in EVERY_CREATION {
                assert_eq!(state.client_usable(created, at(1_015)), None);
                assert_eq!(state.prognosis(created, at(1_015)), None);
            }
            assert!(!state.clients_stuck(at(1_015)));
            // Nor of its client later, when a poll does.
            assert_eq!(state.workload_client().credentials(), Some(&BoundCredentials::Unknown));
        }
    }

    #[test]
    fn a_refresh_between_the_last_success_and_the_first_failure_is_unknown() {
        let refresh = 1_000 + 6 * HOUR - 15 * 60;
        for (success, failure, usable) in [
            (refresh - 1_800, refresh - 1, Some(false)),
            (refresh - 1_800, refresh, Some(false)),
            (refresh - 1_800, refresh + 1, None),
            (refresh - 1_800, refresh + 600, None),
            (refresh - 1, refresh + 14, None),
        ] {
            let polls = [(1_010, up()), (success, up()), (failure, refused())];
            let state = after(state(Workload::StartsWithExporter), &polls);
            for created in [Created::BeforeOutage, Created::AtStart] {
                assert_eq!(state.client_usable(created, at(refresh + 700)), usable, "{success} {failure} {created:?}");
            }
            let newer = Resolution::from(Ok(document("web", refresh)));
            let recovered = after(state, &[(refresh + 800, newer)]);
            assert_eq!(recovered.client_usable(Created::BeforeOutage, at(refresh + 801)), Some(true));
        }
    }

    #[test]
    fn without_its_workload_the_rest_of_a_state_stays() {
        let declared = after(state(Workload::StartsWithExporter), &[(1_010, up()), (1_020, refused())]);
        let without = declared.clone().without_workload();
        assert_eq!(without.environment().workload, Workload::Independent);
        assert_eq!(*without.workload_client(), WorkloadClient::NotDeclared);
        assert_eq!((without.outages(), without.document()), (declared.outages(), declared.document()));
        assert!(without.resolved_in_boot());
    }

    #[test]
    fn what_an_earlier_run_saved_is_taken_over_as_far_as_it_still_holds() {
        let earlier = after(state(Workload::StartsWithExporter), &[(1_010, refused()), (1_015, up())]);
        let in_boot = RestoredInBoot {
            document: earlier.document().cloned().map(|document| (document, at(1_015))),
            role_attached: true,
            resolved: true,
            workload_client: earlier.workload_client().clone(),
        };
        let restored = |workload, of_this_boot| {
            let environment = WorkloadEnvironment { workload, ..WorkloadEnvironment::default() };
            let restored = RestoredState { outages: earlier.outages().clone(), of_this_boot };
            State::new(environment, at(2_000)).with_restored(restored)
        };
        let with_exporter = Workload::StartsWithExporter;

        let crashed = restored(with_exporter, Some(in_boot.clone()));
        assert_eq!(crashed.outages(), earlier.outages());
        assert_eq!(crashed.credential(), Some(&document("web", 1_000)));
        assert!(crashed.resolved_in_boot());
        assert_eq!(crashed.before_outage(), earlier.before_outage());
        assert_eq!(crashed.workload_client().credentials(), Some(&BoundCredentials::Nothing));
        assert_eq!((crashed.poll_status(), crashed.started_at()), (PollStatus::Unpolled, at(2_000)));

        let undeclared = restored(Workload::Independent, Some(in_boot.clone()));
        assert_eq!(*undeclared.workload_client(), WorkloadClient::NotDeclared);
        let not_declared_then = RestoredInBoot { workload_client: WorkloadClient::NotDeclared, ..in_boot };
        assert_eq!(*restored(with_exporter, Some(not_declared_then)).workload_client(), WorkloadClient::Unseen);
        let booted = restored(with_exporter, None);
        assert_eq!(booted.outages(), earlier.outages());
        assert_eq!((booted.document(), booted.resolved_in_boot()), (None, false));
        assert_eq!((booted.before_outage(), booted.workload_client()), (None, &WorkloadClient::NotCreated));
    }

    #[test]
    fn what_a_run_saved_and_is_lost_is_unknown() {
        let lost = |workload| state(workload).with_unknown_past();
        assert_eq!(*lost(Workload::StartsWithExporter).workload_client(), WorkloadClient::Unseen);
        assert_eq!(*lost(Workload::StartsWhenReady).workload_client(), WorkloadClient::Unseen);
        assert_eq!(*lost(Workload::Independent).workload_client(), WorkloadClient::NotDeclared);
    }

    /// A wall clock that is set by so much after each poll changes nothing but what is shown.
    #[test]
    fn a_wall_clock_that_is_set_changes_no_window() {
        let moment = |second: i64, set: i64| Moment { wall: at(second + set), ..Moment::from(at(second)) };
        for set in [-90_000, -3_600, -2, 0, 2, 120, 3_600, 90_000] {
            let mut state = state(Workload::StartsWithExporter);
            let polls = [(1_005, up()), (1_010, refused()), (1_015, up()), (1_020, refused()), (1_025, up())];
            for (index, (second, poll)) in polls.iter().enumerate() {
                let set = if index % 2 == 1 { set } else { 0 };
                state.record(poll, Duration::ZERO, moment(*second, set));
            }
            let outages: Vec<_> =
                state.outages().past().map(|outage| [outage.start, outage.end].map(|at| at.0.as_secs())).collect();
            assert_eq!(outages, [[1_005, 1_015], [1_015, 1_025]], "{set}");
            let shown = state.past_outages();
            assert_eq!(shown[1], Outage { start: at(1_015), end: at(1_025) }, "{set}: by the clock of the last poll");
            assert_eq!(state.workload_started_at(), Some(at(1_000)), "{set}");
        }
    }

    #[test]
    fn signed_calls_exist_only_where_they_are_configured() {
        let mut without = state(Workload::Independent);
        assert!(without.signed_calls().is_none() && without.signed_calls_mut().is_none());
        let mut with = without.with_signed_calls(Duration::from_mins(15));
        with.signed_calls_mut().expect("they are configured").begin(&document("web", 1_000), since_boot(1_010));
        let calls = with.signed_calls().expect("they are configured");
        assert!(!calls.is_due(Some(&document("web", 1_000)), since_boot(1_010)));
        assert_eq!(with.started_at(), at(1_000));
    }

    #[test]
    fn a_thread_that_panics_with_the_state_locked_stops_nobody() {
        let shared = Shared::new(state(Workload::Independent));
        let other = shared.clone();
        let panicked = std::thread::spawn(move || {
            let _locked = other.lock();
            panic!("a test of a panic")
        });
        assert!(panicked.join().is_err());
        assert_eq!(shared.lock().started_at(), at(1_000));
    }
}
