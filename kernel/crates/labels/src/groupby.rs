//! Owns group-by along one dimension: what the groups are, reductions of each in one pass over the chunks, and
//! differences from a climatology.
//!
//! Every block reduces its own elements to partial results of the groups it holds; these merge in a tree whose shape
//! depends on the chunks alone, so results are the same to the last bit whatever computes them.

use std::{ops, sync::Arc};

use nuna_array::{Binary, Block, ChunkGrid, MapBlocks};
use nuna_chunk::{Chunk, DType};
use serde::{Deserialize, Serialize};

use crate::{
    DataArray, LabelError, Result,
    coord::{Coord, Values},
    select::Positions,
    time::{SEASONS, TimePart},
};

/// An array whose elements along one dimension are sorted into groups; from [`DataArray::groupby`].
#[derive(Clone, Debug)]
pub struct GroupBy {
    array: DataArray,
    dim: String,
    /// What the new dimension is called: `month`.
    group: String,
    /// The group of every position along `dim`.
    codes: Arc<[u32]>,
    labels: Values,
    skipna: bool,
}

impl DataArray {
    /// Groups by a part of a time coordinate (`"time.month"`; also year, season, day, dayofyear, hour) or by the values
    /// of a one-dimensional coordinate (`"region"`).
    ///
    /// # Errors
    /// [`LabelError::GroupKey`], saying what can be grouped by.
    pub fn groupby(&self, key: &str) -> Result<GroupBy> {
        let bad = |reason: String| LabelError::GroupKey { key: key.to_owned(), reason };
        let (name, part) = match key.split_once('.') {
            Some((name, part)) => (name, Some(part)),
            None => (key, None),
        };
        let coord = self.coords.get(name).ok_or_else(|| {
            bad(format!(
                "{} has no coordinate `{name}`; it has {}",
                self.describe(),
                self.coords.names().join(", ")
            ))
        })?;
        let [dim] = coord.dims.as_slice() else {
            return Err(bad(format!(
                "coordinate `{name}` has dimensions ({}), not one",
                coord.dims.join(", ")
            )));
        };
        let values = coord.values()?;
        let (codes, labels) = match (part, values) {
            (Some(part), Values::Times(times)) => {
                let part = TimePart::from_name(part).ok_or_else(|| {
                    bad(format!("`{part}` is not one of year, month, season, day, dayofyear, hour"))
                })?;
                let parts: Option<Vec<i64>> = times.part(part).into_iter().collect();
                let parts = parts
                    .ok_or_else(|| bad(format!("`{name}` holds missing times; select the others first")))?;
                let (codes, groups) = number(&parts);
                let labels = match part {
                    TimePart::Season => Values::Text(
                        groups.iter().map(|&g| SEASONS[usize::try_from(g).unwrap_or(0)].to_owned()).collect(),
                    ),
                    _ => groups.into(),
                };
                (codes, labels)
            }
            (Some(_), other) => return Err(bad(format!("`{name}` holds {}, not times", other.dtype_name()))),
            (None, Values::Text(text)) => {
                let (codes, groups) = number(text);
                (codes, Values::Text(groups.into()))
            }
            (None, Values::Times(times)) => {
                let (codes, groups) = number(&times.micros);
                (codes, Values::Times(crate::Times { calendar: times.calendar, micros: groups.into() }))
            }
            (None, Values::Numbers(chunk)) => {
                let numbers = chunk.to_vec::<f64>();
                if numbers.iter().any(|x| x.is_nan()) {
                    return Err(bad(format!("`{name}` holds NaN; select the other elements first")));
                }
                // Sorted as numbers; the labels keep their dtype.
                let mut order: Vec<usize> = (0..numbers.len()).collect();
                order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
                let mut codes = vec![0; numbers.len()];
                let mut firsts: Vec<usize> = Vec::new();
                for &at in &order {
                    if firsts.last().is_none_or(|&last| numbers[last] != numbers[at]) {
                        firsts.push(at);
                    }
                    codes[at] = u32::try_from(firsts.len() - 1).unwrap_or(u32::MAX);
                }
                (codes, values.take(&[firsts.len() as u64], &firsts))
            }
        };
        let group = part.unwrap_or(name).to_owned();
        self.axis(dim)?;
        Ok(GroupBy {
            array: self.clone(),
            dim: dim.clone(),
            group,
            codes: codes.into(),
            labels,
            skipna: true,
        })
    }
}

