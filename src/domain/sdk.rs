//! The SDKs: what each does with the role's credentials, as a table of measured facts.
//!
//! Another SDK is one more row. What follows from a row for a client is decided in [`client`](super::client). Must not know
//! processes, metrics or the wire format.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

use super::kind::Kind;
use super::resolution::{Failure, Resolution, Step};

/// What an SDK does with the role's credentials.
#[derive(Clone, Debug)]
pub struct Sdk {
    /// The value of the `sdk` label.
    pub label: &'static str,
    /// Which libraries and programs behave like this.
    pub covers: &'static str,
    /// The version that the facts were measured with.
    pub version: &'static str,
    /// Where the facts come from.
    pub source: &'static str,
    /// What a user sees while a client has no credentials. Back-ticks enclose code.
    pub symptom: &'static str,
    /// How clients work again, and how to keep them from failing. Back-ticks enclose code.
    pub cure: &'static str,
    /// A client that is created while credentials cannot be resolved is bound to none permanently. Otherwise it asks again at
    /// its next call.
    pub binds_at_creation: bool,
    /// At which answers of IMDS an attempt raises an error, so that a client cannot be created.
    pub raises_at: RaisesAt,
    /// What it does with a document that lacks a key.
    pub incomplete_document: IncompleteDocument,
    /// When a client asks IMDS again for what it holds.
    pub refresh: Refresh,
    /// What a refresh that fails does to the call.
    pub failed_refresh: FailedRefresh,
    /// After which failures of the token request it goes on without a token.
    pub v1_fallback: V1Fallback,
    /// What `AWS_EC2_METADATA_V1_DISABLED=true` changes.
    pub v1_disabled: V1Disabled,
    /// With `AWS_EC2_METADATA_DISABLED=true` it does not ask IMDS.
    pub obeys_metadata_disabled: bool,
}

/// Which answers of IMDS raise an error, in place of an attempt that brings no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaisesAt {
    /// None.
    Nothing,
    /// A session token that is no legal header value; at creation, an `Expiration` that is no time.
    TokenOrTime,
    /// A document that is not JSON, or its `Expiration` no time.
    Document,
}

/// What an SDK does with a document that lacks a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncompleteDocument {
    /// To it, this is an attempt that brings no credentials, as any other.
    IsNone,
    /// It cannot sign the call that asked for it, and asks again at the next one.
    FailsTheCall,
    /// It takes the document for whole, and keeps it: it signs no call until it refreshes that.
    IsKept,
}

/// When a client asks IMDS again for what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// When no more than this remains.
    BeforeEnd(SignedDuration),
    /// When no more than this remains, of a document that the SDK takes for valid for a random time at least, counted from
    /// when it was fetched.
    BeforeStretchedEnd {
        /// The remaining time at which it asks again.
        before_end: SignedDuration,
        /// The shortest validity that it assumes.
        shortest: SignedDuration,
        /// The longest validity that it assumes of a document that ends earlier.
        longest: SignedDuration,
    },
    /// When no more than this part of the time from fetching to the end remains, in percent.
    LastPercent(i32),
    /// At this age of what it holds, or at its end if that is sooner.
    AtAge(SignedDuration),
}

/// What a refresh that fails does to the call that needed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedRefresh {
    /// The call fails; the next one tries again.
    FailsTheCall {
        /// An error in place of "no credentials" is ignored until no more than this remains.
        ignores_errors_until: Option<SignedDuration>,
    },
    /// The call is signed with what the client holds, ended or not, and so are all calls until a pause is over.
    KeepsTheOld {
        /// The shortest pause.
        shortest_pause: SignedDuration,
        /// The longest pause: the SDK draws at random, and nothing is claimed to work before this is over.
        longest_pause: SignedDuration,
        /// A refresh that brings a document that has ended is followed by a pause too.
        pauses_after_ended: bool,
    },
}

/// After which failures of the token request an SDK goes on without a token, by IMDSv1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V1Fallback {
    /// Any but a 400.
    Any,
    /// An answer other than a 400, and a time-out; not the end of the connection, or what is not HTTP.
    AnswerOrTimeout,
    /// A time-out only.
    Timeout,
    /// None: it knows IMDSv2 only.
    Never,
}

/// What `AWS_EC2_METADATA_V1_DISABLED=true` does to an SDK whose token request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V1Disabled {
    /// The resolution raises an error: a client cannot be created.
    Raises,
    /// The resolution fails.
    Fails,
    /// Nothing: it goes on without a token all the same.
    Ignored,
}

