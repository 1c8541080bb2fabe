//! `Accept-Encoding`: whether a client would rather have gzip (RFC 9110, section 12.5.3).
//!
//! What is not well-formed is ignored, element by element: the answer to a client that asks for nothing that can be
//! understood is not compressed.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_ENCODING;

/// A weight in thousandths; 0: not acceptable.
type Weight = u16;

const GZIP: [&str; 2] = ["gzip", "x-gzip"];
const IDENTITY: &str = "identity";
const ANY_OTHER: &str = "*";

/// Whether the response is to be compressed with gzip.
pub(super) fn prefers_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let (mut gzip, mut identity, mut any_other) = (None, None, None);
    for (coding, weight) in lines.flat_map(|line| line.split(',')).filter_map(element) {
        let is = |name: &str| coding.eq_ignore_ascii_case(name);
        let mentioned = if GZIP.into_iter().any(is) {
            &mut gzip
        } else if is(IDENTITY) {
            &mut identity
        } else if is(ANY_OTHER) {
            &mut any_other
        } else {
            continue;
        };
        // Of several weights of one coding, the lowest.
        *mentioned = Some(mentioned.map_or(weight, |lower: Weight| lower.min(weight)));
    }
    // What is not mentioned at all is not asked for; `identity` can still be sent.
    let gzip = gzip.or(any_other).unwrap_or(0);
    let identity = identity.or(any_other).unwrap_or(0);
    gzip > 0 && gzip >= identity
}

/// A coding and its weight, such as `gzip;q=0.5`.
fn element(text: &str) -> Option<(&str, Weight)> {
    let (coding, weight) = match text.split_once(';') {
        Some((coding, parameter)) => (coding, parse_weight(trim(parameter))?),
        None => (text, 1000),
    };
    Some((trim(coding), weight))
}

/// `q=` with 0 to 1 in at most three decimals.
fn parse_weight(text: &str) -> Option<Weight> {
    let value = text.strip_prefix(['q', 'Q'])?.strip_prefix('=')?;
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    let well_formed = matches!(whole, "0" | "1") && decimals.len() <= 3 && decimals.bytes().all(|c| c.is_ascii_digit());
    let thousandths: Weight = format!("{whole}{decimals:0<3}").parse().ok().filter(|_| well_formed)?;
    (thousandths <= 1000).then_some(thousandths)
}

/// Without the optional white space of HTTP.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn prefers(lines: &[&[u8]]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_bytes(line).expect("a legal header"));
        }
        prefers_gzip(&headers)
    }

    #[test]
    fn gzip_is_preferred_where_the_client_asks_for_it() {
        for line in [
            "gzip",
            "GZip",
            "x-gzip",
            "deflate, gzip, br, zstd",
            "gzip;q=1",
            "gzip;q=0.001",
            "gzip; q=1.000",
            "gzip\t;\tQ=0.5",
            "br;q=1.0, gzip;q=0.8, *;q=0.1",
            "*",
            "*;q=0.5",
            "gzip, *;q=0",
            "identity;q=0, *",
            "gzip, identity",
            "gzip;q=0.5, identity;q=0.5",
            "identity;q=0, gzip;q=0.1",
            ",, gzip ,",
            "gzip;q=0.5, *;q=0.5",
        ] {
            assert!(prefers(&[line.as_bytes()]), "{line}");
        }
        assert!(prefers(&[b"br", b"gzip"]));
        assert!(prefers(&[b"\xff\xfe", b"gzip"]));
    }

    #[test]
    fn the_response_is_not_compressed_otherwise() {
        for line in [
            "",
            "identity",
            "br, deflate, zstd",
            "gzip;q=0",
            "gzip;q=0.000",
            "x-gzip;q=0",
            "gzip;q=0, *",
            "*;q=0",
            "identity",
            "gzip;q=0.5, identity",
            "gzip;q=0.5, *;q=0.8",
            "identity;q=0",
            "gzip, gzip;q=0",
            // Not well-formed.
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;q=0.1234",
            "gzip;q=-1",
            "gzip;q=+1",
            "gzip;q=.5",
            "gzip;q=",
            "gzip;q",
            "gzip;level=9",
            "gzip;q=1;q=1",
            "gzip;q=1e0",
            "gzip;q=0\u{660}",
            "g zip",
            "gzip deflate",
            "gzipped",
            ";q=1",
        ] {
            assert!(!prefers(&[line.as_bytes()]), "{line}");
        }
        assert!(!prefers(&[]));
        assert!(!prefers(&[b"gzip", b"gzip;q=0"]));
        assert!(!prefers(&[b"gzip\xff"]));
    }
}
