//! Stores as others have written them, and such as nobody means well with: metadata that asks for more than there is, names that lead
//! elsewhere, data types of other libraries.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{fs, path::Path};

use nuna_chunk::DType;
use nuna_storage::{Attributes, Group, NewStore, Source, StoreOptions, open};
use serde_json::{Value, json};

/// A store of one array of version 3, and the bytes of its chunks.
fn v3(folder: &Path, change: impl Fn(&mut Value), chunks: &[(&str, &[u8])]) -> Group {
    let mut metadata = json!({
        "zarr_format": 3, "node_type": "array", "shape": [4, 6], "data_type": "int32", "fill_value": 7, "attributes": {},
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 6]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    });
    change(&mut metadata);
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("zarr.json"), metadata.to_string()).unwrap();
    write(folder, chunks);
    open(folder).unwrap()
}

fn v2(folder: &Path, change: impl Fn(&mut Value), chunks: &[(&str, &[u8])]) -> Group {
    let mut metadata = json!({
        "zarr_format": 2, "shape": [3], "chunks": [2], "dtype": "<i4", "fill_value": null, "order": "C",
        "compressor": null, "filters": null,
    });
    change(&mut metadata);
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(".zarray"), metadata.to_string()).unwrap();
    write(folder, chunks);
    open(folder).unwrap()
}

