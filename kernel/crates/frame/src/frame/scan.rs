//! Owns where frames begin: files of a pattern, and frames one below another.

use std::sync::Arc;

use super::{Frame, Logical};
use crate::{
    column::ColumnType,
    csv::{CsvOptions, CsvSource},
    error::FrameError,
    parquet::{ParquetOptions, ParquetSource},
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

/// A frame of Parquet files: one path, a pattern such as `runs/*/part-??.parquet`, or a folder, of which it is the files called
/// `.parquet` or `.pq`. Only their footers are read now. All have the same columns, in any order.
///
/// What elements become: integers `int64`, floats `float64`, text and unannotated bytes text, dates dates; timestamps of any
/// unit, with a time zone or without, times in UTC, of which anything finer than a microsecond is cut off; decimals `float64`,
/// rounded once, or `int64` if they have no fraction and at most 18 digits; UUIDs text. Columns that nothing reads are not read,
/// and neither are groups of rows whose bounds in the footer say that a filter leaves out all of them.
///
/// # Errors
/// If there is no such file, a footer cannot be read, files differ in their columns, or a column is nested or of another type
/// that a table cannot hold; [`ParquetOptions::without`] leaves such a column out.
pub fn scan_parquet(path: impl AsRef<std::path::Path>) -> Result<Frame, FrameError> {
    scan_parquet_with(path, ParquetOptions::default())
}

/// [`scan_parquet`] without some columns, and more.
///
/// # Errors
/// As [`scan_parquet`].
pub fn scan_parquet_with(
    path: impl AsRef<std::path::Path>,
    options: ParquetOptions,
) -> Result<Frame, FrameError> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let paths = if path.is_dir() {
        let inside = |ending: &str| files(&path.join(format!("*.{ending}")).display().to_string());
        let mut paths = Vec::new();
        for ending in ["parquet", "pq"] {
            match inside(ending) {
                Ok(more) => paths.extend(more),
                Err(FrameError::NoFiles { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if paths.is_empty() {
            return Err(FrameError::NoFiles { pattern: path.join("*.parquet").display().to_string() });
        }
        paths
    } else {
        files(&name)?
    };
    let source = ParquetSource::open(&name, &paths, &options)?;
    let schema = Arc::new(source.schema.clone());
    Ok(Frame { logical: Arc::new(Logical::Parquet(source)), schema })
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
