//! A Zarr array as anybody may have written it: a byte for the format and the number of axes, two for the length of its metadata, the metadata, and the
//! bytes of its first chunk.

#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    common::forgive_others();
    let [format, low, high, rest @ ..] = data else { return };
    let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (metadata, chunk) = rest.split_at(length);
    let files: &[(&str, &[u8])] = match format % 3 {
        0 => &[(".zarray", metadata), ("0", chunk), ("0.0", chunk)],
        1 => &[("zarr.json", metadata), ("c/0/0", chunk)],
        _ => &[("zarr.json", metadata), ("c/0", chunk)],
    };
    common::store(files, |folder| {
        if let Ok(group) = nuna_storage::open(folder) {
            common::read_all(&group);
        }
    });
});
