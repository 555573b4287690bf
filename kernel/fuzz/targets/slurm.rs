//! See `checks/slurm.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/slurm.rs"]
mod slurm;

fuzz_target!(|data: &[u8]| slurm::check(data));
