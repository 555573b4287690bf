//! A connection that says anything at all: frames are read one after another until one is refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuna_wire::{FrameReader, Limits, ValueShape, message::Greeting, payload::unpack};

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    // Mostly what begins as a frame of a sensible length, so that what comes after that is reached.
    if bytes.len() > 16 && bytes[0] != b'n' {
        bytes[..4].copy_from_slice(b"nuna");
        bytes[6..8].fill(0);
        bytes[10..16].fill(0);
    }
    let limits = Limits { header_bytes_max: 1 << 16, payload_bytes_max: 1 << 16 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.block_on(async {
        let mut reader = FrameReader::new(bytes.as_slice(), limits);
        while let Ok(Some((_, payload))) = reader.read::<Greeting>().await {
            let shape = ValueShape { header: data.len() as u32, body: u64::from(bytes[8]) };
            let _ = unpack(&payload, [shape, shape]);
        }
    });
});
