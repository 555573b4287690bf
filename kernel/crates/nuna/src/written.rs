//! Owns results that the workers write themselves, so that they need not fit the notebook: a file for each block of tasks,
//! renamed into its place when it is whole. Which block writes which file follows from its number alone, so a block that
//! runs twice, after a loss or a failed attempt, leaves one file with the same rows.

use std::{
    fmt, fs,
    io::{self, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use nuna_ship::{Call, Failure, Finishing};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    rows::{self, Node, quoted},
    tasks::{AsCompleted, Tasks, TasksError},
    written::{traced::Field, zarr::Variables},
};

mod parquet;
mod traced;
mod zarr;

/// Failures that are told one by one; of more only the number.
const FAILURES_MAX: usize = 100;

/// Where blocks of rows as Parquet agree on their columns; it is gone when all are written.
const SCHEMA: &str = ".schema";

/// Results on their way into files; made by [`Tasks::to_csv`], [`Tasks::to_parquet`] and [`Tasks::to_zarr`]. Starts with [`start`](Self::start)
/// or when somebody asks for what became of it. Dropping it cancels what has not been written.
pub struct Writing {
    parts: Tasks<Part>,
    folder: PathBuf,
}

/// What one block of tasks has left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Number of the block.
    pub block: u64,
    /// Rows that were written.
    pub rows: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Tasks that failed at every attempt, by number, and have no row: the first of them.
    pub failures: Vec<(u64, Failure)>,
    pub failed: u64,
}

/// What all tasks have left.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    pub folder: PathBuf,
    pub parts: u64,
    pub rows: u64,
    pub bytes: u64,
    /// Tasks that failed at every attempt and have no row.
    pub failed: u64,
    /// The first of them, by number.
    pub failures: Vec<(u64, Failure)>,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written { folder, parts, rows, bytes, failed, failures } = self;
        write!(f, "{rows} rows, {bytes} bytes, in {parts} parts, in {}", folder.display())?;
        if let Some((index, failure)) = failures.first() {
            write!(f, "; {failed} tasks failed and have no row, the first of them, [{index}], {failure}")?;
        }
        Ok(())
    }
}

impl crate::display::Display for Written {
    fn mime_bundle(&self) -> Vec<(String, String)> {
        vec![("text/plain".to_owned(), self.to_string())]
    }
}

/// Where and how a block's outcomes are written.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sink {
    folder: PathBuf,
    format: Format,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Format {
    Csv,
    Parquet,
    Zarr { tasks: u64, tasks_per_block: u64 },
}

