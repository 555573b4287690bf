//! Owns functions of a person's own over blocks that see some of their neighbours, and over axes that must be whole.

use nuna_chunk::{Chunk, ChunkMut, DType};
use nuna_ship::Ship;

use crate::{
    array::{Array, Block, MapBlocks},
    error::{ArrayError, ArrayErrorKind},
    grid::bounds,
    ops::{
        arrange::Pad,
        routine::{AlongAxes, Reads, Routine, routine},
    },
    planner::own_cuts,
    program::AxisRule,
};

/// What a function given to [`Array::map_over`] makes.
#[derive(Clone, Debug)]
pub struct MapOver {
    pub name: String,
    pub dtype: DType,
    /// Which axes every block has whole.
    pub axes: Vec<usize>,
    /// Their lengths in the result; `None` where an axis is gone.
    pub lengths: Vec<Option<u64>>,
}

impl Array {
    /// Applies `function` to every block, extended by `depth[axis]` elements on both sides along each axis. Beyond the ends of the
    /// array lies what `mode` says. The function returns the block without what it was extended by.
    ///
    /// # Errors
    /// If there is not one depth per axis; as [`map_blocks`](Array::map_blocks) and [`pad`](Array::pad). `options.chunks` must be `None`.
    pub fn map_overlap<F>(
        &self,
        options: MapBlocks,
        depth: &[u64],
        mode: Pad,
        function: F,
    ) -> Result<Array, ArrayError>
    where
        F: Fn(Block<'_>) -> Result<Chunk, String> + Copy + Ship + 'static,
    {
        let (padded, rules, made) = self.extended(options, depth, mode)?;
        routine(vec![(padded, Reads::Rules(rules))], made, &(), move |(), block| function(block))
    }

    fn extended(
        &self,
        options: MapBlocks,
        depth: &[u64],
        mode: Pad,
    ) -> Result<(Array, Vec<AxisRule>, Routine), ArrayError> {
        if depth.len() != self.ndim() || options.chunks.is_some() {
            return Err(ArrayErrorKind::Invalid(format!(
                "map_overlap({}) of {} takes {} depths, not {}, and keeps the chunks",
                options.name,
                self.expression(),
                self.ndim(),
                depth.len()
            ))
            .into());
        }
        let (mut padded, mut grid) = (self.clone(), self.clone());
        let mut rules = own_cuts(self.chunks());
        for (axis, &depth) in depth.iter().enumerate().filter(|(_, depth)| **depth > 0) {
            // A halo longer than a block would be read block by block, over and over.
            if crate::grid::longest(&grid.chunks().axes()[axis]) < depth {
                grid = grid.merged_along(axis, 2 * depth);
            }
            padded = padded.pad(axis, depth, depth, mode)?;
            let cuts = bounds(&grid.chunks().axes()[axis]);
            let windows = cuts.windows(2).map(|cut| cut[0]..cut[1] + 2 * depth).collect();
            rules[axis] = AxisRule::windows(axis as u8, windows);
        }
        for (axis, rule) in rules.iter_mut().enumerate().filter(|(axis, _)| depth[*axis] == 0) {
            *rule = AxisRule::Along { axis: axis as u8, splits: grid.chunks().axes()[axis].clone() };
        }
        let made = Routine {
            name: format!("map_overlap({})", options.name),
            dtype: options.dtype,
            grid: grid.chunks().clone(),
            scratch: 0,
        };
        Ok((padded, rules, made))
    }

    /// Applies `function` to blocks that have some axes whole, as NumPy's generalised ufuncs and xarray's `apply_ufunc` do with core
    /// dimensions. The function returns a chunk with those axes at their places, of the lengths that `options` says.
    ///
    /// # Errors
    /// If an axis is out of range or named twice, or there is not one length per axis.
    pub fn map_over<F>(&self, options: &MapOver, function: F) -> Result<Array, ArrayError>
    where
        F: Fn(Block<'_>) -> Result<Chunk, String> + Copy + Ship + 'static,
    {
        let MapOver { name, dtype, axes, lengths } = options;
        if axes.len() != lengths.len() {
            let message = format!("map_over({name}) has {} axes and {} lengths", axes.len(), lengths.len());
            return Err(ArrayErrorKind::Invalid(message).into());
        }
        let along = AlongAxes { name, axes, dtype: *dtype, lengths, scratch: 0 };
        self.over_axes(&along, &(), move |(), block| function(block))
    }
}

/// Weights of a sparse matrix, such as those of ESMF and xESMF: element `rows[i]` of the result has `values[i]` times element `columns[i]`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SparseWeights {
    pub rows: Vec<u64>,
    pub columns: Vec<u64>,
    pub values: Vec<f64>,
    /// Of the result, in place of the axes that are regridded.
    pub shape: Vec<u64>,
}

impl Array {
    /// Multiplies the last axes (as many as `axes`), taken as one, with a sparse matrix. Elements of the result that have no weight are
    /// NaN, and so are those that have weight on a NaN. `float32` stays, everything else gives `float64`; summed in `float64`.
    ///
    /// # Errors
    /// If there are not so many axes, the lists of weights are not of one length, or an index is out of range.
    pub fn regrid(&self, weights: &SparseWeights, axes: usize) -> Result<Array, ArrayError> {
        let invalid = |message: String| ArrayError::from(ArrayErrorKind::Invalid(message));
        if axes == 0 || axes > self.ndim() || weights.shape.len() > axes {
            let (ndim, to) = (self.ndim(), weights.shape.len());
            return Err(invalid(format!(
                "`regrid` of the last {axes} of {ndim} axes to {to} axes is not possible"
            )));
        }
        let own = &self.shape()[self.ndim() - axes..];
        let (from, to): (u64, u64) = (own.iter().product(), weights.shape.iter().product());
        if weights.rows.len() != weights.values.len() || weights.columns.len() != weights.values.len() {
            return Err(invalid("weights for `regrid` have lists of different lengths".to_owned()));
        }
        let out_of = |list: &[u64], n: u64| list.iter().copied().find(|&i| i >= n);
        if let Some(i) = out_of(&weights.columns, from) {
            return Err(invalid(format!(
                "a weight for `regrid` is on element {i} of a grid of shape {own:?}"
            )));
        }
        if let Some(i) = out_of(&weights.rows, to) {
            return Err(invalid(format!("a weight for `regrid` makes element {i} of {:?}", weights.shape)));
        }
        self.check_real("regrid")?;
        // By rows, so that each element is written once.
        let mut order: Vec<usize> = (0..weights.rows.len()).collect();
        order.sort_by_key(|&i| weights.rows[i]);
        let sorted = SparseWeights {
            rows: order.iter().map(|&i| weights.rows[i]).collect(),
            columns: order.iter().map(|&i| weights.columns[i]).collect(),
            values: order.iter().map(|&i| weights.values[i]).collect(),
            shape: weights.shape.clone(),
        };
        let places: Vec<usize> = (self.ndim() - axes..self.ndim()).collect();
        let lengths: Vec<Option<u64>> = (0..axes).map(|i| weights.shape.get(i).copied()).collect();
        let dtype = self.dtype().to_float();
        // The input in doubles.
        let scratch = if self.dtype() == DType::F64 { 0 } else { 8 / self.dtype().size() as u64 };
        let along = AlongAxes { name: "regrid", axes: &places, dtype, lengths: &lengths, scratch };
        self.over_axes(&along, &(sorted, axes, dtype), |(weights, axes, dtype), block| {
            regridded(&block.inputs[0], weights, *axes, *dtype).map_err(|error| error.to_string())
        })
    }
}

fn regridded(
    chunk: &Chunk,
    weights: &SparseWeights,
    axes: usize,
    dtype: DType,
) -> Result<Chunk, nuna_chunk::ChunkError> {
    let kept = chunk.ndim() - axes;
    let (count, from): (u64, u64) =
        (chunk.shape()[..kept].iter().product(), chunk.shape()[kept..].iter().product());
    let to: u64 = weights.shape.iter().product();
    let shape: Vec<u64> = chunk.shape()[..kept].iter().chain(&weights.shape).copied().collect();
    let input = if chunk.dtype() == DType::F64 { chunk.clone() } else { chunk.cast(DType::F64) };
    let input = input.elements::<f64>()?;
    let mut result = ChunkMut::new(dtype, &shape);
    match dtype {
        DType::F32 => weighted(input, weights, (count, from, to), result.elements_mut()?, |sum| sum as f32),
        _ => weighted(input, weights, (count, from, to), result.elements_mut()?, |sum| sum),
    }
    Ok(result.freeze())
}

/// `count` products of a matrix with lines of `from` elements, which become lines of `to`.
fn weighted<T: Copy>(
    input: &[f64],
    weights: &SparseWeights,
    (count, from, to): (u64, u64, u64),
    result: &mut [T],
    narrow: impl Fn(f64) -> T,
) {
    result.fill(narrow(f64::NAN));
    for map in 0..count as usize {
        let (input, out) = (&input[map * from as usize..], &mut result[map * to as usize..]);
        let mut i = 0;
        while i < weights.rows.len() {
            let row = weights.rows[i];
            let mut sum = 0.0;
            while i < weights.rows.len() && weights.rows[i] == row {
                sum += weights.values[i] * input[weights.columns[i] as usize];
                i += 1;
            }
            out[row as usize] = narrow(sum);
        }
    }
}
