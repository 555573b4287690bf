//! Owns the search for a scheduler that takes the place of a lost one: where the cluster file says, again and again, until
//! one lets this process in again, the cluster has ended, or it has taken too long.

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    cluster_file::ClusterFile,
    connection::{ConnectError, Connection, Connector},
    credentials::Party,
    message::{Role, RoleAnswer},
};

const RETRY_MIN: Duration = Duration::from_millis(30);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A cluster file that is gone for so long will not come back. A shared disk may be slow to show a new one.
const GONE: Duration = Duration::from_millis(300);

/// What to look for, and where.
pub struct Search {
    pub connector: Connector,
    /// Where it was last.
    pub address: SocketAddr,
    /// Says where it is now.
    pub file: PathBuf,
    /// What this process was to the scheduler that is lost.
    pub role: Role,
    pub patience: Duration,
}

impl Search {
    /// Searches until there is one, `stop` gives a reason not to, or none can be expected any more.
    ///
    /// # Errors
    /// Why none was found: what was tried, where, and what to do.
    pub async fn run(&self, stop: impl Fn() -> Option<String>) -> Result<(Connection, RoleAnswer), String> {
        let start = Instant::now();
        let mut gone_since: Option<Instant> = None;
        let mut address = self.address;
        let mut wait = RETRY_MIN;
        let mut attempts = 0_u32;
        loop {
            // All of a cluster lose it in the same moment, and should not come back in the same.
            let jitter = 0.5 + RandomState::new().hash_one(attempts) as f64 / u64::MAX as f64 / 2.0;
            tokio::time::sleep(wait.mul_f64(jitter)).await;
            wait = (wait * 2).min(RETRY_MAX);
            if let Some(reason) = stop() {
                return Err(reason);
            }
            match ClusterFile::read(&self.file) {
                Ok(file) => (address, gone_since) = (file.scheduler, None),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let since = *gone_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= GONE {
                        return Err(format!(
                            "the cluster has ended: its file {} is gone",
                            self.file.display()
                        ));
                    }
                    wait = wait.min(GONE / 2);
                }
                // Perhaps it is just being written.
                Err(_) => {}
            }
            attempts += 1;
            let error = match self.connector.connect(address, Party::Scheduler, self.role.clone()).await {
                Ok(found) => return Ok(found),
                Err(ConnectError::Refused { reason, .. }) if reason != ConnectError::CLOSED => {
                    return Err(format!(
                        "the scheduler at {address} does not let this process in again: {reason}"
                    ));
                }
                Err(error) => error,
            };
            if start.elapsed() >= self.patience {
                return Err(format!(
                    "its scheduler was lost, and none has taken its place within {} s: {attempts} attempts, the last at {address} ({error}); its log in {} may say why; start a new cluster",
                    self.patience.as_secs(),
                    self.file.with_extension("").display()
                ));
            }
        }
    }
}
