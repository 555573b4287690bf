//! Stores that exist: appended to, written in boxes, with variables in shards, packed or rounded. xarray reads what Nuna wrote,
//! and Nuna appends to what xarray wrote.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::path::Path;

use common::run_python;
use nuna_array::DType;
use nuna_labels::{
    BloscCodec, Calendar, Compressor, DataArray, Dataset, Encoding, Packing, Shuffle, StoreOptions, Times,
    Values, ZarrFormat, open_zarr,
};
use serde_json::{Value, json};

const HOUR: i64 = 3_600_000_000;

/// Hours `from..to` of a field that has NaN where it is 7, 77, ….
fn hours(from: i64, to: i64) -> Dataset {
    let value = |i: i64| if i % 10 == 7 { f64::NAN } else { i as f64 / 4.0 };
    let values: Vec<f64> = (from * 6..to * 6).map(value).collect();
    let count = (to - from) as u64;
    let array = nuna_array::Array::from_slice(&[count, 2, 3], &values).unwrap();
    let array = array.rechunk(&[4.min(count), 2, 2]).unwrap();
    let micros: Vec<i64> = (from..to).map(|h| h * HOUR).collect();
    let field = DataArray::new(array, ["time", "y", "x"]).unwrap();
    let field = field
        .assign_coord("time", Values::Times(Times { calendar: Calendar::Standard, micros: micros.into() }));
    let field = field.unwrap().assign_coord("x", vec![10.0, 20.0, 30.0]).unwrap();
    let steps: Vec<i32> = (from..to).map(|h| h as i32 * 3).collect();
    let steps = DataArray::new(nuna_array::Array::from_slice(&[count], &steps).unwrap(), ["time"]).unwrap();
    let fixed = DataArray::new(nuna_array::Array::from_slice(&[2], &[5i64, 6]).unwrap(), ["y"]).unwrap();
    Dataset::new()
        .assign("t", &field)
        .unwrap()
        .assign("step", &steps)
        .unwrap()
        .assign("fixed", &fixed)
        .unwrap()
}

/// What xarray finds in a store, with and without consolidated metadata.
fn seen(path: &Path) -> Value {
    let code = "import sys, json, warnings, numpy as np, xarray as xr\n\
        warnings.simplefilter('ignore')\n\
        a, b = (xr.open_zarr(sys.argv[1], consolidated=c).load() for c in (True, False))\n\
        assert a.identical(b), (a, b)\n\
        t = a.t.values.astype('f8').ravel().tolist()\n\
        print(json.dumps({'t': [None if v != v else v for v in t], 'step': a.step.values.tolist(), 'fixed': a.fixed.values.tolist(),\n\
            'hours': ((a.time.values - np.datetime64('1970-01-01')) / np.timedelta64(1, 'h')).tolist(), 'x': a.x.values.tolist()}))";
    serde_json::from_str(&run_python(code, &[path])).unwrap()
}

fn expected(count: i64) -> Value {
    let value = |i: i64| if i % 10 == 7 { Value::Null } else { json!(i as f64 / 4.0) };
    json!({
        "t": (0..count * 6).map(value).collect::<Vec<_>>(), "step": (0..count).map(|h| h * 3).collect::<Vec<_>>(), "fixed": [5, 6],
        "hours": (0..count).map(|h| h as f64).collect::<Vec<_>>(), "x": [10.0, 20.0, 30.0],
    })
}

fn encodings() -> Vec<(&'static str, StoreOptions)> {
    let with = |encoding: Encoding, format: ZarrFormat| StoreOptions {
        format,
        encoding: [("t".to_owned(), encoding)].into(),
        ..StoreOptions::default()
    };
    let packing =
        Packing { dtype: DType::I16, scale_factor: 0.25, add_offset: 10.0, fill_value: Some(-32768.0) };
    let packed = Encoding { packing: Some(packing), ..Encoding::default() };
    let shards = Encoding {
        chunks: Some(vec![2, 1, 3]),
        shards: Some(vec![6, 2, 3]),
        compressor: Some(Compressor::Blosc { codec: BloscCodec::Lz4, level: 5, shuffle: Shuffle::Byte }),
        checksum: true,
        ..Encoding::default()
    };
    let delta = Encoding {
        packing: Some(packing),
        delta: true,
        compressor: Some(Compressor::Lz4),
        ..Encoding::default()
    };
    let single = Packing { dtype: DType::F32, scale_factor: 1.0, add_offset: 0.0, fill_value: Some(-9999.0) };
    let single =
        Encoding { packing: Some(single), compressor: Some(Compressor::None), ..Encoding::default() };
    vec![
        ("plain 2", StoreOptions { format: ZarrFormat::V2, ..StoreOptions::default() }),
        ("plain 3", StoreOptions::default()),
        ("packed 2", with(packed.clone(), ZarrFormat::V2)),
        ("packed 3", with(packed, ZarrFormat::V3)),
        ("delta 2", with(delta.clone(), ZarrFormat::V2)),
        ("delta 3", with(delta, ZarrFormat::V3)),
        ("shards", with(shards, ZarrFormat::V3)),
        ("single 2", with(single.clone(), ZarrFormat::V2)),
        ("single 3", with(single, ZarrFormat::V3)),
    ]
}

