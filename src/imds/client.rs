//! The IMDS client: one resolution of the role's credentials, as botocore makes it.
//!
//! Three requests at every poll: session token (`PUT`), role list, credential document. A token request that fails in any
//! way but a 400 is followed by requests without a token, unless IMDSv1 is disabled. Owns the order of the requests; keeps
//! no secret from one poll to the next, and hands them over only where a signed call is due.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::document::{parse_document, parse_profile_info, parse_signing_credentials};
use super::endpoint::Endpoint;
use super::session_token::SessionToken;
use super::status::{interceptor, status_kind};
use super::transport::{Response, Transport, TransportError, within};
use crate::domain::boto3;
use crate::domain::{
    Credential, Evidence, Failure, Kind, Region, Request, RequestRecord, Resolution, RoleName, Signing, Source, Step,
};
use crate::platform::clock::{Clock, monotonic};

const TOKEN_PATH: &str = "latest/api/token";
const ROLES_PATH: &str = "latest/meta-data/iam/security-credentials/";
const INFO_PATH: &str = "latest/meta-data/iam/info";
const REGION_PATH: &str = "latest/meta-data/placement/region";

/// A token that IMDS refuses. It counts as a version 2 request; a GET without any token would not, and alarms security
/// teams.
const MADE_UP_TOKEN: &str = "imds-exporter-probes-for-the-hop-limit";

/// How long a refused request without a token is not repeated while the token request fails in the same way: `CloudWatch`
/// counts each of them.
const V1_PAUSE: Duration = Duration::from_mins(5);

/// In time-outs: an answer to the token request that comes within this was slow, not lost.
const LATE_ANSWER: f64 = 2.5;

/// In time-outs: an answer that takes longer than this is not fast enough to prove that only the token's is lost.
const FAST_ANSWER: f64 = 0.5;

/// How to reach IMDS.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Time-out of one request, including the connection.
    pub timeout: Duration,
    /// `AWS_EC2_METADATA_DISABLED`: nothing is sent.
    pub disabled: bool,
    /// `AWS_EC2_METADATA_V1_DISABLED`: nothing is sent without a session token.
    pub v1_disabled: bool,
}

/// The IMDS client.
pub struct Imds {
    transport: Transport,
    disabled: bool,
    v1_disabled: bool,
    /// How the last token request ended; `None` before the first.
    last_token: Option<Result<(), Kind>>,
    v1_refused: Option<V1Refused>,
}

/// A request without a token that IMDS refused.
struct V1Refused {
    /// How the token request had failed.
    token_failure: Kind,
    at: Instant,
}

/// What a resolution has recorded so far.
#[derive(Default)]
struct Trace {
    requests: Vec<RequestRecord>,
    clock_skew: Option<SignedDuration>,
    v1_fallback: Option<Kind>,
    evidence: Evidence,
}

impl Trace {
    fn record(&mut self, request: Request, began: Instant, result: &Result<Response, TransportError>) {
        let response = result.as_ref().ok();
        let status = status_of(result);
        self.requests.push(RequestRecord { request, duration: monotonic() - began, status });
        self.clock_skew = response.and_then(|response| response.clock_skew).or(self.clock_skew);
        let seen = &mut self.evidence;
        if let Some(response) = response.filter(|_| request != Request::ProfileInfo) {
            seen.server = response.server;
        }
        if request == Request::Token {
            seen.token_status = status;
        }
        seen.network_error = result.as_ref().err().and_then(|error| error.network_error).or(seen.network_error);
        seen.get_answered |= request != Request::Token && status.is_some();
    }
}