fn write(folder: &Path, chunks: &[(&str, &[u8])]) {
    for (key, bytes) in chunks {
        let file = folder.join(key);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

fn only(group: &Group) -> &Source {
    assert_eq!(group.skipped, []);
    &group.variables[0].source
}

fn reason(group: &Group) -> &str {
    assert!(group.variables.is_empty());
    &group.skipped[0].reason
}

fn shards(inner: Value, codecs: Value) -> Value {
    json!([{"name": "sharding_indexed", "configuration": {
        "chunk_shape": inner, "codecs": codecs, "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    }}])
}

#[test]
fn shards_that_are_not_divided_by_their_parts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = || json!([{"name": "bytes", "configuration": {"endian": "little"}}]);
    for (number, inner) in
        [json!([2]), json!([3, 5]), json!([1u64 << 40, 1u64 << 40]), json!([2, 3, 1])].iter().enumerate()
    {
        let group = v3(
            &folder.path().join(number.to_string()),
            |m| m["codecs"] = shards(inner.clone(), bytes()),
            &[],
        );
        assert!(reason(&group).contains("are not divided by parts"), "{inner}: {}", reason(&group));
    }
    let nested = |inner: Value| shards(json!([2, 2]), shards(inner, bytes()));
    let group = v3(&folder.path().join("nested"), |m| m["codecs"] = nested(json!([2, 5])), &[]);
    assert!(reason(&group).contains("[2, 2] are not divided by parts of shape [2, 5]"), "{}", reason(&group));
    let group = v3(&folder.path().join("good"), |m| m["codecs"] = nested(json!([1, 2])), &[]);
    assert_eq!(only(&group).read_all().unwrap().to_vec::<i32>(), [7; 24]);
}

#[test]
fn an_index_of_a_shard_beyond_reason_costs_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let many = |m: &mut Value| {
        m["chunk_grid"]["configuration"]["chunk_shape"] = json!([1u64 << 29, 1u64 << 28]);
        m["codecs"] =
            shards(json!([1, 1]), json!([{"name": "bytes", "configuration": {"endian": "little"}}]));
    };
    let group = v3(folder.path(), many, &[("c/0/0", &[0; 64])]);
    assert!(reason(&group).contains("beyond reason"), "{}", reason(&group));
}

#[test]
fn lengths_beyond_any_machine_are_refused_even_beside_none() {
    let folder = tempfile::tempdir().unwrap();
    for (number, shape) in [[u64::MAX, 0], [0, 1 << 63], [1 << 60, 2]].iter().enumerate() {
        let group = v3(&folder.path().join(number.to_string()), |m| m["shape"] = json!(shape), &[]);
        assert!(reason(&group).contains("beyond any machine"), "{shape:?}: {}", reason(&group));
    }
}

#[test]
fn names_in_consolidated_metadata_do_not_lead_out_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let array = json!({"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|u1", "fill_value": null, "order": "C",
                       "compressor": null, "filters": null});
    let names = ["..", ".", "", "good"];
    let metadata: serde_json::Map<_, _> =
        names.iter().map(|name| (format!("{name}/.zarray"), array.clone())).collect();
    fs::create_dir(&store).unwrap();
    fs::write(store.join(".zmetadata"), json!({"metadata": metadata}).to_string()).unwrap();
    write(folder.path(), &[("0", &[99]), ("store/0", &[98]), ("store/good/0", &[1])]);
    let group = open(&store).unwrap();
    assert_eq!(group.variables.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["good"]);
    assert_eq!(group.skipped.len(), 3);
}

#[test]
fn documents_are_plain_files() {
    let folder = tempfile::tempdir().unwrap();
    for (name, target) in [("endless", "/dev/zero"), ("folder", "/")] {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(target, &link).unwrap();
        let error = nuna_storage::read_documents(&[link]).unwrap_err().to_string();
        assert!(error.contains("not a plain file") && error.contains(name), "{error}");
    }
    assert_eq!(nuna_storage::read_documents(&[folder.path().join("none")]).unwrap(), [None]);
}

#[test]
fn zstd_need_not_say_whether_it_has_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let values: Vec<u8> = (0..24i32).flat_map(i32::to_le_bytes).collect();
    let stored = zstd::bulk::compress(&values, 1).unwrap();
    let codecs = json!([{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd", "configuration": {"level": 1}}]);
    let group = v3(folder.path(), |m| m["codecs"] = codecs.clone(), &[("c/0/0", &stored)]);
    assert_eq!(only(&group).read_all().unwrap().to_vec::<i32>(), (0..24).collect::<Vec<_>>());
}

#[test]
fn a_frame_of_blosc_that_contradicts_itself_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let frame = |block: u32, flags: u8, element: u8| {
        let mut frame = vec![2, 1, flags, element];
        [8, block, 16 + 8].iter().for_each(|n: &u32| frame.extend(n.to_le_bytes()));
        frame.extend([1, 0, 0, 0, 2, 0, 0, 0]);
        frame
    };
    let blosc = |m: &mut Value| {
        m["compressor"] = json!({"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 0, "blocksize": 0})
    };
    for (number, (block, flags, element, good)) in [
        (8, 0x92, 1, true),
        (9, 0x92, 1, false),
        (0, 0x92, 1, false),
        (8, 0x9a, 1, false),
        (8, 0x92, 0, false),
    ]
    .into_iter()
    .enumerate()
    {
        let chunks = [("0", &frame(block, flags, element)[..]), ("1", &frame(8, 0x92, 1)[..])];
        let group = v2(&folder.path().join(number.to_string()), blosc, &chunks);
        let read = only(&group).read_all().is_ok();
        assert_eq!(read, good, "a block of {block} bytes of 8, flags {flags:#x}, elements of {element}");
    }
}

#[test]
fn instants_of_numpy_are_integers_with_units() {
    let folder = tempfile::tempdir().unwrap();
    let big: Vec<u8> = [5i64, -6].iter().flat_map(|v| v.to_be_bytes()).collect();
    let change = |m: &mut Value| {
        m["dtype"] = json!(">M8[s]");
        m["fill_value"] = json!("NaT");
    };
    let group = v2(&folder.path().join("v2"), change, &[("0", &big)]);
    assert_eq!(only(&group).read_all().unwrap().to_vec::<i64>(), [5, -6, i64::MIN]);
    assert_eq!(group.variables[0].attrs["units"], "seconds since 1970-01-01");
    let change = |m: &mut Value| {
        m["data_type"] =
            json!({"name": "numpy.timedelta64", "configuration": {"unit": "h", "scale_factor": 1}});
        m["fill_value"] = json!(3);
    };
    let group = v3(&folder.path().join("v3"), change, &[]);
    assert_eq!(only(&group).read_all().unwrap().to_vec::<i64>(), [3; 24]);
    assert_eq!((only(&group).dtype(), &group.variables[0].attrs["units"]), (DType::I64, &json!("hours")));
}

#[test]
fn what_a_killed_process_left_is_no_obstacle_to_replacing_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a.zarr");
    fs::create_dir_all(folder.path().join(".a.zarr.old/left")).unwrap();
    let options = StoreOptions { overwrite: true, ..StoreOptions::default() };
    for _ in 0..2 {
        let store = NewStore::create(&target, &Attributes::new(), Vec::new(), options.clone()).unwrap();
        store.finish().unwrap();
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the store, and what was there before");
}
