//! The polls of the last hour as a picture, with the same in words.
//!
//! Each poll is a bar: a success is blue and the higher the longer it took; a failure is orange and full. All bars of one
//! color are one path, so that an hour of polls stays small.

use std::fmt::Write;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use strum::VariantArray;

use crate::domain::poll_history::{Poll, REACH};
use crate::domain::{HumanDuration, Kind};

const WIDTH: f64 = 720.0;
/// The space at both ends, so that the outermost bars are complete.
const INSET: f64 = 3.0;
const HEIGHT: f64 = 72.0;
/// The height of the line of one second: successes that took longer reach above it.
const ONE_SECOND: f64 = 20.0;

pub(super) fn section(polls: &[Poll], now: Timestamp) -> Markup {
    let (mut succeeded, mut failed) = (String::new(), String::new());
    for poll in polls {
        let ago = poll.at.duration_until(now).as_secs_f64();
        let x = INSET + (WIDTH - 2.0 * INSET) * (1.0 - ago / REACH.as_secs_f64());
        let (path, top) = match poll.failure {
            Some(_) => (&mut failed, 0.0),
            None => (&mut succeeded, top_of_bar(poll.duration)),
        };
        let _infallible = write!(path, "M{x:.1} {HEIGHT}V{top:.0}");
    }
    let ticks = [60, 45, 30, 15].map(|minutes| now - SignedDuration::from_mins(minutes));
    html! {
        section aria-labelledby="polls" {
            h2 id="polls" { "Polls of the last hour" }
            figure {
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-labelledby="summary" {
                    path.second d={ "M0 " (ONE_SECOND) "H" (WIDTH) } {}
                    path.succeeded d=(succeeded) {}
                    path.failed d=(failed) {}
                }
                div.ticks aria-hidden="true" {
                    @for tick in ticks { span { (tick.strftime("%H:%M")) } }
                    span { "now (UTC)" }
                }
                figcaption id="summary" { (summary(polls)) }
            }
            p.note.keys {
                span { i.succeeded {} "succeeded: the higher, the slower" } " "
                span { i.failed {} "failed" } " "
                span { i.second {} "1 second, after which SDKs give up" }
            }
        }
    }
}

/// The top of a success's bar: a millisecond is low, a second is at its line, on a logarithmic scale.
fn top_of_bar(duration: Duration) -> f64 {
    let decades = (duration.as_secs_f64() * 1_000.0).max(1.0).log10();
    let lowest = HEIGHT - 12.0;
    (lowest - decades / 3.0 * (lowest - ONE_SECOND)).max(2.0)
}

fn summary(polls: &[Poll]) -> Markup {
    let (Some(first), Some(last)) = (polls.first(), polls.last()) else {
        return html! { "No poll has ended yet." };
    };
    let failed = polls.iter().filter(|poll| poll.failure.is_some()).count();
    let mut durations: Vec<_> = polls.iter().filter(|poll| poll.failure.is_none()).map(|poll| poll.duration).collect();
    durations.sort_unstable();
    let kinds: Vec<_> = Kind::VARIANTS
        .iter()
        .map(|kind| (kind, polls.iter().filter(|poll| poll.failure.is_some_and(|f| f.kind == *kind)).count()))
        .filter(|(_, times)| *times > 0)
        .collect();
    html! {
        @if polls.len() == 1 { "1 poll" } @else { (polls.len()) " polls in " (HumanDuration(first.at.duration_until(last.at))) }
        ": " (polls.len() - failed) " succeeded, " (failed) " failed"
        @for (index, (kind, times)) in kinds.iter().enumerate() {
            @if index == 0 { " (" } @else { ", " }
            (times) " × " code { (kind) }
        }
        @if !kinds.is_empty() { ")" }
        "."
        @if let (Some(longest), Some(median)) = (durations.last(), durations.get(durations.len() / 2)) {
            " A success took " (brief(*median)) " at the median and " (brief(*longest)) " at most."
        }
    }
}

fn brief(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1_000.0;
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 1_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.2} s", ms / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Failure, Step};

    fn poll(second: i64, ms: u64, failure: Option<Failure>) -> Poll {
        let at = Timestamp::from_second(second).expect("a small number of seconds");
        Poll { at, duration: Duration::from_millis(ms), failure }
    }

    #[test]
    fn a_slower_poll_has_a_higher_bar() {
        let tops: Vec<_> = [0, 1, 10, 100, 1_000, 60_000].map(|ms| top_of_bar(Duration::from_millis(ms))).into();
        assert!(tops.windows(2).all(|pair| pair[0] >= pair[1]), "{tops:?}");
        assert!((tops[4] - ONE_SECOND).abs() < 1e-9);
        assert!(tops.iter().all(|top| (0.0..HEIGHT).contains(top)));
    }

    #[test]
    fn every_poll_has_a_bar_and_counts_in_the_summary() {
        let refused = Failure { kind: Kind::ConnectRefused, step: Step::Token };
        let polls = [poll(0, 2, None), poll(1_800, 1, Some(refused)), poll(3_600, 1_400, None)];
        let now = Timestamp::from_second(3_600).expect("an hour");
        let html = section(&polls, now).into_string();
        assert!(html.contains("<path class=\"succeeded\" d=\"M3.0 72V56M717.0 72V18\">"), "{html}");
        assert!(html.contains("<path class=\"failed\" d=\"M360.0 72V0\">"));
        assert!(html.contains("3 polls in 1 h 0 min: 2 succeeded, 1 failed (1 × <code>connect_refused</code>)."));
        assert!(html.contains("1.40 s at the median and 1.40 s at most"));
    }

    #[test]
    fn before_the_first_poll_the_timeline_says_that_there_is_none() {
        assert!(section(&[], Timestamp::UNIX_EPOCH).into_string().contains("No poll has ended yet."));
    }
}
