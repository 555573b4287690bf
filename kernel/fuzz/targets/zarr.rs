//! See `checks/zarr.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/common.rs"]
mod common;
#[path = "../checks/zarr.rs"]
mod zarr;

fuzz_target!(|data: &[u8]| zarr::check(data));
