//! Owns profiles of different lengths: many files of them as contiguous ragged arrays of CF, in which nothing is padded, and
//! such arrays as profiles again.
//!
//! See <https://cfconventions.org/Data/cf-conventions/cf-conventions-1.11/cf-conventions.html#_contiguous_ragged_array_representation>.

use std::{path::Path, path::PathBuf, sync::Arc};

use nuna_array::{Array, Binary, ChunkGrid, DType, MapBlocks, Scalar};
use nuna_chunk::Chunk;
use nuna_storage::Attributes;

use crate::{
    DataArray, Dataset, LabelError, Result,
    align::{Places, placed},
    coord::{Coord, Coords, Values},
    many,
    positions::Positions,
};

/// What the dimensions and the variable of lengths are called.
const PROFILE: &str = "profile";
const SAMPLE: &str = "sample";
const ROW_SIZE: &str = "row_size";
/// Samples in a chunk, unless they are cut otherwise.
const CHUNK: u64 = 1 << 20;

/// Opens files of profiles, padded to a common length each, as one dataset in which nothing is padded: all levels of all
/// profiles one after the other along `sample`, and along `profile` how many of them are its own, `row_size`, with all that the
/// files have for each profile. `open_ragged(files, "N_LEVELS", ["PRES", "TEMP"])?.to_zarr("argo.zarr")?`.
///
/// A level counts where none of the variables named is NaN. These variables have the dimension `levels`, and one of profiles or
/// none, which is one profile; other variables that have it are left out, and so is what not every file has. Files are read
/// twice: at once for the lengths, by all workers, and when results are computed or written.
///
/// # Errors
/// If there is no file or variable, one cannot be opened, or has other dimensions: the file is named.
pub fn open_ragged<P: AsRef<Path>, T: AsRef<str>>(
    paths: impl IntoIterator<Item = P>,
    levels: &str,
    variables: impl IntoIterator<Item = T>,
) -> Result<Dataset> {
    let paths: Vec<PathBuf> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
    let opened = many::open_all(&paths)?;
    let names: Vec<String> = variables.into_iter().map(|name| name.as_ref().to_owned()).collect();
    if paths.is_empty() || names.is_empty() {
        return Err(LabelError::Invalid("open_ragged: name at least one file and one variable".to_owned()));
    }
    let files: Vec<File> = paths
        .iter()
        .zip(&opened)
        .map(|(path, dataset)| {
            File::of(dataset, levels, &names).map_err(|error| many::at(path, &error.to_string()))
        })
        .collect::<Result<_>>()?;
    let counts: Vec<Array> = files.iter().map(|file| file.counts.clone()).collect();
    let counts: Vec<Vec<i64>> = nuna_array::compute(&counts, &nuna_array::engine())?
        .into_iter()
        .map(|chunk| chunk.to_vec::<i64>())
        .collect();
    let mut variables: Vec<(String, DataArray)> = Vec::new();
    let mut attrs = Attributes::new();
    attrs.insert("long_name".to_owned(), "number of samples of this profile".into());
    attrs.insert("sample_dimension".to_owned(), SAMPLE.into());
    let sizes = DataArray::from_chunk(line(&counts.concat()), [PROFILE])?;
    variables.push((ROW_SIZE.to_owned(), DataArray { attrs, ..sizes.named(ROW_SIZE) }));
    // What all files have for each profile.
    let mut coords = Coords::default();
    for (name, first) in &files[0].of_profiles {
        let all: Option<Vec<&DataArray>> = files.iter().map(|file| file.of_profile(name)).collect();
        if let Some(all) = all {
            variables.push((name.clone(), joined(&all, PROFILE, first)?));
        }
    }
    for (name, first) in &files[0].labels {
        let find =
            |file: &File| file.labels.iter().find(|(own, _)| own == name).map(|(_, coord)| coord.clone());
        let Some(all) = files.iter().map(find).collect::<Option<Vec<_>>>() else { continue };
        let values: Vec<&Values> = all.iter().map(|coord| coord.values()).collect::<Result<_>>()?;
        if let Ok(values) = Values::joined(name, &values) {
            coords.insert(name, Arc::new(Coord::line(PROFILE, values, first.attrs().clone())));
        }
    }
    for (at, name) in names.iter().enumerate() {
        let parts: Vec<DataArray> = files
            .iter()
            .zip(&counts)
            .map(|(file, counts)| file.samples(at, counts.iter().sum::<i64>().unsigned_abs()))
            .collect::<Result<_>>()?;
        let first = opened[0].var(name)?;
        variables.push((name.clone(), joined(&parts.iter().collect::<Vec<_>>(), SAMPLE, &first)?));
    }
    let mut dataset = Dataset::from_variables(variables, opened[0].attrs.clone())?;
    dataset.attrs.insert("featureType".to_owned(), "profile".into());
    let text: Vec<String> =
        opened[0].text.iter().filter(|name| coords.get(name).is_some()).cloned().collect();
    for (name, coord) in coords.iter() {
        dataset.coords.insert(name, coord.clone());
    }
    Ok(Dataset { text, ..dataset })
}

