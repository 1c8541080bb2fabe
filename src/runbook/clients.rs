//! What the present state means for a boto3 client, in a sentence: for `check`, the status page and the JSON.
//!
//! Must not know the state, only the [`Prognosis`].

use std::fmt;

use jiff::Timestamp;

use crate::domain::HumanDuration;
use crate::domain::boto3::{Created, Prognosis};

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

/// What the state means for a client that was created at that time. `prognosis` is `None` where it is not known yet, or no
/// such client can exist.
#[must_use]
pub fn sentence(created: Created, prognosis: Option<Prognosis>, now: Timestamp) -> Sentence {
    let Some(prognosis) = prognosis else {
        return match created {
            Created::Now => "The first poll has not ended yet.",
            Created::BeforeOutage => "No document has been seen that such a client could hold.",
            Created::AtStart => "The workload has not started yet.",
        }
        .into();
    };
    match prognosis {
        Prognosis::Signs => "It can sign.",
        Prognosis::SignsUntil { until } => {
            return Sentence {
                before: "It can sign until ".to_owned(),
                time: Some(until),
                after: format!(
                    " ({}); then every call fails until IMDS answers again.",
                    HumanDuration(now.duration_until(until))
                ),
            };
        }
        Prognosis::Expired => "Its credentials have expired, and IMDS has no others: AWS may refuse its calls.",
        Prognosis::FailsUntilImdsAnswers => {
            "Every call fails. The first call after IMDS answers again works: it need not be created again."
        }
        Prognosis::BoundToNothing if created == Created::Now => {
            "It is bound to no credentials, permanently: do not start workloads now."
        }
        Prognosis::BoundToNothing => "It has no credentials, permanently: every call fails until it is created again.",
        Prognosis::CreationRaises => "Creating it raises an error, so that the program ends and can be started again.",
        Prognosis::Unknown => {
            "Unknown: the exporter has not seen what it got, or that depends on the version of boto3."
        }
    }
    .into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::SignedDuration;
    use strum::VariantArray;

    use super::*;

    #[test]
    fn each_prognosis_has_its_sentence() {
        let (now, until) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + SignedDuration::from_mins(7));
        let prognoses = [
            None,
            Some(Prognosis::Signs),
            Some(Prognosis::SignsUntil { until }),
            Some(Prognosis::Expired),
            Some(Prognosis::FailsUntilImdsAnswers),
            Some(Prognosis::BoundToNothing),
            Some(Prognosis::CreationRaises),
            Some(Prognosis::Unknown),
        ];
        for created in Created::VARIANTS {
            let sentences = prognoses.map(|prognosis| sentence(*created, prognosis, now));
            let texts: BTreeSet<_> = sentences.iter().map(ToString::to_string).collect();
            assert_eq!(texts.len(), prognoses.len());
            let [timed] = sentences.iter().filter(|sentence| sentence.time.is_some()).collect::<Vec<_>>()[..] else {
                panic!("one has a time")
            };
            assert!(timed.time == Some(until) && timed.to_string().contains("7 min 0 s"), "{timed}");
        }
    }
}
