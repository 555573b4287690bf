//! Catalogues lead to their items, from files and over HTTP; items are chosen by place, time and property, and open as cubes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{path::PathBuf, sync::LazyLock};

use nuna_labels::{GeotiffOptions, Items, open_stac};
use nuna_testing::{WebReply, WebServer};

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    common::run("make_stac.py", &[folder.path()]);
    folder
});

fn path(name: &str) -> PathBuf {
    FOLDER.path().join(name)
}

fn ids(items: &Items) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str().trim_start_matches("item-")).collect()
}

#[test]
fn catalogues_lead_to_all_their_items() {
    let all = open_stac(path("catalog.json")).unwrap();
    assert_eq!(ids(&all), ["0", "1", "3", "2"], "in the order of the collections");
    assert_eq!(all.len(), 4);
    assert_eq!(ids(&all.sorted()), ["1", "3", "0", "2"]);
    assert_eq!(ids(&open_stac(path("a/collection.json")).unwrap()), ["0", "1", "3"]);
    assert_eq!(ids(&open_stac(path("b/item-2/item.json")).unwrap()), ["2"]);
    let pages = open_stac(path("page-1.json")).unwrap();
    assert_eq!(ids(&pages), ["0", "1", "2", "3"]);
    for item in &pages {
        assert!(item.assets["red"].path.is_file(), "{item:?}");
        let same = all.iter().find(|other| other.id == item.id).unwrap();
        assert_eq!(
            (&same.assets["red"].path, same.time, same.bbox),
            (&item.assets["red"].path, item.time, item.bbox)
        );
    }
    assert_eq!(all.rows()[0]["id"], "item-0");
    assert!(all.to_string().starts_with("4 items") && all.to_string().contains("nir, red"), "{all}");
}

#[test]
fn items_are_chosen_by_what_they_say() {
    let all = open_stac(path("page-1.json")).unwrap();
    assert_eq!(ids(&all.filter("platform", "two")), ["0", "2"]);
    assert_eq!(ids(&all.filter("collection", "b")), ["2"]);
    assert_eq!(ids(&all.filter("eo:cloud_cover", 80.0)), ["1"]);
    assert_eq!(ids(&all.filter("nothing", 1)), [""; 0]);
    assert_eq!(ids(&all.filter_range("eo:cloud_cover", 0.0..=10.0)), ["0", "2"]);
    assert_eq!(ids(&all.filter_dates("2021-07", "2021-07").unwrap()), ["0", "3"]);
    assert_eq!(ids(&all.filter_dates("2021", "2022-01-01").unwrap()), ["0", "1", "2", "3"]);
    assert_eq!(ids(&all.filter_dates("2021-03-01T10:30:00Z", "2021-03-01T10:30:00Z").unwrap()), ["1"]);
    assert!(all.filter_dates("July", "2021").unwrap_err().to_string().contains("`July` is no date"));
    assert_eq!(ids(&all.filter_bbox(0.0, 45.0, 1.0, 46.0)), ["0", "1"]);
    assert_eq!(ids(&all.filter_bbox(0.0, 51.0, 1.0, 56.0)), [""; 0]);
    assert_eq!(ids(&all.filter_bbox(178.0, 45.0, -179.0, 46.0)), ["2"], "across the date line");
    assert_eq!(ids(&all.filter_bbox(-178.0, 45.0, -177.0, 46.0)), ["2"]);
    assert_eq!(ids(&all.filter_with(|item| item.bbox.is_none())), ["3"]);
}

#[test]
fn assets_are_stacked_by_time_and_by_name() {
    let items = open_stac(path("catalog.json")).unwrap().filter("collection", "a");
    let cube = items.stack(&["nir", "red"], &GeotiffOptions::default()).unwrap();
    assert_eq!(cube.dims().iter().map(String::as_str).collect::<Vec<_>>(), ["time", "band", "y", "x"]);
    assert_eq!(cube.shape(), [3, 2, 4, 6]);
    let first = cube.isel("y", 0).unwrap().isel("x", 0).unwrap().values_f64().unwrap();
    assert_eq!(first, [101.0, 100.0, 301.0, 300.0, 1.0, 0.0]);
    let july = cube.sel("time", "2021-07").unwrap().sel("band", "red").unwrap();
    assert_eq!(july.isel("y", 0).unwrap().isel("x", 0).unwrap().values_f64().unwrap(), [300.0, 0.0]);
    let one = items.stack(&["red"], &GeotiffOptions { masked: true, ..GeotiffOptions::default() }).unwrap();
    assert_eq!(one.shape(), [3, 1, 4, 6]);
    let message = items.stack(&["blue"], &GeotiffOptions::default()).unwrap_err().to_string();
    assert!(message.contains("no asset `blue`") && message.contains("nir, red"), "{message}");
    let none = items.filter("platform", "three").stack(&["red"], &GeotiffOptions::default());
    assert!(none.unwrap_err().to_string().contains("no items"));
}

#[test]
fn catalogues_are_read_over_http() {
    let server = WebServer::start(|request| WebReply::file(request, FOLDER.path()));
    for name in ["/catalog.json", "/page-1.json"] {
        let items = open_stac(server.url(name)).unwrap();
        assert_eq!(items.len(), 4);
        for item in &items {
            let path = item.assets["red"].path.to_str().unwrap();
            assert!(
                path.starts_with(&server.url("/")) && path.ends_with(&format!("{}/red.tif", item.id)),
                "{path}"
            );
        }
    }
    let gone = open_stac(server.url("/other.json")).unwrap_err().to_string();
    assert!(gone.contains("/other.json") && gone.contains("no such file"), "{gone}");
}

#[test]
fn what_is_no_catalogue_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let said = |text: &str| {
        std::fs::write(folder.path().join("a.json"), text).unwrap();
        open_stac(folder.path().join("a.json")).unwrap_err().to_string()
    };
    for (text, expected) in [
        ("[]", "`type`"),
        ("{\"type\": \"Feature\"}", "`id`"),
        ("{\"type\": \"Feature\", \"id\": \"x\", \"bbox\": [1, 2]}", "`bbox`"),
        ("{\"type\": \"Feature\", \"id\": \"x\", \"properties\": {\"datetime\": \"soon\"}}", "no date"),
        ("{\"type\": \"Feature\", \"id\": \"x\", \"assets\": {\"d\": {}}}", "`href`"),
        ("{\"type\": \"Catalog\", \"links\": [{\"rel\": \"item\", \"href\": \"b.json\"}]}", "b.json"),
        ("{\"type\": \"Catalog\", \"links\": [{\"rel\": \"child\"}]}", "`href`"),
        ("{\"type\": \"Catalog\", \"links\": [{\"rel\": \"child\", \"href\": \"ftp://h/a\"}]}", "ftp"),
        ("{\"type\": \"FeatureCollection\"}", "`features`"),
        ("{\"type\"", "JSON"),
    ] {
        let message = said(text);
        assert!(message.contains(expected), "{text}: {message}");
    }
    // A circle of links ends.
    let circle = "{\"type\": \"Catalog\", \"links\": [{\"rel\": \"child\", \"href\": \"a.json\"}, {\"rel\": \"item\", \"href\": \"./a.json\"}]}";
    std::fs::write(folder.path().join("a.json"), circle).unwrap();
    assert!(open_stac(folder.path().join("a.json")).unwrap().is_empty());
    assert!(open_stac("nowhere.json").is_err());
}
