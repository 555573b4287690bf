//! Owns how a compiler's message is shown in a notebook: as rustc does, but with the cells' own lines.

use super::{
    compile::Diagnostic,
    positions::{Place, Positions},
    types::without_places,
};

const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[1;33m";
const BLUE: &str = "\u{1b}[1;34m";
const BOLD: &str = "\u{1b}[1m";
const OFF: &str = "\u{1b}[0m";

/// Lines for one error or warning.
pub fn render(diagnostic: &Diagnostic, positions: &Positions) -> Vec<String> {
    let code = match diagnostic.code() {
        code if code.starts_with('E') => format!("[{code}]"),
        _ => String::new(),
    };
    let (level, colour) = if diagnostic.level == "warning" { ("warning", YELLOW) } else { ("error", RED) };
    let mut lines =
        vec![format!("{colour}{level}{code}{OFF}{BOLD}: {}{OFF}", without_places(&diagnostic.message))];
    let mut marks = marks(diagnostic, positions);
    if let Some(mark) = marks.iter().find(|mark| mark.primary).or(marks.first()) {
        lines.push(format!(" {BLUE}-->{OFF} {}", at(&mark.place)));
    }
    let key = |mark: &Mark| {
        (
            mark.place.source.number,
            mark.place.line,
            mark.place.column,
            !mark.primary,
            mark.width,
            mark.label.clone(),
        )
    };
    marks.sort_by_key(key);
    marks.dedup_by_key(|mark| key(mark));
    let first = marks.first().map_or(0, |mark| mark.place.source.number);
    let (mut shown, mut cell) = (0, first);
    for mark in &marks {
        let (number, line) = (mark.place.source.number, mark.place.line);
        if number != cell {
            lines.push(format!(" {BLUE}:::{OFF} {}", at(&mark.place)));
            (cell, shown) = (number, 0);
        }
        if line != shown {
            lines.push(format!("{BLUE}{line:>4} |{OFF} {}", mark.place.text()));
            shown = line;
        }
        let (sign, colour) = if mark.primary { ("^", colour) } else { ("-", BLUE) };
        let (pad, under) = underline(mark.place.text(), mark.place.column, mark.width, sign);
        lines.push(
            format!("{BLUE}     |{OFF} {pad}{colour}{under} {}{OFF}", mark.label).trim_end().to_owned(),
        );
    }
    for child in &diagnostic.children {
        let of_the_glue = child.message.contains("nuna::cell::") || child.message.contains("#[warn(");
        if child.message.is_empty() || of_the_glue {
            continue;
        }
        let place = child.primary().and_then(|span| positions.place(span.line_start, span.column_start));
        let put: Vec<String> = child
            .spans
            .iter()
            .filter_map(|span| span.suggested_replacement.clone())
            .filter(|put| !put.trim().is_empty())
            .collect();
        let put = if put.len() == 1 && place.is_some() && !child.message.contains(put[0].trim()) {
            format!(": `{}`", put[0].trim())
        } else {
            String::new()
        };
        // Further lines stand below the first one's words, as rustc has them.
        let indent = format!("\n{}", " ".repeat(child.level.len() + 9));
        let message = without_places(&child.message).replace('\n', &indent);
        lines.push(format!("     {BOLD}= {}{OFF}: {message}{put}", child.level));
    }
    lines
}

/// A place with its line and a mark below it.
pub fn point(place: &Place) -> String {
    let (pad, under) = underline(place.text(), place.column, 1, "^");
    format!(
        " {BLUE}-->{OFF} {}\n{BLUE}{:>4} |{OFF} {}\n{BLUE}     |{OFF} {pad}{RED}{under}{OFF}",
        at(place),
        place.line,
        place.text()
    )
}

fn at(place: &Place) -> String {
    format!("In [{}]:{}:{}", place.source.number, place.line, place.column)
}

struct Mark {
    place: Place,
    width: usize,
    primary: bool,
    label: String,
}

fn marks(diagnostic: &Diagnostic, positions: &Positions) -> Vec<Mark> {
    let mark = |span: &super::compile::Span| {
        let written = span.written();
        let place = positions.place(written.line_start, written.column_start)?;
        let end = positions.place(written.line_end, written.column_end).filter(|end| end.line == place.line);
        let width = end.map_or(1, |end| end.column.saturating_sub(place.column).max(1));
        let label = span.label.as_deref().map(without_places).unwrap_or_default().into_owned();
        Some(Mark { place, width, primary: span.is_primary, label })
    };
    diagnostic.spans.iter().filter_map(mark).collect()
}

/// What stands below `width` characters of `line` from `column` on, in columns of a terminal.
fn underline(line: &str, column: usize, width: usize, sign: &str) -> (String, String) {
    let pad = line
        .chars()
        .take(column - 1)
        .map(|c| if c == '\t' { "\t".to_owned() } else { " ".repeat(columns(c)) })
        .collect();
    let marked: usize = line.chars().skip(column - 1).take(width).map(columns).sum();
    (pad, sign.repeat(marked.max(1)))
}

/// How wide a terminal draws a character: East Asian wide and emoji two columns, combining marks none.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_below_wide_characters() {
        assert_eq!(underline("let 温度 = \"x\";", 10, 3, "^"), (" ".repeat(11), "^^^".to_owned()));
        assert_eq!(underline("\tlet é = 1;", 6, 1, "^"), ("\t    ".to_owned(), "^".to_owned()));
    }
}
