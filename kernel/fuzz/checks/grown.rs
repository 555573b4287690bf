//! A Zarr store as anybody may have made it, which is appended to: what was there stays as it was, and what is behind it is what was
//! given, or the store is as before.

use nuna_chunk::Chunk;
use nuna_storage::{GrownStore, Source};

use crate::common::{self, ELEMENTS_MAX};

const NAME: &str = "x";

pub(crate) fn check(data: &[u8]) {
    common::forgive_others();
    common::zarr_store(data, 4..6, |folder, chunk| {
        let read = || {
            let group = nuna_storage::open(folder).ok()?;
            match &group.variables[..] {
                [variable] if variable.name == NAME => match &variable.source {
                    Source::Zarr(source) if !source.is_text() => Some(source.clone()),
                    _ => None,
                },
                _ => None,
            }
        };
        let Some(source) = read() else { return };
        let Ok(mut store) = GrownStore::open_to_grow(folder) else { return };
        let Ok(layout) = store.layout(NAME) else { return };
        assert_eq!(layout.shape, source.shape());
        let small = |shape: &[u64]| {
            shape.iter().try_fold(1u64, |all, &n| all.checked_mul(n)).is_some_and(|all| all <= ELEMENTS_MAX)
        };
        if layout.shape.is_empty() || !small(&layout.shape) || !small(&layout.chunk_shape) {
            return;
        }
        let Ok(before) = source.read_all() else { return };
        let numbers = chunk.len() as u64;
        let axis = numbers as usize % layout.shape.len();
        let (length, more) = (layout.shape[axis], numbers % 3 + 1);
        let mut shape = layout.shape.clone();
        shape[axis] = more;
        if !small(&shape) {
            return;
        }
        let values: Vec<i64> = (0..shape.iter().product::<u64>()).map(|n| (n % 50) as i64).collect();
        let new = Chunk::from_slice(&shape, &values).cast(layout.dtype);
        shape[axis] = length + more;
        store.grow(NAME, axis, shape[axis]).expect("there is such an array");
        let written = store.append(NAME, axis, length, &new, false).and_then(|()| store.finish());
        let after = read().expect("a store that was appended to is a store");
        let part = |start: u64, count: u64| {
            let ranges = after.shape().iter().enumerate();
            let region = ranges.map(|(a, &n)| if a == axis { start..start + count } else { 0..n });
            after.reader().and_then(|reader| reader.read(&nuna_chunk::Region::new(region)))
        };
        let old = part(0, length).expect("what could be read can still be read");
        assert_eq!(old.bytes(), before.bytes(), "what was there stays");
        if written.is_err() {
            assert_eq!(after.shape(), layout.shape, "a failure leaves the length");
            return;
        }
        assert_eq!(after.shape(), shape);
        let found = part(length, more).expect("what was written can be read");
        // What is packed is rounded.
        if source.decode().is_identity() {
            assert_eq!(found.bytes(), new.bytes(), "what is read is what was written");
        }
    });
}
