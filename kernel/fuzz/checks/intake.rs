//! Any YAML as a catalogue of intake: entries with what completes them, or an error.

use nuna_labels::open_intake;

pub(crate) fn check(data: &[u8]) {
    // Nobody is to be asked, devices have no end, and patterns list folders of this machine.
    let elsewhere: [&[u8]; 5] = [b"://", b"dev", b"/*", b"*/", b".."];
    if elsewhere.iter().any(|part| data.windows(part.len()).any(|found| found == *part)) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder of temporary files");
    let file = folder.path().join("catalog.yaml");
    std::fs::write(&file, data).expect("room for a small file");
    let Ok(catalog) = open_intake(&file) else { return };
    assert_eq!((catalog.names().len(), catalog.rows().len()), (catalog.len(), catalog.len()));
    let _ = catalog.to_string();
    for entry in catalog.iter().take(20) {
        let _ = (entry.to_string(), entry.table(), entry.paths(), entry.open().is_ok());
        if let Ok(inner) = entry.catalog() {
            assert!(inner.len() <= data.len());
        }
        if let Ok(arguments) = entry.arguments() {
            assert!(arguments.keys().eq(entry.args.keys()), "templates are values");
        }
        for parameter in &entry.parameters {
            for value in ["1", "-7.5", "a"] {
                let Ok(other) = entry.with(&parameter.name, value) else { continue };
                let _ = (other.arguments(), other.paths());
            }
        }
    }
}
