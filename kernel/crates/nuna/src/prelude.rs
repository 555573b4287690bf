//! What a notebook starts with: `use nuna::prelude::*;`.

pub use std::time::Duration;

pub use crate::serde::{Deserialize, Serialize};
pub use crate::{
    Array, Block, Chunk, Cluster, DType, DataArray, Dataset, Join, MapBlocks, MapTasks, PlotOptions,
    Publishing, Scattered, Task, Tasks, captures, concat, grid, merge, open_dataset, open_many,
    open_mfdataset, open_netcdf, open_netcdf_group, open_zarr, slice, table,
};
