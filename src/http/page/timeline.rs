//! The last hour's polls as a picture, with the same told in words.
//!
//! Each poll is a bar: blue and as high as it took long if it succeeded, orange and full if it failed. All bars of a
//! kind are one path, so that an hour of polls at the pace of an outage stays small.

use std::fmt::Write;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::text::Span;
use crate::model::Kind;
use crate::recent::{Poll, REACH};

const WIDTH: f64 = 720.0;
/// So that the bars at both ends are whole.
const INSET: f64 = 3.0;
const HEIGHT: f64 = 72.0;
/// Where the line of one second lies: successful polls that took longer reach above it.
const ONE_SECOND: f64 = 20.0;

/// The section of the page.
pub(super) fn section(polls: &[Poll], now: Timestamp) -> String {
    let told = words(polls);
    let (mut succeeded, mut failed) = (String::new(), String::new());
    for poll in polls {
        let ago = poll.at.duration_until(now).as_secs_f64();
        let x = INSET + (WIDTH - 2.0 * INSET) * (1.0 - ago / REACH.as_secs_f64());
        let (path, top) = match poll.failure {
            Some(_) => (&mut failed, 0.0),
            None => (&mut succeeded, height_of(poll.duration)),
        };
        let _infallible = write!(path, "M{x:.1} {HEIGHT}V{top:.0}");
    }
    let mut ticks = String::new();
    for minutes in [60, 45, 30, 15] {
        let at = now - SignedDuration::from_mins(minutes);
        let _infallible = write!(ticks, "<span>{}</span>", at.strftime("%H:%M"));
    }
    format!(
        "<section aria-labelledby=\"polls\">
<h2 id=\"polls\">Polls of the last hour</h2>
<figure>
<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-labelledby=\"told\">
<path class=\"second\" d=\"M0 {ONE_SECOND}H{WIDTH}\"/>
<path class=\"succeeded\" d=\"{succeeded}\"/>
<path class=\"failed\" d=\"{failed}\"/>
</svg>
<div class=\"ticks\" aria-hidden=\"true\">{ticks}<span>now (UTC)</span></div>
<figcaption id=\"told\">{told}</figcaption>
</figure>
<p class=\"note keys\"><span><i class=\"succeeded\"></i>succeeded: the higher, the slower</span>
<span><i class=\"failed\"></i>failed</span>
<span><i class=\"second\"></i>1 second, after which SDKs give up</span></p>
</section>
"
    )
}

/// The top of a successful poll's bar: a millisecond stands low, a second at its line, on a logarithmic scale.
fn height_of(duration: Duration) -> f64 {
    let decades = (duration.as_secs_f64() * 1_000.0).max(1.0).log10();
    let lowest = HEIGHT - 12.0;
    (lowest - decades / 3.0 * (lowest - ONE_SECOND)).max(2.0)
}

fn words(polls: &[Poll]) -> String {
    let (Some(first), Some(last)) = (polls.first(), polls.last()) else {
        return "No poll has ended yet.".to_owned();
    };
    let failed = polls.iter().filter(|poll| poll.failure.is_some()).count();
    let mut took: Vec<_> = polls.iter().filter(|poll| poll.failure.is_none()).map(|poll| poll.duration).collect();
    took.sort_unstable();
    let number = match polls.len() {
        1 => "1 poll".to_owned(),
        several => format!("{several} polls in {}", Span(first.at.duration_until(last.at))),
    };
    let mut words = format!("{number}: {} succeeded, {failed} failed", polls.len() - failed);
    let kinds: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| (kind, polls.iter().filter(|poll| poll.failure.is_some_and(|f| f.kind == *kind)).count()))
        .filter(|(_, times)| *times > 0)
        .map(|(kind, times)| format!("{times} × <code>{kind}</code>"))
        .collect();
    if !kinds.is_empty() {
        let _infallible = write!(words, " ({})", kinds.join(", "));
    }
    words.push('.');
    if let (Some(longest), Some(middle)) = (took.last(), took.get(took.len() / 2)) {
        let _infallible =
            write!(words, " A success took {} at the median and {} at most.", brief(*middle), brief(*longest));
    }
    words
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
    use crate::model::{Failure, Step};

    fn poll(second: i64, ms: u64, failure: Option<Failure>) -> Poll {
        let at = Timestamp::from_second(second).expect("a small number of seconds");
        Poll { at, duration: Duration::from_millis(ms), failure }
    }

    #[test]
    fn a_slower_poll_stands_higher() {
        let tops: Vec<_> = [0, 1, 10, 100, 1_000, 60_000].map(|ms| height_of(Duration::from_millis(ms))).into();
        assert!(tops.windows(2).all(|pair| pair[0] >= pair[1]), "{tops:?}");
        assert!((tops[4] - ONE_SECOND).abs() < 1e-9);
        assert!(tops.iter().all(|top| (0.0..HEIGHT).contains(top)));
    }

    #[test]
    fn every_poll_has_its_bar_and_is_told() {
        let refused = Failure { kind: Kind::ConnectRefused, step: Step::Token };
        let polls = [poll(0, 2, None), poll(1_800, 1, Some(refused)), poll(3_600, 1_400, None)];
        let now = Timestamp::from_second(3_600).expect("an hour");
        let html = section(&polls, now);
        assert!(html.contains("<path class=\"succeeded\" d=\"M3.0 72V56M717.0 72V18\"/>"), "{html}");
        assert!(html.contains("<path class=\"failed\" d=\"M360.0 72V0\"/>"));
        assert!(html.contains("3 polls in 1 h 0 min: 2 succeeded, 1 failed (1 × <code>connect_refused</code>)."));
        assert!(html.contains("1.40 s at the median and 1.40 s at most"));
    }

    #[test]
    fn before_the_first_poll_there_is_only_the_frame() {
        assert!(section(&[], Timestamp::UNIX_EPOCH).contains("No poll has ended yet."));
    }
}