/// Numbers values by their sorted order.
fn number<T: Ord + Clone>(values: &[T]) -> (Vec<u32>, Vec<T>) {
    let mut groups = values.to_vec();
    groups.sort();
    groups.dedup();
    let code = |value: &T| groups.binary_search(value).map_or(0, |at| u32::try_from(at).unwrap_or(u32::MAX));
    (values.iter().map(code).collect(), groups)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum GroupOp {
    Sum,
    Mean,
    Min,
    Max,
    Count,
    Var,
    Std,
}

impl GroupOp {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Var => "var",
            Self::Std => "std",
        }
    }

    /// Doubles per group and cell while partial.
    fn parts(self) -> usize {
        match self {
            Self::Var | Self::Std => 3,
            _ => 2,
        }
    }

    fn output(self, dtype: DType) -> DType {
        match self {
            Self::Count => DType::I64,
            Self::Min | Self::Max => dtype,
            Self::Sum if dtype.is_float() => dtype,
            Self::Sum if dtype.name().starts_with('u') => DType::U64,
            Self::Sum => DType::I64,
            Self::Mean | Self::Var | Self::Std => dtype.to_float(),
        }
    }
}

/// What the blocks' functions are told.
#[derive(Serialize, Deserialize)]
struct Environment {
    op: GroupOp,
    skipna: bool,
    axis: usize,
    /// Blocks along each axis.
    grid: Vec<u64>,
    /// Per block along the axis: for the first pass the group of each element, later the groups of each child.
    children: Vec<Vec<Vec<u32>>>,
    output: DType,
}

impl Environment {
    fn along(&self, block: u64) -> usize {
        let grid = nuna_plan::BlockGrid::new(self.grid.iter().copied());
        usize::try_from(grid.coords(block)[self.axis]).unwrap_or(0)
    }
}

/// Extents before and after an axis.
fn extents(shape: &[u64], axis: usize) -> (usize, usize, usize) {
    let count = |shape: &[u64]| usize::try_from(shape.iter().product::<u64>()).unwrap_or(usize::MAX);
    (count(&shape[..axis]), count(&shape[axis..=axis]), count(&shape[axis + 1..]))
}

fn distinct(groups: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut set: Vec<u32> = groups.into_iter().collect();
    set.sort_unstable();
    set.dedup();
    set
}

/// Partial results of some groups: `parts × groups × inner` doubles for each outer index.
struct Partials {
    op: GroupOp,
    groups: usize,
    inner: usize,
    data: Vec<f64>,
}

impl Partials {
    fn new(op: GroupOp, outer: usize, groups: usize, inner: usize) -> Self {
        let row = groups * inner;
        let mut data = vec![0.0; outer * op.parts() * row];
        let start = match op {
            GroupOp::Min => f64::INFINITY,
            GroupOp::Max => f64::NEG_INFINITY,
            _ => 0.0,
        };
        if start != 0.0 {
            data.chunks_exact_mut(op.parts() * row).for_each(|outer| outer[..row].fill(start));
        }
        Self { op, groups, inner, data }
    }

    /// The parts of one group at one outer index.
    fn cells(&mut self, outer: usize, group: usize) -> (&mut [f64], &mut [f64], &mut [f64]) {
        let (row, parts) = (self.groups * self.inner, self.op.parts());
        let block = &mut self.data[outer * parts * row..(outer + 1) * parts * row];
        let range = group * self.inner..(group + 1) * self.inner;
        let (first, rest) = block.split_at_mut(row);
        let (second, third) = rest.split_at_mut(row);
        let third = if parts == 3 { &mut third[range.clone()] } else { &mut [] };
        (&mut first[range.clone()], &mut second[range], third)
    }

    /// Adds one line of elements.
    fn update<T: Copy + Into<f64>>(&mut self, outer: usize, group: usize, line: &[T], skipna: bool) {
        let op = self.op;
        let (a, n, m2) = self.cells(outer, group);
        match op {
            GroupOp::Sum | GroupOp::Mean | GroupOp::Count => {
                for ((a, n), &x) in a.iter_mut().zip(n).zip(line) {
                    let x: f64 = x.into();
                    let present = !x.is_nan();
                    *a += if present || !skipna { x } else { 0.0 };
                    *n += f64::from(u8::from(present || (!skipna && op != GroupOp::Count)));
                }
            }
            GroupOp::Min | GroupOp::Max => {
                for ((a, n), &x) in a.iter_mut().zip(n).zip(line) {
                    let x: f64 = x.into();
                    if x.is_nan() {
                        if !skipna {
                            *a = f64::NAN;
                            *n += 1.0;
                        }
                        continue;
                    }
                    let better = if op == GroupOp::Min { x < *a } else { x > *a };
                    if better {
                        *a = x;
                    }
                    *n += 1.0;
                }
            }
            GroupOp::Var | GroupOp::Std => {
                for (((mean, n), m2), &x) in a.iter_mut().zip(n).zip(m2).zip(line) {
                    let x: f64 = x.into();
                    if x.is_nan() && skipna {
                        continue;
                    }
                    *n += 1.0;
                    let delta = x - *mean;
                    *mean += delta / *n;
                    *m2 += delta * (x - *mean);
                }
            }
        }
    }

