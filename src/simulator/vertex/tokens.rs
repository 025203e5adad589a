//! Access tokens: those issued here, with the moment they expire, and static ones.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The tokens of all keys.
#[derive(Debug)]
pub struct Tokens {
    lifetime: Mutex<Duration>,
    known: Mutex<HashMap<String, Token>>,
}

#[derive(Clone, Copy, Debug)]
struct Token {
    key: usize,
    expires: Option<Duration>,
}

/// What is known of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is good, and whose.
    Good(usize),
    /// It was.
    Expired(usize),
    /// It never was.
    Unknown,
}

impl Tokens {
    /// Static tokens by key, and the lifetime of what is issued.
    pub fn new(fixed: impl Iterator<Item = (String, usize)>, lifetime: Duration) -> Self {
        let known = fixed.map(|(text, key)| (text, Token { key, expires: None })).collect();
        Self { lifetime: Mutex::new(lifetime), known: Mutex::new(known) }
    }

    /// Looks a token up.
    pub fn find(&self, text: &str, now: Duration) -> Found {
        match self.known().get(text) {
            None => Found::Unknown,
            Some(token) if token.expires.is_some_and(|end| now >= end) => Found::Expired(token.key),
            Some(token) => Found::Good(token.key),
        }
    }

    /// Issues a token; how long it lives.
    pub fn issue(&self, text: String, key: usize, now: Duration) -> Duration {
        let lifetime = *self.lifetime.lock().unwrap_or_else(PoisonError::into_inner);
        self.known().insert(text, Token { key, expires: Some(now + lifetime) });
        lifetime
    }

    /// The token of a key that lives longest, if more than a tenth of its life (at most five minutes) is left: what the
    /// metadata server hands out again.
    pub fn current(&self, key: usize, now: Duration) -> Option<(String, Duration)> {
        let lifetime = *self.lifetime.lock().unwrap_or_else(PoisonError::into_inner);
        let least = (lifetime / 10).min(Duration::from_secs(300));
        let known = self.known();
        let own = known.iter().filter(|(_, token)| token.key == key);
        let left = own.filter_map(|(text, token)| Some((text, token.expires?.checked_sub(now)?)));
        left.filter(|(_, left)| *left > least)
            .max_by_key(|(_, left)| *left)
            .map(|(text, left)| (text.clone(), left))
    }

    /// Ends the issued tokens of a key, or of all.
    pub fn expire(&self, key: Option<usize>, now: Duration) {
        for token in self.known().values_mut().filter(|token| key.is_none_or(|key| token.key == key)) {
            token.expires = token.expires.map(|end| end.min(now));
        }
    }

    /// Changes the lifetime of what is issued from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        *self.lifetime.lock().unwrap_or_else(PoisonError::into_inner) = lifetime;
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Token>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_its_time_and_the_current_one_shrinks() {
        let at = Duration::from_secs;
        let tokens = Tokens::new([("fixed".to_owned(), 0)].into_iter(), at(100));
        tokens.issue("short".to_owned(), 1, at(0));
        assert_eq!(tokens.find("fixed", at(9_999)), Found::Good(0));
        assert_eq!(tokens.find("short", at(99)), Found::Good(1));
        assert_eq!(tokens.find("short", at(100)), Found::Expired(1));
        assert_eq!(tokens.current(1, at(60)), Some(("short".to_owned(), at(40))));
        assert_eq!(tokens.current(1, at(91)), None);
        tokens.expire(None, at(5));
        assert_eq!(
            (tokens.find("short", at(5)), tokens.find("fixed", at(5))),
            (Found::Expired(1), Found::Good(0))
        );
        assert_eq!(tokens.find("other", at(0)), Found::Unknown);
    }
}
