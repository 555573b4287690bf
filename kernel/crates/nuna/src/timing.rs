//! Owns `%timeit`: how long a piece of code takes when it is run often.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Runs whose mean is taken.
const RUNS: usize = 7;
/// One run lasts at least so long, so that the clock's own steps do not matter.
const RUN_LASTS: Duration = Duration::from_millis(100);

/// What [`time_it`] measured; shown as IPython shows it.
pub struct Timings {
    /// Seconds for each loop, one for each run.
    runs: Vec<f64>,
    loops: u64,
}

/// Runs `code` until it is known how long it takes. Stops at an interrupt, as loops do.
pub fn time_it<T>(code: &mut impl FnMut() -> T) -> Timings {
    let mut time = |loops: u64| {
        let begun = Instant::now();
        for _ in 0..loops {
            std::hint::black_box(code());
        }
        crate::cell::check();
        begun.elapsed()
    };
    let mut loops = 1;
    // What is slow is run no more often than it has to be: 1, 2, 5, 10, 20, 50, …
    while time(loops) < RUN_LASTS && loops < 1_000_000_000 {
        loops = if loops.to_string().starts_with('2') { loops / 2 * 5 } else { loops * 2 };
    }
    let runs = (0..RUNS).map(|_| time(loops).as_secs_f64() / loops as f64).collect();
    Timings { runs, loops }
}

impl fmt::Debug for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.runs.len() as f64;
        let mean = self.runs.iter().sum::<f64>() / count;
        let deviation = (self.runs.iter().map(|run| (run - mean).powi(2)).sum::<f64>() / count).sqrt();
        let loops = if self.loops == 1 { "1 loop".to_owned() } else { format!("{} loops", self.loops) };
        write!(
            f,
            "{} ± {} per loop (mean ± std. dev. of {} runs, {loops} each)",
            readable(mean),
            readable(deviation),
            self.runs.len(),
        )
    }
}

/// Three digits and a unit.
fn readable(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s if s >= 1e-6 => (s * 1e6, "µs"),
        s => (s * 1e9, "ns"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}
