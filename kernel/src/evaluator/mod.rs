//! Owns the evaluation of cells: reading them (`split`), writing the crate around them (`glue`), compiling it
//! (`compile`), and the process that runs it (`process`). `direct` joins them.

pub mod compile;
pub mod direct;
pub mod glue;
pub mod process;
pub mod render;
pub mod runtime;
pub mod split;
