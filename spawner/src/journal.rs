//! What survives a restart, in one redb file: user servers, the groups people had when they signed in, and the
//! name this service signs its jobs with. Codes are kept as hashes, environments sealed by them.
//!
//! People are in memory as well: every form and every start asks about one, and none should wait for the disk. One
//! thread writes. What came while it waited for the disk goes into its next commit, so that a hundred sign-ins at
//! once wait for the disk twice and not a hundred times.

use std::collections::HashMap;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;

use nuna_pbs::UserName;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::auth::Identity;
use crate::lifecycle::{ServerId, Spec, State};
use crate::secret::{SecretError, random_hex};

const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
const SERVERS: TableDefinition<&str, &[u8]> = TableDefinition::new("servers");
const USERS: TableDefinition<&str, &[u8]> = TableDefinition::new("users");

const FILE: &str = "spawner.redb";
const FORMAT: &str = "1";
/// Of the file, in memory. Without a limit the database would take a gigabyte in time.
const CACHE_BYTES: usize = 16 << 20;
/// Changes in one commit.
const TOGETHER_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error(
        "{} can be read or changed by other accounts (mode {mode:o}, owner {owner}); it holds the state of all users: \
         chmod 0700 and chown it to the service's account", path.display()
    )]
    NotPrivate { path: PathBuf, mode: u32, owner: u32 },
    #[error("{} is in use: another nuna-spawner runs with this state folder", path.display())]
    InUse { path: PathBuf },
    #[error("{} is of format {found}, and this version writes format {FORMAT}; use the version that wrote it", path.display())]
    OtherFormat { path: PathBuf, found: String },
    #[error(
        "{} is damaged or no journal: {source}; nothing was changed. Put back a copy of it. Without one, move the file away: \
         user servers that run are then unknown to this service and to the hub, and their jobs go on until their walltime \
         or `qdel`", path.display()
    )]
    Unreadable { path: PathBuf, source: redb::Error },
    #[error("the entry {key} cannot be read: {source}")]
    Damaged { key: String, source: serde_json::Error },
    #[error(transparent)]
    Database(#[from] redb::Error),
    #[error(transparent)]
    Random(#[from] SecretError),
    #[error("the thread that writes the journal cannot be started: {source}")]
    NoThread { source: std::io::Error },
    #[error("the thread that writes the journal has ended")]
    Ended,
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for JournalError {
            fn from(error: redb::$error) -> Self {
                Self::Database(error.into())
            }
        }
    )*};
}

from_redb!(TransactionError, TableError, StorageError, CommitError);

#[derive(Serialize, Deserialize)]
struct Record {
    spec: Spec,
    state: State,
}

/// Written together or not at all.
#[derive(Debug, Default)]
pub struct Changes {
    pub records: Vec<(Spec, State)>,
    pub forgotten: Vec<ServerId>,
    pub people: Vec<Identity>,
    pub strangers: Vec<UserName>,
}

type People = RwLock<HashMap<UserName, Identity>>;

/// Many may have gone into the same commit, which failed for all of them.
type Written = Result<(), Arc<JournalError>>;

pub struct Journal {
    path: PathBuf,
    database: Arc<Database>,
    people: Arc<People>,
    instance: String,
    /// None while it ends.
    inbox: Option<mpsc::Sender<(Changes, oneshot::Sender<Written>)>>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Journal {
    /// What was handed over is written, and the file is closed.
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(writer) = self.writer.take() {
            // It has told everybody who waits if it failed.
            let _ = writer.join();
        }
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Journal({})", self.instance)
    }
}

/// Creates `folder` if it is missing, for this account alone; an existing one must be as private.
pub fn private_folder(folder: &Path) -> Result<(), JournalError> {
    let io = |source| JournalError::Io { path: folder.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(io(source)),
    }
    let metadata = std::fs::metadata(folder).map_err(io)?;
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    if mode & 0o077 != 0 || owner != nix::unistd::geteuid().as_raw() {
        return Err(JournalError::NotPrivate { path: folder.to_owned(), mode, owner });
    }
    Ok(())
}

