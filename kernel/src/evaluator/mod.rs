//! Owns the evaluation of cells: reading them (`split`, `item`, `uses`, `loops`), what earlier ones left behind (`known`),
//! writing the crate around them (`glue`), compiling it (`compile`), and the process that runs it (`process`). `direct`
//! joins them; what people read is made in `failure`, `render` and `places`.

mod body;
mod build;
mod commands;
pub mod compile;
pub mod direct;
pub mod failure;
pub mod folder;
pub mod glue;
pub mod item;
pub mod keep;
pub mod known;
pub mod linker;
pub mod loops;
pub mod places;
pub mod positions;
pub mod process;
pub mod render;
pub mod repair;
pub mod runtime;
pub mod split;
pub mod types;
pub mod uses;
