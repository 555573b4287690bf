//! Nuna: labelled, chunked arrays and task farms on clusters, for notebooks.
//!
//! This crate is the façade, and it is a Rust `dylib`: evaluator, scheduler, workers and every cell link the one
//! `libnuna.so`, so they share types, statics and the standard library. It owns names and the few generic shells
//! ([`MapTasks`]); the work is done by the crates it re-exports. Public types are owned, `Clone` and not generic
//! over element type, because every cell compiles against them.
//!
//! # What must lie beside it for cells to compile
//!
//! `rustc --crate-type dylib -Cprefer-dynamic --extern nuna=…/libnuna.so -L dependency=DEPS` needs in `DEPS`:
//! the `.rlib` or `.rmeta` of every crate below this one (their metadata is read, their code is in `libnuna.so`), and
//! the proc-macro libraries that their re-exports name: `libserde_derive-*.so`, which is how `#[derive(Serialize)]`
//! works in a cell. Only files of the one build that made `libnuna.so` may lie there, or `rustc` finds several candidates.
//!
//! A derive also writes `extern crate serde`, which no prelude can provide: the evaluator adds
//! `#[serde(crate = "nuna::serde")]` to types that derive `Serialize` or `Deserialize` and do not have it.

pub mod cell;
pub mod comm;
pub mod display;
mod follow;
mod input;
pub mod parameters;
pub mod prelude;
pub mod progress;
pub mod publish;
mod recast;
pub mod rows;
pub mod session;
pub mod table;
pub mod tasks;
mod timing;
mod views;
pub mod written;

pub use follow::Task;
pub use input::{input, password};
pub use nuna_array::{
    Array, ArrayError, Axes, Binary, Block, Chunk, ChunkGrid, Complex, DType, FftOptions, Index, MapBlocks,
    MapOver, NanPolicy, Norm, Operand, Operation, Pad, PsdOptions, Random, Region, Rolling, Scalar, Scan,
    Shape, Side, SparseWeights, Symmetry, Trend, Unary, Unique, Window, binned_mean, edges, einsum, engine,
    fftfreq, histogram, rfftfreq, tensordot,
};
pub use nuna_cluster::{Cluster, ClusterError, ClusterInfo, WorkerInfo};
pub use nuna_frame::ScanEntry;
pub use nuna_frame::{
    Agg, ColumnType, CsvOptions, DataTable, Expr, Frame, FrameError, FrameGroupBy, IntoColumns, Literal,
    ParquetOptions, col, concat_frames, count_rows, lit, scan_csv, scan_csv_with, scan_parquet,
    scan_parquet_with,
};
pub use nuna_labels::{
    Align, Attributes, Bins, Boundary, Calendar, Coarsen, Compared, Compat, Concat, Coord, Coords, DataArray,
    Dataset, DatasetGroupBy, DatasetWeighted, DateTime, Dims, GroupBy, GroupKey, GroupKeys, IntoDims, Join,
    Label, LabelError, Merge, Method, NetcdfOptions, Others, Pick, Plot, PlotOptions, Profiles, Quantiles,
    Reducer, Reindex, RollingWindow, Selection, StoreOptions, TimePart, Times, Values, Weighted, ZarrFormat,
    align, combine_by_coords, concat, concat_with, date_range, date_range_to, merge, merge_with,
    open_dataset, open_many, open_mfdataset, open_netcdf, open_netcdf_group, open_ragged, open_weights,
    open_zarr, open_zarr_group, slice,
};
pub use nuna_labels::{Asset, Item, Items, open_stac};
pub use nuna_labels::{BloscCodec, Compressor, Encoding, NetcdfEncoding, Packing, Shuffle};
pub use nuna_labels::{Catalog, CatalogEntry, Parameter, open_intake};
pub use nuna_labels::{
    Files, GeotiffOptions, GeotiffWriteOptions, open_geotiff, open_geotiff_overview, open_geotiff_with,
    open_geotiffs, open_geotiffs_with,
};
pub use nuna_labels::{ReferencesOptions, write_references, write_references_with};
pub use nuna_plan::EngineError;
pub use nuna_ship::{Number, Scattered, Ship};
pub use parameters::grid;
pub use progress::progress;
pub use publish::{Publications, Publish, PublishError, Publishing};
pub use table::{Table, TableError, table};
pub use tasks::{AsCompleted, MapTasks, Tasks, TasksError};
pub use written::{Part, Writing, Written};

/// N-dimensional arrays in memory, as `to_ndarray` gives them.
pub use ndarray;
/// For parameter and result types of your own: `#[derive(Serialize, Deserialize)]`.
pub use serde;
/// What comms carry: `nuna::serde_json::json!({"value": 3})`.
pub use serde_json;

/// The parts below the façade, for tools and programs built beside it. Cells need none of them.
pub mod parts {
    pub use {
        nuna_array as array, nuna_client as client, nuna_cluster as cluster, nuna_labels as labels,
        nuna_plan as plan, nuna_runtime as runtime, nuna_ship as ship, nuna_storage as storage,
        nuna_wire as wire,
    };

    /// Everything a worker can run, with every kind of store that it can read and write.
    pub fn executors() -> runtime::Executors {
        storage::register();
        runtime::Executors { array: array::executor(), call: ship::executor() }
    }
}
