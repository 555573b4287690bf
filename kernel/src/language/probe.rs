//! Owns asking the compiler for the type of an expression in a cell that is still being typed: the cell is made whole
//! around a question, and only its types are worked out. Nothing of it runs.

use std::{ops::Range, path::PathBuf, sync::Arc};

use anyhow::Result;

use super::cursor::{self, Lexeme, Token};
use crate::evaluator::{
    build::revealed,
    compile::{Request, compile},
    crates::LINKS,
    glue::{self, Purpose, Writing},
    keep::Skips,
    known::{Dropped, Known},
    positions::Source,
    runtime::Runtime,
    split::{self, Cell},
};

/// The most brackets whose ends are tried in every combination.
const OPEN_MAX: usize = 6;
/// A cell that is longer is tried as it is only.
const TRIED_MAX: usize = 64 << 10;

/// `text` with a question about the expression at `receiver` in its place; `rest` is where the text goes on behind what is
/// being typed. `None` if it cannot be made whole.
pub fn question(text: &str, receiver: &Range<usize>, rest: usize) -> Option<(String, Cell)> {
    let expression = &text[receiver.clone()];
    // Of type `!`, which fits wherever it stands.
    let asked = format!("({{ nuna::cell::reveal(&({expression})); ::std::process::exit(0) }})");
    let before = &text[..receiver.start];
    let behind = &text[rest..];
    let whole = [format!("{before}{asked}{behind}"), format!("{before}{asked};{behind}")];
    let read = |text: String| {
        let cell = split::split(&text).ok()?;
        Some((text, cell))
    };
    if let Some(found) = whole.into_iter().find_map(read) {
        return Some(found);
    }
    // What follows may be as unfinished: end every bracket here.
    let open = open_brackets(before);
    if open.len() > OPEN_MAX || text.len() > TRIED_MAX {
        return None;
    }
    for first in ["", " {}"] {
        for choice in 0..1u32 << open.len() {
            let mut text = format!("{before}{asked}{first}");
            for (number, bracket) in open.iter().rev().enumerate() {
                let marked = choice >> number & 1 == 0;
                text.push_str(match (bracket, marked) {
                    ('{', true) => ";}",
                    ('{', false) => "}",
                    ('(', true) => ")",
                    // A condition in brackets wants its block behind them.
                    ('(', false) => ") {}",
                    (_, true) => "]",
                    (_, false) => continue,
                });
            }
            if let Some(found) = read(text.clone()).or_else(|| read(text + ";")) {
                return Some(found);
            }
        }
    }
    None
}

fn open_brackets(text: &str) -> Vec<char> {
    let mut open = Vec::new();
    for Token { kind, .. } in cursor::tokens(text) {
        match kind {
            Lexeme::Sign(bracket @ ('(' | '[' | '{')) => open.push(bracket),
            Lexeme::Sign(')' | ']' | '}') => drop(open.pop()),
            _ => {}
        }
    }
    open
}

/// What a probe needs of the session.
pub struct Probe<'a> {
    pub runtime: &'a Runtime,
    pub known: &'a Known,
    pub cells: &'a [(String, PathBuf)],
    /// Of compiled cells; the probe's own files lie there as long as it takes.
    pub folder: &'a std::path::Path,
    /// Tells the files of probes apart.
    pub number: u64,
}

impl Probe<'_> {
    /// The type of the expression that `text` asks about, as the compiler prints it. `None` if it does not know.
    ///
    /// # Errors
    /// If the compiler cannot be run.
    pub async fn ask(&self, text: String, cell: &Cell) -> Result<Option<String>> {
        let source = Arc::new(Source { number: 0, text });
        let (dropped, skips) = (Dropped::default(), Skips::default());
        let plan = self.known.plan(cell, &source.text, &dropped);
        let glue = glue::write(&Writing {
            source: &source,
            cell,
            known: self.known,
            plan: &plan,
            dropped: &dropped,
            symbol: "nuna_probe",
            skips: &skips,
            purpose: Purpose::Probe,
        });
        let file = Temporary(self.folder.join(format!("asked_{}.rs", self.number)));
        let output = Temporary(self.folder.join(format!("asked_{}.rmeta", self.number)));
        // The compiler's list of what it read.
        let _list = Temporary(self.folder.join(format!("asked_{}.rmeta.d", self.number)));
        std::fs::write(&file.0, &glue.text)?;
        let crates = self.folder.join(LINKS);
        let request = Request {
            source: &file.0,
            text: &glue.text,
            name: "nuna_probe",
            optimise: None,
            output: &output.0,
            cells: self.cells,
            linker: None,
            crates: crates.is_dir().then_some(&crates),
        };
        let compiled = compile(self.runtime, None, &request).await?;
        let own = compiled.errors.iter().filter(|error| {
            // Questions about new variables are on lines of their own.
            error.primary().is_some_and(|span| glue.origin(span.line_start).is_none())
        });
        Ok(own.filter_map(revealed).next())
    }
}

/// A file that goes with this value, also when a probe is given up.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(marked: &str) -> Option<String> {
        let cursor = marked.find('¦').unwrap();
        let text = marked.replacen('¦', "", 1);
        let cursor::Place::Member { receiver, .. } = cursor::place(&text, cursor) else { return None };
        question(&text, &receiver, cursor).map(|(text, _)| text)
    }

    #[test]
    fn unfinished_cells_are_made_whole() {
        for marked in [
            "x.¦",
            "let y = x.¦",
            "let y = x.¦;\nlet z = y;",
            "let y = x.¦\nlet z = 1;",
            "for i in v.iter().¦",
            "for i in v.iter() { i.¦",
            "for i in v.iter() { i.¦ }",
            "if x.¦",
            "if x.¦ { 1 } else { 2 }",
            "while let Some(a) = x.¦",
            "match x.¦",
            "match x.¦ { _ => 1 }",
            "fn f(a: &str) -> usize {\n    a.¦\n}",
            "fn f(a: &str) -> usize { a.¦",
            "v.iter().map(|x| x.¦",
            "v.iter().map(|x| x.¦)",
            "v.iter().map(|x| { let y = x.¦",
            "println!(\"{}\", x.¦",
            "println!(\"{}\", x.¦)",
            "let p = P { x: a.¦",
            "let p = P { x: a.¦, y: 1 };",
            "f(a, b[c.¦",
            "impl P { fn g(&self) -> f64 { self.¦ } }",
            "impl P { fn g(&self) -> f64 { self.¦",
            "let s = \"🦀\"; s.¦",
        ] {
            let text = asked(marked).unwrap_or_else(|| panic!("{marked} cannot be made whole"));
            assert_eq!(text.matches("nuna::cell::reveal").count(), 1, "{text}");
        }
    }
}
