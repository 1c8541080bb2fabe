//! `Expiration`, as botocore reads it: by dateutil's parser, which takes much more than RFC 3339. Only the forms that occur
//! are read here; what boto3 makes of any other is unknown.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use crate::domain::Creation;

/// What an `Expiration` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiration {
    /// The instant, if it is written as in RFC 3339.
    pub(super) instant: Option<Timestamp>,
    /// What happens to a client that boto3 creates with it.
    pub(super) creation: Creation,
}

/// `2026-01-31T18:00:00Z`, with 9 for each digit.
const IMDS_FORMAT: &str = "9999-99-99T99:99:99Z";

/// botocore goes back by up to 20 minutes from the expiration, and Python has no year 0.
const PYTHON_BEGINS: Timestamp = Timestamp::constant(-62_135_596_800 + 20 * 60, 0);

impl Expiration {
    pub(super) fn parse(text: &str) -> Self {
        let shape: String =
            text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c.to_ascii_uppercase() }).collect();
        let reading = read(text.trim()).unwrap_or_else(|| other(text));
        let creation = match reading {
            Reading::Instant(expiration) if shape == IMDS_FORMAT && expiration < PYTHON_BEGINS => Creation::Raises,
            Reading::Instant(expiration) => Creation::Credentials { expiration },
            // The creation works, and each call raises a TypeError or ValueError, also of the session's next client.
            Reading::NoZone => Creation::Unusable,
            Reading::NoTime => Creation::Raises,
            Reading::Unknown => Creation::Unknown,
        };
        let is_rfc3339 = shape.starts_with("9999-99-99") && !shape.contains(',') && text == text.trim();
        let colon_or_z = shape.ends_with('Z') || shape.ends_with(":99");
        let instant = match reading {
            Reading::Instant(instant) if is_rfc3339 && colon_or_z => Some(instant),
            _ => None,
        };
        Self { instant, creation }
    }
}

/// What dateutil makes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Instant(Timestamp),
    /// A time without a zone, or with one that Python refuses later.
    NoZone,
    /// An error.
    NoTime,
    /// Not known here.
    Unknown,
}

/// Reads the forms of ISO 8601 with all fields; `None` if it is another.
fn read(text: &str) -> Option<Reading> {
    let basic = text.len() >= 15 && text.as_bytes()[..15].iter().all(|c| c.is_ascii_digit() || *c == b'T');
    let extended = if basic && text.as_bytes()[8] == b'T' {
        let (date, time, rest) = (&text[..8], &text[9..15], &text[15..]);
        let (hour, minute, second) = (&time[..2], &time[2..4], &time[4..]);
        format!("{}-{}-{}T{hour}:{minute}:{second}{rest}", &date[..4], &date[4..6], &date[6..])
    } else {
        text.to_owned()
    };
    if extended.len() == 10 && has_shape(&extended, "9999-99-99") {
        return Some(Reading::NoZone);
    }
    let (date_time, rest) = extended.split_at_checked(19)?;
    if !["9999-99-99T99:99:99", "9999-99-99t99:99:99", "9999-99-99 99:99:99"]
        .iter()
        .any(|shape| has_shape(date_time, shape))
    {
        return None;
    }
    let (fraction, rest) = match rest.strip_prefix(['.', ',']) {
        Some(fraction) => {
            let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (&fraction[..fraction.len() - rest.len()], rest)
        }
        None => ("0", rest),
    };
    if fraction.is_empty() {
        return None;
    }
    let offset = match rest.trim_start() {
        "" => None,
        "Z" | "z" | "UTC" | "GMT" => Some(SignedDuration::ZERO),
        rest if rest.contains('[') => return Some(Reading::NoTime),
        rest => Some(offset(rest)?),
    };
    // A second 60 would be read as 59.
    let whole = format!("{date_time}.{}", &fraction[..fraction.len().min(9)]).replace(' ', "T");
    let valid = whole.parse::<DateTime>().ok().filter(|_| !date_time.ends_with("60"));
    Some(match (valid, offset) {
        (None, _) => Reading::NoTime,
        (Some(_), None) => Reading::NoZone,
        (Some(_), Some(offset)) if offset.abs() >= SignedDuration::from_hours(24) => Reading::NoZone,
        (Some(date_time), Some(offset)) => Reading::Instant(instant(date_time, offset)),
    })
}

/// The end of year 9999 is legal, but later than the library's last instant.
fn instant(date_time: DateTime, offset: SignedDuration) -> Timestamp {
    let earlier = date_time.saturating_sub(offset);
    Offset::UTC.to_timestamp(earlier).unwrap_or(Timestamp::MAX)
}

fn offset(text: &str) -> Option<SignedDuration> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let shapes = ["99", "9999", "99:99"];
    shapes.iter().find(|shape| has_shape(digits, shape))?;
    let number = |from: usize| digits.get(from..from + 2).map_or(Some(0), |digits| digits.parse::<i64>().ok());
    let minutes = if digits.len() == 2 { 0 } else { number(digits.len() - 2)? };
    (minutes < 60).then(|| SignedDuration::from_mins(sign * (number(0).unwrap_or_default() * 60 + minutes)))
}

