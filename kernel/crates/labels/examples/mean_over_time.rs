//! Mean over time of one variable of a Zarr store, on the threads of this process:
//! `cargo run -p nuna-labels --example mean_over_time STORE [VARIABLE]`. Prints the plan and seconds.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::{error::Error, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let store = arguments.next().ok_or("which store?")?;
    let variable = arguments.next().unwrap_or_else(|| "theta".to_owned());
    let mean = nuna_labels::open_zarr(&store)?.var(&variable)?.mean(["time"])?;
    println!("{}", mean.array().explain()?);
    for _ in 0..3 {
        let start = Instant::now();
        let chunk = mean.array().compute()?;
        println!("{:?} in {:.3} s", chunk.shape(), start.elapsed().as_secs_f64());
    }
    Ok(())
}
