//! Owns stored arrays: Zarr v2 and v3 folders as zarr-python and xarray write them, read and written in parallel by
//! chunk; variables of NetCDF and HDF5 files; and images of TIFF files, one or many as one array. [`open`], [`open_netcdf`] and
//! [`open_geotiff`] read metadata only; [`Source`] and [`ZarrSink`] are the two ends that `array` plans with.
//!
//! What is at an address (`https://`, `s3://`) is read by requests: [`place`] knows paths from addresses, [`remote`] is such a
//! store as the codecs see it.
//!
//! Leaves to others: names of dimensions that belong together, coordinates and times (`labels`), and when what is read
//! (`array`). All that knows the `zarrs` crate is [`codec`]; what lies where in NetCDF and TIFF files is the `netcdf` and
//! `geotiff` crates';
//! [`direct`] is the short way past it for the chunks that most stores have.

#![forbid(unsafe_code)]

mod blosc;
mod bucket;
pub mod cf;
mod codec;
mod compressor;
mod direct;
mod draft;
mod dtype;
mod encoding;
mod error;
mod file;
mod geotiff;
mod grow;
mod json;
mod kept;
mod lock;
mod metadata;
mod netcdf;
mod numcodecs;
mod object;
mod packing;
mod pieces;
mod place;
mod read;
mod references;
mod remote;
mod sink;
mod source;
mod text;
mod write;
mod write_geotiff;
mod write_netcdf;

pub use compressor::{BloscCodec, Compressor, Shuffle};
pub use direct::Direct;
pub use encoding::Encoding;
pub use error::StorageError;
pub use file::{FileKind, OpenFile};
pub use geotiff::{
    GeotiffOptions, GeotiffSource, Raster, Stack, open_geotiff, open_geotiff_file, open_geotiffs,
};
pub use grow::{GrownLayout, GrownStore};
pub use json::{Attributes, read_documents};
pub use metadata::{Format, Group, Skipped, Variable, ZarrFormat, open, open_group};
pub use netcdf::{NetcdfSource, open_netcdf, open_netcdf_file};
pub use packing::Packing;
pub use place::{is_remote as is_address, read_text, resolve, shown};
pub use read::{ZarrReader, ZarrSource};
pub use references::{NewLabels, ReferencesOptions, write_references};
pub use sink::PieceSink;
pub use source::Source;
pub use write::{NewStore, NewVariable, StoreOptions, ZarrSink, ZarrWriter};
pub use write_geotiff::{GeotiffWriteOptions, NewGeotiff, NewRaster};
pub use write_netcdf::{NetcdfEncoding, NetcdfOptions, NewNetcdf};

/// The kind under which Zarr arrays travel in plans.
pub(crate) const ZARR_KIND: &str = "zarr";
/// The kind under which variables of NetCDF and HDF5 files do.
pub(crate) const NETCDF_KIND: &str = "netcdf";
/// The kind under which images of TIFF files do.
pub(crate) const GEOTIFF_KIND: &str = "geotiff";
/// The kind under which arrays that are written into one file do.
pub(crate) const PIECES_KIND: &str = "pieces";

/// Makes stored arrays known to this process. Every process that runs blocks calls it at start-up; calling it again
/// changes nothing.
pub fn register() {
    nuna_array::register_source_kind(ZARR_KIND, read::open_reader);
    nuna_array::register_source_kind(NETCDF_KIND, netcdf::open_reader);
    nuna_array::register_source_kind(GEOTIFF_KIND, geotiff::open_reader);
    nuna_array::register_sink_kind(ZARR_KIND, write::open_writer);
    nuna_array::register_sink_kind(PIECES_KIND, sink::open_writer);
}
