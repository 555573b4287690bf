//! What the directory last said about whom, for some seconds: many requests of one person cost one question.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nuna_pbs::UserName;

use super::{Directory, Identity, SignInError};
use crate::clock::Millis;

/// People remembered at the same time. One more is asked about each time.
const PEOPLE_MAX: usize = 10_000;

type Said = (Millis, Result<Identity, SignInError>);
/// Locked while the directory is asked, so that others wait for the same answer.
type Slot = Arc<tokio::sync::Mutex<Option<Said>>>;

pub struct Standings {
    people: Mutex<HashMap<UserName, Slot>>,
    keep: Duration,
}

impl Standings {
    /// Answers count for `keep`.
    pub fn new(keep: Duration) -> Self {
        Self { people: Mutex::default(), keep }
    }

    pub async fn of(
        &self,
        now: Millis,
        user: &UserName,
        directory: &dyn Directory,
    ) -> Result<Identity, SignInError> {
        let slot = self.slot(now, user);
        let mut said = slot.lock().await;
        if let Some((at, answer)) = &*said
            && now < at.after(self.keep)
        {
            return answer.clone();
        }
        let answer = directory.look_up(user).await;
        *said = Some((now, answer.clone()));
        answer
    }

    /// Who has just signed in need not be asked about. A question under way is not waited for.
    pub fn signed_in(&self, now: Millis, identity: &Identity) {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        if people.len() < PEOPLE_MAX || people.contains_key(&identity.name) {
            let said = Some((now, Ok(identity.clone())));
            people.insert(identity.name.clone(), Arc::new(tokio::sync::Mutex::new(said)));
        }
    }

    fn slot(&self, now: Millis, user: &UserName) -> Slot {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        if people.len() >= PEOPLE_MAX && !people.contains_key(user) {
            let is_wanted = |slot: &Slot| match slot.try_lock() {
                Ok(said) => said.as_ref().is_some_and(|(at, _)| now < at.after(self.keep)),
                Err(_) => true,
            };
            people.retain(|_, slot| is_wanted(slot));
            if people.len() >= PEOPLE_MAX {
                return Slot::default();
            }
        }
        people.entry(user.clone()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::secret::Secret;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    #[async_trait::async_trait]
    impl Directory for Counted {
        async fn sign_in(&self, _: &str, _: &Secret) -> Result<Identity, SignInError> {
            Err(SignInError::NotAllowed)
        }

        async fn look_up(&self, user: &UserName) -> Result<Identity, SignInError> {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(Identity { name: user.clone(), groups: vec![count.to_string()], admin: false })
        }

        async fn probe(&self) -> Vec<Result<String, String>> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn many_questions_about_one_person_are_one() {
        let (standings, directory) = (Standings::new(Duration::from_secs(15)), Counted::default());
        let alice: UserName = "alice".parse().unwrap();
        let ask = |seconds: u64| standings.of(Millis(1000 * seconds), &alice, &directory);
        let answers = futures::future::join_all((0..100).map(|_| ask(1))).await;
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap().groups == ["0"]));
        assert_eq!(ask(15).await.unwrap().groups, ["0"]);
        assert_eq!(ask(16).await.unwrap().groups, ["1"]);
        let signed_in = Identity { name: alice.clone(), groups: vec!["new".to_owned()], admin: true };
        standings.signed_in(Millis(17_000), &signed_in);
        assert_eq!(ask(18).await, Ok(signed_in));
        assert_eq!(directory.0.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn many_people_do_not_fill_memory() {
        let (standings, directory) = (Standings::new(Duration::from_secs(15)), Counted::default());
        for number in 0..PEOPLE_MAX + 100 {
            let user: UserName = format!("u{number}").parse().unwrap();
            standings.of(Millis(0), &user, &directory).await.unwrap();
        }
        assert_eq!(standings.people.lock().unwrap().len(), PEOPLE_MAX);
        let late: UserName = "late".parse().unwrap();
        standings.of(Millis(60_000), &late, &directory).await.unwrap();
        assert_eq!(standings.people.lock().unwrap().len(), 1, "old answers make room");
    }
}
