//! Whether a call to the simulated STS is signed with the credentials in force: it is signed again, and compared.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use tracing::subscriber::{NoSubscriber, with_default};

use crate::domain::signed_call::Reason;

pub(super) const REGION: &str = "eu-central-1";

/// How far a signature's time may be from STS's. Source: IAM user guide, "Troubleshooting Signature Version 4".
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);

pub(super) struct Secrets {
    pub(super) key_id: String,
    pub(super) secret_key: String,
    pub(super) token: String,
}

impl Secrets {
    /// Checks a call that arrives at `now`.
    pub(super) fn check(&self, request: &Parts, body: &[u8], now: Timestamp) -> Result<(), Reason> {
        let header = |name| header(request, name);
        let authorization = header("authorization").ok_or(Reason::InvalidToken)?;
        let part = |name: &str| authorization.split_once(name)?.1.split([',', ' ']).next();
        let credential = part("Credential=").ok_or(Reason::Signature)?;
        let mut scope = credential.split('/');
        let (key_id, _date, region) = (scope.next(), scope.next(), scope.next());
        if key_id != Some(&self.key_id) || header("x-amz-security-token") != Some(&self.token) {
            return Err(Reason::InvalidToken);
        }
        let at = header("x-amz-date").and_then(|at| at.parse::<Timestamp>().ok()).ok_or(Reason::Signature)?;
        if at.duration_until(now).abs() > MAX_SKEW {
            return Err(Reason::ClockSkew);
        }
        // The library's own log at TRACE shows the key id.
        let signature = with_default(NoSubscriber::default(), || self.sign(request, body, region?, at));
        if signature.as_deref() == part("Signature=") { Ok(()) } else { Err(Reason::Signature) }
    }

    fn sign(&self, request: &Parts, body: &[u8], region: &str, at: Timestamp) -> Option<String> {
        let token = Some(self.token.clone());
        let identity = Credentials::new(&*self.key_id, &*self.secret_key, token, None, "simulator").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name("sts")
            .time(at.into())
            .settings(SigningSettings::default())
            .build()
            .ok()?
            .into();
        let url = format!("http://{}{}", header(request, "host")?, request.uri);
        let signed = ["content-type", "host"].into_iter().filter_map(|name| Some((name, header(request, name)?)));
        let request = SignableRequest::new(request.method.as_str(), url, signed, SignableBody::Bytes(body)).ok()?;
        Some(sign(request, &parameters).ok()?.into_parts().1)
    }
}

fn header<'r>(request: &'r Parts, name: &str) -> Option<&'r str> {
    request.headers.get(name)?.to_str().ok()
}
