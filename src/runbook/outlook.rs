//! What the present state means for a client, in a sentence: for `check`, the status page and the JSON.
//!
//! Must not know the state, only the [`Outlook`].

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::sdks::SdkText;
use crate::domain::Span;
use crate::domain::client::{Created, Outlook};
use crate::domain::sdk::{FailedRefresh, Sdk};

/// A sentence about a client, around a time if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// The text before the time.
    pub before: String,
    /// The time.
    pub time: Option<Timestamp>,
    /// The text after the time.
    pub after: String,
}

impl From<&str> for Sentence {
    fn from(text: &str) -> Self {
        Self { before: text.to_owned(), time: None, after: String::new() }
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.before)?;
        if let Some(time) = self.time {
            write!(f, "{}", time.strftime("%Y-%m-%d %H:%M:%S UTC"))?;
        }
        f.write_str(&self.after)
    }
}

/// What the state means for a client of the SDK that was created at that time. `outlook` is `None` where it is not known
/// yet, or no such client can exist.
#[must_use]
pub fn sentence(sdk: &Sdk, created: Created, outlook: Option<Outlook>, now: Timestamp) -> Sentence {
    let Some(outlook) = outlook else {
        return match created {
            Created::Now => "The first poll has not ended yet.",
            Created::BeforeOutage => "No document has been seen that such a client could hold.",
            Created::AtStart => "The exporter has not seen what such a client got.",
        }
        .into();
    };
    match outlook {
        Outlook::Works => "It can sign.".into(),
        Outlook::WorksUntil { until } => Sentence {
            before: "It can sign until ".to_owned(),
            time: Some(until),
            after: format!(" ({}), {}", Span(now.duration_until(until)), then(sdk)),
        },
        Outlook::Fails => {
            "Every call fails. It recovers by itself with its first call after IMDS answers again.".into()
        }
        Outlook::FailsAndLags { lag_seconds } => format!(
            "It uses credentials that have ended, which AWS refuses. It recovers by itself, up to {} after IMDS answers again.",
            Span(SignedDuration::from_secs(lag_seconds))
        )
        .as_str()
        .into(),
        Outlook::FailsUntilRefresh => {
            "It keeps the incomplete document that it gets, and signs no call until it refreshes that.".into()
        }
        Outlook::RecoversBy { until } => Sentence {
            before: "It still uses credentials that have ended, which AWS refuses. It recovers by itself by ".to_owned(),
            time: Some(until),
            after: format!(" (in {}).", Span(now.duration_until(until))),
        },
        Outlook::MustBeCreatedAgain if created == Created::Now => {
            "It is bound to no credentials permanently: do not start workloads now.".into()
        }
        Outlook::MustBeCreatedAgain => {
            "It has no credentials, permanently: every call fails until it is created again.".into()
        }
        Outlook::CreationRaises => {
            "Creating it raises an error, so that the program can end and be started again.".into()
        }
        Outlook::Unknown if created == Created::AtStart => "The exporter has not seen what such a client got.".into(),
        Outlook::Unknown => {
            "This is not known: the SDK asks IMDS in a way in which this configuration forbids the exporter to ask.".into()
        }
    }
}

/// What holds for clients that exist, where no exporter has followed them. `works` is whether the SDK can resolve credentials
/// now.
#[must_use]
pub fn existing_clients(sdk: &Sdk, works: bool) -> String {
    let created_in_an_outage = if sdk.binds_at_creation {
        ", but one that was created in an outage holds no credentials until it is created again"
    } else {
        ""
    };
    match (works, sdk.failed_refresh) {
        (true, FailedRefresh::FailsTheCall { .. }) => format!("They can sign{created_in_an_outage}."),
        (true, FailedRefresh::KeepsTheOld { longest_pause, .. }) => format!(
            "They can sign{created_in_an_outage}. One whose credentials ended in an outage recovers up to {} after it.",
            Span(longest_pause)
        ),
        (false, FailedRefresh::FailsTheCall { .. }) => format!(
            "They can sign until they refresh what they hold, which is {}; then every call fails until IMDS answers again.",
            SdkText::from(sdk).refresh
        ),
        (false, FailedRefresh::KeepsTheOld { longest_pause, .. }) => format!(
            "They can sign until what they hold ends; then AWS refuses their calls until up to {} after IMDS answers again.",
            Span(longest_pause)
        ),
    }
}

/// What follows when a client can sign no more.
fn then(sdk: &Sdk) -> String {
    match sdk.failed_refresh {
        FailedRefresh::FailsTheCall { .. } => "then every call fails until IMDS answers again.".to_owned(),
        FailedRefresh::KeepsTheOld { longest_pause, .. } => format!(
            "when its credentials end; then AWS refuses its calls until up to {} after IMDS answers again.",
            Span(longest_pause)
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::VariantArray;

    use super::*;
    use crate::domain::sdk::SDKS;

    #[test]
    fn each_outlook_has_its_sentence_with_its_time() {
        let (now, until) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + SignedDuration::from_mins(7));
        let outlooks = [
            Outlook::Works,
            Outlook::WorksUntil { until },
            Outlook::Fails,
            Outlook::FailsAndLags { lag_seconds: 480 },
            Outlook::FailsUntilRefresh,
            Outlook::RecoversBy { until },
            Outlook::MustBeCreatedAgain,
            Outlook::CreationRaises,
            Outlook::Unknown,
        ];
        for sdk in &SDKS {
            for created in Created::VARIANTS {
                let sentences: Vec<_> =
                    outlooks.iter().map(|outlook| sentence(sdk, *created, Some(*outlook), now)).collect();
                let texts: BTreeSet<_> = sentences.iter().map(ToString::to_string).collect();
                assert_eq!(texts.len(), outlooks.len());
                assert_eq!(sentences.iter().filter(|sentence| sentence.time == Some(until)).count(), 2);
                assert_eq!(texts.iter().filter(|text| text.contains("7 min 0 s")).count(), 2);
            }
        }
    }

    #[test]
    fn what_follows_the_end_depends_on_the_sdk() {
        let (now, until) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + SignedDuration::from_mins(7));
        let text = |sdk| sentence(sdk, Created::BeforeOutage, Some(Outlook::WorksUntil { until }), now).to_string();
        let texts: BTreeSet<_> = SDKS.iter().map(text).collect();
        // Two that go on with ended credentials, for pauses of their own, and those that fail.
        assert_eq!(texts.len(), 3);
    }
}
