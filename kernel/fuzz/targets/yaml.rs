//! See `checks/yaml.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/yaml.rs"]
mod yaml;

fuzz_target!(|data: &[u8]| yaml::check(data));