/// How an SDK's own attempt to resolve credentials ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// With a document that ends at this time.
    Works(Timestamp),
    /// Without credentials.
    Fails,
    /// With an error.
    Raises,
    /// With a document without a key, which the client keeps.
    Useless,
    /// The exporter cannot know: the SDK sends what the exporter does not.
    Unknown,
}

/// The SDKs that are covered.
pub const SDKS: [Sdk; 6] = [
    // `session.create_client` resolves once and swallows a failure, except that of the token request where IMDSv1 is
    // disabled, and a token that is no legal header value or a time that is none. `RefreshableCredentials` refreshes from 15
    // minutes before the expiration, and `InstanceMetadataProvider`'s refresh fails when it gets no credentials; the errors
    // named above count only from 10 minutes before. A document with less than 15 minutes and a random 2 to 10 left is
    // taken for valid for that long (`InstanceMetadataFetcher._evaluate_expiration`).
    Sdk {
        label: "boto3",
        covers: "boto3 and all else that is built on botocore: aiobotocore, aioboto3, s3fs",
        version: "boto3 1.44.5",
        source: "run; botocore/credentials.py, botocore/utils.py",
        symptom: "`NoCredentialsError` if the client was created without credentials, `CredentialRetrievalError` if it cannot refresh",
        cure: "Create a new client; the same `Session` is enough. For s3fs, which returns the same object again, use `S3FileSystem(..., skip_instance_cache=True)`, or `connect(refresh=True)`, or `S3FileSystem.clear_instance_cache()` before the new object. With `AWS_EC2_METADATA_V1_DISABLED=true`, `client()` raises an error if the token request fails, so that the program ends instead.",
        binds_at_creation: true,
        raises_at: RaisesAt::TokenOrTime,
        incomplete_document: IncompleteDocument::IsNone,
        refresh: Refresh::BeforeStretchedEnd {
            before_end: SignedDuration::from_mins(15),
            shortest: SignedDuration::from_mins(17),
            longest: SignedDuration::from_mins(25),
        },
        failed_refresh: FailedRefresh::FailsTheCall { ignores_errors_until: Some(SignedDuration::from_mins(10)) },
        v1_fallback: V1Fallback::Any,
        v1_disabled: V1Disabled::Raises,
        obeys_metadata_disabled: true,
    },
    // `InstanceProfileCredentials` rescues a failed request, but not what `Aws::Json.load` and `Time.iso8601` raise, and its
    // list of errors after which it goes on without a token lacks `EOFError`, `Errno::ECONNRESET` and
    // `Net::HTTPBadResponse`. `CredentialProviderChain.resolve` runs once, when the client is created, and returns nothing if
    // no provider has credentials. `RefreshingCredentials` refreshes synchronously from 5 minutes before the expiration, and
    // `InstanceProfileCredentials.refresh` keeps what it has if that brings none, or one that has ended, and sets
    // `@no_refresh_until` to 300 to 360 seconds later.
    Sdk {
        label: "ruby",
        covers: "aws-sdk-ruby 3",
        version: "aws-sdk-core 3.168.1",
        source: "run, also 3.211.0; aws-sdk-core/instance_profile_credentials.rb, refreshing_credentials.rb",
        symptom: "`Aws::Errors::MissingCredentialsError` if the client was created without credentials, `ExpiredToken` from AWS if it uses credentials that have ended",
        cure: "Create a new client. A client that gets `credentials: Aws::InstanceProfileCredentials.new` explicitly is never bound to nothing: it asks again. `AWS_EC2_METADATA_V1_DISABLED` changes nothing.",
        binds_at_creation: true,
        raises_at: RaisesAt::Document,
        incomplete_document: IncompleteDocument::IsNone,
        refresh: Refresh::BeforeEnd(SignedDuration::from_mins(5)),
        failed_refresh: FailedRefresh::KeepsTheOld {
            shortest_pause: SignedDuration::from_secs(300),
            longest_pause: SignedDuration::from_secs(360),
            pauses_after_ended: true,
        },
        v1_fallback: V1Fallback::AnswerOrTimeout,
        v1_disabled: V1Disabled::Ignored,
        obeys_metadata_disabled: true,
    },
    // `ec2rolecreds.Provider.Retrieve` takes a document for valid for an hour at most, `CredentialsCache` does not keep one
    // without keys, and `HandleFailToRefresh` puts the next attempt off by 5 to 15 minutes.
    Sdk {
        label: "go-v2",
        covers: "aws-sdk-go-v2",
        version: "aws-sdk-go-v2 1.48.0 (credentials 1.20.16)",
        source: "run; credentials/ec2rolecreds/provider.go, aws/credential_cache.go",
        symptom: "`no EC2 IMDS role found` if it never had credentials, `ExpiredToken` from AWS if it uses credentials that have ended",
        cure: "Nothing to do: it recovers by itself, but a client whose credentials ended in the outage needs up to 15 minutes after it. A new `aws.Config` recovers at once.",
        binds_at_creation: false,
        raises_at: RaisesAt::Nothing,
        incomplete_document: IncompleteDocument::FailsTheCall,
        refresh: Refresh::AtAge(SignedDuration::from_mins(60)),
        failed_refresh: FailedRefresh::KeepsTheOld {
            shortest_pause: SignedDuration::from_mins(5),
            longest_pause: SignedDuration::from_mins(15),
            pauses_after_ended: false,
        },
        v1_fallback: V1Fallback::Any,
        v1_disabled: V1Disabled::Fails,
        obeys_metadata_disabled: true,
    },
    // `Chain.Retrieve` takes whatever came without an error and with a key id or a key. `Expiry.SetExpiration` cuts a fifth
    // off the time that is left when a document is fetched. `getCredentials` goes on without a token only after its
    // context's deadline of a second. No variable switches IMDS off.
    Sdk {
        label: "minio-go",
        covers: "minio-go, and what is built on it: Thanos and other users of its `objstore`",
        version: "minio-go 7.4.1",
        source: "run; pkg/credentials/iam_aws.go, credentials.go",
        symptom: "`AccessDenied` from S3: its chain of providers sends anonymous requests in place of an error",
        cure: "Nothing to do: it recovers with its next call. During an outage, `AccessDenied` means that there are no credentials: do not change a policy because of it.",
        binds_at_creation: false,
        raises_at: RaisesAt::Nothing,
        incomplete_document: IncompleteDocument::IsKept,
        refresh: Refresh::LastPercent(20),
        failed_refresh: FailedRefresh::FailsTheCall { ignores_errors_until: None },
        v1_fallback: V1Fallback::Timeout,
        v1_disabled: V1Disabled::Ignored,
        obeys_metadata_disabled: false,
    },
    Sdk {
        label: "aws-crt",
        covers: "the AWS Common Runtime (awscrt, Mountpoint for Amazon S3); aws-sdk-go 1 differs in that it obeys `AWS_EC2_METADATA_V1_DISABLED`",
        version: "awscrt 0.38.1",
        source: "run, also aws-sdk-go 1.55.8",
        symptom: "`AWS_AUTH_CREDENTIALS_PROVIDER_IMDS_SOURCE_FAILURE`, or that no provider of the chain has credentials",
        cure: "Nothing to do: it recovers with its next call.",
        binds_at_creation: false,
        raises_at: RaisesAt::Nothing,
        incomplete_document: IncompleteDocument::IsNone,
        refresh: Refresh::BeforeEnd(SignedDuration::from_mins(5)),
        failed_refresh: FailedRefresh::FailsTheCall { ignores_errors_until: None },
        v1_fallback: V1Fallback::Any,
        v1_disabled: V1Disabled::Ignored,
        obeys_metadata_disabled: true,
    },
    // `TokenCache` with a least remaining time of 300 seconds; `instance_creds` knows a fallback only as an option that is
    // off. No variable switches IMDS off.
    Sdk {
        label: "object-store",
        covers: "the Rust crate object_store, and what is built on it: delta-rs, polars, DataFusion",
        version: "obstore 0.12.1",
        source: "run; src/client/token.rs, src/aws/credential.rs",
        symptom: "an error that names the request to the instance metadata service",
        cure: "Nothing to do: it recovers with its next call. Where credentials resolve by IMDSv1 only, it has none: fix the token request, or set `aws_imdsv1_fallback`.",
        binds_at_creation: false,
        raises_at: RaisesAt::Nothing,
        incomplete_document: IncompleteDocument::IsNone,
        refresh: Refresh::BeforeEnd(SignedDuration::from_mins(5)),
        failed_refresh: FailedRefresh::FailsTheCall { ignores_errors_until: None },
        v1_fallback: V1Fallback::Never,
        v1_disabled: V1Disabled::Fails,
        obeys_metadata_disabled: false,
    },
];

