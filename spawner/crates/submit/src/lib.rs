//! Becomes a user and runs `qsub` or `qdel`, or Slurm's `sbatch` or `scancel`, for them.
//!
//! The spawner service may call this as root, through sudo, and nothing else. So this program trusts nobody: not the
//! service (which may be taken over), not its arguments, environment or open files. It decides three things — which
//! user, which of four programs, which few arguments — and everything else is fixed or comes from a file that only
//! root can write. What a job contains is the user's own matter: the script arrives on standard input and runs as
//! that user.
#![forbid(unsafe_code)]

mod config;
mod identity;
mod request;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{alarm, geteuid};

pub use config::{Config, ConfigError};
pub use identity::{IdentityError, Person};
pub use request::{Request, RequestError, Verb};

/// Fixed, so that no argument or variable can name another.
pub const CONFIG_PATH: &str = "/etc/nuna/submit.toml";
/// Exit code for everything that is not the command's own.
pub const EXIT_REFUSED: u8 = 125;

pub const USAGE: &str = "\
Runs a command of PBS or Slurm as a user. To be called through sudo by the spawner service.

usage: nuna-submit USER qsub [-f]              the job script is read from standard input
       nuna-submit USER qdel JOB_ID...
       nuna-submit USER sbatch [--parsable]    the same for Slurm
       nuna-submit USER scancel JOB_ID...

/etc/nuna/submit.toml, which only root may write, names the commands, of PBS or of Slurm:
    qsub = \"/opt/pbs/bin/qsub\"
    qdel = \"/opt/pbs/bin/qdel\"
    sbatch = \"/usr/bin/sbatch\"
    scancel = \"/usr/bin/scancel\"
and may set uid_min, limit_seconds, groups and [environment].";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this program must be started by root, through sudo; it runs as user {uid}")]
    NotRoot { uid: u32 },
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("cannot run {program}: {reason}")]
    NotRun { program: String, reason: std::io::Error },
}

/// Becomes the command. Returns only if that failed.
pub fn run(config: &Path, arguments: &[OsString]) -> Error {
    match prepare(config, arguments) {
        Ok((program, mut command)) => Error::NotRun { program, reason: command.exec() },
        Err(error) => error,
    }
}

fn prepare(config: &Path, arguments: &[OsString]) -> Result<(String, Command), Error> {
    if !geteuid().is_root() {
        return Err(Error::NotRoot { uid: geteuid().as_raw() });
    }
    let request = Request::parse(arguments)?;
    let config = Config::read(config)?;
    let program = config.program(request.verb.word())?;
    let person = Person::find(&request.user, &config)?;

    identity::close_inherited_files()?;
    // A user's files are nobody else's business, and neither is a core of a program that was root.
    umask(Mode::from_bits_truncate(0o077));
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    person.become_them()?;
    // Below this line there is no way back to root. `no_new_privs` would be one lock more, but PBS's own
    // commands prove who calls them through a set-uid program (pbs_iff).
    let folder = person.enter_home();

    // The service cannot kill what sudo runs as somebody else, so a hanging command ends itself.
    alarm::set(config.limit_seconds);
    let mut command = Command::new(&program);
    command
        .arg0(request.verb.word())
        .args(&request.arguments)
        .env_clear()
        .envs(&config.environment)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", &person.home)
        .env("USER", &person.name)
        .env("LOGNAME", &person.name)
        .env("SHELL", &person.shell)
        .env("PWD", folder)
        .env("LANG", "C.UTF-8");
    Ok((program.display().to_string(), command))
}
