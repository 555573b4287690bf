//! Any JSON as references to parts of files, as kerchunk writes them.

#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    common::forgive_others();
    // Nobody is to be asked, and devices have no end.
    if data.windows(3).any(|part| part == b"://" || part == b"dev") {
        return;
    }
    common::store(&[("refs.json", data), ("a.nc", &[7; 4096])], |folder| {
        if let Ok(group) = nuna_storage::open(folder.join("refs.json")) {
            common::read_all(&group);
        }
    });
});
