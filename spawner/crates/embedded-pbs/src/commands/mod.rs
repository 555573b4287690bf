//! The commands: parse arguments as PBS does, ask the server, print as PBS prints, exit as PBS exits.

mod options;
mod qdel;
mod qstat;
mod qsub;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::batch::PBS_VERSION;
use crate::error::Refusal;
use crate::protocol::{ANSWER_SECONDS_MAX, Answer, Call, Request, state_folder};
use crate::server::unix_user;

/// Names this program answers to.
pub(crate) const NAMES: [&str; 7] = ["qsub", "qstat", "qdel", "qselect", "qhold", "qrls", "pbsnodes"];

/// An answer holds at most this many bytes: 10,000 jobs with large variable lists.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// Exit code of commands that ask, if they reach no server.
const UNREACHABLE: i32 = 255;

/// Why a command ends early: what goes to standard error, and the exit code.
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: i32,
}

impl Failure {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { message: message.into(), code }
    }
}

/// Runs `name`; the result is the exit code.
pub(crate) fn run(name: &str, arguments: &[String]) -> i32 {
    if arguments.first().is_some_and(|first| first == "--version") {
        println!("pbs_version = {PBS_VERSION}");
        return 0;
    }
    let outcome = match name {
        "qsub" => qsub::run(arguments),
        "qdel" => qdel::delete(arguments),
        "qhold" => qdel::hold(arguments),
        "qrls" => qdel::release(arguments),
        "qselect" => qstat::select(arguments),
        "pbsnodes" => qstat::nodes(arguments),
        _ => qstat::run(arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("{}", failure.message);
            }
            failure.code
        }
    }
}

/// The name jobs are submitted under: a demo label, else the Unix account.
fn user() -> String {
    std::env::var("NUNA_PBS_USER").ok().filter(|name| !name.is_empty()).unwrap_or_else(unix_user)
}

/// The server that is meant, as far as a command knows that reaches none.
fn server_name() -> String {
    std::env::var("PBS_SERVER").unwrap_or_else(|_| crate::server::this_host())
}

/// Asks the server. `command` words the failure as PBS words an unreachable server.
fn ask(command: &str, request: Request) -> Result<Answer, Failure> {
    let socket = state_folder().join("socket");
    let unreachable = |error: &std::io::Error| {
        let host = server_name();
        let reason = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "Connection refused".to_owned(),
            _ => format!(
                "{}: {error} (is `nuna-pbs server` running, and does NUNA_PBS_DIR name its state folder?)",
                socket.display()
            ),
        };
        let code = if command == "qstat" || command == "pbsnodes" { UNREACHABLE } else { 162 };
        Failure::new(code, format!("{reason}\n{command}: cannot connect to server {host} (errno=15010)"))
    };
    let mut stream = UnixStream::connect(&socket).map_err(|error| unreachable(&error))?;
    let limit = Some(Duration::from_secs(ANSWER_SECONDS_MAX));
    stream
        .set_read_timeout(limit)
        .and_then(|()| stream.set_write_timeout(limit))
        .map_err(|error| unreachable(&error))?;
    let call = Call { user: user(), request };
    let mut line = serde_json::to_vec(&call)
        .map_err(|error| Failure::new(1, format!("{command}: cannot write the request: {error}")))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(|error| unreachable(&error))?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX))
        .read_until(b'\n', &mut answer)
        .map_err(|error| unreachable(&error))?;
    serde_json::from_slice(&answer).map_err(|error| {
        Failure::new(
            1,
            format!("{command}: the server closed the connection without a full answer ({error})"),
        )
    })
}

/// A refusal in the command's words.
fn refused(command: &str, refusal: &Refusal) -> Failure {
    Failure::new(refusal.exit_code(), format!("{command}: {}", refusal.message))
}

fn unexpected(command: &str) -> Failure {
    Failure::new(1, format!("{command}: the server gave an answer to another question (versions differ?)"))
}