#[test]
fn what_is_appended_in_parts_is_what_is_written_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (name, options) in encodings() {
        let path = folder.path().join(name);
        hours(0, 5).to_zarr_with(&path, &options).unwrap();
        // Into the middle of a chunk, to its end, and several at once.
        for (from, to) in [(5, 6), (6, 8), (8, 9), (9, 23)] {
            hours(from, to).append_zarr(&path, "time").unwrap();
        }
        assert_eq!(seen(&path), expected(23), "{name}");
        let own = open_zarr(&path).unwrap();
        assert_eq!(own.var("t").unwrap().shape(), [23, 2, 3]);
        let left: Vec<_> = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".drafts")), "{left:?}");
    }
}

#[test]
fn stores_of_xarray_are_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let make = "import sys, numpy as np, xarray as xr\n\
        i = np.arange(30.0)\n\
        t = np.where(i % 10 == 7, np.nan, i / 4).reshape(5, 2, 3)\n\
        ds = xr.Dataset({'t': (('time', 'y', 'x'), t), 'step': ('time', np.arange(5, dtype='i4') * 3), 'fixed': ('y', np.array([5, 6]))},\n\
            coords={'time': np.datetime64('1970-01-01T00', 'ns') + np.arange(5) * np.timedelta64(1, 'h'), 'x': [10.0, 20.0, 30.0]})\n\
        e = {'t': {'dtype': 'i2', 'scale_factor': 0.25, 'add_offset': 1.0, '_FillValue': -99, 'chunks': (2, 2, 2)},\n\
            'time': {'units': sys.argv[3], 'dtype': sys.argv[4], 'chunks': (4,)}}\n\
        ds.to_zarr(sys.argv[1], zarr_format=int(sys.argv[2]), encoding=e, consolidated=True)";
    for format in ["2", "3"] {
        for (units, dtype) in [
            ("minutes since 1970-01-01", "i4"),
            ("days since 1969-12-31 12:00:00", "f8"),
            ("nanoseconds since 1970-01-01", "i8"),
        ] {
            let path = folder.path().join(format!("{format}{dtype}.zarr"));
            run_python(make, &[&path, format.as_ref(), units.as_ref(), dtype.as_ref()]);
            hours(5, 12).append_zarr(&path, "time").unwrap();
            let (mut found, mut expected) = (seen(&path), expected(12));
            let rounded = |v: &mut Value| {
                let hours = v["hours"].as_array().unwrap().iter().map(|h| h.as_f64().unwrap().round());
                v["hours"] = hours.collect();
            };
            // Days are counted with a float's digits.
            rounded(&mut found);
            rounded(&mut expected);
            assert_eq!(found, expected, "{format} {dtype}");
        }
    }
}

#[test]
fn what_does_not_belong_behind_is_refused_and_the_store_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zarr");
    hours(0, 5).to_zarr(&path).unwrap();
    let refused = |what: Dataset, dim: &str, words: &str| {
        let error = what.append_zarr(&path, dim).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    let more = hours(5, 6);
    refused(more.clone(), "level", "no dimension `level`");
    refused(more.drop_var("step").unwrap(), "time", "`step`");
    refused(
        more.assign_coord("x", vec![10.0, 20.0, 31.0]).unwrap(),
        "time",
        "has 31.0 where the store has 30.0",
    );
    let other = more.assign("t", &more.var("t").unwrap().astype(DType::F32)).unwrap();
    refused(other, "time", "holds float32");
    let half: Vec<i64> = vec![5 * HOUR + HOUR / 2];
    let odd = Values::Times(Times { calendar: Calendar::Standard, micros: half.into() });
    refused(more.assign_coord("time", odd).unwrap(), "time", "no whole number of `hours since 1970-01-01`");
    let noleap = Values::Times(Times { calendar: Calendar::NoLeap, micros: vec![5 * HOUR].into() });
    refused(more.assign_coord("time", noleap).unwrap(), "time", "calendar");
    assert_eq!(seen(&path), expected(5));
    let error = more.append_zarr(folder.path().join("none.zarr"), "time").unwrap_err().to_string();
    assert!(error.contains("none.zarr"), "{error}");
}

