//! See `checks/intake.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/intake.rs"]
mod intake;

fuzz_target!(|data: &[u8]| intake::check(data));
