//! Stores over HTTP and in buckets hold what they hold on disk, also when the server fails now and then; what cannot be had
//! is said with its address, and without what is secret in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use common::{STORES, contents};
use nuna_labels::{open_dataset, open_zarr};
use nuna_testing::{WebReply, WebRequest, WebServer};

fn folder() -> PathBuf {
    STORES.path("").join("")
}

fn stores() -> Vec<String> {
    let all = STORES.expected.as_object().unwrap().keys();
    all.filter(|name| name.ends_with(".zarr")).cloned().collect()
}

/// One request of sixteen fails in one way or another.
fn shaky(request: &WebRequest) -> WebReply {
    let good = WebReply::file(request, &folder());
    match request.number % 48 {
        6 => WebReply::new(503, "busy"),
        22 => WebReply { cut: Some(good.body.len() / 2), ..good },
        38 => WebReply::new(429, "slowly").with("retry-after", "0"),
        _ => good,
    }
}

#[test]
fn stores_hold_over_http_what_they_hold_on_disk() {
    let server = WebServer::start(shaky);
    let mut compared = 0;
    for store in stores() {
        let expected = contents(&open_zarr(STORES.path(&store)).unwrap());
        match open_zarr(server.url(&format!("/{store}?token=secret"))) {
            Ok(found) => {
                assert_eq!(contents(&found), expected, "{store}");
                assert!(!found.to_string().contains("secret"));
                compared += 1;
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains("not consolidated") && message.contains(&store), "{message}");
                assert!(!message.contains("secret"), "{message}");
            }
        }
    }
    assert!(compared > 10, "only {compared} were compared");
    assert!(server.requests().iter().all(|request| request.target.contains("token=secret")));
}

#[test]
fn of_a_shard_only_parts_are_read() {
    let server = WebServer::start(|request| WebReply::file(request, &folder()));
    let sharded = stores().into_iter().find(|name| name.contains("shard")).unwrap();
    let found = open_zarr(server.url(&format!("/{sharded}"))).unwrap();
    let before = server.requests().len();
    contents(&found);
    let requests = server.requests();
    let ranged = requests[before..].iter().filter(|r| r.header("range").is_some()).count();
    assert!(ranged > 0, "{:?}", &requests[before..]);
    // A server without ranges gives the same.
    let whole = WebServer::start(|request| {
        WebReply::file(&WebRequest { headers: Vec::new(), ..request.clone() }, &folder())
    });
    assert_eq!(contents(&open_zarr(whole.url(&format!("/{sharded}"))).unwrap()), contents(&found));
}

#[test]
fn what_is_no_store_says_what_was_tried() {
    let said = |answer: fn(&WebRequest) -> WebReply, path: &str| {
        let server = WebServer::start(answer);
        open_dataset(server.url(path)).unwrap_err().to_string()
    };
    let nothing = said(|_| WebReply::new(404, ""), "/a.zarr?sig=secret");
    assert!(nothing.contains("/a.zarr?…") && nothing.contains("zarr.json"), "{nothing}");
    let file = said(|_| WebReply::new(404, ""), "/a.nc");
    assert!(file.contains("nothing at this address"), "{file}");
    let denied = said(|_| WebReply::new(403, ""), "/a.zarr?sig=secret");
    assert!(denied.contains("403") && denied.contains("signed address"), "{denied}");
    let page = said(|_| WebReply::new(200, "<html>"), "/a.zarr");
    assert!(page.contains("not JSON"), "{page}");
    let broken = said(|_| WebReply::new(200, "{\"zarr_format\": 3"), "/a.zarr");
    assert!(broken.contains("zarr.json is damaged"), "{broken}");
    for message in [nothing, denied] {
        assert!(!message.contains("secret"), "{message}");
    }
    for (address, said) in [("ftp://h/a.zarr", "only http, https and s3"), ("s3:///a", "no name of a bucket")]
    {
        let message = open_dataset(address).unwrap_err().to_string();
        assert!(message.contains(said), "{message}");
    }
    let message =
        open_zarr(STORES.path(&stores()[0])).unwrap().to_zarr("https://h/x").unwrap_err().to_string();
    assert!(message.contains("https://h/x") && message.contains("buckets (s3://) only"), "{message}");
}

#[test]
fn chunks_that_cannot_be_had_are_named() {
    let store = stores().into_iter().find(|name| name.starts_with("v3")).unwrap();
    let server = WebServer::start(|request| match request.path().contains("/theta/c/") {
        true => WebReply::new(403, ""),
        false => WebReply::file(request, &folder()),
    });
    let found = open_zarr(server.url(&format!("/{store}?sig=secret"))).unwrap();
    let message = found.var("theta").unwrap().compute().unwrap_err().to_string();
    assert!(message.contains("`theta`") && message.contains("/theta/c/0/0/0"), "{message}");
    assert!(message.contains("403") && !message.contains("secret"), "{message}");
    let missing = WebServer::start(|request| match request.path().contains("/theta/c/") {
        true => WebReply::new(404, ""),
        false => WebReply::file(request, &folder()),
    });
    let theta = open_zarr(missing.url(&format!("/{store}"))).unwrap().var("theta").unwrap();
    assert!(theta.values_f64().unwrap().iter().all(|value| value.is_nan()), "never written, so missing");
}

