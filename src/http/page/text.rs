//! Text in HTML: everything that is not markup passes through here, so that no value can become markup.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// Text, escaped for content and for quoted attributes.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            let (before, from) = rest.split_at(at);
            f.write_str(before)?;
            f.write_str(match from.as_bytes()[0] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &from[1..];
        }
        f.write_str(rest)
    }
}

/// Text in which a pair of backticks encloses code.
pub(super) struct Rich<'a>(pub(super) &'a str);

impl fmt::Display for Rich<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.split('`').enumerate() {
            if index % 2 == 0 {
                Text(part).fmt(f)?;
            } else {
                write!(f, "<code>{}</code>", Text(part))?;
            }
        }
        Ok(())
    }
}

/// A span of time as people say it: its two largest units. What is negative counts as nothing.
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

/// A moment, for people and for programs.
pub(super) struct Instant(pub(super) Timestamp);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0;
        write!(f, "<time datetime=\"{at:.0}\">{} UTC</time>", at.strftime("%Y-%m-%d %H:%M:%S"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(Text("<a b='c' d=\"e\">&é").to_string(), "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;é");
        assert_eq!(Text("plain").to_string(), "plain");
        assert_eq!(Rich("a `<b>` c").to_string(), "a <code>&lt;b&gt;</code> c");
    }

    #[test]
    fn spans_have_their_two_largest_units() {
        let span = |seconds| Span(SignedDuration::from_secs(seconds)).to_string();
        assert_eq!([span(-5), span(0), span(59)], ["0 s", "0 s", "59 s"]);
        assert_eq!([span(60), span(3_599)], ["1 min 0 s", "59 min 59 s"]);
        assert_eq!([span(3_600), span(86_399)], ["1 h 0 min", "23 h 59 min"]);
        assert_eq!(span(90_000), "1 d 1 h");
    }

    #[test]
    fn an_instant_is_read_by_people_and_programs() {
        let at: Timestamp = "2026-03-02T09:12:05.7Z".parse().expect("an instant");
        let html = "<time datetime=\"2026-03-02T09:12:05Z\">2026-03-02 09:12:05 UTC</time>";
        assert_eq!(Instant(at).to_string(), html);
    }
}
