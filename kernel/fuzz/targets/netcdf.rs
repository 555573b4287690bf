//! A NetCDF or HDF5 file as anybody may have made it: its groups, and all elements of what is not huge.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuna_netcdf::{Group, Input, Kind, Reader, open};

/// More elements than this are not read.
const BYTES_MAX: u64 = 1 << 20;

fn read(bytes: &[u8], group: &Group) {
    for variable in &group.variables {
        let placement = variable.placement.clone();
        assert_eq!(placement.shape.len(), variable.dims.len(), "a name for each axis");
        assert!(placement.chunk_shape().iter().all(|&n| n > 0), "chunks have elements");
        let _ = placement.scratch_bytes();
        let shape = placement.shape.clone();
        let size = u64::from(placement.element.size);
        let is_text = matches!(placement.element.kind, Kind::Text | Kind::LongText);
        let Ok(reader) = Reader::new(bytes.to_vec(), placement) else { continue };
        let length = shape.iter().fold(size, |length, &n| length.saturating_mul(n));
        if length > BYTES_MAX {
            // One element at the end.
            let last: Vec<_> = shape.iter().map(|&n| n - 1..n).collect();
            let mut out = vec![0; size as usize];
            let _ = reader.read(&last, &mut out);
            continue;
        }
        let mut out = vec![0; length as usize];
        let whole: Vec<_> = shape.iter().map(|&n| 0..n).collect();
        let read = reader.read(&whole, &mut out);
        if is_text {
            let _ = reader.read_text();
        }
        // Any part is as in the whole.
        let part: Vec<_> = shape.iter().map(|&n| n / 3..(n / 3 + 2).min(n)).collect();
        let count: u64 = part.iter().map(|r| r.end - r.start).product();
        let mut some = vec![0; (count * size) as usize];
        let again = reader.read(&part, &mut some);
        assert!(read.is_err() || again.is_ok(), "a part of what can be read can be read");
    }
}

fuzz_target!(|data: &[u8]| {
    let bytes = data.to_vec();
    assert_eq!(bytes.length(), data.len() as u64);
    let Ok(group) = open(&bytes, "") else { return };
    read(data, &group);
    for name in group.groups.iter().take(3) {
        if let Ok(inner) = open(&bytes, name) {
            read(data, &inner);
        }
    }
});
