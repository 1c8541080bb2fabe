//! The simulated IMDS: settings, documents and session tokens, and the answers that follow from them.
//!
//! Owns the rules of IMDSv2. Must not know sockets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::answer::{Answer, Delivery};
use super::change::{Change, Part, TokenPolicy};
use super::counts::{Counts, Seen};
use super::document::SimulatedDocument;
use super::fault::{Effect, Fault};
use super::imds_request::{ImdsRequest, Resource};
use super::signature::REGION;
use super::tokens::Tokens;
use crate::domain::Credential;
use crate::platform::clock::{Clock, monotonic};

const TTL_HEADER: &str = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds";
const TOKEN_HEADER: &str = "X-Aws-Ec2-Metadata-Token";
/// Six hours, the longest that IMDS grants.
const MAX_TTL_SECONDS: u64 = 21_600;
/// How many hops a packet may pass as Linux sends it.
pub(super) const USUAL_HOP_LIMIT: NonZeroU8 = NonZeroU8::new(64).expect("it is not zero");
const USUAL_PAUSE: Duration = Duration::from_millis(400);
const MAX_SEEN: usize = 10_000;

pub(super) struct Reply {
    pub(super) answer: Answer,
    pub(super) delivery: Delivery,
    pub(super) keep_alive: bool,
    pub(super) hop_limit: NonZeroU8,
}

impl Reply {
    pub(super) const fn keeps_open(&self) -> bool {
        self.keep_alive && matches!(self.delivery, Delivery::Pieces(..) | Delivery::BytePerSecond)
    }
}

/// The simulated IMDS, shared by its connections and what changes it.
#[derive(Clone)]
pub(super) struct SharedImds(Arc<Mutex<Imds>>);