fn line(values: &[i64]) -> Chunk {
    Chunk::from_slice(&[values.len() as u64], values)
}

/// Arrays of one dimension one after the other.
fn joined(parts: &[&DataArray], dim: &str, like: &DataArray) -> Result<DataArray> {
    let arrays: Vec<Array> =
        parts.iter().filter(|part| part.size() > 0).map(|part| part.array.clone()).collect();
    let array = match arrays.is_empty() {
        true => Array::zeros(&[0], like.dtype()),
        false => nuna_array::concat(&arrays, 0)?,
    };
    let length = array.shape()[0].clamp(1, CHUNK);
    let whole = DataArray::new(array.rechunk(&[length])?, [dim])?;
    Ok(DataArray { attrs: like.attrs.clone(), name: like.name.clone(), ..whole })
}

/// One file of profiles.
struct File {
    /// Along profiles and levels.
    variables: Vec<DataArray>,
    /// Where all variables have a value.
    good: DataArray,
    /// How many of these each profile has.
    counts: Array,
    of_profiles: Vec<(String, DataArray)>,
    /// Times and text of each profile.
    labels: Vec<(String, Arc<Coord>)>,
}

impl File {
    fn of(dataset: &Dataset, levels: &str, names: &[String]) -> Result<Self> {
        let mut variables: Vec<DataArray> = Vec::new();
        let mut profile: Option<String> = None;
        for name in names {
            let variable = dataset.var(name)?;
            variable.axis(levels)?;
            let own: Vec<String> = variable.dims.iter().filter(|dim| *dim != levels).cloned().collect();
            let wide = match own.as_slice() {
                [] => variable.drop_coords(..)?.expand_dims(PROFILE)?,
                [dim] => variable.drop_coords(..)?.transpose([dim.as_str(), levels])?,
                _ => {
                    let dims = variable.dims.join(", ");
                    return Err(LabelError::Invalid(format!(
                        "`{name}` is along ({dims}): besides `{levels}` one dimension counts profiles"
                    )));
                }
            };
            if profile.as_ref().is_some_and(|first| *first != wide.dims[0]) {
                return Err(LabelError::Invalid(format!(
                    "`{name}` counts profiles along `{}`, the first variable does not",
                    wide.dims[0]
                )));
            }
            profile = Some(wide.dims[0].clone());
            variables.push(wide);
        }
        let first =
            variables.first().ok_or_else(|| LabelError::Invalid("no variable is named".to_owned()))?;
        let mut good = first.notnull()?;
        for variable in &variables[1..] {
            good = good.binary(Binary::And, &variable.notnull()?)?;
        }
        let counts = good.sum(levels)?.array.astype(DType::I64);
        let profile = profile.unwrap_or_default();
        let along = |dims: &[String]| matches!(dims, [dim] if *dim == profile);
        let of_profiles =
            dataset.variables.iter().filter(|(_, variable)| along(&variable.dims)).cloned().collect();
        let labels = dataset.coords.iter().filter(|(_, coord)| along(coord.dims()));
        let labels = labels.map(|(name, coord)| (name.to_owned(), coord.clone())).collect();
        Ok(Self { variables, good, counts, of_profiles, labels })
    }

    fn of_profile(&self, name: &str) -> Option<&DataArray> {
        self.of_profiles.iter().find(|(own, _)| own == name).map(|(_, variable)| variable)
    }

