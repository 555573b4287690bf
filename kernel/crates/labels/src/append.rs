//! Owns writing datasets into Zarr stores that exist: appending along a dimension, boxes of it that several programs write, and
//! stores whose elements come later.

use std::{collections::BTreeMap, ops::Range, path::Path};

use nuna_array::ChunkSink;
use nuna_chunk::{Chunk, DType};
use nuna_storage::{GrownLayout, GrownStore, NewStore, StoreOptions, ZarrSink};

use crate::{
    Dataset,
    coord::{Coord, Values},
    error::LabelError,
    open_zarr,
    positions::Positions,
    time::{NOT_A_TIME, TimeUnits, Times},
};

type Result<T, E = LabelError> = std::result::Result<T, E>;

fn invalid<T>(message: String) -> Result<T> {
    Err(LabelError::Invalid(message))
}

impl Dataset {
    /// Computes it into a Zarr store that exists, behind what the store has along `dim`: a further year into a series. Variables
    /// and coordinates along `dim` grow; all others must be there already, and stay as they are. Elements are encoded, and chunked,
    /// as the store has them. Readers see the new length once everything is written. After a failure the store is read as it was;
    /// chunks behind its end may remain, which the next append writes over. One program at a time appends to a store: on a file system
    /// another one is refused meanwhile, in a bucket the later one fails at its end, if it sees the other's length.
    ///
    /// ```no_run
    /// # use nuna_labels::{open_netcdf, open_zarr};
    /// open_netcdf("sst_2024.nc")?.append_zarr("sst.zarr", "time")?;
    /// # Ok::<(), nuna_labels::LabelError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such store or dimension, a variable along `dim` is missing on one side, dtypes, other lengths or other labels
    /// differ, times do not fit the store's units, somebody else appended meanwhile, or as [`compute`](Dataset::compute).
    pub fn append_zarr(&self, path: impl AsRef<Path>, dim: &str) -> Result<()> {
        let path = path.as_ref();
        // Before lengths are read, so that they stay what they are.
        let mut store = GrownStore::open_to_grow(path)?;
        let old = open_zarr(path)?;
        let counted = self.counted_like(&old)?;
        let shown = path.display();
        let length = size_along(&old, dim, || shown.to_string())?;
        let more = size_along(self, dim, || "what is appended".to_owned())?;
        let lies_along = |dims: &[String]| dims.iter().any(|d| d == dim);
        for (name, array) in &old.variables {
            if lies_along(&array.dims) && self.variable(name).is_none() {
                return invalid(format!(
                    "`{name}` of {shown} lies along `{dim}`, but what is appended has none; add it, or it would end early"
                ));
            }
        }
        for (name, coord) in old.coords.iter() {
            match self.coords.get(name) {
                None if lies_along(coord.dims()) => {
                    return invalid(format!(
                        "coordinate `{name}` of {shown} lies along `{dim}`, but what is appended has none"
                    ));
                }
                Some(own) if !lies_along(coord.dims()) => same_labels(name, own, coord, path)?,
                _ => {}
            }
        }
        let mut writes = Vec::new();
        for (name, array) in &counted.variables {
            let layout = fits(&store, name, (&array.dims, array.shape()), Some(dim), path)?;
            same_dtype(name, array, &layout, path)?;
            let Some(axis) = array.dims.iter().position(|d| d == dim) else { continue };
            let before = &old.find(name, path)?.array;
            let start = length - length % layout.chunk_shape[axis];
            // The chunk in which the new elements begin is written again, with those that it has.
            let new = if start == length {
                array.array.clone()
            } else {
                let tail = before.slice_axis(axis, Some(start.cast_signed()), None, 1)?;
                nuna_array::concat(&[tail, array.array.clone()], axis)?
            };
            store.grow(name, axis, length + more)?;
            let mut offset = vec![0; array.dims.len()];
            offset[axis] = start;
            writes.push((new, name.clone(), offset));
        }
        let mut labels = Vec::new();
        for (name, coord) in self.coords.iter().filter(|(_, coord)| lies_along(coord.dims())) {
            if old.coords.get(name).is_none() {
                return invalid(format!(
                    "coordinate `{name}` lies along `{dim}`, but {shown} has none; drop it before it is appended"
                ));
            }
            let (chunk, is_stored) = stored_labels(name, coord, &store, path)?;
            fits(&store, name, (coord.dims(), coord.shape()), Some(dim), path)?;
            let axis = coord.dims().iter().position(|d| d == dim).unwrap_or_default();
            store.grow(name, axis, length + more)?;
            labels.push((name, axis, chunk, is_stored));
        }
        let sinks = writes.iter().map(|(new, name, offset)| store.sink(name, offset, new.shape()));
        let sinks: Vec<ZarrSink> = sinks.collect::<std::result::Result<_, _>>()?;
        let arrays: Vec<_> = writes
            .iter()
            .zip(&sinks)
            .map(|((new, ..), sink)| (new.clone(), sink as &dyn ChunkSink))
            .collect();
        if !arrays.is_empty() {
            nuna_array::write(&arrays, &nuna_array::engine())?;
        }
        for (name, axis, chunk, is_stored) in labels {
            store.append(name, axis, length, &chunk, is_stored)?;
        }
        Ok(store.finish()?)
    }

