//! Owns the lines of a cell that are commands and not Rust, as far as completion and tooltips care: what a command wants to
//! be completed with, and the cell's Rust with everything else as spaces, so that positions stay. Which lines are commands
//! when the cell runs is decided in `evaluator::commands`.

use std::ops::Range;

use super::cursor::{self, Lexeme};

/// What the cursor stands in. Ranges are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The cell with its commands as spaces, and the cursor in it.
    Rust { text: String, cursor: usize },
    /// The word of a command, with its sign.
    Command { word: Range<usize> },
    /// Something that may be a path.
    File { written: Range<usize> },
    /// The name of a variable of the environment.
    Environment { word: Range<usize> },
}

/// Commands whose words are Rust, and those whose words may be paths.
const OF_RUST: &[&str] =
    &[":type", ":t", ":doc", "%time", "%timeit", "%%time", "%%timeit", "%pinfo", "%pinfo2"];
const OF_FILES: &[&str] = &[":cd", "%cd", "%sx", "%system"];

/// Lines that look like commands are tried so often; a cell of data that has more is Rust.
const TRIED_MAX: usize = 100;

pub fn line(text: &str, at: usize) -> Line {
    let mut tried = 0;
    let mut rust = String::with_capacity(text.len());
    let mut from = 0;
    let mut in_rust = at;
    for own in text.split_inclusive('\n') {
        let range = from..from + own.len();
        from = range.end;
        let has_cursor = range.contains(&at) || (at == text.len() && range.end == at && !own.ends_with('\n'));
        let start = range.start + own.len() - own.trim_start().len();
        let may_be = is_command(own.trim()) && tried < TRIED_MAX;
        tried += usize::from(may_be);
        if !may_be || !is_whole(&rust) {
            if has_cursor {
                in_rust = rust.len() + (at - range.start);
            }
            rust.push_str(own);
            continue;
        }
        let keep = match command(text, start, range.end, at, has_cursor) {
            Ok(keep) => keep,
            Err(line) => return line,
        };
        if has_cursor {
            let spaces = text[range.start..keep.min(at)].chars().count();
            in_rust = rust.len() + spaces + at.saturating_sub(keep);
        }
        blank(&text[range.start..keep], &mut rust);
        rust.push_str(&text[keep..range.end]);
    }
    // Behind the last line break.
    if at == text.len() && (text.is_empty() || text.ends_with('\n')) {
        in_rust = rust.len();
    }
    Line::Rust { text: rust, cursor: in_rust }
}

/// Where the Rust of a command's line begins; or what else is at the cursor.
fn command(text: &str, start: usize, end: usize, at: usize, has_cursor: bool) -> Result<usize, Line> {
    let own = text[start..end].trim_end();
    let sign = own.len() - own.trim_start_matches([':', '%', '!', '?']).len();
    let word_end = start + own.find(char::is_whitespace).unwrap_or(own.len());
    let word = &text[start..word_end];
    if word.starts_with('?') {
        return Ok(start + sign);
    }
    if OF_RUST.contains(&word) && !(has_cursor && at <= word_end) {
        return Ok(word_end);
    }
    if !has_cursor || at < start + sign {
        return Ok(end);
    }
    if at <= word_end && !word.starts_with('!') {
        return Err(Line::Command { word: start..at });
    }
    let typed =
        text[..at].rfind(char::is_whitespace).map_or(start + sign, |space| space + 1).max(start + sign);
    if word == ":env" || word == "%env" {
        return Err(Line::Environment { word: typed..at });
    }
    if OF_FILES.contains(&word) || word.starts_with('!') {
        return Err(Line::File { written: typed..at });
    }
    Ok(end)
}

fn is_command(line: &str) -> bool {
    let mut characters = line.chars();
    match (characters.next(), characters.next()) {
        (Some(':'), next) => next.is_none_or(char::is_alphabetic),
        (Some('%'), next) => next.is_none_or(|c| c.is_alphabetic() || c == '%'),
        (Some('!'), Some(next)) => next.is_alphabetic() && !line.contains("&&") && !line.contains("||"),
        (Some('?'), _) => true,
        _ => false,
    }
}

/// Whether no bracket or string is open at the end of `rust`, so that a new line may be a command.
fn is_whole(rust: &str) -> bool {
    let mut depth = 0i64;
    for token in cursor::tokens(rust) {
        match token.kind {
            Lexeme::Sign('(' | '[' | '{') => depth += 1,
            Lexeme::Sign(')' | ']' | '}') => depth -= 1,
            Lexeme::Literal(false) | Lexeme::Comment(false) => return false,
            _ => {}
        }
    }
    depth <= 0
}

fn blank(text: &str, out: &mut String) {
    out.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(marked: &str) -> Line {
        let cursor = marked.find('|').unwrap();
        line(&marked.replacen('|', "", 1), cursor)
    }

    fn rust(marked: &str) -> Option<String> {
        match at(marked) {
            Line::Rust { mut text, cursor } => {
                text.insert(cursor, '|');
                Some(text)
            }
            _ => None,
        }
    }

    #[test]
    fn commands_are_spaces_and_the_rest_stays() {
        assert_eq!(rust("let a = 1;\na.|").as_deref(), Some("let a = 1;\na.|"));
        assert_eq!(rust(":opt 3\na.|").as_deref(), Some("      \na.|"));
        assert_eq!(rust("!ls é\nlet é = 1;\né.|x\n:vars").as_deref(), Some("     \nlet é = 1;\né.|x\n     "));
        assert_eq!(rust(":type a.b|").as_deref(), Some("      a.b|"));
        assert_eq!(rust("%time a.|b").as_deref(), Some("      a.|b"));
        assert_eq!(rust("?ve|").as_deref(), Some(" ve|"));
        assert_eq!(rust("::std::f|").as_deref(), Some("::std::f|"));
        assert_eq!(rust("let s = \"\n:vars|").as_deref(), Some("let s = \"\n:vars|"));
        assert_eq!(rust("|").as_deref(), Some("|"));
        assert_eq!(rust("a\n|").as_deref(), Some("a\n|"));
    }

    #[test]
    fn commands_want_words_files_and_variables() {
        assert_eq!(at(":ti|"), Line::Command { word: 0..3 });
        assert_eq!(at("x\n:|"), Line::Command { word: 2..3 });
        assert_eq!(at("%ti|"), Line::Command { word: 0..3 });
        assert_eq!(at(":cd da|"), Line::File { written: 4..6 });
        assert_eq!(at("!ls -l /da|"), Line::File { written: 7..10 });
        assert_eq!(at("!ca|"), Line::File { written: 1..3 });
        assert_eq!(at(":env HO|"), Line::Environment { word: 5..7 });
    }
}
