//! The way from the service's account to a person's through the system's own `sudo`, with the line that the play writes.
//!
//! Accounts, sudoers and the helper's configuration are in a copy of `/etc` that only processes of these tests see, in a mount
//! namespace of theirs. Needs root, and `sudo` from the system's packages; says so where it lacks them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const SUDO: &str = "/usr/bin/sudo";
/// Name and number: the service, two people, and an account that is no person's.
const ACCOUNTS: [(&str, u32); 4] =
    [("nunaservice", 989), ("nunaalice", 23_456), ("nunabob", 23_457), ("nunasystem", 988)];
/// Stands for `qsub` and `qdel`: tells who runs it, with what.
const COMMAND: &str = "#!/bin/sh\necho \"ran $(basename \"$0\") as $(id -un):$(id -u):$(id -G) with $*, given $(cat | tr '\\n' '|')\"\nenv\n";

struct Room {
    folder: tempfile::TempDir,
}

/// Nothing, and a line that says why, where the machine cannot have one; a panic where `CI` is set.
fn room() -> Option<Room> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if status.lines().any(|line| line.starts_with("NoNewPrivs:") && line.ends_with('1')) {
        // Not a matter of what is installed.
        eprintln!("skipped: sudo can do nothing here, since no process may gain rights (no_new_privs)");
        return None;
    }
    let why = if !nix::unistd::getuid().is_root() {
        "only root can make accounts"
    } else if !Path::new(SUDO).exists() {
        "there is no sudo: apt-get install sudo"
    } else {
        return Some(Room::new());
    };
    assert!(std::env::var_os("CI").is_none_or(|value| value.is_empty()), "CI is set, and {why}");
    eprintln!("skipped: {why}");
    None
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn add(path: &Path, lines: &str) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, text + lines).unwrap();
}

