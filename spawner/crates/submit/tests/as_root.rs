//! What really happens to a process: needs root and an account of a person, and says so where it lacks them.
//!
//! The configuration's path is fixed in the program, so the tests call the library from a process of their own:
//! this very test program, asked to run `in_a_process_of_its_own` only.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::unistd::{Uid, chown, getuid};

/// Notes who it is, what it was given, and what it read.
const COMMAND: &str = "#!/bin/sh\n\
    out=$(dirname \"$0\")/out; { echo \"id=$(id -u):$(id -g):$(id -G)\"; echo \"arguments=$*\"; echo \"folder=$(pwd)\";\n\
    echo \"umask=$(umask)\"; echo \"files=$(readlink /proc/$$/fd/* | tr '\\n' ' ')\"; echo \"stdin=$(cat)\"; env | sed 's/^/env:/'; } > $out/note\n\
    echo 7.head; exit ${CODE:-0}\n";

struct World {
    folder: tempfile::TempDir,
    user: nix::unistd::User,
}

/// Stands in where a machine, such as a fresh container, has no account of a person.
const INVENTED: &str = "nunatester:x:23456:23456::/nonexistent:/bin/sh";

/// A person's account, if this is root: one of this machine, else an invented one that only the program under test
/// sees, in a mount namespace of its own (see [`run`]).
fn person() -> Option<nix::unistd::User> {
    if !getuid().is_root() {
        eprintln!("skipped: only root can become somebody else");
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let found = accounts
        .lines()
        .filter_map(|line| nix::unistd::User::from_name(line.split(':').next()?).ok().flatten())
        .find(|user| (1000..60_000).contains(&user.uid.as_raw()) && user.gid.as_raw() != 0);
    Some(found.unwrap_or_else(|| nix::unistd::User {
        name: "nunatester".to_owned(),
        passwd: c"x".to_owned(),
        uid: 23_456.into(),
        gid: 23_456.into(),
        gecos: c"".to_owned(),
        dir: "/nonexistent".into(),
        shell: "/bin/sh".into(),
    }))
}

/// The program under test: on a machine without the account, where `/etc/passwd` has it.
fn program(user_is_known: bool) -> Command {
    let own = std::env::current_exe().unwrap();
    if user_is_known {
        return Command::new(own);
    }
    let script = format!(
        "accounts=$(mktemp) && cat /etc/passwd > $accounts && echo '{INVENTED}' >> $accounts && \
         chmod 644 $accounts && mount --bind $accounts /etc/passwd && rm -f $accounts && exec \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(own);
    command
}

impl World {
    fn new() -> Option<Self> {
        let world = Self { user: person()?, folder: tempfile::tempdir().unwrap() };
        std::fs::set_permissions(world.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(world.path("out")).unwrap();
        std::fs::set_permissions(world.path("out"), std::fs::Permissions::from_mode(0o777)).unwrap();
        for name in ["qsub", "qdel"] {
            std::fs::write(world.path(name), COMMAND).unwrap();
            std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        world.configure("[environment]\nPBS_CONF_FILE = '/etc/pbs.conf'\n");
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, more: &str) {
        let folder = self.folder.path().display();
        let text = format!("qsub = '{folder}/qsub'\nqdel = '{folder}/qdel'\n{more}");
        std::fs::write(self.path("submit.toml"), text).unwrap();
        std::fs::set_permissions(self.path("submit.toml"), std::fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn run(&self, arguments: &[&str], stdin: &str) -> Output {
        run(&self.path("submit.toml"), arguments, stdin)
    }

    fn note(&self) -> HashMap<String, String> {
        let text = std::fs::read_to_string(self.path("out/note")).unwrap();
        text.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

fn run(config: &Path, arguments: &[&str], stdin: &str) -> Output {
    let known = arguments.first().is_none_or(|name| *name != "nunatester")
        || nix::unistd::User::from_name("nunatester").is_ok_and(|user| user.is_some());
    let mut child = program(known)
        .args(["--exact", "in_a_process_of_its_own", "--ignored", "--nocapture"])
        .env("NUNA_TEST_CONFIG", config)
        .env("NUNA_TEST_ARGUMENTS", arguments.join("\n"))
        .env("LD_PRELOAD_NOT", "reaches nobody")
        .env("SERVICE_SECRET", "reaches nobody")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "the other tests start this one as a process"]
fn in_a_process_of_its_own() {
    let config = std::env::var("NUNA_TEST_CONFIG").unwrap();
    let words = std::env::var("NUNA_TEST_ARGUMENTS").unwrap();
    let arguments: Vec<_> = words.split('\n').map(Into::into).collect();
    // A file that the command must not inherit, though it was left open for it.
    let leaked = std::fs::File::open("/etc/passwd").unwrap();
    nix::fcntl::fcntl(&leaked, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let error = nuna_submit::run(Path::new(&config), &arguments);
    eprintln!("nuna-submit: {error}");
    std::process::exit(nuna_submit::EXIT_REFUSED.into());
}

#[test]
fn the_command_runs_as_the_user_and_with_nothing_of_the_caller() {
    let Some(world) = World::new() else { return };
    let script = "#PBS -N a\necho \"it's\" $HOME\n";
    let output = world.run(&[&world.user.name, "qsub", "-f"], script);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("7.head\n"));
    let note = world.note();
    let (uid, gid) = (world.user.uid, world.user.gid);
    assert!(note["id"].starts_with(&format!("{uid}:{gid}:")), "{}", note["id"]);
    assert!(!note["id"].split([':', ' ']).any(|id| id == "0"), "no group of root: {}", note["id"]);
    assert_eq!(note["arguments"], "-f");
    assert_eq!(note["stdin"], "#PBS -N a");
    assert_eq!(note["umask"], "0077");
    let home = &world.user.dir;
    let folder = if home.is_dir() { home.clone() } else { "/".into() };
    assert_eq!(note["folder"], folder.display().to_string());
    // The shell opens files of its own; what the caller left open is not among them.
    assert!(note["files"].contains("out/note"), "{}", note["files"]);
    assert!(!note["files"].contains("/etc/passwd"), "{}", note["files"]);
    let mut names: Vec<&str> = note.keys().filter_map(|key| key.strip_prefix("env:")).collect();
    names.retain(|name| !["_", "SHLVL", "OLDPWD"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LANG", "LOGNAME", "PATH", "PBS_CONF_FILE", "PWD", "SHELL", "USER"]);
    assert_eq!(note["env:HOME"], home.display().to_string());
}

#[test]
fn deleting_passes_ids_and_exit_codes() {
    let Some(world) = World::new() else { return };
    world.configure("[environment]\nCODE = '35'\n");
    let output = world.run(&[&world.user.name, "qdel", "7.head", "8[].head"], "");
    assert_eq!(output.status.code(), Some(35), "{}", stderr(&output));
    assert_eq!(world.note()["arguments"], "7.head 8[].head");
}

#[test]
fn who_is_no_person_is_refused() {
    let Some(world) = World::new() else { return };
    for (user, words) in [
        ("root", "uid 0"),
        ("daemon", "system accounts submit no jobs"),
        ("nobody", "system accounts submit no jobs"),
        ("no-such-person", "there is no user"),
        ("a;id", "is not a user name"),
    ] {
        let output = world.run(&[user, "qsub"], "true");
        assert_eq!(output.status.code(), Some(i32::from(nuna_submit::EXIT_REFUSED)), "{user}");
        assert!(
            stderr(&output).contains("nuna-submit: ") && stderr(&output).contains(words),
            "{}",
            stderr(&output)
        );
    }
    world.configure("groups = ['no-such-group-here']\n");
    let output = world.run(&[&world.user.name, "qsub"], "true");
    assert!(stderr(&output).contains("is in none of the groups"), "{}", stderr(&output));
    assert!(!world.path("out/note").exists(), "nothing ran");
}

#[test]
fn what_others_can_write_is_not_trusted() {
    let Some(world) = World::new() else { return };
    let refused = |what: &str| {
        let output = world.run(&[&world.user.name, "qsub"], "true");
        assert_eq!(output.status.code(), Some(i32::from(nuna_submit::EXIT_REFUSED)), "{what}");
        assert!(stderr(&output).contains("others could change"), "{what}: {}", stderr(&output));
    };
    let mode = |name: &str, mode: u32| {
        std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let owner = |name: &str, uid: Uid| chown(&world.path(name), Some(uid), None).unwrap();
    mode("submit.toml", 0o666);
    refused("a configuration anybody can write");
    mode("submit.toml", 0o644);
    owner("submit.toml", world.user.uid);
    refused("a configuration of the user");
    owner("submit.toml", Uid::from_raw(0));
    mode("qsub", 0o777);
    refused("a command anybody can write");
    mode("qsub", 0o755);
    owner("qsub", world.user.uid);
    refused("a command of the user");
    owner("qsub", Uid::from_raw(0));
    mode(".", 0o777);
    refused("a folder anybody can write");
    mode(".", 0o755);
    // A link that leads to a file of the user.
    std::fs::rename(world.path("qsub"), world.path("out/qsub")).unwrap();
    std::os::unix::fs::symlink("out/qsub", world.path("qsub")).unwrap();
    refused("a link into a folder anybody can write");
    assert!(!world.path("out/note").exists(), "nothing ran");
}

#[test]
fn a_command_that_hangs_ends_itself() {
    let Some(world) = World::new() else { return };
    std::fs::write(world.path("qsub"), "#!/bin/sh\nexec sleep 600\n").unwrap();
    world.configure("limit_seconds = 1\n");
    let output = world.run(&[&world.user.name, "qsub"], "true");
    assert_eq!(output.status.signal(), Some(14), "{}", stderr(&output));
}

#[test]
fn without_root_it_refuses() {
    let program = env!("CARGO_BIN_EXE_nuna-submit");
    let version = Command::new(program).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("nuna-submit "));
    let Some(user) = person() else { return };
    // The test program may lie where the user cannot read it, so a copy goes where they can.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("nuna-submit");
    std::fs::copy(program, &copy).unwrap();
    let linked = Command::new("ldd").arg(program).output().unwrap();
    for library in
        String::from_utf8_lossy(&linked.stdout).split_whitespace().filter(|word| word.contains("/libstd-"))
    {
        let library = Path::new(library);
        std::fs::copy(library, folder.path().join(library.file_name().unwrap())).unwrap();
    }
    let output = Command::new(&copy)
        .env("LD_LIBRARY_PATH", folder.path())
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw())
        .args(["alice", "qsub"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(stderr(&output).contains("must be started by root"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(i32::from(nuna_submit::EXIT_REFUSED)));
}
