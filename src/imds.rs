//! IMDSv2: resolves the instance's role credentials as an AWS SDK does, in one attempt, and tells every failure
//! apart.
//!
//! Owns the order of the requests. Must not know metrics, pages, pace or what was known before; keeps nothing
//! but the session token.

mod answer;
mod document;
mod session;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};

pub use document::{Document, parse as parse_document, parse_profile_info};
pub use session::{Session, SessionToken};
pub use transport::Endpoint;

use crate::clock::{Clock, monotonic};
use crate::model::{Credential, Failure, Kind, Request, Resolution, RoleName, Step};
use crate::source::Source;
use answer::{answer_kind, interceptor};
use session::{TOKEN_HEADER, TOKEN_TTL, TTL_HEADER};
use transport::{Answer, Fault, Transport};

/// IMDS's address over IPv4. Source: EC2 user guide, "Access instance metadata".
pub const IPV4_ENDPOINT: &str = "http://169.254.169.254";

/// IMDS's address over IPv6. Source: as above; the SDKs' endpoint mode `IPv6`.
pub const IPV6_ENDPOINT: &str = "http://[fd00:ec2::254]";

/// What every SDK waits for a connection and for an answer by default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

const TOKEN_PATH: &str = "latest/api/token";
const ROLES_PATH: &str = "latest/meta-data/iam/security-credentials/";
const INFO_PATH: &str = "latest/meta-data/iam/info";

/// Counts as a version 2 request at IMDS, as a GET without any token would not: those alarm security teams.
const MADE_UP_TOKEN: &str = "imds-exporter-probes-for-the-hop-limit";

/// How to reach IMDS.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Time for one request, connecting included.
    pub timeout: Duration,
    /// `AWS_EC2_METADATA_DISABLED`: nothing is sent.
    pub disabled: bool,
}

/// The IMDS client.
pub struct Imds {
    transport: Transport,
    disabled: bool,
    session: Option<Session>,
}

/// What a resolution has noted so far.
#[derive(Default)]
struct Notes {
    exchanges: Vec<crate::model::Exchange>,
    clock_skew: Option<jiff::SignedDuration>,
    tokens_obtained: u32,
}

impl Imds {
    /// A client without a session token.
    ///
    /// # Errors
    /// When the HTTP client cannot be built, which needs a broken system.
    pub fn new(options: Options, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        let transport = Transport::new(options.endpoint, options.timeout, clock)?;
        Ok(Self { transport, disabled: options.disabled, session: None })
    }

    async fn attempt(&mut self, notes: &mut Notes) -> Result<Credential, Fault> {
        if self.disabled {
            return Err(Fault::new(Kind::DisabledByEnvironment, Step::Token));
        }
        let role = self.role(notes).await?;
        self.credentials(role, notes).await
    }

    async fn role(&mut self, notes: &mut Notes) -> Result<RoleName, Fault> {
        let answer = self.get(Request::Role, ROLES_PATH, Step::Role, notes).await?;
        let name = match answer.status {
            404 => "",
            200 => answer.text().and_then(|text| text.lines().next()).map_or("", str::trim),
            status => return Err(Fault::new(answer_kind(Step::Role, status), Step::Role)),
        };
        if name.is_empty() {
            return Err(self.why_no_role(notes).await);
        }
        RoleName::try_from(name.to_owned()).map_err(|_| Fault::new(Kind::InvalidResponse, Step::Role))
    }

    async fn why_no_role(&mut self, notes: &mut Notes) -> Fault {
        let info = match self.get(Request::ProfileInfo, INFO_PATH, Step::Role, notes).await {
            Ok(info) => info,
            Err(fault) => return fault,
        };
        let kind = match info.status {
            404 => Kind::NoRole,
            200 => parse_profile_info(&info.body),
            status => answer_kind(Step::Role, status),
        };
        Fault::new(kind, Step::Role)
    }

    async fn credentials(&mut self, role: RoleName, notes: &mut Notes) -> Result<Credential, Fault> {
        let fault = |kind| Fault::new(kind, Step::Credentials);
        let path = format!("{ROLES_PATH}{role}");
        let answer = self.get(Request::Credentials, &path, Step::Credentials, notes).await?;
        if answer.status != 200 {
            return Err(fault(answer_kind(Step::Credentials, answer.status)));
        }
        let document = parse_document(&answer.body).map_err(fault)?;
        Ok(Credential { role, last_updated: document.last_updated, expiration: document.expiration })
    }

