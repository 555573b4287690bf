//! See `checks/grown.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/common.rs"]
mod common;
#[path = "../checks/grown.rs"]
mod grown;

fuzz_target!(|data: &[u8]| grown::check(data));
