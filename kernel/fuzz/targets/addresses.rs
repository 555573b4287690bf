//! See `checks/addresses.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/addresses.rs"]
mod addresses;

fuzz_target!(|data: &[u8]| addresses::check(data));