impl Journal {
    pub fn open(folder: &Path) -> Result<Self, JournalError> {
        private_folder(folder)?;
        let path = folder.join(FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| JournalError::Io { path: path.clone(), source })?;
        let database = match Database::builder().set_cache_size(CACHE_BYTES).create_file(file) {
            Ok(database) => database,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(JournalError::InUse { path }),
            Err(error) => return Err(JournalError::Unreadable { path, source: error.into() }),
        };
        let transaction = database.begin_write()?;
        let instance = {
            transaction.open_table(SERVERS)?;
            transaction.open_table(USERS)?;
            let mut meta = transaction.open_table(META)?;
            let format = meta.get("format")?.map(|value| value.value().to_owned());
            match format {
                Some(found) if found != FORMAT => return Err(JournalError::OtherFormat { path, found }),
                Some(_) => {}
                None => {
                    meta.insert("format", FORMAT)?;
                    meta.insert("instance", random_hex::<2>()?.as_str())?;
                }
            }
            let instance = meta.get("instance")?.map(|value| value.value().to_owned());
            instance.unwrap_or_default()
        };
        transaction.commit()?;
        let people = Arc::new(RwLock::new(people(&database)?));
        let database = Arc::new(database);
        let (inbox, changes) = mpsc::channel::<(Changes, oneshot::Sender<Written>)>();
        let (own, known) = (database.clone(), people.clone());
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                while let Ok(first) = changes.recv() {
                    let together: Vec<_> =
                        std::iter::once(first).chain(changes.try_iter().take(TOGETHER_MAX)).collect();
                    let outcome = commit(&own, together.iter().map(|(changes, _)| changes)).map_err(Arc::new);
                    for (changes, waiting) in together {
                        if outcome.is_ok() {
                            learn(&known, changes);
                        }
                        // Who asked may have gone.
                        let _ = waiting.send(outcome.clone());
                    }
                }
            })
            .map_err(|source| JournalError::NoThread { source })?;
        Ok(Self { path, database, people, instance, inbox: Some(inbox), writer: Some(writer) })
    }

    /// Size of its file.
    pub fn bytes(&self) -> Option<u64> {
        std::fs::metadata(&self.path).ok().map(|metadata| metadata.len())
    }

    /// What the names of all jobs of this service begin with. PBS may show 15 letters of a name.
    pub fn tag_prefix(&self) -> String {
        format!("nuna-{}", self.instance)
    }

    /// Returns once the changes are on disk. Those of one caller are written in its order.
    pub async fn apply(&self, changes: Changes) -> Written {
        let (sender, written) = oneshot::channel();
        let ended = || Arc::new(JournalError::Ended);
        self.inbox.as_ref().ok_or_else(ended)?.send((changes, sender)).map_err(|_| ended())?;
        written.await.map_err(|_| ended())?
    }

    pub fn servers(&self) -> Result<Vec<(Spec, State)>, JournalError> {
        let table = self.database.begin_read()?.open_table(SERVERS)?;
        let mut records = Vec::new();
        for entry in table.iter()? {
            let (key, value) = entry?;
            let record: Record = serde_json::from_slice(value.value())
                .map_err(|source| JournalError::Damaged { key: key.value().to_owned(), source })?;
            records.push((record.spec, record.state));
        }
        Ok(records)
    }

    /// Writes nothing, and waits for no disk, if nothing is new: most sign-ins are of people who have been here.
    pub async fn remember_user(&self, identity: &Identity) -> Written {
        if self.user(&identity.name).as_ref() == Some(identity) {
            return Ok(());
        }
        self.apply(Changes { people: vec![identity.clone()], ..Changes::default() }).await
    }

    /// Writes nothing if nobody of that name is known.
    pub async fn forget_user(&self, name: &UserName) -> Written {
        if self.user(name).is_none() {
            return Ok(());
        }
        self.apply(Changes { strangers: vec![name.clone()], ..Changes::default() }).await
    }

    /// What was remembered last of somebody.
    pub fn user(&self, name: &UserName) -> Option<Identity> {
        self.people.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// Who cannot be read is somebody who has not signed in yet.
fn people(database: &Database) -> Result<HashMap<UserName, Identity>, JournalError> {
    let table = database.begin_read()?.open_table(USERS)?;
    let mut people = HashMap::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        match serde_json::from_slice::<Identity>(value.value()) {
            Ok(identity) => {
                people.insert(identity.name.clone(), identity);
            }
            Err(error) => {
                tracing::warn!("what the journal knows of the user {} cannot be read: {error}", key.value());
            }
        }
    }
    Ok(people)
}

