//! What STS answers: whose credentials they are, or the code of an error and the reason that it stands for.
//!
//! Owns the only mapping of codes to reasons. An answer's own text gets no further than here, except for what
//! [`CallerIdentity`] holds, checked.
//!
//! Sources: "Common errors" of the STS API reference; botocore's `retryhandler` for the
//! throttling codes; the messages about time, aws/aws-cli#602.

use std::fmt;

use roxmltree::{Document, Node};

use crate::domain::RoleName;
use crate::domain::signed_call::{AccountId, CallFailure, Caller, Obstacle, Reason};

/// The longest ARN and user id, in bytes. Source: `arnType` and `userIdType` of the STS API.
const LONGEST: usize = 2048;

const CODES: &[(&str, Reason)] = &[
    ("ExpiredToken", Reason::ExpiredToken),
    ("ExpiredTokenException", Reason::ExpiredToken),
    ("InvalidClientTokenId", Reason::InvalidToken),
    ("UnrecognizedClientException", Reason::InvalidToken),
    ("InvalidAccessKeyId", Reason::InvalidToken),
    ("SignatureDoesNotMatch", Reason::Signature),
    ("RequestTimeTooSkewed", Reason::ClockSkew),
    ("RequestExpired", Reason::ClockSkew),
    ("AccessDenied", Reason::AccessDenied),
    ("AccessDeniedException", Reason::AccessDenied),
    ("UnauthorizedOperation", Reason::AccessDenied),
    ("Throttling", Reason::Throttled),
    ("ThrottlingException", Reason::Throttled),
    ("RequestLimitExceeded", Reason::Throttled),
    ("TooManyRequestsException", Reason::Throttled),
    ("SlowDown", Reason::Throttled),
    // Known, so that they can be told, but not reasons of their own.
    ("IncompleteSignature", Reason::Unexpected),
    ("InvalidAction", Reason::Unexpected),
    ("MissingAuthenticationToken", Reason::Unexpected),
    ("OptInRequired", Reason::Unexpected),
    ("RegionDisabledException", Reason::Unexpected),
    ("ValidationError", Reason::Unexpected),
    ("InternalFailure", Reason::ServerError),
    ("ServiceUnavailable", Reason::ServerError),
];

/// Parts of the messages with which `SignatureDoesNotMatch` speaks of time.
const OF_TIME: [&str; 2] = ["Signature expired", "Signature not yet current"];

/// Whose credentials they are, as AWS says. Its `Debug` shows nothing: the ARN is for `check --signed` alone.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The account and the role.
    pub caller: Caller,
    /// The unique id of the role and the name of its session.
    pub user_id: String,
    /// The ARN of the role's session.
    pub arn: String,
}

impl fmt::Debug for CallerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerIdentity")
    }
}

/// Reads the answer to a call that AWS accepted. `None` if it is none.
#[must_use]
pub fn parse_identity(body: &[u8]) -> Option<CallerIdentity> {
    let text = std::str::from_utf8(body).ok()?;
    let document = Document::parse(text).ok()?;
    let root = document.root_element();
    let result = child(root, "GetCallerIdentityResult").filter(|_| is(root, "GetCallerIdentityResponse"))?;
    let printable = |name| {
        let text = text_of(result, name)?;
        (text.len() <= LONGEST && text.bytes().all(|c| c.is_ascii_graphic())).then(|| text.to_owned())
    };
    let arn = printable("Arn").filter(|arn| arn.starts_with("arn:"))?;
    let caller = Caller { account: AccountId::parse(text_of(result, "Account")?)?, role: role(&arn) };
    Some(CallerIdentity { caller, user_id: printable("UserId")?, arn })
}

/// The role of `arn:PARTITION:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
fn role(arn: &str) -> Option<RoleName> {
    let mut path = arn.rsplit(':').next()?.split('/');
    let role = path.next().filter(|first| *first == "assumed-role").and_then(|_| path.next())?;
    RoleName::try_from(role.to_owned()).ok()
}

/// Reads any other answer.
#[must_use]
pub fn parse_error(status: u16, body: &[u8]) -> CallFailure {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let document = Document::parse(text).ok();
    let error = document.as_ref().and_then(|document| child(document.root_element(), "Error"));
    let code = error.and_then(|error| text_of(error, "Code"));
    let known = code.and_then(|code| CODES.iter().find(|(known, _)| *known == code));
    let of_time = || {
        let message = error.and_then(|error| text_of(error, "Message")).unwrap_or_default();
        OF_TIME.iter().any(|part| message.contains(part))
    };
    let reason = match (known, status) {
        (Some((_, Reason::Signature)), _) if of_time() => Reason::ClockSkew,
        (Some((_, reason)), _) if *reason != Reason::Unexpected => *reason,
        (_, 429) => Reason::Throttled,
        (_, 500..=599) => Reason::ServerError,
        _ => Reason::Unexpected,
    };
    let obstacle = error.is_none().then_some(Obstacle::NotSts);
    CallFailure { reason, status: Some(status), code: known.map(|(code, _)| *code), obstacle }
}

