//! A Zarr store as anybody may have made it: what it says, all elements of what is not huge, and any part as in the whole.

use crate::common;

pub(crate) fn check(data: &[u8]) {
    common::forgive_others();
    common::zarr_store(data, 0..6, |folder, _| {
        if let Ok(group) = nuna_storage::open(folder) {
            common::read_all(&group);
        }
    });
}
