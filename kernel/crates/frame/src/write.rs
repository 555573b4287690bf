//! Owns writing tables and frames as files, which are there as a whole or not at all, also if two workers write the same one.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use nuna_plan::TaskError;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::{
    csv::write::Writer as CsvWriter,
    error::{FrameError, io},
    exec::{Job, Sink},
    frame::Frame,
    parquet::{fault, write as parquet},
    table::{DataTable, Schema},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Format {
    Csv,
    Parquet,
}

impl Format {
    fn ending(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Parquet => "parquet",
        }
    }

    /// What lies in memory while a file is written: of Parquet, the group of rows that is not written yet, packed, and some
    /// pages.
    pub(crate) fn scratch_bytes(self) -> u64 {
        match self {
            Format::Csv => 0,
            Format::Parquet => 96 << 20,
        }
    }
}

/// A file being written beside its place.
pub(crate) struct Part {
    path: PathBuf,
    rows: i64,
    body: Body,
}

enum Body {
    Csv { file: NamedTempFile, writer: CsvWriter, text: String },
    Parquet(Box<nuna_parquet::Writer<BufWriter<NamedTempFile>>>),
}

impl Part {
    /// Begins the file of block `number` in a folder.
    pub(crate) fn begin(
        folder: &str,
        format: Format,
        number: u64,
        schema: &Arc<Schema>,
    ) -> Result<Self, TaskError> {
        Self::at(Path::new(folder).join(format!("part-{number:05}.{}", format.ending())), format, schema)
    }

    fn at(path: PathBuf, format: Format, schema: &Schema) -> Result<Self, TaskError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new()
            .prefix(".part-")
            .tempfile_in(folder)
            .map_err(|error| io(&folder.display().to_string(), "making a file", &error))?;
        let body = match format {
            Format::Csv => {
                let (writer, mut text) = (CsvWriter::default(), String::new());
                writer.header(schema, &mut text);
                Body::Csv { file, writer, text }
            }
            Format::Parquet => {
                let columns = parquet::columns(schema);
                let writer = nuna_parquet::Writer::new(BufWriter::new(file), &columns);
                Body::Parquet(Box::new(writer.map_err(|error| failed(&path, error))?))
            }
        };
        Ok(Part { path, rows: 0, body })
    }

    /// Adds rows.
    pub(crate) fn write(&mut self, table: &DataTable) -> Result<(), TaskError> {
        self.rows += table.rows as i64;
        match &mut self.body {
            Body::Csv { file, writer, text } => {
                writer.rows(table, text);
                flush(&self.path, file, text)
            }
            Body::Parquet(writer) => {
                writer.write(&parquet::rows(table)).map_err(|error| failed(&self.path, error))
            }
        }
    }

    /// Puts the file into its place. How many rows it has.
    pub(crate) fn finish(self) -> Result<i64, TaskError> {
        let path = self.path;
        let name = path.display().to_string();
        let file = match self.body {
            Body::Csv { mut file, mut text, .. } => {
                flush(&path, &mut file, &mut text)?;
                file
            }
            Body::Parquet(writer) => {
                let out = writer.finish().map_err(|error| failed(&path, error))?;
                out.into_inner().map_err(|error| io(&name, "writing", error.error()))?
            }
        };
        readable(file.as_file()).map_err(|error| io(&name, "setting its mode", &error))?;
        file.persist(&path).map_err(|error| io(&name, "writing", &error.error))?;
        Ok(self.rows)
    }
}

fn flush(path: &Path, file: &mut NamedTempFile, text: &mut String) -> Result<(), TaskError> {
    let written = file.write_all(text.as_bytes());
    text.clear();
    written.map_err(|error| io(&path.display().to_string(), "writing", &error))
}

fn failed(path: &Path, error: nuna_parquet::Error) -> TaskError {
    let name = path.display().to_string();
    match error {
        nuna_parquet::Error::Io(error) => io(&name, "writing", &error),
        error => fault(&name, &error).into(),
    }
}

/// The mode that a file has which is made in the usual way.
fn readable(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

impl Frame {
    /// Writes the rows as CSV into a folder, which is made if it is not there: a file for each block, written where it is
    /// computed, called `part-00000.csv` and so on in the order of the rows. How many rows there are.
    ///
    /// # Errors
    /// If the folder has such files already, or cannot be written; and as [`compute`](Self::compute).
    pub fn write_csv(&self, folder: impl AsRef<Path>) -> Result<u64, FrameError> {
        self.write(folder.as_ref(), Format::Csv)
    }

    /// Writes the rows as Parquet into a folder, as [`write_csv`](Self::write_csv) does: `part-00000.parquet` and so on, packed
    /// with zstd, with bounds and checksums. [`scan_parquet`](crate::scan_parquet) of the folder reads them back as they were;
    /// times are UTC to the microsecond.
    ///
    /// # Errors
    /// As [`write_csv`](Self::write_csv).
    pub fn write_parquet(&self, folder: impl AsRef<Path>) -> Result<u64, FrameError> {
        self.write(folder.as_ref(), Format::Parquet)
    }

    fn write(&self, folder: &Path, format: Format) -> Result<u64, FrameError> {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let path = folder.display().to_string();
        let failed =
            |error: std::io::Error| FrameError::File { path: path.clone(), message: error.to_string() };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if name.to_string_lossy().starts_with("part-") {
                return Err(FrameError::File {
                    path: path.clone(),
                    message: format!(
                        "it has {} already; write into another folder, so that parts do not mix",
                        name.to_string_lossy()
                    ),
                });
            }
        }
        let pipelines = self.split_if_large()?.exactly()?;
        let schema = Arc::new(Schema(
            self.columns()
                .into_iter()
                .map(|name| Ok((name.clone(), self.column_type(&name)?)))
                .collect::<Result<_, FrameError>>()?,
        ));
        let job =
            Job { pipelines, sink: Sink::Write { folder: path.clone(), format }, schema, first_block: 0 };
        if job.blocks() == 0 {
            // A table of no rows still has columns.
            let table = DataTable::empty(job.schema);
            table.write(&Path::new(&path).join(format!("part-00000.{}", format.ending())), format)?;
            return Ok(0);
        }
        let counts = job.execute(&format!("write {}", self.label()))?;
        Ok(counts.column_i64("rows")?.iter().map(|&rows| rows as u64).sum())
    }
}

impl DataTable {
    /// Writes the table as one CSV file, in the place of one that is there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_csv(&self, path: impl AsRef<Path>) -> Result<(), FrameError> {
        self.write(path.as_ref(), Format::Csv)
    }

    /// Writes the table as one Parquet file, in the place of one that is there; see
    /// [`Frame::write_parquet`](crate::Frame::write_parquet).
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_parquet(&self, path: impl AsRef<Path>) -> Result<(), FrameError> {
        self.write(path.as_ref(), Format::Parquet)
    }

    fn write(&self, path: &Path, format: Format) -> Result<(), FrameError> {
        let written = Part::at(path.to_owned(), format, &self.schema).and_then(|mut part| {
            part.write(self)?;
            part.finish()
        });
        written.map(drop).map_err(|error| FrameError::Contents(error.message))
    }
}
