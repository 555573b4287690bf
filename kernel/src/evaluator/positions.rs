//! Owns the way back from the lines of a generated crate to those that people wrote.

use std::{collections::BTreeMap, sync::Arc};

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
    /// The place of byte `at` of a cell.
    pub fn of(source: &Arc<Source>, at: usize) -> Self {
        let before = &source.text[..at];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let (line, column) = (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
        Self { source: Arc::clone(source), line, column }
    }

    /// The whole line, for showing it.
    pub fn text(&self) -> &str {
        self.source.text.lines().nth(self.line - 1).unwrap_or_default()
    }
}

/// Where the lines of a generated crate come from.
#[derive(Debug, Default)]
pub struct Positions {
    /// Generated line → cell and line; columns are equal but for insertions.
    pub(super) lines: BTreeMap<usize, (Arc<Source>, usize)>,
    /// Generated line → (column, characters put in) in ascending order; columns count from 1.
    pub(super) insertions: BTreeMap<usize, Vec<(usize, usize)>>,
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
