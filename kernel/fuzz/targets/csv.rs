//! Any bytes as a CSV file: however they are cut into blocks, the same table comes out, or an error.

#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use nuna_frame::{CsvOptions, DataTable, scan_csv_with};

fn cells(table: &DataTable) -> Vec<(String, Vec<String>)> {
    let column = |name: String| (name.clone(), table.column_text(&name).expect("a column of the table"));
    table.columns().into_iter().map(column).collect()
}

fuzz_target!(|data: &[u8]| {
    let [how, block, bytes @ ..] = data else { return };
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if file.write_all(bytes).is_err() {
        return;
    }
    let options = |block: u64| {
        let options = CsvOptions::new().block_bytes(block).quoted_newlines(how & 1 == 1).header(how & 2 == 0);
        let options = options.skip_bad_rows(how & 4 == 4);
        if how & 8 == 8 { options.quote(None) } else { options }
    };
    let read = |block| scan_csv_with(file.path(), options(block)).and_then(|frame| frame.compute());
    match (read(u64::from(*block) + 1), read(1 << 30)) {
        (Ok(cut), Ok(whole)) => {
            assert_eq!(cells(&cut), cells(&whole));
            assert_eq!(cut.skipped_rows(), whole.skipped_rows());
        }
        (Err(_), Err(_)) => {}
        (cut, whole) => panic!("{cut:?} in blocks, {whole:?} as one"),
    }
});
