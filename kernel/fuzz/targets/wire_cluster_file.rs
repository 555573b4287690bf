//! Cluster files, which say where a cluster is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuna_wire::ClusterFile;

fuzz_target!(|data: &[u8]| {
    if let Ok(file) = serde_json::from_slice::<ClusterFile>(data) {
        let written = serde_json::to_vec(&file).expect("what was read can be written");
        let again: ClusterFile = serde_json::from_slice(&written).expect("what was written can be read");
        assert!(again == file);
    }
});
