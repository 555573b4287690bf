//! A connection that says anything at all: frames are read one after another until one is refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuna_wire::{FrameReader, Limits, ValueShape, frame::unpack, message::Greeting};

fuzz_target!(|data: &[u8]| {
    let limits = Limits { header_bytes_max: 1 << 16, payload_bytes_max: 1 << 16 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.block_on(async {
        let mut reader = FrameReader::new(data, limits);
        while let Ok(Some((_, payload))) = reader.read::<Greeting>().await {
            let shape = ValueShape { header: data.len() as u32, body: u64::from(data[0]) };
            let _ = unpack(&payload, [shape, shape]);
        }
    });
});
