//! TIFF files of every kind open as in rasterio, bit by bit; damaged ones are errors, never panics.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use nuna_labels::{
    DataArray, GeotiffOptions, Values, open_dataset, open_geotiff, open_geotiff_overview, open_geotiff_with,
    open_geotiffs, open_geotiffs_with,
};
use serde_json::{Value, json};

struct Made {
    folder: tempfile::TempDir,
    expected: Vec<Value>,
}

static FILES: LazyLock<Made> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    common::run("make_geotiff.py", &[folder.path()]);
    let text = std::fs::read_to_string(folder.path().join("expected.json")).unwrap();
    Made { folder, expected: serde_json::from_str(&text).unwrap() }
});

fn path(name: &str) -> PathBuf {
    FILES.folder.path().join(name)
}

fn bytes(array: &DataArray) -> Vec<u8> {
    array.to_chunk().unwrap().bytes().to_vec()
}

/// As the two numbers are written; a NaN has many forms.
fn same(dtype: &str, found: &[u8], expected: &[u8]) -> bool {
    let both = |size: usize| found.chunks_exact(size).zip(expected.chunks_exact(size));
    let nan4 = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap()).is_nan();
    let nan8 = |b: &[u8]| f64::from_le_bytes(b.try_into().unwrap()).is_nan();
    found.len() == expected.len()
        && match dtype {
            "float32" => both(4).all(|(a, b)| a == b || nan4(a) && nan4(b)),
            "float64" => both(8).all(|(a, b)| a == b || nan8(a) && nan8(b)),
            _ => found == expected,
        }
}

fn labels(array: &DataArray, dim: &str) -> Value {
    let Ok(coord) = array.coord(dim) else { return Value::Null };
    match coord.values().unwrap() {
        Values::Numbers(chunk) => json!(chunk.to_vec::<f64>()),
        Values::Times(times) => (0..times.len()).map(|i| times.iso(i)).collect(),
        Values::Text(text) => json!(text),
    }
}

#[test]
fn files_open_as_in_rasterio() {
    assert!(FILES.expected.len() > 300);
    for expected in &FILES.expected {
        let options = GeotiffOptions {
            overview: expected["overview"].as_u64().map(|n| n as usize),
            masked: expected["masked"].as_bool().unwrap(),
            scaled: expected["scaled"].as_bool().unwrap(),
        };
        let file = expected["file"].as_str().unwrap();
        let what = format!("{file} {options:?}");
        let found = open_geotiff_with(path(file), &options).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found.dims(), ["band", "y", "x"], "{what}");
        assert_eq!(json!(found.shape()), expected["shape"], "{what}");
        let dtype = expected["dtype"].as_str().unwrap();
        assert_eq!(found.dtype().name(), dtype, "{what}");
        let elements = std::fs::read(path(expected["elements"].as_str().unwrap())).unwrap();
        assert!(same(dtype, &bytes(&found), &elements), "elements of {what}");
        assert_eq!(labels(&found, "x"), expected["x"], "x of {what}");
        assert_eq!(labels(&found, "y"), expected["y"], "y of {what}");
        let bands: Vec<f64> = (1..=found.shape()[0]).map(|band| band as f64).collect();
        assert_eq!(labels(&found, "band"), json!(bands), "{what}");
        let attrs = found.attrs();
        let said = |key: &str| attrs.get(key).cloned().unwrap_or(Value::Null);
        let numbers = |value: &Value| -> Option<Vec<f64>> {
            Some(value.as_array()?.iter().map(|x| x.as_f64().unwrap()).collect())
        };
        assert_eq!(numbers(&said("transform")), numbers(&expected["transform"]), "{what}");
        if !expected["crs"].is_null() {
            assert_eq!(said("crs"), expected["crs"], "{what}");
        }
        match expected["nodata"].as_str() {
            None => assert_eq!(said("nodata"), Value::Null, "{what}"),
            Some("nan") => assert_eq!(said("nodata"), "NaN", "{what}"),
            Some(nodata) => assert_eq!(said("nodata").as_f64(), nodata.parse().ok(), "{what}"),
        }
        for (key, expected) in expected["attrs"].as_object().unwrap() {
            assert_eq!(&said(key), expected, "{key} of {what}");
        }
    }
}

