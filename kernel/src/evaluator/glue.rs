//! Owns the crate written around a cell, down to its items; its function is written in `body`.

use std::{ops::Range, sync::Arc};

use super::{
    keep::Skips,
    known::{Dropped, Known, Plan},
    positions::{Positions, Source},
    split::Cell,
};

/// What stands on a line that the cell did not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Of [`Known::definitions`].
    Earlier(usize),
    /// Of [`Known::uses`].
    Use(usize),
    Macro(String),
    /// Changes an earlier variable over to its type's new definition.
    Migration(String),
    /// Keeps a variable that the cell binds: at its end, or when the statement of this number fails.
    Store {
        failing: Option<usize>,
        name: String,
    },
    /// Keeps an earlier variable.
    Return {
        failing: Option<usize>,
        name: String,
    },
    /// Asks for the type of a variable that the statement of this number binds.
    Probe {
        statement: usize,
        name: String,
    },
    /// Stands around the statement of this number, or around all of them.
    Frame(Option<usize>),
}

/// A generated crate.
#[derive(Debug, Default)]
pub struct Glue {
    pub text: String,
    pub positions: Arc<Positions>,
    /// First and last line of each part that is not the cell's own, in order.
    origins: Vec<(Range<usize>, Origin)>,
    /// Earlier variables that the cell takes.
    pub taken: Vec<String>,
}

impl Glue {
    /// What stands on `line`, if the cell did not write it.
    pub fn origin(&self, line: usize) -> Option<&Origin> {
        self.origins.iter().find(|(lines, _)| lines.contains(&line)).map(|(_, origin)| origin)
    }
}

/// What a crate is written for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To learn the types of new variables.
    Probe,
    /// To run it, statement by statement: when one fails, what those before it made is kept.
    Steps,
    /// To run it as one block, for what cannot be taken apart.
    Block,
}

/// What the crate around a cell is written from.
pub struct Writing<'a> {
    pub source: &'a Arc<Source>,
    pub cell: &'a Cell,
    pub known: &'a Known,
    pub plan: &'a Plan,
    pub dropped: &'a Dropped,
    pub symbol: &'a str,
    /// What is not kept, because the cell gave it away or no later cell could hold it.
    pub skips: &'a Skips,
    pub purpose: Purpose,
}

#[derive(Default)]
pub(super) struct Writer {
    pub(super) glue: Glue,
    positions: Positions,
    /// Number of the line that is written to.
    pub(super) line: usize,
}

/// Writes the crate around a cell.
pub fn write(writing: &Writing<'_>) -> Glue {
    let mut writer = Writer { line: 1, ..Writer::default() };
    writer.everything(writing);
    let Writer { mut glue, positions, .. } = writer;
    glue.positions = Arc::new(positions);
    glue
}

impl Writer {
    fn everything(&mut self, writing: &Writing<'_>) {
        let Writing { source, cell, known, plan, dropped, .. } = *writing;
        for range in &cell.attributes {
            self.copy(source, range.clone(), &[], &[]);
        }
        for attribute in &known.attributes {
            self.add(attribute);
        }
        self.add("#![allow(dead_code, unused_imports, unused_mut, unused_macros, unused_braces, unused_parens, non_snake_case, non_upper_case_globals, \
             private_interfaces, private_bounds)]");
        for (name, held) in &known.macros {
            if !cell.macros.iter().any(|(own, _)| own == name) && !dropped.macros.contains(name) {
                let from = self.line;
                self.copy(&held.source, held.range.clone(), &[], &[]);
                self.mark(from, Origin::Macro(name.clone()));
            }
        }
        for (_, range) in &cell.macros {
            self.copy(source, range.clone(), &[], &[]);
        }
        for (home, name) in &plan.imports {
            self.add(&format!("#[allow(warnings)] use {home}::{name};"));
        }
        for &index in &plan.uses {
            self.add_as(Origin::Use(index), &known.uses[index].line);
        }
        for range in &cell.uses {
            self.copy(source, range.clone(), &[], &[]);
        }
        for (&index, blanks) in &plan.again {
            let definition = &known.definitions[index];
            let from = self.line;
            self.copy(&definition.source, definition.part.range.clone(), &definition.insertions, blanks);
            self.mark(from, Origin::Earlier(index));
        }
        for &index in &plan.fresh {
            self.copy(source, cell.items[index].range.clone(), &cell.insertions, &[]);
        }
        self.body(writing);
        if let Some(library) = &known.crates.library
            && known.crates.names.iter().any(|name| self.glue.text.contains(name.as_str()))
        {
            // The library needs it, and the compiler would look for it elsewhere than where the command line says.
            self.add("extern crate nuna;");
            self.add(&format!("extern crate {library} as _;"));
        }
    }

