//! Any bytes as an answer of STS, with any status: whose credentials they are, bounded and printable, or a reason.

use imds_exporter::sts::{parse_error, parse_identity};

/// The property.
pub(crate) fn check(input: &[u8]) {
    let (head, body) = input.split_at(input.len().min(2));
    let status = head.iter().fold(0, |status, byte| status << 8 | u16::from(*byte));
    if let Some(identity) = parse_identity(body) {
        assert!(identity.caller.account.as_str().bytes().all(|byte| byte.is_ascii_digit()));
        for text in [&identity.user_id, &identity.arn] {
            assert!(!text.is_empty() && text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic()));
        }
        if let Some(role) = identity.caller.role {
            assert!(identity.arn.contains(&format!("assumed-role/{role}")));
        }
    }
    let failure = parse_error(status, body);
    assert_eq!(failure.status, Some(status));
    // A code is one of the known ones, which are in this program, not in the answer.
    assert!(failure.code.is_none_or(|code| code.bytes().all(|byte| byte.is_ascii_alphabetic())));
    if failure.reason.is_refusal() {
        assert!(failure.code.is_some(), "AWS refuses with a code only");
    }
}