/// The status of the answer, whatever came of its body.
fn status_of(result: &Result<Response, TransportError>) -> Option<u16> {
    result.as_ref().map_or_else(|error| error.status, |response| Some(response.status))
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

/// How a token request ended that brought no token.
struct TokenFailure {
    error: ResolveError,
    /// The role list, if a request without a token was answered by it.
    v1_role_list: Option<Response>,
}

impl Imds {
    /// A client that has sent nothing yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be built, which needs a broken system.
    pub fn new(options: Options, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        let Options { endpoint, timeout, disabled, v1_disabled } = options;
        let transport = Transport::new(endpoint, timeout, clock)?;
        Ok(Self { transport, disabled, v1_disabled, last_token: None, v1_refused: None })
    }

    async fn attempt(&mut self, sign: bool, trace: &mut Trace) -> Result<(Credential, Option<Signing>), ResolveError> {
        if self.disabled {
            return Err(ResolveError::new(Kind::DisabledByEnvironment, Step::Token));
        }
        let token = self.token(trace).await;
        self.last_token = Some(token.as_ref().map(|_| ()).map_err(|failed| failed.error.failure.kind));
        let (token, role_list) = match token {
            Ok(token) => {
                self.v1_refused = None;
                let role_list = self.get(Request::Role, ROLES_PATH, Some(&token), Step::Role, trace).await?;
                (Some(token), role_list)
            }
            Err(TokenFailure { error, v1_role_list: Some(role_list) }) => {
                trace.v1_fallback = Some(error.failure.kind);
                (None, role_list)
            }
            Err(TokenFailure { error, v1_role_list: None }) => return Err(error),
        };
        let role = self.role(role_list, token.as_ref(), trace).await?;
        let (credential, document) = self.credentials(role, token.as_ref(), trace).await?;
        let signing = match parse_signing_credentials(&document.body).filter(|_| sign) {
            Some(credentials) => Some(Signing { credentials, region: self.region(token.as_ref()).await }),
            None => None,
        };
        Ok((credential, signing))
    }

    async fn token(&mut self, trace: &mut Trace) -> Result<SessionToken, TokenFailure> {
        let began = monotonic();
        let timeout = self.transport.timeout();
        let mut put = pin!(self.transport.clone().put_token(TOKEN_PATH, timeout.mul_f64(LATE_ANSWER)));
        let in_time = within(timeout, put.as_mut()).await;
        let lost = in_time.is_none();
        let result = in_time.unwrap_or_else(|| Err(TransportError::timed_out()));
        trace.record(Request::Token, began, &result);
        // After a 400, botocore gives up; whatever comes with a 200, it takes for a token.
        let final_answer = matches!(status_of(&result), Some(200 | 400));
        let mut error = match result {
            Ok(response) if response.status == 200 => match SessionToken::parse(&response.body) {
                Some(token) => return Ok(token),
                None => ResolveError::new(Kind::InvalidResponse, Step::Token),
            },
            Ok(response) => {
                let kind = interceptor(response.status, response.via)
                    .unwrap_or_else(|| status_kind(Step::Token, response.status));
                ResolveError::new(kind, Step::Token)
            }
            Err(error) => ResolveError::transport(error, Step::Token),
        };
        let mut v1_role_list = None;
        let mut answered_fast = false;
        let use_v1 = !final_answer && self.may_use_v1(error.failure.kind);
        let forbidden = error.failure.kind == Kind::ImdsDisabled;
        if use_v1 || lost || forbidden {
            let (request, token) = if use_v1 {
                (Request::RoleWithoutToken, None)
            } else {
                (Request::Probe, Some(SessionToken::made_up(MADE_UP_TOKEN)))
            };
            let began = monotonic();
            let result = self.transport.get(ROLES_PATH, token.as_ref()).await;
            trace.record(request, began, &result);
            answered_fast = result.is_ok() && self.is_fast(began);
            if forbidden && status_of(&result).is_some_and(|status| status != 403) {
                error.failure.kind = Kind::TokenForbidden;
            }
            if use_v1 {
                v1_role_list = self.v1_answer(error.failure.kind, result);
            }
        }
        if lost && answered_fast && self.only_the_answer_is_lost(began, put).await {
            error = ResolveError::new(Kind::HopLimit, Step::Token);
        }
        Err(TokenFailure { error, v1_role_list })
    }

    fn is_fast(&self, began: Instant) -> bool {
        monotonic() - began <= self.transport.timeout().mul_f64(FAST_ANSWER)
    }

    /// Whether the answer to a token request that timed out never comes, although another request is answered fast.
    ///
    /// A token request that worked at the last poll went the same way, so that a slow IMDS is more likely; a verdict of the
    /// last poll needs no second wait.
    async fn only_the_answer_is_lost(
        &self,
        began: Instant,
        put: std::pin::Pin<&mut impl Future<Output = Result<Response, TransportError>>>,
    ) -> bool {
        match self.last_token {
            Some(Ok(())) => false,
            Some(Err(Kind::HopLimit)) => true,
            None | Some(Err(_)) => {
                let late = self.transport.timeout().mul_f64(LATE_ANSWER);
                let answer = within(late.saturating_sub(monotonic() - began), put).await;
                !matches!(answer, Some(Ok(_)))
            }
        }
    }

    fn may_use_v1(&self, token_failure: Kind) -> bool {
        let refused_lately = self
            .v1_refused
            .as_ref()
            .is_some_and(|refused| refused.token_failure == token_failure && monotonic() - refused.at < V1_PAUSE);
        !self.v1_disabled && !refused_lately
    }

    /// The role list, if IMDS answers requests without a token.
    fn v1_answer(&mut self, token_failure: Kind, result: Result<Response, TransportError>) -> Option<Response> {
        match result {
            Ok(response) if matches!(response.status, 200 | 404) => {
                self.v1_refused = None;
                return Some(response);
            }
            Err(error) if error.kind.is_unreachable() => self.v1_refused = None,
            Ok(_) | Err(_) => self.v1_refused = Some(V1Refused { token_failure, at: monotonic() }),
        }
        None
    }

    async fn role(
        &self,
        role_list: Response,
        token: Option<&SessionToken>,
        trace: &mut Trace,
    ) -> Result<RoleName, ResolveError> {
        let name = match role_list.status {
            404 => "",
            200 => role_list.text().and_then(|text| text.lines().next()).map_or("", str::trim),
            status => return Err(ResolveError::new(status_kind(Step::Role, status), Step::Role)),
        };
        if name.is_empty() {
            return Err(self.why_no_role(token, trace).await);
        }
        RoleName::try_from(name.to_owned()).map_err(|_| ResolveError::new(Kind::InvalidResponse, Step::Role))
    }

    async fn why_no_role(&self, token: Option<&SessionToken>, trace: &mut Trace) -> ResolveError {
        let info = match self.get(Request::ProfileInfo, INFO_PATH, token, Step::Role, trace).await {
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

    async fn credentials(
        &self,
        role: RoleName,
        token: Option<&SessionToken>,
        trace: &mut Trace,
    ) -> Result<(Credential, Response), ResolveError> {
        let failure = |kind| ResolveError::new(kind, Step::Credentials);
        let path = format!("{ROLES_PATH}{role}");
        let response = self.get(Request::Credentials, &path, token, Step::Credentials, trace).await?;
        if response.status != 200 {
            return Err(failure(status_kind(Step::Credentials, response.status)));
        }
        let document = parse_document(&response.body).map_err(failure)?;
        let credential = Credential { role, last_updated: document.last_updated, expiration: document.expiration };
        Ok((credential, response))
    }

    /// A GET that something other than IMDS, or a refusal of the token, makes a failure.
    async fn get(
        &self,
        request: Request,
        path: &str,
        token: Option<&SessionToken>,
        step: Step,
        trace: &mut Trace,
    ) -> Result<Response, ResolveError> {
        let began = monotonic();
        let result = self.transport.get(path, token).await;
        trace.record(request, began, &result);
        let response = result.map_err(|error| ResolveError::transport(error, step))?;
        match interceptor(response.status, response.via) {
            Some(kind) => Err(ResolveError::new(kind, step)),
            None if response.status == 401 => Err(ResolveError::new(Kind::Unauthorized, step)),
            None => Ok(response),
        }
    }
}

impl Imds {
    /// The region that the instance is in.
    async fn region(&self, token: Option<&SessionToken>) -> Option<Region> {
        let response = self.transport.get(REGION_PATH, token).await.ok()?;
        Region::parse(response.text().filter(|_| response.status == 200)?.trim()).ok()
    }

    async fn resolution(&mut self, sign: bool) -> (Resolution, Option<Signing>) {
        let mut trace = Trace::default();
        let (outcome, cause, signing) = match self.attempt(sign, &mut trace).await {
            Ok((credential, signing)) => (Ok(credential), None, signing),
            Err(error) => (Err(error.failure), error.cause, None),
        };
        self.transport.close_connections();
        let Trace { requests, clock_skew, v1_fallback, evidence } = trace;
        let v1_fallback = v1_fallback.filter(|_| outcome.is_ok());
        let mut resolution =
            Resolution { requests, clock_skew, v1_fallback, cause, evidence, ..Resolution::from(outcome) };
        resolution.creation = boto3::creation(&resolution.outcome, resolution.token_status(), self.v1_disabled);
        (resolution, signing)
    }
}

impl Source for Imds {
    async fn resolve(&mut self) -> Resolution {
        self.resolution(false).await.0
    }

    async fn resolve_to_sign(&mut self) -> (Resolution, Option<Signing>) {
        self.resolution(true).await
    }
}
