//! Bodies as text, as botocore decodes them: by the charset of the `Content-Type` header.

use std::borrow::Cow;

/// How a body is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// As UTF-8: no header, or one that says so or is not about text.
    Utf8,
    /// Each byte is a character: `text/…` without a charset.
    Latin1,
    /// By another charset, which this program does not know and Python may.
    Other,
}

impl Charset {
    /// The charset that a `Content-Type` header names or implies.
    pub(super) fn of(content_type: Option<&[u8]>) -> Self {
        let Some(content_type) = content_type.filter(|value| !value.is_empty()) else { return Self::Utf8 };
        let content_type = String::from_utf8_lossy(content_type).to_ascii_lowercase();
        let mut parts = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        match parts.find(|(name, _)| name.trim() == "charset").map(|(_, value)| value.trim().trim_matches('"')) {
            // Python's names for it go on: these are what servers write.
            Some("utf-8" | "utf8") => Self::Utf8,
            Some("iso-8859-1" | "latin1" | "latin-1") => Self::Latin1,
            Some(_) => Self::Other,
            None if content_type.contains("text") => Self::Latin1,
            None => Self::Utf8,
        }
    }

    /// The text of a body; `None` if it cannot be decoded.
    pub(super) fn decode(self, body: &[u8]) -> Option<Cow<'_, str>> {
        match (self, std::str::from_utf8(body)) {
            (Self::Utf8, text) => text.ok().map(Cow::Borrowed),
            (Self::Latin1, Ok(text)) if text.is_ascii() => Some(Cow::Borrowed(text)),
            (Self::Latin1, _) => Some(Cow::Owned(body.iter().copied().map(char::from).collect())),
            (Self::Other, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charset_is_named_or_follows_from_the_type() {
        for (content_type, charset) in [
            (None, Charset::Utf8),
            (Some(""), Charset::Utf8),
            (Some("text/plain"), Charset::Latin1),
            (Some("text/html; level=1"), Charset::Latin1),
            (Some("application/json"), Charset::Utf8),
            (Some("text/plain; charset=UTF-8"), Charset::Utf8),
            (Some("text/plain; charset=\"utf-8\""), Charset::Utf8),
            (Some("application/json; charset=iso-8859-1"), Charset::Latin1),
            (Some("text/plain; charset=utf-16"), Charset::Other),
        ] {
            assert_eq!(Charset::of(content_type.map(str::as_bytes)), charset, "{content_type:?}");
        }
    }

    #[test]
    fn a_body_is_decoded_by_its_charset() {
        for (charset, body, text) in [
            (Charset::Utf8, "é".as_bytes(), Some("é")),
            (Charset::Utf8, b"\xe9", None),
            (Charset::Latin1, b"\xe9", Some("é")),
            (Charset::Latin1, "é".as_bytes(), Some("Ã©")),
            (Charset::Other, b"x", None),
        ] {
            assert_eq!(charset.decode(body).as_deref(), text, "{charset:?} {body:?}");
        }
    }
}