    /// Adds another's parts of one group.
    fn merge(&mut self, outer: usize, group: usize, a2: &[f64], n2: &[f64], m22: &[f64]) {
        let op = self.op;
        let (a, n, m2) = self.cells(outer, group);
        match op {
            GroupOp::Sum | GroupOp::Mean | GroupOp::Count => {
                for (((a, n), &a2), &n2) in a.iter_mut().zip(n).zip(a2).zip(n2) {
                    *a += a2;
                    *n += n2;
                }
            }
            GroupOp::Min | GroupOp::Max => {
                for (((a, n), &a2), &n2) in a.iter_mut().zip(n).zip(a2).zip(n2) {
                    let better = if op == GroupOp::Min { a2 < *a } else { a2 > *a };
                    if better || a2.is_nan() {
                        *a = a2;
                    }
                    *n += n2;
                }
            }
            GroupOp::Var | GroupOp::Std => {
                // Chan's formula for the union of two samples.
                for (((((mean, n), m2), &mean2), &n2), &m22) in
                    a.iter_mut().zip(n).zip(m2).zip(a2).zip(n2).zip(m22)
                {
                    if n2 == 0.0 {
                        continue;
                    }
                    let total = *n + n2;
                    let delta = mean2 - *mean;
                    *m2 += m22 + delta * delta * (*n * n2 / total);
                    *mean += delta * (n2 / total);
                    *n = total;
                }
            }
        }
    }

    fn finish(mut self, outer: usize) -> Vec<f64> {
        let mut out = Vec::with_capacity(outer * self.groups * self.inner);
        for o in 0..outer {
            for g in 0..self.groups {
                let op = self.op;
                let (a, n, m2) = self.cells(o, g);
                match op {
                    GroupOp::Sum => out.extend_from_slice(a),
                    GroupOp::Count => out.extend_from_slice(n),
                    GroupOp::Mean => out.extend(a.iter().zip(n).map(|(a, n)| *a / *n)),
                    GroupOp::Min | GroupOp::Max => {
                        out.extend(a.iter().zip(n).map(|(a, n)| if *n == 0.0 { f64::NAN } else { *a }));
                    }
                    GroupOp::Var => out.extend(m2.iter().zip(n).map(|(m2, n)| *m2 / *n)),
                    GroupOp::Std => out.extend(m2.iter().zip(n).map(|(m2, n)| (*m2 / *n).sqrt())),
                }
            }
        }
        out
    }
}

fn with_length(shape: &[u64], axis: usize, length: usize) -> Vec<u64> {
    let mut shape = shape.to_vec();
    shape[axis] = length as u64;
    shape
}

/// First pass: the elements of a block.
fn reduce_block(env: &Environment, block: &Block<'_>) -> Result<Chunk, String> {
    let chunk = &block.inputs[0];
    let codes = &env.children[env.along(block.index)][0];
    let groups = distinct(codes.iter().copied());
    let (outer, length, inner) = extents(chunk.shape(), env.axis);
    if codes.len() != length {
        return Err(format!(
            "a block of {length} elements along the grouped axis where {} were planned",
            codes.len()
        ));
    }
    let mut partials = Partials::new(env.op, outer, groups.len(), inner);
    let places: Vec<usize> = codes.iter().map(|code| groups.binary_search(code).unwrap_or(0)).collect();
    macro_rules! lines {
        ($elements:expr) => {{
            let elements: &[_] = &$elements;
            for o in 0..outer {
                for (i, &place) in places.iter().enumerate() {
                    let start = (o * length + i) * inner;
                    partials.update(o, place, &elements[start..start + inner], env.skipna);
                }
            }
        }};
    }
    match chunk.dtype() {
        DType::F32 => lines!(*chunk.elements::<f32>().map_err(|e| e.to_string())?),
        DType::F64 => lines!(*chunk.elements::<f64>().map_err(|e| e.to_string())?),
        _ => lines!(chunk.to_vec::<f64>()),
    }
    let shape = with_length(chunk.shape(), env.axis, env.op.parts() * groups.len());
    Ok(Chunk::from_slice(&shape, &partials.data))
}

