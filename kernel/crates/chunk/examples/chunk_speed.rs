//! How fast one thread reduces and computes: `cargo run -p nuna-chunk --example chunk_speed`. Prints GB/s of input.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

use std::time::Instant;

use nuna_chunk::{
    Chunk, DType, Scalar,
    reduce::{Accumulator, NanPolicy, Operation, Reduction},
    tile::{Binary, Builder},
};

fn best(bytes: u64, what: &str, mut run: impl FnMut()) {
    let seconds = (0..5)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!("{what:44} {:6.2} GB/s", bytes as f64 / seconds / 1e9);
}

fn main() {
    let shape = [10u64, 720, 1440];
    let len = shape.iter().product::<u64>() as usize;
    let values: Vec<f32> = (0..len).map(|i| if i % 13 == 0 { f32::NAN } else { (i % 1000) as f32 }).collect();
    let chunk = Chunk::from_slice(&shape, &values);
    let bytes = chunk.byte_count();
    for (name, reduced) in
        [("time", [true, false, false]), ("x", [false, false, true]), ("all", [true, true, true])]
    {
        for (operation, nan) in [
            (Operation::Mean, NanPolicy::Skip),
            (Operation::Mean, NanPolicy::Propagate),
            (Operation::Sum, NanPolicy::Skip),
            (Operation::Std { ddof: 0 }, NanPolicy::Skip),
            (Operation::Max, NanPolicy::Skip),
            (Operation::Min, NanPolicy::Propagate),
            (Operation::Count, NanPolicy::Skip),
        ] {
            let reduction = Reduction { operation, nan, dtype: DType::F32 };
            let mut accumulator = Accumulator::new(reduction, &shape, &reduced).unwrap();
            best(bytes, &format!("{reduction} over {name} of f32 {shape:?}"), || {
                accumulator.update(&chunk, 0).unwrap()
            });
        }
    }
    let mut b = Builder::new();
    let (red, nir) = (b.input(DType::F32), b.input(DType::F32));
    let difference = b.binary(Binary::Sub, DType::F32, nir, red).unwrap();
    let sum = b.binary(Binary::Add, DType::F32, nir, red).unwrap();
    let ratio = b.binary(Binary::Div, DType::F32, difference, sum).unwrap();
    let ndvi = b.finish(ratio);
    best(bytes * 2, "ndvi of two f32", || drop(ndvi.run(&shape, &[chunk.clone(), chunk.clone()]).unwrap()));
    let mut b = Builder::new();
    let x = b.input(DType::F32);
    let two = b.constant(Scalar::Float(2.0), DType::F32);
    let scaled = b.binary(Binary::Mul, DType::F32, x, two).unwrap();
    let scale = b.finish(scaled);
    best(bytes, "f32 times 2", || drop(scale.run(&shape, std::slice::from_ref(&chunk)).unwrap()));
    best(bytes, "transpose (2, 1, 0)", || drop(chunk.transpose(&[2, 1, 0])));
    best(bytes, "cast to f64", || drop(chunk.cast(DType::F64)));
}
