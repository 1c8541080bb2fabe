//! The simulated IMDS: settings, documents and session tokens, and the answers that follow from them.
//!
//! Owns the rules of IMDSv2. Must not know sockets.

use std::num::NonZeroU8;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::answer::{Answer, Delivery, Framing};
use super::change::{Change, Content, TokenPolicy};
use super::counts::Counts;
use super::document::Document;
use super::effect::{self, Effect};
use super::endpoint::Endpoint;
use super::request::Request;
use super::settings::{Settings, USUAL_HOP_LIMIT};
use super::signature::{REGION, Secrets};
use super::tokens::Tokens;
use crate::domain::Credential;
use crate::platform::clock::{Clock, monotonic};

const TTL_HEADER: &str = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds";
const TOKEN_HEADER: &str = "X-Aws-Ec2-Metadata-Token";
/// Six hours, the longest that IMDS grants.
const MAX_TTL_SECONDS: u64 = 21_600;

/// An answer and how it is delivered.
pub(super) struct Reply {
    pub(super) answer: Answer,
    pub(super) delivery: Delivery,
    pub(super) framing: Framing,
    /// How many hops its packets may pass.
    pub(super) hop_limit: NonZeroU8,
}

pub(super) struct Imds {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    settings: Settings,
    document: Document,
    tokens: Tokens,
    counts: Counts,
}

impl Imds {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let settings = Settings::default();
        let document = Document::first(&settings, clock.now());
        let state = State { settings, document, tokens: Tokens::default(), counts: Counts::default() };
        Self { clock, state: Mutex::new(state) }
    }

    pub(super) fn apply(&self, change: &Change) {
        let now = self.clock.now();
        let state = &mut *self.state();
        state.settings.apply(change);
        if change.forget_tokens == Some(true) {
            state.tokens.forget();
        }
        if change.role.is_some() || change.lifetime.is_some() || change.rotate == Some(true) {
            state.document.renew(&state.settings, now);
        }
        if let Some(left) = change.expires_in {
            state.document.expire_in(left, &state.settings, now);
        }
    }

    /// Switches a flapping fault on or off.
    pub(super) fn flap(&self) {
        let settings = &mut self.state().settings;
        settings.fault_active = !settings.fault_active;
    }

    pub(super) fn settings(&self) -> Settings {
        self.state().settings.clone()
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// The credentials that a client would get now.
    pub(super) fn credential(&self) -> Credential {
        let now = self.clock.now();
        let state = &mut *self.state();
        state.document.rotate_when_due(&state.settings, now);
        state.document.credential()
    }

    /// The secrets of the credentials in force.
    pub(super) fn secrets(&self) -> Secrets {
        self.state().document.secrets()
    }

    pub(super) fn count_connection(&self) {
        self.state().counts.connections += 1;
    }

    /// Counts a request, and returns the delay of its answer.
    pub(super) fn count(&self, request: &Request, endpoint: &Endpoint) -> Duration {
        let state = &mut *self.state();
        let count = match endpoint {
            Endpoint::Token => &mut state.counts.token,
            Endpoint::RoleList => &mut state.counts.role,
            Endpoint::Document(_) => &mut state.counts.credentials,
            Endpoint::ProfileInfo => &mut state.counts.profile_info,
            Endpoint::Region => &mut state.counts.region,
            Endpoint::VersionedToken | Endpoint::Unknown | Endpoint::WrongMethod => &mut state.counts.other,
        };
        *count += 1;
        let is_v2 = [TOKEN_HEADER, TTL_HEADER].iter().any(|name| request.header(name).is_some());
        state.counts.without_token += u64::from(!is_v2);
        let Settings { delay, token_delay, get_delay, .. } = state.settings;
        delay + if *endpoint == Endpoint::Token { token_delay } else { get_delay }
    }

    pub(super) fn reply(&self, request: &Request, endpoint: &Endpoint) -> Reply {
        let now = self.clock.now();
        let state = &mut *self.state();
        let settings = &state.settings;
        let date = settings.date_header.then(|| http_date(now.saturating_add(settings.clock_skew).unwrap_or(now)));
        let framing = Framing {
            server: "EC2ws",
            date,
            keep_alive: request.keep_alive && settings.keep_alive,
            head_only: request.method == "HEAD",
        };
        let effect =
            settings.active_fault().and_then(|fault| effect::before_tokens(fault, settings.only_step, endpoint));
        let (answer, delivery) = match effect {
            Some(Effect::Answer(answer)) => (answer, Delivery::Whole),
            Some(Effect::Delivery(delivery)) => (state.answer(request, endpoint, now), delivery),
            None => (state.answer(request, endpoint, now), Delivery::Whole),
        };
        let delivery = if state.settings.drip && delivery == Delivery::Whole { Delivery::Drip } else { delivery };
        // As at the real IMDS, whose other answers pass as many hops as any packet.
        let hop_limit = if *endpoint == Endpoint::Token { state.settings.hop_limit } else { USUAL_HOP_LIMIT };
        Reply { answer, delivery, framing, hop_limit }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change to the state can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answer(&mut self, request: &Request, endpoint: &Endpoint, now: Timestamp) -> Answer {
        match endpoint {
            Endpoint::Token => return self.grant(request),
            Endpoint::VersionedToken => return Answer::error(403),
            Endpoint::WrongMethod => return Answer::error(405),
            _ => {}
        }
        if !self.admits(request) {
            return Answer::error(401);
        }
        self.document.rotate_when_due(&self.settings, now);
        let fault = self.settings.active_fault();
        if let Some(answer) = fault.and_then(|fault| effect::after_tokens(fault, endpoint, &self.document)) {
            return answer;
        }
        match endpoint {
            Endpoint::RoleList => Answer::text(200, self.document.role().as_str()),
            Endpoint::ProfileInfo => Answer::text(200, self.document.profile_info(None)),
            Endpoint::Region => Answer::text(200, REGION),
            Endpoint::Document(name) if name == self.document.role().as_str() => match &self.settings.document {
                Content::Generated => Answer::text(200, self.document.text(None)),
                Content::Raw(text) => Answer::text(200, text.as_str()),
            },
            _ => Answer::error(404),
        }
    }

    fn grant(&mut self, request: &Request) -> Answer {
        if request.header("x-forwarded-for").is_some() {
            return Answer::error(403);
        }
        let ttl = request.header(TTL_HEADER).and_then(|ttl| ttl.parse().ok());
        let Some(ttl_seconds) = ttl.filter(|ttl| (1..=MAX_TTL_SECONDS).contains(ttl)) else {
            return Answer::error(400);
        };
        let asked = Duration::from_secs(ttl_seconds);
        let lifetime = self.settings.token_lifetime.map_or(asked, |longest| asked.min(longest));
        let answer = Answer::text(200, self.tokens.grant(lifetime, monotonic()));
        if self.settings.token_ttl_header {
            answer.with_header(TTL_HEADER, lifetime.as_secs().to_string())
        } else {
            answer
        }
    }

    fn admits(&self, request: &Request) -> bool {
        match request.header(TOKEN_HEADER) {
            Some(token) => self.tokens.is_valid(token, monotonic()),
            None => self.settings.tokens == TokenPolicy::Optional,
        }
    }
}

fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
