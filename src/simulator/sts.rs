//! The simulated STS: it answers `GetCallerIdentity` on a port of its own, and accepts the simulated IMDS's credentials, or
//! refuses them as told.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::acceptor::Service;
use super::answer::Answer;
use super::change::Verdict;
use super::imds::Imds;
use super::request::{Request, Requests};
use crate::domain::signed_call::Reason;
use crate::platform::clock::Clock;

const ACCOUNT: &str = "123456789012";

#[derive(Clone)]
pub(super) struct Sts {
    pub(super) imds: Arc<Imds>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Service for Sts {
    async fn serve(&self, stream: &mut TcpStream) {
        let mut requests = Requests::new(stream);
        while let Ok((request, body)) = requests.next().await {
            let Some(answer) = self.answer(&request, &body) else { return requests.ended().await };
            let bytes = answer.encode(request.keep_alive, false);
            if requests.stream.write_all(&bytes).await.is_err() || !request.keep_alive {
                return;
            }
        }
    }
}

impl Sts {
    /// The answer; `None` is never one.
    fn answer(&self, request: &Request, body: &[u8]) -> Option<Answer> {
        let checked = || self.imds.secrets().check(request, body, self.clock.now());
        let verdict = match self.imds.verdict() {
            Verdict::Checks => checked(),
            Verdict::Fails(reason) => Err(reason),
        };
        match verdict {
            Ok(()) => Some(xml(200, self.identity())),
            Err(Reason::Timeout) => None,
            Err(reason) => Some(refusal(reason)),
        }
    }

    fn identity(&self) -> String {
        let role = self.imds.credential().role;
        format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{role}/i-0123456789abcdef0</Arn>\
             <UserId>AROASIMULATEDROLE0000:i-0123456789abcdef0</UserId><Account>{ACCOUNT}</Account>\
             </GetCallerIdentityResult></GetCallerIdentityResponse>\n"
        )
    }
}

/// As AWS answers.
fn refusal(reason: Reason) -> Answer {
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
    xml(
        status,
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
             <Message>{message}</Message></Error></ErrorResponse>\n"
        ),
    )
}

fn xml(status: u16, body: String) -> Answer {
    Answer::text(status, body).with_header("Content-Type", "text/xml")
}
