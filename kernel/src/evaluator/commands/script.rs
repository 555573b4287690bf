//! Owns which lines of a cell are commands and which are Rust: `:` commands as evcxr has them, `%` and `!` lines and `?`
//! as other kernels have them, and `//!` directives. No I/O.
//!
//! Rust wins: a line is a command only where the text before it is whole, so not within a string or a bracket.

use crate::evaluator::split;

/// What a cell is made of, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Command(Call),
    /// The cell's text up to here, with what is not Rust or was a step before as spaces, so that positions stay.
    Code {
        text: String,
        timed: Timed,
    },
}

/// Whether and how a piece of code is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timed {
    No,
    /// `%time`: once.
    Once,
    /// `%timeit`: often enough for a mean.
    Often,
}

/// A command as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `:word rest`
    Colon { word: String, rest: String },
    /// `%word rest`
    Line { word: String, rest: String },
    /// `%%word rest`, and the rest of the cell
    Whole { word: String, rest: String, body: String },
    /// `!command`
    Shell(String),
    /// `?name` or `name?`
    About(String),
}

/// What is known of the session that decides between Rust and a command.
pub(crate) trait Names {
    /// A variable or an item.
    fn has(&self, name: &str) -> bool;
    /// A variable on which `?` makes sense.
    fn can_fail(&self, name: &str) -> bool;
}

/// Lines that look like commands are tried so often; a cell of data that has more is Rust.
const CANDIDATES_MAX: usize = 100;

/// Takes a cell apart.
pub(crate) fn steps(text: &str, names: &dyn Names) -> Vec<Step> {
    if !text.lines().any(|line| candidate(line.trim_start())) {
        return vec![Step::Code { text: text.to_owned(), timed: Timed::No }];
    }
    let mut steps = Vec::new();
    // What is Rust so far and waits for its end.
    let mut code = String::with_capacity(text.len());
    let (mut at, mut tried) = (0, 0);
    while at < text.len() {
        let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1);
        let line = text[at..end].trim();
        if !candidate(line) || tried > CANDIDATES_MAX || split::split(&code).is_err() {
            tried += usize::from(candidate(line));
            code.push_str(&text[at..end]);
            at = end;
            continue;
        }
        tried += 1;
        let first = steps.is_empty() && is_blank(&code);
        if let Some(words) = line.strip_prefix("%%").filter(|_| first) {
            whole_cell(text, at, end, words, &code, &mut steps);
            return steps;
        }
        if let Some(words) = line.strip_prefix('%')
            && let (word, Some(timed)) = timing(words)
        {
            flush(&mut code, &mut steps);
            let rest = at + text[at..end].find(word).unwrap_or_default() + word.len();
            code.push_str(&blank(&text[at..rest]));
            code.push_str(&text[rest..end]);
            // A call may go on over lines.
            at = end;
            while at < text.len() && split::split(&code).is_err_and(|error| error.at_end) {
                let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1);
                code.push_str(&text[at..end]);
                at = end;
            }
            steps.push(Step::Code { text: code.clone(), timed });
            code = blank(&code);
            continue;
        }
        let end = whole_command(text, at, end);
        match call(text[at..end].trim(), names) {
            Some(call) => {
                flush(&mut code, &mut steps);
                code.push_str(&blank(&text[at..end]));
                steps.push(Step::Command(call));
            }
            None => code.push_str(&text[at..end]),
        }
        at = end;
    }
    flush(&mut code, &mut steps);
    steps
}

/// The cell with its commands as spaces, for whoever asks whether the Rust in it is whole.
pub fn without_commands(text: &str) -> String {
    struct Nothing;
    impl Names for Nothing {
        fn has(&self, _: &str) -> bool {
            false
        }

        fn can_fail(&self, _: &str) -> bool {
            false
        }
    }
    let steps = steps(text, &Nothing);
    steps
        .into_iter()
        .rev()
        .find_map(|step| match step {
            Step::Code { text, .. } => Some(text),
            Step::Command(_) => None,
        })
        .unwrap_or_default()
}

/// `//! opt = 3` lines at the top, taken out without moving the others.
pub(crate) fn directives(text: &str) -> (String, Option<u8>) {
    let mut level = None;
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.trim().strip_prefix("//!") {
            Some(directive) => {
                if let Some((key, value)) = directive.split_once('=')
                    && key.trim() == "opt"
                {
                    level = value.trim().parse().ok().filter(|level| *level <= 3);
                }
                out.push_str(&blank(line));
            }
            None => out.push_str(line),
        }
    }
    (out, level)
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// Whether there is neither code nor a directive that code would need.
fn is_blank(code: &str) -> bool {
    split::split(code).is_ok_and(|cell| cell.is_empty())
}

