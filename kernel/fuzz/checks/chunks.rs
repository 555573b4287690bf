//! Any bytes as a chunk, through each chain of codecs that has a short way past the codecs' library: what comes out is what comes
//! out the long way.

use crate::common;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nuna_storage::{Direct, ZarrFormat};
use serde_json::{Value, json};

const ELEMENTS: usize = 300;

/// Metadata of version 2: an array of one chunk.
fn metadata(dtype: &str, compressor: Value, filters: Value) -> Value {
    json!({
        "zarr_format": 2, "shape": [ELEMENTS], "chunks": [ELEMENTS], "dtype": dtype, "fill_value": null,
        "order": "C", "compressor": compressor, "filters": filters,
    })
}

fn chains() -> Vec<(Value, usize)> {
    let blosc = || json!({"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1, "blocksize": 0});
    let shuffle = |bytes: usize| json!([{"id": "shuffle", "elementsize": bytes}]);
    vec![
        (metadata("|u1", blosc(), Value::Null), 1),
        (metadata("<i4", blosc(), Value::Null), 4),
        (metadata("<f8", blosc(), Value::Null), 8),
        (metadata("<i4", json!({"id": "zstd", "level": 1}), Value::Null), 4),
        (metadata("<i2", json!({"id": "zlib", "level": 1}), Value::Null), 2),
        (metadata("<i4", json!({"id": "zlib", "level": 1}), shuffle(4)), 4),
        (metadata("<i8", json!({"id": "gzip", "level": 1}), shuffle(8)), 8),
        (metadata("<i4", Value::Null, Value::Null), 4),
    ]
}

pub(crate) fn check(data: &[u8]) {
    common::forgive_others();
    let [which, stored @ ..] = data else { return };
    let chains = chains();
    let (metadata, size) = &chains[usize::from(*which) % chains.len()];
    let text = metadata.to_string();
    let direct = Direct::of(ZarrFormat::V2, &text).expect("a chain with a short way");
    let mut out = vec![0; ELEMENTS * size];
    if direct.decode(stored, &mut out).is_none() {
        return;
    }
    // A reference file has no short way.
    let inline = format!("base64:{}", STANDARD.encode(stored));
    let references = json!({".zarray": metadata, "0": inline}).to_string();
    common::store(&[("refs.json", references.as_bytes())], |folder| {
        let group = nuna_storage::open(folder.join("refs.json")).expect("the metadata is good");
        let long =
            group.variables[0].source.read_all().expect("what the short way can decode, the long one can");
        assert_eq!(long.bytes()[..], out[..]);
    });
}
