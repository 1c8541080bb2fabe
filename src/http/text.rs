//! Pieces of text in HTML: prose with code, and points in time.

use jiff::Timestamp;
use maud::{Markup, html};

/// Text in which a pair of back-ticks encloses code.
pub(super) fn rich(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

pub(super) fn time(at: Timestamp) -> Markup {
    html! { time datetime={ (format_args!("{at:.0}")) } { (at.strftime("%Y-%m-%d %H:%M:%S")) " UTC" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(rich("a `<b>` & \"c\"").into_string(), "a <code>&lt;b&gt;</code> &amp; &quot;c&quot;");
    }

    #[test]
    fn a_time_is_readable_for_people_and_for_programs() {
        let at: Timestamp = "2026-03-02T09:12:05.7Z".parse().expect("a timestamp");
        let html = "<time datetime=\"2026-03-02T09:12:05Z\">2026-03-02 09:12:05 UTC</time>";
        assert_eq!(time(at).into_string(), html);
    }
}
