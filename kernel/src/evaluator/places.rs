//! Owns the way from a compiled cell's file and line to `In [n]`: for panics, for `dbg!`, and for whatever else prints
//! where it was written.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::positions::{Place, Positions};

/// Every cell that was compiled.
pub struct Places {
    /// Folder of the generated files, as the compiler calls it, with the slash behind it.
    folder: String,
    files: Mutex<BTreeMap<String, Arc<Positions>>>,
}

impl Places {
    pub fn new(folder: &Path) -> Self {
        Self { folder: format!("{}/", folder.display()), files: Mutex::default() }
    }

    /// `file` is the name in the folder.
    pub fn add(&self, file: &str, positions: Arc<Positions>) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(file.to_owned(), positions);
    }

    /// `path` as the compiler was given it.
    pub fn place(&self, path: &str, line: usize, column: usize) -> Option<Place> {
        let file = path.strip_prefix(&self.folder)?;
        self.files.lock().unwrap_or_else(PoisonError::into_inner).get(file)?.place(line, column)
    }

    /// Puts `In [n]:line:column` for each place in a generated file.
    pub fn translate<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !text.contains(&self.folder) {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(&self.folder) {
            out.push_str(&rest[..at]);
            let from = &rest[at..];
            let found = written(&from[self.folder.len()..]).and_then(|(file, line, column, size)| {
                let positions =
                    Arc::clone(self.files.lock().unwrap_or_else(PoisonError::into_inner).get(file)?);
                Some((positions.place(line, column.unwrap_or(1))?, column.is_some(), size))
            });
            let size = match found {
                Some((place, with_column, size)) => {
                    out.push_str(&format!("In [{}]:{}", place.source.number, place.line));
                    if with_column {
                        out.push_str(&format!(":{}", place.column));
                    }
                    self.folder.len() + size
                }
                None => {
                    out.push_str(&self.folder);
                    self.folder.len()
                }
            };
            rest = &from[size..];
        }
        out.push_str(rest);
        Cow::Owned(out)
    }
}

/// `cell_3.rs:7:5` at the beginning of `text`: file, line, column, and how long it is.
fn written(text: &str) -> Option<(&str, usize, Option<usize>, usize)> {
    let file = &text[..text.find(".rs:")? + 3];
    if !file[..file.len() - 3].chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let digits =
        |from: usize| text[from..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |at| from + at);
    let end = digits(file.len() + 1);
    let line = text[file.len() + 1..end].parse().ok()?;
    if text[end..].starts_with(':') {
        let column_end = digits(end + 1);
        if let Ok(column) = text[end + 1..column_end].parse() {
            return Some((file, line, Some(column), column_end));
        }
    }
    Some((file, line, None, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_place_stays() {
        let places = Places::new(Path::new("/tmp/cells"));
        for text in ["nothing", "/tmp/cells/", "/tmp/cells/cell_1.rs:7:5", "/tmp/cells/other.txt:7"] {
            assert_eq!(places.translate(text), text);
        }
        assert_eq!(written("cell_1.rs:7:5] x"), Some(("cell_1.rs", 7, Some(5), 13)));
        assert_eq!(written("cell_1.rs:7: x"), Some(("cell_1.rs", 7, None, 11)));
    }
}
