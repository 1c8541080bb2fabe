//! Rows with another value of a parameter, which the clients must contradict.

use imds_exporter::domain::sdk::{FailedRefresh, IncompleteDocument, RaisesAt, Refresh, Sdk, V1Disabled, V1Fallback};
use jiff::SignedDuration;

/// The row with each of its parameters changed, one at a time.
pub(super) fn changed(row: &Sdk) -> Vec<(String, Sdk)> {
    let mut changed = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut Sdk)| {
        let mut other = row.clone();
        change(&mut other);
        changed.push((what, other));
    };
    add("binds_at_creation".to_owned(), &|row| row.binds_at_creation = !row.binds_at_creation);
    let incomplete = [IncompleteDocument::IsNone, IncompleteDocument::FailsTheCall, IncompleteDocument::IsKept];
    for incomplete_document in incomplete {
        if incomplete_document != row.incomplete_document {
            add(format!("{incomplete_document:?}"), &|row| row.incomplete_document = incomplete_document);
        }
    }
    add("obeys_metadata_disabled".to_owned(), &|row| row.obeys_metadata_disabled = !row.obeys_metadata_disabled);
    for refresh in refreshes_like(row.refresh) {
        add(format!("{refresh:?}"), &|row| row.refresh = refresh);
    }
    for failed in failed_refreshes_like(row.failed_refresh) {
        add(format!("{failed:?}"), &|row| row.failed_refresh = failed);
    }
    for raises_at in [RaisesAt::Nothing, RaisesAt::TokenOrTime, RaisesAt::Document] {
        if raises_at != row.raises_at {
            add(format!("raises_at {raises_at:?}"), &|row| row.raises_at = raises_at);
        }
    }
    for fallback in [V1Fallback::Any, V1Fallback::AnswerOrTimeout, V1Fallback::Timeout, V1Fallback::Never] {
        if fallback != row.v1_fallback {
            add(format!("v1_fallback {fallback:?}"), &|row| row.v1_fallback = fallback);
        }
    }
    for disabled in [V1Disabled::Raises, V1Disabled::Fails, V1Disabled::Ignored] {
        if disabled != row.v1_disabled {
            add(format!("v1_disabled {disabled:?}"), &|row| row.v1_disabled = disabled);
        }
    }
    changed
}

fn refreshes_like(refresh: Refresh) -> Vec<Refresh> {
    let more_or_less = |duration: SignedDuration| [duration * 3 / 4, duration * 4 / 3];
    match refresh {
        Refresh::BeforeEnd(before_end) => {
            let other = [Refresh::LastPercent(20), Refresh::AtAge(SignedDuration::from_mins(60))];
            more_or_less(before_end).map(Refresh::BeforeEnd).into_iter().chain(other).collect()
        }
        Refresh::BeforeStretchedEnd { before_end, shortest, longest } => {
            let stretched =
                |before_end, shortest, longest| Refresh::BeforeStretchedEnd { before_end, shortest, longest };
            let ends = more_or_less(before_end).map(|before_end| stretched(before_end, shortest, longest));
            let middle = (shortest + longest) / 2;
            let bounds = [
                stretched(before_end, shortest - (longest - shortest), longest),
                stretched(before_end, middle, longest),
                stretched(before_end, shortest, middle),
                stretched(before_end, shortest, longest + (longest - shortest)),
            ];
            ends.into_iter().chain(bounds).chain([Refresh::BeforeEnd(before_end)]).collect()
        }
        Refresh::LastPercent(percent) => vec![
            Refresh::LastPercent(percent * 3 / 4),
            Refresh::LastPercent(percent * 4 / 3),
            Refresh::BeforeEnd(SignedDuration::from_mins(15)),
        ],
        Refresh::AtAge(age) => {
            let other = [Refresh::BeforeEnd(SignedDuration::from_mins(5)), Refresh::LastPercent(20)];
            more_or_less(age).map(Refresh::AtAge).into_iter().chain(other).collect()
        }
    }
}

fn failed_refreshes_like(failed: FailedRefresh) -> Vec<FailedRefresh> {
    let keeps = |shortest_pause, longest_pause, pauses_after_ended| FailedRefresh::KeepsTheOld {
        shortest_pause,
        longest_pause,
        pauses_after_ended,
    };
    match failed {
        FailedRefresh::FailsTheCall { ignores_errors_until } => {
            let other = keeps(SignedDuration::from_mins(5), SignedDuration::from_mins(6), false);
            let until = |until| FailedRefresh::FailsTheCall { ignores_errors_until: until };
            let others = ignores_errors_until
                .map_or(vec![], |minutes| vec![until(None), until(Some(minutes / 2)), until(Some(minutes * 4 / 3))]);
            [vec![other], others].concat()
        }
        FailedRefresh::KeepsTheOld { shortest_pause, longest_pause, pauses_after_ended } => {
            let middle = (shortest_pause + longest_pause) / 2;
            let range = longest_pause - shortest_pause;
            vec![
                FailedRefresh::FailsTheCall { ignores_errors_until: None },
                keeps((shortest_pause - range).max(SignedDuration::ZERO), longest_pause, pauses_after_ended),
                keeps(middle, longest_pause, pauses_after_ended),
                keeps(shortest_pause, middle, pauses_after_ended),
                keeps(shortest_pause, longest_pause + range, pauses_after_ended),
                keeps(shortest_pause, longest_pause, !pauses_after_ended),
            ]
        }
    }
}

/// Whether the parameter in which the rows differ decides nothing beside the others.
pub(super) fn decides_nothing(row: &Sdk, other: &Sdk) -> bool {
    // An attempt that raises an error does what one does that brings no credentials.
    let errors_are_failures = !row.binds_at_creation
        && matches!(row.failed_refresh, FailedRefresh::FailsTheCall { ignores_errors_until: None });
    // Where it never falls back, nothing has to keep it from that.
    let falls_back_anyway =
        row.v1_fallback != V1Fallback::Never && [row, other].iter().any(|row| row.v1_disabled == V1Disabled::Ignored);
    let is_kept = [row, other].iter().any(|row| row.incomplete_document == IncompleteDocument::IsKept);
    errors_are_failures
        && (row.raises_at != other.raises_at
            || (row.incomplete_document != other.incomplete_document && !is_kept)
            || (row.v1_disabled != other.v1_disabled && !falls_back_anyway))
}
