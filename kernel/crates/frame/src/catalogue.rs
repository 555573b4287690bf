//! Owns how entries of catalogues that are tables become frames.

use nuna_labels::CatalogEntry;
use serde_json::Value;

use crate::{CsvOptions, Frame, FrameError, concat_frames, scan_csv_with, scan_parquet};

/// Opening entries of a catalogue as tables: `catalog.get("usage")?.scan()?`.
pub trait ScanEntry {
    /// The table that the entry names, in CSV or Parquet.
    ///
    /// # Errors
    /// If it is no table, asks for what is not supported (which is named), or as [`scan_csv_with`] and [`scan_parquet`].
    fn scan(&self) -> Result<Frame, FrameError>;
}

/// Arguments of pandas and dask that do not change what a table holds here.
const WITHOUT_MEANING: [&str; 7] =
    ["blocksize", "assume_missing", "sample", "parse_dates", "engine", "low_memory", "lineterminator"];

impl ScanEntry for CatalogEntry {
    fn scan(&self) -> Result<Frame, FrameError> {
        let wrong = |message: String| FrameError::Invalid(format!("entry `{}`: {message}", self.name));
        let labels = |error: nuna_labels::LabelError| FrameError::Invalid(error.to_string());
        let kind = self.table().ok_or_else(|| {
            wrong(format!("it is no table, but of the driver `{}`; open it with `open()`", self.driver))
        })?;
        let args = self.arguments().map_err(labels)?;
        let mut options = CsvOptions::new();
        let has_header =
            args.get("csv_kwargs").and_then(|args| args.get("header")).is_some_and(|value| value == 0);
        let arguments = args.get("csv_kwargs").and_then(Value::as_object).into_iter().flatten();
        for (key, value) in arguments {
            match (key.as_str(), value) {
                ("sep" | "delimiter", Value::String(text)) if text.chars().count() == 1 => {
                    options = options.delimiter(text.chars().next().unwrap_or(','));
                }
                // As in pandas: files whose columns are named here have no header, unless it is said that they do.
                ("names", Value::Array(names)) => {
                    options = options.names(names.iter().filter_map(Value::as_str)).header(has_header);
                }
                ("header", Value::Null) => options = options.header(false),
                ("header", value) if value == 0 || value == "infer" => {}
                (key, _) if WITHOUT_MEANING.contains(&key) => {}
                (key, value) => {
                    return Err(wrong(format!(
                        "its argument `{key}: {value}` is not supported; scan its files by `paths()`"
                    )));
                }
            }
        }
        let scan = |path: &std::path::PathBuf| match kind {
            "csv" => scan_csv_with(path, options.clone()),
            _ => scan_parquet(path),
        };
        let frames = self.paths().map_err(labels)?.iter().map(scan).collect::<Result<Vec<_>, _>>()?;
        concat_frames(&frames)
    }
}
