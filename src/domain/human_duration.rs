//! A span of time as people read it.

use std::fmt;

use jiff::SignedDuration;

/// A span of time in its two largest units. A negative span counts as zero.
#[derive(Clone, Copy, Debug)]
pub struct HumanDuration(pub SignedDuration);

impl fmt::Display for HumanDuration {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_their_two_largest_units() {
        let span = |seconds| HumanDuration(SignedDuration::from_secs(seconds)).to_string();
        assert_eq!([span(-5), span(0), span(59)], ["0 s", "0 s", "59 s"]);
        assert_eq!([span(60), span(3_599)], ["1 min 0 s", "59 min 59 s"]);
        assert_eq!([span(3_600), span(86_399)], ["1 h 0 min", "23 h 59 min"]);
        assert_eq!(span(90_000), "1 d 1 h");
    }
}
