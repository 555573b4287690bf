//! The users file, and the passwords generated for users who have none.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::dn::Dn;
use crate::password;

pub(crate) const DEMO: &str = "\
# Users and groups of the embedded directory. A user without password_hash gets a generated
# password at first start; `nuna-directory hash-password` makes a hash for one of your own.
suffix = \"dc=nuna,dc=local\"

[[users]]
uid = \"alice\"
cn = \"Alice Liddell\"
mail = \"alice@nuna.local\"
uid_number = 2001
gid_number = 3000

[[users]]
uid = \"bob\"
cn = \"Bob Cratchit\"
mail = \"bob@nuna.local\"
uid_number = 2002
gid_number = 3000

[[users]]
uid = \"carol\"
cn = \"Carol Danvers\"
mail = \"carol@nuna.local\"
uid_number = 2003
gid_number = 3000

[[groups]]
cn = \"users\"
gid_number = 3000
members = [\"alice\", \"bob\", \"carol\"]

[[groups]]
cn = \"ocean\"
gid_number = 3001
members = [\"alice\", \"carol\"]

[[groups]]
cn = \"hub-admins\"
gid_number = 3002
members = [\"carol\"]
";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The naming context; people are below `ou=people`, groups below `ou=groups`.
    #[serde(default = "default_suffix")]
    pub(crate) suffix: String,
    /// Whether a client that has not signed in may search.
    #[serde(default)]
    pub(crate) anonymous_search: bool,
    /// Entries one search returns at most.
    #[serde(default = "default_size_limit")]
    pub(crate) size_limit: usize,
    #[serde(default)]
    pub(crate) users: Vec<UserSettings>,
    #[serde(default)]
    pub(crate) groups: Vec<GroupSettings>,
    /// Accounts of programs, such as the spawner's: `cn=NAME,ou=services,SUFFIX`.
    #[serde(default)]
    pub(crate) services: Vec<ServiceSettings>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserSettings {
    pub(crate) uid: String,
    pub(crate) cn: String,
    /// Family name; the last word of `cn` if absent.
    pub(crate) sn: Option<String>,
    pub(crate) mail: Option<String>,
    pub(crate) uid_number: u32,
    pub(crate) gid_number: u32,
    /// `/home/UID` if absent.
    pub(crate) home_directory: Option<String>,
    #[serde(default = "default_shell")]
    pub(crate) login_shell: String,
    pub(crate) password_hash: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupSettings {
    pub(crate) cn: String,
    pub(crate) gid_number: u32,
    #[serde(default)]
    pub(crate) members: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceSettings {
    pub(crate) cn: String,
    pub(crate) password_hash: Option<String>,
}

fn default_suffix() -> String {
    "dc=nuna,dc=local".to_owned()
}

fn default_size_limit() -> usize {
    1000
}

fn default_shell() -> String {
    "/bin/bash".to_owned()
}

impl Settings {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {} (--demo writes one with demo users)", path.display()))?;
        let settings: Self =
            toml::from_str(&text).with_context(|| format!("{} is not a valid users file", path.display()))?;
        settings.check().with_context(|| format!("{} is not a valid users file", path.display()))?;
        Ok(settings)
    }

    fn check(&self) -> anyhow::Result<()> {
        let suffix = Dn::parse(&self.suffix)
            .with_context(|| format!("suffix = {:?} is not a distinguished name", self.suffix))?;
        ensure!(!suffix.is_empty(), "suffix is empty");
        ensure!(self.size_limit > 0, "size_limit is 0: no search could return anything");
        let mut seen = BTreeMap::new();
        for (kind, name) in self
            .users
            .iter()
            .map(|user| ("user", &user.uid))
            .chain(self.groups.iter().map(|group| ("group", &group.cn)))
            .chain(self.services.iter().map(|service| ("service", &service.cn)))
        {
            ensure!(!name.trim().is_empty(), "a {kind} has no name");
            ensure!(
                seen.insert((kind, name.to_lowercase()), ()).is_none(),
                "{kind} {name} is declared twice"
            );
        }
        for group in &self.groups {
            for member in &group.members {
                ensure!(
                    self.users.iter().any(|user| user.uid == *member),
                    "group {} lists {member}, who is not among the users",
                    group.cn
                );
            }
        }
        for (name, hash) in self.accounts() {
            if let Some(hash) = hash {
                password::check_format(hash).with_context(|| format!("password_hash of {name}"))?;
            }
        }
        Ok(())
    }

    /// Everyone who can sign in, and the hash the file gives them.
    fn accounts(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let users = self.users.iter().map(|user| (user.uid.as_str(), user.password_hash.as_deref()));
        let services =
            self.services.iter().map(|service| (service.cn.as_str(), service.password_hash.as_deref()));
        users.chain(services)
    }
}

/// Hashes by account name. Accounts without one get a password at first start: the password goes to
/// `initial`, its hash beside the users file, both readable by this Unix account only.
pub(crate) fn complete_passwords(
    settings: &Settings,
    users_file: &Path,
    initial: &Path,
) -> anyhow::Result<BTreeMap<String, String>> {
    let kept_path = users_file.with_extension("hashes.json");
    let mut kept: BTreeMap<String, String> = read_map(&kept_path)?;
    let mut passwords: BTreeMap<String, String> = read_map(initial)?;
    let mut hashes = BTreeMap::new();
    let mut new = Vec::new();
    for (name, hash) in settings.accounts() {
        let hash = match (hash, kept.get(name)) {
            (Some(hash), _) => hash.to_owned(),
            (None, Some(hash)) => {
                password::check_format(hash).with_context(|| format!("{name} in {}", kept_path.display()))?;
                hash.clone()
            }
            (None, None) => {
                let generated = password::generate()?;
                let hash = password::hash(&generated)?;
                kept.insert(name.to_owned(), hash.clone());
                passwords.insert(name.to_owned(), generated);
                new.push(name);
                hash
            }
        };
        if hashes.insert(name.to_owned(), hash).is_some() {
            bail!("{name} is both a user and a service; give the service another name");
        }
    }
    if !new.is_empty() {
        // Passwords first: a hash without its password would lock the user out.
        write_private(initial, &serde_json::to_vec_pretty(&passwords)?)?;
        write_private(&kept_path, &serde_json::to_vec_pretty(&kept)?)?;
        tracing::info!(users = ?new, file = %initial.display(), "passwords generated");
    }
    Ok(hashes)
}

fn read_map(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Replaces `path` in one step, mode 0600.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let next = Path::new(&name);
    let _ = std::fs::remove_file(next);
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(next)
        .with_context(|| format!("cannot write {}", next.display()))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(next, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_file_is_valid_and_gets_lasting_passwords() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users.toml");
        write_private(&users, DEMO.as_bytes()).unwrap();
        let settings = Settings::read(&users).unwrap();
        let initial = folder.path().join("initial.json");
        let first = complete_passwords(&settings, &users, &initial).unwrap();
        let again = complete_passwords(&settings, &users, &initial).unwrap();
        assert_eq!(first, again);
        let passwords = read_map(&initial).unwrap();
        assert!(password::verify(&first["alice"], &passwords["alice"]));
        assert_ne!(passwords["alice"], passwords["bob"]);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str| toml::from_str::<Settings>(text).unwrap().check().unwrap_err();
        assert!(
            format!("{:#}", check("[[groups]]\ncn='g'\ngid_number=1\nmembers=['x']")).contains("lists x")
        );
        assert!(format!("{:#}", check("suffix='nonsense'")).contains("nonsense"));
        let user = "[[users]]\nuid='a'\ncn='A'\nuid_number=1\ngid_number=1\n";
        assert!(
            format!("{:#}", check(&format!("{user}password_hash='plain'"))).contains("password_hash of a")
        );
        assert!(format!("{:#}", check(&format!("{user}{user}"))).contains("declared twice"));
    }
}
