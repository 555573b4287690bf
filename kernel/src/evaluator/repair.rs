//! Owns what is done about earlier definitions that a new cell breaks: they are forgotten, with a note that says which
//! and why, and the cell is compiled without them.

use super::{
    compile::Diagnostic,
    glue::{Glue, Origin},
    known::{Dropped, Known},
};

/// A cell whose definitions break more than this at a time fails.
pub const ROUNDS_MAX: usize = 12;

/// Errors about two things that may not both exist; either of them may be named first.
const CONFLICTS: &[&str] = &["E0119", "E0592", "E0428", "E0201", "E0252", "E0255", "E0260"];

/// What was dropped so far, and the notes about it.
#[derive(Debug, Default)]
pub struct Repairs {
    pub dropped: Dropped,
    pub notes: Vec<String>,
}

impl Repairs {
    /// Drops what `errors` are about, if it is not the cell's own. Says whether there was anything.
    pub fn learn(&mut self, errors: &[Diagnostic], glue: &Glue, known: &Known) -> bool {
        let before = self.dropped.clone();
        for error in errors {
            let conflicts = CONFLICTS.contains(&error.code());
            let origin = error
                .spans
                .iter()
                .filter(|span| span.is_primary || conflicts)
                .find_map(|span| glue.origin(span.written().line_start));
            if let Some(origin) = origin {
                self.drop(origin, error, known);
            }
        }
        before != self.dropped
    }

    fn drop(&mut self, origin: &Origin, error: &Diagnostic, known: &Known) {
        match origin {
            Origin::Earlier(index) => {
                let definition = &known.definitions[*index];
                if self.dropped.definitions.insert(*index) {
                    let (title, number) = (definition.title(), definition.source.number);
                    self.notes.push(format!(
                        "`{title}` of In [{number}] does not fit what this cell defines and was forgotten ({}); define it again",
                        error.message
                    ));
                }
            }
            Origin::Use(index) => {
                if self.dropped.uses.insert(*index) {
                    self.notes.push(format!(
                        "`{}` of an earlier cell does not hold any more and was forgotten",
                        known.uses[*index].line
                    ));
                }
            }
            Origin::Macro(name) => {
                if self.dropped.macros.insert(name.clone()) {
                    self.notes.push(format!(
                        "macro `{name}!` of an earlier cell was forgotten ({})",
                        error.message
                    ));
                }
            }
            // The variable keeps its old type, which later messages explain.
            Origin::Migration(name) => drop(self.dropped.migrations.insert(name.clone())),
            Origin::Store { .. } | Origin::Return { .. } | Origin::Probe { .. } | Origin::Frame(_) => {}
        }
    }
}