/// Some of the [`SDKS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdkSet([bool; SDKS.len()]);

impl Default for SdkSet {
    /// boto3.
    fn default() -> Self {
        "boto3".parse().expect("it has a row")
    }
}

impl SdkSet {
    /// Their indices, in the order of [`SDKS`].
    pub fn indices(self) -> impl Iterator<Item = usize> {
        (0..SDKS.len()).filter(move |index| self.0[*index])
    }

    /// The labels of those whose clients are bound to nothing if they are created without credentials.
    pub fn that_bind(self) -> impl Iterator<Item = &'static str> {
        self.indices().map(|index| &SDKS[index]).filter(|sdk| sdk.binds_at_creation).map(|sdk| sdk.label)
    }

    /// Whether this index of [`SDKS`] is one of them.
    #[must_use]
    pub const fn contains(self, index: usize) -> bool {
        self.0[index]
    }
}

/// What is wrong with a list of SDKs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidSdks {
    /// An SDK without a row.
    Unknown(String),
    /// An SDK that is listed twice.
    Duplicate(&'static str),
    /// An entry is empty.
    EmptyEntry,
}

impl FromStr for SdkSet {
    type Err = InvalidSdks;

    /// From labels that commas separate.
    fn from_str(text: &str) -> Result<Self, InvalidSdks> {
        let mut set = [false; SDKS.len()];
        for label in text.split(',').map(str::trim) {
            if label.is_empty() {
                return Err(InvalidSdks::EmptyEntry);
            }
            let index = SDKS.iter().position(|sdk| sdk.label == label);
            let index = index.ok_or_else(|| InvalidSdks::Unknown(label.to_owned()))?;
            if std::mem::replace(&mut set[index], true) {
                return Err(InvalidSdks::Duplicate(SDKS[index].label));
            }
        }
        Ok(Self(set))
    }
}

