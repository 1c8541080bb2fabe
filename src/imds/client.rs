//! The IMDS client: one resolution of the role's credentials, as an AWS SDK makes it.
//!
//! Owns the order of the requests. Keeps nothing but the session token.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};

use super::document::{parse_document, parse_profile_info};
use super::endpoint::Endpoint;
use super::session_token::{Session, SessionToken, TOKEN_HEADER, TOKEN_TTL, TTL_HEADER};
use super::status::{interceptor, status_kind};
use super::transport::{Response, Transport, TransportError};
use crate::domain::{Credential, Failure, Kind, Request, RequestRecord, Resolution, RoleName, Source, Step};
use crate::platform::clock::{Clock, monotonic};

const TOKEN_PATH: &str = "latest/api/token";
const ROLES_PATH: &str = "latest/meta-data/iam/security-credentials/";
const INFO_PATH: &str = "latest/meta-data/iam/info";

/// A token that IMDS refuses. It counts as a version 2 request; a GET without any token would not, and alarms security
/// teams.
const MADE_UP_TOKEN: &str = "imds-exporter-probes-for-the-hop-limit";

/// How to reach IMDS.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Time-out of one request, including the connection.
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

/// What a resolution has recorded so far.
#[derive(Default)]
struct Trace {
    requests: Vec<RequestRecord>,
    clock_skew: Option<jiff::SignedDuration>,
    tokens_obtained: u32,
}

/// Why a resolution failed.
#[derive(Debug)]
struct ResolveError {
    failure: Failure,
    /// What the operating system or the HTTP library said.
    cause: Option<String>,
}

impl ResolveError {
    fn new(kind: Kind, step: Step) -> Self {
        Self { failure: Failure { kind, step }, cause: None }
    }

    fn transport(error: TransportError, step: Step) -> Self {
        Self { failure: Failure { kind: error.kind, step }, cause: error.cause }
    }
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

    async fn attempt(&mut self, trace: &mut Trace) -> Result<Credential, ResolveError> {
        if self.disabled {
            return Err(ResolveError::new(Kind::DisabledByEnvironment, Step::Token));
        }
        let role = self.role(trace).await?;
        self.credentials(role, trace).await
    }

    async fn role(&mut self, trace: &mut Trace) -> Result<RoleName, ResolveError> {
        let response = self.get(Request::Role, ROLES_PATH, Step::Role, trace).await?;
        let name = match response.status {
            404 => "",
            200 => response.text().and_then(|text| text.lines().next()).map_or("", str::trim),
            status => return Err(ResolveError::new(status_kind(Step::Role, status), Step::Role)),
        };
        if name.is_empty() {
            return Err(self.why_no_role(trace).await);
        }
        RoleName::try_from(name.to_owned()).map_err(|_| ResolveError::new(Kind::InvalidResponse, Step::Role))
    }

    async fn why_no_role(&mut self, trace: &mut Trace) -> ResolveError {
        let info = match self.get(Request::ProfileInfo, INFO_PATH, Step::Role, trace).await {
            Ok(info) => info,
            Err(error) => return error,
        };
        let kind = match info.status {
            404 => Kind::NoRole,
            200 => parse_profile_info(&info.body),
            status => status_kind(Step::Role, status),
        };
        ResolveError::new(kind, Step::Role)
    }

    async fn credentials(&mut self, role: RoleName, trace: &mut Trace) -> Result<Credential, ResolveError> {
        let failure = |kind| ResolveError::new(kind, Step::Credentials);
        let path = format!("{ROLES_PATH}{role}");
        let response = self.get(Request::Credentials, &path, Step::Credentials, trace).await?;
        if response.status != 200 {
            return Err(failure(status_kind(Step::Credentials, response.status)));
        }
        let document = parse_document(&response.body).map_err(failure)?;
        Ok(Credential { role, last_updated: document.last_updated, expiration: document.expiration })
    }

