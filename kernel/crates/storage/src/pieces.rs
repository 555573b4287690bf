//! Owns cutting a box of elements into the stored chunks that it covers, each as whole as it is stored.

use std::borrow::Cow;

use nuna_chunk::{Chunk, Region};
use nuna_plan::BlockGrid;

/// Hands each stored chunk that `region` covers to `each`: where it is in the grid of chunks, and its elements in C order.
/// Chunks at the array's end are filled up with `fill`, one element's bytes.
///
/// # Errors
/// If the box cuts a chunk, and what `each` says, in the words of `refused`.
pub(crate) fn pieces<E>(
    region: &Region,
    chunk: &Chunk,
    (shape, chunk_shape): (&[u64], &[u64]),
    fill: &[u8],
    refused: impl Fn(String) -> E,
    mut each: impl FnMut(&[u64], Cow<'_, [u8]>) -> Result<(), E>,
) -> Result<(), E> {
    for (axis, range) in region.ranges().iter().enumerate() {
        let n = chunk_shape[axis];
        let whole =
            range.start.is_multiple_of(n) && (range.end.is_multiple_of(n) || range.end == shape[axis]);
        if !whole || range.end > shape[axis] {
            return Err(refused(format!(
                "the box {region} does not cover whole chunks of shape {chunk_shape:?} of an array of shape {shape:?}"
            )));
        }
    }
    if region.ranges().iter().any(std::ops::Range::is_empty) {
        return Ok(());
    }
    let first: Vec<u64> = region.ranges().iter().zip(chunk_shape).map(|(r, n)| r.start / n).collect();
    let grid =
        BlockGrid::new(region.ranges().iter().zip(chunk_shape).map(|(r, &n)| (r.end - r.start).div_ceil(n)));
    for number in 0..grid.count() {
        let indices: Vec<u64> = grid.coords(number).iter().zip(&first).map(|(c, f)| c + f).collect();
        let part = Region::new(
            indices
                .iter()
                .zip(chunk_shape)
                .zip(region.ranges())
                .map(|((&i, &n), r)| i * n - r.start..((i + 1) * n).min(r.end) - r.start),
        );
        let part = if grid.count() == 1 {
            chunk.clone()
        } else {
            chunk.slice(&part).map_err(|error| refused(error.to_string()))?
        };
        each(&indices, padded(&part, chunk_shape, fill))?;
    }
    Ok(())
}

/// A chunk at the array's end is stored whole, the rest of it fill values.
fn padded<'a>(part: &'a Chunk, chunk_shape: &[u64], fill: &[u8]) -> Cow<'a, [u8]> {
    if part.shape() == chunk_shape {
        return Cow::Borrowed(part.bytes());
    }
    let size = part.dtype().size();
    let total: u64 = chunk_shape.iter().product();
    let mut out = fill.repeat(usize::try_from(total).unwrap_or(usize::MAX));
    let axes = part.ndim();
    let row = usize::try_from(part.shape()[axes - 1]).unwrap_or(0) * size;
    let rows = BlockGrid::new(part.shape()[..axes - 1].iter().copied());
    for (number, source) in (0..rows.count()).zip(part.bytes().chunks_exact(row.max(1))) {
        let at = rows.coords(number).iter().zip(chunk_shape).fold(0, |at, (&c, &n)| at * n + c);
        let start = usize::try_from(at * chunk_shape[axes - 1]).unwrap_or(usize::MAX) * size;
        out[start..start + row].copy_from_slice(source);
    }
    out.into()
}