fn is(node: Node<'_, '_>, name: &str) -> bool {
    node.tag_name().name() == name
}

fn child<'a, 'input>(parent: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    parent.children().find(|node| node.is_element() && is(*node, name))
}

fn text_of<'a>(parent: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(parent, name)?.text().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: &str = r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
        <GetCallerIdentityResult>
          <Arn>arn:aws:sts::123456789012:assumed-role/web/i-0123456789abcdef0</Arn>
          <UserId>AROAEXAMPLEID:i-0123456789abcdef0</UserId>
          <Account>123456789012</Account>
        </GetCallerIdentityResult>
        <ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata>
      </GetCallerIdentityResponse>"#;

    fn error(code: &str, message: &str) -> String {
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>{message}</Message></Error><RequestId>x</RequestId></ErrorResponse>"
        )
    }

    #[test]
    fn an_accepted_call_names_the_account_and_the_role() {
        let identity = parse_identity(ACCEPTED.as_bytes()).expect("an identity");
        assert_eq!(identity.caller.account.as_str(), "123456789012");
        assert_eq!(identity.caller.role.as_ref().expect("a role").as_str(), "web");
        assert_eq!(identity.user_id, "AROAEXAMPLEID:i-0123456789abcdef0");
        assert_eq!(format!("{identity:?}"), "CallerIdentity", "no ARN gets into a log");
        let user =
            ACCEPTED.replace("sts::123456789012:assumed-role/web/i-0123456789abcdef0", "iam::123456789012:user/x");
        assert_eq!(parse_identity(user.as_bytes()).expect("an identity").caller.role, None);
    }

    #[test]
    fn what_is_no_identity_is_none() {
        let long = ACCEPTED.replace("AROAEXAMPLEID", &"A".repeat(2049));
        let deep = "<a>".repeat(20_000);
        for body in [
            "",
            "<",
            "<html/>",
            "{}",
            &ACCEPTED.replace("<Account>123456789012", "<Account>12345678901x"),
            &ACCEPTED.replace("GetCallerIdentityResult", "Result"),
            &ACCEPTED.replace("GetCallerIdentityResponse", "Response"),
            &ACCEPTED.replace("<Arn>arn:", "<Arn>"),
            &ACCEPTED.replace("AROAEXAMPLEID", "two words"),
            &ACCEPTED.replace("AROAEXAMPLEID", "&lt;b&gt;\u{202e}"),
            &ACCEPTED[..ACCEPTED.len() - 1],
            &format!("<!DOCTYPE x [<!ENTITY a \"aaaa\">]>{ACCEPTED}"),
            &long,
            &deep,
        ] {
            assert!(parse_identity(body.as_bytes()).is_none(), "{body:.300}");
        }
        assert!(parse_identity(b"\xff").is_none());
    }

    #[test]
    fn each_code_has_its_reason() {
        for (code, message, status, reason) in [
            ("ExpiredToken", "The security token included in the request is expired", 403, Reason::ExpiredToken),
            (
                "InvalidClientTokenId",
                "The security token included in the request is invalid.",
                403,
                Reason::InvalidToken,
            ),
            ("SignatureDoesNotMatch", "The request signature we calculated does not match", 403, Reason::Signature),
            (
                "SignatureDoesNotMatch",
                "Signature expired: 20260131T120000Z is now earlier than",
                403,
                Reason::ClockSkew,
            ),
            ("SignatureDoesNotMatch", "Signature not yet current: 20260131T120000Z is still", 403, Reason::ClockSkew),
            ("RequestExpired", "", 400, Reason::ClockSkew),
            ("AccessDenied", "with an explicit deny in a service control policy", 403, Reason::AccessDenied),
            ("Throttling", "Rate exceeded", 400, Reason::Throttled),
            ("SlowDown", "", 503, Reason::Throttled),
            ("InternalFailure", "", 500, Reason::ServerError),
            ("ServiceUnavailable", "", 503, Reason::ServerError),
            ("New", "", 500, Reason::ServerError),
            ("New", "", 429, Reason::Throttled),
            ("New", "", 400, Reason::Unexpected),
            ("InvalidAction", "", 400, Reason::Unexpected),
            ("InvalidAction", "", 500, Reason::ServerError),
        ] {
            let failure = parse_error(status, error(code, message).as_bytes());
            assert_eq!((failure.reason, failure.status), (reason, Some(status)), "{code} {status}");
            assert_eq!(failure.code, Some(code).filter(|code| *code != "New"));
        }
    }

    #[test]
    fn an_answer_that_is_not_of_sts_is_judged_by_its_status() {
        for (code, reason) in [
            (301, Reason::Unexpected),
            (403, Reason::Unexpected),
            (404, Reason::Unexpected),
            (429, Reason::Throttled),
            (502, Reason::ServerError),
        ] {
            for body in [&b"<html>ExpiredToken</html>"[..], b"", b"\xff", b"<Error><Code>ExpiredToken</Code></Error>"] {
                let (status, obstacle) = (Some(code), Some(Obstacle::NotSts));
                assert_eq!(parse_error(code, body), CallFailure { reason, status, code: None, obstacle });
            }
        }
    }
}
