//! GeoTIFF files that are written open equal in rasterio, rioxarray and here, bit by bit; what cannot be written is refused
//! before anything is computed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::path::Path;

use nuna_array::{Array, Chunk, DType};
use nuna_labels::{
    DataArray, GeotiffWriteOptions, Result, Values, open_geotiff, open_geotiff_overview, open_geotiffs,
};
use serde_json::{Value, json};

fn image<const N: usize>(dtype: DType, shape: [u64; N], chunks: [u64; N], dims: [&str; N]) -> DataArray {
    let count = shape.iter().product::<u64>();
    // Smooth, with jumps.
    let values: Vec<f64> = (0..count).map(|i| ((i * 3 + i / 97) % 251) as f64).collect();
    let chunk = Chunk::from_slice(&shape, &values).cast(dtype);
    DataArray::new(Array::from_chunk_in(chunk, &chunks).unwrap(), dims).unwrap()
}

fn centres(n: u64, origin: f64, step: f64) -> Vec<f64> {
    (0..n).map(|i| origin + (i as f64 + 0.5) * step).collect()
}

fn seen(file: &Path) -> Value {
    seen_of(&[file]).remove(0)
}

/// Of several files, since Python takes long to start.
fn seen_of(files: &[&Path]) -> Vec<Value> {
    serde_json::from_str(&common::run("geotiff_written.py", files)).unwrap()
}

fn raw(file: &Path, level: &str) -> Vec<u8> {
    std::fs::read(format!("{}{level}.raw", file.display())).unwrap()
}

fn bytes(array: &DataArray) -> Vec<u8> {
    array.to_chunk().unwrap().bytes().to_vec()
}

#[test]
fn images_of_every_dtype_open_equal() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for dtype in DType::ALL.into_iter().filter(|dtype| !dtype.is_complex()) {
        // Tiles at both ends are cut short, and blocks are no tiles.
        let made = image(dtype, [2, 300, 150], [1, 70, 150], ["band", "y", "x"])
            .assign_coord("y", centres(300, 5000.0, -10.0))?
            .assign_coord("x", centres(150, 400.0, 10.0))?
            .with_attr("crs", "EPSG:32633");
        for (level, tile) in [(6, 64), (0, 128)] {
            let file = folder.path().join(format!("{dtype}-{level}.tif"));
            let options =
                GeotiffWriteOptions { tile, deflate_level: level, ..GeotiffWriteOptions::default() };
            made.to_geotiff_with(&file, &options)?;
            written.push((made.clone(), level, tile, file));
        }
    }
    let files: Vec<&Path> = written.iter().map(|(.., file)| file.as_path()).collect();
    for ((made, level, tile, file), seen) in written.iter().zip(seen_of(&files)) {
        let (level, dtype) = (*level, made.dtype());
        let stored = if dtype == DType::Bool { DType::U8 } else { dtype };
        assert_eq!(seen["dtype"], stored.name());
        assert!(raw(file, "") == bytes(made), "{dtype} {level}");
        assert_eq!(seen["shape"], json!([2, 300, 150]));
        assert_eq!(seen["crs"], "EPSG:32633");
        assert_eq!(seen["transform"], json!([10.0, 0.0, 400.0, 0.0, -10.0, 5000.0]));
        assert_eq!(seen["blocks"], json!([tile, tile]));
        assert_eq!(seen["interleaving"], "BAND");
        assert_eq!(seen["nodata"], if dtype.is_float() { json!("NaN") } else { Value::Null });
        assert_eq!(seen["compression"], if level > 0 { json!("deflate") } else { Value::Null });
        assert_eq!(seen["coords"]["y"], json!(centres(300, 5000.0, -10.0)));
        let back = open_geotiff(file)?;
        assert!(bytes(&back) == bytes(made), "{dtype} {level}");
        assert_eq!(common::plain(back.coord("x")?), json!(centres(150, 400.0, 10.0)));
        assert_eq!(back.attrs()["crs"], "EPSG:32633");
    }
    Ok(())
}

