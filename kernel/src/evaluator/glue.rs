//! Owns the crate written around a cell, and the way back from its lines to those that people wrote.

use std::{collections::BTreeMap, fmt::Write, ops::Range, sync::Arc};

use super::{
    known::{Dropped, Known, OWN, Plan},
    split::Cell,
    types,
};

/// A cell's text, kept as long as something of it may be shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// `In [number]`.
    pub number: u32,
    pub text: String,
}

/// A place in a cell; line and column count from 1.
#[derive(Clone, Debug)]
pub struct Place {
    pub source: Arc<Source>,
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// The whole line, for showing it.
    pub fn text(&self) -> &str {
        self.source.text.lines().nth(self.line - 1).unwrap_or_default()
    }
}

/// Where the lines of a generated crate come from.
#[derive(Debug, Default)]
pub struct Positions {
    /// Generated line → cell and line; columns are equal but for insertions.
    lines: BTreeMap<usize, (Arc<Source>, usize)>,
    /// Generated line → (column, characters put in) in ascending order; columns count from 1.
    insertions: BTreeMap<usize, Vec<(usize, usize)>>,
}

impl Positions {
    /// The cell's line and column for a generated one; `None` inside the glue itself.
    pub fn place(&self, line: usize, column: usize) -> Option<Place> {
        let (source, own) = self.lines.get(&line)?;
        let shift: usize = self
            .insertions
            .get(&line)
            .map(|list| {
                list.iter().filter(|(at, _)| *at < column).map(|(at, size)| (*size).min(column - at)).sum()
            })
            .unwrap_or(0);
        Some(Place { source: Arc::clone(source), line: *own, column: column.saturating_sub(shift).max(1) })
    }
}

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
    /// Stores a variable that the cell binds.
    Store(String),
    /// Stores an earlier variable again.
    Return(String),
    /// Asks for the type of a variable that the cell binds.
    Probe(String),
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
    Run,
}

/// What the crate around a cell is written from.
pub struct Writing<'a> {
    pub source: &'a Arc<Source>,
    pub cell: &'a Cell,
    pub known: &'a Known,
    pub plan: &'a Plan,
    pub dropped: &'a Dropped,
    pub symbol: &'a str,
    /// What is not stored, because the cell gave it away.
    pub moved: &'a [Origin],
    pub purpose: Purpose,
}

#[derive(Default)]
struct Writer {
    glue: Glue,
    positions: Positions,
    /// Number of the line that is written to.
    line: usize,
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
            let from = self.line;
            self.add(&known.uses[index].line);
            self.mark(from, Origin::Use(index));
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
    }

    fn body(&mut self, writing: &Writing<'_>) {
        let Writing { source, cell, known, plan, moved, purpose, .. } = *writing;
        self.add("#[unsafe(no_mangle)]");
        self.add(&format!(
            "pub fn {}() -> Result<Result<(), nuna::cell::Error>, Box<dyn std::any::Any + Send>> {{",
            writing.symbol
        ));
        for (name, before, after) in &plan.migrations {
            let from = self.line;
            self.add(&format!("nuna::cell::migrate::<{before}, {after}>({name:?});"));
            self.mark(from, Origin::Migration(name.clone()));
        }
        for (name, ty) in &known.variables {
            if cell.mentioned.contains(name) {
                let ty = plan
                    .migrations
                    .iter()
                    .find(|(migrated, ..)| migrated == name)
                    .map_or(ty, |(.., after)| after);
                self.add(&format!(
                    "#[allow(unused_variables)] let mut {name}: {ty} = nuna::cell::take({name:?});"
                ));
                self.glue.taken.push(name.clone());
            }
        }
        self.add("let __nuna_body = || -> Result<(), nuna::cell::Error> {");
        if cell.has_await {
            self.add("nuna::cell::block_on(async {");
        }
        for range in &cell.statements {
            self.copy(source, range.clone(), &cell.insertions, &[]);
        }
        if let Some(range) = &cell.last {
            self.add(
                "{ use nuna::cell::{ShowRich as _, ShowDebug as _, ShowType as _}; (&&&&nuna::cell::Shown(&(",
            );
            self.copy(source, range.clone(), &cell.insertions, &[]);
            self.add("))).show(); }");
        }
        for (name, _) in &cell.bound {
            let (origin, line) = match purpose {
                Purpose::Probe => (Origin::Probe(name.clone()), format!("nuna::cell::reveal(&{name});")),
                Purpose::Run => (Origin::Store(name.clone()), format!("nuna::cell::put({name:?}, {name});")),
            };
            if !moved.contains(&origin) {
                let from = self.line;
                self.add(&line);
                self.mark(from, origin);
            }
        }
        self.add("#[allow(unreachable_code)] Ok::<(), nuna::cell::Error>(())");
        if cell.has_await {
            self.add("})");
        }
        self.add("};");
        self.add("let __nuna_result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(__nuna_body));");
        for name in self.glue.taken.clone() {
            let origin = Origin::Return(name.clone());
            if !moved.contains(&origin) {
                let from = self.line;
                self.add(&format!("nuna::cell::put_back({name:?}, {name});"));
                self.mark(from, origin);
            }
        }
        let _ = write!(self.glue.text, "__nuna_result\n}}\n");
    }

    fn mark(&mut self, from: usize, origin: Origin) {
        self.glue.origins.push((from..self.line, origin));
    }

    /// Writes a whole line.
    fn add(&mut self, line: &str) {
        self.glue.text.push_str(line);
        self.glue.text.push('\n');
        self.line += 1 + line.matches('\n').count();
    }

    /// Copies a part of a cell so that its lines and columns stay what they were, and ends the line. What lies in
    /// `blanks`, counted from the part's beginning, becomes spaces.
    fn copy(
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

/// A type after a migration, as the crate `home` and every later one writes it.
pub fn settled(ty: &str, home: &str) -> Option<String> {
    types::map_paths(ty, |first, _| (first == OWN).then(|| home.to_owned()))
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
        let writing = Writing {
            source: &source,
            cell: &cell,
            known,
            plan: &plan,
            dropped: &dropped,
            symbol: "cell",
            moved: &[],
            purpose: Purpose::Run,
        };
        write(&writing)
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
        assert!(glue.text.contains("put_back(\"x\", x)"));
    }
}