/// Later passes: partial results of neighbouring blocks, one after the other along the axis.
fn merge_children(env: &Environment, block: &Block<'_>) -> Result<(Partials, usize, Vec<u64>), String> {
    let chunk = &block.inputs[0];
    let children = &env.children[env.along(block.index)];
    let groups = distinct(children.iter().flatten().copied());
    let (outer, length, inner) = extents(chunk.shape(), env.axis);
    let elements = chunk.elements::<f64>().map_err(|e| e.to_string())?;
    let parts = env.op.parts();
    if children.iter().map(|set| set.len() * parts).sum::<usize>() != length {
        return Err(format!("{length} partial results where others were planned"));
    }
    let mut partials = Partials::new(env.op, outer, groups.len(), inner);
    for o in 0..outer {
        let mut at = o * length;
        for child in children {
            for (k, code) in child.iter().enumerate() {
                let part = |p: usize| {
                    let start = (at + p * child.len() + k) * inner;
                    &elements[start..start + inner]
                };
                let place = groups.binary_search(code).unwrap_or(0);
                partials.merge(o, place, part(0), part(1), if parts == 3 { part(2) } else { &[] });
            }
            at += child.len() * parts;
        }
    }
    Ok((partials, outer, with_length(chunk.shape(), env.axis, groups.len())))
}

impl GroupBy {
    /// The names of the groups.
    pub fn labels(&self) -> &Values {
        &self.labels
    }

    /// Chooses whether the reduction that follows skips NaNs; it does unless told.
    #[must_use]
    pub fn skipna(&self, skip: bool) -> Self {
        Self { skipna: skip, ..self.clone() }
    }

    fn reduce(&self, op: GroupOp) -> Result<DataArray> {
        const FAN: usize = 8;
        let axis = self.array.axis(&self.dim)?;
        let source = &self.array.array;
        let output = op.output(source.dtype());
        let mut lengths = source.chunks().chunk_lengths();
        let mut start = 0;
        let first: Vec<Vec<Vec<u32>>> = lengths[axis]
            .iter()
            .map(|&n| {
                let n = usize::try_from(n).unwrap_or(0);
                start += n;
                vec![self.codes[start - n..start].to_vec()]
            })
            .collect();
        if first.is_empty() {
            return Err(LabelError::Invalid(format!(
                "dimension `{}` of {} is empty, there are no groups",
                self.dim,
                self.array.describe()
            )));
        }
        let mut sets: Vec<Vec<u32>> = first.iter().map(|block| distinct(block[0].iter().copied())).collect();
        let parts = op.parts();
        let env = |children: Vec<Vec<Vec<u32>>>, lengths: &[Vec<u64>]| Environment {
            op,
            skipna: self.skipna,
            axis,
            grid: lengths.iter().map(|axis| axis.len() as u64).collect(),
            children,
            output,
        };
        let grid = |lengths: &[Vec<u64>]| {
            let shape: Vec<u64> = lengths.iter().map(|axis| axis.iter().sum()).collect();
            ChunkGrid::listed(&shape, lengths)
        };
        let options = |chunks: ChunkGrid, dtype: DType| MapBlocks {
            name: format!("{}({})", op.name(), self.group),
            dtype,
            chunks: Some(chunks),
        };
        let environment = env(first, &lengths);
        lengths[axis] = sets.iter().map(|set| (set.len() * parts) as u64).collect();
        let mut array =
            source.map_blocks_with(options(grid(&lengths)?, DType::F64), &environment, |env, block| {
                reduce_block(env, &block)
            })?;
        loop {
            let last = sets.len() <= FAN;
            let families: Vec<Vec<Vec<u32>>> = sets.chunks(FAN).map(<[Vec<u32>]>::to_vec).collect();
            let total = |family: &Vec<Vec<u32>>| family.iter().map(|set| (set.len() * parts) as u64).sum();
            lengths[axis] = families.iter().map(total).collect();
            array = array.rechunk_to(grid(&lengths)?);
            sets = families.iter().map(|family| distinct(family.iter().flatten().copied())).collect();
            let environment = env(families, &lengths);
            if last {
                lengths[axis] = vec![sets[0].len() as u64];
                let options = options(grid(&lengths)?, output);
                array = array.map_blocks_with(options, &environment, |env, block| {
                    let (partials, outer, shape) = merge_children(env, &block)?;
                    Ok(Chunk::from_slice(&shape, &partials.finish(outer)).cast(env.output))
                })?;
                break;
            }
            lengths[axis] = sets.iter().map(|set| (set.len() * parts) as u64).collect();
            array =
                array.map_blocks_with(options(grid(&lengths)?, DType::F64), &environment, |env, block| {
                    let (partials, _, mut shape) = merge_children(env, &block)?;
                    shape[env.axis] *= env.op.parts() as u64;
                    Ok(Chunk::from_slice(&shape, &partials.data))
                })?;
        }
        let mut dims = self.array.dims.clone();
        dims[axis] = self.group.clone();
        let others: Vec<String> = self.array.dims.iter().filter(|dim| **dim != self.dim).cloned().collect();
        let mut coords = self.array.coords.within(&others);
        coords.insert(
            &self.group,
            Arc::new(Coord::line(&self.group, self.labels.clone(), nuna_storage::Attributes::new())),
        );
        Ok(DataArray { array, dims, coords, loaded: None, ..self.array.clone() })
    }