    /// Computes it into a box of a Zarr store that exists, so that several programs may write one store side by side. `region` says
    /// where along some dimensions; along others its labels are looked up in the store's, and where there are none it is as long as
    /// the store. Boxes begin and end at stored chunks, so that no two programs write the same one. Coordinates are not written.
    ///
    /// ```no_run
    /// # use nuna_labels::open_netcdf;
    /// open_netcdf("run_3.nc")?.write_zarr_region("runs.zarr", [("run", 3..4)])?;
    /// # Ok::<(), nuna_labels::LabelError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no such store, variable or dimension, lengths, labels or dtypes differ, a box cuts a stored chunk, or as
    /// [`compute`](Dataset::compute).
    pub fn write_zarr_region<'d>(
        &self,
        path: impl AsRef<Path>,
        region: impl IntoIterator<Item = (&'d str, Range<u64>)>,
    ) -> Result<()> {
        let path = path.as_ref();
        let old = open_zarr(path)?;
        let store = GrownStore::open(path)?;
        let counted = self.counted_like(&old)?;
        let region: BTreeMap<&str, Range<u64>> = region.into_iter().collect();
        for dim in region.keys() {
            size_along(self, dim, || "what is written".to_owned())?;
        }
        let mut places = BTreeMap::new();
        for (dim, size) in self.sizes() {
            let place = self.place(&old, &dim, size, region.get(dim.as_str()), path)?;
            places.insert(dim, place);
        }
        let mut sinks = Vec::new();
        for (name, array) in &counted.variables {
            let layout = fits(&store, name, (&array.dims, array.shape()), None, path)?;
            same_dtype(name, array, &layout, path)?;
            let ranges: Vec<&Range<u64>> = array.dims.iter().map(|dim| &places[dim]).collect();
            for (axis, range) in ranges.iter().enumerate() {
                let (chunk, length) = (layout.chunk_shape[axis], layout.shape[axis]);
                if !range.start.is_multiple_of(chunk)
                    || !(range.end.is_multiple_of(chunk) || range.end == length)
                {
                    return invalid(format!(
                        "{}..{} along `{}` cuts a stored chunk of `{name}`, which another program may be writing; chunks of {} begin \
                         at multiples of {chunk}",
                        range.start,
                        range.end,
                        array.dims[axis],
                        path.display()
                    ));
                }
            }
            let offset: Vec<u64> = ranges.iter().map(|range| range.start).collect();
            sinks.push(store.sink(name, &offset, array.shape())?);
        }
        counted.compute_into(sinks.iter().map(|sink| sink as &dyn ChunkSink))?;
        Ok(store.finish()?)
    }

    /// Makes a new Zarr store with its metadata and coordinates, but no elements: what is not written later, with
    /// [`write_zarr_region`](Dataset::write_zarr_region), is missing, or zero where a dtype has nothing for that. Nothing is computed.
    ///
    /// # Errors
    /// As [`to_zarr_with`](Dataset::to_zarr_with).
    pub fn create_zarr(&self, path: impl AsRef<Path>, options: &StoreOptions) -> Result<()> {
        let store = self.begun(path, options)?;
        Ok(store.finish()?)
    }

    /// Variables of times counted as those of the same name in a store.
    fn counted_like(&self, old: &Dataset) -> Result<Dataset> {
        let mut counted = self.clone();
        for (name, variable) in &mut counted.variables {
            if let Some(stored) = old.variable(name) {
                let dtype = variable.dtype();
                let same = variable.counted_like(&stored.attrs)?;
                *variable = if dtype.is_float() { same.astype(dtype) } else { same };
            }
        }
        Ok(counted)
    }

    fn variable(&self, name: &str) -> Option<&crate::DataArray> {
        self.variables.iter().find(|(own, _)| own == name).map(|(_, array)| array)
    }

