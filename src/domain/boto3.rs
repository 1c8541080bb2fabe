//! boto3, which a poll imitates: what a client gets when it is created, what it holds after each poll, and whether it can
//! sign a request now.
//!
//! A client is stuck if it holds [`BoundCredentials::Nothing`]: that is decided in [`BoundCredentials::created`]. A claim is
//! made only where it is true for every version of boto3 from 1.18 on; anything else is `None`, unknown. A client is assumed
//! to be in use: each poll is a call of it. Must not know which clients are tracked.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

use super::resolution::Creation;

/// The value of the `sdk` label.
pub const SDK: &str = "boto3";

/// A client asks IMDS for a newer document when no more than this remains of the one that it holds. If it gets none, the
/// call fails. Source: `RefreshableCredentials._advisory_refresh_timeout`, and `InstanceMetadataProvider`, which raises.
pub const REFRESH: SignedDuration = SignedDuration::from_mins(15);

/// An error in place of "no credentials" fails the call only when no more than this remains.
/// Source: `RefreshableCredentials._mandatory_refresh_timeout`.
const MANDATORY_REFRESH: SignedDuration = SignedDuration::from_mins(10);

/// boto3 since 1.22 takes a document that ends earlier for valid for 17 to 25 minutes (random) after it was fetched; earlier
/// versions do not. Source: `InstanceMetadataFetcher._evaluate_expiration`.
const LONGEST_EXTENSION: SignedDuration = SignedDuration::from_mins(25);

/// A client that may hold one of more documents than this holds an unknown one.
const MOST_DOCUMENTS: usize = 8;

/// When the client was created: the `created` label.
#[derive(Clone, Copy, Debug, EnumMessage, Eq, IntoStaticStr, PartialEq, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Created {
    /// At this moment.
    #[strum(message = "created at this moment")]
    Now,
    /// When credentials were available: at the last success.
    #[strum(message = "created when credentials were available")]
    BeforeOutage,
    /// When the declared workload started, and in use since then.
    #[strum(message = "created when the workload started")]
    AtStart,
}

impl Created {
    /// The value of the `created` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// For people: which client is meant.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.get_message().expect("every variant has a message")
    }
}

/// Whether a client that is created at `at` can sign its first call.
pub(crate) fn new_client_can_sign(creation: Creation, at: Timestamp) -> Option<bool> {
    match creation {
        // An expired document is used since 1.22, and an error before.
        Creation::Credentials { expiration } => (at < expiration).then_some(true),
        Creation::Nothing | Creation::Unusable | Creation::Raises => Some(false),
        Creation::Unknown => None,
    }
}

/// What a client holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundCredentials {
    /// No credentials, permanently: every call fails until the client is created again.
    Nothing,
    /// The exporter cannot know. After a creation that raised an error, nobody knows whether the program was started again.
    Unknown,
    /// One of these documents; it asks for a newer one by itself.
    OneOf(Vec<CachedDocument>),
}

/// A document that a client holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedDocument {
    /// When the client fetched it, at the latest.
    pub fetched_at: Timestamp,
    /// `Expiration`.
    pub expiration: Timestamp,
}

impl CachedDocument {
    /// The first moment at which no more than `rest` may remain, as the client sees it.
    fn earliest(&self, rest: SignedDuration) -> Timestamp {
        later(self.expiration, -rest)
    }

    /// The moment from which on surely no more than `rest` remains, as the client sees it.
    fn latest(&self, rest: SignedDuration) -> Timestamp {
        later(self.expiration.max(later(self.fetched_at, LONGEST_EXTENSION)), -rest)
    }

    /// Whether it makes no difference which of the two a client holds.
    fn is_refreshed_as(&self, other: &Self) -> bool {
        let end = |document: &Self| document.latest(SignedDuration::ZERO);
        self.expiration == other.expiration && end(self) == end(other)
    }

    /// Whether a client that holds it begins to ask for a newer one between these times.
    pub(crate) fn may_be_renewed(&self, from: Timestamp, to: Timestamp) -> bool {
        (from..to).contains(&self.earliest(REFRESH))
    }

    /// When a refresh that ends like this fails the call: from the first of these times on it may, from the second on it
    /// surely does, where that is known; `None` is never.
    fn fails_from(&self, creation: Creation) -> Option<(Timestamp, Option<Timestamp>)> {
        let surely = match creation {
            Creation::Credentials { .. } => return None,
            Creation::Nothing | Creation::Unusable => Some(REFRESH),
            Creation::Raises => Some(MANDATORY_REFRESH),
            Creation::Unknown => None,
        };
        Some((self.earliest(REFRESH), surely.map(|rest| self.latest(rest))))
    }

    /// Whether a client that holds it can sign a request at `at` with a key that has not expired. `creation` is what a
    /// creation does then: a refresh asks in the same way.
    pub(crate) fn can_sign(&self, creation: Creation, at: Timestamp) -> Option<bool> {
        match (creation, self.fails_from(creation)) {
            (_, Some((may_fail, _))) if at < may_fail => Some(true),
            (_, Some((_, fails))) => fails.is_some_and(|fails| fails <= at).then_some(false),
            (Creation::Credentials { expiration: newest }, None) => {
                let gets_newest = self.latest(REFRESH) <= at && at < newest;
                (at < self.expiration || gets_newest).then_some(true)
            }
            (_, None) => None,
        }
    }
}