impl Sdk {
    /// How an attempt of this SDK to resolve credentials ends at the time of this poll. `v1_disabled` is whether
    /// `AWS_EC2_METADATA_V1_DISABLED` is true in the workload's environment, as in that of the exporter.
    ///
    /// The poll is botocore's resolution. A session token that a client still has from an earlier resolution is not
    /// considered: with one, some SDKs get along without the token request for a while.
    #[must_use]
    pub fn attempt(&self, poll: &Resolution, v1_disabled: bool) -> Attempt {
        let Failure { kind, step } = match (&poll.outcome, poll.v1_fallback) {
            (Ok(credential), None) => return Attempt::Works(credential.expiration),
            (Ok(credential), Some(token_failure)) => {
                return if self.falls_back_after(token_failure) {
                    Attempt::Works(credential.expiration)
                } else {
                    Attempt::Fails
                };
            }
            (Err(failure), _) => *failure,
        };
        match (step, kind) {
            (_, Kind::MalformedDocument | Kind::InvalidTimestamp) if self.raises_at == RaisesAt::Document => {
                Attempt::Raises
            }
            (_, Kind::IncompleteDocument) => match self.incomplete_document {
                IncompleteDocument::IsNone => Attempt::Fails,
                IncompleteDocument::FailsTheCall => Attempt::Raises,
                IncompleteDocument::IsKept => Attempt::Useless,
            },
            (Step::Role | Step::Credentials, _) | (_, Kind::TokenRejected) => Attempt::Fails,
            (_, Kind::DisabledByEnvironment) if self.obeys_metadata_disabled => Attempt::Fails,
            (_, Kind::DisabledByEnvironment) => Attempt::Unknown,
            // It takes for a token whatever comes with a 200, and sends that, if it can be sent.
            (Step::Token, _) if poll.token_status() == Some(200) => {
                let raises = self.raises_at == RaisesAt::TokenOrTime && kind == Kind::InvalidResponse;
                if raises { Attempt::Raises } else { Attempt::Fails }
            }
            (Step::Token, _) if v1_disabled => match self.v1_disabled {
                V1Disabled::Raises => Attempt::Raises,
                // No request of any kind arrives there.
                V1Disabled::Ignored if self.falls_back_after(kind) && !kind.is_unreachable() => Attempt::Unknown,
                V1Disabled::Fails | V1Disabled::Ignored => Attempt::Fails,
            },
            (Step::Token, _) => Attempt::Fails,
        }
    }

