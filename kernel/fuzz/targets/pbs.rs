//! See `checks/pbs.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/pbs.rs"]
mod pbs;

fuzz_target!(|data: &[u8]| pbs::check(data));
