//! What a configuration needs of the machine: files that nobody else changes or reads, room on the disk, names that lead where
//! they should, clocks that agree, accounts.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use nix::unistd::{User, geteuid};
use nuna_pbs::UserName;

use super::Report;
use crate::config::{Config, RunAsSettings};

/// Less, and the journal may soon take no changes.
const ROOM_MIN: u64 = 100 << 20;
/// Clocks that differ by more tell people wrong times.
const CLOCKS_MAX: u64 = 60;
const RESOLVE_MAX: Duration = Duration::from_secs(5);
/// Accounts below belong to the system.
const UID_MIN: u32 = 1000;

pub(super) fn files(path: &Path, config: &Config, report: &mut Report<'_>) {
    let mut named: Vec<(&str, PathBuf)> = vec![("configuration", path.to_owned())];
    named.extend(config.templates.job.clone().map(|path| ("templates.job", path)));
    named.extend(config.templates.form.clone().map(|path| ("templates.form", path)));
    named.extend(config.directory.ca_file.clone().map(|path| ("directory.ca_file", path)));
    named.extend(config.batch.programs());
    if let RunAsSettings::Helper(argv) = &config.batch.run_as {
        named.extend(
            argv.iter()
                .map(PathBuf::from)
                .filter(|word| word.is_absolute())
                .map(|path| ("batch.run_as", path)),
        );
    }
    for (key, path) in &named {
        if let Some(why) = changed_by_others(path) {
            report.wrong(format_args!("{key}: {why}"));
        }
    }
    let secrets = [
        ("hub.api_token_file", &config.hub.api_token_file),
        ("directory.lookup_password_file", &config.directory.lookup_password_file),
    ];
    for (key, path) in secrets.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?))) {
        let Ok(metadata) = std::fs::metadata(path) else { continue };
        let why = changed_by_others(path);
        let is_own = metadata.uid() == geteuid().as_raw() || metadata.uid() == 0;
        match why {
            Some(why) => report.wrong(format_args!("{key}: {why}")),
            None if !is_own => report.wrong(format_args!(
                "{key}: {} belongs to the account {}; chown it to the service's own, which alone may read it",
                path.display(),
                metadata.uid()
            )),
            None if metadata.mode() & 0o040 != 0 => report.notice(format_args!(
                "{key}: {} can be read by its group ({}); chmod 0600 unless that is meant",
                path.display(),
                metadata.gid()
            )),
            None => report.good(format_args!("{key}: {} is closed to others", path.display())),
        }
    }
    if let Ok(found) = statvfs(&config.state.folder) {
        let room = found.blocks_available().saturating_mul(found.fragment_size());
        if room < ROOM_MIN {
            report.wrong(format_args!(
                "state.folder: {} MB are left on its disk, and without room no servers are started",
                room >> 20
            ));
        }
    }
}

/// Why a file that the service believes could be somebody else's.
fn changed_by_others(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    if metadata.mode() & 0o002 != 0 {
        return Some(format!(
            "{} can be changed by everybody (mode {:o}); chmod o-w",
            path.display(),
            metadata.mode() & 0o7777
        ));
    }
    let folder = path.parent()?;
    let above = std::fs::metadata(folder).ok()?;
    // In a sticky folder like /tmp others cannot replace it.
    (above.mode() & 0o002 != 0 && above.mode() & 0o1000 == 0).then(|| {
        format!(
            "everybody can put another file in the place of {} (mode {:o} of its folder); chmod o-w {}",
            path.display(),
            above.mode() & 0o7777,
            folder.display()
        )
    })
}

