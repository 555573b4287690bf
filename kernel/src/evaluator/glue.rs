//! Owns the crate written around a cell, and the way back from its lines to the cell's own.

use std::{collections::BTreeMap, fmt::Write, ops::Range};

use super::split::Cell;

/// What earlier cells left behind, by name.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Type of each variable, as the compiler names it.
    pub variables: BTreeMap<String, String>,
    /// Crate of each item.
    pub items: BTreeMap<String, String>,
    pub uses: Vec<String>,
    pub macros: BTreeMap<String, String>,
}

/// A generated crate.
#[derive(Debug)]
pub struct Glue {
    pub text: String,
    /// Generated line → cell line, both from 1; columns are equal but for insertions.
    lines: BTreeMap<usize, usize>,
    /// Generated line → (column, bytes put in) in ascending order; columns count from 1.
    insertions: BTreeMap<usize, Vec<(usize, usize)>>,
    /// Generated line → the variable that the glue stores or probes there.
    pub stores: BTreeMap<usize, String>,
    pub probes: BTreeMap<usize, String>,
    /// Earlier variables that the cell takes.
    pub taken: Vec<String>,
}

impl Glue {
    /// The cell's line and column for a generated one; `None` inside the glue itself.
    pub fn position(&self, line: usize, column: usize) -> Option<(usize, usize)> {
        let own = *self.lines.get(&line)?;
        let shift: usize = self
            .insertions
            .get(&line)
            .map(|list| list.iter().filter(|(at, _)| *at < column).map(|(_, size)| size).sum())
            .unwrap_or(0);
        Some((own, column.saturating_sub(shift).max(1)))
    }

    fn line(&self) -> usize {
        self.text.matches('\n').count() + 1
    }

    /// Copies a part of the cell so that its lines and columns stay what they were.
    fn copy(&mut self, source: &str, range: Range<usize>, put: &[(usize, &str)]) {
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        let before = &source[..range.start];
        let mut own_line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = source[line_start..range.start].chars().count();
        let mut line = self.line();
        self.text.extend(std::iter::repeat_n(' ', column));
        self.lines.insert(line, own_line);
        let mut at_column = column + 1;
        for (offset, character) in source[range.clone()].char_indices() {
            for (_, what) in put.iter().filter(|(at, _)| *at == range.start + offset) {
                self.insertions.entry(line).or_default().push((at_column, what.chars().count()));
                self.text.push_str(what);
                at_column += what.chars().count();
            }
            self.text.push(character);
            at_column += 1;
            if character == '\n' {
                line += 1;
                own_line += 1;
                at_column = 1;
                self.lines.insert(line, own_line);
            }
        }
    }

    fn add(&mut self, line: &str) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// What a crate is written for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To learn the types of new variables.
    Probe,
    Run,
}

/// Writes the crate around `cell`. What `moved` lists is not stored: the cell
/// gave it away. `taken NAME` is an earlier cell's variable, `NAME` one that this cell binds.
pub fn write(source: &str, cell: &Cell, known: &Known, symbol: &str, moved: &[String], purpose: Purpose) -> Glue {
    let mut glue = Glue {
        text: String::new(),
        lines: BTreeMap::new(),
        insertions: BTreeMap::new(),
        stores: BTreeMap::new(),
        probes: BTreeMap::new(),
        taken: Vec::new(),
    };
    glue.add("#![allow(warnings)]");
    for (name, text) in &known.macros {
        if !cell.macros.iter().any(|(own, _)| own == name) {
            glue.add(text);
        }
    }
    for (_, text) in &cell.macros {
        glue.add(text);
    }
    let own: Vec<&String> = cell.items.iter().filter_map(|item| item.name.as_ref()).collect();
    for (name, home) in &known.items {
        if !own.contains(&name) {
            glue.add(&format!("use {home}::{name};"));
        }
    }
    for line in known.uses.iter().filter(|line| !cell.uses.contains(line)).chain(&cell.uses) {
        glue.add(line);
    }
    for item in &cell.items {
        glue.copy(source, item.range.clone(), &item.insertions);
        glue.add("");
    }
    glue.add("#[unsafe(no_mangle)]");
    glue.add(&format!("pub fn {symbol}() -> Result<Result<(), nuna::cell::Error>, Box<dyn std::any::Any + Send>> {{"));
    for (name, ty) in &known.variables {
        if cell.mentioned.contains(name) {
            glue.add(&format!("let mut {name}: {ty} = nuna::cell::take({name:?});"));
            glue.taken.push(name.clone());
        }
    }
    glue.add("let __nuna_body = || -> Result<(), nuna::cell::Error> {");
    if cell.has_await {
        glue.add("nuna::cell::block_on(async {");
    }
    for range in &cell.statements {
        glue.copy(source, range.clone(), &[]);
    }
    if let Some(range) = &cell.last {
        glue.add("{ use nuna::cell::{ShowRich as _, ShowDebug as _, ShowType as _}; (&&&&nuna::cell::Shown(&(");
        glue.copy(source, range.clone(), &[]);
        glue.add("))).show(); }");
    }
    for (name, _) in cell.bound.iter().filter(|(name, _)| !moved.contains(name)) {
        let line = glue.line() + usize::from(!glue.text.ends_with('\n'));
        match purpose {
            Purpose::Probe => {
                glue.probes.insert(line, name.clone());
                glue.add(&format!("nuna::cell::reveal(&{name});"));
            }
            Purpose::Run => {
                glue.stores.insert(line, name.clone());
                glue.add(&format!("nuna::cell::put({name:?}, {name});"));
            }
        }
    }
    glue.add("Ok::<(), nuna::cell::Error>(())");
    if cell.has_await {
        glue.add("})");
    }
    glue.add("};");
    glue.add("let __nuna_result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(__nuna_body));");
    for name in glue.taken.clone().iter().filter(|name| !moved.contains(&format!("taken {name}"))) {
        let line = glue.line();
        glue.stores.insert(line, format!("taken {name}"));
        glue.add(&format!("nuna::cell::put_back({name:?}, {name});"));
    }
    let _ = write!(glue.text, "__nuna_result\n}}\n");
    glue
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluator::split::split;

    #[test]
    fn positions_lead_back_to_the_cell() {
        let source = "let a = 1;\nstruct S { x: i32 }\n  a + 2";
        let cell = split(source).unwrap();
        let glue = write(source, &cell, &Known::default(), "cell", &[], Purpose::Run);
        let find = |what: &str| {
            let line = glue.text.lines().position(|line| line.contains(what)).unwrap();
            let text = glue.text.lines().nth(line).unwrap();
            glue.position(line + 1, text.find(what).unwrap() + 1).unwrap()
        };
        assert_eq!(find("a = 1"), (1, 5));
        assert_eq!(find("x: i32"), (2, 12));
        assert_eq!(find("a + 2"), (3, 3));
        assert_eq!(glue.position(1, 1), None);
    }

    #[test]
    fn only_variables_that_are_mentioned_are_taken() {
        let mut known = Known::default();
        known.variables.insert("x".into(), "f64".into());
        known.variables.insert("y".into(), "f64".into());
        let cell = split("x + 1.0").unwrap();
        let glue = write("x + 1.0", &cell, &known, "cell", &[], Purpose::Run);
        assert_eq!(glue.taken, ["x"]);
        assert!(glue.text.contains("put_back(\"x\", x)"));
    }
}
