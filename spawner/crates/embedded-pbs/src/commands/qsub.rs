//! `qsub`: options from the command line and from `#PBS` lines, the script from a file or standard input.

use std::io::Read;
use std::path::Path;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use nuna_pbs::Indices;

use super::options::{Parsed, parse, words};
use super::{Failure, ask, refused, unexpected};
use crate::job::PROJECT_DEFAULT;
use crate::protocol::{Answer, Request, Submission};
use crate::server::this_host;

const LETTERS: &str = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:Xz";
const JOB_NAME_LENGTH_MAX: usize = 230;
/// A script is at most this long.
const SCRIPT_BYTES_MAX: u64 = 4 << 20;

const USAGE: &str = "\
usage: qsub [-a date_time] [-A account_string] [-c interval]
\t[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
\t[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
\t[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
\t[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
\t[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version";

fn illegal(letter: char) -> Failure {
    Failure::new(2, format!("qsub: illegal -{letter} value\n{USAGE}"))
}

pub(crate) fn run(arguments: &[String]) -> Result<i32, Failure> {
    let line = parse(LETTERS, arguments).map_err(|_| Failure::new(2, USAGE))?;
    let as_command = line.has('-');
    let (script, default_name) = match (as_command, line.operands.as_slice()) {
        (true, command) if !command.is_empty() => (command_script(command), base_name(&command[0])),
        (_, [path]) => (read_script(path)?, base_name(path)),
        (_, []) => (read_limited(std::io::stdin(), "standard input")?, "STDIN".to_owned()),
        (_, [_, ..]) => return Err(Failure::new(2, USAGE)),
    };
    let mut submission = Submission {
        name: default_name,
        join: "n".to_owned(),
        keep: "n".to_owned(),
        mail_points: "a".to_owned(),
        rerunable: true,
        host: this_host(),
        home: std::env::var("HOME").unwrap_or_else(|_| "/".to_owned()),
        folder: working_folder()?,
        arguments: typed(arguments, &line),
        ..Submission::default()
    };
    let mut user_variables = Vec::new();
    // The command line wins over the script, so it is applied last.
    if !as_command {
        let prefix = line.value('C').unwrap_or("#PBS").to_owned();
        for directive in directives(&String::from_utf8_lossy(&script), &prefix) {
            let parsed = parse(LETTERS, &directive).map_err(|letter| {
                Failure::new(
                    2,
                    format!("qsub: directive error: {} (option -{letter})\n{USAGE}", directive.join(" ")),
                )
            })?;
            apply(&parsed, &mut submission, &mut user_variables)?;
        }
    }
    apply(&line, &mut submission, &mut user_variables)?;
    if submission.array.is_some() && !submission.rerunable {
        return Err(Failure::new(1, "qsub:  cannot submit non-rerunable Array Job"));
    }
    submission.script = script;
    submission.variables = variables(&submission.folder, user_variables);
    let quiet = line.has('z');
    match ask("qsub", Request::Submit(Box::new(submission)))? {
        Answer::Submitted { id } => {
            if !quiet {
                println!("{id}");
            }
            Ok(0)
        }
        Answer::Refused(refusal) => Err(refused("qsub", &refusal)),
        Answer::Done | Answer::Objects { .. } => Err(unexpected("qsub")),
    }
}

/// The shell's idea of where it is keeps symbolic links, as PBS does.
fn working_folder() -> Result<String, Failure> {
    let real = std::env::current_dir()
        .map_err(|error| Failure::new(1, format!("qsub: cannot tell the current folder: {error}")))?;
    let logical = std::env::var("PWD").ok().filter(|path| {
        std::fs::canonicalize(path)
            .is_ok_and(|path| std::fs::canonicalize(&real).is_ok_and(|real| path == real))
    });
    Ok(logical.unwrap_or_else(|| real.to_string_lossy().into_owned()))
}

fn base_name(path: &str) -> String {
    let name = Path::new(path)
        .file_name()
        .map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned());
    name.chars().take(JOB_NAME_LENGTH_MAX).collect()
}

/// What the user typed, without the script's name.
fn typed(arguments: &[String], line: &Parsed) -> String {
    let count = arguments.len() - if line.has('-') { 0 } else { line.operands.len() };
    arguments[..count].join(" ")
}

fn command_script(command: &[String]) -> Vec<u8> {
    let quoted: Vec<String> =
        command.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    format!("#!/bin/sh\nexec {}\n", quoted.join(" ")).into_bytes()
}

fn read_script(path: &str) -> Result<Vec<u8>, Failure> {
    let file = std::fs::File::open(path).map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "No such file or directory".to_owned(),
            std::io::ErrorKind::PermissionDenied => "Permission denied".to_owned(),
            _ => error.to_string(),
        };
        Failure::new(1, format!("qsub: script file:: {reason}"))
    })?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Failure::new(1, format!("qsub: script not a file: {path}")));
    }
    read_limited(file, path)
}