fn flush(code: &mut String, steps: &mut Vec<Step>) {
    if !is_blank(code) {
        steps.push(Step::Code { text: code.clone(), timed: Timed::No });
        *code = blank(code);
    }
}

/// Whether a line may be a command, by its first and last characters.
fn candidate(line: &str) -> bool {
    let mut characters = line.chars();
    match characters.next() {
        // `::path` is Rust.
        Some(':') => characters.next().is_some_and(char::is_alphabetic),
        Some('%') => characters.next().is_some_and(|c| c.is_alphabetic() || c == '%'),
        Some('!') => characters.next().is_some(),
        Some('?') => true,
        _ => line.strip_suffix('?').is_some_and(is_path),
    }
}

fn is_path(text: &str) -> bool {
    let name = text.trim_end_matches('?');
    !name.is_empty()
        && !name.starts_with(char::is_numeric)
        && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':')
}

fn split_word(words: &str) -> (&str, &str) {
    let (word, rest) = words.split_once(char::is_whitespace).unwrap_or((words, ""));
    (word, rest.trim())
}

fn timing(words: &str) -> (&str, Option<Timed>) {
    let (word, _) = split_word(words);
    let timed = match word {
        "time" => Some(Timed::Once),
        "timeit" => Some(Timed::Often),
        _ => None,
    };
    (word, timed)
}

fn whole_cell(text: &str, at: usize, end: usize, words: &str, code: &str, steps: &mut Vec<Step>) {
    let (word, rest) = split_word(words);
    match timing(words).1 {
        Some(timed) => {
            let mut all = format!("{code}{}", blank(&text[at..end]));
            if timed == Timed::Often {
                // One expression, whose braces take the place of the command.
                all.replace_range(code.len()..code.len() + 1, "{");
                all.push_str(&text[end..]);
                all.push_str("\n}");
            } else {
                all.push_str(&text[end..]);
            }
            steps.push(Step::Code { text: all, timed });
        }
        None => steps.push(Step::Command(Call::Whole {
            word: word.to_owned(),
            rest: rest.to_owned(),
            body: text[end..].to_owned(),
        })),
    }
}

/// Where a command ends: a shell's line goes on after `\`, a table of `:dep` to its last bracket.
fn whole_command(text: &str, at: usize, mut end: usize) -> usize {
    let begins = text[at..end].trim_start();
    let goes_on = |so_far: &str| match begins.chars().next() {
        Some('!') => so_far.trim_end().ends_with('\\'),
        Some(':') if begins.starts_with(":dep") => {
            let count = |brackets: [char; 2]| so_far.matches(brackets).count();
            count(['{', '[']) > count(['}', ']'])
        }
        _ => false,
    };
    while end < text.len() && goes_on(&text[at..end]) {
        end += text[end..].find('\n').map_or(text.len() - end, |newline| newline + 1);
    }
    end
}

fn call(line: &str, names: &dyn Names) -> Option<Call> {
    let owned = |words: &str| {
        let (word, rest) = split_word(words);
        (word.to_owned(), rest.to_owned())
    };
    if let Some(words) = line.strip_prefix(':') {
        let (word, rest) = owned(words);
        return Some(Call::Colon { word, rest });
    }
    if let Some(words) = line.strip_prefix('%') {
        let (word, rest) = owned(words.trim_start_matches('%'));
        return Some(Call::Line { word, rest });
    }
    if let Some(command) = line.strip_prefix('!') {
        return is_shell(command, names).then(|| Call::Shell(command.trim().to_owned()));
    }
    if let Some(name) = line.strip_prefix('?') {
        return Some(Call::About(name.trim_matches('?').trim().to_owned()));
    }
    let name = line.strip_suffix('?')?.trim_end_matches('?');
    (is_path(name) && !names.can_fail(name)).then(|| Call::About(name.to_owned()))
}

