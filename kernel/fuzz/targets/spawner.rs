//! See `checks/spawner.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/spawner.rs"]
mod spawner;

fuzz_target!(|data: &[u8]| spawner::check(data));