    /// The good levels of a variable in one block, profile after profile.
    fn samples(&self, at: usize, count: u64) -> Result<DataArray> {
        let variable = &self.variables[at].array;
        let dtype = variable.dtype();
        if count == 0 {
            return DataArray::new(Array::zeros(&[0], dtype), [SAMPLE]);
        }
        // Whether a level counts, then what it has, in one block.
        let both =
            nuna_array::concat(&[self.good.array.astype(dtype).flatten(0, 2)?, variable.flatten(0, 2)?], 0)?;
        let both = both.rechunk(&[both.shape()[0].max(1)])?;
        let chunks = Some(ChunkGrid::listed(&[count], &[vec![count]])?);
        let options = MapBlocks { name: "good levels".to_owned(), dtype, chunks };
        let array = both.map_blocks_with(options, &count, |count: &u64, block| {
            let chunk = &block.inputs[0];
            let (size, half) = (chunk.dtype().size(), chunk.len() / 2);
            let mut bytes = Vec::with_capacity(usize::try_from(*count).unwrap_or(0).min(half) * size);
            for at in (0..half).filter(|&at| chunk.get(at).as_f64() != 0.0) {
                bytes.extend_from_slice(&chunk.bytes()[(half + at) * size..(half + at + 1) * size]);
            }
            Chunk::new(chunk.dtype(), &[*count], bytes.into())
                .map_err(|error| format!("a file has other levels than when it was opened: {error}"))
        })?;
        DataArray::new(array, [SAMPLE])
    }
}

/// A dataset of contiguous ragged arrays; from [`Dataset::profiles`].
#[derive(Clone, Debug)]
pub struct Profiles {
    dataset: Dataset,
    profile: String,
    sample: String,
    /// The first sample of each profile, and the end of the last.
    starts: Vec<u64>,
}

impl Dataset {
    /// Its profiles, where it holds contiguous ragged arrays as CF describes them: one variable of lengths says with the
    /// attribute `sample_dimension` which dimension they cut. The lengths are computed.
    ///
    /// # Errors
    /// If there is no such variable, or lengths do not add up to the samples.
    pub fn profiles(&self) -> Result<Profiles> {
        let said = |attrs: &Attributes| {
            attrs.get("sample_dimension").and_then(|value| value.as_str()).map(str::to_owned)
        };
        let found = self.variables.iter().find_map(|(name, v)| Some((name, v, said(&v.attrs)?)));
        let Some((name, sizes, sample)) = found.filter(|(_, sizes, _)| sizes.ndim() == 1) else {
            return Err(LabelError::Invalid(format!(
                "{} holds no contiguous ragged arrays: no variable of one dimension has the attribute `sample_dimension`",
                self.describe()
            )));
        };
        let mut starts = vec![0u64];
        let have = self.size(&sample)?;
        let mut end = 0u64;
        for length in sizes.to_chunk()?.to_vec::<f64>() {
            // Lengths are whole, and none is beyond the samples there are.
            let whole = (0.0..=have as f64).contains(&length) && length.fract() == 0.0;
            end = end.saturating_add(if whole { length as u64 } else { u64::MAX });
            starts.push(end);
        }
        if end != have {
            return Err(LabelError::Invalid(format!(
                "lengths of profiles in `{name}` do not add up to the {have} positions along `{sample}`"
            )));
        }
        Ok(Profiles { dataset: self.clone(), profile: sizes.dims[0].clone(), sample, starts })
    }
}

