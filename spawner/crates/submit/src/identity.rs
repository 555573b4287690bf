//! Who a user name is, and how to become them for good.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use nix::unistd::{
    Gid, Group, Uid, User, chdir, close, getgrouplist, getgroups, getresgid, getresuid, setgroups, setresgid,
    setresuid, setuid,
};

use crate::Config;

/// `nobody` on most systems: not a person.
const UID_NOBODY: u32 = 65534;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub uid: Uid,
    pub gid: Gid,
    pub home: PathBuf,
    pub shell: PathBuf,
    /// All groups, `gid` included.
    pub groups: Vec<Gid>,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("looking up {what} failed: {reason}")]
    Lookup { what: String, reason: nix::Error },
    #[error("there is no user {name} on this machine; does its directory service answer?")]
    Unknown { name: String },
    #[error("user {name} has uid {uid}, below {uid_min}: system accounts submit no jobs")]
    System { name: String, uid: u32, uid_min: u32 },
    #[error("user {name} has the group of root")]
    RootGroup { name: String },
    #[error("user {name} is in none of the groups that may submit: {groups}")]
    NotInGroup { name: String, groups: String },
    #[error("cannot become user {name}: {reason}")]
    NotBecome { name: String, reason: String },
    #[error("cannot close inherited files: {0}")]
    Files(std::io::Error),
}

impl Person {
    /// Asks the system (`getpwnam`, so LDAP and sssd count), and refuses who is not a person.
    pub fn find(name: &str, config: &Config) -> Result<Self, IdentityError> {
        let lookup = |reason| IdentityError::Lookup { what: format!("user {name}"), reason };
        let user = User::from_name(name)
            .map_err(lookup)?
            // A directory that ignores case would give somebody else's spelling.
            .filter(|user| user.name == name)
            .ok_or_else(|| IdentityError::Unknown { name: name.to_owned() })?;
        let c_name = CString::new(name).map_err(|_| IdentityError::Unknown { name: name.to_owned() })?;
        let groups = getgrouplist(&c_name, user.gid).map_err(lookup)?;
        let person =
            Self { name: user.name, uid: user.uid, gid: user.gid, home: user.dir, shell: user.shell, groups };
        person.check(config.uid_min)?;
        person.check_groups(&config.groups)?;
        Ok(person)
    }

    fn check(&self, uid_min: u32) -> Result<(), IdentityError> {
        let uid = self.uid.as_raw();
        if uid < uid_min || uid == UID_NOBODY {
            return Err(IdentityError::System { name: self.name.clone(), uid, uid_min });
        }
        if self.gid.as_raw() == 0 || self.groups.iter().any(|group| group.as_raw() == 0) {
            return Err(IdentityError::RootGroup { name: self.name.clone() });
        }
        Ok(())
    }

    fn check_groups(&self, wanted: &[String]) -> Result<(), IdentityError> {
        if wanted.is_empty() {
            return Ok(());
        }
        for name in wanted {
            let group = Group::from_name(name)
                .map_err(|reason| IdentityError::Lookup { what: format!("group {name}"), reason })?;
            if group.is_some_and(|group| self.groups.contains(&group.gid)) {
                return Ok(());
            }
        }
        Err(IdentityError::NotInGroup { name: self.name.clone(), groups: wanted.join(", ") })
    }

    /// Groups first, since only root may set them; then a look whether it really happened.
    pub fn become_them(&self) -> Result<(), IdentityError> {
        let failed = |reason: String| IdentityError::NotBecome { name: self.name.clone(), reason };
        setgroups(&self.groups).map_err(|error| failed(format!("setgroups: {error}")))?;
        setresgid(self.gid, self.gid, self.gid).map_err(|error| failed(format!("setresgid: {error}")))?;
        setresuid(self.uid, self.uid, self.uid).map_err(|error| failed(format!("setresuid: {error}")))?;
        let uids = getresuid().map_err(|error| failed(error.to_string()))?;
        let gids = getresgid().map_err(|error| failed(error.to_string()))?;
        let is_uid = [uids.real, uids.effective, uids.saved].iter().all(|uid| *uid == self.uid);
        let is_gid = [gids.real, gids.effective, gids.saved].iter().all(|gid| *gid == self.gid);
        let mut groups = getgroups().map_err(|error| failed(error.to_string()))?;
        let mut wanted = self.groups.clone();
        for list in [&mut groups, &mut wanted] {
            list.sort_unstable_by_key(|group| group.as_raw());
            list.dedup();
        }
        if !is_uid || !is_gid || groups != wanted || setuid(Uid::from_raw(0)).is_ok() {
            return Err(failed("the change did not hold".to_owned()));
        }
        Ok(())
    }

    /// The home folder as the user sees it, or `/` where homes are not mounted.
    pub fn enter_home(&self) -> &Path {
        let root = Path::new("/");
        match chdir(&self.home) {
            Ok(()) => &self.home,
            Err(_) => {
                // Whoever may not even enter `/` stays where sudo started us, and qsub says so.
                let _ = chdir(root);
                root
            }
        }
    }
}

/// Whatever the caller left open beyond the three standard streams.
pub(crate) fn close_inherited_files() -> Result<(), IdentityError> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .map_err(IdentityError::Files)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in open {
        // One of them was the list itself, closed meanwhile.
        let _ = close(number);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(uid: u32, gid: u32, groups: &[u32]) -> Person {
        Person {
            name: "x".to_owned(),
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            home: PathBuf::from("/home/x"),
            shell: PathBuf::from("/bin/sh"),
            groups: groups.iter().map(|group| Gid::from_raw(*group)).collect(),
        }
    }

    #[test]
    fn only_people_pass() {
        assert!(person(1000, 1000, &[1000, 27]).check(1000).is_ok());
        for (uid, gid, groups) in [
            (0, 0, &[0][..]),
            (999, 1000, &[1000]),
            (1000, 0, &[0]),
            (1000, 1000, &[1000, 0]),
            (65534, 65534, &[]),
        ] {
            assert!(person(uid, gid, groups).check(1000).is_err(), "{uid} {gid} {groups:?}");
        }
        assert!(person(1500, 1500, &[]).check(2000).is_err());
    }

    #[test]
    fn root_and_strangers_are_refused_by_name() {
        let config: Config = toml::from_str("qsub = '/a'\nqdel = '/b'").unwrap();
        let error = Person::find("root", &config).unwrap_err();
        assert!(error.to_string().contains("uid 0"), "{error}");
        let error = Person::find("no-such-person-here", &config).unwrap_err();
        assert!(error.to_string().contains("there is no user"), "{error}");
    }

    #[test]
    fn groups_that_may_submit_are_asked_of_the_system() {
        let root = person(1000, 1000, &[0]);
        assert!(root.check_groups(&["no-such-group-here".to_owned(), "root".to_owned()]).is_ok());
        assert!(person(1000, 1000, &[1000]).check_groups(&["root".to_owned()]).is_err());
    }
}
