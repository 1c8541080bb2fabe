//! The signed calls: each is a separate task, so that STS delays neither a poll nor a scrape.

use std::sync::Arc;

use super::event_log;
use crate::domain::signed_call::SignedCall;
use crate::domain::state::Shared;
use crate::domain::{Credential, Signing};
use crate::metrics::Metrics;
use crate::platform::clock::{Clock, monotonic};
use crate::sts::Sts;

/// Makes the calls that are due, one at a time, and records them.
#[derive(Clone)]
pub(super) struct SignedCaller {
    pub(super) sts: Sts,
    pub(super) state: Shared,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Arc<dyn Clock>,
}

impl SignedCaller {
    /// Begins a call with these credentials. Does not wait.
    pub(super) fn submit(&self, credential: &Credential, signing: Signing) {
        if let Some(calls) = self.state.lock().signed_calls_mut() {
            calls.begin(credential, self.clock.moment().since_boot);
        }
        tokio::spawn(self.clone().call(signing));
    }

    async fn call(self, signing: Signing) {
        let began = monotonic();
        let outcome = self.sts.call(signing).await.map(|identity| identity.caller);
        let at = self.clock.now();
        let call = SignedCall { at, duration: monotonic() - began, outcome };
        // In state and metrics at once, so that nobody sees the one without the other.
        let (failing_since, changed, place) = {
            let mut state = self.state.lock();
            self.metrics.record_signed_call(&call);
            let recorded = state.signed_calls_mut().map(|calls| (calls.failing_since(), calls.finish(call.clone())));
            let (failing_since, changed) = recorded.unwrap_or_default();
            (failing_since, changed, state.environment().place)
        };
        event_log::signed_call(&call, changed, failing_since, place);
    }
}
