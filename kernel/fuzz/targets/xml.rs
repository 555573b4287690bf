//! See `checks/xml.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/xml.rs"]
mod xml;

fuzz_target!(|data: &[u8]| xml::check(data));
