//! The simulated STS: it answers `GetCallerIdentity` on a port of its own, and accepts the simulated IMDS's credentials, or
//! refuses them as told.

use std::future::pending;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::IntoResponse;

use super::change::StsVerdict;
use super::imds::SharedImds;
use crate::domain::RoleName;
use crate::domain::signed_call::Reason;
use crate::platform::clock::Clock;

const ACCOUNT: &str = "123456789012";
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

#[derive(Clone)]
struct Sts {
    imds: SharedImds,
    clock: Arc<dyn Clock>,
}

pub(super) fn router(imds: SharedImds, clock: Arc<dyn Clock>) -> Router {
    Router::new().fallback(answer).with_state(Sts { imds, clock })
}

async fn answer(State(sts): State<Sts>, request: Parts, body: Bytes) -> impl IntoResponse {
    let verdict = sts.imds.lock().settings.sts.unwrap_or_default();
    let judged = match verdict {
        StsVerdict::Checks => sts.imds.lock().document.secrets().check(&request, &body, sts.clock.now()),
        StsVerdict::Fails(reason) => Err(reason),
    };
    let (status, xml) = match judged {
        Ok(()) => (StatusCode::OK, identity(&sts.imds.lock().credential().role)),
        Err(Reason::Timeout) => pending().await,
        Err(reason) => refusal(reason),
    };
    (status, [(CONTENT_TYPE, "text/xml")], xml)
}

fn identity(role: &RoleName) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\"><GetCallerIdentityResult>\
         <Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{role}/i-0123456789abcdef0</Arn>\
         <UserId>AROASIMULATEDROLE0000:i-0123456789abcdef0</UserId><Account>{ACCOUNT}</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>\n"
    )
}

fn refusal(reason: Reason) -> (StatusCode, String) {
    let (status, code, message) = match reason {
        Reason::ExpiredToken => (403, "ExpiredToken", "The security token included in the request is expired"),
        Reason::InvalidToken => (403, "InvalidClientTokenId", "The security token included in the request is invalid."),
        Reason::Signature => {
            (403, "SignatureDoesNotMatch", "The request signature does not match the signature you provided.")
        }
        Reason::ClockSkew => (403, "SignatureDoesNotMatch", "Signature expired: it is now later than 5 min. after it."),
        Reason::AccessDenied => {
            (403, "AccessDenied", "Not authorized, with an explicit deny in an identity-based policy")
        }
        Reason::Throttled => (400, "Throttling", "Rate exceeded"),
        Reason::ServerError => (500, "InternalFailure", "An internal error has occurred"),
        Reason::Connect | Reason::Tls | Reason::Timeout | Reason::Unexpected => {
            (404, "NoSuchThing", "This is not STS.")
        }
    };
    let xml = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>\
         </Error></ErrorResponse>\n"
    );
    (StatusCode::from_u16(status).expect("a status of HTTP"), xml)
}
