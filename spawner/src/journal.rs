//! What survives a restart, in one redb file: user servers, the groups people had when they signed in, and the
//! name this service signs its jobs with. Codes are kept as hashes, environments sealed by them.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nuna_pbs::UserName;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::auth::Identity;
use crate::lifecycle::{ServerId, Spec, State};
use crate::secret::{SecretError, random_hex};

const META: TableDefinition<&str, &str> = TableDefinition::new("meta");
const SERVERS: TableDefinition<&str, &[u8]> = TableDefinition::new("servers");
const USERS: TableDefinition<&str, &[u8]> = TableDefinition::new("users");

const FILE: &str = "spawner.redb";
const FORMAT: &str = "1";

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
    #[error("the entry {key} cannot be read: {source}")]
    Damaged { key: String, source: serde_json::Error },
    #[error(transparent)]
    Database(#[from] redb::Error),
    #[error(transparent)]
    Random(#[from] SecretError),
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

/// One commit.
#[derive(Debug, Default)]
pub struct Changes {
    pub records: Vec<(Spec, State)>,
    pub forgotten: Vec<ServerId>,
}

pub struct Journal {
    path: PathBuf,
    database: Database,
    instance: String,
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
        let database = match Database::builder().create_file(file) {
            Ok(database) => database,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(JournalError::InUse { path }),
            Err(error) => return Err(JournalError::Database(error.into())),
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
        Ok(Self { path, database, instance })
    }

    /// Size of its file.
    pub fn bytes(&self) -> Option<u64> {
        std::fs::metadata(&self.path).ok().map(|metadata| metadata.len())
    }

    /// What the names of all jobs of this service begin with. PBS may show 15 letters of a name.
    pub fn tag_prefix(&self) -> String {
        format!("nuna-{}", self.instance)
    }

    pub fn apply(&self, changes: &Changes) -> Result<(), JournalError> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(SERVERS)?;
            for (spec, state) in &changes.records {
                let key = spec.id.to_string();
                let record = Record { spec: spec.clone(), state: state.clone() };
                let bytes = serde_json::to_vec(&record)
                    .map_err(|source| JournalError::Damaged { key: key.clone(), source })?;
                table.insert(key.as_str(), bytes.as_slice())?;
            }
            for id in &changes.forgotten {
                table.remove(id.as_str())?;
            }
        }
        transaction.commit()?;
        Ok(())
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

    pub fn remember_user(&self, identity: &Identity) -> Result<(), JournalError> {
        let key = identity.name.as_str();
        let bytes = serde_json::to_vec(identity)
            .map_err(|source| JournalError::Damaged { key: key.to_owned(), source })?;
        let transaction = self.database.begin_write()?;
        transaction.open_table(USERS)?.insert(key, bytes.as_slice())?;
        transaction.commit()?;
        Ok(())
    }

    /// Writes nothing if nobody of that name is known.
    pub fn forget_user(&self, name: &UserName) -> Result<(), JournalError> {
        if self.user(name.as_str())?.is_none() {
            return Ok(());
        }
        let transaction = self.database.begin_write()?;
        transaction.open_table(USERS)?.remove(name.as_str())?;
        transaction.commit()?;
        Ok(())
    }

    pub fn user(&self, name: &str) -> Result<Option<Identity>, JournalError> {
        let table = self.database.begin_read()?.open_table(USERS)?;
        let Some(value) = table.get(name)? else { return Ok(None) };
        let identity = serde_json::from_slice(value.value())
            .map_err(|source| JournalError::Damaged { key: name.to_owned(), source })?;
        Ok(Some(identity))
    }
}
