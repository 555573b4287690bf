//! Every codec that zarr-python writes is read as it reads it, or named in what is said instead; and what is damaged is not
//! read as something else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use nuna_storage::open;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/make_codecs.py");
    let output = Command::new(nuna_testing::python()).arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
});

/// Arrays, and their elements.
fn arrays(version: &str) -> Vec<(String, PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in FOLDER.path().join(version).read_dir().unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.to_str().unwrap().strip_suffix(".bin") else { continue };
        let label = Path::new(name).file_name().unwrap().to_str().unwrap().to_owned();
        found.push((format!("{version}/{label}"), PathBuf::from(name), std::fs::read(&path).unwrap()));
    }
    found.sort();
    found
}

/// What `path` holds, as bytes; or what is said instead.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let group = open(path).map_err(|error| error.to_string())?;
    let Some(variable) = group.variables.first() else { return Err(group.skipped[0].reason.clone()) };
    let chunk = variable.source.read_all().map_err(|error| error.to_string())?;
    Ok(chunk.bytes().to_vec())
}

/// What is not read, by a word of the name and how the error calls it.
const NOT_READ: [(&str, &str); 4] =
    [("bz2", "bz2"), ("lzma", "lzma"), ("jenkins", "jenkins_lookup3"), ("categorize", "categorize")];

#[test]
fn codecs_are_read_as_zarr_python_reads_them() {
    let mut faults = Vec::new();
    let mut compared = 0;
    for (name, path, expected) in [arrays("v2"), arrays("v3")].concat() {
        let refused = NOT_READ.iter().find(|(word, _)| name.contains(word));
        match (read(&path), refused) {
            (Ok(found), None) if found == expected => compared += 1,
            (Err(message), Some((_, codec))) if message.contains(codec) => compared += 1,
            (Ok(found), None) => {
                let at = found.iter().zip(&expected).position(|(a, b)| a != b);
                faults.push(format!(
                    "{name}: {} bytes, expected {}, first other at {at:?}",
                    found.len(),
                    expected.len()
                ));
            }
            (Ok(_), Some(_)) => faults.push(format!("{name} is read")),
            (Err(message), _) => faults.push(format!("{name}: {message}")),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(compared > 110, "only {compared} were compared");
}

fn first_chunk(array: &Path) -> PathBuf {
    let v2 = array.join("0.0.0");
    if v2.exists() { v2 } else { array.join("c/0/0/0") }
}

/// Bytes that are cut off, or of which bits are turned over, are an error where there is a checksum, and never more or fewer elements.
#[test]
fn damaged_chunks_are_errors_or_elements() {
    for (name, path, expected) in [arrays("v2"), arrays("v3")].concat() {
        if NOT_READ.iter().any(|(word, _)| name.contains(word)) {
            continue;
        }
        let whole = std::fs::read(first_chunk(&path)).unwrap();
        // Other tests read the array itself.
        let copy = tempfile::tempdir().unwrap();
        let status = Command::new("cp").arg("-r").arg(&path).arg(copy.path().join("a")).status().unwrap();
        assert!(status.success());
        let path = copy.path().join("a");
        let file = first_chunk(&path);
        let mut damaged =
            vec![Vec::new(), whole[..whole.len() / 2].to_vec(), whole[..whole.len() - 1].to_vec()];
        damaged.push([&whole[..], &[0]].concat());
        for step in 0..12 {
            let mut flipped = whole.clone();
            let at = if step < 5 { step.min(whole.len() - 1) } else { step * whole.len() / 12 };
            flipped[at] ^= 1 << (step % 8);
            damaged.push(flipped);
        }
        for (number, bytes) in damaged.into_iter().enumerate() {
            std::fs::write(&file, &bytes).unwrap();
            match read(&path) {
                Ok(found) => assert_eq!(found.len(), expected.len(), "{name}, {number}"),
                Err(message) => assert!(!message.contains("panic"), "{name}, {number}: {message}"),
            }
            let has_checksum = ["crc32", "adler32", "fletcher32"].iter().any(|word| name.contains(word));
            if has_checksum
                && !name.contains("sharded")
                && let Ok(found) = read(&path)
            {
                assert_eq!(found, expected, "{name}, {number}: damage went unnoticed");
            }
        }
    }
}

#[test]
fn configurations_that_make_no_sense_are_named() {
    let write = |filters: &str| {
        let folder = tempfile::tempdir().unwrap();
        let metadata = format!(
            r#"{{"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "<i4", "compressor": null, "fill_value": null, "order": "C", "filters": [{filters}]}}"#
        );
        std::fs::write(folder.path().join(".zarray"), metadata).unwrap();
        std::fs::write(folder.path().join("0"), [0; 16]).unwrap();
        read(folder.path())
    };
    for (filter, said) in [
        (r#"{"id": "delta"}"#, "dtype"),
        (r#"{"id": "delta", "dtype": "<c8"}"#, "<c8"),
        (r#"{"id": "delta", "dtype": "<i3"}"#, "<i3"),
        (r#"{"id": "delta", "dtype": "é"}"#, "é"),
        (r#"{"id": "fixedscaleoffset", "dtype": "<i4", "scale": "a", "offset": 1}"#, "scale"),
        (r#"{"id": "crc32", "location": "middle"}"#, "middle"),
        (r#"{"id": "astype", "encode_dtype": "<i2", "decode_dtype": "<i4"}"#, "astype"),
        (r#"{"id": "nonsense"}"#, "nonsense"),
        (r#"{"id": "lz4"}, {"id": "nonsense"}"#, "nonsense"),
    ] {
        let message = write(filter).unwrap_err();
        assert!(message.contains(said), "{filter}: {message}");
    }
    assert_eq!(write(r#"{"id": "delta", "dtype": "<i4"}"#).unwrap(), [0; 16]);
}