    /// The array minus `climatology` of each element's group, which must have the groups as a dimension.
    ///
    /// # Errors
    /// If it lacks the dimension or one of the groups.
    pub fn binary(&self, op: Binary, climatology: &DataArray) -> Result<DataArray> {
        let axis = climatology.axis(&self.group)?;
        let index = climatology.index(&self.group)?.values()?;
        let keys = index.keys();
        let places: Result<Vec<u64>> = self
            .labels
            .keys()
            .iter()
            .enumerate()
            .map(|(at, key)| {
                keys.iter().position(|k| k == key).map(|at| at as u64).ok_or_else(|| LabelError::NoLabel {
                    dim: self.group.clone(),
                    label: self.labels.show(at),
                    hint: format!("{} lacks this group", climatology.describe()),
                })
            })
            .collect();
        let places = places?;
        let list = self.codes.iter().map(|&code| places[code as usize]).collect();
        let mut spread = climatology.take(axis, &Positions::List(list))?;
        // Named as the array's own dimension, the labels of the groups become a coordinate along it.
        spread.coords.retain(|name, _| name != self.group);
        spread = spread.rename(&self.group, &self.dim)?;
        let mut result = self.array.binary(op, &spread)?;
        let labels: Vec<usize> = self.codes.iter().map(|&code| code as usize).collect();
        let labels = self.labels.take(&[labels.len() as u64], &labels);
        if self.group != self.dim && result.coords.get(&self.group).is_none() {
            let coord = Coord::line(&self.dim, labels, nuna_storage::Attributes::new());
            result.coords.insert(&self.group, Arc::new(coord));
        }
        Ok(DataArray { name: self.array.name.clone(), ..result })
    }

    /// Each element minus the mean of its group.
    ///
    /// # Errors
    /// As the mean.
    pub fn anomaly(&self) -> Result<DataArray> {
        self.binary(Binary::Sub, &self.mean()?)
    }
}

macro_rules! group_reductions {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        impl GroupBy {$(
            $(#[$doc])*
            /// NaNs are skipped unless [`skipna`](GroupBy::skipna) says otherwise.
            ///
            /// # Errors
            /// If the dimension is empty.
            pub fn $name(&self) -> Result<DataArray> {
                self.reduce(GroupOp::$op)
            }
        )*}
    };
}
group_reductions!(
    /// The sum of each group.
    sum => Sum;
    /// The mean of each group.
    mean => Mean;
    /// The least element of each group.
    min => Min;
    /// The greatest element of each group.
    max => Max;
    /// How many elements of each group are not NaN.
    count => Count;
    /// The variance of each group (`ddof` 0).
    var => Var;
    /// The standard deviation of each group (`ddof` 0).
    std => Std;
);

macro_rules! group_operator {
    ($trait:ident, $method:ident, $($left:ty, $right:ty);*) => {$(
        impl ops::$trait<$right> for $left {
            type Output = DataArray;
            #[track_caller]
            fn $method(self, climatology: $right) -> DataArray {
                self.binary(Binary::$trait, &climatology).unwrap_or_else(|error| panic!("{error}"))
            }
        }
    )*};
}
group_operator!(Sub, sub, GroupBy, DataArray; GroupBy, &DataArray; &GroupBy, DataArray; &GroupBy, &DataArray);
group_operator!(Add, add, GroupBy, DataArray; GroupBy, &DataArray; &GroupBy, DataArray; &GroupBy, &DataArray);
group_operator!(Div, div, GroupBy, DataArray; GroupBy, &DataArray; &GroupBy, DataArray; &GroupBy, &DataArray);