impl<T: Serialize + DeserializeOwned + 'static> Tasks<T> {
    /// Lets the workers write the results into `folder`, as CSV (RFC 4180, UTF-8): `part-000000.csv` and so on, one file
    /// for each block of tasks (see [`batch`](Self::batch)), with a line of column names and a row for each task. The first
    /// column, `task`, is the number of the task's parameter; then a column for each field of a struct, `outer.inner` for
    /// fields of fields, `name.0` for elements, `value` for a plain result. Nothing is an empty field, not a number `NaN`.
    ///
    /// A task that fails has no row; it is in `failed-000000.csv` and so on, with what it failed with. A file appears when
    /// it is whole, and each row is there once, whatever is lost or repeated on the way. The notebook hears of numbers
    /// only, so that a million results need not fit it. Workers must see `folder` under the same path.
    ///
    /// `folder` is made; it is an error of [`Writing::result`] if there is something in it already, or tasks have started.
    #[must_use]
    pub fn to_csv(&self, folder: impl AsRef<Path>) -> Writing {
        self.written(folder.as_ref(), |_, _| Format::Csv)
    }

    /// Lets the workers write the results into `folder`, as Parquet: `part-000000.parquet` and so on, packed with zstd, which
    /// [`scan_parquet`](crate::scan_parquet), pandas, polars and pyarrow read as one table. Rows, and columns with their names, are
    /// those of [`to_csv`](Self::to_csv). Integers become `int64` and floating-point numbers `float64`; truth and text stay what they
    /// are; nothing is null, not a number NaN.
    ///
    /// The columns are those of the row's type, so that they are the same in each file, also where all of a field is nothing.
    /// Sequences and maps are as many columns as they have elements: all must have the same, or the block that differs is an
    /// error, as is an integer beyond `i64::MAX`.
    ///
    /// A task that fails has no row; it is in `_failed-000000.csv` and so on. Files appear whole and each row is there once, as with
    /// [`to_csv`](Self::to_csv). Workers must see `folder` under the same path.
    ///
    /// `folder` is made; it is an error of [`Writing::result`] if there is something in it already, or tasks have started.
    #[must_use]
    pub fn to_parquet(&self, folder: impl AsRef<Path>) -> Writing {
        self.written(folder.as_ref(), |_, _| Format::Parquet)
    }

    /// Lets the workers write the results into a Zarr store (version 3) at `folder`, which `open_zarr` and xarray read. Its
    /// first dimension is `task`, the number of the parameter, in chunks of one block of tasks (see
    /// [`batch`](Self::batch)). There is a variable for each field of a struct (`outer.inner` for fields of fields), or
    /// `value` for a plain result; fields that are sequences or arrays of numbers, all of one length, have a second
    /// dimension. Numbers keep their type.
    ///
    /// The variable `done` says which tasks have a result. For others, floating-point numbers are NaN and the rest 0.
    /// Text has no place in it: use [`to_csv`](Self::to_csv). A chunk appears when it is whole. Workers must see `folder`
    /// under the same path.
    ///
    /// `folder` is made; it is an error of [`Writing::result`] if there is something in it already, or tasks have started.
    #[must_use]
    pub fn to_zarr(&self, folder: impl AsRef<Path>) -> Writing {
        self.written(folder.as_ref(), |tasks, tasks_per_block| Format::Zarr { tasks, tasks_per_block })
    }

    fn written(&self, folder: &Path, format: fn(u64, u64) -> Format) -> Writing {
        let made = make(folder);
        let folder = made.as_ref().cloned().unwrap_or_else(|_| folder.to_owned());
        let parts = self.extended(PhantomData, |farm, options| {
            let folder = made.map_err(|error| TasksError::Unwritten { message: error.to_string() })?;
            let layout = farm.layout(options);
            let sink = Sink { folder, format: format(layout.task_count, layout.tasks_per_block) };
            let shell = |sink: &Sink, (block, first, outcomes): Finishing<T>| {
                let rows = outcomes.into_iter().map(|outcome| outcome.map(|row| rows::node(&row)));
                sink.write(block, first, &mut rows.into_iter(), traced::fields::<T>)
            };
            Ok(farm.finish(Call::over_tasks_with(&sink, shell)?))
        });
        Writing { parts, folder }
    }
}