/// Whether `!command` is meant for a shell, and not a Rust expression with a "not" in front.
fn is_shell(command: &str, names: &dyn Names) -> bool {
    let command = command.trim();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word = &command[..command.find(|c| !is_word(c)).unwrap_or(command.len())];
    if word.is_empty() {
        return command.starts_with(['/', '~', '.', '$']) && !command.starts_with("..=");
    }
    let behind = &command[word.len()..];
    let is_rust = word.starts_with(char::is_numeric)
        || ["true", "false", "self", "matches", "cfg", "unsafe", "if", "match"].contains(&word)
        || names.has(word)
        || behind.starts_with('(')
        || behind.starts_with("::")
        || behind.starts_with("!(");
    !is_rust
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Session;

    impl Names for Session {
        fn has(&self, name: &str) -> bool {
            ["flag", "result"].contains(&name)
        }

        fn can_fail(&self, name: &str) -> bool {
            name == "result"
        }
    }

    fn of(text: &str) -> Vec<Step> {
        steps(text, &Session)
    }

    fn code(text: &str) -> Step {
        Step::Code { text: text.to_owned(), timed: Timed::No }
    }

    fn colon(word: &str, rest: &str) -> Step {
        Step::Command(Call::Colon { word: word.to_owned(), rest: rest.to_owned() })
    }

    #[test]
    fn commands_before_code_leave_it_where_it_was() {
        assert_eq!(
            of(":opt 2\n// words\n:dep a = \"1\"\nlet x = 1;\nx"),
            [
                colon("opt", "2"),
                colon("dep", "a = \"1\""),
                code("      \n// words\n            \nlet x = 1;\nx")
            ]
        );
    }

    #[test]
    fn code_between_commands_runs_between_them() {
        let all = of("let x = 1;\n!ls -l\nx + 1");
        assert_eq!(
            all,
            [
                code("let x = 1;\n"),
                Step::Command(Call::Shell("ls -l".to_owned())),
                code("          \n      \nx + 1")
            ]
        );
    }

    #[test]
    fn what_stands_in_a_string_or_bracket_is_rust() {
        for text in ["let s = \"\n:vars\n!ls\n\";", "f(\n!done,\n)", "a\n::b()", "let x = y\n!= z;"] {
            assert_eq!(of(text), [code(text)], "{text}");
        }
    }

    #[test]
    fn a_not_is_no_shell() {
        for text in [
            "!flag",
            "!true",
            "!matches!(a, 1)",
            "!is_it(1)",
            "!std::env::args()",
            "!0",
            "!(a && b)",
            "!flag.is_empty()",
        ] {
            assert_eq!(of(text), [code(text)], "{text}");
        }
        for text in ["ls", "ls -l | wc", "./run.sh", "/bin/true", "echo $HOME", "cat a.txt"] {
            assert_eq!(of(&format!("!{text}")), [Step::Command(Call::Shell(text.to_owned()))]);
        }
    }

    #[test]
    fn a_question_mark_asks_unless_it_can_fail() {
        let about = |name: &str| vec![Step::Command(Call::About(name.to_owned()))];
        assert_eq!(of("?flag"), about("flag"));
        assert_eq!(of("flag??"), about("flag"));
        assert_eq!(of("std::vec::Vec?"), about("std::vec::Vec"));
        assert_eq!(of("result?"), [code("result?")]);
        assert_eq!(of("f()?"), [code("f()?")]);
    }

    #[test]
    fn timed_code_keeps_its_columns_and_may_go_on() {
        let Step::Code { text, timed } = &of("%time f(1,\n  2)\nlet y = 1;")[0] else { panic!() };
        assert_eq!((text.as_str(), *timed), ("      f(1,\n  2)\n", Timed::Once));
        let Step::Code { text, timed } = &of("%%timeit\nlet y = 1;\ny + 1")[0] else { panic!() };
        assert_eq!((text.as_str(), *timed), ("{       \nlet y = 1;\ny + 1\n}", Timed::Often));
    }

    #[test]
    fn commands_may_take_several_lines() {
        assert_eq!(
            of(":dep a = { version = \"1\",\n features = [\"b\"] }")[0],
            colon("dep", "a = { version = \"1\",\n features = [\"b\"] }")
        );
        assert_eq!(of("!echo a \\\n b"), [Step::Command(Call::Shell("echo a \\\n b".to_owned()))]);
        let Step::Command(Call::Whole { word, body, .. }) = &of("%%bash\nls\ncd x")[0] else { panic!() };
        assert_eq!((word.as_str(), body.as_str()), ("bash", "ls\ncd x"));
    }

    #[test]
    fn directives_leave_lines_where_they_were() {
        assert_eq!(directives("//! opt = 3\nx"), ("           \nx".to_owned(), Some(3)));
        assert_eq!(directives("//! opt = 9\nx").1, None);
    }

    #[test]
    fn code_without_its_commands_can_be_read() {
        assert_eq!(without_commands(":dep a\nlet x = (").trim(), "let x = (");
        assert_eq!(without_commands(":vars"), "");
    }
}
