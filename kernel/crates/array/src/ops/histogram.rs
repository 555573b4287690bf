//! Owns histograms: how many elements, or what weight, lie in each bin, in any number of dimensions.

use nuna_chunk::{Chunk, ChunkMut, DType, reduce::NanPolicy};
use nuna_plan::Splits;

use crate::{
    array::Array,
    error::{ArrayError, ArrayErrorKind},
    grid::ChunkGrid,
    ops::{
        reduce::Axes,
        routine::{Reads, Routine, routine},
    },
};

/// Bins of equal width from `low` to `high`, as edges: one more than bins. As NumPy makes them.
///
/// # Errors
/// If there is no bin, or the range is empty or not finite.
pub fn edges(bins: usize, low: f64, high: f64) -> Result<Vec<f64>, ArrayError> {
    if bins == 0 || !low.is_finite() || !high.is_finite() || low >= high {
        let message = format!("{bins} bins from {low} to {high}: give at least one, from less to more");
        return Err(ArrayErrorKind::Invalid(message).into());
    }
    let step = (high - low) / bins as f64;
    let mut edges: Vec<f64> = (0..=bins).map(|i| low + i as f64 * step).collect();
    edges[bins] = high;
    Ok(edges)
}

/// The histogram of several arrays of one shape, taken together as points: the result has one axis per array, with a bin between each
/// two of its `edges`. A bin has its lower edge, the last bin both. Points with a coordinate outside, or NaN, are not counted.
/// `int64`, or with `weights` of the same shape `float64` sums.
///
/// # Errors
/// If shapes differ, nothing is given, or edges are fewer than two, do not ascend, or hold NaN.
pub fn histogram(points: &[Array], edges: &[Vec<f64>], weights: Option<&Array>) -> Result<Array, ArrayError> {
    let invalid = |message: String| ArrayError::from(ArrayErrorKind::Invalid(message));
    let Some(first) = points.first() else { return Err(ArrayErrorKind::NothingToJoin.into()) };
    if points.len() != edges.len() {
        return Err(invalid(format!(
            "`histogram` has {} arrays, but edges for {}",
            points.len(),
            edges.len()
        )));
    }
    for edges in edges {
        let ascend = edges.windows(2).all(|pair| pair[0] < pair[1]);
        if edges.len() < 2 || !ascend {
            return Err(invalid(format!("edges of bins are at least two and ascend, unlike {edges:?}")));
        }
    }
    let mut inputs = Vec::new();
    for array in points.iter().chain(weights) {
        if array.shape() != first.shape() {
            return Err(invalid(format!(
                "`histogram` takes arrays of one shape, but {} has {:?} and {} has {:?}",
                first.expression(),
                first.shape(),
                array.expression(),
                array.shape()
            )));
        }
        inputs.push((array.try_astype(DType::F64)?.rechunk_to(first.chunks().clone()), Reads::Own));
    }
    let bins: Vec<u64> = edges.iter().map(|edges| edges.len() as u64 - 1).collect();
    let mut axes: Vec<Splits> = first
        .chunks()
        .axes()
        .iter()
        .map(|splits| Splits::Regular { chunk: 1, length: splits.count() })
        .collect();
    let blocks: Vec<usize> = (0..axes.len()).collect();
    axes.extend(bins.iter().map(|&length| Splits::Regular { chunk: length, length }));
    // Blocks are read at their own place, and the result has more axes than they have.
    let inputs = inputs
        .into_iter()
        .map(|(input, _)| {
            let rules = crate::planner::own_cuts(input.chunks());
            (input, Reads::Rules(rules))
        })
        .collect();
    let weighted = weights.is_some();
    let dtype = if weighted { DType::F64 } else { DType::I64 };
    let made = Routine { name: "histogram".to_owned(), dtype, grid: ChunkGrid::from_axes(axes), scratch: 0 };
    let counts = routine(inputs, made, &(edges.to_vec(), weighted), |(edges, weighted), block| {
        let ndim = block.inputs[0].ndim();
        counted(block.inputs, edges, *weighted, ndim).map_err(|error| error.to_string())
    })?;
    counts.reduce(nuna_chunk::reduce::Operation::Sum, NanPolicy::Propagate, &blocks, Axes::Drop)
}

fn counted(
    inputs: &[Chunk],
    edges: &[Vec<f64>],
    weighted: bool,
    ndim: usize,
) -> Result<Chunk, nuna_chunk::ChunkError> {
    let mut shape = vec![1u64; ndim];
    shape.extend(edges.iter().map(|edges| edges.len() as u64 - 1));
    let (points, weights) = inputs.split_at(edges.len());
    let points = points.iter().map(|chunk| chunk.elements::<f64>()).collect::<Result<Vec<_>, _>>()?;
    let bin = |i: usize| {
        let mut bin = 0;
        for (points, edges) in points.iter().zip(edges) {
            bin = bin * (edges.len() - 1) + bin_of(edges, points[i])?;
        }
        Some(bin)
    };
    let count = points.first().map_or(0, |points| points.len());
    if weighted {
        let weights = weights[0].elements::<f64>()?;
        let mut out = ChunkMut::zeroed(DType::F64, &shape);
        let sums = out.elements_mut::<f64>()?;
        for (i, weight) in weights.iter().enumerate().take(count) {
            if let Some(bin) = bin(i) {
                sums[bin] += weight;
            }
        }
        return Ok(out.freeze());
    }
    let mut out = ChunkMut::zeroed(DType::I64, &shape);
    let counts = out.elements_mut::<i64>()?;
    for bin in (0..count).filter_map(bin) {
        counts[bin] += 1;
    }
    Ok(out.freeze())
}

fn bin_of(edges: &[f64], value: f64) -> Option<usize> {
    let (low, high) = (edges[0], edges[edges.len() - 1]);
    if !(value >= low && value <= high) {
        return None;
    }
    // Right for equal widths but for rounding, which the steps after it mend; where widths differ much, search.
    let bins = edges.len() - 1;
    let guess = (((value - low) / (high - low)) * bins as f64) as usize;
    let near = guess.min(bins - 1);
    if edges[near] <= value && value < edges[near + 1] {
        return Some(near);
    }
    Some(edges.partition_point(|&edge| edge <= value).saturating_sub(1).min(bins - 1))
}
