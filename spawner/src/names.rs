//! Where names of hosts lead, asked once for everybody who wants to know at the same time.
//!
//! A name server that is slow or silent costs a waiting launcher seconds and a thread of this process each; two thousand
//! jobs that start together run on a few hundred nodes.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, Semaphore};

/// For one name: a name server that is out of reach must not hold up a start for long.
const LOOKUP_MAX: Duration = Duration::from_secs(2);
/// As long as an answer counts, and as long as the lack of one does.
const FRESH: Duration = Duration::from_secs(10);
/// Threads that ask at once. One whose name server is silent stays for longer than anybody waits for it.
const LOOKUPS_MAX: usize = 32;
const NAMES_MAX: usize = 4096;

type Known = Arc<AsyncMutex<Option<(Instant, Vec<IpAddr>)>>>;

/// Those who may name anything have one of their own, so that they cannot use up the threads of others.
pub struct Names {
    known: Mutex<HashMap<String, Known>>,
    lookups: Arc<Semaphore>,
}

impl Default for Names {
    fn default() -> Self {
        Self { known: Mutex::default(), lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Names {
    /// Empty if nobody knows the name, or nobody says so in time.
    pub async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.addresses_by(name, |name| {
            (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect())
        })
        .await
    }

    async fn addresses_by(
        &self,
        name: &str,
        look: impl FnOnce(&str) -> std::io::Result<Vec<IpAddr>> + Send + 'static,
    ) -> Vec<IpAddr> {
        let entry = self.entry(name);
        let limit = tokio::time::Instant::now() + LOOKUP_MAX;
        // Whoever holds it is asking, for no longer than the limit.
        let Ok(mut known) = tokio::time::timeout_at(limit, entry.lock()).await else { return Vec::new() };
        if let Some((at, addresses)) = &*known
            && at.elapsed() < FRESH
        {
            return addresses.clone();
        }
        let (lookups, asked) = (self.lookups.clone(), name.to_owned());
        let lookup = async move {
            let permit = lookups.acquire_owned().await.ok()?;
            // The permit goes with the thread, which may stay after the answer is no longer waited for.
            let thread = tokio::task::spawn_blocking(move || {
                let found = look(&asked);
                drop(permit);
                found
            });
            thread.await.ok()?.ok()
        };
        let addresses = tokio::time::timeout_at(limit, lookup).await.ok().flatten().unwrap_or_default();
        *known = Some((Instant::now(), addresses.clone()));
        addresses
    }

    fn entry(&self, name: &str) -> Known {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMES_MAX && !known.contains_key(name) {
            known.retain(|_, entry| match entry.try_lock() {
                Ok(entry) => entry.as_ref().is_some_and(|(at, _)| at.elapsed() < FRESH),
                Err(_) => true,
            });
            if known.len() >= NAMES_MAX {
                return Known::default();
            }
        }
        known.entry(name.to_owned()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_all_who_ask() {
        let (names, count) = (Arc::new(Names::default()), Arc::new(AtomicUsize::new(0)));
        let asked = (0..50).map(|_| {
            let (names, count) = (names.clone(), count.clone());
            tokio::spawn(async move {
                let look = move |_: &str| {
                    count.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(50));
                    Ok(vec![HERE])
                };
                names.addresses_by("node1", look).await
            })
        });
        for answer in asked.collect::<Vec<_>>() {
            assert_eq!(answer.await.unwrap(), [HERE]);
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert!(names.addresses_by("node2", |_| Ok(Vec::new())).await.is_empty());
        assert!(names.addresses("localhost").await.iter().any(IpAddr::is_loopback));
    }

    #[tokio::test]
    async fn silent_name_servers_take_a_bounded_number_of_threads_and_nobody_waits_long() {
        let names = Arc::new(Names::default());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (held, threads) = (Arc::new(Mutex::new(held)), Arc::new(AtomicUsize::new(0)));
        let asked = (0..2 * LOOKUPS_MAX).map(|number| {
            let (names, held, threads) = (names.clone(), held.clone(), threads.clone());
            tokio::spawn(async move {
                let look = move |_: &str| {
                    threads.fetch_add(1, Ordering::Relaxed);
                    let _ = held.lock().unwrap().recv();
                    Ok(vec![HERE])
                };
                names.addresses_by(&format!("node{number}"), look).await
            })
        });
        for answer in asked.collect::<Vec<_>>() {
            assert!(answer.await.unwrap().is_empty());
        }
        assert_eq!(threads.load(Ordering::Relaxed), LOOKUPS_MAX);
        drop(release);
    }

    #[test]
    fn no_more_names_are_kept_than_said() {
        let names = Names::default();
        for number in 0..2 * NAMES_MAX {
            *names.entry(&number.to_string()).try_lock().unwrap() = Some((Instant::now(), Vec::new()));
        }
        assert_eq!(names.known.lock().unwrap().len(), NAMES_MAX);
    }
}