    fn find(&self, name: &str, path: &Path) -> Result<&crate::DataArray> {
        self.variable(name).ok_or_else(|| LabelError::NoVariable {
            owner: path.display().to_string(),
            name: name.to_owned(),
            have: self.variables.iter().map(|(name, _)| name.clone()).collect(),
        })
    }

    /// Where along a dimension of the store it belongs.
    fn place(
        &self,
        old: &Dataset,
        dim: &str,
        size: u64,
        given: Option<&Range<u64>>,
        path: &Path,
    ) -> Result<Range<u64>> {
        let shown = path.display();
        let length = size_along(old, dim, || shown.to_string())?;
        let labels = self.coords.index(dim).zip(old.coords.index(dim));
        let place = match (given, labels) {
            (Some(range), _) => range.clone(),
            (None, Some((own, stored))) => {
                let found = first_match(own.values()?, stored.values()?);
                let Some(start) = found else {
                    return invalid(format!(
                        "the first label along `{dim}` is not among those of {shown}; say where it belongs, as `[(\"{dim}\", 0..{size})]`"
                    ));
                };
                start..start + size
            }
            (None, None) => 0..size,
        };
        if place.end > length || place.end < place.start || place.end - place.start != size {
            return invalid(format!(
                "{size} elements along `{dim}` do not fit {}..{} of {shown}, which has {length}",
                place.start, place.end
            ));
        }
        if given.is_none() && labels.is_none() && size != length {
            return invalid(format!(
                "`{dim}` has {size} elements here, {length} in {shown}, and no labels to look up; say where they belong, as \
                 `[(\"{dim}\", 0..{size})]`"
            ));
        }
        if let Some((own, stored)) = labels {
            let part = stored.isel(dim, &Positions::Slice { start: place.start, step: 1, count: size })?;
            same_labels(dim, own, &part, path)?;
        }
        Ok(place)
    }

    /// A new store with the coordinates in it.
    pub(crate) fn begun(&self, path: impl AsRef<Path>, options: &StoreOptions) -> Result<NewStore> {
        nuna_storage::register();
        let crate::write::Encoded { attrs, new, labels } = self.encoded()?;
        let store = NewStore::create(path, &attrs, new, options.clone())?;
        for (name, values) in labels {
            let written = match values {
                crate::write::Stored::Numbers(chunk) => store.write(&name, &chunk),
                crate::write::Stored::Text(text) => store.write_text(&name, text.to_vec()),
            };
            if let Err(error) = written {
                return Err(crate::write::abandoned(store, error.into()));
            }
        }
        Ok(store)
    }
}

/// How the store has an array, if that has these dimensions, and these lengths but along `free` (but along every dimension, if none
/// is named).
fn fits(
    store: &GrownStore,
    name: &str,
    (dims, shape): (&[String], &[u64]),
    free: Option<&str>,
    path: &Path,
) -> Result<GrownLayout> {
    let layout = store.layout(name)?;
    let shown = path.display();
    if layout.dims != dims {
        return invalid(format!(
            "`{name}` lies along ({}), but in {shown} along ({}); transpose it first",
            dims.join(", "),
            layout.dims.join(", ")
        ));
    }
    for ((dim, &own), &stored) in dims.iter().zip(shape).zip(&layout.shape) {
        if free.is_some_and(|free| free != dim) && own != stored {
            return Err(LabelError::Sizes {
                operation: "append_zarr".to_owned(),
                dim: dim.clone(),
                left: format!("`{name}`"),
                left_size: own,
                right: shown.to_string(),
                right_size: stored,
            });
        }
    }
    Ok(layout)
}

/// # Errors
/// If elements would have to be converted.
fn same_dtype(name: &str, array: &crate::DataArray, layout: &GrownLayout, path: &Path) -> Result<()> {
    if layout.dtype == array.dtype() {
        return Ok(());
    }
    invalid(format!(
        "`{name}` holds {}, but {} gives {}; convert it with `astype` first",
        array.dtype(),
        path.display(),
        layout.dtype
    ))
}

/// # Errors
/// If there is no such dimension.
fn size_along(dataset: &Dataset, dim: &str, owner: impl Fn() -> String) -> Result<u64> {
    let sizes = dataset.sizes();
    let size = sizes.iter().find(|(name, _)| name == dim).map(|(_, size)| *size);
    size.ok_or_else(|| LabelError::NoDim {
        owner: owner(),
        dim: dim.to_owned(),
        dims: sizes.into_iter().map(|(name, _)| name).collect(),
    })
}

