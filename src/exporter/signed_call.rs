//! The signed calls: each is a task and a thread of its own, so that STS delays neither a poll nor a scrape.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use super::event_log;
use super::facts::{LatestLook, with_facts};
use crate::domain::signed_call::{CallFailure, Caller, Reason, SignedCall};
use crate::domain::state::Shared;
use crate::domain::{Credential, Region, RegionRequest, SignedCaller, SigningCredentials};
use crate::metrics::Metrics;
use crate::platform::clock::{Clock, monotonic};
use crate::sts::Sts;

/// Makes the calls that are due, one at a time, and records them.
#[derive(Clone)]
pub(super) struct SignedCalls {
    pub(super) sts: Sts,
    pub(super) state: Shared,
    pub(super) metrics: Arc<Metrics>,
    pub(super) latest_look: Option<LatestLook>,
    pub(super) clock: Arc<dyn Clock>,
    /// The region that IMDS named.
    pub(super) region: Arc<OnceLock<Region>>,
}

impl SignedCaller for SignedCalls {
    fn wants(&self, credential: &Credential) -> bool {
        let now = self.clock.now();
        self.state.lock().signed_calls().is_some_and(|calls| calls.due(credential, now))
    }

    fn take(&self, credential: &Credential, secrets: SigningCredentials, region: RegionRequest) {
        let now = self.clock.now();
        if let Some(calls) = self.state.lock().signed_calls_mut() {
            calls.begin(credential, now);
        }
        tokio::spawn(self.clone().call(secrets, region));
    }
}

impl SignedCalls {
    async fn call(self, secrets: SigningCredentials, region: RegionRequest) {
        let began = monotonic();
        let outcome = self.outcome(secrets, region).await;
        let at = self.clock.now();
        let call = SignedCall { at, duration: monotonic() - began, outcome };
        let (failing_since, changed) = self.record(&call);
        event_log::signed_call(&call, changed, failing_since);
        with_facts(&self.state, self.latest_look.as_ref(), |state, watched| self.metrics.prepare(state, watched, at));
    }

    /// Records a finished call, in state and metrics at once, so that nobody sees the one without the other. Returns since when
    /// calls had failed, and whether this one ended in another way than the one before.
    fn record(&self, call: &SignedCall) -> (Option<Timestamp>, bool) {
        let mut state = self.state.lock();
        self.metrics.record_signed_call(call);
        state.signed_calls_mut().map_or((None, false), |calls| (calls.failing_since(), calls.finish(call.clone())))
    }

    async fn outcome(&self, secrets: SigningCredentials, request: RegionRequest) -> Result<Caller, CallFailure> {
        let region = if let Some(known) = self.sts.region().or(self.region.get()) {
            known.clone()
        } else {
            let region = request.await.ok_or(Reason::Unexpected)?;
            self.region.get_or_init(|| region).clone()
        };
        self.sts.call_apart(region, secrets).await
    }
}
