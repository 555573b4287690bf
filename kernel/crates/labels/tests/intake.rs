//! Catalogues of intake open what their entries name; what they ask for and is not known is said.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use nuna_labels::{open_dataset, open_intake, open_mfdataset, write_references};
use nuna_testing::{WebReply, WebServer};

const CATALOG: &str = r#"
name: ocean
description: |
  What the tests have.
metadata: {institute: tests}
plugins: {source: [{module: intake_xarray}]}
sources:
  series:
    description: Three files, one after another
    driver: intake_xarray.netcdf.NetCDFSource
    args: &args
      urlpath: "{{ CATALOG_DIR }}/same_*.nc"
      concat_dim: time
      xarray_kwargs: {combine: nested}
  one:
    driver: netcdf
    description: One of the files
    parameters:
      number: {description: which, type: int, default: 0, min: 0, max: 2}
      kind: {type: str, default: same, allowed: [same, moved, classic]}
    args:
      urlpath: ["{{ CATALOG_DIR }}/{{kind}}_{{ '%01d' % number }}.nc"]
    metadata: {plots: {line: {x: time}}}
  group: {driver: netcdf, args: {urlpath: groups.nc, xarray_kwargs: {group: /a/b}}}
  store: {driver: zarr, args: {urlpath: "file://{{ CATALOG_DIR }}/store.zarr", consolidated: true}}
  references:
    driver: zarr
    args:
      urlpath: "reference://"
      storage_options: {fo: "{{ CATALOG_DIR }}/refs.json", remote_protocol: file}
  image: {driver: rasterio, args: {urlpath: "{{ CATALOG_DIR }}/image.tif", chunks: {}}}
  images: {driver: rasterio, args: {urlpath: "{{ CATALOG_DIR }}/image*.tif", concat_dim: date}}
  inner: {driver: yaml_file_cat, args: {path: "{{ CATALOG_DIR }}/inner/catalog.yml"}}
  table: {driver: csv, args: {urlpath: "{{ CATALOG_DIR }}/table.csv"}}
  environment: {driver: netcdf, args: {urlpath: "{{ env(NUNA_TEST_OF_INTAKE) }}/same_0.nc"}}
  needed: {driver: netcdf, parameters: {year: {type: int}}, args: {urlpath: "{{ year }}.nc"}}
  undecoded: {<<: {driver: netcdf}, args: {<<: *args, decode_times: false}}
  undirected: {driver: netcdf, args: {urlpath: "{{ CATALOG_DIR }}/same_*.nc"}}
  gone: {driver: netcdf, args: {urlpath: "{{ CATALOG_DIR }}/nothing_*.nc"}}
  named: {driver: netcdf, args: {urlpath: "same_{number:d}.nc"}}
  jinja: {driver: netcdf, args: {urlpath: "{{ kind | upper }}.nc"}}
  statement: {driver: netcdf, args: {urlpath: "{% if x %}a{% endif %}.nc"}}
  round: {driver: netcdf, parameters: {a: {default: "{{ a }}"}}, args: {urlpath: "{{ a }}.nc"}}
  unknown: {driver: opendap, args: {urlpath: "http://localhost/x"}}
"#;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    common::run("make_series.py", &[folder.path()]);
    let code = "import sys, numpy as np, rasterio\nfor n, name in enumerate(['image', 'image2']):\n    with rasterio.open(f'{sys.argv[1]}/{name}.tif', 'w', driver='GTiff', width=3, height=2, count=1, dtype='int16') as f: f.write(np.arange(6).reshape(2, 3) + n, 1)";
    common::run_python(code, &[folder.path()]);
    let path = |name: &str| folder.path().join(name);
    open_dataset(path("groups.nc")).unwrap().to_zarr(path("store.zarr")).unwrap();
    write_references([path("same_1.nc")], "", path("refs.json")).unwrap();
    std::fs::create_dir(path("inner")).unwrap();
    let inner =
        "sources:\n  deep: {driver: netcdf, args: {urlpath: ../same_2.nc}}\n  none: {driver: netcdf}\n";
    std::fs::write(path("inner/catalog.yml"), inner).unwrap();
    std::fs::write(path("catalog.yml"), CATALOG).unwrap();
    folder
});

