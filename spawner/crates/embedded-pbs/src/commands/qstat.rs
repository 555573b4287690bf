//! `qstat` for jobs, queues and the server, `qselect`, `pbsnodes`.

use jiff::Timestamp;

use super::options::{Parsed, parse};
use super::{Failure, UNREACHABLE, ask, refused, unexpected};
use crate::attributes::Object;
use crate::error::Refusal;
use crate::protocol::{Answer, Filter, Request};
use crate::render;

const USAGE: &str = "\
usage:
qstat [-f] [-J] [-p] [-t] [-x] [-E] [-F format] [-D delim] [ job_identifier... | destination... ]
qstat [-a|-i|-r|-H] [-J] [-n [-1]] [-s] [-t] [-x] [-w] [-u user_list] [ job_identifier... | destination... ]
qstat -Q [-f] [-F format] [-D delim] [ destination... ]
qstat -B [-f] [-F format] [-D delim] [ server_name... ]
qstat --version";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Words,
    Json,
    Separated,
}

fn format(command: &str, value: Option<&str>) -> Result<Format, Failure> {
    match value {
        None | Some("default") => Ok(Format::Words),
        Some("json") => Ok(Format::Json),
        Some("dsv") => Ok(Format::Separated),
        Some(_) => Err(Failure::new(2, format!("{command}: invalid format option\n{USAGE}"))),
    }
}

fn objects(command: &str, request: Request) -> Result<(String, Vec<Object>, Vec<Refusal>), Failure> {
    match ask(command, request)? {
        Answer::Objects { server, objects, refusals } => Ok((server, objects, refusals)),
        Answer::Refused(refusal) => Err(refused(command, &refusal)),
        Answer::Done | Answer::Submitted { .. } => Err(unexpected(command)),
    }
}

/// Prints what the server refused; the exit code is the last one's.
fn report(command: &str, refusals: &[Refusal]) -> i32 {
    let mut code = 0;
    for refusal in refusals {
        let failure = refused(command, refusal);
        eprintln!("{}", failure.message);
        code = failure.code;
    }
    code
}

fn print_full(format: Format, server: &str, group: &str, heading: &str, objects: &[Object]) {
    match format {
        Format::Words => print!("{}", render::text(heading, objects)),
        Format::Separated => print!("{}", render::separated(heading, objects)),
        Format::Json => {
            print!("{}", render::json(server, Timestamp::now().as_second(), group, objects));
        }
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<i32, Failure> {
    let usage = || Failure::new(2, USAGE);
    let parsed = parse("fxHJtpwasnirEQBT1GMF:D:u:", arguments).map_err(|_| usage())?;
    let format = format("qstat", parsed.value('F'))?;
    let outcome = answer(&parsed, format);
    // PBS prints the head of its JSON even if it reaches no server.
    if outcome.as_ref().is_err_and(|failure| failure.code == UNREACHABLE)
        && parsed.has('f')
        && format == Format::Json
    {
        print_full(format, &super::server_name(), "Jobs", "", &[]);
    }
    outcome
}

fn answer(parsed: &Parsed, format: Format) -> Result<i32, Failure> {
    let full = parsed.has('f');
    if parsed.has('Q') {
        let (server, objects, refusals) =
            objects("qstat", Request::Queues { names: parsed.operands.clone() })?;
        if full {
            print_full(format, &server, "Queue", "Queue: ", &objects);
        } else {
            print!("{}", render::queue_table(&objects));
        }
        return Ok(report("qstat", &refusals));
    }
    if parsed.has('B') {
        let (server, objects, _) = objects("qstat", Request::Server)?;
        if full {
            print_full(format, &server, "Server", "Server: ", &objects);
        } else {
            objects.iter().for_each(|object| print!("{}", render::server_table(object)));
        }
        return Ok(0);
    }
    let filter = Filter {
        history: parsed.has('x') || parsed.has('H'),
        only_ended: parsed.has('H'),
        expand: parsed.has('t'),
        only_arrays: parsed.has('J'),
        users: parsed.value('u').map(users).unwrap_or_default(),
        states: if parsed.has('r') {
            "RESB".to_owned()
        } else if parsed.has('i') {
            "QHWT".to_owned()
        } else {
            String::new()
        },
        ..Filter::default()
    };
    let wide = "aunsirH".chars().any(|letter| parsed.has(letter));
    let (server, objects, refusals) =
        objects("qstat", Request::Status { ids: parsed.operands.clone(), filter })?;
    if full {
        print_full(format, &server, "Jobs", "Job Id: ", &objects);
    } else if wide {
        print!("{}", render::wide_table(&server, &objects, parsed.has('s'), parsed.has('n')));
    } else {
        print!("{}", render::job_table(&objects));
    }
    Ok(report("qstat", &refusals))
}

fn users(list: &str) -> Vec<String> {
    list.split(',').map(|user| user.split('@').next().unwrap_or(user).to_owned()).collect()
}

pub(crate) fn select(arguments: &[String]) -> Result<i32, Failure> {
    let usage = || {
        Failure::new(
            2,
            "usage:\n\tqselect [-N jobname] [-q queue] [-s states] [-u user_list] [-J] [-t] [-x] [-H]\n\tqselect --version",
        )
    };
    let parsed = parse("N:q:s:u:xHJtT", arguments).map_err(|_| usage())?;
    if !parsed.operands.is_empty() {
        return Err(usage());
    }
    let filter = Filter {
        history: parsed.has('x') || parsed.has('H'),
        only_ended: parsed.has('H'),
        users: parsed.value('u').map(users).unwrap_or_default(),
        queue: parsed.value('q').map(str::to_owned),
        states: parsed.value('s').unwrap_or_default().to_owned(),
        job_name: parsed.value('N').map(str::to_owned),
        expand: parsed.has('t') || parsed.has('T'),
        only_arrays: parsed.has('J'),
    };
    let (_, objects, refusals) = objects("qselect", Request::Status { ids: Vec::new(), filter })?;
    for object in &objects {
        println!("{}", object.name);
    }
    Ok(report("qselect", &refusals))
}

pub(crate) fn nodes(arguments: &[String]) -> Result<i32, Failure> {
    let usage = || {
        Failure::new(
            2,
            "usage:\n\tpbsnodes -a [-v] [-S] [-F format]\n\tpbsnodes [-v] [-F format] vnode...\n\tpbsnodes --version",
        )
    };
    let parsed = parse("avSjLlHF:D:s:", arguments).map_err(|_| usage())?;
    let format = format("pbsnodes", parsed.value('F'))?;
    if !parsed.has('a') && parsed.operands.is_empty() {
        return Err(usage());
    }
    let names = if parsed.has('a') { Vec::new() } else { parsed.operands.clone() };
    let (server, objects, refusals) = objects("pbsnodes", Request::Nodes { names })?;
    match format {
        Format::Json => print_full(format, &server, "nodes", "", &objects),
        Format::Separated => print_full(format, &server, "nodes", "Name=", &objects),
        Format::Words => print!("{}", render::text("", &objects).replace("\n    ", "\n     ")),
    }
    Ok(if report("pbsnodes", &refusals) == 0 { 0 } else { 1 })
}
