//! See `checks/times.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/times.rs"]
mod times;

fuzz_target!(|data: &[u8]| times::check(data));