impl BoundCredentials {
    /// What a client holds that is created at `at`.
    #[must_use]
    pub fn created(creation: Creation, at: Timestamp) -> Self {
        match creation {
            Creation::Credentials { expiration } => Self::OneOf(vec![CachedDocument { fetched_at: at, expiration }]),
            Creation::Nothing => Self::Nothing,
            Creation::Unusable | Creation::Raises | Creation::Unknown => Self::Unknown,
        }
    }

    /// What a client holds that held this, after a call at `at`, when a creation does this.
    #[must_use]
    pub fn after(self, creation: Creation, at: Timestamp) -> Self {
        let Self::OneOf(mut documents) = self else { return self };
        let asks = documents.iter().any(|document| document.earliest(REFRESH) <= at);
        match creation {
            Creation::Credentials { expiration } if asks => {
                // One with the same expiration counts as fetched now: it may have been.
                documents.retain(|document| at < document.latest(REFRESH) && document.expiration != expiration);
                documents.push(CachedDocument { fetched_at: at, expiration });
                if documents.len() > MOST_DOCUMENTS { Self::Unknown } else { Self::OneOf(documents) }
            }
            Creation::Unusable | Creation::Unknown if asks => Self::Unknown,
            Creation::Credentials { .. }
            | Creation::Nothing
            | Creation::Unusable
            | Creation::Raises
            | Creation::Unknown => Self::OneOf(documents),
        }
    }

    /// What a client holds after an outage began between these two polls. If it asked meanwhile, nobody knows what it got.
    #[must_use]
    pub fn after_gap(self, from: Timestamp, to: Timestamp) -> Self {
        match &self {
            Self::OneOf(documents) if documents.iter().any(|document| document.may_be_renewed(from, to)) => {
                Self::Unknown
            }
            _ => self,
        }
    }

    /// What a client holds that holds this or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::OneOf(mut documents), Self::OneOf(others)) => {
                for other in others {
                    if !documents.iter().any(|document| document.is_refreshed_as(&other)) {
                        documents.push(other);
                    }
                }
                if documents.len() > MOST_DOCUMENTS { Self::Unknown } else { Self::OneOf(documents) }
            }
            (Self::Nothing, Self::Nothing) => Self::Nothing,
            _ => Self::Unknown,
        }
    }

    /// Whether a client that holds this can sign a request at `at`: see [`CachedDocument::can_sign`].
    pub(crate) fn can_sign(&self, creation: Creation, at: Timestamp) -> Option<bool> {
        match self {
            Self::Nothing => Some(false),
            Self::Unknown => None,
            Self::OneOf(documents) => {
                let mut answers = documents.iter().map(|document| document.can_sign(creation, at));
                let first = answers.next()?;
                first.filter(|_| answers.all(|answer| answer == first))
            }
        }
    }
}

/// What the present state means for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "prognosis", rename_all = "snake_case")]
pub enum Prognosis {
    /// It can sign.
    Signs,
    /// It can sign until then; then every call fails, unless IMDS answers before.
    SignsUntil {
        /// The first moment at which it may fail.
        until: Timestamp,
    },
    /// It signs with expired credentials, or raises an error: IMDS has no others.
    Expired,
    /// Every call fails until IMDS answers: the first one after that works.
    FailsUntilImdsAnswers,
    /// It is bound to no credentials, permanently: every call fails until it is created again.
    BoundToNothing,
    /// Its creation raises an error.
    CreationRaises,
    /// The exporter cannot know.
    Unknown,
}

impl Prognosis {
    /// For a client that is created at `at`.
    pub(crate) fn of_new_client(creation: Creation, at: Timestamp) -> Self {
        match creation {
            Creation::Credentials { expiration } if expiration <= at => Self::Expired,
            Creation::Credentials { .. } => Self::Signs,
            Creation::Nothing | Creation::Unusable => Self::BoundToNothing,
            Creation::Raises => Self::CreationRaises,
            Creation::Unknown => Self::Unknown,
        }
    }

    /// For a client that holds this.
    #[must_use]
    pub fn of(credentials: &BoundCredentials, creation: Creation, at: Timestamp) -> Self {
        match (credentials, credentials.can_sign(creation, at), creation) {
            (BoundCredentials::Nothing, ..) => Self::BoundToNothing,
            (_, Some(false), _) => Self::FailsUntilImdsAnswers,
            (BoundCredentials::OneOf(documents), Some(true), _) => {
                let may_fail =
                    documents.iter().filter_map(|document| document.fails_from(creation)).map(|(may, _)| may);
                may_fail.min().map_or(Self::Signs, |until| Self::SignsUntil { until })
            }
            (BoundCredentials::OneOf(_), None, Creation::Credentials { expiration }) if expiration <= at => {
                Self::Expired
            }
            (BoundCredentials::Unknown | BoundCredentials::OneOf(_), ..) => Self::Unknown,
        }
    }
}

/// The time `by` later, within what a timestamp can be.
fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).expect("a duration never fails")
}

#[cfg(test)]
mod tests;
