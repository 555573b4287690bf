//! Owns how a compiler's error is shown in a notebook: as rustc does, but with the cell's own lines.

use super::{compile::Diagnostic, glue::Glue};

const RED: &str = "\u{1b}[1;31m";
const BLUE: &str = "\u{1b}[1;34m";
const BOLD: &str = "\u{1b}[1m";
const OFF: &str = "\u{1b}[0m";

/// Lines of a traceback for one error in cell `number`.
pub fn render(diagnostic: &Diagnostic, glue: &Glue, source: &str, number: u32) -> Vec<String> {
    let code = if diagnostic.code().is_empty() { String::new() } else { format!("[{}]", diagnostic.code()) };
    let mut lines = vec![format!("{RED}error{code}{OFF}{BOLD}: {}{OFF}", diagnostic.message)];
    let mut marks: Vec<(usize, usize, usize, bool, String)> = diagnostic
        .spans
        .iter()
        .filter_map(|span| {
            let written = span.written();
            let (line, column) = glue.position(written.line_start, written.column_start)?;
            let width = if written.line_end == written.line_start {
                written.column_end.saturating_sub(written.column_start).max(1)
            } else {
                1
            };
            Some((line, column, width, span.is_primary, span.label.clone().unwrap_or_default()))
        })
        .collect();
    let at = marks.iter().find(|mark| mark.3).or(marks.first());
    if let Some((line, column, ..)) = at {
        lines.push(format!(" {BLUE}-->{OFF} In [{number}]:{line}:{column}"));
    }
    marks.sort();
    marks.dedup();
    let mut shown = 0;
    for (line, column, width, primary, label) in &marks {
        if *line != shown {
            let text = source.lines().nth(line - 1).unwrap_or_default();
            lines.push(format!("{BLUE}{line:>4} |{OFF} {text}"));
            shown = *line;
        }
        let (mark, colour) = if *primary { ("^", RED) } else { ("-", BLUE) };
        let pad = " ".repeat(column - 1);
        lines.push(format!("{BLUE}     |{OFF} {pad}{colour}{} {label}{OFF}", mark.repeat(*width)));
    }
    for child in &diagnostic.children {
        if !child.message.is_empty() && !child.message.contains("nuna::cell::") {
            lines.push(format!("     {BOLD}= {}{OFF}: {}", child.level, child.message));
        }
    }
    lines
}
