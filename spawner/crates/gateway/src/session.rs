//! Who has signed in with a browser. The cookie is a random id and nothing else; the hub's token stays here, in
//! memory, so that a sign-out or a removal at the hub ends the session. After a restart browsers sign in again by
//! themselves. Plain data; the time comes in as an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::settings::Secret;

const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// While the hub does not answer, whoever it last recognised within this time is still let in.
const GRACE: Duration = Duration::from_secs(600);
const SESSIONS_PER_USER_MAX: usize = 20;
const SESSIONS_MAX: usize = 20_000;

/// Finds a session; the hash of what the browser holds, so that this table gives nobody's cookie away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey([u8; 32]);

impl SessionKey {
    fn of(cookie: &str) -> Self {
        Self(Sha256::digest(cookie.as_bytes()).into())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) user: String,
    pub(crate) token: Secret,
    started: Instant,
    /// When the hub last said that the token is the user's.
    confirmed: Instant,
}

#[derive(Default)]
pub(crate) struct Sessions {
    by_key: HashMap<SessionKey, Session>,
}

impl Sessions {
    /// A new session; what is returned is the cookie's value.
    pub(crate) fn start(&mut self, now: Instant, user: &str, token: Secret) -> String {
        self.by_key.retain(|_, session| session.is_alive(now));
        while self.by_key.values().filter(|session| session.user == user).count() >= SESSIONS_PER_USER_MAX {
            self.end_oldest(Some(user));
        }
        while self.by_key.len() >= SESSIONS_MAX {
            self.end_oldest(None);
        }
        let cookie = hex::encode(rand::random::<[u8; 32]>());
        let session = Session { user: user.to_owned(), token, started: now, confirmed: now };
        self.by_key.insert(SessionKey::of(&cookie), session);
        cookie
    }

    pub(crate) fn get(&self, now: Instant, key: SessionKey) -> Option<Session> {
        self.by_key.get(&key).filter(|session| session.is_alive(now)).cloned()
    }

    pub(crate) fn confirm(&mut self, now: Instant, key: SessionKey) {
        if let Some(session) = self.by_key.get_mut(&key) {
            session.confirmed = now;
        }
    }

    pub(crate) fn end(&mut self, key: SessionKey) {
        self.by_key.remove(&key);
    }

    fn end_oldest(&mut self, user: Option<&str>) {
        let candidates =
            self.by_key.iter().filter(|(_, session)| user.is_none_or(|user| session.user == user));
        if let Some(key) = candidates.min_by_key(|(_, session)| session.started).map(|(key, _)| *key) {
            self.by_key.remove(&key);
        }
    }
}

impl Session {
    fn is_alive(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.started) < LIFETIME
    }

    /// Whether it may be used though the hub cannot be asked.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.confirmed) < GRACE
    }
}

/// The sessions that the cookies of this name would be; usually one.
pub(crate) fn keys(headers: &HeaderMap, name: &str) -> Vec<SessionKey> {
    cookies(headers)
        .filter(|(found, _)| *found == name)
        .take(4)
        .map(|(_, value)| SessionKey::of(value))
        .collect()
}

pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cookie_that_was_given_finds_the_session_and_it_ends() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        let cookie = sessions.start(start, "alice", Secret::new("hub-token"));
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("a=b; s={cookie}; s=other").parse().unwrap());
        let keys = keys(&headers, "s");
        assert_eq!(keys.len(), 2);
        let found: Vec<_> = keys.iter().filter_map(|key| sessions.get(start, *key)).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].user, "alice");
        assert!(!format!("{found:?}").contains("hub-token"));
        assert!(sessions.get(start + LIFETIME, keys[0]).is_none());
        sessions.end(keys[0]);
        assert!(sessions.get(start, keys[0]).is_none());
    }

    #[test]
    fn one_user_cannot_push_out_others() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        let bobs = SessionKey::of(&sessions.start(start, "bob", Secret::new("b")));
        let first = SessionKey::of(&sessions.start(start, "alice", Secret::new("a")));
        for second in 1..=SESSIONS_PER_USER_MAX {
            sessions.start(start + Duration::from_secs(second as u64), "alice", Secret::new("a"));
        }
        assert_eq!(sessions.by_key.len(), SESSIONS_PER_USER_MAX + 1);
        assert!(sessions.get(start, bobs).is_some() && sessions.get(start, first).is_none());
    }

    #[test]
    fn a_silent_hub_is_bridged_for_a_while_only() {
        let start = Instant::now();
        let mut sessions = Sessions::default();
        let key = SessionKey::of(&sessions.start(start, "alice", Secret::new("a")));
        assert!(sessions.get(start, key).unwrap().is_fresh(start + GRACE / 2));
        assert!(!sessions.get(start, key).unwrap().is_fresh(start + GRACE));
        sessions.confirm(start + GRACE / 2, key);
        assert!(sessions.get(start, key).unwrap().is_fresh(start + GRACE));
    }
}
