//! Arrays on so many workers, or on the threads of this process for 0: `arrays WORKERS`.
use nuna::{Array, Block, Chunk, DType, MapBlocks, prelude::*};

pub fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let workers: usize = arguments[0].parse()?;
    let cluster = match workers {
        0 => None,
        workers => Some(Cluster::local().workers(workers).threads(1).memory("512MB").start()?),
    };
    let x = Array::arange(0.0, 0.001, 1_000_000).rechunk(&[7_000])?;
    let wave = x.sin()?.mul(&x)?.add(0.25)?;
    print("mean", &wave.mean(&[0])?)?;
    print("std", &wave.std(&[0])?)?;
    print("max", &wave.max(&[0])?)?;

    let damping = 0.5_f64;
    let options = MapBlocks { name: "damp".to_owned(), dtype: DType::F64, chunks: None };
    let damped = wave.map_blocks(options, move |block: Block| {
        let input = &block.inputs[0];
        let elements = input.elements::<f64>().map_err(|error| error.to_string())?;
        let output: Vec<f64> = elements.iter().map(|x| x * damping).collect();
        Ok(Chunk::from_slice(input.shape(), &output))
    })?;
    print("damped", &damped.mean(&[0])?)?;

    let held = damped.persist()?;
    print("held", &held.rechunk(&[100_000])?.sum(&[0])?)?;

    let options = MapBlocks { name: "fail".to_owned(), dtype: DType::F64, chunks: None };
    let failing = wave.map_blocks(options, |block: Block| {
        if block.index == 3 { Err(format!("nothing to be done about block {}", block.index)) } else { Ok(block.inputs[0].clone()) }
    })?;
    match failing.compute() {
        Ok(_) => println!("it did not fail"),
        Err(error) => println!("{error}"),
    }
    if let Some(cluster) = cluster {
        cluster.shutdown();
    }
    Ok(())
}

fn print(name: &str, array: &Array) -> Result<(), Box<dyn std::error::Error>> {
    let value = array.compute()?.to_vec::<f64>()[0];
    println!("{name} {value} {:016x}", value.to_bits());
    Ok(())
}