#[test]
fn what_is_said_about_an_image_is_kept() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.tif");
    let made = image(DType::I16, [2, 40, 30], [2, 40, 30], ["time", "lat", "lon"])
        .assign_coord("lat", centres(40, -10.0, 0.25))?
        .assign_coord("lon", centres(30, 100.0, 0.25))?
        .with_attr("crs", "EPSG:4326")
        .with_attr("nodata", -999)
        .with_attr("AREA_OR_POINT", "Point")
        .with_attr("scale", json!([0.5, 1.5]))
        .with_attr("offset", 10)
        .with_attr("units", "m < \"s\" & é")
        .with_attr("long_name", json!(["first", "second"]))
        .with_attr("mission", "S2 & <more>")
        .with_attr("orbit", 17);
    made.to_geotiff(&file)?;
    let found = seen(&file);
    assert_eq!((&found["crs"], &found["is_geographic"]), (&json!("EPSG:4326"), &json!(true)));
    // South is at the top.
    assert_eq!(found["transform"], json!([0.25, 0.0, 100.0, 0.0, 0.25, -10.0]));
    assert_eq!(found["nodata"], json!(-999.0));
    assert_eq!(found["scales"], json!([0.5, 1.5]));
    assert_eq!(found["offsets"], json!([10.0, 10.0]));
    assert_eq!(found["units"], json!(["m < \"s\" & é", "m < \"s\" & é"]));
    assert_eq!(found["descriptions"], json!(["first", "second"]));
    assert_eq!(found["tags"]["AREA_OR_POINT"], "Point");
    assert_eq!(found["tags"]["mission"], "S2 & <more>");
    assert_eq!(found["blocks"], json!([48, 32]));
    let back = open_geotiff(&file)?;
    for (key, value) in made.attrs() {
        let expected = if key == "orbit" { json!("17") } else { value.clone() };
        assert_eq!(back.attrs()[key], expected, "{key}");
    }
    // And once more through a file, unchanged.
    let again = folder.path().join("b.tif");
    back.to_geotiff(&again)?;
    assert_eq!(open_geotiff(&again)?.attrs(), back.attrs());
    assert_eq!(seen(&again)["transform"], found["transform"]);

    // Rotated, by the attribute; in words; nothing at all.
    let bare = image(DType::U8, [20, 20], [20, 20], ["y", "x"]);
    let rotated =
        bare.with_attr("transform", json!([1.0, 0.5, 7.0, 0.5, -1.0, 9.0])).with_attr("crs", "my own");
    rotated.to_geotiff(folder.path().join("rotated.tif"))?;
    assert_eq!(seen(&folder.path().join("rotated.tif"))["transform"], json!([1.0, 0.5, 7.0, 0.5, -1.0, 9.0]));
    assert_eq!(open_geotiff(folder.path().join("rotated.tif"))?.attrs()["crs"], "my own");
    bare.to_geotiff(folder.path().join("bare.tif"))?;
    let bare_seen = seen(&folder.path().join("bare.tif"));
    assert_eq!((&bare_seen["crs"], &bare_seen["shape"]), (&Value::Null, &json!([1, 20, 20])));

    // A part of an image lies where the part lies.
    let part = back.isel("y", 4..20)?.isel("x", 10..)?;
    part.to_geotiff(folder.path().join("part.tif"))?;
    assert_eq!(
        seen(&folder.path().join("part.tif"))["transform"],
        json!([0.25, 0.0, 102.5, 0.0, 0.25, -9.0])
    );
    let both = open_geotiffs([&file, &again], "time")?;
    assert_eq!(both.shape(), [2, 2, 40, 30]);
    Ok(())
}