#[test]
fn half_precision_is_for_storage() {
    let found = open_geotiff(path("half.tif")).unwrap();
    assert_eq!(found.dtype().name(), "float32");
    assert_eq!(bytes(&found), std::fs::read(path("half.bin")).unwrap());
}

#[test]
fn boxes_of_any_chunking_are_parts_of_the_whole() {
    for file in [
        "cog_uint16.tif",
        "uint16_none_1_strips_NO_LITTLE.tif",
        "sparse.tif",
        "scaled.tif",
        "float32_lzw_3_tiles_of_pixels_YES_LITTLE.tif",
    ] {
        let whole = open_geotiff(path(file)).unwrap();
        let expected = bytes(&whole);
        for chunks in [[1, 1, -1], [-1, -1, -1], [1, 7, 11], [-1, 64, 33], [2, -1, 5]] {
            let cut = whole.rechunk([("band", chunks[0]), ("y", chunks[1]), ("x", chunks[2])]).unwrap();
            assert_eq!(bytes(&cut), expected, "{file} {chunks:?}");
        }
        let columns = whole.shape()[2] as usize;
        assert!(columns > 21);
        let part = whole.isel("band", 0).unwrap().isel("y", 5..19).unwrap().isel("x", 3..21).unwrap();
        let values = whole.values_f64().unwrap();
        let cut: Vec<f64> =
            (5..19).flat_map(|y| values[y * columns + 3..y * columns + 21].to_vec()).collect();
        assert_eq!(format!("{:?}", part.values_f64().unwrap()), format!("{cut:?}"), "{file}");
    }
}

#[test]
fn dates_are_one_cube() {
    let pattern = format!("{}/series/red_*.tif", FILES.folder.path().display());
    let cube = open_geotiffs(&pattern, "time").unwrap();
    assert_eq!(
        (cube.dims(), cube.shape()),
        (&["time", "band", "y", "x"].map(str::to_owned)[..], &[3, 1, 64, 80][..])
    );
    assert_eq!(cube.name(), Some("red"));
    assert_eq!(
        labels(&cube, "time"),
        json!(["2024-01-01T00:00:00", "2024-01-02T00:00:00", "2024-01-03T00:00:00"])
    );
    // What they do not agree on is left out.
    assert_eq!(cube.attrs().get("nodata"), None);
    assert_eq!(cube.attrs()["crs"], "EPSG:32633");
    let days: Vec<DataArray> =
        (1..4).map(|day| open_geotiff(path(&format!("series/red_2024010{day}.tif"))).unwrap()).collect();
    let expected: Vec<u8> = days.iter().flat_map(bytes).collect();
    assert_eq!(bytes(&cube), expected);
    let second = cube.sel("time", "2024-01-02").unwrap().isel("y", 10..50).unwrap();
    assert_eq!(bytes(&second), bytes(&days[1].isel("y", 10..50).unwrap()));
    // Each file has its own nodata.
    let masked = open_geotiffs_with(&pattern, "time", &GeotiffOptions { masked: true, ..Default::default() });
    let masked = masked.unwrap();
    let count = masked.count(["band", "y", "x"]).unwrap().values_f64().unwrap();
    for (day, (found, nodata)) in days.iter().zip(count.iter().zip([1.0, 2.0, 2.0])) {
        let valid = day.values_f64().unwrap().iter().filter(|&&value| value != nodata).count();
        assert_eq!(*found, valid as f64);
    }
    assert_eq!(masked.dtype().name(), "float32");
}