/// The other texts of which it is known what dateutil makes of them.
fn other(text: &str) -> Reading {
    let is_of_digits = text.bytes().all(|c| c.is_ascii_digit());
    let mail = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text);
    match mail {
        // GMT or a numeric zone.
        Ok(instant) if text.ends_with(" GMT") || text.ends_with(|c: char| c.is_ascii_digit()) => {
            Reading::Instant(instant)
        }
        _ if text.trim().is_empty() || is_no_date_word(text) => Reading::NoTime,
        // Seconds or milliseconds since 1970: the year is out of range.
        _ if is_of_digits && matches!(text.len(), 10 | 13) => Reading::NoTime,
        _ => Reading::Unknown,
    }
}

/// One word, which does not begin as the name of a day or a month.
fn is_no_date_word(text: &str) -> bool {
    const NAMES: [&str; 19] = [
        "mon", "tue", "wed", "thu", "fri", "sat", "sun", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep",
        "oct", "nov", "dec",
    ];
    let lower = text.to_ascii_lowercase();
    text.bytes().all(|c| c.is_ascii_alphabetic()) && !NAMES.iter().any(|name| lower.starts_with(name))
}

fn has_shape(text: &str, shape: &str) -> bool {
    let matches = |(c, shape)| if shape == b'9' { u8::is_ascii_digit(&c) } else { c == shape };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Timestamp {
        text.parse().expect("an instant")
    }

    #[test]
    fn rfc_3339_is_read() {
        let half_past_six = instant("2099-01-01T06:30:00Z");
        for (text, expiration) in [
            ("2099-01-01T06:30:00Z", half_past_six),
            ("2099-01-01t06:30:00z", half_past_six),
            ("2099-01-01T06:30:00.1234567890123Z", instant("2099-01-01T06:30:00.123456789Z")),
            ("2099-01-01 06:30:00Z", half_past_six),
            ("2099-01-01T06:30:00+00:00", half_past_six),
            ("2099-01-01T08:30:00+02:00", half_past_six),
            ("2099-01-01T01:00:00-05:30", half_past_six),
            ("9999-12-31T23:59:59Z", Timestamp::MAX),
        ] {
            let creation = Creation::Credentials { expiration };
            assert_eq!(Expiration::parse(text), Expiration { instant: Some(expiration), creation }, "{text}");
        }
    }

    /// As boto3 1.20 to 1.44 do, run.
    #[test]
    fn boto3_takes_more_than_that() {
        let expiration = instant("2099-01-01T06:30:00Z");
        let credentials = Creation::Credentials { expiration };
        for (text, creation) in [
            ("2099-01-01T06:30:00+0000", credentials),
            ("2099-01-01T08:30:00+02", credentials),
            ("2099-01-01T06:30:00 UTC", credentials),
            ("2099-01-01T06:30:00,0Z", credentials),
            (" 2099-01-01T06:30:00Z\n", credentials),
            ("20990101T063000Z", credentials),
            ("Thu, 01 Jan 2099 06:30:00 GMT", credentials),
            ("Thu, 01 Jan 2099 06:30:00 +0000", credentials),
            ("2099-01-01T06:30:00", Creation::Unusable),
            ("20990101T063000", Creation::Unusable),
            ("2099-01-01", Creation::Unusable),
            ("2099-01-01T06:30:00+24:00", Creation::Unusable),
            ("", Creation::Raises),
            (" ", Creation::Raises),
            ("soon", Creation::Raises),
            ("4070908800", Creation::Raises),
            ("4070908800000", Creation::Raises),
            ("2099-13-01T00:00:00Z", Creation::Raises),
            ("2099-02-30T00:00:00Z", Creation::Raises),
            ("2099-01-01T24:00:00Z", Creation::Raises),
            ("2099-01-01T06:30:60Z", Creation::Raises),
            ("2099-01-01T06:30:00Z[UTC]", Creation::Raises),
            ("Monday", Creation::Unknown),
            ("2099-01-01T06:30:00 EST", Creation::Unknown),
            ("2099-01-01T06:30:00+00:60", Creation::Unknown),
            ("Thu, 01 Jan 2099 06:30:00 EST", Creation::Unknown),
            ("407090880", Creation::Unknown),
            ("2099-01-0x", Creation::Unknown),
            // No character ends four bytes before the end.
            ("abc€999", Creation::Unknown),
            ("2099-01-01T06:30:00.Z", Creation::Unknown),
            ("2099-01-01T06:30Z", Creation::Unknown),
            ("٢٠٩٩-01-01T00:00:00Z", Creation::Unknown),
        ] {
            assert_eq!(Expiration::parse(text), Expiration { instant: None, creation }, "{text}");
        }
        // The zero time of Go, and the first that boto3 can subtract 20 minutes from.
        for (text, raises) in
            [("0001-01-01T00:00:00Z", true), ("0001-01-01T00:19:59Z", true), ("0001-01-01T00:20:00Z", false)]
        {
            assert_eq!(Expiration::parse(text).creation == Creation::Raises, raises, "{text}");
        }
    }

    #[test]
    fn every_text_is_read_or_unknown() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let mut text: Vec<char> = "2099-01-01T06:30:00Z".chars().collect();
            for _ in 0..random.usize(..8) {
                let at = random.usize(..text.len());
                let other = random
                    .choice([' ', '+', ',', '-', '.', ':', '0', '1', '2', '9', 'T', 'Z', 'é'])
                    .expect("there are some");
                text.splice(at..=at, vec![other; random.usize(..3)]);
                text.push(random.char(..));
            }
            let text: String = text.into_iter().collect();
            let Expiration { instant, creation } = Expiration::parse(&text);
            assert!(instant.is_none_or(|_| creation != Creation::Unknown), "{text}");
        }
    }
}
