//! Addresses, AWS's files and what buckets answer, as anybody may have written them: the checks of the fuzz targets, over their seeds
//! and damaged ones.

#[path = "../../../fuzz/checks/addresses.rs"]
mod addresses;
#[path = "../../../fuzz/checks/xml.rs"]
mod xml;

use nuna_testing::check_damaged;

#[test]
fn any_address_is_written_as_it_was_read() {
    check_damaged("addresses", 300, addresses::check);
}

#[test]
fn any_answer_of_a_bucket_is_read() {
    check_damaged("xml", 300, xml::check);
}
