//! A cell with a type and a function of its own, run as a task farm: `farm WORKERS`.
use nuna::prelude::*;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(crate = "nuna::serde")]
pub struct Orbit {
    pub start: f64,
    pub steps: u32,
}

pub fn logistic(rate: f64, orbit: &Orbit) -> f64 {
    (0..orbit.steps).fold(orbit.start, |x, _| rate * x * (1.0 - x))
}

pub fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::local().workers(arguments[0].parse()?).threads(1).memory("512MB").start()?;
    let rate = 3.9_f64;
    let orbits = grid!(Orbit { start: [0.1, 0.2, 0.3], steps: 0..200 });
    let ends = cluster.map(orbits, move |orbit: Orbit| logistic(rate, &orbit)).gather()?;
    let bits = ends.iter().fold(0_u64, |hash, x| hash.rotate_left(5) ^ x.to_bits());
    println!("{} orbits, {bits:016x}", ends.len());

    // Something on the heap, lent to each call; and a closure that ran where it says it did.
    let table = vec![2.0_f64, 3.0, 5.0];
    let primes = cluster.map_with(captures!(table), 0..3_usize, |table, i: usize| (table[i], std::process::id()));
    let (values, pids): (Vec<f64>, Vec<u32>) = primes.gather()?.into_iter().unzip();
    println!("{values:?}, here: {}", pids.contains(&std::process::id()));
    let path = cluster.map([()], |()| std::env::var("PATH").unwrap_or_default()).gather()?;
    println!("workers' PATH: {:?}", path[0]);

    let failed = cluster.map(0..4_i32, |i: i32| 12 / (2 - i)).named("divide").outcomes()?;
    for outcome in failed {
        match outcome {
            Ok(value) => println!("{value}"),
            Err(error) => println!("{error}"),
        }
    }
    cluster.shutdown();
    Ok(())
}