fn path(name: &str) -> PathBuf {
    FOLDER.path().join(name)
}

fn theta(path: &Path) -> Vec<f64> {
    open_dataset(path).unwrap().var("theta").unwrap().nan_to_num_for_tests()
}

#[test]
fn entries_open_what_they_name() {
    let catalog = open_intake(path("catalog.yml")).unwrap();
    assert_eq!((catalog.name.as_str(), catalog.len()), ("ocean", 19));
    assert_eq!(catalog.metadata["institute"], "tests");
    assert_eq!(catalog.rows()[1]["description"], "One of the files");
    let shown = catalog.to_string();
    assert!(shown.contains("series") && shown.contains("Three files"), "{shown}");

    let series = catalog.open("series").unwrap();
    let expected = open_mfdataset(path("same_*.nc").to_str().unwrap(), "time").unwrap();
    assert_eq!(series.sizes(), expected.sizes());
    let one = catalog.get("one").unwrap();
    assert_eq!(one.paths().unwrap(), [path("same_0.nc").canonicalize().unwrap()]);
    assert_eq!(one.metadata["plots"]["line"]["x"], "time");
    let second = one.with("number", 2).unwrap().with("kind", "classic").unwrap();
    assert_eq!(second.paths().unwrap(), [path("classic_2.nc").canonicalize().unwrap()]);
    assert_eq!(second.open().unwrap().sizes(), open_dataset(path("classic_2.nc")).unwrap().sizes());
    assert_eq!(catalog.open("group").unwrap().names(), ["inner"]);
    let mut names = catalog.open("store").unwrap().names();
    names.sort();
    assert_eq!(names, ["holes", "whole"]);
    assert_eq!(theta(&path("same_1.nc")), theta_of(&catalog.open("references").unwrap()));
    assert_eq!(catalog.open("image").unwrap().var("band_data").unwrap().values_f64().unwrap()[5], 5.0);
    let images = catalog.open("images").unwrap();
    assert_eq!(images.var("band_data").unwrap().shape(), [2, 1, 2, 3]);
    let deep = catalog.open("inner/deep").unwrap();
    assert_eq!(deep.sizes(), open_dataset(path("same_2.nc")).unwrap().sizes());
    assert_eq!(catalog.get("inner").unwrap().catalog().unwrap().names(), ["deep", "none"]);
    assert_eq!(catalog.get("table").unwrap().table(), Some("csv"));
}

fn theta_of(dataset: &nuna_labels::Dataset) -> Vec<f64> {
    dataset.var("theta").unwrap().nan_to_num_for_tests()
}

trait NanToNum {
    fn nan_to_num_for_tests(&self) -> Vec<f64>;
}

impl NanToNum for nuna_labels::DataArray {
    /// NaN is equal to nothing.
    fn nan_to_num_for_tests(&self) -> Vec<f64> {
        self.values_f64().unwrap().into_iter().map(|x| if x.is_nan() { -1e9 } else { x }).collect()
    }
}

#[test]
fn what_cannot_be_opened_says_why() {
    let catalog = open_intake(path("catalog.yml")).unwrap();
    for (name, said) in [
        ("nothing", "it has series, one"),
        ("table", "scan()"),
        ("inner", "catalog()"),
        ("inner/none", "urlpath"),
        ("environment", "NUNA_TEST_OF_INTAKE"),
        ("needed", "`year`"),
        ("undecoded", "decode_times"),
        ("undirected", "concat_dim"),
        ("gone", "nothing_*.nc"),
        ("named", "{number:d}"),
        ("jinja", "kind | upper"),
        ("statement", "statements"),
        ("round", "made of itself"),
        ("unknown", "opendap"),
    ] {
        let message = catalog.open(name).unwrap_err().to_string();
        assert!(message.contains(said), "{name}: {message}");
    }
    let one = catalog.get("one").unwrap();
    for (parameter, value, said) in [
        ("number", serde_json::json!(3), "2 at most"),
        ("number", serde_json::json!(-1), "0 at least"),
        ("number", serde_json::json!("many"), "whole number"),
        ("kind", serde_json::json!("other"), "one of same, moved, classic"),
        ("colour", serde_json::json!(1), "number, kind"),
    ] {
        let message = one.with(parameter, value).unwrap_err().to_string();
        assert!(message.contains(said), "{parameter}: {message}");
    }
    assert!(catalog.get("series").unwrap().catalog().is_err());
}

