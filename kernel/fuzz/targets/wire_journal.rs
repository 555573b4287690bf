//! A journal as a killed scheduler, a full disk or anybody else may have left it. What can be read comes to a state, and
//! that state's records come to the same state again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuna_scheduler::journal::{Image, MAGIC, Record, decode, encode};

fuzz_target!(|data: &[u8]| {
    let _ = decode(data);
    // Checksums that fit, so that what is behind them is reached: pieces of the input, each as one record's content.
    let mut bytes = MAGIC.to_vec();
    for piece in data.split(|&byte| byte == 0xff) {
        if let Ok(record) = postcard::from_bytes::<Record>(piece) {
            encode(&record, &mut bytes);
        }
    }
    let (records, damage) = decode(&bytes);
    assert!(damage.is_none(), "what was written is read back: {damage:?}");
    let (image, _) = Image::of(records);
    let (again, refused) = Image::of(image.records());
    assert_eq!(refused, 0, "a state's own records fit together");
    assert!(again.records().eq(image.records()));
});
