//! What a notebook starts with: `use nuna::prelude::*;`.

pub use std::time::Duration;

pub use crate::serde::{Deserialize, Serialize};
pub use crate::{
    Array, Block, Chunk, Cluster, ColumnType, CsvOptions, DType, DataArray, DataTable, Dataset, Frame, Join,
    MapBlocks, MapTasks, ParquetOptions, PlotOptions, Publishing, Scattered, Task, Tasks, Trend, Window,
    captures, col, concat, concat_frames, count_rows, grid, lit, merge, open_dataset, open_many,
    open_mfdataset, open_netcdf, open_netcdf_group, open_ragged, open_weights, open_zarr, open_zarr_group,
    scan_csv, scan_csv_with, scan_parquet, scan_parquet_with, slice, table,
};
pub use crate::{
    Bins, Boundary, Calendar, Compat, Merge, Method, NanPolicy, Operation, Reindex, Times, align,
    combine_by_coords, concat_with, date_range, date_range_to, merge_with,
};
pub use crate::{
    BloscCodec, Compressor, Encoding, NetcdfEncoding, Packing, Shuffle, StoreOptions, ZarrFormat,
};
pub use crate::{ChunkGrid, GroupKey, LabelError, Region, SparseWeights, Values};
pub use crate::{
    GeotiffOptions, GeotiffWriteOptions, NetcdfOptions, open_geotiff, open_geotiff_overview,
    open_geotiff_with, open_geotiffs, open_geotiffs_with, open_stac,
};
pub use crate::{ReferencesOptions, write_references, write_references_with};
pub use crate::{ScanEntry, open_intake};