#[test]
fn what_is_no_catalogue_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.yml");
    for (text, said) in [
        ("a: 1\n", "sources"),
        ("- 1\n", "sources"),
        ("sources: [1]\n", "sources"),
        ("sources: {a: 1}\n", "`a`"),
        ("sources: {a: {args: {}}}\n", "driver"),
        ("sources: {a: {driver: csv, args: 1}}\n", "args"),
        ("version: 2\nsources: {}\n", "version 2"),
        ("sources: {a: {driver: csv, parameters: {n: {type: int, default: x}}}}\n", "whole number"),
        ("sources: {a: [\n", "line"),
    ] {
        std::fs::write(&file, text).unwrap();
        let message = open_intake(&file).unwrap_err().to_string();
        assert!(message.contains(said) && message.contains("catalog.yml"), "{text}: {message}");
    }
    assert!(open_intake(folder.path().join("none.yml")).unwrap_err().to_string().contains("none.yml"));
    std::fs::write(&file, "sources:\n").unwrap();
    assert!(open_intake(&file).unwrap().is_empty());
}

/// A catalogue from afar is told nothing, and leads to nothing here.
#[test]
fn a_catalogue_at_an_address_keeps_to_addresses() {
    const AFAR: &str = r#"
sources:
  secret: {driver: netcdf, args: {urlpath: "{{ CATALOG_DIR }}/{{ env(HOME) }}.nc"}}
  beside: {driver: zarr, args: {urlpath: "{{ CATALOG_DIR }}/x.zarr"}}
  here: {driver: netcdf, args: {urlpath: /etc/passwd}}
  file: {driver: netcdf, args: {urlpath: "file:///etc/passwd"}}
"#;
    let server = WebServer::start(|request| match request.path() {
        "/data/catalog.yml" => WebReply::of(request, AFAR.as_bytes()),
        _ => WebReply::new(404, ""),
    });
    let catalog = open_intake(server.url("/data/catalog.yml")).unwrap();
    let message = catalog.open("secret").unwrap_err().to_string();
    assert!(message.contains("`HOME`") && message.contains("afar"), "{message}");
    let beside = catalog.get("beside").unwrap().paths().unwrap();
    assert_eq!(beside, [PathBuf::from(server.url("/data/x.zarr"))]);
    for name in ["here", "file"] {
        let outcome = catalog.get(name).unwrap().paths();
        let leads_here = outcome.is_ok_and(|paths| paths.iter().any(|path| path.exists()));
        assert!(!leads_here, "{name}");
    }
}

#[test]
fn templates_that_name_each_other_ten_times_over_fill_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.yaml");
    let mut text =
        "sources:\n  a:\n    driver: csv\n    args: {urlpath: '{{ p0 }}'}\n    parameters:\n".to_owned();
    for n in 0..10 {
        text += &format!("      p{n}: {{default: '{}'}}\n", format!("{{{{ p{} }}}}", n + 1).repeat(10));
    }
    for last in ["x", "''"] {
        std::fs::write(&file, format!("{text}      p10: {{default: {last}}}\n")).unwrap();
        let message = open_intake(&file).unwrap().get("a").unwrap().arguments().unwrap_err().to_string();
        assert!(message.contains("4 MiB"), "{message}");
    }
}