#[test]
fn programs_that_append_at_once_wait_for_one_another_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zarr");
    hours(0, 5).to_zarr(&path).unwrap();
    // All into the same stored chunk, and all after what they find.
    let append = |hour: i64| {
        let mut refused = 0;
        while let Err(error) = hours(hour, hour + 1).append_zarr(&path, "time") {
            let error = error.to_string();
            assert!(error.contains("is appending to it") && error.contains(".nuna-appending"), "{error}");
            refused += 1;
            assert!(refused < 10_000, "{error}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    };
    std::thread::scope(|scope| (5..11).for_each(|hour| drop(scope.spawn(move || append(hour)))));
    let found = open_zarr(&path).unwrap();
    let Values::Times(times) = found.coords().index("time").unwrap().values().unwrap().clone() else {
        panic!("`time` is times");
    };
    let mut order: Vec<i64> = times.micros.iter().map(|micros| micros / HOUR).collect();
    let values = found.var("t").unwrap().values_f64().unwrap();
    for (values, &hour) in values.chunks(6).zip(&order) {
        let expected = hours(hour, hour + 1).var("t").unwrap().values_f64().unwrap();
        assert!(values.iter().zip(&expected).all(|(a, b)| a == b || a.is_nan() && b.is_nan()), "hour {hour}");
    }
    order.sort_unstable();
    assert_eq!(order, (0..11).collect::<Vec<_>>());
    assert!(!path.join(".nuna-appending").exists());
}

#[test]
fn what_killed_programs_leave_is_named_and_other_programs_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zarr");
    hours(0, 5).to_zarr(&path).unwrap();
    let lock = path.join(".nuna-appending");
    std::fs::write(&lock, "process 7 on elsewhere").unwrap();
    let error = hours(5, 6).append_zarr(&path, "time").unwrap_err().to_string();
    assert!(error.contains("process 7 on elsewhere") && error.contains(lock.to_str().unwrap()), "{error}");
    assert_eq!(seen(&path), expected(5));
    std::fs::remove_file(&lock).unwrap();
    // Another program, which knows nothing of that file, changes an array after it was read.
    let mut store = nuna_storage::GrownStore::open_to_grow(&path).unwrap();
    store.grow("step", 0, 9).unwrap();
    let file = path.join("step/zarr.json");
    let theirs = std::fs::read_to_string(&file).unwrap().replacen(
        '{',
        "{ \"extra\": {\"must_understand\": false},",
        1,
    );
    std::fs::write(&file, &theirs).unwrap();
    let error = store.finish().unwrap_err().to_string();
    assert!(error.contains("somebody else has changed it meanwhile"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), theirs);
    assert!(!lock.exists());
    // Coordinates of other dimensions than the store's are refused before anything grows.
    let turned =
        DataArray::new(nuna_array::Array::from_slice(&[3, 1], &[1.0, 2.0, 3.0]).unwrap(), ["x", "time"])
            .unwrap();
    let more = hours(6, 7).assign("level", &turned).unwrap().set_coords(["level"]).unwrap();
    let along = DataArray::new(nuna_array::Array::from_slice(&[6], &[0.0; 6]).unwrap(), ["time"]).unwrap();
    let other = folder.path().join("b.zarr");
    hours(0, 6).assign("level", &along).unwrap().set_coords(["level"]).unwrap().to_zarr(&other).unwrap();
    let error = more.append_zarr(&other, "time").unwrap_err().to_string();
    assert!(
        error.contains("`level` lies along (x, time), but in") && error.contains("along (time)"),
        "{error}"
    );
}

#[test]
fn several_programs_write_boxes_of_one_store() {
    let folder = tempfile::tempdir().unwrap();
    for (name, options) in encodings() {
        let path = folder.path().join(name);
        hours(0, 24).create_zarr(&path, &options).unwrap();
        let empty = open_zarr(&path).unwrap().var("t").unwrap().values_f64().unwrap();
        assert!(empty.iter().all(|v| v.is_nan()), "{name}: nothing is written yet");
        std::thread::scope(|scope| {
            for at in [0, 12] {
                let path = &path;
                scope.spawn(move || {
                    // Found by their times.
                    hours(at, at + 12)
                        .drop_var("fixed")
                        .unwrap()
                        .drop_var("step")
                        .unwrap()
                        .write_zarr_region(path, [])
                        .unwrap();
                });
            }
        });
        let fixed = hours(0, 24).drop_var("t").unwrap();
        fixed.write_zarr_region(&path, [("time", 0..24)]).unwrap();
        assert_eq!(seen(&path), expected(24), "{name}");
    }
    let path = folder.path().join("plain 3");
    let part = |from, to| hours(from, to).drop_var("fixed").unwrap().drop_var("step").unwrap();
    let refused = |what: Dataset, region: &[(&'static str, std::ops::Range<u64>)], words: &str| {
        let error = what.write_zarr_region(&path, region.iter().cloned()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    refused(part(2, 6), &[], "cuts a stored chunk");
    refused(part(4, 8), &[("time", 4..9)], "do not fit 4..9");
    refused(part(4, 8), &[("time", 8..12)], "where the store has");
    refused(part(24, 28), &[], "not among those");
    refused(part(4, 8), &[("level", 4..9)], "no dimension `level`");
    assert_eq!(seen(&path), expected(24));
}

#[test]
fn encodings_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zarr");
    let packing = Packing { dtype: DType::I8, scale_factor: 1.0, add_offset: 0.0, fill_value: None };
    let try_with = |name: &str, format: ZarrFormat, encoding: Encoding| {
        let encoding = [(name.to_owned(), encoding)].into();
        let options = StoreOptions { format, encoding, ..StoreOptions::default() };
        let error = hours(0, 5).to_zarr_with(&path, &options).unwrap_err().to_string();
        assert!(
            !path.exists() && std::fs::read_dir(folder.path()).unwrap().next().is_none(),
            "nothing is left: {error}"
        );
        error
    };
    let chunks = |n: &[u64]| Encoding { chunks: Some(n.to_vec()), ..Encoding::default() };
    let shards = |n: &[u64]| Encoding { shards: Some(n.to_vec()), ..Encoding::default() };
    for (name, format, encoding, words) in [
        ("temp", ZarrFormat::V3, Encoding::default(), "`temp`"),
        ("t", ZarrFormat::V3, chunks(&[4, 2]), "do not fit its dimensions (time, y, x)"),
        ("t", ZarrFormat::V3, chunks(&[4, 0, 2]), "do not fit"),
        ("t", ZarrFormat::V3, shards(&[6, 2, 2]), "no multiple of chunks"),
        ("t", ZarrFormat::V2, shards(&[8, 2, 2]), "version 2"),
        ("t", ZarrFormat::V2, Encoding { checksum: true, ..Encoding::default() }, "version 2"),
        (
            "t",
            ZarrFormat::V3,
            Encoding { packing: Some(packing), ..Encoding::default() },
            "give the encoding a `fill_value`",
        ),
        (
            "t",
            ZarrFormat::V3,
            Encoding {
                packing: Some(Packing { scale_factor: 0.01, fill_value: Some(-128.0), ..packing }),
                ..Encoding::default()
            },
            "ends at -128 and 127",
        ),
        (
            "t",
            ZarrFormat::V3,
            Encoding { packing: Some(Packing { scale_factor: 0.0, ..packing }), ..Encoding::default() },
            "scale_factor 0",
        ),
        ("step", ZarrFormat::V3, Encoding { keep_bits: Some(3), ..Encoding::default() }, "only floats"),
        ("t", ZarrFormat::V2, Encoding { delta: true, ..Encoding::default() }, "differences are of integers"),
        (
            "t",
            ZarrFormat::V3,
            Encoding { compressor: Some(Compressor::Gzip { level: 10 }), ..Encoding::default() },
            "levels 0 to 9",
        ),
    ] {
        let error = try_with(name, format, encoding);
        assert!(error.contains(words), "{error}");
    }
}
