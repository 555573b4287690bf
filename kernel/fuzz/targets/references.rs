//! See `checks/references.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/common.rs"]
mod common;
#[path = "../checks/references.rs"]
mod references;

fuzz_target!(|data: &[u8]| references::check(data));
