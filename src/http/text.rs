//! Pieces of text in HTML: prose with code, spans of time, and points in time.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, Render, html};

/// Text in which a pair of back-ticks encloses code.
pub(super) fn rich(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

/// A span of time in its two largest units. A negative span counts as zero.
#[derive(Clone, Copy)]
pub(super) struct Span(pub(super) SignedDuration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs().max(0);
        let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min {} s", seconds % 60),
            (0, _, _) => write!(f, "{hours} h {} min", minutes % 60),
            _ => write!(f, "{days} d {} h", hours % 24),
        }
    }
}

/// A point in time, for people and for programs.
#[derive(Clone, Copy)]
pub(super) struct Time(pub(super) Timestamp);

impl Render for Time {
    fn render(&self) -> Markup {
        let at = self.0;
        html! { time datetime={ (format_args!("{at:.0}")) } { (at.strftime("%Y-%m-%d %H:%M:%S")) " UTC" } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(rich("a `<b>` & \"c\"").into_string(), "a <code>&lt;b&gt;</code> &amp; &quot;c&quot;");
    }

    #[test]
    fn durations_have_their_two_largest_units() {
        let span = |seconds| Span(SignedDuration::from_secs(seconds)).to_string();
        assert_eq!([span(-5), span(0), span(59)], ["0 s", "0 s", "59 s"]);
        assert_eq!([span(60), span(3_599)], ["1 min 0 s", "59 min 59 s"]);
        assert_eq!([span(3_600), span(86_399)], ["1 h 0 min", "23 h 59 min"]);
        assert_eq!(span(90_000), "1 d 1 h");
    }

    #[test]
    fn a_time_is_readable_for_people_and_for_programs() {
        let at: Timestamp = "2026-03-02T09:12:05.7Z".parse().expect("a timestamp");
        let html = "<time datetime=\"2026-03-02T09:12:05Z\">2026-03-02 09:12:05 UTC</time>";
        assert_eq!(Time(at).render().into_string(), html);
    }
}