    /// A GET with the session token. A 401 drops the token and asks once more, unless the token was obtained in this
    /// attempt.
    async fn get(
        &mut self,
        request: Request,
        path: &str,
        step: Step,
        trace: &mut Trace,
    ) -> Result<Response, ResolveError> {
        loop {
            let token = self.session_token(trace).await?;
            let header = (HeaderName::from_static(TOKEN_HEADER), token);
            let response = self.send(request, Method::GET, path, header, trace).await;
            let response = response.map_err(|error| ResolveError::transport(error, step))?;
            if let Some(kind) = interceptor(response.status, response.via) {
                return Err(ResolveError::new(kind, step));
            }
            let fresh_token = trace.tokens_obtained > 0;
            match response.status {
                401 if fresh_token => {
                    self.session = None;
                    return Err(ResolveError::new(Kind::Unauthorized, step));
                }
                401 => self.session = None,
                403 if !fresh_token => {
                    // With an old token, IMDS as a whole may be forbidden by now: the PUT tells.
                    self.session = None;
                    self.session_token(trace).await?;
                    return Ok(response);
                }
                _ => return Ok(response),
            }
        }
    }

    async fn session_token(&mut self, trace: &mut Trace) -> Result<HeaderValue, ResolveError> {
        let usable = self.session.take().filter(|session| session.is_fresh(monotonic()));
        let session = match usable {
            Some(session) => session,
            None => self.new_session(trace).await?,
        };
        let header = session.token().header();
        self.session = Some(session);
        Ok(header)
    }

    async fn new_session(&mut self, trace: &mut Trace) -> Result<Session, ResolveError> {
        let failure = |kind| ResolveError::new(kind, Step::Token);
        let header = (HeaderName::from_static(TTL_HEADER), HeaderValue::from(TOKEN_TTL.as_secs()));
        let asked_at = monotonic();
        let response = match self.send(Request::Token, Method::PUT, TOKEN_PATH, header, trace).await {
            Ok(response) => response,
            Err(error) if error.kind == Kind::ReadTimeout && self.only_put_is_lost(trace).await => {
                return Err(failure(Kind::HopLimit));
            }
            Err(error) => return Err(ResolveError::transport(error, Step::Token)),
        };
        if let Some(kind) = interceptor(response.status, response.via) {
            return Err(failure(kind));
        }
        if response.status != 200 {
            return Err(failure(status_kind(Step::Token, response.status)));
        }
        let token = SessionToken::parse(&response.body).ok_or_else(|| failure(Kind::InvalidResponse))?;
        trace.tokens_obtained += 1;
        Ok(Session::new(token, response.token_ttl, asked_at))
    }

    /// Any response to a GET, 401 included, proves that IMDS is reachable.
    async fn only_put_is_lost(&mut self, trace: &mut Trace) -> bool {
        let header = (HeaderName::from_static(TOKEN_HEADER), HeaderValue::from_static(MADE_UP_TOKEN));
        self.send(Request::HopLimitProbe, Method::GET, ROLES_PATH, header, trace).await.is_ok()
    }

    async fn send(
        &mut self,
        request: Request,
        method: Method,
        path: &str,
        header: (HeaderName, HeaderValue),
        trace: &mut Trace,
    ) -> Result<Response, TransportError> {
        let began = monotonic();
        let result = self.transport.send(method, path, header).await;
        let status = result.as_ref().ok().map(|response| response.status);
        trace.requests.push(RequestRecord { request, duration: began.elapsed(), status });
        if let Some(skew) = result.as_ref().ok().and_then(|response| response.clock_skew) {
            trace.clock_skew = Some(skew);
        }
        result
    }
}

impl Source for Imds {
    async fn resolve(&mut self) -> Resolution {
        let mut trace = Trace::default();
        let (outcome, cause) = match self.attempt(&mut trace).await {
            Ok(credential) => (Ok(credential), None),
            Err(error) => (Err(error.failure), error.cause),
        };
        Resolution {
            outcome,
            requests: trace.requests,
            clock_skew: trace.clock_skew,
            tokens_obtained: trace.tokens_obtained,
            cause,
        }
    }
}
