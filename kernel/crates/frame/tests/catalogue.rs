//! Entries of catalogues that are tables open as frames of their files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use nuna_frame::{ScanEntry, scan_csv};
use nuna_labels::open_intake;

const CATALOG: &str = r#"
sources:
  usage: {driver: csv, args: {urlpath: "{{ CATALOG_DIR }}/usage_*.csv"}}
  named:
    driver: intake.source.csv.CSVSource
    args: {urlpath: [bare.csv], csv_kwargs: {sep: ";", names: [user, bytes], blocksize: 1000}}
  columns: {driver: parquet, parameters: {part: {default: one}}, args: {urlpath: "{{ CATALOG_DIR }}/{{ part }}.parquet"}}
  odd: {driver: csv, args: {urlpath: usage_1.csv, csv_kwargs: {skiprows: 3}}}
  store: {driver: zarr, args: {urlpath: x.zarr}}
"#;

#[test]
fn tables_of_a_catalogue_are_scanned() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("usage_1.csv"), "user,bytes\na,1\nb,2\n").unwrap();
    std::fs::write(path("usage_2.csv"), "user,bytes\nc,3\n").unwrap();
    std::fs::write(path("bare.csv"), "d;4\ne;5\n").unwrap();
    scan_csv(path("usage_1.csv")).unwrap().compute().unwrap().write_parquet(path("one.parquet")).unwrap();
    std::fs::write(path("catalog.yml"), CATALOG).unwrap();
    let catalog = open_intake(path("catalog.yml")).unwrap();
    for (name, users, bytes) in [
        ("usage", vec!["a", "b", "c"], vec!["1", "2", "3"]),
        ("named", vec!["d", "e"], vec!["4", "5"]),
        ("columns", vec!["a", "b"], vec!["1", "2"]),
    ] {
        let table = catalog.get(name).unwrap().scan().unwrap().compute().unwrap();
        assert_eq!(table.column_text("user").unwrap(), users, "{name}");
        assert_eq!(table.column_text("bytes").unwrap(), bytes, "{name}");
    }
    for (name, said) in [("odd", "skiprows"), ("store", "open()")] {
        let message = catalog.get(name).unwrap().scan().unwrap_err().to_string();
        assert!(message.contains(said) && message.contains(name), "{message}");
    }
    let missing =
        catalog.get("columns").unwrap().with("part", "two").unwrap().scan().unwrap_err().to_string();
    assert!(missing.contains("two.parquet"), "{missing}");
}
