//! A bound on what one user can have going on at a time, so that nobody's mistake is everybody's outage.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;

use crate::error::ApiError;

pub(crate) struct Shares {
    what: &'static str,
    per_user: usize,
    /// Users with something going on; those with nothing are not kept.
    taken: Mutex<HashMap<String, usize>>,
}

/// One of a user's shares, given back when it is dropped.
pub(crate) struct Share {
    shares: Arc<Shares>,
    user: String,
}

impl Shares {
    pub(crate) fn new(what: &'static str, per_user: usize) -> Arc<Self> {
        Arc::new(Self { what, per_user, taken: Mutex::default() })
    }

    pub(crate) fn take(self: &Arc<Self>, user: &str) -> Result<Share, ApiError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(user).copied().unwrap_or(0);
        if count >= self.per_user {
            return Err(ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many",
                format!(
                    "{count} {} of yours are going on already; close one, or try again in a moment",
                    self.what
                ),
            ));
        }
        taken.insert(user.to_owned(), count + 1);
        Ok(Share { shares: self.clone(), user: user.to_owned() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.user) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                taken.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_users_share_is_bounded_and_given_back() {
        let shares = Shares::new("requests", 2);
        let first = shares.take("alice").unwrap();
        let _second = shares.take("alice").unwrap();
        assert_eq!(shares.take("alice").err().unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
        let other = shares.take("bob").unwrap();
        drop((first, other));
        let _third = shares.take("alice").unwrap();
        assert_eq!(shares.taken.lock().unwrap().len(), 1);
    }
}
