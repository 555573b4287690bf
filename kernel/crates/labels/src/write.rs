//! Owns writing datasets: what each variable and coordinate becomes in a store, and computing straight into it.

use std::{path::Path, sync::Arc};

use nuna_array::ChunkSink;
use nuna_chunk::Chunk;
use nuna_storage::{Attributes, NetcdfOptions, NewNetcdf, NewStore, NewVariable, StoreOptions};

use crate::{
    DataArray, Dataset, LabelError, Result,
    coord::{Coord, Values},
};

impl Dataset {
    /// Computes every variable into a new Zarr v3 store that xarray opens. Workers write their own chunks; nothing
    /// appears under `path` before all is written.
    ///
    /// `path` may also be a place in a bucket, `s3://bucket/name.zarr`, with the credentials that AWS's tools use; each worker has its own.
    /// Chunks are then put where they belong, and the store can be opened once its metadata is put, at last. What a write
    /// that fails has put is removed again; one that is cut off leaves `.nuna-unfinished` there, and is replaced by overwriting.
    ///
    /// # Errors
    /// If `path` exists, or as [`DataArray::compute`].
    pub fn to_zarr(&self, path: impl AsRef<Path>) -> Result<()> {
        self.to_zarr_with(path, &StoreOptions::default())
    }

    /// [`to_zarr`](Dataset::to_zarr) with a choice of format, how variables are encoded, and whether to overwrite.
    ///
    /// # Errors
    /// As [`to_zarr`](Dataset::to_zarr).
    pub fn to_zarr_with(&self, path: impl AsRef<Path>, options: &StoreOptions) -> Result<()> {
        let store = self.begun(path, options)?;
        match self.fill(&store) {
            Ok(()) => Ok(store.finish()?),
            Err(error) => Err(abandoned(store, error)),
        }
    }

    fn fill(&self, store: &NewStore) -> Result<()> {
        let sinks: Vec<_> = self.variables.iter().map(|(name, _)| store.sink(name)).collect();
        self.compute_into(sinks.iter().map(|sink| sink as &dyn ChunkSink))
    }

    /// Computes every variable into a new NetCDF4 file, which NetCDF's and HDF5's libraries, xarray and
    /// [`open_netcdf`](crate::open_netcdf) read. Nothing appears under `path` before all is written.
    ///
    /// Chunks are those of the arrays, cut into equal parts where they have more than 16 MiB; what has no more than 64 KiB is
    /// stored in one piece. Truth values become bytes with the attribute `dtype`, as in xarray; complex numbers are refused.
    /// Floats that are missing are NaN, which `_FillValue` says; times are whole numbers of a unit since a date.
    ///
    /// Many compute and compress at once, and memory holds the chunks in work, never the file. Without a cluster, threads
    /// put their chunks straight into the file. On a cluster, each worker appends its chunks to a part of its own beside the
    /// file, in a folder that all must share, and at the end this process appends the parts to one another: compressed bytes
    /// are then written twice.
    ///
    /// # Errors
    /// If `path` exists, NetCDF has no place for a dtype, name or attribute, or as [`DataArray::compute`].
    pub fn to_netcdf(&self, path: impl AsRef<Path>) -> Result<()> {
        self.to_netcdf_with(path, &NetcdfOptions::default())
    }

    /// [`to_netcdf`](Dataset::to_netcdf) with a choice of compression, unlimited dimensions, and whether to overwrite.
    ///
    /// # Errors
    /// As [`to_netcdf`](Dataset::to_netcdf), and if there is no such dimension.
    pub fn to_netcdf_with(&self, path: impl AsRef<Path>, options: &NetcdfOptions) -> Result<()> {
        nuna_storage::register();
        let Encoded { attrs, new, labels } = self.encoded()?;
        let mut file = NewNetcdf::create(path, &attrs, new, options)?;
        for (name, values) in labels {
            match values {
                Stored::Numbers(chunk) => file.write(&name, &chunk)?,
                Stored::Text(text) => file.write_text(&name, text.to_vec()),
            }
        }
        let sinks: Vec<_> = self.variables.iter().map(|(name, _)| file.sink(name)).collect();
        self.compute_into(sinks.iter().map(|sink| sink as &dyn ChunkSink))?;
        file.finish()?;
        Ok(())
    }

