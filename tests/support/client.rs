//! What a row of the table of SDKs says of one client, from the polls alone.

use imds_exporter::domain::Resolution;
use imds_exporter::domain::client::{Holds, Outlook};
use imds_exporter::domain::sdk::{Attempt, Sdk};
use jiff::Timestamp;

/// A client of this SDK, as the exporter sees it. The row can be one that a test has changed.
#[derive(Clone, Debug)]
pub(crate) struct ModelClient<'a> {
    sdk: &'a Sdk,
    v1_disabled: bool,
    pub(crate) holds: Holds,
    attempt: Attempt,
}

impl<'a> ModelClient<'a> {
    /// It is created at `at`, the time of this poll.
    pub(crate) fn created(sdk: &'a Sdk, poll: &Resolution, v1_disabled: bool, at: Timestamp) -> Self {
        let (holds, attempt) = (sdk.created(poll, v1_disabled, at), sdk.attempt(poll, v1_disabled));
        Self { sdk, v1_disabled, holds, attempt }
    }

    /// It is used at `at`, the time of this poll.
    pub(crate) fn poll(&mut self, poll: &Resolution, at: Timestamp) {
        self.holds = self.sdk.after(self.holds, poll, self.v1_disabled, at);
        self.attempt = self.sdk.attempt(poll, self.v1_disabled);
    }

    /// Created at the first of these polls and used at the others.
    pub(crate) fn replay(sdk: &'a Sdk, v1_disabled: bool, polls: &[(Timestamp, Resolution)]) -> Self {
        let ((at, first), others) = polls.split_first().expect("there is a poll");
        let mut client = Self::created(sdk, first, v1_disabled, *at);
        for (at, poll) in others {
            client.poll(poll, *at);
        }
        client
    }

    /// Whether it could sign a request; `None` is unknown.
    pub(crate) fn can_sign(&self, at: Timestamp) -> Option<bool> {
        self.sdk.can_sign(self.holds, self.attempt, at)
    }

    /// What the state means for it.
    pub(crate) fn outlook(&self, at: Timestamp) -> Outlook {
        self.sdk.outlook(self.holds, self.attempt, at)
    }
}
