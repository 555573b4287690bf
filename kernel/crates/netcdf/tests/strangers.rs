//! Files as other programs have written them, in forms that NetCDF's library reads and does not write.

use nuna_netcdf::{Reader, open};

#[test]
fn names_of_classic_files_end_at_their_first_nul() {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    let mut bytes = b"CDF\x01".to_vec();
    // No records, dimensions or attributes; a variable.
    bytes.extend(words(&[0, 0, 0, 0, 0, 11, 1, 3]));
    bytes.extend(b"ab\0\0");
    let begin = bytes.len() as u32 + 24;
    // It has no axes and no attributes, and is a short.
    bytes.extend(words(&[0, 0, 0, 3, 4, begin]));
    bytes.extend([0x12, 0x34, 0, 0]);
    let group = open(&bytes, "").unwrap();
    assert_eq!((&group.variables[0].name[..], &group.skipped[..]), ("ab", &[][..]));
    let mut out = [0; 2];
    Reader::new(bytes, group.variables[0].placement.clone()).unwrap().read(&[], &mut out).unwrap();
    assert_eq!(out, 0x1234i16.to_le_bytes());
}
