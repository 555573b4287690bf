//! A store of time slabs becomes one of tiles that hold all times, on workers with little memory:
//! `rechunk FOLDER WORKERS MEMORY TIMES SIDE TILE`. Prints what each worker's process took at most, and whether every bit is
//! as it was.
use nuna::{Array, Block, Chunk, ChunkGrid, Compressor, DType, DataArray, MapBlocks, StoreOptions, prelude::*};

/// Times of a slab.
const DEPTH: u64 = 4;

pub fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::path::Path::new(&arguments[0]);
    let number = |at: usize| arguments[at].parse::<u64>();
    let (workers, times, side, tile) = (number(1)?, number(3)?, number(4)?, number(5)?);
    let (slabs, tiles) = (folder.join("slabs.zarr"), folder.join("tiles.zarr"));

    // On the threads of this process: the cluster comes later.
    field(times, side)?.to_zarr_with(&slabs, &StoreOptions { compressor: Compressor::Zstd { level: 1 }, ..StoreOptions::default() })?;
    let cluster = Cluster::local().workers(workers as usize).threads(1).memory(arguments[2].as_str()).start()?;
    let source = open_zarr(&slabs)?.var("field")?;
    let wanted = source.rechunk([("time", -1), ("y", tile as i64), ("x", tile as i64)])?;
    wanted.to_zarr_with(&tiles, &StoreOptions { compressor: Compressor::Zstd { level: 1 }, ..StoreOptions::default() })?;
    for worker in cluster.info().workers {
        let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak")?;
        let kilobytes: u64 = peak.trim().trim_end_matches("kB").trim().parse()?;
        println!("worker peak {} of {} bytes", kilobytes * 1024, worker.memory_bytes);
    }
    cluster.shutdown();

    let written = open_zarr(&tiles)?.var("field")?;
    println!("bytes {}", written.nbytes());
    let (mut different, mut missing) = (0, 0);
    // Each band decodes all of the slabs.
    let height = 4 * tile;
    for start in (0..side).step_by(height as usize) {
        let band = |array: &DataArray| -> Result<Vec<f32>, Box<dyn std::error::Error>> {
            let band = array.isel("y", slice(start as i64, (start + height).min(side) as i64, 1))?;
            Ok(band.array().compute()?.to_vec::<f32>())
        };
        let (before, after) = (band(&source)?, band(&written)?);
        assert_eq!(before.len(), after.len());
        different += before.iter().zip(&after).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        missing += before.iter().filter(|value| value.is_nan()).count();
    }
    println!("different {different}");
    println!("missing {missing}");
    Ok(())
}

/// Temperatures to a hundredth of a degree, with noise, and land where nothing is measured.
fn field(times: u64, side: u64) -> Result<DataArray, Box<dyn std::error::Error>> {
    let slabs = Array::full(&[times / DEPTH, 1, 1], 0_u8, DType::U8).rechunk(&[1, 1, 1])?;
    let options = MapBlocks {
        name: "field".to_owned(),
        dtype: DType::F32,
        chunks: Some(ChunkGrid::regular(&[times, side, side], &[DEPTH, side, side])?),
    };
    let values = slabs.map_blocks(options, move |block: Block| {
        let mut state = block.index.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut values = Vec::with_capacity((DEPTH * side * side) as usize);
        for y in (0..DEPTH).flat_map(|_| 0..side) {
            for x in 0..side {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let land = (x / 40 + y / 56) % 4 == 0;
                let wave = 2000 + (y * 5 / 2) as i64 - ((x + 3 * block.index) % 360) as i64;
                values.push(if land { f32::NAN } else { (wave + (state % 16) as i64) as f32 / 100.0 });
            }
        }
        Ok(Chunk::from_slice(&[DEPTH, side, side], &values))
    })?;
    Ok(DataArray::new(values, ["time", "y", "x"])?.named("field"))
}
