//! Any bytes as a Parquet file of references: elements of the array that they are references for, or an error.

use crate::common;

const METADATA: &str = r#"{"record_size": 4, "metadata": {".zgroup": {"zarr_format": 2}, "x/.zarray": {"zarr_format": 2,
    "shape": [6], "chunks": [2], "dtype": "|u1", "fill_value": 9, "order": "C", "compressor": null, "filters": null}}}"#;

pub(crate) fn check(data: &[u8]) {
    common::forgive_others();
    if common::leads_elsewhere(data) {
        return;
    }
    let beside: Vec<u8> = (0..=255).collect();
    common::store(&[(".zmetadata", METADATA.as_bytes()), ("x/refs.0.parq", data)], |folder| {
        std::fs::write(folder.join("a.bin"), beside).expect("room for a small file");
        let group = nuna_storage::open(folder).expect("the metadata is good");
        assert_eq!(group.variables.len(), 1, "{:?}", group.skipped);
        common::read_all(&group);
    });
}
