//! What survives a restart of the exporter: the form in which the state is saved.
//!
//! Owns the format, and what of it still holds. Times of this boot are saved as times since the boot, so that no clock that is
//! set spoils them. Must not know files.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::boto3::BoundCredentials;
use super::credential::Credential;
use super::moment::SinceBoot;
use super::outage::{KEPT, Outage, Outages};
use super::state::{RestoredInBoot, RestoredState, State};
use super::workload::{Workload, WorkloadClient};

const VERSION: u32 = 5;

/// While nothing else changes, the times of the last polls are saved this often.
const TIMES_SAVED_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// The saved part of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    version: u32,
    /// Identifies the boot of the machine.
    boot_id: Option<String>,
    /// When that boot was, by the wall clock.
    booted_at: Timestamp,
    /// When the last poll ended, or the exporter started.
    last_attempt: SinceBoot,
    /// The last success, or the exporter's start before any.
    last_success: SinceBoot,
    /// Start of the present outage.
    outage_since: Option<SinceBoot>,
    /// Outages of that boot that are over, oldest first.
    outages: Vec<Outage<SinceBoot>>,
    /// Outages of the boots before, oldest first.
    earlier_outages: Vec<Outage>,
    /// The last document, without its secrets.
    document: Option<SavedDocument>,
    role_attached: bool,
    /// Credentials were resolved in this boot.
    resolved: bool,
    /// The client of the declared workload.
    workload: WorkloadClient,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedDocument {
    #[serde(flatten)]
    credential: Credential,
    /// When it was fetched last.
    fetched_at: Timestamp,
}