/// Makes the folder, or takes an empty one, and says where it is for whoever has another working folder.
fn make(folder: &Path) -> io::Result<PathBuf> {
    let tried = |error: io::Error| {
        io::Error::new(error.kind(), format!("results cannot be written to {}: {error}", folder.display()))
    };
    fs::create_dir_all(folder).map_err(tried)?;
    let folder = fs::canonicalize(folder).map_err(tried)?;
    if fs::read_dir(&folder).map_err(tried)?.next().is_some() {
        let message = format!(
            "results cannot be written to {}, where there is something already; choose another folder, or empty it",
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    Ok(folder)
}

type Row = Result<Result<Node, String>, Failure>;

impl Sink {
    /// `traced` says what the type of the rows does of their columns.
    fn write(
        &self,
        block: u64,
        first: u64,
        outcomes: &mut dyn Iterator<Item = Row>,
        traced: fn() -> Vec<Field>,
    ) -> Result<Part, String> {
        let mut part = Part { block, rows: 0, bytes: 0, failures: Vec::new(), failed: 0 };
        let mut rows: Vec<Option<Vec<(String, Node)>>> = Vec::new();
        let mut failed = String::new();
        for (task, outcome) in (first..).zip(outcomes) {
            match outcome {
                Ok(row) => {
                    let row = row.map_err(|error| format!("the result of task {task} is no row: {error}"))?;
                    part.rows += 1;
                    rows.push(Some(match self.format {
                        Format::Csv | Format::Parquet => row.columns(),
                        Format::Zarr { .. } => row.variables(),
                    }));
                }
                Err(failure) => {
                    failed.push_str(&format!("{task},{}\n", quoted(&failure.to_string())));
                    part.failed += 1;
                    if part.failures.len() < FAILURES_MAX {
                        part.failures.push((task, failure));
                    }
                    rows.push(None);
                }
            }
        }
        let put = |name: &str, bytes: &[u8]| {
            let path = self.folder.join(name);
            whole(&path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Ok::<u64, String>(bytes.len() as u64)
        };
        match &self.format {
            Format::Csv => {
                if part.rows > 0 {
                    part.bytes += put(&format!("part-{block:06}.csv"), csv(first, &rows).as_bytes())?;
                }
            }
            Format::Parquet => {
                if part.rows > 0 {
                    let (schema, bytes) = parquet::file(first, &rows, &traced())
                        .map_err(|error| format!("the rows of this block are no table: {error}"))?;
                    agree(&self.folder.join(SCHEMA), &schema)?;
                    part.bytes += put(&format!("part-{block:06}.parquet"), &bytes)?;
                }
            }
            Format::Zarr { tasks, tasks_per_block } => {
                let variables = Variables::of(first, rows, *tasks_per_block)?;
                for (name, bytes) in variables.files(block, *tasks, *tasks_per_block) {
                    if name.ends_with("zarr.json") {
                        part.bytes += agree(&self.folder.join(&name), &bytes)?;
                    } else {
                        part.bytes += put(&name, &bytes)?;
                    }
                }
            }
        }
        // Readers of a folder of Parquet files pass over names that begin so.
        let failures = match self.format {
            Format::Csv => Some("failed"),
            Format::Parquet => Some("_failed"),
            Format::Zarr { .. } => None,
        };
        if let Some(name) = failures
            && part.failed > 0
        {
            part.bytes +=
                put(&format!("{name}-{block:06}.csv"), format!("task,message\n{failed}").as_bytes())?;
        }
        Ok(part)
    }
}

/// Every block comes with the metadata: the first one writes it, and all others have to have the same. How many bytes were
/// written.
fn agree(path: &Path, bytes: &[u8]) -> Result<u64, String> {
    let failed = |error: io::Error| format!("cannot write {}: {error}", path.display());
    let linked = placed(path, bytes, |beside, path| fs::hard_link(beside, path));
    // Without links, as some file systems are, two that differ and meet in this moment are not noticed.
    if linked.is_err() && !path.exists() {
        whole(path, bytes).map_err(failed)?;
    } else if linked.is_err() {
        return if fs::read(path).map_err(failed)? == bytes { Ok(0) } else { Err(differs(path)) };
    }
    Ok(bytes.len() as u64)
}

fn differs(path: &Path) -> String {
    format!(
        "the rows of this block have other fields, types or lengths than those of another one that wrote {}; all must have the same",
        path.display()
    )
}

/// The names of the columns of rows. Rows of one type have the same but for what they leave out; those that come later go to
/// the end.
fn names(rows: &[Option<Vec<(String, Node)>>]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows.iter().flatten() {
        for (place, (name, _)) in row.iter().enumerate() {
            if names.get(place) != Some(&name.as_str()) && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    names
}

/// A row's field, which most rows have at the same place.
fn field<'a>(row: &'a [(String, Node)], place: usize, name: &str) -> Option<&'a Node> {
    let here = row.get(place).filter(|(column, _)| column == name);
    here.or_else(|| row.iter().find(|(column, _)| column == name)).map(|(_, node)| node)
}

fn csv(first: u64, rows: &[Option<Vec<(String, Node)>>]) -> String {
    let names = names(rows);
    let mut text = String::from("task");
    for name in &names {
        text.push(',');
        text.push_str(&quoted(name));
    }
    text.push('\n');
    for (task, row) in (first..).zip(rows) {
        let Some(row) = row else { continue };
        text.push_str(&task.to_string());
        for (place, name) in names.iter().enumerate() {
            text.push(',');
            if let Some(node) = field(row, place, name) {
                text.push_str(&node.csv());
            }
        }
        text.push('\n');
    }
    text
}

/// Writes a file beside its place and renames it, so that nobody sees a part of it. Two may do so at once.
fn whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    placed(path, bytes, |beside, path| fs::rename(beside, path))
}

/// Writes a file beside its place and has `place` put it there.
fn placed(path: &Path, bytes: &[u8], place: fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let beside = folder.join(format!(".{name}.{}-{}-{number}", host.trim(), std::process::id()));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&beside)?;
        file.write_all(bytes)?;
        drop(file);
        place(&beside, path)
    };
    let written = write();
    // After a rename there is none.
    let _ = fs::remove_file(&beside);
    written
}