    /// A GET with the session token; a 401 drops the token and asks once more, unless the token was obtained in
    /// this very attempt.
    async fn get(&mut self, request: Request, path: &str, step: Step, notes: &mut Notes) -> Result<Answer, Fault> {
        loop {
            let token = self.session_token(notes).await?;
            let header = (HeaderName::from_static(TOKEN_HEADER), token);
            let answer = self.send(request, Method::GET, path, header, notes).await;
            let answer = answer.map_err(|failed| failed.at(step))?;
            if let Some(kind) = interceptor(answer.status, answer.via) {
                return Err(Fault::new(kind, step));
            }
            let fresh_token = notes.tokens_obtained > 0;
            match answer.status {
                401 if fresh_token => {
                    self.session = None;
                    return Err(Fault::new(Kind::Unauthorized, step));
                }
                401 => self.session = None,
                403 if !fresh_token => {
                    // With an old token it may be IMDS as a whole that is forbidden now: the PUT tells.
                    self.session = None;
                    self.session_token(notes).await?;
                    return Ok(answer);
                }
                _ => return Ok(answer),
            }
        }
    }

    async fn session_token(&mut self, notes: &mut Notes) -> Result<HeaderValue, Fault> {
        let usable = self.session.take().filter(|session| session.is_fresh(monotonic()));
        let session = match usable {
            Some(session) => session,
            None => self.new_session(notes).await?,
        };
        let header = session.token().header();
        self.session = Some(session);
        Ok(header)
    }

    async fn new_session(&mut self, notes: &mut Notes) -> Result<Session, Fault> {
        let fault = |kind| Fault::new(kind, Step::Token);
        let header = (HeaderName::from_static(TTL_HEADER), HeaderValue::from(TOKEN_TTL.as_secs()));
        let asked_at = monotonic();
        let answer = match self.send(Request::Token, Method::PUT, TOKEN_PATH, header, notes).await {
            Ok(answer) => answer,
            Err(failed) if failed.kind == Kind::ReadTimeout && self.only_put_is_lost(notes).await => {
                return Err(fault(Kind::HopLimit));
            }
            Err(failed) => return Err(failed.at(Step::Token)),
        };
        if let Some(kind) = interceptor(answer.status, answer.via) {
            return Err(fault(kind));
        }
        if answer.status != 200 {
            return Err(fault(answer_kind(Step::Token, answer.status)));
        }
        let token = SessionToken::parse(&answer.body).ok_or_else(|| fault(Kind::InvalidResponse))?;
        notes.tokens_obtained += 1;
        Ok(Session::new(token, answer.token_ttl, asked_at))
    }

    /// Any answer to a GET, 401 included, proves that IMDS is reachable.
    async fn only_put_is_lost(&mut self, notes: &mut Notes) -> bool {
        let header = (HeaderName::from_static(TOKEN_HEADER), HeaderValue::from_static(MADE_UP_TOKEN));
        self.send(Request::HopLimitProbe, Method::GET, ROLES_PATH, header, notes).await.is_ok()
    }

    async fn send(
        &mut self,
        request: Request,
        method: Method,
        path: &str,
        header: (HeaderName, HeaderValue),
        notes: &mut Notes,
    ) -> Result<Answer, transport::Failed> {
        let began = monotonic();
        let result = self.transport.send(method, path, header).await;
        let status = result.as_ref().ok().map(|answer| answer.status);
        notes.exchanges.push(crate::model::Exchange { request, duration: began.elapsed(), status });
        if let Some(skew) = result.as_ref().ok().and_then(|answer| answer.clock_skew) {
            notes.clock_skew = Some(skew);
        }
        result
    }
}

impl Source for Imds {
    async fn resolve(&mut self) -> Resolution {
        let mut notes = Notes::default();
        let (outcome, cause) = match self.attempt(&mut notes).await {
            Ok(credential) => (Ok(credential), None),
            Err(fault) => (Err(Failure { kind: fault.kind, step: fault.step }), fault.cause),
        };
        Resolution {
            outcome,
            exchanges: notes.exchanges,
            clock_skew: notes.clock_skew,
            tokens_obtained: notes.tokens_obtained,
            cause,
        }
    }
}