/// The content is not what the exporter writes: damaged, or of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl SavedState {
    /// The part of a state that is saved. After an orderly stop, nobody knows whether the workload is restarted too.
    #[must_use]
    pub fn of(state: &State, boot_id: Option<&str>, orderly_stop: bool) -> Self {
        let may_have_started = state.environment().workload != Workload::StartsWhenReady || state.resolved_in_boot();
        let workload = match state.workload_client() {
            WorkloadClient::Created { credentials, .. } if orderly_stop => {
                WorkloadClient::PerhapsRestarted { credentials: credentials.clone() }
            }
            WorkloadClient::Unseen if orderly_stop => {
                WorkloadClient::PerhapsRestarted { credentials: BoundCredentials::Unknown }
            }
            // Until the first poll ended, a workload that nothing holds back may have created its client unseen.
            WorkloadClient::NotCreated | WorkloadClient::PerhapsRestarted { .. } if may_have_started => {
                WorkloadClient::Unseen
            }
            client => client.clone(),
        };
        let outages = state.outages();
        Self {
            version: VERSION,
            boot_id: boot_id.map(str::to_owned),
            booted_at: state.booted_at(),
            last_attempt: state.last_attempt_since_boot(),
            last_success: outages.last_success(),
            outage_since: outages.ongoing_since(),
            outages: outages.past().copied().collect(),
            earlier_outages: outages.earlier_boots().to_vec(),
            document: (state.document().cloned())
                .map(|credential| SavedDocument { credential, fetched_at: state.fetched_at() }),
            role_attached: state.role_attached(),
            resolved: state.resolved_in_boot(),
            workload,
        }
    }

    /// Whether it is worth writing, after `before` was written: something other than the times that every poll moves has
    /// changed, or these are a minute old.
    #[must_use]
    pub fn is_worth_writing_after(&self, before: &Self) -> bool {
        let Self { booted_at, last_attempt, last_success, .. } = *before;
        let mut ignoring_poll_times = Self { booted_at, last_attempt, last_success, ..self.clone() };
        if let (Some(document), Some(before)) = (&mut ignoring_poll_times.document, &before.document) {
            document.fetched_at = before.fetched_at;
        }
        ignoring_poll_times != *before || self.last_attempt.0 - last_attempt.0 >= TIMES_SAVED_EVERY
    }

    /// Parses what was saved, and takes what still holds `now`.
    ///
    /// # Errors
    /// If it is not what the exporter writes.
    pub fn restore(content: &[u8], boot_id: Option<&str>, now: SinceBoot) -> Result<RestoredState, Malformed> {
        let saved: Self = serde_json::from_slice(content).map_err(|_| Malformed)?;
        if saved.version != VERSION || saved.outages.len() > KEPT || saved.earlier_outages.len() > KEPT {
            return Err(Malformed);
        }
        if saved.boot_id.is_none() || saved.boot_id.as_deref() != boot_id {
            let outages = Outages::new(now).after_earlier_boots(saved.outages_of_ended_boot());
            return Ok(RestoredState { outages, of_this_boot: None });
        }
        let outages = Outages::restored(saved.last_success, saved.outage_since, &saved.outages, now);
        let outages = outages.ok_or(Malformed)?.after_earlier_boots(saved.earlier_outages);
        let of_this_boot = RestoredInBoot {
            document: saved.document.map(|SavedDocument { credential, fetched_at }| (credential, fetched_at)),
            role_attached: saved.role_attached,
            resolved: saved.resolved,
            workload_client: saved.workload,
        };
        Ok(RestoredState { outages, of_this_boot: Some(of_this_boot) })
    }

    /// All outages by the wall clock. One that was open ended with the boot.
    fn outages_of_ended_boot(&self) -> Vec<Outage> {
        let open = self.outage_since.map(|start| Outage { start, end: self.last_attempt.max(start) });
        let of_boot = self.outages.iter().copied().chain(open).map(|outage| outage.wall(self.booted_at));
        self.earlier_outages.iter().copied().chain(of_boot).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::super::kind::Kind;
    use super::super::moment::Moment;
    use super::super::moment::test::{at, since_boot};
    use super::super::resolution::{Failure, Resolution, Step};
    use super::super::state::WorkloadEnvironment;
    use super::*;

    /// A state after polls at these seconds, which succeed or not.
    fn state(workload: Workload, polls: &[(i64, bool)]) -> State {
        let mut state = State::new(WorkloadEnvironment { workload, ..WorkloadEnvironment::default() }, at(0));
        for (second, success) in polls {
            state.record(&resolution(*success), Duration::ZERO, at(*second));
        }
        state
    }

    fn resolution(success: bool) -> Resolution {
        let credential = Credential {
            role: "web".to_owned().try_into().expect("a role name"),
            last_updated: None,
            expiration: at(21_600),
        };
        let failure = Failure { kind: Kind::ReadTimeout, step: Step::Role };
        Resolution::from(if success { Ok(credential) } else { Err(failure) })
    }

    fn saved(state: &State) -> SavedState {
        SavedState::of(state, Some("boot"), false)
    }

    fn restored(saved: &SavedState, boot: &str, second: i64) -> Result<RestoredState, Malformed> {
        let content = serde_json::to_vec(saved).expect("it can be written");
        SavedState::restore(&content, Some(boot), since_boot(second))
    }

    #[test]
    fn whether_the_workload_was_restarted_too_is_unknown_after_an_orderly_stop_alone() {
        let perhaps =
            |credentials: &BoundCredentials| WorkloadClient::PerhapsRestarted { credentials: credentials.clone() };
        for workload in [Workload::StartsWithExporter, Workload::StartsWhenReady] {
            let ran = state(workload, &[(1, true)]);
            let created = ran.workload_client();
            let WorkloadClient::Created { credentials, .. } = created else { panic!("it started") };
            assert_eq!(saved(&ran).workload, *created);
            assert_eq!(SavedState::of(&ran, None, true).workload, perhaps(credentials));

            let unseen = state(workload, &[]).with_unknown_past();
            assert_eq!(saved(&unseen).workload, WorkloadClient::Unseen);
            assert_eq!(SavedState::of(&unseen, None, true).workload, perhaps(&BoundCredentials::Unknown));

            // One that does not wait may have created its client before the first poll ended.
            let waits = workload == Workload::StartsWhenReady;
            let unpolled = if waits { WorkloadClient::NotCreated } else { WorkloadClient::Unseen };
            assert_eq!(saved(&state(workload, &[])).workload, unpolled);
            // Nor does one that the run before released.
            let stopped = SavedState::of(&ran, Some("boot"), true);
            let again = state(workload, &[]).with_restored(restored(&stopped, "boot", 10).expect("it is whole"));
            assert_eq!(*again.workload_client(), perhaps(credentials));
            assert_eq!(saved(&again).workload, WorkloadClient::Unseen);
        }
    }

    #[test]
    fn the_times_of_the_last_polls_are_worth_a_write_once_a_minute() {
        let after = |polls: &[(i64, bool)]| saved(&state(Workload::Independent, polls));
        let written = after(&[(1, true)]);
        for (polls, worth) in [
            ([(1, true), (16, true)], false),
            ([(1, true), (60, true)], false),
            ([(1, true), (61, true)], true),
            ([(1, true), (2, false)], true),
        ] {
            assert_eq!(after(&polls).is_worth_writing_after(&written), worth, "{polls:?}");
        }
        let mut clock_was_set = state(Workload::Independent, &[(1, true)]);
        let polled = Moment { wall: at(1_000), since_boot: since_boot(16) };
        clock_was_set.record(&resolution(true), Duration::ZERO, polled);
        assert!(!saved(&clock_was_set).is_worth_writing_after(&written));
    }

    #[test]
    fn of_another_boot_the_outages_alone_are_restored() {
        let polls = [(1, true), (2, false), (3, true), (4, false), (5, false)];
        let saved = saved(&state(Workload::StartsWithExporter, &polls));
        let same = restored(&saved, "boot", 10).expect("it is whole");
        let of_this_boot = same.of_this_boot.expect("it is the same boot");
        assert!(of_this_boot.resolved && of_this_boot.role_attached && of_this_boot.document.is_some());
        assert_eq!(same.outages.ongoing_since(), Some(since_boot(3)));
        let other = restored(&saved, "another", 10).expect("it is whole");
        assert_eq!((other.of_this_boot, other.outages.ongoing_since()), (None, None));
        let ends: Vec<_> = other.outages.earlier_boots().iter().map(|outage| outage.end).collect();
        assert_eq!(ends, [at(3), at(5)]);
        let unknown = SavedState { boot_id: None, ..saved };
        assert_eq!(restored(&unknown, "boot", 10).expect("it is whole").of_this_boot, None);
    }

    #[test]
    fn what_the_exporter_does_not_write_is_malformed() {
        let saved = saved(&state(Workload::Independent, &[(1, true)]));
        let outage = Outage { start: SinceBoot::default(), end: SinceBoot::default() };
        let earlier = Outage { start: at(0), end: at(0) };
        let with = |of_boot, of_earlier| SavedState {
            outages: vec![outage; of_boot],
            earlier_outages: vec![earlier; of_earlier],
            ..saved.clone()
        };
        assert!(restored(&with(KEPT, KEPT), "boot", 10).is_ok());
        for wrong in [with(KEPT + 1, 0), with(0, KEPT + 1), SavedState { version: VERSION - 1, ..saved.clone() }] {
            assert_eq!(restored(&wrong, "boot", 10), Err(Malformed));
        }
        let mut future = serde_json::to_value(&saved).expect("it can be written");
        future["last_success"] = Value::from("PT1H");
        let future = serde_json::from_value(future).expect("a saved state");
        assert_eq!(restored(&future, "boot", 10), Err(Malformed));
    }
}
