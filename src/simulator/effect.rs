//! The effect of each fault on the wire.
//!
//! Owns what a request gets instead of its answer. Must not know settings, tokens or sockets.

use super::answer::{Answer, Delivery};
use super::document::Document;
use super::endpoint::Endpoint;
use super::fault::Fault;
use super::request::MAX_BODY_BYTES;
use super::variant::Variant;
use crate::domain::{Kind, Step};

/// The effect of a fault on a request.
pub(super) enum Effect {
    /// This is answered, whatever the session token.
    Answer(Answer),
    /// The answer is delivered in this way.
    Delivery(Delivery),
}

/// The effect on a request before its session token is checked.
pub(super) fn before_tokens(fault: Fault, only_step: bool, endpoint: &Endpoint) -> Option<Effect> {
    let affected = if only_step { endpoint.is_of(fault.step()) } else { endpoint.is_behind(fault.step()) };
    if !affected {
        return None;
    }
    let put = *endpoint == Endpoint::Token;
    let variant = fault.variant();
    Some(match fault.kind() {
        Kind::HopLimit if put => Effect::Delivery(Delivery::Never),
        Kind::ReadTimeout => Effect::Delivery(match variant {
            Some(Variant::Drip) => Delivery::Drip,
            _ => Delivery::Never,
        }),
        Kind::ConnectionClosed => Effect::Delivery(match variant {
            Some(Variant::MidBody) => Delivery::Cut,
            Some(Variant::Reset) => Delivery::Reset,
            _ => Delivery::Close,
        }),
        Kind::InvalidResponse => match variant {
            Some(Variant::TooLarge) => Effect::Answer(Answer::text(200, vec![b'a'; MAX_BODY_BYTES + 1])),
            Some(Variant::NotText) => Effect::Answer(Answer::text(200, b"\x00\x9f\x92\x96\xff\xfe\r\n\x01".as_slice())),
            Some(Variant::Page) => {
                Effect::Answer(Answer { status: 200, ..Answer::error(404) }.with_header("Server", "nginx"))
            }
            _ => Effect::Delivery(Delivery::Instead(b"SSH-2.0-OpenSSH_9.6\r\n")),
        },
        Kind::Intercepted => Effect::Answer(match variant {
            Some(Variant::Via) => proxy(502).with_header("Via", "1.1 proxy.internal (squid/6.6)"),
            Some(Variant::Status411) => proxy(411),
            _ => proxy(407).with_header("Proxy-Authenticate", "Basic realm=\"proxy\""),
        }),
        Kind::TokenRejected if put => Effect::Answer(Answer::error(400)),
        Kind::TokenUnsupported if put => {
            Effect::Answer(Answer::error(if variant == Some(Variant::Status405) { 405 } else { 404 }))
        }
        Kind::TokenForbidden if put => Effect::Answer(Answer::error(403)),
        Kind::ImdsDisabled | Kind::Forbidden => Effect::Answer(Answer::error(403)),
        Kind::Unauthorized => Effect::Answer(Answer::error(401)),
        Kind::Throttled => Effect::Answer(Answer::error(429)),
        Kind::ServerError => Effect::Answer(Answer::error(if variant == Some(Variant::Status503) { 503 } else { 500 })),
        Kind::UnexpectedStatus => Effect::Answer(match variant {
            Some(Variant::Status418) => Answer::error(418),
            _ => Answer::error(302).with_header("Location", "/login"),
        }),
        _ => return None,
    })
}

/// The answer to a request whose session token was accepted.
pub(super) fn after_tokens(fault: Fault, endpoint: &Endpoint, document: &Document) -> Option<Answer> {
    let kind = fault.kind();
    let nothing = matches!(kind, Kind::NoRole | Kind::ProfileWithoutRole)
        || (kind == Kind::ProfileNotFound && fault.step() == Step::Role);
    match endpoint {
        Endpoint::RoleList if nothing && fault.variant() == Some(Variant::Empty) => Some(Answer::text(200, "")),
        Endpoint::RoleList | Endpoint::Document(_) if nothing => Some(Answer::error(404)),
        Endpoint::ProfileInfo if kind == Kind::NoRole => Some(Answer::error(404)),
        Endpoint::ProfileInfo => Some(Answer::text(200, document.profile_info(Some(fault)))),
        Endpoint::Document(_) if kind == Kind::RoleNotFound => Some(Answer::error(404)),
        Endpoint::Document(name) if fault.step() == Step::Credentials && name == document.role().as_str() => {
            Some(Answer::text(200, document.text(Some(fault))))
        }
        _ => None,
    }
}

fn proxy(status: u16) -> Answer {
    Answer::error(status).with_header("Server", "squid/6.6")
}
