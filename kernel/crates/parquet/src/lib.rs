//! Owns Parquet files as bytes: what a file says of itself ([`Footer`]), reading a column of a group of rows
//! ([`ColumnReader`]) with positioned reads alone, and writing ([`Writer`]).
//!
//! Leaves to others: tables, which files belong together, when what is read, and on which machine.
//!
//! Nothing here trusts a file: lengths are compared with the file's before memory is asked for, numbers that few bytes stand for
//! are decoded as far as they are asked for, and checksums are looked at where there are any. Why there is a reader of our own:
//! `docs/decisions/parquet.md`.

#![forbid(unsafe_code)]

mod codec;
mod elements;
mod error;
mod footer;
mod input;
mod page;
mod read;
mod runs;
mod schema;
mod thrift;
mod values;
mod write;

pub use elements::Bound;
pub use error::Error;
pub use footer::{Bounds, Chunk, ColumnName, Footer, Group};
pub use input::Input;
pub use read::ColumnReader;
pub use schema::Kind;
pub use values::{Column, Place, Texts, Values};
pub use write::Writer;

/// What can go wrong in a file.
pub type Result<T, E = Error> = std::result::Result<T, E>;
