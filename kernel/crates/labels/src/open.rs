//! Owns how a stored group becomes a dataset: which variables are coordinates, what is read at once, decoding of times.

use std::{path::Path, sync::Arc};

use nuna_array::{Array, DType};
use nuna_storage::{Attributes, FileKind, Group, OpenFile, Skipped, Variable};

use crate::{
    DataArray, Dataset, LabelError, Result,
    coord::{Coord, Coords, Values, decode_times},
    time::NOT_A_TIME,
};

/// Coordinates of one dimension are read at opening up to this many labels.
const LABELS_READ_MAX: u64 = 10_000_000;

/// Opens a Zarr store (v2 or v3, consolidated or not) as a dataset; or references to parts of other files, in a JSON file as
/// kerchunk writes it or a folder of Parquet files (`refs.parq`), whose addresses without a scheme are taken from the folder that
/// the references lie in. Reads metadata and the labels along dimensions; variables are read when they are computed.
///
/// `path` may also be an address, `https://host/store.zarr` or `s3://bucket/store.zarr`. Buckets are asked with the credentials,
/// region and endpoint that AWS's tools use (`AWS_PROFILE`, `AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `~/.aws`…), which every process reads
/// for itself, or with none. A store on a web server must have consolidated metadata.
///
/// # Errors
/// If there is no store, it is damaged, cannot be reached in time, or its variables disagree about the length of a dimension.
pub fn open_zarr(path: impl AsRef<Path>) -> Result<Dataset> {
    open_zarr_group(path, "")
}

/// Opens one group of a Zarr store or of references, such as `"forecast/surface"`.
///
/// # Errors
/// As [`open_zarr`], and if there is no such group.
pub fn open_zarr_group(path: impl AsRef<Path>, group: &str) -> Result<Dataset> {
    nuna_storage::register();
    dataset(nuna_storage::open_group(path, group)?)
}

/// Opens a NetCDF file (3, 4) or an HDF5 file as a dataset, as [`open_zarr`] does a store. Workers read the byte ranges of
/// the chunks that they need, without a lock or a C library. The file must be where all of them find it; at an address
/// (`https://host/file.nc`, `s3://bucket/file.nc`) its server must send ranges of bytes.
///
/// # Errors
/// If there is no such file, it is no NetCDF or HDF5, or damaged. What one variable alone has wrong, such as a filter
/// that cannot be undone, is listed below the dataset, and said when the variable is asked for.
pub fn open_netcdf(path: impl AsRef<Path>) -> Result<Dataset> {
    open_netcdf_group(path, "")
}

/// Opens one group of a NetCDF4 or HDF5 file, such as `"forecast/surface"`. Dimensions of the groups around it count.
///
/// # Errors
/// As [`open_netcdf`], and if there is no such group.
pub fn open_netcdf_group(path: impl AsRef<Path>, group: &str) -> Result<Dataset> {
    nuna_storage::register();
    dataset(nuna_storage::open_netcdf(path, group)?)
}

/// Opens whatever lies at `path`: a Zarr store, or references in Parquet, if it is a folder, a file of references as kerchunk writes them if it is JSON,
/// else a NetCDF, HDF5 or TIFF file, whatever its name. At an address too, a file is told from a store by its front. Of a TIFF file the variable is `band_data`.
///
/// # Errors
/// As [`open_zarr`], [`open_netcdf`] and [`open_geotiff`](crate::open_geotiff).
pub fn open_dataset(path: impl AsRef<Path>) -> Result<Dataset> {
    match OpenFile::find(path.as_ref())? {
        Some(file) if file.kind()? == FileKind::Tiff => crate::geotiff::dataset(&file),
        Some(file) => {
            nuna_storage::register();
            dataset(nuna_storage::open_netcdf_file(&file, "")?)
        }
        None => open_zarr(path),
    }
}

fn dataset(group: Group) -> Result<Dataset> {
    let mut dataset =
        Dataset { attrs: group.attrs, skipped: group.skipped, path: Some(group.path), ..Dataset::new() };
    let mut listed: Vec<String> = names(&mut dataset.attrs);
    let mut variables = group.variables;
    for variable in &mut variables {
        listed.extend(names(&mut variable.attrs));
    }
    count_bounds(&mut variables);
    check_sizes(&variables)?;
    variables.retain(|variable| match unusable(variable) {
        Some(reason) => {
            dataset.skipped.push(Skipped { name: variable.name.clone(), reason });
            false
        }
        None => true,
    });
    let is_coord = |v: &Variable| v.dims == [v.name.clone()] || listed.contains(&v.name);
    let (coords, data): (Vec<_>, Vec<_>) = variables.into_iter().partition(is_coord);
    for variable in coords {
        let name = variable.name.clone();
        let coord = coord(variable)?;
        dataset.coords.insert(&name, Arc::new(coord));
    }
    for variable in data {
        if variable.source.is_text() {
            let Variable { name, dims, attrs, source } = variable;
            dataset.coords.insert(&name, Arc::new(Coord::stored(dims, source, attrs)));
            dataset.text.push(name);
            continue;
        }
        let name = variable.name.clone();
        let array = data_array(variable, &dataset.coords)?;
        dataset.variables.push((name, array));
    }
    Ok(dataset)
}