#[test]
fn bands_of_files_follow_each_other() {
    let paths = [path("series/blue.tif"), path("series/blue.tif")];
    let both = open_geotiffs(paths, "band").unwrap();
    assert_eq!((both.dims(), both.shape()), (&["band", "y", "x"].map(str::to_owned)[..], &[4, 64, 80][..]));
    let blue = bytes(&open_geotiff(path("series/blue.tif")).unwrap());
    assert_eq!(bytes(&both), [blue.clone(), blue.clone()].concat());
    let third = both.isel("band", 2).unwrap();
    assert_eq!(bytes(&third), blue[..blue.len() / 2]);
    let error = open_geotiffs([path("series/blue.tif")], "x").unwrap_err().to_string();
    assert!(error.contains("not along `x`"), "{error}");
}

#[test]
fn files_that_do_not_fit_are_named() {
    for (other, words) in [
        ("shape.tif", &["shape", "(1, 64, 81)", "(1, 64, 80)"][..]),
        ("dtype.tif", &["dtype", "int16", "uint16"]),
        ("moved.tif", &["transform", "300010"]),
        ("zone.tif", &["EPSG:32632", "EPSG:32633"]),
        ("missing.tif", &["there is no store"]),
    ] {
        let paths = [path("series/red_20240101.tif"), path("series").join(other)];
        let error = open_geotiffs(paths, "time").unwrap_err().to_string();
        assert!(error.contains(other) && words.iter().all(|word| error.contains(word)), "{other}: {error}");
    }
    let error = open_geotiffs("/nowhere/*.tif", "time").unwrap_err().to_string();
    assert!(error.contains("/nowhere/*.tif"), "{error}");
    assert!(open_geotiffs(Vec::<PathBuf>::new(), "time").is_err());
}

#[test]
fn datasets_know_them_by_their_first_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("image.nc");
    std::fs::copy(path("degrees.tif"), &odd).unwrap();
    let dataset = open_dataset(&odd).unwrap();
    assert_eq!(dataset.names(), ["band_data"]);
    let direct = open_geotiff(path("degrees.tif")).unwrap();
    assert_eq!(bytes(&dataset.var("band_data").unwrap()), bytes(&direct));
}

#[test]
fn what_cannot_be_read_says_why() {
    for (file, word) in [
        ("jpeg.tif", "JPEG"),
        ("lzma.tif", "LZMA"),
        ("bits.tif", "1 bits"),
        ("complex.tif", "complex"),
        ("expected.json", "no TIFF"),
        ("nowhere_at_all.tif", "there is no store"),
        ("", "a folder"),
    ] {
        let error = open_geotiff(path(file)).unwrap_err().to_string();
        assert!(error.contains(word), "{file}: {error}");
    }
    let error = open_geotiff_overview(path("cog_uint16.tif"), 7).unwrap_err().to_string();
    assert!(error.contains("no overview 7") && error.contains("150 × 265"), "{error}");
    let error = open_geotiff_overview(path("one.tif"), 0).unwrap_err().to_string();
    assert!(error.contains("no overviews"), "{error}");
    let masked = GeotiffOptions { masked: true, ..GeotiffOptions::default() };
    let error = open_geotiff_with(path("mask.tif"), &masked).unwrap_err().to_string();
    assert!(error.contains("mask"), "{error}");
    let scaled = GeotiffOptions { scaled: true, ..GeotiffOptions::default() };
    let error = open_geotiff_with(path("scaled_apart.tif"), &scaled).unwrap_err().to_string();
    assert!(error.contains("different scales"), "{error}");
}

#[test]
fn a_file_that_changes_after_it_was_opened_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.tif");
    std::fs::copy(path("cog_uint16.tif"), &copy).unwrap();
    let image = open_geotiff(&copy).unwrap();
    assert!(image.values_f64().is_ok());
    std::fs::write(&copy, std::fs::read(path("cog_float32.tif")).unwrap()).unwrap();
    let error = image.values_f64().unwrap_err().to_string();
    assert!(error.contains("copy.tif") && error.contains("open it again"), "{error}");
}

