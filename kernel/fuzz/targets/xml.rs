//! What a bucket answers, whoever it is: names in a listing, and texts of errors.

#![no_main]

use libfuzzer_sys::fuzz_target;

// Of a private module, and without all that speaks to servers.
#[path = "../../crates/remote/src/xml.rs"]
mod xml;

fuzz_target!(|data: &[u8]| {
    let Ok(document) = std::str::from_utf8(data) else { return };
    for section in xml::sections(document, "P") {
        assert!(!section.contains("</P>"));
        if let Some(text) = xml::text(section, "K") {
            assert!(text.len() <= section.len(), "nothing becomes longer");
        }
    }
});
