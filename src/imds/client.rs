//! The IMDS client: one resolution of the role's credentials, as botocore makes it.
//!
//! Three requests at every poll: session token (`PUT`), role list, credential document, each with botocore's attempts. A token
//! request that fails in any way but a 400 is followed by requests without a token, unless IMDSv1 is disabled. Owns the order
//! of the requests. Keeps no secret from one poll to the next, but how the last token request ended and when IMDSv1 was
//! refused.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::document::{
    Document, access_key_id, creation, parse_document, parse_profile_info, parse_signing_credentials,
};
use super::endpoint::Endpoint;
use super::role_path::role_path;
use super::session_token::{SessionToken, TTL_SECONDS};
use super::status::{interceptor, status_kind};
use super::time_limit::LONGEST_ANSWER;
use super::transport::{Asked, Response, Transport, TransportError};
use crate::domain::{
    Creation, Credential, Evidence, Failure, KeyFingerprint, Kind, Region, Request, RequestRecord, Resolution,
    RoleName, Signing, Source, Step,
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
const HOP_LIMIT_WAIT_FACTOR: f64 = 2.5;

/// In time-outs: an answer that takes longer than this is not fast enough to prove that only the token's is lost.
const PROMPT_ANSWER_FACTOR: f64 = 0.5;

/// How to reach IMDS.
#[derive(Clone, Debug)]
pub struct ImdsOptions {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Time-out of a connection and of each read.
    pub timeout: Duration,
    /// How often boto3 tries a request: `AWS_METADATA_SERVICE_NUM_ATTEMPTS`.
    pub attempts: NonZeroU32,
    /// `AWS_EC2_METADATA_DISABLED`: nothing is sent.
    pub disabled: bool,
    /// `AWS_EC2_METADATA_V1_DISABLED`: nothing is sent without a session token.
    pub v1_disabled: bool,
    /// The region of signed calls, where it is configured: IMDS is asked for it only otherwise, and once.
    pub region: Option<Region>,
}

impl ImdsOptions {
    /// No poll takes longer, unless this process does not get the CPU.
    #[must_use]
    pub fn longest_poll(&self) -> Duration {
        /// Token, role list and document. Where a request that is not tried again takes the place of one that is, less.
        const REQUESTS: u32 = 3;
        /// For a connection and an answer.
        const TIMEOUTS: u32 = 1 + LONGEST_ANSWER;
        (self.timeout * TIMEOUTS * REQUESTS).saturating_mul(self.attempts.get())
            + self.timeout.mul_f64(HOP_LIMIT_WAIT_FACTOR)
    }

    /// How long a session token must live: no poll outlives it.
    fn token_ttl_seconds(&self) -> u64 {
        (self.longest_poll().as_secs() + 1).clamp(*TTL_SECONDS.start(), *TTL_SECONDS.end())
    }
}

/// The IMDS client.
pub struct Imds {
    transport: Transport,
    options: ImdsOptions,
    /// How the last token request ended; `None` before the first.
    last_token: Option<Result<(), Kind>>,
    /// When IMDS refused a request without a token, and how the token request had failed before.
    v1_refused: Option<(Instant, Kind)>,
    /// The secret of the keys' fingerprints.
    hashing: RandomState,
}

/// What a resolution has recorded so far.
#[derive(Default)]
struct Trace {
    requests: Vec<RequestRecord>,
    clock_skew: Option<SignedDuration>,
    v1_fallback: Option<Kind>,
    evidence: Evidence,
    key: Option<KeyFingerprint>,
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

/// A resolution that ended early, and what boto3 makes of it.
struct Ended {
    failure: Failure,
    /// What the operating system or the HTTP library said.
    cause: Option<String>,
    creation: Creation,
}

impl Ended {
    fn new(kind: Kind, step: Step, creation: Creation) -> Self {
        Self { failure: Failure { kind, step }, cause: None, creation }
    }

    /// boto3 takes an answer that did not come for none, but may read what this program does not: another framing, or the
    /// part of a body that came.
    fn transport(TransportError { kind, status, cause, .. }: TransportError, step: Step) -> Self {
        let differs = status.is_some() || kind == Kind::InvalidResponse;
        let creation = if differs { Creation::Unknown } else { Creation::Nothing };
        Self { failure: Failure { kind, step }, cause, creation }
    }
}

/// What a token step leads to.
struct AfterToken {
    /// `None`: by IMDSv1.
    token: Option<SessionToken>,
    /// The role list that IMDSv1 has answered.
    role_list: Option<Response>,
    /// What is wrong with the token, though boto3 goes on with it.
    complaint: Option<Failure>,
}

/// A token request that brought no token.
struct TokenFailure {
    ended: Ended,
    /// Whether boto3 gives up here.
    is_final: bool,
    /// The request, if its answer may still come.
    lost: Option<Asked>,
}

impl Imds {
    /// A client that has sent nothing yet.
    #[must_use]
    pub fn new(options: ImdsOptions, clock: Arc<dyn Clock>) -> Self {
        let transport = Transport::new(options.endpoint.clone(), options.timeout, clock);
        Self { transport, options, last_token: None, v1_refused: None, hashing: RandomState::new() }
    }

    async fn attempt(
        &mut self,
        sign: bool,
        trace: &mut Trace,
    ) -> Result<(Result<Credential, Failure>, Creation, Option<Signing>), Ended> {
        if self.options.disabled {
            return Err(Ended::new(Kind::DisabledByEnvironment, Step::Token, Creation::Nothing));
        }
        let AfterToken { token, role_list, complaint } = self.token_step(trace).await?;
        let role_list = if let Some(role_list) = role_list {
            role_list
        } else {
            let is_usable = |response: &Response| response.status == 200 && !response.body.is_empty();
            self.get(Request::Role, ROLES_PATH, token.as_ref(), Step::Role, is_usable, trace).await?
        };
        let (path, role) = self.role(&role_list, token.as_ref(), trace).await?;
        let document = self.document(&path, token.as_ref(), trace).await?;
        let text = document.charset.decode(&document.body).unwrap_or_default();
        let checked = std::str::from_utf8(&document.body).map_err(|_| Kind::InvalidResponse).and_then(parse_document);
        let outcome = match (complaint, role, checked) {
            (Some(failure), ..) => Err(failure),
            (None, None, _) => Err(Failure { kind: Kind::InvalidResponse, step: Step::Role }),
            (None, Some(_), Err(kind)) => Err(Failure { kind, step: Step::Credentials }),
            (None, Some(role), Ok(Document { last_updated, expiration })) => {
                Ok(Credential { role, last_updated, expiration })
            }
        };
        let hash = |id: &str| KeyFingerprint(self.hashing.hash_one(id));
        trace.key = outcome.as_ref().ok().and_then(|_| access_key_id(&text, hash));
        let signing = match parse_signing_credentials(&text).filter(|_| sign && outcome.is_ok()) {
            Some(credentials) => Some(Signing { credentials, region: self.region(token.as_ref()).await }),
            None => None,
        };
        Ok((outcome, creation(&text), signing))
    }

    /// The token request, and what follows where it fails.
    async fn token_step(&mut self, trace: &mut Trace) -> Result<AfterToken, Ended> {
        let asked = self.ask_for_token(trace).await;
        let outcome = match &asked {
            Ok(token) if token.is_one_line() => Ok(()),
            Ok(_) => Err(Kind::InvalidResponse),
            Err(failed) => Err(failed.ended.failure.kind),
        };
        let before = self.last_token.replace(outcome);
        let TokenFailure { mut ended, is_final, lost } = match asked {
            Ok(token) => {
                self.v1_refused = None;
                let complaint = outcome.err().map(|kind| Failure { kind, step: Step::Token });
                if token.is_empty() && self.options.v1_disabled {
                    return Err(Ended::new(Kind::InvalidResponse, Step::Token, Creation::Unknown));
                }
                return Ok(AfterToken { token: Some(token), role_list: None, complaint });
            }
            Err(failed) => failed,
        };
        let forbidden = ended.failure.kind == Kind::ImdsDisabled;
        let use_v1 = !is_final && self.may_use_v1(ended.failure.kind);
        if is_final || !(use_v1 || lost.is_some() || forbidden) {
            return Err(self.without_v1(ended, is_final));
        }
        let began = monotonic();
        let result = if use_v1 {
            // An answer is not asked for again: each of these requests is counted.
            self.get_again(Request::RoleWithoutToken, ROLES_PATH, None, |_| true, trace).await
        } else {
            let made_up = SessionToken::made_up(MADE_UP_TOKEN);
            let result = self.transport.get(ROLES_PATH, Some(&made_up)).await;
            trace.record(Request::Probe, began, &result);
            result
        };
        let token_failure = ended.failure.kind;
        let answered_fast = result.is_ok() && monotonic() - began <= self.options.timeout.mul_f64(PROMPT_ANSWER_FACTOR);
        if forbidden && status_of(&result).is_some_and(|status| status != 403) {
            ended.failure.kind = Kind::TokenForbidden;
        }
        if answered_fast
            && let Some(lost) = lost
            && self.only_the_answer_is_lost(before, began, lost).await
        {
            ended.failure.kind = Kind::HopLimit;
        }
        self.last_token = Some(Err(ended.failure.kind));
        if !use_v1 {
            return Err(self.without_v1(ended, false));
        }
        match result {
            Ok(response) if matches!(response.status, 200 | 404) => {
                self.v1_refused = None;
                trace.v1_fallback = Some(ended.failure.kind);
                return Ok(AfterToken { token: None, role_list: Some(response), complaint: None });
            }
            Err(error) if error.kind.is_unreachable() => self.v1_refused = None,
            Err(error) => {
                ended.creation = Ended::transport(error, Step::Token).creation;
                self.v1_refused = Some((monotonic(), token_failure));
            }
            Ok(_) => self.v1_refused = Some((monotonic(), token_failure)),
        }
        Err(ended)
    }

    /// The end of a resolution after a token request that failed and no request without a token.
    fn without_v1(&self, ended: Ended, is_final: bool) -> Ended {
        let creation = match ended.creation {
            Creation::Nothing if self.options.v1_disabled && !is_final => {
                // Versions of boto3 that do not know the variable ask without a token.
                let unreachable = ended.failure.kind.is_unreachable();
                if unreachable { Creation::Raises } else { Creation::Unknown }
            }
            creation => creation,
        };
        Ended { creation, ..ended }
    }

    /// The token, or why there is none. Some failures are tried again, as botocore does.
    async fn ask_for_token(&mut self, trace: &mut Trace) -> Result<SessionToken, TokenFailure> {
        let mut attempts_left = self.options.attempts.get();
        loop {
            attempts_left -= 1;
            let began = monotonic();
            let (result, lost) = match self.transport.put_token(TOKEN_PATH, self.options.token_ttl_seconds()).await {
                Err(error) => (Err(error), None),
                Ok(mut asked) => match asked.answer(self.options.timeout).await {
                    Ok(result) => {
                        if result.is_ok() {
                            self.transport.keep(asked);
                        }
                        (result, None)
                    }
                    Err(why) => (Err(TransportError::timed_out(why)), Some(asked)),
                },
            };
            trace.record(Request::Token, began, &result);
            let (ended, is_final, again) = match result {
                Ok(response) if response.status == 200 => {
                    match SessionToken::decoded(&response.body, response.charset) {
                        Ok(token) => return Ok(token),
                        Err(creation) => (Ended::new(Kind::InvalidResponse, Step::Token, creation), true, false),
                    }
                }
                Ok(Response { status, via, .. }) => {
                    let kind = interceptor(status, via).unwrap_or_else(|| status_kind(Step::Token, status));
                    let ended = Ended::new(kind, Step::Token, Creation::Nothing);
                    (ended, status == 400, !matches!(status, 400 | 403 | 404 | 405))
                }
                // boto3 may have taken what came for a token.
                Err(error) if error.status.is_some() => (Ended::transport(error, Step::Token), true, false),
                Err(error) => (Ended::transport(error, Step::Token), false, lost.is_none()),
            };
            if !again || attempts_left == 0 {
                return Err(TokenFailure { ended, is_final, lost });
            }
        }
    }

    /// Whether the answer to a token request that timed out never comes, although another request is answered fast.
    ///
    /// A token request that worked at the last poll went the same way, so that a slow IMDS is more likely; a verdict of the
    /// last poll needs no second wait.
    async fn only_the_answer_is_lost(&self, before: Option<Result<(), Kind>>, began: Instant, mut lost: Asked) -> bool {
        match before {
            Some(Ok(())) => false,
            Some(Err(Kind::HopLimit)) => true,
            None | Some(Err(_)) => {
                let late = self.options.timeout.mul_f64(HOP_LIMIT_WAIT_FACTOR - 1.0);
                let answer = lost.answer(late.saturating_sub(monotonic() - began)).await;
                !matches!(answer, Ok(Ok(_)))
            }
        }
    }

    fn may_use_v1(&self, token_failure: Kind) -> bool {
        let refused_lately =
            self.v1_refused.is_some_and(|(at, failure)| failure == token_failure && monotonic() - at < V1_PAUSE);
        !self.options.v1_disabled && !refused_lately
    }

    /// The path of the document that boto3 asks for, and the role, if the list is a role's name.
    async fn role(
        &mut self,
        role_list: &Response,
        token: Option<&SessionToken>,
        trace: &mut Trace,
    ) -> Result<(String, Option<RoleName>), Ended> {
        let invalid = |creation| Ended::new(Kind::InvalidResponse, Step::Role, creation);
        let list = match (role_list.status, role_list.charset.decode(&role_list.body)) {
            (404, _) => "".into(),
            (200, Some(list)) => list,
            // boto3 takes bytes that are no UTF-8 for an error; of other encodings it knows more than this program.
            (200, None) if std::str::from_utf8(&role_list.body).is_err() => return Err(invalid(Creation::Raises)),
            (200, None) => return Err(invalid(Creation::Unknown)),
            (status, _) => return Err(Ended::new(status_kind(Step::Role, status), Step::Role, Creation::Nothing)),
        };
        if list.trim().is_empty() {
            return Err(self.why_no_role(token, trace).await);
        }
        let path = role_path(&list).ok_or_else(|| invalid(Creation::Unknown))?;
        let role = RoleName::try_from(list.trim_end_matches(['\r', '\n']).to_owned()).ok();
        Ok((format!("{ROLES_PATH}{path}"), role))
    }

    async fn why_no_role(&mut self, token: Option<&SessionToken>, trace: &mut Trace) -> Ended {
        let began = monotonic();
        let result = self.transport.get(INFO_PATH, token).await;
        trace.record(Request::ProfileInfo, began, &result);
        let info = match result {
            Ok(info) => info,
            Err(error) => return Ended { creation: Creation::Nothing, ..Ended::transport(error, Step::Role) },
        };
        let kind = match (refusal(&info), info.status) {
            (Some(kind), _) => kind,
            (None, 404) => Kind::NoRole,
            (None, 200) => std::str::from_utf8(&info.body).map_or(Kind::InvalidResponse, parse_profile_info),
            (None, status) => status_kind(Step::Role, status),
        };
        Ended::new(kind, Step::Role, Creation::Nothing)
    }

    async fn document(
        &mut self,
        path: &str,
        token: Option<&SessionToken>,
        trace: &mut Trace,
    ) -> Result<Response, Ended> {
        let is_usable = |response: &Response| {
            let is_json = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            response.status == 200 && response.charset.decode(&response.body).is_none_or(|text| is_json(&text))
        };
        let response = self.get(Request::Credentials, path, token, Step::Credentials, is_usable, trace).await?;
        match response.status {
            200 if response.charset.decode(&response.body).is_some() => Ok(response),
            200 => {
                // As above, but boto3 takes what is no UTF-8 for no JSON.
                let is_text = std::str::from_utf8(&response.body).is_ok();
                let creation = if is_text { Creation::Unknown } else { Creation::Nothing };
                Err(Ended::new(Kind::InvalidResponse, Step::Credentials, creation))
            }
            status => Err(Ended::new(status_kind(Step::Credentials, status), Step::Credentials, Creation::Nothing)),
        }
    }

    /// A GET that something other than IMDS, or a refusal of the token, makes a failure.
    async fn get(
        &mut self,
        request: Request,
        path: &str,
        token: Option<&SessionToken>,
        step: Step,
        is_usable: impl Fn(&Response) -> bool,
        trace: &mut Trace,
    ) -> Result<Response, Ended> {
        let result = self.get_again(request, path, token, is_usable, trace).await;
        let response = result.map_err(|error| Ended::transport(error, step))?;
        match refusal(&response) {
            Some(kind) => Err(Ended::new(kind, step, Creation::Nothing)),
            None => Ok(response),
        }
    }

    /// A GET, until its answer is usable or no attempt is left: then the last result, whatever it is.
    async fn get_again(
        &mut self,
        request: Request,
        path: &str,
        token: Option<&SessionToken>,
        is_usable: impl Fn(&Response) -> bool,
        trace: &mut Trace,
    ) -> Result<Response, TransportError> {
        let mut attempts_left = self.options.attempts.get();
        loop {
            attempts_left -= 1;
            let began = monotonic();
            let result = self.transport.get(path, token).await;
            trace.record(request, began, &result);
            if attempts_left == 0 || result.as_ref().is_ok_and(&is_usable) {
                return result;
            }
        }
    }

    /// The region of signed calls: that of the instance, where none is configured.
    async fn region(&mut self, token: Option<&SessionToken>) -> Option<Region> {
        if self.options.region.is_none() {
            self.options.region = self.region_of_instance(token).await;
        }
        self.options.region.clone()
    }

    async fn region_of_instance(&mut self, token: Option<&SessionToken>) -> Option<Region> {
        let response = self.transport.get(REGION_PATH, token).await.ok()?;
        let text = std::str::from_utf8(&response.body).ok().filter(|_| response.status == 200)?;
        Region::parse(text.trim()).ok()
    }

    async fn resolution(&mut self, sign: bool) -> (Resolution, Option<Signing>) {
        let mut trace = Trace::default();
        let (outcome, cause, creation, signing) = match self.attempt(sign, &mut trace).await {
            Ok((outcome, creation, signing)) => (outcome, None, creation, signing),
            Err(Ended { failure, cause, creation }) => (Err(failure), cause, creation, None),
        };
        self.transport.close_connection();
        let Trace { requests, clock_skew, v1_fallback, evidence, key } = trace;
        let v1_fallback = v1_fallback.filter(|_| outcome.is_ok());
        (Resolution { outcome, creation, key, requests, clock_skew, v1_fallback, cause, evidence }, signing)
    }
}

/// The kind of an answer to a GET that something other than IMDS gave, or that refuses the token.
fn refusal(response: &Response) -> Option<Kind> {
    interceptor(response.status, response.via).or((response.status == 401).then_some(Kind::Unauthorized))
}

impl Source for Imds {
    async fn resolve(&mut self) -> Resolution {
        self.resolution(false).await.0
    }

    async fn resolve_to_sign(&mut self) -> (Resolution, Option<Signing>) {
        self.resolution(true).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::IPV4_ENDPOINT;
    use super::*;

    #[test]
    fn a_session_token_lives_as_long_as_the_longest_poll() {
        for (timeout, attempts, ttl_seconds) in [(1, 1, 60), (1, 2, 69), (30, 20, 19_876)] {
            let options = ImdsOptions {
                endpoint: Endpoint::parse(IPV4_ENDPOINT).expect("an endpoint"),
                timeout: Duration::from_secs(timeout),
                attempts: NonZeroU32::new(attempts).expect("a number"),
                disabled: false,
                v1_disabled: false,
                region: None,
            };
            assert_eq!(options.token_ttl_seconds(), ttl_seconds, "{timeout} {attempts}");
        }
    }
}
