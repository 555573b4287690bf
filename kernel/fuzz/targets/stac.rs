//! See `checks/stac.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/stac.rs"]
mod stac;

fuzz_target!(|data: &[u8]| stac::check(data));
