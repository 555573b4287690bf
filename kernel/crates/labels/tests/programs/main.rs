//! Random programs of arrays and labelled arrays, run in Nuna and in NumPy and xarray (`../oracle/programs.py`): dtype, shape,
//! dimensions and labels must be equal, and so must be what either refuses.
//!
//! Each step is compared on the operands that Nuna computed, so that errors do not add up and tolerances are those of one
//! operation:
//!
//! | Operations | Reference | May differ by |
//! | --- | --- | --- |
//! | integers and bools, whatever is done | NumPy | nothing |
//! | `+ - * / // %`, comparisons, selections, moves, casts | NumPy | nothing, also not by the sign of zero |
//! | `min`, `max` over axes | NumPy | which zero of several it is |
//! | `sqrt` | long double, rounded | nothing |
//! | `exp` and `log` families, `sin`, `cos`, `tan` and their inverses, `cbrt`, `hypot`, `atan2`, `**` | long double, rounded | 1 ulp |
//! | `log10`, hyperbolic functions and their inverses | long double, rounded | 2 ulp |
//! | `sum`, `mean` of n floats | long double | n·ε of the sum of magnitudes, ε of `float64` also for `float32`; 1 ulp |
//! | `prod` | long double | n·ε of the product; 1 ulp |
//! | products over axes, of n elements in all | long double | n·ε of the sum of magnitudes; 1 ulp |
//! | Fourier transforms of lines of n | long double | 8(log₂n + 2)·ε·√n of the line's length as a vector |
//! | factors of matrices put together, singular values | NumPy | 16·(m + n)·ε of the largest singular value |
//! | solutions, projections, determinants | NumPy | 64·n·ε times the condition; not compared beyond 10¹⁰ |
//! | `quantile_approx` | NumPy | 1/128 of the element |
//! | weighted sums and means of n floats | long double | 2n·ε of the sum of magnitudes; 1 ulp |
//! | `var`, `std` | long double, two passes | 8n·ε·√(variance · mean square) and its square; 2 ulp |
//!
//! Not compared: casts of NaN and of what an integer cannot hold, sums and products whose parts are beyond `float64`.
//! What one side refuses and the other does not is listed in `programs.py` (`REFUSED`) with the reason.
//!
//! Besides, without Python: optimised equals step by step, and inputs of one chunk give the same bits wherever no floats
//! are added up; no block takes more from the pool than its stage's bound, nor is given more; what is written to Zarr is
//! read again, also by zarr-python. A failing program is made small and printed as code of both sides.
//!
//! `NUNA_PROGRAMS` is how many programs of each kind are run, `NUNA_PROGRAMS_FROM` the first seed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod along;
mod analysis;
mod arrays;
mod check;
mod found;
mod labelled;
mod lookup;
mod matrices;
mod memory;
mod program;
mod random;
mod stored;
mod windows;

use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use check::{Checker, Python};
use nuna_array::Array;
use program::{Choose, LARGE, Program, SMALL};

fn seeds(count: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let from = number("NUNA_PROGRAMS_FROM").unwrap_or(0);
    from..from + number("NUNA_PROGRAMS").unwrap_or(count)
}

fn operations() -> Vec<(u64, Choose<Array>)> {
    [arrays::OPERATIONS, along::OPERATIONS, analysis::OPERATIONS, lookup::OPERATIONS, matrices::OPERATIONS]
        .concat()
}

/// The pool's counters are the process's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn programs_of_arrays_equal_numpys() {
    let _alone = alone();
    let program = |seed| Program::random(seed, SMALL, arrays::inputs, &operations());
    Checker::new(common::python()).check_all(seeds(2000), program);
}

#[test]
fn programs_of_labelled_arrays_equal_xarrays() {
    let _alone = alone();
    let operations = [labelled::OPERATIONS, windows::OPERATIONS].concat();
    let program = |seed| Program::random(seed, SMALL, labelled::inputs, &operations);
    Checker::new(common::python()).check_all(seeds(600), program);
}

#[test]
fn no_block_takes_more_memory_than_its_bound() {
    let _alone = alone();
    let mut found = Vec::new();
    for seed in seeds(60) {
        let program = Program::random(seed, LARGE, arrays::large_inputs, &operations());
        // From the first step on, so that the one that is wrong is the last.
        let wrong = (1..=program.steps.len()).find_map(|count| {
            let first = Program { seed, steps: program.steps[..count].to_vec() };
            Some((first.outline(), memory::beyond_bound(&first)?))
        });
        found.extend(wrong.map(|(code, message)| format!("seed {seed}: {message}\n{code}")));
    }
    assert!(
        found.is_empty(),
        "{} programs, such as\n{}",
        found.len(),
        found[..found.len().min(8)].join("\n\n")
    );
}

#[test]
fn what_is_written_is_read_again_also_by_zarr_python() {
    let _alone = alone();
    let mut python = Python::start(common::python());
    let found: Vec<String> = seeds(25).flat_map(|seed| stored::differences(seed, &mut python)).collect();
    assert!(found.is_empty(), "{} arrays, such as\n{}", found.len(), found[..found.len().min(8)].join("\n"));
}
