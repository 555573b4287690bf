//! Any bytes as a Parquet file: columns or an error, and the same elements whether a column is read from its beginning or some of
//! it is skipped.

#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use nuna_parquet::{Column, Footer, Input, Values};

/// Few bytes may stand for very many rows, which is no fault, only slow.
const ROWS_MAX: u64 = 5000;
const STEP: usize = 77;

/// An element as bits; `None` if it is missing.
fn element(column: &Column, row: usize) -> Option<Vec<u8>> {
    if column.valid.as_ref().is_some_and(|valid| !valid[row]) {
        return None;
    }
    Some(match &column.values {
        Values::Int(v) => v[row].to_le_bytes().to_vec(),
        Values::Float(v) => v[row].to_bits().to_le_bytes().to_vec(),
        Values::Bool(v) => vec![u8::from(v[row])],
        Values::Text(v) => v.get(row).to_vec(),
    })
}

fuzz_target!(|data: &[u8]| {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if file.write_all(data).is_err() {
        return;
    }
    let Ok(input) = Input::open(file.path()) else { return };
    let Ok(footer) = Footer::read(&input) else { return };
    for (number, group) in footer.groups.iter().enumerate().take(4) {
        let rows = group.rows.min(ROWS_MAX) as usize;
        for column in 0..footer.columns.len() {
            let Ok(mut whole) = footer.column(&input, number, column) else { continue };
            let Ok(whole) = whole.read(rows) else { continue };
            assert_eq!(whole.values.len(), rows);
            assert!(whole.valid.as_ref().is_none_or(|valid| valid.len() == rows));
            if let Values::Text(texts) = &whole.values {
                (0..rows).for_each(|row| assert!(std::str::from_utf8(texts.get(row)).is_ok()));
            }
            let Ok(mut parts) = footer.column(&input, number, column) else { panic!("it was there") };
            let (mut at, mut skips) = (0, false);
            while at < rows {
                let step = STEP.min(rows - at);
                if skips {
                    // A page that is not unpacked may hide an error, never make one.
                    parts.skip(step).expect("what was read can be skipped");
                } else {
                    let some = parts.read(step).expect("what was read can be read again");
                    (0..step).for_each(|row| assert_eq!(element(&some, row), element(&whole, at + row)));
                }
                at += step;
                skips = !skips;
            }
        }
    }
});
