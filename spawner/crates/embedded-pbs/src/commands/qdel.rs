//! `qdel`, `qhold` and `qrls`: one request per job id; the exit code is the last trouble's.

use super::options::{Parsed, parse};
use super::{Failure, ask, refused, unexpected};
use crate::protocol::{Answer, Request};

/// PBS's error 15007.
const EXIT_NOT_ALLOWED: i32 = 159;

pub(crate) fn delete(arguments: &[String]) -> Result<i32, Failure> {
    let parsed = read("qdel", "xW:", arguments)?;
    let force = match parsed.value('W') {
        None => false,
        Some("force") => true,
        // Mail is not sent here, so limiting it changes nothing.
        Some(value) if value.starts_with("suppress_email=") => false,
        Some(_) => return Err(usage("qdel")),
    };
    let forget = parsed.has('x');
    for_each("qdel", &parsed, |id| Request::Delete { id, force, forget })
}

pub(crate) fn hold(arguments: &[String]) -> Result<i32, Failure> {
    let parsed = read("qhold", "h:", arguments)?;
    only_user_holds("qhold", &parsed)?;
    for_each("qhold", &parsed, |id| Request::Hold { id })
}

pub(crate) fn release(arguments: &[String]) -> Result<i32, Failure> {
    let parsed = read("qrls", "h:", arguments)?;
    only_user_holds("qrls", &parsed)?;
    for_each("qrls", &parsed, |id| Request::Release { id })
}

/// Holds of an operator (`o`), of the system (`s`) or for a bad password (`p`) are not a user's to set, and there
/// is nobody else here.
fn only_user_holds(command: &str, parsed: &Parsed) -> Result<(), Failure> {
    match parsed.value('h') {
        None | Some("u") => Ok(()),
        Some(list) if !list.is_empty() && list.chars().all(|letter| "uosp".contains(letter)) => {
            let ids = parsed.operands.join(" ");
            Err(Failure::new(EXIT_NOT_ALLOWED, format!("{command}: Unauthorized Request  {ids}")))
        }
        Some(_) => Err(Failure::new(2, format!("{command}: illegal -h value"))),
    }
}

fn read(command: &str, letters: &str, arguments: &[String]) -> Result<Parsed, Failure> {
    let parsed = parse(letters, arguments).map_err(|_| usage(command))?;
    if parsed.operands.is_empty() { Err(usage(command)) } else { Ok(parsed) }
}

fn usage(command: &str) -> Failure {
    let options = match command {
        "qdel" => "[-W force|suppress_email=X] [-x] ",
        _ => "[-h hold_list] ",
    };
    Failure::new(2, format!("usage:\n\t{command} {options}job_identifier...\n\t{command} --version"))
}

fn for_each(command: &str, parsed: &Parsed, request: impl Fn(String) -> Request) -> Result<i32, Failure> {
    let mut code = 0;
    for id in &parsed.operands {
        if !id.starts_with(|first: char| first.is_ascii_digit()) {
            eprintln!("{command}: illegally formed job identifier: {id}");
            code = 1;
            continue;
        }
        match ask(command, request(id.clone()))? {
            Answer::Done => {}
            Answer::Refused(refusal) => {
                let failure = refused(command, &refusal);
                eprintln!("{}", failure.message);
                code = failure.code;
            }
            Answer::Submitted { .. } | Answer::Objects { .. } => return Err(unexpected(command)),
        }
    }
    Ok(code)
}