/// Where the first of these labels is among others.
fn first_match(own: &Values, stored: &Values) -> Option<u64> {
    let first = own.keys().into_iter().next()?;
    Some(stored.keys().iter().position(|label| *label == first)? as u64)
}

/// # Errors
/// If labels differ, naming the first that does.
fn same_labels(name: &str, own: &Coord, stored: &Coord, path: &Path) -> Result<()> {
    if own.same(stored) {
        return Ok(());
    }
    let (ours, theirs) = (own.values()?, stored.values()?);
    let first = ours.keys().iter().zip(theirs.keys()).position(|(a, b)| *a != b);
    let what = match first {
        _ if own.shape() != stored.shape() => {
            format!("its shape is {:?}, that of the store {:?}", own.shape(), stored.shape())
        }
        Some(at) => format!("it has {} where the store has {}", ours.show(at), theirs.show(at)),
        None => "they are of different kinds".to_owned(),
    };
    invalid(format!(
        "coordinate `{name}` differs from that of {}: {what}; select the same labels, or drop it",
        path.display()
    ))
}

/// Labels in the store's units, and whether they are now as they lie there.
fn stored_labels(name: &str, coord: &Coord, store: &GrownStore, path: &Path) -> Result<(Chunk, bool)> {
    let shaped =
        |chunk: Chunk| chunk.reshape(coord.shape()).map_err(|error| LabelError::Invalid(error.to_string()));
    match coord.values()? {
        Values::Text(_) => invalid(format!(
            "coordinate `{name}` is text, which cannot be appended to; write {} anew, from both together",
            path.display()
        )),
        Values::Times(times) => {
            let layout = store.layout(name)?;
            Ok((shaped(counted(name, times, &layout, path)?)?, true))
        }
        Values::Numbers(chunk) => {
            let layout = store.layout(name)?;
            let cast = chunk.cast(layout.dtype);
            let exact =
                cast.to_vec::<f64>().iter().zip(chunk.to_vec::<f64>()).all(|(a, b)| *a == b || b.is_nan());
            if !exact {
                return invalid(format!(
                    "labels of `{name}` are {} and do not fit the {} of {}",
                    chunk.dtype(),
                    layout.dtype,
                    path.display()
                ));
            }
            Ok((shaped(cast)?, false))
        }
    }
}

/// Times as the store counts them.
fn counted(name: &str, times: &Times, layout: &GrownLayout, path: &Path) -> Result<Chunk> {
    let text = |key: &str| layout.attrs.get(key).and_then(|value| value.as_str());
    let units = text("units").unwrap_or_default();
    let shown = path.display();
    let Some(parsed) = TimeUnits::parse(units, text("calendar")) else {
        return invalid(format!("`{name}` is times, but in {shown} its units are `{units}`"));
    };
    if !times.fits(&Times { calendar: parsed.calendar, micros: Vec::new().into() }) {
        return invalid(format!(
            "`{name}` is of the calendar {}, but in {shown} of {}",
            times.calendar.name(),
            parsed.calendar.name()
        ));
    }
    if times.micros.contains(&NOT_A_TIME) {
        return invalid(format!("`{name}` has times that are missing, which cannot be appended"));
    }
    let shape = [times.micros.len() as u64];
    let beyond = || {
        invalid(format!(
            "times of `{name}` are beyond what {shown} counts with {} of `{units}`",
            layout.stored
        ))
    };
    let since = times.micros.iter().map(|micros| micros.checked_sub(parsed.origin));
    let Some(since) = since.collect::<Option<Vec<i64>>>() else { return beyond() };
    if layout.stored.is_float() {
        let count = |&micros: &i64| micros as f64 / parsed.unit as f64 * parsed.parts as f64;
        return Ok(
            Chunk::from_slice(&shape, &since.iter().map(count).collect::<Vec<f64>>()).cast(layout.stored)
        );
    }
    if let Some(at) = since.iter().position(|micros| micros % parsed.unit != 0) {
        return invalid(format!(
            "{} of `{name}` is no whole number of `{units}`, in which {shown} counts with {}; write the store anew, from both together",
            times.iso(at),
            layout.stored
        ));
    }
    let counts = since.iter().map(|micros| (micros / parsed.unit).checked_mul(parsed.parts));
    let Some(counts) = counts.collect::<Option<Vec<i64>>>() else { return beyond() };
    let chunk = Chunk::from_slice(&shape, &counts);
    let stored = chunk.cast(layout.stored);
    if layout.stored != DType::I64 && stored.to_vec::<i64>() != counts {
        return beyond();
    }
    Ok(stored)
}
