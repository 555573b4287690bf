//! Which clusters run, by owner and name. Plain data; the time comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::settings::Secret;

/// A cluster that has not renewed its entry for this long is gone; it renews every 15 s.
pub(crate) const LIFETIME: Duration = Duration::from_secs(45);
pub(crate) const CLUSTERS_PER_USER_MAX: usize = 64;
pub(crate) const CLUSTERS_MAX: usize = 10_000;

/// One running cluster, its dashboard proven to be where it says.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) user: String,
    pub(crate) name: String,
    /// RFC 3339.
    pub(crate) started: String,
    /// Kernel id of the notebook that started it, or empty.
    pub(crate) origin: String,
    /// Resolved once, when it was proven: a name that later points elsewhere changes nothing.
    pub(crate) dashboard: SocketAddr,
    pub(crate) token: Secret,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Full {
    User,
    Service,
}

#[derive(Default)]
pub(crate) struct Registry {
    /// Owner first, so that a user's clusters are neighbours.
    entries: BTreeMap<(String, String), Entry>,
    /// Clusters whose refusal is in the log already: they try again every 15 s, for as long as they run.
    refused: BTreeSet<(String, String)>,
}

struct Entry {
    cluster: Arc<Cluster>,
    renewed: Instant,
}

impl Registry {
    /// Adds or renews. True if it was not there before.
    pub(crate) fn put(&mut self, now: Instant, cluster: Cluster) -> Result<bool, Full> {
        self.forget_expired(now);
        let key = (cluster.user.clone(), cluster.name.clone());
        let is_new = !self.entries.contains_key(&key);
        if is_new && self.of(&cluster.user).count() >= CLUSTERS_PER_USER_MAX {
            return Err(Full::User);
        }
        if is_new && self.entries.len() >= CLUSTERS_MAX {
            return Err(Full::Service);
        }
        self.refused.remove(&key);
        self.entries.insert(key, Entry { cluster: Arc::new(cluster), renewed: now });
        Ok(is_new)
    }

    pub(crate) fn remove(&mut self, user: &str, name: &str) -> bool {
        self.entries.remove(&(user.to_owned(), name.to_owned())).is_some()
    }

    pub(crate) fn get(&self, now: Instant, user: &str, name: &str) -> Option<Arc<Cluster>> {
        let entry = self.entries.get(&(user.to_owned(), name.to_owned()))?;
        entry.is_alive(now).then(|| entry.cluster.clone())
    }

    /// The clusters of one user, oldest first.
    pub(crate) fn list(&mut self, now: Instant, user: &str) -> Vec<Arc<Cluster>> {
        self.forget_expired(now);
        let mut clusters: Vec<_> = self.of(user).map(|entry| entry.cluster.clone()).collect();
        clusters.sort_by(|a, b| (&a.started, &a.name).cmp(&(&b.started, &b.name)));
        clusters
    }

    /// Notes that a cluster was refused; true the first time.
    pub(crate) fn refuse(&mut self, user: &str, name: &str) -> bool {
        if self.refused.len() >= CLUSTERS_MAX {
            self.refused.clear();
        }
        self.refused.insert((user.to_owned(), name.to_owned()))
    }

    fn of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .range((user.to_owned(), String::new())..)
            .take_while(move |((owner, _), _)| owner == user)
            .map(|(_, entry)| entry)
    }

    fn forget_expired(&mut self, now: Instant) {
        self.entries.retain(|_, entry| {
            let is_alive = entry.is_alive(now);
            if !is_alive {
                tracing::info!(
                    user = entry.cluster.user,
                    cluster = entry.cluster.name,
                    "no longer renewed: forgotten"
                );
            }
            is_alive
        });
    }
}

impl Entry {
    fn is_alive(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.renewed) < LIFETIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(user: &str, name: &str) -> Cluster {
        Cluster {
            user: user.into(),
            name: name.into(),
            started: "2026-01-01T00:00:00Z".into(),
            origin: String::new(),
            dashboard: "127.0.0.1:40000".parse().unwrap(),
            token: Secret::new("t"),
        }
    }

    #[test]
    fn entry_ends_when_it_is_not_renewed_and_lives_on_when_it_is() {
        let start = Instant::now();
        let mut registry = Registry::default();
        assert_eq!(registry.put(start, cluster("alice", "a")), Ok(true));
        let later = start + LIFETIME - Duration::from_secs(1);
        assert!(registry.get(later, "alice", "a").is_some());
        assert_eq!(registry.put(later, cluster("alice", "a")), Ok(false));
        assert!(registry.get(start + LIFETIME, "alice", "a").is_some());
        assert!(registry.get(later + LIFETIME, "alice", "a").is_none());
        assert!(registry.list(later + LIFETIME, "alice").is_empty());
        assert!(registry.entries.is_empty(), "what is over takes no room");
    }

    #[test]
    fn users_see_and_remove_only_what_is_theirs() {
        let now = Instant::now();
        let mut registry = Registry::default();
        for (user, name) in [("alice", "x"), ("alice", "y"), ("alicia", "x"), ("al", "x")] {
            registry.put(now, cluster(user, name)).unwrap();
        }
        let names: Vec<_> = registry.list(now, "alice").iter().map(|c| c.name.clone()).collect();
        assert_eq!(names, ["x", "y"]);
        assert!(!registry.remove("alice", "z") && registry.remove("alice", "x"));
        assert!(registry.get(now, "alicia", "x").is_some());
    }

    #[test]
    fn a_refusal_is_news_once() {
        let mut registry = Registry::default();
        assert!(
            registry.refuse("alice", "a") && !registry.refuse("alice", "a") && registry.refuse("bob", "a")
        );
        registry.put(Instant::now(), cluster("alice", "a")).unwrap();
        assert!(registry.refuse("alice", "a"), "it worked in between");
    }

    #[test]
    fn one_user_cannot_fill_the_registry() {
        let now = Instant::now();
        let mut registry = Registry::default();
        for index in 0..CLUSTERS_PER_USER_MAX {
            registry.put(now, cluster("alice", &format!("c{index}"))).unwrap();
        }
        assert_eq!(registry.put(now, cluster("alice", "one-more")), Err(Full::User));
        assert_eq!(registry.put(now, cluster("alice", "c0")), Ok(false), "a renewal is no addition");
        assert_eq!(registry.put(now, cluster("bob", "b")), Ok(true));
    }
}
