//! Owns tables that are larger than memory: a [`Frame`] says what is computed from CSV files or tables in memory, and
//! runs block by block on the cluster or the threads of this process; a [`DataTable`] is what comes back.
//!
//! Leaves to others: where blocks run (`plan`'s engines), arrays (`array`, `labels`).
//!
//! A block is a range of a file's bytes. Within it rows go through the parser, filters and expressions some thousand at a
//! time, into groups or into the block's result, so memory follows the result, not the file. Columns that nothing reads
//! are not parsed, and neither are the other columns of rows that a filter leaves out.

mod column;
mod csv;
mod error;
mod eval;
mod exec;
mod expr;
mod frame;
mod group;
mod join;
mod sort;
mod table;
mod time;
mod view;
mod wire;

pub use column::ColumnType;
pub use csv::CsvOptions;
pub use error::FrameError;
pub use expr::{Expr, Literal, col, lit};
pub use frame::{Frame, FrameGroupBy, IntoColumns, concat_frames, scan_csv, scan_csv_with};
pub use group::{Agg, count_rows};
pub use table::DataTable;