fn learn(known: &People, changes: Changes) {
    if changes.people.is_empty() && changes.strangers.is_empty() {
        return;
    }
    let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
    for identity in changes.people {
        known.insert(identity.name.clone(), identity);
    }
    for name in &changes.strangers {
        known.remove(name);
    }
}

fn commit<'a>(database: &Database, changes: impl Iterator<Item = &'a Changes>) -> Result<(), JournalError> {
    fn json(key: &str, value: &impl Serialize) -> Result<Vec<u8>, JournalError> {
        serde_json::to_vec(value).map_err(|source| JournalError::Damaged { key: key.to_owned(), source })
    }
    let transaction = database.begin_write()?;
    {
        let mut servers = transaction.open_table(SERVERS)?;
        let mut users = transaction.open_table(USERS)?;
        for changes in changes {
            for (spec, state) in &changes.records {
                let key = spec.id.as_str();
                let record = Record { spec: spec.clone(), state: state.clone() };
                servers.insert(key, json(key, &record)?.as_slice())?;
            }
            for id in &changes.forgotten {
                servers.remove(id.as_str())?;
            }
            for identity in &changes.people {
                let key = identity.name.as_str();
                users.insert(key, json(key, identity)?.as_slice())?;
            }
            for name in &changes.strangers {
                users.remove(name.as_str())?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(number: usize) -> Identity {
        Identity {
            name: format!("u{number}").parse().unwrap(),
            groups: vec![number.to_string()],
            admin: false,
        }
    }

    #[tokio::test]
    async fn what_many_wrote_at_once_is_all_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let journal = Journal::open(&path).unwrap();
        let people: Vec<Identity> = (0..600).map(identity).collect();
        let written =
            futures::future::join_all(people.iter().map(|identity| journal.remember_user(identity))).await;
        assert!(written.iter().all(Result::is_ok), "{written:?}");
        assert_eq!(journal.user(&people[7].name).as_ref(), Some(&people[7]));
        journal.forget_user(&people[7].name).await.unwrap();
        journal.forget_user(&"nobody".parse().unwrap()).await.unwrap();
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        for (number, identity) in people.iter().enumerate() {
            assert_eq!(
                journal.user(&identity.name).as_ref(),
                Some(identity).filter(|_| number != 7),
                "{number}"
            );
        }
    }

    #[tokio::test]
    async fn changes_of_one_caller_are_written_in_order_and_nobody_need_wait_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let journal = Journal::open(&path).unwrap();
        for admin in [false, true, false, true] {
            let changed = Identity { admin, ..identity(1) };
            // Who asked has gone.
            let mut written =
                Box::pin(journal.apply(Changes { people: vec![changed], ..Changes::default() }));
            assert!(futures::poll!(&mut written).is_pending());
        }
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        assert!(journal.user(&identity(1).name).unwrap().admin);
    }

    fn file(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    #[test]
    fn a_damaged_journal_is_refused_in_words_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        drop(Journal::open(&state).unwrap());
        let whole = std::fs::read(file(&state)).unwrap();
        let mut garbled = whole.clone();
        garbled[..64].fill(b'x');
        for bytes in [b"not a journal".repeat(1000), garbled, whole[..whole.len() / 2].to_vec()] {
            std::fs::write(file(&state), &bytes).unwrap();
            let error = Journal::open(&state).unwrap_err();
            let words = error.to_string();
            assert!(matches!(error, JournalError::Unreadable { .. }), "{words}");
            assert!(words.contains("spawner.redb") && words.contains("Put back a copy"), "{words}");
            assert_eq!(std::fs::read(file(&state)).unwrap(), bytes, "somebody may mend it yet");
        }
        // What the words say to do helps.
        std::fs::write(file(&state), &whole).unwrap();
        assert!(Journal::open(&state).unwrap().servers().unwrap().is_empty());
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("state")).unwrap();
        let transaction = journal.database.begin_write().unwrap();
        transaction.open_table(SERVERS).unwrap().insert("0af3", b"{\"spec\":".as_slice()).unwrap();
        transaction.commit().unwrap();
        assert!(journal.servers().unwrap_err().to_string().contains("0af3"));
    }

    #[test]
    fn a_journal_that_is_lost_begins_anew_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut names = std::collections::BTreeSet::new();
        for _ in 0..4 {
            names.insert(Journal::open(&state).unwrap().tag_prefix());
            std::fs::remove_file(file(&state)).unwrap();
        }
        assert!(names.len() > 1, "jobs of a former life are not taken for orphans: {names:?}");
    }
}
