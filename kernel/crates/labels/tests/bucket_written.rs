//! Zarr stores that are written into a bucket hold what those on disk hold, also for xarray; what was there is replaced on
//! request only; and of what could not be written nothing is left, or the error says what is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{fs, path::Path, process::Command};

use common::{STORES, contents};
use nuna_labels::{Dataset, StoreOptions, ZarrFormat, open_dataset, open_zarr};
use nuna_testing::{Bucket, WebReply, WebRequest, WebServer};

/// A store with times, text and several chunks.
const STORE: &str = "v3_zstd.zarr";

/// Environment variables are a process's, so it is this program again that has them. What it says is returned.
fn run(server: &WebServer, test: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env("AWS_ENDPOINT_URL", server.url(""));
    command
        .env("AWS_ACCESS_KEY_ID", "someone")
        .env("AWS_SECRET_ACCESS_KEY", "s3cr3t")
        .env("HOME", "/nowhere");
    command.env("NUNA_TEST_STORE", STORES.path(STORE));
    let output = command.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

fn store() -> Dataset {
    open_zarr(std::env::var("NUNA_TEST_STORE").unwrap()).unwrap()
}

fn options(format: ZarrFormat, overwrite: bool) -> StoreOptions {
    StoreOptions { format, overwrite, ..StoreOptions::default() }
}

/// A bucket whose server fails now and then, and refuses what `refuses` says.
fn bucket(refuses: impl Fn(&WebRequest) -> bool + Send + Sync + 'static) -> (Bucket, WebServer) {
    let bucket = Bucket::default();
    let inner = bucket.clone();
    let server = WebServer::start(move |request| match request.number % 24 {
        _ if !request.header("authorization").is_some_and(|text| text.contains("Credential=someone/")) => {
            WebReply::new(403, "<Error><Code>AccessDenied</Code><Message>No</Message></Error>")
        }
        _ if refuses(request) => {
            WebReply::new(403, "<Error><Code>AccessDenied</Code><Message>Refused</Message></Error>")
        }
        5 => WebReply::new(503, "<Error><Code>SlowDown</Code><Message>later</Message></Error>"),
        17 => WebReply::new(429, "").with("retry-after", "0"),
        _ => inner.answer(request, "data"),
    });
    (bucket, server)
}

/// What xarray finds in what was put.
fn xarray_opens(bucket: &Bucket, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    for (key, value) in bucket.values().iter() {
        let file = folder.path().join(key);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, value).unwrap();
    }
    let code = "
import sys, xarray as xr
xr.testing.assert_identical(xr.open_zarr(sys.argv[1], consolidated=True).load(), xr.open_zarr(sys.argv[2]).load())
xr.testing.assert_equal(xr.open_zarr(sys.argv[1], consolidated=False).load(), xr.open_zarr(sys.argv[2]).load())
";
    let local = tempfile::tempdir().unwrap();
    let local = local.path().join("local.zarr");
    let format = if name.contains("v2") { ZarrFormat::V2 } else { ZarrFormat::V3 };
    open_zarr(STORES.path(STORE)).unwrap().to_zarr_with(&local, &options(format, false)).unwrap();
    common::run_python(code, &[&folder.path().join(name), &local]);
    let files = |folder: &Path| {
        let mut found: Vec<_> =
            walk(folder).iter().map(|file| file.strip_prefix(folder).unwrap().to_owned()).collect();
        found.sort();
        found
    };
    assert_eq!(files(&folder.path().join(name)), files(&local), "the same files as on disk");
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn stores_in_a_bucket_are_those_on_disk() {
    let (bucket, server) = bucket(|_| false);
    bucket.values().insert("a/v3.zarr.other/zarr.json".to_owned(), b"{}".to_vec());
    run(&server, "writes_stores");
    xarray_opens(&bucket, "a/v3.zarr");
    xarray_opens(&bucket, "a/v2.zarr");
    assert!(!bucket.keys().iter().any(|key| key.contains("unfinished")), "{:?}", bucket.keys());
    // What makes it a store came last.
    let puts: Vec<String> = server
        .requests()
        .iter()
        .filter(|request| request.method == "PUT" && request.path().starts_with("/data/a/v3.zarr/"))
        .map(|request| request.path().to_owned())
        .collect();
    assert_eq!(puts.last().unwrap(), "/data/a/v3.zarr/zarr.json");
    let first_document = puts.iter().position(|path| path.ends_with("zarr.json")).unwrap();
    assert!(puts[first_document..].iter().all(|path| path.ends_with("zarr.json")), "{puts:?}");
}

#[test]
#[ignore = "run by stores_in_a_bucket_are_those_on_disk, which sets its environment"]
fn writes_stores() {
    let dataset = store();
    for (name, format) in [("v3", ZarrFormat::V3), ("v2", ZarrFormat::V2)] {
        let place = format!("s3://data/a/{name}.zarr");
        dataset.to_zarr_with(&place, &options(format, false)).unwrap();
        let found = open_dataset(&place).unwrap();
        let local = tempfile::tempdir().unwrap();
        let local = local.path().join("local.zarr");
        dataset.to_zarr_with(&local, &options(format, false)).unwrap();
        assert_eq!(contents(&found), contents(&open_zarr(&local).unwrap()), "{name}");
    }
    for place in ["s3://data", "s3://data/"] {
        let message = dataset.to_zarr(place).unwrap_err().to_string();
        assert!(message.contains("whole bucket"), "{message}");
    }
}

#[test]
fn what_is_there_is_replaced_on_request_only() {
    let (bucket, server) = bucket(|_| false);
    bucket.values().insert("own/notes.txt".to_owned(), b"mine".to_vec());
    for number in 0..25 {
        bucket.values().insert(format!("old.zarr/gone/c/{number}"), b"old".to_vec());
    }
    bucket
        .values()
        .insert("old.zarr/zarr.json".to_owned(), b"{\"zarr_format\":3,\"node_type\":\"group\"}".to_vec());
    bucket.values().insert("cut.zarr/.nuna-unfinished".to_owned(), Vec::new());
    bucket.values().insert("cut.zarr/theta/c/0/0/0".to_owned(), b"half".to_vec());
    bucket.values().insert("begun.zarr/.nuna-unfinished".to_owned(), Vec::new());
    run(&server, "replaces_stores");
    let keys = bucket.keys();
    assert!(!keys.iter().any(|key| key.contains("gone") || key.contains("unfinished")), "{keys:?}");
    assert_eq!(bucket.values()["own/notes.txt"], b"mine");
    xarray_opens(&bucket, "old.zarr");
    xarray_opens(&bucket, "cut.zarr");
}

#[test]
#[ignore = "run by what_is_there_is_replaced_on_request_only, which sets its environment"]
fn replaces_stores() {
    let dataset = store();
    let said = |place: &str, overwrite| {
        dataset.to_zarr_with(place, &options(ZarrFormat::V3, overwrite)).unwrap_err().to_string()
    };
    assert!(said("s3://data/old.zarr", false).contains("exists already"));
    assert!(said("s3://data/own", false).contains("exists already"));
    assert!(said("s3://data/own", true).contains("not a Zarr store"));
    assert!(said("s3://data/cut.zarr", false).contains("cut off"));
    assert!(said("s3://data/begun.zarr", false).contains("is being written there"));
    let message = open_zarr("s3://data/cut.zarr").unwrap_err().to_string();
    assert!(message.contains("cut off"), "{message}");
    for place in ["s3://data/old.zarr", "s3://data/cut.zarr", "s3://data/begun.zarr"] {
        dataset.to_zarr_with(place, &options(ZarrFormat::V3, true)).unwrap();
    }
}

#[test]
fn of_what_fails_nothing_is_left() {
    let (bucket, server) = bucket(|request| request.method == "PUT" && request.path().contains("/theta/c/"));
    let said = run(&server, "fails_to_write");
    assert!(bucket.keys().is_empty(), "{:?}", bucket.keys());
    assert!(
        said.contains("SAID") && said.contains("may write") && !said.contains("could not be removed"),
        "{said}"
    );
}

#[test]
fn what_is_left_of_a_failure_is_said() {
    let refuses = |request: &WebRequest| {
        request.method == "DELETE" || request.method == "PUT" && request.path().contains("/theta/c/")
    };
    let (bucket, server) = bucket(refuses);
    let said = run(&server, "fails_to_write");
    assert!(said.contains("could not be removed") && said.contains("s3://data/new.zarr"), "{said}");
    let keys = bucket.keys();
    assert!(keys.contains(&"new.zarr/.nuna-unfinished".to_owned()), "{keys:?}");
    assert!(!keys.iter().any(|key| key.ends_with("zarr.json")), "nobody opens it: {keys:?}");
}

#[test]
#[ignore = "run by the tests above, which set its environment"]
fn fails_to_write() {
    println!("SAID {}", store().to_zarr("s3://data/new.zarr").unwrap_err());
}

#[test]
fn stores_in_a_bucket_grow_as_those_on_disk() {
    let (bucket, server) = bucket(|_| false);
    run(&server, "grows_stores");
    assert!(!bucket.keys().iter().any(|key| key.contains("unfinished") || key.contains("drafts")));
}

#[test]
#[ignore = "run by stores_in_a_bucket_grow_as_those_on_disk, which sets its environment"]
fn grows_stores() {
    let dataset = store();
    let part = |range: std::ops::Range<i64>| dataset.isel("time", range).unwrap();
    let theta = dataset.var("theta").unwrap();
    let missing = (&theta * f64::NAN).astype(theta.dtype()).named("theta");
    let folder = tempfile::tempdir().unwrap();
    for format in [ZarrFormat::V3, ZarrFormat::V2] {
        let both = |name: &str| (folder.path().join(name), format!("s3://data/{name}"));
        let (here, far) = both(&format!("grown-{format:?}.zarr"));
        part(0..13).to_zarr_with(&here, &options(format, false)).unwrap();
        part(0..13).to_zarr_with(&far, &options(format, false)).unwrap();
        part(13..36).append_zarr(&here, "time").unwrap();
        part(13..36).append_zarr(&far, "time").unwrap();
        let found = contents(&open_zarr(&far).unwrap());
        assert_eq!(found, contents(&open_zarr(&here).unwrap()));
        assert!(
            found.iter().any(|line| line.starts_with("theta [\"time\", \"lat\", \"lon\"] [36, 9, 12]")),
            "{found:?}"
        );
        // Elements that come later, and are then missing again.
        let (here, far) = both(&format!("boxes-{format:?}.zarr"));
        for place in [here.to_str().unwrap(), &far] {
            let whole = || Dataset::new().assign("theta", &theta).unwrap();
            whole().create_zarr(place, &options(format, false)).unwrap();
            let written = || open_zarr(place).unwrap().var("theta").unwrap().values_f64().unwrap();
            assert!(written().iter().all(|value| value.is_nan()));
            whole().write_zarr_region(place, [("time", 0..36)]).unwrap();
            assert_eq!(written().iter().filter(|value| value.is_nan()).count(), {
                theta.values_f64().unwrap().iter().filter(|value| value.is_nan()).count()
            });
            let none = Dataset::new().assign("theta", &missing).unwrap();
            none.write_zarr_region(place, [("time", 0..36)]).unwrap();
            assert!(written().iter().all(|value| value.is_nan()), "{place} keeps what was replaced");
        }
    }
}