    /// Whether it goes on without a token after a token request that failed like this.
    fn falls_back_after(&self, token_failure: Kind) -> bool {
        match self.v1_fallback {
            V1Fallback::Any => token_failure != Kind::TokenRejected,
            V1Fallback::AnswerOrTimeout => {
                !matches!(token_failure, Kind::TokenRejected | Kind::ConnectionClosed | Kind::InvalidResponse)
            }
            V1Fallback::Timeout => {
                matches!(token_failure, Kind::HopLimit | Kind::ReadTimeout | Kind::ConnectTimeout)
            }
            V1Fallback::Never => false,
        }
    }

    /// When a client refreshes a document that it fetched at `fetched_at` and that ends at `ends_at`: from the first of these
    /// times on it may need IMDS, from the second on it surely does.
    #[must_use]
    pub fn refreshes_from(&self, fetched_at: Timestamp, ends_at: Timestamp) -> [Timestamp; 2] {
        match self.refresh {
            Refresh::BeforeEnd(before_end) => [later(ends_at, -before_end); 2],
            Refresh::BeforeStretchedEnd { before_end, shortest, longest } => {
                [shortest, longest].map(|valid| later(ends_at.max(later(fetched_at, valid)), -before_end))
            }
            Refresh::LastPercent(percent) => {
                let valid = fetched_at.duration_until(ends_at).max(SignedDuration::ZERO);
                [later(ends_at, -(valid / 100 * percent)); 2]
            }
            Refresh::AtAge(age) => [ends_at.min(later(fetched_at, age)); 2],
        }
    }

    /// From when on an error in place of "no credentials" fails a call too.
    #[must_use]
    pub fn heeds_errors_from(&self, fetched_at: Timestamp, ends_at: Timestamp) -> Timestamp {
        let [may_refresh, _] = self.refreshes_from(fetched_at, ends_at);
        match (self.refresh, self.failed_refresh) {
            (
                Refresh::BeforeEnd(before_end) | Refresh::BeforeStretchedEnd { before_end, .. },
                FailedRefresh::FailsTheCall { ignores_errors_until: Some(until) },
            ) => later(may_refresh, before_end - until),
            _ => may_refresh,
        }
    }
}

/// The time `by` later, within what a timestamp can be.
pub(super) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    let limit = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    at.checked_add(by).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_plain() {
        let mut labels: Vec<_> = SDKS.iter().map(|sdk| sdk.label).collect();
        assert!(
            labels.iter().all(|label| label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'))
        );
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), SDKS.len());
    }

    #[test]
    fn a_set_is_read_in_any_order_and_spacing() {
        let set = |text: &str| text.parse::<SdkSet>().map(|set| set.indices().collect::<Vec<_>>());
        assert_eq!(set("boto3"), Ok(vec![0]));
        assert_eq!(set(" object-store, boto3 ,ruby"), Ok(vec![0, 1, 5]));
        assert_eq!(SdkSet::default().indices().collect::<Vec<_>>(), [0]);
        let ruby: SdkSet = "ruby".parse().expect("it has a row");
        assert_eq!([0, 1, 2, 3, 4, 5].map(|index| ruby.contains(index)), [false, true, false, false, false, false]);
        assert_eq!(set("boto3,ruby,boto3"), Err(InvalidSdks::Duplicate("boto3")));
        for text in ["", ",", "boto3,", "boto3,,ruby", " "] {
            assert_eq!(set(text), Err(InvalidSdks::EmptyEntry), "{text:?}");
        }
        assert_eq!(set("boto"), Err(InvalidSdks::Unknown("boto".to_owned())));
        assert_eq!(set("Boto3"), Err(InvalidSdks::Unknown("Boto3".to_owned())));
    }

    #[test]
    fn those_that_bind_are_named() {
        let all: SdkSet = SDKS.each_ref().map(|sdk| sdk.label).join(",").parse().expect("labels");
        assert_eq!(all.that_bind().collect::<Vec<_>>(), ["boto3", "ruby"]);
        assert_eq!("go-v2,ruby".parse::<SdkSet>().expect("labels").that_bind().collect::<Vec<_>>(), ["ruby"]);
    }

    #[test]
    fn a_pause_is_a_range() {
        for sdk in &SDKS {
            if let FailedRefresh::KeepsTheOld { shortest_pause, longest_pause, .. } = sdk.failed_refresh {
                assert!(shortest_pause.is_positive() && shortest_pause <= longest_pause, "{}", sdk.label);
            }
        }
    }
}
