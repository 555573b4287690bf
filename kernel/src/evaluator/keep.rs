//! Owns which variables a cell can keep for later ones, as the compiler finds out, and what became of those that it
//! does not keep.

use std::collections::BTreeMap;

use super::{
    compile::Diagnostic,
    failure::remedy,
    glue::{Glue, Origin},
    split::Cell,
    types,
};

/// Why there is no variable of a name any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gone {
    /// In [number] gave it away.
    Moved(u32),
    /// In [number] failed before it made it.
    NotMade(u32),
    /// It lived in In [number] only, for this reason.
    Local(u32, Local),
    /// The process that held it ended in In [number].
    Lost(u32),
    /// The same, and these clusters outlived it, of which it may have been one.
    LostCluster(u32, Vec<String>),
}

/// Why a variable lives in its own cell only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// Its type cannot be written.
    Unnameable(String),
    Borrows,
}

impl Gone {
    /// What to tell a person who uses the variable.
    pub fn explain(&self, name: &str) -> String {
        match self {
            Self::Moved(cell) => format!(
                "`{name}` was moved in In [{cell}], so it is gone; to keep a variable, pass `&{name}` or `{name}.clone()` there"
            ),
            Self::NotMade(cell) => format!("In [{cell}] failed before it made `{name}`"),
            Self::Local(cell, Local::Unnameable(ty)) => format!(
                "`{name}` of In [{cell}] has a type that cannot be written ({}), so it lived in that cell only; {}",
                types::shown(ty),
                remedy(name, ty)
            ),
            Self::Local(cell, Local::Borrows) => {
                format!(
                    "`{name}` of In [{cell}] borrows from another variable, so it lived in that cell only; keep what it borrows from, or clone it"
                )
            }
            Self::LostCluster(cell, clusters) => {
                let attach: Vec<String> = clusters
                    .iter()
                    .map(|cluster| format!("`let {name} = Cluster::attach(\"{cluster}\")?;`"))
                    .collect();
                format!(
                    "`{name}` was lost when the process that runs cells ended in In [{cell}], but its cluster was not; {} gets it back",
                    attach.join(" or ")
                )
            }
            Self::Lost(cell) => format!(
                "`{name}` was lost when the process that runs cells ended in In [{cell}]; run the cell that makes it again"
            ),
        }
    }
}

/// What a cell does not keep.
#[derive(Clone, Debug, Default)]
pub struct Skips {
    /// These lines are left out: there, the variable is gone.
    pub origins: Vec<Origin>,
    /// New variables that are not kept at all.
    pub locals: BTreeMap<String, Local>,
    /// The result is shown as `Debug` writes it: the compiler could not choose.
    pub shows_plainly: bool,
}

/// What the compiler's errors mean for the lines that keep variables.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The cell may compile with what was learnt.
    Again,
    /// The cell itself is wrong, or needs to be written otherwise.
    Wrong,
    /// This variable borrows from another, and nothing in the cell uses it: it was meant for later cells.
    Borrows(String),
}

/// A use of what was moved, or may not have been made, or is borrowed.
const MOVES: &[&str] = &["E0382", "E0381", "E0505"];
/// A borrow that would have to last longer than what it borrows from.
const BORROWS: &[&str] = &["E0597", "E0716", "E0505", "E0506", "E0502", "E0499", "E0503", "E0521", "E0515"];

