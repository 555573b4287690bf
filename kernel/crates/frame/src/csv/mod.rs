//! Owns CSV files as tables: what they are like, how they are cut into blocks, and what their columns hold.

mod infer;
mod lanes;
pub(crate) mod parse;
mod read;
pub(crate) mod split;
pub(crate) mod write;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use self::read::{CsvScan, quote_parity};
use self::{parse::Nulls, split::Dialect};
use crate::{column::ColumnType, error::FrameError, table::Schema};

/// Bytes of a file that are one block, unless something else is said.
const BLOCK_BYTES: u64 = 32 << 20;

/// How CSV files are to be read.
///
/// ```text
/// scan_csv_with("runs/*.csv", CsvOptions::new().delimiter(';').nulls(["-999"]).column("id", ColumnType::Text))
/// ```
#[derive(Clone, Debug)]
pub struct CsvOptions {
    delimiter: Option<char>,
    quote: Option<char>,
    multiline: bool,
    header: bool,
    names: Option<Vec<String>>,
    nulls: Nulls,
    columns: Vec<(String, ColumnType)>,
    skip_bad_rows: bool,
    block_bytes: u64,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions {
            delimiter: None,
            quote: Some('"'),
            multiline: false,
            header: true,
            names: None,
            nulls: Nulls::Usual,
            columns: Vec::new(),
            skip_bad_rows: false,
            block_bytes: BLOCK_BYTES,
        }
    }
}

impl CsvOptions {
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands between fields: one ASCII character. A comma unless said, a tab in files called `.tsv`.
    #[must_use]
    pub fn delimiter(mut self, delimiter: char) -> Self {
        self.delimiter = Some(delimiter);
        self
    }

    /// What encloses fields that hold delimiters; `None` if quotes are letters. `"` unless said.
    #[must_use]
    pub fn quote(mut self, quote: impl Into<Option<char>>) -> Self {
        self.quote = quote.into();
        self
    }

    /// Fields in quotes may hold line ends. The files are then read twice, since whether a line end is one depends on all
    /// quotes before it. Without it, a line end within quotes is an error.
    #[must_use]
    pub fn quoted_newlines(mut self, allowed: bool) -> Self {
        self.multiline = allowed;
        self
    }

    /// Whether each file begins with the names of its columns; true unless said.
    #[must_use]
    pub fn header(mut self, header: bool) -> Self {
        self.header = header;
        self
    }

    /// What the columns are called, in the files' order, in place of what a header says. Without either, `column_1` and so on.
    #[must_use]
    pub fn names<T: AsRef<str>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.names = Some(names.into_iter().map(|name| name.as_ref().to_owned()).collect());
        self
    }

    /// What stands for something missing, in columns of any type, beside an empty field. Unless said: `NA`, `NaN`, `null` and
    /// their like in all columns but those of text.
    #[must_use]
    pub fn nulls<T: AsRef<str>>(mut self, nulls: impl IntoIterator<Item = T>) -> Self {
        self.nulls = Nulls::These(nulls.into_iter().map(|null| null.as_ref().to_owned()).collect());
        self
    }

    /// What a column holds. Of the others that is guessed from the first MiB of the first file.
    #[must_use]
    pub fn column(mut self, name: &str, kind: ColumnType) -> Self {
        self.columns.retain(|(known, _)| known != name);
        self.columns.push((name.to_owned(), kind));
        self
    }

    /// Leaves out rows with too few or too many fields, or with a field that is no value of its column, and counts them
    /// ([`DataTable::skipped_rows`](crate::DataTable::skipped_rows)); otherwise they are errors. Fields of columns that
    /// nothing reads are not looked at.
    #[must_use]
    pub fn skip_bad_rows(mut self, skip: bool) -> Self {
        self.skip_bad_rows = skip;
        self
    }

    /// Bytes of a file that are read as one block; 32 MiB unless said.
    #[must_use]
    pub fn block_bytes(mut self, bytes: u64) -> Self {
        self.block_bytes = bytes.max(1);
        self
    }

    fn dialect(&self, path: &str) -> Result<Dialect, FrameError> {
        let byte = |what: &str, c: char| match u8::try_from(c) {
            Ok(b) if b.is_ascii() && !matches!(b, b'\n' | b'\r' | 0) => Ok(b),
            _ => Err(FrameError::Invalid(format!("{c:?} cannot be the {what}: use one ASCII character"))),
        };
        let guessed = if path.to_ascii_lowercase().ends_with(".tsv") { '\t' } else { ',' };
        let delimiter = byte("delimiter", self.delimiter.unwrap_or(guessed))?;
        let quote = self.quote.map(|quote| byte("quote", quote)).transpose()?;
        if quote == Some(delimiter) {
            return Err(FrameError::Invalid("the delimiter cannot be the quote".to_owned()));
        }
        Ok(Dialect { delimiter, quote, multiline: self.multiline })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CsvFile {
    pub(crate) path: String,
    /// When it was looked at; a file that has another length later is not the same.
    pub(crate) length: u64,
    /// Number of its first block.
    pub(crate) first_block: u64,
}

/// Files of the same columns.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CsvSource {
    pub(crate) name: String,
    pub(crate) files: Vec<CsvFile>,
    pub(crate) block_bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) dialect: Dialect,
    /// What the header of each file says.
    pub(crate) header: Option<Vec<String>>,
    pub(crate) nulls: Nulls,
    pub(crate) skip_bad_rows: bool,
    /// All columns of the files.
    pub(crate) schema: Schema,
}

impl CsvSource {
    /// Looks at the files and reads the beginning of the first one.
    pub(crate) fn open(name: &str, paths: &[String], options: &CsvOptions) -> Result<Arc<Self>, FrameError> {
        let mut files = Vec::with_capacity(paths.len());
        let mut blocks = 0_u64;
        for path in paths {
            let error =
                |error: std::io::Error| FrameError::File { path: path.clone(), message: error.to_string() };
            let about = std::fs::metadata(path).map_err(error)?;
            if !about.is_file() {
                return Err(FrameError::File { path: path.clone(), message: "it is no file".to_owned() });
            }
            let length = about.len();
            if length == 0 {
                continue;
            }
            files.push(CsvFile { path: path.clone(), length, first_block: blocks });
            blocks += length.div_ceil(options.block_bytes);
        }
        let Some(first) = files.first() else {
            return Err(FrameError::File {
                path: name.to_owned(),
                message: "it is empty, so its columns have no names".to_owned(),
            });
        };
        let dialect = options.dialect(&first.path)?;
        let (header, schema) = infer::infer(first, &dialect, options)?;
        Ok(Arc::new(CsvSource {
            name: name.to_owned(),
            files,
            block_bytes: options.block_bytes,
            blocks,
            dialect,
            header,
            nulls: options.nulls.clone(),
            skip_bad_rows: options.skip_bad_rows,
            schema,
        }))
    }
}
