//! What a bucket answers, whoever it is: names in a listing, and texts of errors. What is written as XML has it is read as it was.

use nuna_remote::xml;

pub(crate) fn check(data: &[u8]) {
    let Ok(document) = std::str::from_utf8(data) else { return };
    for section in xml::sections(document, "P") {
        assert!(!section.contains("</P>"));
        if let Some(text) = xml::text(section, "K") {
            assert!(text.len() <= section.len(), "nothing becomes longer");
        }
    }
    let escaped = document.replace('&', "&amp;").replace('<', "&lt;");
    let numbers: String = document.chars().map(|c| format!("&#x{:x};", u32::from(c))).collect();
    for written in [escaped, numbers] {
        let found = xml::text(&format!("<L><K>{written}</K></L>"), "K");
        assert_eq!(found.as_deref(), Some(document));
    }
}
