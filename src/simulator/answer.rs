//! Answers: what they say, and how they are delivered.
//!
//! Owns the bytes of an HTTP answer. Must not know why it is given.

/// An answer as it ought to arrive.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// What becomes of an answer on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It arrives.
    Whole,
    /// It arrives, one byte a second.
    Drip,
    /// Its body ends early.
    Cut,
    /// This arrives in its place, then the stream ends.
    Instead(&'static [u8]),
    /// Nothing arrives.
    Never,
    /// The stream ends.
    Close,
    /// The connection is reset.
    Reset,
}

/// What an answer has besides what it says.
pub(super) struct Framing {
    pub(super) server: &'static str,
    pub(super) date: Option<String>,
    pub(super) keep_alive: bool,
    /// For `HEAD`: the length of the body is told, the body is not sent.
    pub(super) head_only: bool,
}

impl Answer {
    pub(super) fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![("Content-Type", "text/plain".to_owned())], body: body.into() }
    }

    /// The page that IMDS shows with an error.
    pub(super) fn error(status: u16) -> Self {
        let title = format!("{status} - {}", reason(status));
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
             <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
             <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
        );
        Self { status, headers: vec![("Content-Type", "text/html".to_owned())], body: body.into_bytes() }
    }

    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The bytes that go over the wire.
    pub(super) fn encode(&self, framing: &Framing) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let mut header = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                head.push_str(part);
            }
        };
        for (name, value) in &self.headers {
            header(name, value);
        }
        if self.status != 204 {
            header("Content-Length", &self.body.len().to_string());
        }
        if let Some(date) = &framing.date {
            header("Date", date);
        }
        if self.headers.iter().all(|(name, _)| *name != "Server") {
            header("Server", framing.server);
        }
        header("Connection", if framing.keep_alive { "keep-alive" } else { "close" });
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !framing.head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}