static REFERENCES: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    common::run("make_references.py", &[folder.path()]);
    folder
});

#[test]
fn references_lead_to_other_hosts() {
    let expected = contents(&open_zarr(REFERENCES.path().join("relative.json")).unwrap());
    let server = WebServer::start(|request| WebReply::file(request, REFERENCES.path()));
    assert_eq!(contents(&open_zarr(server.url("/relative.json?t=1")).unwrap()), expected);
    // Here the references are here and the chunks are not.
    let text = std::fs::read_to_string(REFERENCES.path().join("relative.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("far.json");
    std::fs::write(&file, text.replace("\"chunked.nc\"", &format!("\"{}\"", server.url("/chunked.nc"))))
        .unwrap();
    let found = open_dataset(&file).unwrap();
    let before = server.requests().len();
    assert_eq!(contents(&found), expected);
    let ranges: Vec<_> =
        server.requests()[before..].iter().map(|r| r.header("range").map(str::to_owned)).collect();
    assert!(!ranges.is_empty() && ranges.iter().all(Option::is_some), "{ranges:?}");
    // What is gone is no fill value.
    let gone = text.replace("\"chunked.nc\"", &format!("\"{}\"", server.url("/gone.nc")));
    std::fs::write(&file, gone).unwrap();
    let theta = open_dataset(&file).and_then(|dataset| dataset.var("theta"));
    let message = theta.and_then(|theta| theta.compute()).unwrap_err().to_string();
    assert!(message.contains("/gone.nc") && message.contains("no such thing"), "{message}");
}

#[test]
fn references_from_afar_do_not_lead_to_files_of_this_machine() {
    let server = WebServer::start(|request| WebReply::file(request, REFERENCES.path()));
    for name in ["chunked.json", "templates.json"] {
        let theta = open_zarr(server.url(&format!("/{name}"))).and_then(|dataset| dataset.var("theta"));
        let message = theta.and_then(|theta| theta.compute()).unwrap_err().to_string();
        assert!(message.contains("file of this machine"), "{message}");
    }
}

/// What a bucket holds of a folder, with listings, for those who are signed in.
fn bucket(request: &WebRequest) -> WebReply {
    if !request.header("authorization").is_some_and(|text| text.contains("Credential=someone/")) {
        return WebReply::new(403, "<Error><Code>AccessDenied</Code><Message>No</Message></Error>");
    }
    let target = request.target.replace("%2F", "/");
    let Some(path) = target.strip_prefix("/data/") else {
        return WebReply::new(404, "<Code>NoSuchBucket</Code>");
    };
    let Some(query) = path.strip_prefix('?') else {
        return WebReply::file(&WebRequest { target: format!("/{path}"), ..request.clone() }, &folder());
    };
    let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap();
    let names = std::fs::read_dir(folder().join(prefix)).into_iter().flatten().flatten();
    let folders: String = names
        .filter(|entry| entry.path().is_dir())
        .map(|entry| {
            format!(
                "<CommonPrefixes><Prefix>{prefix}{}/</Prefix></CommonPrefixes>",
                entry.file_name().display()
            )
        })
        .collect();
    WebReply::new(200, format!("<ListBucketResult>{folders}</ListBucketResult>"))
}

/// Environment variables are a process's, so it is this program again that has them.
#[test]
fn buckets_hold_what_folders_hold() {
    let server = WebServer::start(bucket);
    let run = |variables: &[(&str, &str)]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "reads_a_bucket", "--ignored", "--nocapture"]);
        command.env("AWS_ENDPOINT_URL", server.url("")).env("NUNA_TEST_FOLDER", folder());
        command.env("NUNA_TEST_STORES", stores().join(",")).env("HOME", "/nowhere");
        command.envs(variables.iter().copied()).output().unwrap()
    };
    let signed = run(&[("AWS_ACCESS_KEY_ID", "someone"), ("AWS_SECRET_ACCESS_KEY", "s3cr3t")]);
    let text =
        String::from_utf8_lossy(&signed.stdout).into_owned() + &String::from_utf8_lossy(&signed.stderr);
    assert!(signed.status.success(), "{text}");
    let anonymous = run(&[
        ("AWS_ACCESS_KEY_ID", "someone"),
        ("AWS_SECRET_ACCESS_KEY", "s3cr3t"),
        ("AWS_NO_SIGN_REQUEST", "1"),
    ]);
    let text = String::from_utf8_lossy(&anonymous.stderr).into_owned();
    assert!(!anonymous.status.success() && text.contains("AccessDenied"), "{text}");
}

#[test]
#[ignore = "run by buckets_hold_what_folders_hold, which sets its environment"]
fn reads_a_bucket() {
    let folder = std::env::var("NUNA_TEST_FOLDER").unwrap();
    let stores = std::env::var("NUNA_TEST_STORES").unwrap();
    let mut compared = 0;
    for store in stores.split(',') {
        let expected = contents(&open_zarr(Path::new(&folder).join(store)).unwrap());
        let found =
            open_dataset(format!("s3://data/{store}/")).unwrap_or_else(|error| panic!("{store}: {error}"));
        assert_eq!(contents(&found), expected, "{store}");
        compared += 1;
    }
    assert!(compared > 10);
}
