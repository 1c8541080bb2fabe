//! What each SDK does, in words that are made from its row: for the runbook and the reference.

use std::sync::LazyLock;

use jiff::SignedDuration;

use crate::domain::sdk::{FailedRefresh, IncompleteDocument, RaisesAt, Refresh, SDKS, Sdk, V1Disabled, V1Fallback};

/// The anchor of the section.
pub(super) const ANCHOR: &str = "sdks";

/// A row in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdkText {
    /// What becomes of a client that is created while credentials cannot be resolved.
    pub creation: &'static str,
    /// When a client asks IMDS again.
    pub refresh: String,
    /// What it draws at random there, and what the exporter assumes.
    pub refresh_at_random: Option<String>,
    /// What a refresh that fails does.
    pub failed_refresh: String,
    /// What it does with answers that it cannot use.
    pub unusable_answers: String,
    /// The fallback to IMDSv1.
    pub v1: String,
}

impl From<&Sdk> for SdkText {
    fn from(sdk: &Sdk) -> Self {
        Self {
            creation: if sdk.binds_at_creation {
                "is bound to no credentials permanently"
            } else {
                "asks again at its next call"
            },
            refresh: refresh(sdk.refresh),
            refresh_at_random: refresh_at_random(sdk.refresh),
            failed_refresh: failed_refresh(sdk.failed_refresh),
            unusable_answers: unusable_answers(sdk),
            v1: v1(sdk),
        }
    }
}

fn span(duration: SignedDuration) -> String {
    let (minutes, seconds) = (duration.as_mins(), duration.as_secs());
    if minutes * 60 == seconds { format!("{minutes} minutes") } else { format!("{seconds} seconds") }
}

fn refresh(refresh: Refresh) -> String {
    match refresh {
        Refresh::BeforeEnd(before_end) | Refresh::BeforeStretchedEnd { before_end, .. } => {
            format!("{} before the end", span(before_end))
        }
        Refresh::LastPercent(percent) => format!("when {percent} % of the time from fetching to the end is left"),
        Refresh::AtAge(age) => format!("{} after fetching, or at the end if that is sooner", span(age)),
    }
}

fn refresh_at_random(refresh: Refresh) -> Option<String> {
    let Refresh::BeforeStretchedEnd { shortest, longest, .. } = refresh else { return None };
    Some(format!(
        "a document that ends earlier than {} to {} after fetching is taken for valid until then, which is drawn at random (the exporter assumes the shortest)",
        span(shortest),
        span(longest)
    ))
}

fn failed_refresh(failed_refresh: FailedRefresh) -> String {
    match failed_refresh {
        FailedRefresh::FailsTheCall { ignores_errors_until: None } => {
            "fails the call; the next call tries again".to_owned()
        }
        FailedRefresh::FailsTheCall { ignores_errors_until: Some(until) } => format!(
            "fails the call; the next call tries again. A refresh that raises an error is ignored until {} before the end",
            span(until)
        ),
        FailedRefresh::KeepsTheOld { shortest_pause, longest_pause, .. } => format!(
            "is ignored: calls go on with the old credentials, also after their end. The next attempt is {} to {} later, at random (the exporter assumes the longest)",
            span(shortest_pause),
            span(longest_pause)
        ),
    }
}

fn unusable_answers(sdk: &Sdk) -> String {
    let raises = match sdk.raises_at {
        RaisesAt::Nothing => None,
        RaisesAt::TokenOrTime => Some(
            "a session token that cannot be sent, or an `Expiration` that is no time, raises an error when a client is created",
        ),
        RaisesAt::Document => {
            Some("a document that is not JSON, or an `Expiration` that is no time, raises an error, without a pause")
        }
    };
    let incomplete = match sdk.incomplete_document {
        IncompleteDocument::IsNone => "an incomplete document counts as none",
        IncompleteDocument::FailsTheCall => "an incomplete document fails the call, without a pause",
        IncompleteDocument::IsKept => "an incomplete document is kept: no call is signed until it is refreshed",
    };
    raises.into_iter().chain([incomplete]).collect::<Vec<_>>().join("; ")
}

fn v1(sdk: &Sdk) -> String {
    let after = match sdk.v1_fallback {
        V1Fallback::Any => "after any failure of the token request but a 400",
        V1Fallback::AnswerOrTimeout => {
            "after any answer to the token request but a token or a 400, and after a time-out"
        }
        V1Fallback::Timeout => "after a token request that timed out, only",
        V1Fallback::Never => return "never".to_owned(),
    };
    let disabled = match sdk.v1_disabled {
        V1Disabled::Raises => "creating a client raises an error instead",
        V1Disabled::Fails => "the resolution fails instead",
        V1Disabled::Ignored => "that changes nothing: it falls back all the same",
    };
    format!("{after}; with `AWS_EC2_METADATA_V1_DISABLED=true`, {disabled}")
}

/// What the section is about.
pub(super) const INTRODUCTION: &str = "How the clients of each SDK get the role's credentials, measured with the version named and modelled by the exporter. `imds-exporter check` and the status page tell what the present state means for each.";

/// A text for each row, with its label.
pub(super) fn texts() -> impl Iterator<Item = (&'static str, &'static str)> {
    static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| SDKS.iter().map(paragraph).collect());
    SDKS.iter().zip(TEXTS.iter()).map(|(sdk, text)| (sdk.label, text.as_str()))
}

fn paragraph(sdk: &Sdk) -> String {
    let SdkText { creation, refresh, refresh_at_random, failed_refresh, unusable_answers, v1 } = sdk.into();
    let at_random = refresh_at_random.map(|text| format!("; {text}")).unwrap_or_default();
    let Sdk { covers, version, symptom, cure, .. } = sdk;
    format!(
        "For {covers} (measured with {version}). A client that is created without credentials {creation}. It refreshes what it holds {refresh}{at_random}. A refresh that fails {failed_refresh}. Of the answers of IMDS, {unusable_answers}. It falls back to IMDSv1: {v1}. What you see: {symptom}. What to do: {cure}"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_that_differ_read_differently() {
        let texts: BTreeSet<_> = SDKS.iter().map(paragraph).collect();
        assert_eq!(texts.len(), SDKS.len());
        for sdk in &SDKS {
            let other = Sdk { binds_at_creation: !sdk.binds_at_creation, ..sdk.clone() };
            assert_ne!(SdkText::from(sdk), SdkText::from(&other), "{}", sdk.label);
        }
    }
}
