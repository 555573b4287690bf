//! Owns labelled arrays: [`DataArray`] and [`Dataset`] with dimension names, coordinates and attributes, what they do
//! by name (arithmetic, reductions, selection, group-by), how they look as text, HTML and plots, and the way to and
//! from stores.
//!
//! Leaves to others: what is computed block by block (`array`), files (`storage`), where it runs (`plan`'s engines).
//!
//! Attributes follow xarray 2025.11 and later: reductions and functions of one array keep them, operations on two keep
//! those that both have or only one has, and drop the ones that differ.

#![forbid(unsafe_code)]

mod align;
mod apart;
mod append;
mod arithmetic;
mod build;
mod calculus;
mod calendar;
mod combine;
mod compare;
mod coord;
mod counted;
mod data_array;
mod dataset;
mod dims;
mod ends;
mod error;
mod fit;
mod format;
mod frequency;
#[doc(hidden)]
pub mod fuzzing;
mod gaps;
mod geotiff;
mod groupby;
mod html;
mod intake;
mod label;
mod many;
mod merge;
mod open;
mod operators;
pub mod plot;
mod points;
mod positions;
mod ragged;
mod reduce;
mod select;
mod shape;
mod spectrum;
mod stac;
mod stack;
mod statistics;
mod text;
mod time;
mod weighted;
mod windows;
mod write;
mod write_geotiff;
mod write_references;
mod yaml;

pub use align::{Align, Join, Method, Reindex, align};
pub use calendar::{Calendar, DateTime};
pub use combine::combine_by_coords;
pub use compare::Compared;
pub use coord::{Coord, Coords, Values};
pub use data_array::DataArray;
pub use dataset::Dataset;
pub use dims::{Dims, IntoDims};
pub use error::LabelError;
pub use frequency::{date_range, date_range_to};
pub use geotiff::{
    Files, open_geotiff, open_geotiff_overview, open_geotiff_with, open_geotiffs, open_geotiffs_with,
};
pub use groupby::{Bins, DatasetGroupBy, GroupBy, GroupKey, GroupKeys};
pub use intake::{Catalog, CatalogEntry, Parameter, open_intake};
pub use label::{Label, Selection};
pub use many::{open_many, open_mfdataset};
pub use merge::{Compat, Concat, Merge, concat, concat_with, merge, merge_with};
pub use nuna_storage::{
    Attributes, BloscCodec, Compressor, Encoding, GeotiffOptions, GeotiffWriteOptions, NetcdfEncoding,
    NetcdfOptions, Packing, ReferencesOptions, Shuffle, StoreOptions, ZarrFormat,
};
pub use open::{open_dataset, open_netcdf, open_netcdf_group, open_zarr, open_zarr_group};
pub use operators::Others;
pub use plot::{Plot, PlotOptions};
pub use positions::{Pick, slice};
pub use ragged::{Profiles, open_ragged};
pub use reduce::Reducer;
pub use stac::{Asset, Item, Items, open_stac};
pub use stack::open_weights;
pub use time::{TimePart, Times};
pub use weighted::{DatasetWeighted, Weighted};
pub use windows::{Boundary, Coarsen, Quantiles, RollingWindow};
pub use write_references::{write_references, write_references_with};

/// What can go wrong with labelled arrays.
pub type Result<T, E = LabelError> = std::result::Result<T, E>;
