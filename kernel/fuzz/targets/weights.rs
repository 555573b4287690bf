//! See `checks/weights.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/weights.rs"]
mod weights;

fuzz_target!(|data: &[u8]| weights::check(data));