impl SharedImds {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let settings = Change::default();
        Self(Arc::new(Mutex::new(Imds {
            document: SimulatedDocument::first(&settings.terms(), clock.now()),
            clock,
            settings,
            fault: None,
            fault_active: true,
            tokens: Tokens::default(),
            counts: Counts::default(),
            seen: VecDeque::new(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Imds> {
        // No change to it can panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Imds {
    clock: Arc<dyn Clock>,
    pub(super) settings: Change,
    fault: Option<Fault>,
    /// Whether the fault is active at this moment: a flapping fault comes and goes.
    pub(super) fault_active: bool,
    pub(super) document: SimulatedDocument,
    tokens: Tokens,
    pub(super) counts: Counts,
    pub(super) seen: VecDeque<Seen>,
}

impl Imds {
    /// Makes the change, unless its keys or what is set then do not fit together.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), String> {
        let now = self.clock.now();
        let mut settings = self.settings.clone();
        settings.add(change);
        self.fault = match (settings.fault()?, settings.flap) {
            (None, Some(_)) => return Err("`flap`: it needs a `fault` other than none".to_owned()),
            (fault, _) => fault,
        };
        self.settings = settings;
        if change.fault.is_some() || change.flap.is_some() {
            self.fault_active = true;
        }
        if change.forget_tokens == Some(true) {
            self.tokens.forget();
        }
        if change.role.is_some() || change.lifetime.is_some() || change.rotate == Some(true) {
            self.document.renew(&self.settings.terms(), now);
        }
        if let Some(left) = change.expires_in {
            self.document.expire_in(left, &self.settings.terms(), now);
        }
        Ok(())
    }

    pub(super) fn active_fault(&self) -> Option<Fault> {
        self.fault.filter(|_| self.fault_active)
    }

    pub(super) fn credential(&mut self) -> Credential {
        self.document.rotate_when_due(&self.settings.terms(), self.clock.now());
        self.document.credential()
    }

    /// Counts a request, and returns the delay of its answer.
    pub(super) fn count(&mut self, request: &ImdsRequest, client: SocketAddr) -> Duration {
        let (at, resource, counts) = (self.clock.now(), request.resource(), &mut self.counts);
        *match resource {
            Resource::Token => &mut counts.token,
            Resource::Role => &mut counts.role,
            Resource::Credentials => &mut counts.credentials,
            Resource::ProfileInfo => &mut counts.profile_info,
            Resource::Region => &mut counts.region,
            Resource::Other | Resource::Any => &mut counts.other,
        } += 1;
        let is_v2 = [TOKEN_HEADER, TTL_HEADER].iter().any(|name| request.header(name).is_some());
        counts.without_token += u64::from(!is_v2);
        if self.seen.len() == MAX_SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen { at, client, method: request.method.clone(), path: request.path.clone() });
        let Change { delay, token_delay, get_delay, .. } = self.settings;
        let more = if resource == Resource::Token { token_delay } else { get_delay };
        delay.unwrap_or_default().saturating_add(more.unwrap_or_default())
    }

    pub(super) fn reply(&mut self, request: &ImdsRequest) -> Reply {
        let now = self.clock.now();
        let (resource, only_step) = (request.resource(), self.settings.only_step == Some(true));
        let effect = self.active_fault().and_then(|fault| fault.effect_on(resource, only_step));
        let usual =
            Delivery::Pieces(self.settings.pieces.map_or(1, Into::into), self.settings.pause.unwrap_or(USUAL_PAUSE));
        let (answer, delivery) = match effect {
            Some(Effect::Answers(answer) | Effect::RefusesTokens(answer)) => (answer(), usual),
            Some(Effect::LosesTokens) => (self.answer(request, None), Delivery::Never),
            Some(Effect::Delivers(delivery)) => (self.answer(request, None), delivery),
            effect => (self.answer(request, effect), usual),
        };
        let settings = &self.settings;
        let mut answer = answer.or_header("Server", settings.server.as_deref().unwrap_or("EC2ws"));
        if settings.date_header != Some(false) {
            let date = now.saturating_add(settings.clock_skew.unwrap_or_default()).expect("a duration never fails");
            answer = answer.or_header("Date", &date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
        }
        // As at the real IMDS, whose other answers pass as many hops as any packet.
        let hop_limit = settings.hop_limit.filter(|_| resource == Resource::Token).unwrap_or(USUAL_HOP_LIMIT);
        let keep_alive = request.keep_alive && settings.keep_alive != Some(false);
        Reply { answer, delivery, keep_alive, hop_limit }
    }

    /// The answer, but for faults that act whatever the session token is.
    fn answer(&mut self, request: &ImdsRequest, effect: Option<Effect>) -> Answer {
        let part = [request.resource(), Resource::Any]
            .iter()
            .find_map(|key| self.settings.answers.as_ref()?.get(key))
            .cloned();
        let Part { status, body, headers } = part.filter(|_| effect.is_none()).unwrap_or_default();
        let mut answer = match (status, &body) {
            (Some(status), None) => Answer::error(status),
            (Some(status), Some(_)) => Answer::text(status, ""),
            (None, _) => self.usual_answer(request, effect),
        };
        if let Some(body) = body.filter(|_| status.is_some() || answer.status == 200) {
            answer.body = body.into_bytes();
        }
        headers.iter().fold(answer, |answer, (name, value)| answer.with_header(name, value))
    }

    fn usual_answer(&mut self, request: &ImdsRequest, effect: Option<Effect>) -> Answer {
        let resource = request.resource();
        match resource {
            Resource::Token => return self.grant(request),
            // A token is granted under `latest` alone.
            Resource::Other if request.metadata_path() == Some("api/token") => {
                return Answer::error(if request.method == "PUT" { 403 } else { 405 });
            }
            Resource::Other if !["GET", "HEAD"].contains(&request.method.as_str()) => return Answer::error(405),
            _ if !self.admits(request) => return Answer::error(401),
            _ => {}
        }
        self.document.rotate_when_due(&self.settings.terms(), self.clock.now());
        let document = &self.document;
        match (resource, effect) {
            (Resource::Role, Some(Effect::HasNoRole(list, _))) => list(),
            (Resource::ProfileInfo, Some(Effect::HasNoRole(_, info))) => info(document),
            (Resource::Credentials, Some(Effect::HasNoRole(..))) => Answer::error(404),
            (Resource::Role, _) => Answer::text(200, document.role.as_str()),
            (Resource::ProfileInfo, _) => document.profile_info("Success", None),
            (Resource::Region, _) => Answer::text(200, REGION),
            (Resource::Credentials, effect) if request.role().is_some_and(|role| self.is_listed(role)) => {
                match effect {
                    Some(Effect::Document(wrong)) => wrong(document),
                    _ => document
                        .with(self.settings.fields.iter().flatten().map(|(name, json)| (name.as_str(), json.as_str()))),
                }
            }
            _ => Answer::error(404),
        }
    }

    fn is_listed(&self, role: &str) -> bool {
        let list = self.settings.answers.as_ref().and_then(|answers| answers.get(&Resource::Role)?.body.as_deref());
        role == list.map_or(self.document.role.as_str(), str::trim)
    }

    fn grant(&mut self, request: &ImdsRequest) -> Answer {
        if request.header("x-forwarded-for").is_some() {
            return Answer::error(403);
        }
        let ttl = request.header(TTL_HEADER).and_then(|ttl| ttl.parse().ok());
        let Some(ttl_seconds) = ttl.filter(|ttl| (1..=MAX_TTL_SECONDS).contains(ttl)) else {
            return Answer::error(400);
        };
        let asked = Duration::from_secs(ttl_seconds);
        let lifetime = self.settings.token_lifetime.map_or(asked, |longest| asked.min(longest));
        let token = self.tokens.grant(lifetime, monotonic());
        Answer::text(200, token).with_header(TTL_HEADER, &lifetime.as_secs().to_string())
    }

    fn admits(&self, request: &ImdsRequest) -> bool {
        match request.header(TOKEN_HEADER) {
            Some(token) => self.tokens.is_valid(token, monotonic()),
            None => self.settings.tokens.unwrap_or_default() == TokenPolicy::Optional,
        }
    }
}
