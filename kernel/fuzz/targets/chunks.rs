//! See `checks/chunks.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/chunks.rs"]
mod chunks;
#[path = "../checks/common.rs"]
mod common;

fuzz_target!(|data: &[u8]| chunks::check(data));
