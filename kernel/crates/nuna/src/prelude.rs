//! What a notebook starts with: `use nuna::prelude::*;`.

pub use crate::{MapTasks, Tasks, captures, grid};
pub use crate::serde::{Deserialize, Serialize};