/// Reads all of a file that may be damaged; whether there were values.
fn read_all(path: &Path) -> bool {
    let Ok(image) = open_geotiff(path) else { return false };
    // What pretends to be huge is refused by the plan's memory bound, and would take long here.
    image.nbytes() < 1 << 22 && image.values_f64().is_ok()
}

#[test]
fn truncated_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("short.tif");
    let mut files: Vec<&str> = FILES.expected.iter().filter_map(|e| e["file"].as_str()).collect();
    files.retain(|file| file.starts_with("uint16_") || file.starts_with("cog_"));
    assert!(files.len() > 20);
    for file in files {
        let bytes = std::fs::read(path(file)).unwrap();
        let whole = open_geotiff(path(file)).unwrap().values_f64().unwrap();
        for part in 0..10 {
            std::fs::write(&copy, &bytes[..bytes.len() * part / 10]).unwrap();
            match open_geotiff(&copy).and_then(|image| image.values_f64()) {
                // What was cut off may be of a tile beyond the image, which nobody needs.
                Ok(values) => {
                    assert!(part == 9 && file.contains("_none_") && values == whole, "{file} {part}")
                }
                Err(error) => assert!(error.to_string().contains("short.tif"), "{file} {part}: {error}"),
            }
        }
    }
}

#[test]
fn sizes_that_are_lies_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("lie.tif");
    // Width, height, rows of a strip, tile width and height, samples, and the counts of whatever has a list.
    for file in ["nodata_uint8_0.tif", "series/red_20240101.tif", "series/blue.tif"] {
        let bytes = std::fs::read(path(file)).unwrap();
        let start = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        let count = usize::from(u16::from_le_bytes(bytes[start..start + 2].try_into().unwrap()));
        assert!(count > 10, "{file}");
        for entry in 0..count {
            for field in [4, 8] {
                for lie in [u32::MAX, 1 << 31, 1 << 20, 0] {
                    let at = start + 2 + 12 * entry + field;
                    let mut changed = bytes.clone();
                    changed[at..at + 4].copy_from_slice(&lie.to_le_bytes());
                    std::fs::write(&copy, &changed).unwrap();
                    if let Err(error) = open_geotiff(&copy) {
                        assert!(error.to_string().contains("lie.tif"), "{error}");
                    }
                    read_all(&copy);
                }
            }
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("damaged.tif");
    let rounds = std::env::var("NUNA_DAMAGE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(60u64);
    let mut good = 0;
    let mut files: Vec<&str> = FILES.expected.iter().filter_map(|e| e["file"].as_str()).collect();
    files.retain(|file| file.starts_with("int16_") || file.starts_with("float32_"));
    for file in files.into_iter().step_by(4).chain(["scaled.tif", "sparse.tif", "cog_uint16.tif"]) {
        let bytes = std::fs::read(path(file)).unwrap();
        for seed in 0..rounds {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = |limit: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % limit as u64) as usize
            };
            let mut damaged = bytes.clone();
            // Metadata lies at the front, so that is hit more often.
            let reach = if seed % 2 == 0 { bytes.len() } else { bytes.len().min(600) };
            for _ in 0..=next(6) {
                let at = next(reach);
                damaged[at] = match next(3) {
                    0 => damaged[at] ^ 1 << next(8),
                    1 => [0, 0xff, 0x7f, 0x80][next(4)],
                    _ => next(256) as u8,
                };
            }
            std::fs::write(&copy, &damaged).unwrap();
            match std::panic::catch_unwind(|| read_all(&copy)) {
                Ok(read) => good += usize::from(read),
                Err(_) => {
                    let kept = std::env::temp_dir().join(format!("nuna-damaged-{seed}-{file}"));
                    std::fs::copy(&copy, &kept).unwrap();
                    panic!("{file} damaged by seed {seed} made a panic; it is kept at {}", kept.display());
                }
            }
        }
    }
    assert!(good > 0, "some damage does not matter");
}