    /// Computes the variables, each into its sink.
    pub(crate) fn compute_into<'a>(&self, sinks: impl Iterator<Item = &'a dyn ChunkSink>) -> Result<()> {
        let arrays = self.variables.iter().map(|(_, variable)| variable.array.clone());
        let writes: Vec<_> = arrays.zip(sinks).collect();
        if !writes.is_empty() {
            nuna_array::write(&writes, &nuna_array::engine())?;
        }
        Ok(())
    }

    /// What a store is told before anything is computed: coordinates first, then variables.
    pub(crate) fn encoded(&self) -> Result<Encoded> {
        let mut new = Vec::new();
        let mut labels = Vec::new();
        for (name, coord) in self.coords.iter() {
            let (variable, values) = encode_coord(name, coord)?;
            new.push(variable);
            labels.push((name.to_owned(), values));
        }
        for (name, variable) in &self.variables {
            new.push(self.encode_variable(name, variable));
        }
        let mut attrs = self.attrs.clone();
        // Coordinates that belong to no variable are told by the group, as xarray does.
        let orphans: Vec<&str> = self
            .coords
            .iter()
            .filter(|(name, coord)| {
                coord.dims() != [(*name).to_owned()]
                    && !self.text.iter().any(|text| text == name)
                    && !self.variables.iter().any(|(_, v)| coord.dims().iter().all(|d| v.dims().contains(d)))
            })
            .map(|(name, _)| name)
            .collect();
        if !orphans.is_empty() {
            attrs.insert("coordinates".to_owned(), orphans.join(" ").into());
        }
        Ok(Encoded { attrs, new, labels })
    }

    fn encode_variable(&self, name: &str, variable: &DataArray) -> NewVariable {
        let mut attrs = variable.attrs.clone();
        let extra: Vec<&str> = self
            .coords
            .iter()
            .filter(|(key, coord)| {
                coord.dims() != [(*key).to_owned()]
                    && !self.text.iter().any(|text| text == key)
                    && coord.dims().iter().all(|d| variable.dims().contains(d))
            })
            .map(|(key, _)| key)
            .collect();
        if !extra.is_empty() {
            attrs.insert("coordinates".to_owned(), extra.join(" ").into());
        }
        NewVariable {
            name: name.to_owned(),
            dims: variable.dims.clone(),
            dtype: Some(variable.dtype()),
            shape: variable.shape().to_vec(),
            chunk_shape: variable.array.chunks().chunk_shape().iter().map(|&n| n.max(1)).collect(),
            attrs,
        }
    }
}

/// What was written of a store is removed; where that fails, the error says what remains.
pub(crate) fn abandoned(store: NewStore, error: LabelError) -> LabelError {
    match store.abandon() {
        Some(remains) => LabelError::Invalid(format!("{error}; {remains}")),
        None => error,
    }
}

/// A dataset as stores have it.
pub(crate) struct Encoded {
    pub(crate) attrs: Attributes,
    pub(crate) new: Vec<NewVariable>,
    /// Of coordinates, which are in memory.
    pub(crate) labels: Vec<(String, Stored)>,
}

/// Labels as they are stored.
pub(crate) enum Stored {
    Numbers(Chunk),
    Text(Arc<[String]>),
}

/// A coordinate's metadata, and its values as they are stored.
pub(crate) fn encode_coord(name: &str, coord: &Coord) -> Result<(NewVariable, Stored)> {
    let mut attrs: Attributes = coord.attrs().clone();
    let values = match coord.values()? {
        Values::Times(times) => {
            let (chunk, units, calendar) = times.encode();
            attrs.insert("units".to_owned(), units.into());
            attrs.insert("calendar".to_owned(), calendar.into());
            let chunk =
                chunk.reshape(coord.shape()).map_err(|error| LabelError::Invalid(error.to_string()))?;
            if times.micros.contains(&crate::time::NOT_A_TIME) {
                attrs.insert("_FillValue".to_owned(), crate::time::NOT_A_TIME.into());
            }
            Stored::Numbers(chunk)
        }
        Values::Numbers(chunk) => Stored::Numbers(chunk.clone()),
        Values::Text(text) => Stored::Text(text.clone()),
    };
    let dtype = match &values {
        Stored::Numbers(chunk) => Some(chunk.dtype()),
        Stored::Text(_) => None,
    };
    let shape = coord.shape().to_vec();
    let chunk_shape = shape.iter().map(|&n| n.max(1)).collect();
    Ok((
        NewVariable { name: name.to_owned(), dims: coord.dims().to_vec(), dtype, shape, chunk_shape, attrs },
        values,
    ))
}

impl DataArray {
    /// This array as the only variable of a dataset.
    ///
    /// # Errors
    /// If it has no name, or that of one of its coordinates.
    pub fn to_dataset(&self) -> Result<Dataset> {
        let Some(name) = &self.name else {
            return Err(LabelError::Invalid(format!(
                "{} has no name to be written under; give it one with `named(\"…\")`",
                self.describe()
            )));
        };
        if self.coords.get(name).is_some() {
            return Err(LabelError::Invalid(format!(
                "`{name}` is also the name of one of its coordinates; give the array another with `named(\"…\")`"
            )));
        }
        Dataset::new().assign(name, self)
    }

    /// Computes it into a new Zarr v3 store that xarray opens; see [`Dataset::to_zarr`].
    ///
    /// # Errors
    /// If it has no name, `path` exists, or as [`compute`](DataArray::compute).
    pub fn to_zarr(&self, path: impl AsRef<Path>) -> Result<()> {
        self.to_dataset()?.to_zarr(path)
    }

    /// [`to_zarr`](DataArray::to_zarr) with options.
    ///
    /// # Errors
    /// As [`to_zarr`](DataArray::to_zarr).
    pub fn to_zarr_with(&self, path: impl AsRef<Path>, options: &StoreOptions) -> Result<()> {
        self.to_dataset()?.to_zarr_with(path, options)
    }

    /// Computes it into a new NetCDF4 file; see [`Dataset::to_netcdf`].
    ///
    /// # Errors
    /// If it has no name, `path` exists, or as [`Dataset::to_netcdf`].
    pub fn to_netcdf(&self, path: impl AsRef<Path>) -> Result<()> {
        self.to_dataset()?.to_netcdf(path)
    }

    /// [`to_netcdf`](DataArray::to_netcdf) with options.
    ///
    /// # Errors
    /// As [`to_netcdf`](DataArray::to_netcdf).
    pub fn to_netcdf_with(&self, path: impl AsRef<Path>, options: &NetcdfOptions) -> Result<()> {
        self.to_dataset()?.to_netcdf_with(path, options)
    }
}
