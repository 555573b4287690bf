//! Stores and references as anybody may have made them: the checks of the fuzz targets, over their seeds and damaged ones.

#[path = "../../../fuzz/checks/chunks.rs"]
mod chunks;
#[path = "../../../fuzz/checks/common.rs"]
mod common;
#[path = "../../../fuzz/checks/grown.rs"]
mod grown;
#[path = "../../../fuzz/checks/references.rs"]
mod references;
#[path = "../../../fuzz/checks/tables.rs"]
mod tables;
#[path = "../../../fuzz/checks/zarr.rs"]
mod zarr;

use nuna_testing::check_damaged;

/// A panic of ours that was taken for one of a codec's is found as well.
fn check(target: &str, rounds: u64, check: fn(&[u8])) {
    check_damaged(target, rounds, |data| {
        check(data);
        common::assert_unharmed();
    });
}

#[test]
fn any_store_is_elements_or_an_error() {
    check("zarr", 15, zarr::check);
}

#[test]
fn any_store_keeps_what_it_has_when_it_grows() {
    check("grown", 15, grown::check);
}

#[test]
fn any_chunk_is_decoded_as_the_codecs_library_decodes_it() {
    check("chunks", 20, chunks::check);
}

#[test]
fn any_references_are_elements_or_an_error() {
    check("references", 60, references::check);
}

#[test]
fn any_tables_of_references_are_elements_or_an_error() {
    check("tables", 60, tables::check);
}