impl Profiles {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many samples each has.
    pub fn row_sizes(&self) -> Vec<u64> {
        self.starts.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    /// One profile: its samples, and what there is for it alone.
    ///
    /// # Errors
    /// If there are fewer profiles.
    pub fn get(&self, at: usize) -> Result<Dataset> {
        let (Some(&start), Some(&end)) = (self.starts.get(at), self.starts.get(at + 1)) else {
            let size = self.len() as u64;
            let index = i64::try_from(at).unwrap_or(i64::MAX);
            return Err(LabelError::Position { dim: self.profile.clone(), index, size });
        };
        let one = self.dataset.isel(&self.profile, i64::try_from(at).unwrap_or(i64::MAX))?;
        let samples = Positions::Slice { start, step: 1, count: end - start };
        let coords = one.coords.isel(&self.sample, &samples)?;
        one.along(&self.sample, coords, |variable| variable.take(variable.axis(&self.sample)?, &samples))
    }

    /// The number of the profile that each sample belongs to, along the samples: what these are grouped by,
    /// `ds["TEMP"].groupby(profiles.numbers()?)?.max()?`.
    ///
    /// # Errors
    /// Never at present.
    pub fn numbers(&self) -> Result<DataArray> {
        let samples = self.starts.last().copied().unwrap_or(0);
        let numbers = Array::arange(0, 1, samples).rechunk(&[samples.clamp(1, CHUNK)])?;
        let options = MapBlocks { name: PROFILE.to_owned(), dtype: DType::I64, chunks: None };
        let array = numbers.map_blocks_with(options, &self.starts, |starts: &Vec<u64>, block| {
            let chunk = &block.inputs[0];
            let number = |at: i64| starts.partition_point(|&start| start <= at.unsigned_abs()) as i64 - 1;
            let numbers: Vec<i64> = chunk.to_vec::<i64>().into_iter().map(number).collect();
            Ok(Chunk::from_slice(chunk.shape(), &numbers))
        })?;
        Ok(DataArray::new(array, [self.sample.as_str()])?.named(&self.profile))
    }

    /// What a variable has for the profile of each sample, along the samples, such as its latitude. It is computed.
    ///
    /// # Errors
    /// If it is not along the profiles alone.
    pub fn spread(&self, name: &str) -> Result<DataArray> {
        let variable = self.dataset.var(name)?;
        if variable.dims != [self.profile.as_str()] {
            let dims = variable.dims.join(", ");
            return Err(LabelError::Invalid(format!(
                "`{name}` is along ({dims}), not along `{}`",
                self.profile
            )));
        }
        let (values, numbers, dtype) = (variable.to_chunk()?, self.numbers()?, variable.dtype());
        let options = MapBlocks { name: name.to_owned(), dtype, chunks: None };
        let environment = (dtype.size(), dtype, values.bytes().to_vec());
        let array =
            numbers.array.map_blocks_with(options, &environment, |(size, dtype, values), block| {
                let chunk = &block.inputs[0];
                let mut bytes = Vec::with_capacity(chunk.len() * size);
                for number in chunk.to_vec::<i64>() {
                    let start = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(*size);
                    let value = values.get(start..start + size).ok_or("a profile that is not there")?;
                    bytes.extend_from_slice(value);
                }
                Chunk::new(*dtype, chunk.shape(), bytes.into()).map_err(|error| error.to_string())
            })?;
        let spread = DataArray::new(array, [self.sample.as_str()])?;
        Ok(DataArray { attrs: variable.attrs, name: variable.name, ..spread })
    }

    /// As rectangular arrays again, along profiles and `levels`, as many as the longest profile has; the rest is NaN, which
    /// makes floats of integers. Elements come together one by one: for what has many chunks, [`numbers`](Profiles::numbers) and
    /// group-by are cheaper.
    ///
    /// # Errors
    /// If there is a dimension `levels` already.
    pub fn padded(&self, levels: &str) -> Result<Dataset> {
        if self.dataset.size(levels).is_ok() {
            return Err(LabelError::DimTwice { dim: levels.to_owned(), dims: vec![levels.to_owned()] });
        }
        let sizes = self.row_sizes();
        let longest = sizes.iter().copied().max().unwrap_or(0);
        let mut places: Places = Vec::new();
        for (start, size) in self.starts.iter().zip(&sizes) {
            places.extend(
                (0..longest).map(|at| (at < *size).then(|| usize::try_from(start + at).ok()).flatten()),
            );
        }
        let shape = [self.len() as u64, longest];
        let coords = self.dataset.coords.without(&self.sample);
        self.dataset.along(&self.sample, coords, |variable| {
            let axis = variable.axis(&self.sample)?;
            let array =
                placed(&variable.array, axis, &places, Scalar::Float(f64::NAN))?.unflatten(axis, &shape)?;
            let mut dims = variable.dims.clone();
            dims.splice(axis..=axis, [self.profile.clone(), levels.to_owned()]);
            let coords = variable.coords.without(&self.sample);
            Ok(DataArray { dims, coords, ..variable.with_array(array) })
        })
    }
}
