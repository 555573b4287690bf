//! Owns tables that are larger than memory: a [`Frame`] says what is computed from CSV or Parquet files or tables in memory,
//! and runs block by block on the cluster or the threads of this process; a [`DataTable`] is what comes back.
//!
//! Leaves to others: where blocks run (`plan`'s engines), arrays (`array`, `labels`), the bytes of Parquet files (`parquet`).
//!
//! A block is a range of a CSV file's bytes, or some groups of rows of Parquet files. Within it rows go through the parser, filters and expressions some thousand at a
//! time, into groups or into the block's result, so memory follows the result, not the file. Columns that nothing reads
//! are not parsed, and neither are the other columns of rows that a filter leaves out.

mod catalogue;
mod column;
mod csv;
mod divide;
mod error;
mod eval;
mod exec;
mod expr;
mod frame;
mod group;
mod join;
mod parquet;
mod pipeline;
mod rows;
mod sort;
mod stages;
mod table;
mod time;
mod view;
mod wire;
mod write;

pub use catalogue::ScanEntry;
pub use column::ColumnType;
pub use csv::CsvOptions;
pub use error::FrameError;
pub use expr::{Expr, Literal, col, lit};
pub use frame::{
    Frame, FrameGroupBy, IntoColumns, concat_frames, scan_csv, scan_csv_with, scan_parquet, scan_parquet_with,
};
pub use group::{Agg, count_rows};
pub use parquet::ParquetOptions;
pub use table::DataTable;
