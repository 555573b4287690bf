//! Owns shapes and boxes of elements: what part of an array a block covers.

use std::{fmt, ops::Range};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Lengths of the axes.
pub type Shape = SmallVec<[u64; 6]>;

/// A box of elements: one half-open range per axis. No axes: the one element of a scalar.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Region(SmallVec<[Range<u64>; 6]>);

impl Region {
    pub fn new(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        Self(ranges.into_iter().map(|r| r.start..r.end.max(r.start)).collect())
    }

    /// All of an array of this shape.
    pub fn all(shape: &[u64]) -> Self {
        Self(shape.iter().map(|&n| 0..n).collect())
    }

    pub fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    pub fn ndim(&self) -> usize {
        self.0.len()
    }

    /// First element along each axis.
    pub fn start(&self) -> Shape {
        self.0.iter().map(|r| r.start).collect()
    }

    pub fn shape(&self) -> Shape {
        self.0.iter().map(|r| r.end - r.start).collect()
    }

    /// Elements in the box.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|r| r.end - r.start).product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is inside an array of this shape.
    pub fn fits(&self, shape: &[u64]) -> bool {
        self.0.len() == shape.len() && self.0.iter().zip(shape).all(|(r, &n)| r.end <= n)
    }

    /// The part both cover; empty if they do not touch.
    pub fn intersect(&self, other: &Region) -> Region {
        Region::new(self.0.iter().zip(&other.0).map(|(a, b)| {
            let start = a.start.max(b.start);
            start..a.end.min(b.end).max(start)
        }))
    }

    /// The same box counted from `origin`.
    ///
    /// # Panics
    /// If the box starts before `origin`.
    pub fn relative_to(&self, origin: &[u64]) -> Region {
        Region::new(self.0.iter().zip(origin).map(|(r, &o)| {
            assert!(r.start >= o, "box {self} starts before {origin:?}");
            r.start - o..r.end - o
        }))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, r) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}:{}", r.start, r.end)?;
        }
        f.write_str("]")
    }
}