    pub(super) fn mark(&mut self, from: usize, origin: Origin) {
        self.glue.origins.push((from..self.line, origin));
    }

    /// Writes lines that stand for `origin`.
    pub(super) fn add_as(&mut self, origin: Origin, lines: &str) {
        let from = self.line;
        self.add(lines);
        self.mark(from, origin);
    }

    /// Writes a whole line.
    pub(super) fn add(&mut self, line: &str) {
        self.glue.text.push_str(line);
        self.glue.text.push('\n');
        self.line += 1 + line.matches('\n').count();
    }

    /// Copies a part of a cell so that its lines and columns stay what they were, and ends the line. What lies in
    /// `blanks`, counted from the part's beginning, becomes spaces.
    pub(super) fn copy(
        &mut self,
        source: &Arc<Source>,
        range: Range<usize>,
        put: &[(usize, &str)],
        blanks: &[Range<usize>],
    ) {
        let before = &source.text[..range.start];
        let mut own_line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = source.text[line_start..range.start].chars().count();
        self.glue.text.extend(std::iter::repeat_n(' ', column));
        self.positions.lines.insert(self.line, (Arc::clone(source), own_line));
        let mut at_column = column + 1;
        let mut put = put.iter().skip_while(|(at, _)| *at < range.start).peekable();
        for (offset, character) in source.text[range.clone()].char_indices() {
            let blank = blanks.iter().any(|blank| blank.contains(&offset));
            while let Some((_, what)) = put.next_if(|(at, _)| *at == range.start + offset) {
                if !blank {
                    let size = what.chars().count();
                    self.positions.insertions.entry(self.line).or_default().push((at_column, size));
                    self.glue.text.push_str(what);
                    at_column += size;
                }
            }
            at_column += 1;
            if character == '\n' {
                self.glue.text.push('\n');
                self.line += 1;
                own_line += 1;
                at_column = 1;
                self.positions.lines.insert(self.line, (Arc::clone(source), own_line));
            } else {
                self.glue.text.push(if blank { ' ' } else { character });
            }
        }
        self.glue.text.push('\n');
        self.line += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluator::split::split;

    fn glue(text: &str, known: &Known) -> Glue {
        let source = Arc::new(Source { number: 1, text: text.to_owned() });
        let cell = split(text).unwrap();
        let dropped = Dropped::default();
        let plan = known.plan(&cell, text, &dropped);
        let skips = Skips::default();
        write(&Writing {
            source: &source,
            cell: &cell,
            known,
            plan: &plan,
            dropped: &dropped,
            symbol: "cell",
            skips: &skips,
            purpose: Purpose::Steps,
        })
    }

    #[test]
    fn positions_lead_back_to_the_cell() {
        let glue = glue(
            "use std::fmt;\nlet a = 1;\nstruct S { x: i32 }\nloop { break }\n  a + 2",
            &Known::default(),
        );
        let find = |what: &str| {
            let line = glue.text.lines().position(|line| line.contains(what)).unwrap();
            let text = glue.text.lines().nth(line).unwrap();
            let place = glue.positions.place(line + 1, text.find(what).unwrap() + 1).unwrap();
            (place.line, place.column)
        };
        assert_eq!(find("std::fmt"), (1, 5));
        assert_eq!(find("a = 1"), (2, 5));
        assert_eq!(find("x: i32"), (3, 12));
        assert_eq!(find("break"), (4, 8));
        assert_eq!(find("a + 2"), (5, 3));
        assert!(glue.positions.place(1, 1).is_none());
    }

    #[test]
    fn only_variables_that_are_mentioned_are_taken() {
        let mut known = Known::default();
        known.variables.insert("x".into(), "f64".into());
        known.variables.insert("y".into(), "f64".into());
        let glue = glue("x + 1.0", &known);
        assert_eq!(glue.taken, ["x"]);
        assert!(glue.text.contains("put(\"x\", x)"));
    }

    #[test]
    fn a_statement_that_fails_keeps_what_was_made_before_it() {
        let glue = glue("let a = vec![1];\nlet (b, mut c) = (2, 3);\nb + c", &Known::default());
        let kept = |failing: Option<usize>| -> Vec<&str> {
            let stores = glue.origins.iter().filter_map(|(_, origin)| match origin {
                Origin::Store { failing: at, name } if *at == failing => Some(name.as_str()),
                _ => None,
            });
            stores.collect()
        };
        assert_eq!(kept(Some(0)), [""; 0]);
        assert_eq!(kept(Some(1)), ["a"]);
        assert_eq!(kept(Some(2)), ["a", "b", "c"]);
        assert_eq!(kept(None), ["a", "b", "c"]);
        assert!(glue.text.contains("let (b, mut c,) = match"));
    }
}
