//! Answers: what they say, and how they are delivered.
//!
//! Owns the bytes of an HTTP answer. Must not know why it is given.

use std::time::Duration;

use hyper::StatusCode;

#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It arrives, in this many pieces with this pause between them.
    Pieces(usize, Duration),
    BytePerSecond,
    Cut,
    /// This arrives in its place, then the stream ends.
    Instead(&'static [u8]),
    Never,
    Close,
    Reset,
}

impl Answer {
    pub(super) fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![], body: body.into() }.with_header("Content-Type", "text/plain")
    }

    pub(super) fn error(status: u16) -> Self {
        let title = format!("{status} - {}", reason(status));
        let page = format!(
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
             <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
             <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
        );
        Self::text(status, page).with_header("Content-Type", "text/html")
    }

    /// Replaces or adds a header; an empty value removes it.
    pub(super) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if !value.is_empty() {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(super) fn or_header(self, name: &str, value: &str) -> Self {
        let has_one = self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if has_one { self } else { self.with_header(name, value) }
    }

    /// The bytes that go over the wire. For `HEAD` the length of the body is told, but the body is not sent.
    pub(super) fn encode(&self, keep_alive: bool, head_only: bool) -> Vec<u8> {
        let mut head = vec![format!("HTTP/1.1 {} {}", self.status, reason(self.status))];
        head.extend(self.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        if self.status != 204 {
            head.push(format!("Content-Length: {}", self.body.len()));
        }
        head.push(format!("Connection: {}\r\n\r\n", if keep_alive { "keep-alive" } else { "close" }));
        let mut bytes = head.join("\r\n").into_bytes();
        if !head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

fn reason(status: u16) -> &'static str {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown")
}
