//! Owns writing arrays to Zarr stores and what is read there again, by Nuna and by zarr-python.

use std::collections::BTreeMap;

use nuna_array::{Array, Chunk};
use nuna_labels::{
    BloscCodec, Compressor, DataArray, Dataset, Encoding, Shuffle, StoreOptions, ZarrFormat, open_zarr,
};
use serde_json::{Value, json};

use crate::{
    arrays::chunks,
    check::{Python, place, same_bits},
    random::{DTYPES, Random},
};

/// One store of a seed: an array of every dtype, of random shape and chunks.
pub(crate) fn differences(seed: u64, python: &mut Python) -> Vec<String> {
    let mut random = Random::new(seed);
    let format = if random.chance(50) { ZarrFormat::V2 } else { ZarrFormat::V3 };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.zarr");
    let mut dataset = Dataset::new();
    let mut written: Vec<(String, Chunk)> = Vec::new();
    for dtype in DTYPES {
        let ndim = random.index(4);
        let shape: Vec<u64> = (0..ndim).map(|_| random.below(9) + u64::from(!random.chance(10))).collect();
        let chunk = random.chunk(dtype, &shape);
        let array = Array::from_chunk_in(chunk.clone(), &chunks(&mut random, &shape)).unwrap();
        let dims = (0..ndim).map(|axis| format!("{dtype}_{axis}"));
        let cut = array.rechunk(&chunks(&mut random, &shape)).unwrap();
        dataset = dataset.assign(dtype.name(), &DataArray::new(cut, dims).unwrap()).unwrap();
        written.push((dtype.name().to_owned(), chunk));
    }
    let mut encoding = BTreeMap::new();
    for (name, chunk) in &written {
        if random.chance(50) {
            encoding.insert(name.clone(), encoded(&mut random, format, chunk));
        }
    }
    let compressor = compressor(&mut random);
    let options = StoreOptions { format, compressor, encoding, ..StoreOptions::default() };
    dataset.to_zarr_with(&path, &options).unwrap();
    let mut found = Vec::new();
    let again = open_zarr(&path).unwrap();
    let mut data = Vec::new();
    let mut steps: Vec<Vec<Value>> = Vec::new();
    for (name, chunk) in &written {
        let back = again.var(name).and_then(|array| array.to_chunk());
        match back {
            Ok(back) if same_bits(&back, chunk) => {}
            other => found.push(format!("seed {seed}: {name} {chunk:?} is read as {other:?}")),
        }
        let code = format!("zarr.open_group({path:?}, mode=\"r\")[{name:?}][...]");
        steps
            .push(vec![json!({"python": code, "operands": [], "ulps": 0, "value": place(chunk, &mut data)})]);
    }
    let programs: Vec<Value> = steps.into_iter().map(Value::from).collect();
    let told = python.ask(&programs, &data);
    let different = told.into_iter().zip(&written).filter_map(|(told, (name, _))| Some((told?, name)));
    found.extend(
        different.map(|((_, told), name)| format!("seed {seed}: zarr-python says of {name}: {told}")),
    );
    found
}

fn compressor(random: &mut Random) -> Compressor {
    match random.index(5) {
        0 => Compressor::None,
        4 => Compressor::Lz4,
        1 => Compressor::Zstd { level: random.range(-3, 9) as i32 },
        2 => Compressor::Gzip { level: random.below(10) as u32 },
        _ => Compressor::Blosc {
            codec: [BloscCodec::Lz4, BloscCodec::Lz4hc, BloscCodec::Zlib, BloscCodec::Zstd][random.index(4)],
            level: random.below(10) as u32,
            shuffle: [Shuffle::None, Shuffle::Byte, Shuffle::Bit][random.index(3)],
        },
    }
}

/// Chunks of their own, in shards or not.
fn encoded(random: &mut Random, format: ZarrFormat, chunk: &Chunk) -> Encoding {
    let chunks: Vec<u64> = chunk.shape().iter().map(|&n| 1 + random.below(n + 1)).collect();
    let v3 = format == ZarrFormat::V3;
    let shards =
        (v3 && random.chance(60)).then(|| chunks.iter().map(|n| n * (1 + random.below(3))).collect());
    Encoding {
        chunks: Some(chunks),
        shards,
        compressor: random.chance(70).then(|| compressor(random)),
        checksum: v3 && random.chance(30),
        delta: chunk.dtype().is_integer() && random.chance(30),
        ..Encoding::default()
    }
}
