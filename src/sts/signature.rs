//! The request and its signature, Version 4: the same bytes as botocore sends.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use tracing::subscriber::{NoSubscriber, with_default};

use super::endpoint::Endpoint;
use crate::domain::{Region, SigningCredentials};

pub(super) const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The credentials hold what cannot be put into headers. Says nothing of what that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsignable;

impl From<InvalidHeaderValue> for Unsignable {
    fn from(_: InvalidHeaderValue) -> Self {
        Self
    }
}

/// The headers of the call at a time, all of them signed.
///
/// # Errors
/// If the credentials cannot be put into headers.
pub fn signed_headers(
    endpoint: &Endpoint,
    region: &Region,
    credentials: &SigningCredentials,
    at: Timestamp,
) -> Result<HeaderMap, Unsignable> {
    let SigningCredentials { access_key_id, secret_access_key, session_token } = credentials;
    let token = session_token.as_ref().map(|token| (**token).clone());
    let identity = Credentials::new(&**access_key_id, &**secret_access_key, token, None, "imds").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region.as_str())
        .name("sts")
        .time(at.into())
        .settings(SigningSettings::default())
        .build()
        .expect("nothing is missing")
        .into();
    let host = endpoint.authority();
    let own = [(CONTENT_TYPE, FORM), (HOST, host.as_str())];
    let signed = own.iter().map(|(name, value)| (name.as_str(), *value));
    let request = SignableRequest::new("POST", endpoint.as_str(), signed, SignableBody::Bytes(BODY.as_bytes()));
    let request = request.expect("the endpoint is a URL");
    // The library's own log at TRACE shows the key id.
    let signed = with_default(NoSubscriber::default(), || sign(request, &parameters));
    let (instructions, _signature) = signed.map_err(|_| Unsignable)?.into_parts();
    let (added, _query) = instructions.into_parts();
    let mut headers = HeaderMap::new();
    for (name, value) in own {
        headers.insert(name, HeaderValue::from_str(value)?);
    }
    for header in added {
        let mut value = HeaderValue::from_str(header.value())?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static(header.name()), value);
    }
    Ok(headers)
}