fn read_limited(source: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    source
        .take(SCRIPT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(1, format!("qsub: cannot read {name}: {error}")))?;
    if bytes.len() as u64 > SCRIPT_BYTES_MAX {
        return Err(Failure::new(1, format!("qsub: {name} is longer than {SCRIPT_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// The `#PBS` lines before the first command.
fn directives(script: &str, prefix: &str) -> Vec<Vec<String>> {
    script
        .lines()
        .map(str::trim_start)
        .take_while(|line| {
            line.is_empty() || line.starts_with('#') || line.starts_with(prefix) || line.starts_with(':')
        })
        .filter_map(|line| line.strip_prefix(prefix))
        .filter(|rest| rest.starts_with(char::is_whitespace))
        .map(|rest| {
            let mut found = words(rest);
            if let Some(comment) = found.iter().position(|word| word.starts_with('#')) {
                found.truncate(comment);
            }
            found
        })
        .filter(|words| !words.is_empty())
        .collect()
}

fn apply(
    parsed: &Parsed,
    submission: &mut Submission,
    variables: &mut Vec<(String, String)>,
) -> Result<(), Failure> {
    for (letter, value) in &parsed.options {
        let value = value.clone().unwrap_or_default();
        match letter {
            'a' => submission.execution_time_s = Some(date(&value).ok_or_else(|| illegal('a'))?),
            'A' => submission.account = Some(value),
            'e' => submission.error_path = Some(value),
            'o' => submission.output_path = Some(value),
            'h' => submission.hold = true,
            'j' => match value.as_str() {
                "oe" | "eo" | "n" => submission.join = value,
                _ => return Err(illegal('j')),
            },
            'k' => {
                if value.is_empty() || !(value == "n" || value.chars().all(|letter| "oed".contains(letter))) {
                    return Err(illegal('k'));
                }
                submission.keep = value;
            }
            'l' => {
                for item in split_resources(&value) {
                    let (name, value) = item.split_once('=').ok_or_else(|| illegal('l'))?;
                    submission.resources.retain(|(other, _)| other != name);
                    submission.resources.push((name.trim().to_owned(), value.trim().to_owned()));
                }
            }
            'm' => submission.mail_points = value,
            'N' => {
                if value.len() > JOB_NAME_LENGTH_MAX {
                    return Err(Failure::new(2, "qsub: Job name is too long "));
                }
                let legal = |letter: char| letter.is_ascii_alphanumeric() || "-_.+".contains(letter);
                let first =
                    value.chars().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == '_');
                if !first || !value.chars().all(legal) {
                    return Err(illegal('N'));
                }
                submission.name = value;
            }
            'p' => {
                let priority: i32 = value.parse().map_err(|_| illegal('p'))?;
                if !(-1024..=1023).contains(&priority) {
                    return Err(illegal('p'));
                }
                submission.priority = priority;
            }
            'P' => submission.project = Some(value).filter(|project| project != PROJECT_DEFAULT),
            'q' => submission.queue = Some(value),
            'r' => match value.as_str() {
                "y" => submission.rerunable = true,
                "n" => submission.rerunable = false,
                _ => return Err(illegal('r')),
            },
            'S' => {
                if !value.starts_with('/') {
                    return Err(illegal('S'));
                }
                submission.shell = Some(value);
            }
            'v' => {
                for item in split_variables(&value) {
                    let pair = match item.split_once('=') {
                        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
                        None => std::env::var(&item).ok().map(|value| (item, value)),
                    };
                    push_variables(variables, pair);
                }
            }
            'V' => {
                let own = std::env::vars().filter(|(name, _)| {
                    !name.starts_with("PBS_")
                        && !name.starts_with("NUNA_PBS_")
                        && name != "_"
                        && name != "TMPDIR"
                });
                push_variables(variables, own);
            }
            'W' => other_attributes(&value, submission)?,
            'J' => {
                let (indices, most) = match value.split_once('%') {
                    Some((indices, most)) => {
                        let most = most.parse::<u32>().ok().filter(|most| *most > 0);
                        (indices, Some(most.ok_or_else(|| illegal('J'))?))
                    }
                    None => (value.as_str(), None),
                };
                // One range: a list of them is for `qdel` and `qstat`.
                let fine = !indices.contains(',')
                    && indices.contains('-')
                    && indices.parse::<Indices>().is_ok_and(|indices| !indices.is_empty());
                if !fine {
                    return Err(illegal('J'));
                }
                submission.array = Some((indices.to_owned(), most));
            }
            'I' | 'X' => {
                return Err(Failure::new(
                    2,
                    "qsub: interactive jobs (-I) are not offered by the embedded batch system: run the command in a terminal",
                ));
            }
            // Checkpoints, mail users, file removal and submitting as others mean nothing here.
            'c' | 'C' | 'f' | 'M' | 'R' | 'u' | 'z' | '-' => {}
            other => return Err(illegal(*other)),
        }
    }
    Ok(())
}

fn push_variables(variables: &mut Vec<(String, String)>, new: impl IntoIterator<Item = (String, String)>) {
    for (name, value) in new {
        variables.retain(|(other, _)| *other != name);
        variables.push((name, value));
    }
}

/// `-l walltime=1:00,place=scatter:excl`: commas separate, but only before `name=`.
fn split_resources(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for part in text.split(',') {
        match items.last_mut() {
            Some(last) if !part.contains('=') => {
                last.push(',');
                last.push_str(part);
            }
            _ => items.push(part.to_owned()),
        }
    }
    items
}

/// `-v A=1,B="x,y",C`: commas separate unless quoted or escaped.
fn split_variables(text: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut quote: Option<char> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '"' | '\'') => quote = Some(letter),
            (_, '\\') => item.extend(letters.next()),
            (None, ',') => items.push(std::mem::take(&mut item)),
            (Some(_) | None, _) => item.push(letter),
        }
    }
    items.push(item);
    items.retain(|item| !item.is_empty());
    items
}

fn other_attributes(text: &str, submission: &mut Submission) -> Result<(), Failure> {
    for item in text.split(',') {
        let (name, value) = item.split_once('=').ok_or_else(|| illegal('W'))?;
        match name {
            "umask" => {
                let mask = u32::from_str_radix(value, 8).ok().filter(|mask| *mask <= 0o777);
                submission.umask = Some(mask.ok_or_else(|| illegal('W'))?);
            }
            // One Unix account and one machine: groups and sandboxes are what they are.
            "group_list" | "sandbox" | "run_count" | "release_nodes_on_stageout" => {}
            other => {
                return Err(Failure::new(
                    2,
                    format!(
                        "qsub: -W {other} is not offered by the embedded batch system (it knows umask, group_list, sandbox)"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// `[[CC]YY]MMDDhhmm[.SS]` in local time; a date without a year is the next such date.
fn date(text: &str) -> Option<i64> {
    let (digits, seconds) = text.split_once('.').unwrap_or((text, "0"));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let now = jiff::Zoned::now();
    let (year, rest) = match digits.len() {
        12 => (digits[..4].parse::<i16>().ok()?, &digits[4..]),
        10 => (2000 + digits[..2].parse::<i16>().ok()?, &digits[2..]),
        8 => (now.year(), digits),
        _ => return None,
    };
    let two = |at: usize| rest[at..at + 2].parse::<i8>().ok();
    let civil = DateTime::new(year, two(0)?, two(2)?, two(4)?, two(6)?, seconds.parse().ok()?, 0).ok()?;
    Some(civil.to_zoned(TimeZone::system()).ok()?.timestamp().as_second())
}

/// `PBS_O_*` as PBS orders them, then the user's own.
fn variables(folder: &str, user_variables: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let own = |name: &str| std::env::var(name).ok();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            variables.push((name.to_owned(), value));
        }
    };
    let user = super::user();
    add("PBS_O_HOME", own("HOME"));
    add("PBS_O_LANG", own("LANG"));
    add("PBS_O_LOGNAME", Some(user.clone()));
    add("PBS_O_PATH", own("PATH"));
    add("PBS_O_MAIL", own("MAIL").or_else(|| Some(format!("/var/mail/{user}"))));
    add("PBS_O_SHELL", own("SHELL"));
    add("PBS_O_TZ", own("TZ"));
    add("PBS_O_INTERACTIVE_AUTH_METHOD", Some("resvport".to_owned()));
    add("PBS_O_INTERACTIVE_ENCRYPT_METHOD", Some(String::new()));
    add("PBS_O_WORKDIR", Some(folder.to_owned()));
    add("PBS_O_SYSTEM", Some("Linux".to_owned()));
    variables.extend(user_variables);
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_end_at_the_first_command() {
        let script = "#!/bin/bash\n# words\n#PBS -N one -l walltime=1:00\n\n#PBSx no\n#PBS -j oe # why\nsleep 1\n#PBS -N two\n";
        let found = directives(script, "#PBS");
        assert_eq!(found, [vec!["-N", "one", "-l", "walltime=1:00"], vec!["-j", "oe"]]);
    }

    #[test]
    fn commas_inside_values_stay() {
        assert_eq!(split_variables(r#"A=1,B="x,y",C=a\,b"#), ["A=1", "B=x,y", "C=a,b"]);
        assert_eq!(split_resources("walltime=1:00,place=group=host,ncpus=1").len(), 3);
    }

    #[test]
    fn commands_become_quoted_scripts() {
        let script = command_script(&["echo".to_owned(), "it's".to_owned()]);
        assert_eq!(script, b"#!/bin/sh\nexec 'echo' 'it'\\''s'\n");
    }
}