#[test]
fn overviews_are_means_or_every_other_pixel() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let options = GeotiffWriteOptions { tile: 64, overviews: true, ..GeotiffWriteOptions::default() };
    let exact = image(DType::F32, [201, 130], [64, 64], ["y", "x"]);
    let holes = exact.where_(&exact.greater(40.0)?)?;
    let whole = image(DType::U8, [3, 201, 130], [1, 201, 130], ["band", "y", "x"]);
    for (name, made) in [("mean.tif", &holes), ("nearest.tif", &whole)] {
        let file = folder.path().join(name);
        made.to_geotiff_with(&file, &options)?;
        let found = seen(&file);
        assert_eq!(found["overviews"], json!([2, 4]), "{name}");
        let [.., y, x] = made.dims() else { panic!("{name}") };
        let mut expected = made.clone();
        for level in 0..2 {
            expected = if name == "mean.tif" {
                let windows = expected.coarsen([(y, 2), (x, 2)])?.boundary(nuna_labels::Boundary::Pad);
                windows.mean()?.astype(DType::F32)
            } else {
                expected.isel(y, nuna_labels::slice(0, None, 2))?.isel(x, nuna_labels::slice(0, None, 2))?
            };
            let read = open_geotiff_overview(&file, level)?;
            assert_eq!(read.shape()[1..], expected.shape()[expected.ndim() - 2..]);
            let (read, seen) = (bytes(&read), raw(&file, &format!(".{level}")));
            let same = |found: &[u8]| {
                let expected = bytes(&expected);
                let nan = |b: &[u8]| name == "mean.tif" && f32::from_le_bytes(b.try_into().unwrap()).is_nan();
                let both = found.chunks(4).zip(expected.chunks(4));
                found.len() == expected.len() && both.into_iter().all(|(a, b)| a == b || nan(a) && nan(b))
            };
            assert!(same(&read) && same(&seen), "{name} {level}");
        }
        assert!(raw(&file, "") == bytes(made), "{name}");
    }
    Ok(())
}

#[test]
fn what_tiff_has_no_place_for_is_refused_first() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    let plain = image(DType::F32, [20, 30], [20, 30], ["y", "x"]);
    let refused = |array: &DataArray, options: &GeotiffWriteOptions, words: &[&str]| {
        let error = array.to_geotiff_with(&path, options).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{error}");
    };
    let usual = GeotiffWriteOptions::default();
    let uneven = plain.assign_coord("y", (0..20).map(|i| f64::from(i * i)).collect::<Vec<_>>())?;
    let uneven = uneven.assign_coord("x", centres(30, 0.0, 1.0))?;
    refused(&uneven, &usual, &["`y`", "evenly"]);
    let names = Values::Text((0..30).map(|i| i.to_string()).collect::<Vec<_>>().into());
    refused(
        &plain.assign_coord("y", centres(20, 0.0, 1.0))?.assign_coord("x", names)?,
        &usual,
        &["`x`", "no numbers"],
    );
    refused(&plain.isel("y", 0)?, &usual, &["1 dimensions"]);
    refused(&plain.isel("y", 0..0)?, &usual, &["no pixels"]);
    refused(&plain.astype(DType::C64), &usual, &["complex"]);
    refused(&plain.with_attr("crs", "EPSG:102100"), &usual, &["EPSG:102100", "32766"]);
    refused(&plain.with_attr("nodata", "none"), &usual, &["`nodata`"]);
    refused(&plain.with_attr("scale", json!([1.0, 2.0])), &usual, &["`scale`", "1 bands"]);
    refused(&plain, &GeotiffWriteOptions { tile: 100, ..usual.clone() }, &["multiple of 16"]);
    refused(&plain, &GeotiffWriteOptions { deflate_level: 12, ..usual.clone() }, &["levels 0 to 9"]);
    plain.to_geotiff(&path)?;
    assert!(plain.to_geotiff(&path).unwrap_err().to_string().contains("exists already"));
    (&plain + 1.0).to_geotiff_with(&path, &GeotiffWriteOptions { overwrite: true, ..usual })?;
    assert_eq!(open_geotiff(&path)?.values_f64()?[5], plain.values_f64()?[5] + 1.0);
    Ok(())
}