impl Skips {
    /// Learns from a failed compilation what is not to be kept.
    pub fn learn(&mut self, errors: &[Diagnostic], glue: &Glue, cell: &Cell) -> Verdict {
        if !self.shows_plainly && errors.iter().any(|error| cannot_choose(error, cell)) {
            self.shows_plainly = true;
            return Verdict::Again;
        }
        let mut moved = Vec::new();
        let mut borrowing = Vec::new();
        for error in errors.iter().filter(|error| !error.spans.is_empty()) {
            match blame(error, glue, cell) {
                Blame::Borrowers(names) => borrowing.extend(names),
                Blame::Moved(origin) => moved.push(origin),
                // The line that ends what is not kept counts as a use of it too.
                Blame::Held(Origin::Store { failing, name }) if self.locals.contains_key(&name) => {
                    moved.push(Origin::Store { failing, name });
                }
                Blame::Held(origin) => borrowing.extend(made_at(&origin, cell)),
                Blame::Cell => return Verdict::Wrong,
            }
        }
        // A variable that borrows makes others look as if they could not be kept.
        if !borrowing.is_empty() {
            borrowing.sort();
            borrowing.dedup();
            for name in borrowing {
                let made = cell.bound().filter(|(_, made)| made.name == name).last();
                if !made.is_some_and(|(at, _)| cell.uses_behind(at, &name)) {
                    return Verdict::Borrows(name);
                }
                if self.locals.insert(name, Local::Borrows).is_some() {
                    return Verdict::Wrong;
                }
            }
            return Verdict::Again;
        }
        moved.retain(|origin| !self.origins.contains(origin));
        if moved.is_empty() {
            return Verdict::Wrong;
        }
        self.origins.extend(moved);
        Verdict::Again
    }
}

/// What an error is about.
enum Blame {
    /// Variables that could not be kept because they borrow.
    Borrowers(Vec<String>),
    /// A line that keeps a variable which is gone by then.
    Moved(Origin),
    /// A line that keeps, or ends, a variable which borrows what the cell uses otherwise.
    Held(Origin),
    /// The cell's own mistake.
    Cell,
}

/// Whether the compiler knew too little of the result's type to choose how to show it.
fn cannot_choose(error: &Diagnostic, cell: &Cell) -> bool {
    // A method can be looked for only on a type that is known by then, so the blame may fall on any line of the cell.
    cell.statements.last().is_some_and(|statement| statement.is_result)
        && (["E0282", "E0283", "E0284"].contains(&error.code())
            || error.children.iter().any(|note| note.message.contains("ShowRich")))
}

fn blame(error: &Diagnostic, glue: &Glue, cell: &Cell) -> Blame {
    let primary = error.primary().and_then(|span| glue.origin(span.line_start));
    let own = match primary {
        Some(Origin::Store { name, .. }) => Some(name),
        _ => None,
    };
    // Later cells could hold only what borrows nothing, or from what never ends.
    let requiring = error
        .spans
        .iter()
        .filter(|span| span.label.as_deref().is_some_and(|label| label.contains("requires that")));
    let origins = requiring.filter_map(|span| glue.origin(span.line_start));
    let mut borrowers: Vec<String> = origins.flat_map(|origin| made_at(origin, cell)).collect();
    borrowers.retain(|name| Some(name) != own);
    let later = error.spans.iter().find(|span| {
        span.label
            .as_deref()
            .is_some_and(|label| label.contains("later used") || label.contains("later call"))
    });
    let held = later
        .and_then(|span| glue.origin(span.line_start))
        .filter(|origin| matches!(origin, Origin::Store { .. }));
    match primary {
        _ if !borrowers.is_empty() && BORROWS.contains(&error.code()) => Blame::Borrowers(borrowers),
        Some(origin @ (Origin::Store { .. } | Origin::Return { .. })) if MOVES.contains(&error.code()) => {
            Blame::Moved(origin.clone())
        }
        None if BORROWS.contains(&error.code()) => match held {
            Some(origin) => Blame::Held(origin.clone()),
            None => Blame::Cell,
        },
        _ => Blame::Cell,
    }
}

/// The errors that are the cell's own mistakes; all of them if there is none.
pub fn own_errors(errors: &[Diagnostic], glue: &Glue, cell: &Cell) -> Vec<Diagnostic> {
    let is_own =
        |error: &&Diagnostic| !error.spans.is_empty() && matches!(blame(error, glue, cell), Blame::Cell);
    let own: Vec<Diagnostic> = errors.iter().filter(is_own).cloned().collect();
    if own.is_empty() { errors.to_vec() } else { own }
}

/// New variables that come out of what stands at `origin`.
fn made_at(origin: &Origin, cell: &Cell) -> Vec<String> {
    match origin {
        Origin::Store { name, .. } => vec![name.clone()],
        Origin::Frame(Some(number)) => {
            cell.statements[*number].bound.iter().map(|made| made.name.clone()).collect()
        }
        _ => Vec::new(),
    }
}
