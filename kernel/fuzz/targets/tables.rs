//! See `checks/tables.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/common.rs"]
mod common;
#[path = "../checks/tables.rs"]
mod tables;

fuzz_target!(|data: &[u8]| tables::check(data));