/// The name that compute nodes are told, both ways.
pub(super) async fn names(config: &Config, report: &mut Report<'_>) {
    let Some(host) = config.nodes.url.parse::<http::Uri>().ok().and_then(|url| url.host().map(str::to_owned))
    else {
        return;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::time::timeout(RESOLVE_MAX, tokio::net::lookup_host((bare, 0))).await;
    let addresses: Vec<IpAddr> = match found {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(error)) => {
            report.wrong(format_args!("nodes.url: {host} has no address here ({error}); mend DNS or /etc/hosts, here and on the nodes"));
            return;
        }
        Err(_) => {
            report.wrong(format_args!(
                "nodes.url: no name server said within {} s where {host} is",
                RESOLVE_MAX.as_secs()
            ));
            return;
        }
    };
    let Some(address) = addresses.first() else {
        report.wrong(format_args!(
            "nodes.url: {host} has no address; mend DNS or /etc/hosts, here and on the nodes"
        ));
        return;
    };
    if !addresses.iter().any(|address| std::net::UdpSocket::bind((*address, 0)).is_ok()) {
        report.notice(format_args!(
            "nodes.url: {host} is {address}, which is no address of this machine; right only behind address translation"
        ));
        return;
    }
    match reverse(*address).await {
        _ if bare.parse::<IpAddr>().is_ok() => report.good(format_args!("nodes.url: {host} is this machine's")),
        Some(names) if names.iter().any(|name| is_same_host(name, bare)) => {
            report.good(format_args!("nodes.url: {host} is {address}, and {address} is {host}"));
        }
        Some(names) => report.notice(format_args!(
            "nodes.url: {host} is {address}, and {address} is {}; PBS and sudo compare names in both ways",
            names.join(", ")
        )),
        None => report.notice(format_args!(
            "nodes.url: {host} is {address}, which has no name; PBS and sudo look for one, mend DNS or /etc/hosts"
        )),
    }
}

/// The names of an address, as this machine's own look-up has them.
async fn reverse(address: IpAddr) -> Option<Vec<String>> {
    let mut command = tokio::process::Command::new("getent");
    command.args(["hosts", &address.to_string()]).kill_on_drop(true).stdin(std::process::Stdio::null());
    let output = tokio::time::timeout(RESOLVE_MAX, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names: Vec<String> = text.lines().next()?.split_whitespace().skip(1).map(str::to_owned).collect();
    (output.status.success() && !names.is_empty()).then_some(names)
}

/// `hub` and `hub.example.org` are one.
fn is_same_host(one: &str, other: &str) -> bool {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    one.eq_ignore_ascii_case(other)
        || ((!one.contains('.') || !other.contains('.')) && short(one) == short(other))
}

/// Seconds after 1970, by the batch system and here.
pub(super) fn clock(theirs: i64, ours: i64) -> Result<String, String> {
    let apart = theirs.abs_diff(ours);
    if apart > CLOCKS_MAX {
        return Err(format!(
            "the batch system's clock is {apart} s {} this machine's; let both ask a time server",
            if theirs > ours { "ahead of" } else { "behind" }
        ));
    }
    Ok("the batch system's is as this machine's".to_owned())
}

/// The Unix account that jobs of somebody run under.
pub(super) fn account(user: &UserName) -> Result<String, String> {
    match User::from_name(user.as_str()) {
        Ok(Some(found)) if found.uid.as_raw() < UID_MIN => {
            Err(format!("{user} has uid {}, and nuna-submit refuses accounts below {UID_MIN}", found.uid))
        }
        Ok(Some(found)) => {
            Ok(format!("{user} is uid {} here, with the home {}", found.uid, found.dir.display()))
        }
        Ok(None) => {
            Err(format!("there is no account {user} on this machine; does sssd or nslcd ask the directory?"))
        }
        Err(error) => Err(format!("looking up the account {user} failed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_names_and_accounts_are_compared() {
        assert!(clock(1000, 1030).is_ok());
        assert!(clock(1000, 1100).unwrap_err().contains("100 s behind"));
        assert!(clock(i64::MAX, i64::MIN).unwrap_err().contains("ahead of"));
        assert!(is_same_host("hub", "HUB.example.org") && is_same_host("a.b", "A.B"));
        assert!(!is_same_host("hub.example.org", "hub.example.com") && !is_same_host("hub1", "hub2"));
        let account = |name: &str| account(&name.parse().unwrap());
        assert!(account("root").unwrap_err().contains("uid 0"));
        assert!(account("no-such-person").unwrap_err().contains("no account"));
    }

    #[test]
    fn files_that_others_can_change_are_named() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("spawner.toml");
        std::fs::write(&file, "").unwrap();
        let mode =
            |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        mode(&file, 0o644);
        assert_eq!(changed_by_others(&file), None);
        mode(&file, 0o666);
        assert!(changed_by_others(&file).unwrap().contains("changed by everybody"));
        mode(&file, 0o600);
        mode(folder.path(), 0o777);
        assert!(changed_by_others(&file).unwrap().contains("in the place of"));
        mode(folder.path(), 0o1777);
        assert_eq!(changed_by_others(&file), None);
        mode(folder.path(), 0o700);
    }
}