impl Room {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("nuna-sudo-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let room = Self { folder };
        let copied = Command::new("cp").args(["-a", "/etc"]).arg(room.path("etc")).status().unwrap();
        assert!(copied.success());
        for (name, id) in ACCOUNTS {
            add(&room.path("etc/passwd"), &format!("{name}:x:{id}:{id}::/nonexistent:/bin/sh\n"));
            add(&room.path("etc/group"), &format!("{name}:x:{id}:\n"));
            add(&room.path("etc/shadow"), &format!("{name}:*:19000:0:99999:7:::\n"));
        }
        // sudo looks it up each time.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        add(&room.path("etc/hosts"), &format!("127.0.0.1 {host}\n"));
        std::fs::copy(env!("CARGO_BIN_EXE_nuna-submit"), room.helper()).unwrap();
        for name in ["qsub", "qdel"] {
            write(&room.path(name), COMMAND, 0o755);
        }
        std::fs::create_dir_all(room.path("etc/nuna")).unwrap();
        let folder = room.folder.path().display();
        let commands = format!("qsub = '{folder}/qsub'\nqdel = '{folder}/qdel'\n");
        write(&room.path("etc/nuna/submit.toml"), &commands, 0o644);
        let template =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../../ansible/roles/spawner/templates/sudoers.j2");
        let line = std::fs::read_to_string(template)
            .unwrap()
            .replace("{{ nuna_submit_program }}", room.helper().to_str().unwrap())
            .replace("{{ nuna_user }}", "nunaservice");
        assert!(!line.contains("{{"), "{line}");
        write(&room.path("etc/sudoers.d/nuna"), &line, 0o440);
        let checked = room.run("root", &["/usr/sbin/visudo", "-c"], "", &[]);
        assert!(checked.status.success(), "{checked:?}");
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn helper(&self) -> PathBuf {
        self.path("nuna-submit")
    }

    /// Runs a command as an account.
    fn run(&self, account: &str, command: &[&str], input: &str, environment: &[(&str, &str)]) -> Output {
        let script = "mount --make-rprivate / && mount --bind \"$1\" /etc && shift && exec \"$@\"";
        let etc = self.path("etc");
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh", etc.to_str().unwrap()])
            .args(["setpriv", "--reuid", account, "--regid", account, "--init-groups"])
            .args(command)
            .envs(environment.iter().copied())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What the service runs, as it runs it.
    fn submit(&self, words: &[&str], input: &str) -> Output {
        self.submit_with(words, input, &[])
    }

    fn submit_with(&self, words: &[&str], input: &str, environment: &[(&str, &str)]) -> Output {
        let helper = self.helper();
        let command = [&[SUDO, "-n", helper.to_str().unwrap()], words].concat();
        self.run("nunaservice", &command, input, environment)
    }
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_service_submits_and_deletes_as_the_person_and_brings_nothing_along() {
    let Some(room) = room() else { return };
    let environment = [
        ("PBS_CONF_FILE", "/tmp/evil.conf"),
        ("PBS_DEFAULT", "evil.example.org"),
        ("BASH_ENV", "/tmp/evil"),
        ("LD_LIBRARY_PATH", "/tmp/evil"),
        ("PATH", "/tmp/evil:/usr/bin:/bin:/usr/sbin"),
        ("SUDO_ASKPASS", "/tmp/evil"),
        ("SERVICE_SECRET", "reaches-nobody"),
    ];
    for (name, id) in &ACCOUNTS[1..3] {
        let output = room.submit_with(&[name, "qsub"], "#PBS -N one\n", &environment);
        let (out, err) = printed(&output);
        assert!(output.status.success(), "{out}{err}");
        assert!(out.contains(&format!("ran qsub as {name}:{id}:{id} with , given #PBS -N one|")), "{out}");
        for secret in ["evil", "reaches-nobody", "SUDO_"] {
            assert!(!out.contains(secret), "{secret} in {out}");
        }
        let output = room.submit(&[name, "qdel", "7.head", "8.head"], "");
        let (out, err) = printed(&output);
        assert!(out.contains(&format!("ran qdel as {name}:{id}:{id} with 7.head 8.head")), "{out}{err}");
    }
}

#[test]
fn sudo_lets_nobody_else_and_nothing_else_through() {
    let Some(room) = room() else { return };
    let helper = room.helper();
    let helper = helper.to_str().unwrap();
    let copy = room.path("nuna-submit-copy");
    std::fs::copy(helper, &copy).unwrap();
    let copy = copy.to_str().unwrap();
    for (account, command) in [
        ("nunaservice", &["/bin/sh", "-c", "id"][..]),
        ("nunaservice", &[copy, "nunaalice", "qsub"]),
        ("nunaservice", &["-u", "nunabob", "/usr/bin/id"]),
        ("nunaservice", &["-u", "nunabob", helper, "nunabob", "qsub"]),
        ("nunaservice", &["PBS_CONF_FILE=/tmp/evil", helper, "nunaalice", "qsub"]),
        ("nunaservice", &["-E", helper, "nunaalice", "qsub"]),
        ("nunaservice", &["-s"]),
        ("nunaservice", &["-e", "/etc/nuna/submit.toml"]),
        ("nunaalice", &[helper, "nunaalice", "qsub"]),
        ("nunabob", &[helper, "nunaalice", "qdel", "7.head"]),
    ] {
        let output = room.run(account, &[&[SUDO, "-n"], command].concat(), "true", &[]);
        let (out, err) = printed(&output);
        assert!(!output.status.success(), "{account} {command:?}: {out}{err}");
        assert!(!out.contains("ran ") && !out.contains("uid="), "{account} {command:?}: {out}");
        assert!(err.contains("sudo: "), "it is sudo that refuses {account} {command:?}: {err}");
    }
}

#[test]
fn the_helper_refuses_what_is_no_person_s_job() {
    let Some(room) = room() else { return };
    for (words, why) in [
        (&["root", "qsub"][..], "uid 0"),
        (&["nunasystem", "qsub"], "system accounts submit no jobs"),
        (&["nunaservice", "qsub"], "system accounts submit no jobs"),
        (&["nunanobody", "qsub"], "there is no user"),
        (&["nunaalice;id", "qsub"], "is not a user name"),
        (&["-i", "qsub"], "is not a user name"),
        (&["nunaalice", "sh"], ""),
        (&["nunaalice", "/bin/sh"], ""),
        (&["nunaalice", "../qsub"], ""),
        (&["nunaalice", "qsub", "-W", "block=true"], ""),
        (&["nunaalice", "qsub", "-S/bin/evil"], ""),
        (&["nunaalice", "qsub", "script.sh"], ""),
        (&["nunaalice", "qdel"], ""),
        (&["nunaalice", "qdel", "-x", "7"], ""),
        (&["nunaalice", "qdel", "7;id"], ""),
        (&["nunaalice", "qdel", "$(id)"], ""),
        (&["nunaalice", "qdel", "7 8"], ""),
        (&["nunaalice"], ""),
        (&[], ""),
    ] {
        let output = room.submit(words, "true");
        let (out, err) = printed(&output);
        assert_eq!(output.status.code(), Some(i32::from(nuna_submit::EXIT_REFUSED)), "{words:?}: {out}{err}");
        assert!(err.contains("nuna-submit: ") && err.contains(why), "{words:?}: {err}");
        assert!(!out.contains("ran "), "{words:?}: {out}");
    }
}
