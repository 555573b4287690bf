//! Owns stored arrays: Zarr v2 and v3 folders as zarr-python and xarray write them, read and written in parallel by
//! chunk. [`open`] reads metadata only; [`ZarrSource`] and [`ZarrSink`] are the two ends that `array` plans with.
//!
//! Leaves to others: names of dimensions that belong together, coordinates and times (`labels`), and when what is read
//! (`array`). All that knows the `zarrs` crate is [`codec`];
//! [`direct`] is the short way past it for the chunks that most stores have.

#![forbid(unsafe_code)]

pub mod cf;
mod codec;
mod direct;
mod error;
mod json;
mod metadata;
mod read;
mod write;

pub use direct::Direct;
pub use error::StorageError;
pub use json::Attributes;
pub use metadata::{Group, Skipped, Variable, ZarrFormat, open};
pub use read::{ZarrReader, ZarrSource};
pub use write::{NewStore, NewVariable, StoreOptions, ZarrSink, ZarrWriter};

/// The kind under which Zarr arrays travel in plans.
pub(crate) const ZARR_KIND: &str = "zarr";

/// Makes stored arrays known to this process. Every process that runs blocks calls it at start-up; calling it again
/// changes nothing.
pub fn register() {
    nuna_array::register_source_kind(ZARR_KIND, read::open_reader);
    nuna_array::register_sink_kind(ZARR_KIND, write::open_writer);
}