/// Why a variable can be neither an array nor a coordinate.
fn unusable(variable: &Variable) -> Option<String> {
    let Variable { dims, source, .. } = variable;
    if let Some((_, dim)) = dims.iter().enumerate().find(|(at, dim)| dims[..*at].contains(dim)) {
        return Some(format!(
            "its dimension `{dim}` is that of two of its axes, which need names of their own"
        ));
    }
    if !source.is_text() {
        return None;
    }
    let count: u64 = source.shape().iter().product();
    (count > LABELS_READ_MAX).then(|| {
        format!("it holds {count} texts, more than the {LABELS_READ_MAX} that a coordinate may have")
    })
}

/// Bounds of times count as these times do, which is why they need not say so themselves (CF 7.1).
fn count_bounds(variables: &mut [Variable]) {
    let text =
        |of: &Variable, key: &str| of.attrs.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let mut given = Vec::new();
    for times in variables.iter().filter(|variable| counts_time(&variable.attrs)) {
        if let Some(bounds) = text(times, "bounds") {
            given.push((bounds, text(times, "units"), text(times, "calendar")));
        }
    }
    for (bounds, units, calendar) in given {
        let Some(of) = variables.iter_mut().find(|variable| variable.name == bounds) else { continue };
        for (key, value) in [("units", units), ("calendar", calendar)] {
            if let Some(value) = value.filter(|_| !of.attrs.contains_key(key)) {
                of.attrs.insert(key.to_owned(), value.into());
            }
        }
    }
}

/// Takes CF's list of coordinate variables out of attributes.
fn names(attrs: &mut Attributes) -> Vec<String> {
    match attrs.get("coordinates").and_then(|value| value.as_str()) {
        Some(text) => {
            let names = text.split_whitespace().map(str::to_owned).collect();
            attrs.shift_remove("coordinates");
            names
        }
        None => Vec::new(),
    }
}

fn check_sizes(variables: &[Variable]) -> Result<()> {
    let mut seen: Vec<(&str, u64, &str)> = Vec::new();
    for variable in variables {
        for (dim, &size) in variable.dims.iter().zip(variable.source.shape()) {
            match seen.iter().find(|(d, ..)| d == dim) {
                Some(&(_, first_size, first)) if first_size != size => {
                    return Err(LabelError::DimConflict {
                        dim: dim.clone(),
                        first: first.to_owned(),
                        first_size,
                        second: variable.name.clone(),
                        second_size: size,
                    });
                }
                Some(_) => {}
                None => seen.push((dim, size, &variable.name)),
            }
        }
    }
    Ok(())
}

fn coord(variable: Variable) -> Result<Coord> {
    let Variable { dims, mut attrs, source, .. } = variable;
    let shape = source.shape().to_vec();
    if source.is_text() {
        let text = Values::Text(source.read_all_text()?.into());
        return Ok(Coord::new(dims, shape, text, attrs));
    }
    let is_time = attrs.get("units").and_then(|u| u.as_str()).is_some_and(|units| units.contains(" since "));
    if (shape.len() <= 1 || is_time) && shape.iter().product::<u64>() <= LABELS_READ_MAX {
        let values = decode_times(Values::Numbers(source.read_all()?), &mut attrs);
        return Ok(Coord::new(dims, shape, values, attrs));
    }
    Ok(Coord::stored(dims, source, attrs))
}

fn data_array(variable: Variable, coords: &Coords) -> Result<DataArray> {
    let Variable { name, dims, attrs, source } = variable;
    let mut array = Array::from_source(Arc::new(source));
    if counts_time(&attrs) && array.dtype() == DType::I64 {
        // Integers have nothing for what is missing, and whoever computes with these would take it for an instant.
        let known = array.not_equal(NOT_A_TIME)?;
        array = array.astype(DType::F64).where_(&known, f64::NAN)?;
    }
    let array = DataArray::new(array, &dims)?;
    Ok(DataArray { coords: coords.within(&dims), attrs, name: Some(name), ..array })
}

/// Whether elements are instants or durations, as CF and xarray say so.
fn counts_time(attrs: &Attributes) -> bool {
    let text = |key: &str| attrs.get(key).and_then(|value| value.as_str()).unwrap_or_default();
    text("units").contains(" since ") || text("dtype").starts_with("timedelta64")
}
