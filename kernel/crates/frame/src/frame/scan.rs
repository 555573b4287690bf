//! Owns where frames begin: files of a pattern, and frames one below another.

use std::sync::Arc;

use super::{Frame, Logical};
use crate::{
    column::ColumnType,
    csv::{CsvOptions, CsvSource},
    error::FrameError,
};

/// A frame of CSV files: one path, or a pattern such as `runs/*/out-??.csv`. Types of columns are guessed from the first MiB of
/// the first file, in the order of names; a field that does not fit later is an error that says where it is.
///
/// # Errors
/// If there is no such file, or the first one cannot be read.
pub fn scan_csv(pattern: impl AsRef<std::path::Path>) -> Result<Frame, FrameError> {
    scan_csv_with(pattern, CsvOptions::default())
}

/// [`scan_csv`] with another delimiter, types of columns, and more.
///
/// # Errors
/// As [`scan_csv`].
pub fn scan_csv_with(pattern: impl AsRef<std::path::Path>, options: CsvOptions) -> Result<Frame, FrameError> {
    let pattern = pattern.as_ref().display().to_string();
    let paths = files(&pattern)?;
    let source = CsvSource::open(&pattern, &paths, &options)?;
    let schema = Arc::new(source.schema.clone());
    Ok(Frame { logical: Arc::new(Logical::Csv(source)), schema })
}

/// The files of a pattern, in the order of their names, with absolute paths: workers may be elsewhere in the tree.
fn files(pattern: &str) -> Result<Vec<String>, FrameError> {
    let none = || FrameError::NoFiles { pattern: pattern.to_owned() };
    let absolute = |path: &std::path::Path| match std::path::absolute(path) {
        Ok(path) => path.display().to_string(),
        Err(_) => path.display().to_string(),
    };
    // A file may be called like a pattern.
    let plain = std::path::Path::new(pattern);
    if plain.exists() {
        return Ok(vec![absolute(plain)]);
    }
    let wrong =
        |error: glob::PatternError| FrameError::Invalid(format!("`{pattern}` is no pattern: {error}"));
    let mut paths = Vec::new();
    for path in glob::glob(pattern).map_err(wrong)? {
        let unreadable = |error: glob::GlobError| FrameError::File {
            path: error.path().display().to_string(),
            message: error.error().to_string(),
        };
        paths.push(absolute(&path.map_err(unreadable)?));
    }
    paths.sort();
    if paths.is_empty() { Err(none()) } else { Ok(paths) }
}

/// One below another. All have the same columns, in any order.
///
/// # Errors
/// If there is none, or one has other columns or types.
pub fn concat_frames(frames: &[Frame]) -> Result<Frame, FrameError> {
    let Some(first) = frames.first() else {
        return Err(FrameError::Invalid("there are no frames to put one below another".to_owned()));
    };
    let same = |frame: &Frame| {
        if frame.schema == first.schema {
            return Ok(frame.clone());
        }
        let differ = || {
            FrameError::Invalid(format!(
                "frames with other columns cannot be put one below another: {} and {}",
                first.describe_columns(),
                frame.describe_columns()
            ))
        };
        let fits = |(name, kind): &(String, ColumnType)| frame.schema.kind(name).is_ok_and(|k| k == *kind);
        if frame.schema.0.len() != first.schema.0.len() || !first.schema.0.iter().all(fits) {
            return Err(differ());
        }
        frame.select(first.columns())
    };
    let frames = frames.iter().map(same).collect::<Result<_, _>>()?;
    Ok(Frame { schema: first.schema.clone(), logical: Arc::new(Logical::Concat(frames)) })
}
