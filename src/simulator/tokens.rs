//! The session tokens that are valid.
//!
//! Owns them and their ends. Must not know HTTP or the clock.

use std::collections::HashMap;
use std::iter;
use std::time::Duration;

use tokio::time::Instant;

/// Every session token begins so.
pub const SESSION_TOKEN_PREFIX: &str = "simulated-session-token";

/// Keeps a client that asks without end from filling the memory.
const MAX_TOKENS: usize = 10_000;
const RANDOM_CHARACTERS: usize = 32;

#[derive(Default)]
pub(super) struct Tokens {
    ends: HashMap<String, Instant>,
}

impl Tokens {
    pub(super) fn grant(&mut self, lifetime: Duration, now: Instant) -> String {
        if self.ends.len() >= MAX_TOKENS {
            self.ends.retain(|_, end| *end > now);
        }
        if self.ends.len() >= MAX_TOKENS {
            self.ends.clear();
        }
        let random: String = iter::repeat_with(fastrand::alphanumeric).take(RANDOM_CHARACTERS).collect();
        let token = format!("{SESSION_TOKEN_PREFIX}-{random}==");
        self.ends.insert(token.clone(), now + lifetime);
        token
    }

    pub(super) fn is_valid(&self, token: &str, now: Instant) -> bool {
        self.ends.get(token).is_some_and(|end| *end > now)
    }

    pub(super) fn forget(&mut self) {
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::clock::monotonic;

    #[test]
    fn the_number_of_tokens_is_bounded() {
        let (mut tokens, now) = (Tokens::default(), monotonic());
        for _ in 0..=MAX_TOKENS {
            tokens.grant(Duration::from_secs(10), now);
        }
        assert!(tokens.ends.len() <= MAX_TOKENS);
    }
}