impl Writing {
    /// Waits for the last part.
    ///
    /// # Errors
    /// If a task failed at every attempt: [`TasksError::Incomplete`] says how many, and [`partial`](Self::partial) counts
    /// the rows that are there all the same. If a part cannot be written, or the computation did not come to its end.
    pub fn result(&self) -> Result<Written, TasksError> {
        let written = self.partial()?;
        if written.failed > 0 {
            return Err(TasksError::Incomplete { label: self.parts.label(), written: Box::new(written) });
        }
        Ok(written)
    }

    /// Waits for the last part; tasks that failed are counted in the result.
    ///
    /// # Errors
    /// If a part cannot be written, or the computation did not come to its end.
    pub fn partial(&self) -> Result<Written, TasksError> {
        let mut written = Written {
            folder: self.folder.clone(),
            parts: 0,
            rows: 0,
            bytes: 0,
            failed: 0,
            failures: Vec::new(),
        };
        for part in self.as_completed() {
            let part = part.map_err(unwritten)?;
            written.parts += 1;
            written.rows += part.rows;
            written.bytes += part.bytes;
            written.failed += part.failed;
            written.failures.extend(part.failures);
            written.failures.sort_by_key(|&(task, _)| task);
            written.failures.truncate(FAILURES_MAX);
        }
        sweep(&self.folder);
        Ok(written)
    }

    /// Parts in the order in which they are done.
    pub fn as_completed(&self) -> AsCompleted<Part> {
        self.parts.as_completed()
    }

    /// Sends the tasks off without waiting.
    #[must_use]
    pub fn start(self) -> Self {
        Writing { parts: self.parts.start(), folder: self.folder }
    }

    /// Sends the tasks off and leaves them to the cluster; see [`Tasks::detach`].
    ///
    /// # Errors
    /// If the tasks cannot be sent, have started already, or are refused at once.
    pub fn detach(self) -> Result<(), TasksError> {
        self.parts.detach()
    }

    /// Parts that are written so far.
    pub fn done(&self) -> usize {
        self.parts.done()
    }

    /// Stops what has not started. Files that are there stay.
    pub fn cancel(&self) {
        self.parts.cancel();
    }
}

/// A block that cannot be written says so in its own words; its parameter would be all its rows.
fn unwritten(error: TasksError) -> TasksError {
    match error {
        TasksError::Task { failure, .. } => TasksError::Unwritten { message: failure.message },
        error => error,
    }
}

/// Removes what workers that were killed left half written.
fn sweep(folder: &Path) {
    // The folder was empty before, so whatever is hidden in it is ours.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !hidden => sweep(&entry.path()),
            Ok(kind) if kind.is_file() && hidden => drop(fs::remove_file(entry.path())),
            Ok(_) | Err(_) => {}
        }
    }
}
