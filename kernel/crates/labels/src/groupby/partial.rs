//! Owns reductions of groups that need each element once. Every block reduces its own elements to partial results of
//! the groups it holds; these merge in a tree whose shape depends on the chunks alone, so results are the same to the
//! last bit whatever computes them. Where groups follow each other along the axis, as days and months of a series do,
//! each is finished in a block of its neighbourhood, and no block ever holds all groups.

use nuna_array::{Array, Block, ChunkGrid, MapBlocks};
use nuna_chunk::{Chunk, ChunkMut, DType, Ordered};
use serde::{Deserialize, Serialize};

use super::distinct;
use crate::Result;

/// Partial results of a group that are merged at a time.
const FAN: usize = 8;
/// Cells of a line that are reduced at a time: accumulators of one group stay in the first cache.
const TILE: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum GroupOp {
    Sum,
    Prod,
    Mean,
    Min,
    Max,
    Count,
    Var,
    Std,
    First,
    Last,
    Any,
    All,
}

impl GroupOp {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Prod => "prod",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::Var => "var",
            Self::Std => "std",
            Self::First => "first",
            Self::Last => "last",
            Self::Any => "any",
            Self::All => "all",
        }
    }

    fn is_moment(self) -> bool {
        matches!(self, Self::Var | Self::Std)
    }

    /// Numbers per group and cell while partial: a value and a count, and the sum of squares.
    fn parts(self) -> usize {
        if self.is_moment() { 3 } else { 2 }
    }

    /// The dtype of results where every group has elements.
    fn output(self, dtype: DType) -> DType {
        match self {
            Self::Count => DType::I64,
            Self::Any | Self::All => DType::Bool,
            Self::Min | Self::Max | Self::First | Self::Last => dtype,
            Self::Sum | Self::Prod if dtype.is_float() => dtype,
            Self::Sum | Self::Prod if dtype.name().starts_with('u') => DType::U64,
            Self::Sum | Self::Prod => DType::I64,
            Self::Mean | Self::Var | Self::Std => dtype.to_float(),
        }
    }

    /// The dtype of partial results: integers stay exact where the result is one.
    fn work(self, dtype: DType) -> DType {
        match self {
            _ if dtype.is_float() => DType::F64,
            Self::Sum | Self::Prod | Self::Min | Self::Max | Self::First | Self::Last => {
                if dtype.name().starts_with('u') { DType::U64 } else { DType::I64 }
            }
            Self::Mean | Self::Count | Self::Var | Self::Std | Self::Any | Self::All => DType::F64,
        }
    }
}

/// What is reduced, and how.
pub(super) struct Task<'a> {
    pub(super) source: &'a Array,
    pub(super) axis: usize,
    /// The group of every position along the axis.
    pub(super) codes: &'a [u32],
    /// How many groups there are, those without elements too.
    pub(super) labels: u32,
    pub(super) op: GroupOp,
    pub(super) skipna: bool,
    pub(super) ddof: u32,
    /// For `explain`: `mean(month)`.
    pub(super) name: String,
}

/// What the blocks' functions are told.
#[derive(Serialize, Deserialize)]
struct Environment {
    op: GroupOp,
    skipna: bool,
    ddof: u32,
    axis: usize,
    /// Blocks along each axis.
    grid: Vec<u64>,
    /// Per block along the axis, the group of each element, and in later passes of each partial result.
    children: Vec<Vec<u32>>,
    /// Per block the groups that it finishes, from the first to before the second; nothing while results are partial.
    finish: Option<Vec<(u32, u32)>>,
    output: DType,
}

impl Environment {
    fn along(&self, block: u64) -> usize {
        let grid = nuna_plan::BlockGrid::new(self.grid.iter().copied());
        usize::try_from(grid.coords(block)[self.axis]).unwrap_or(0)
    }
}

/// The groups that each of the blocks finishes, where no group is in two of them.
fn ranges(sets: &[Vec<u32>], labels: u32) -> Vec<(u32, u32)> {
    let start = |at: usize| match sets.get(at).and_then(|set| set.first()) {
        Some(_) if at == 0 => 0,
        Some(&first) => first,
        None => labels,
    };
    (0..sets.len()).map(|at| (start(at), start(at + 1))).collect()
}

/// Cuts a sorted list of groups so that the partial results of one are in one block, or in blocks of [`FAN`] where they
/// are more; says whether the former is true of all.
fn packed(entries: &[u32], longest: usize) -> (Vec<Vec<u32>>, bool) {
    let mut blocks: Vec<Vec<u32>> = Vec::new();
    let mut open: Vec<u32> = Vec::new();
    let mut last = true;
    for run in entries.chunk_by(|a, b| a == b) {
        if !open.is_empty() && (run.len() > FAN || open.len() + run.len() > longest) {
            blocks.push(std::mem::take(&mut open));
        }
        if run.len() > FAN {
            last = false;
            blocks.extend(run.chunks(FAN).map(<[u32]>::to_vec));
        } else {
            open.extend_from_slice(run);
        }
    }
    if !open.is_empty() {
        blocks.push(open);
    }
    (blocks, last)
}

/// Adds the passes over the array. Every position must be in a group, and there must be one.
pub(super) fn reduce(task: &Task<'_>) -> Result<Array> {
    let Task { source, axis, codes, labels, op, .. } = *task;
    let complete = distinct(codes.iter().copied()).len() == labels as usize;
    let output = match op.output(source.dtype()) {
        // As in xarray, groups without elements are NaN. Nothing of nothing is true, and all of it.
        dtype if !complete && !matches!(op, GroupOp::Any | GroupOp::All) => dtype.to_float(),
        dtype => dtype,
    };
    let work = op.work(source.dtype());
    let mut lengths = source.chunks().chunk_lengths();
    let mut start = 0;
    let mut children: Vec<Vec<u32>> = lengths[axis]
        .iter()
        .map(|&n| {
            let from = start;
            start += usize::try_from(n).unwrap_or(0);
            codes[from..start].to_vec()
        })
        .collect();
    let mut array = source.clone();
    let mut first = true;
    loop {
        let sets: Vec<Vec<u32>> = children.iter().map(|codes| distinct(codes.iter().copied())).collect();
        let apart = sets.windows(2).all(|pair| pair[0].last() < pair[1].first());
        let finish = apart.then(|| ranges(&sets, labels));
        let environment = Environment {
            op,
            skipna: task.skipna,
            ddof: task.ddof,
            axis,
            grid: lengths.iter().map(|axis| axis.len() as u64).collect(),
            children,
            finish,
            output,
        };
        let parts = op.parts() as u64;
        lengths[axis] = match &environment.finish {
            Some(ranges) => ranges.iter().map(|(from, to)| u64::from(to - from)).collect(),
            None => sets.iter().map(|set| set.len() as u64 * parts).collect(),
        };
        let options = MapBlocks {
            name: task.name.clone(),
            dtype: if apart { output } else { work },
            chunks: Some(grid(&lengths)?),
        };
        array = if first {
            array.map_blocks_with(options, &environment, |env, block| elements(env, &block))?
        } else {
            array.map_blocks_with(options, &environment, |env, block| partials(env, &block))?
        };
        if apart {
            return Ok(array);
        }
        first = false;
        let sorted = sets.windows(2).all(|pair| pair[0].last() <= pair[1].first());
        children = if sorted {
            let longest = sets.iter().map(Vec::len).max().unwrap_or(0).max(FAN);
            packed(&sets.concat(), longest).0
        } else {
            sets.chunks(FAN).map(<[Vec<u32>]>::concat).collect()
        };
        lengths[axis] = children.iter().map(|codes| codes.len() as u64 * parts).collect();
        array = array.rechunk_to(grid(&lengths)?);
    }
}

fn grid(lengths: &[Vec<u64>]) -> Result<ChunkGrid> {
    let shape: Vec<u64> = lengths.iter().map(|axis| axis.iter().sum()).collect();
    Ok(ChunkGrid::listed(&shape, lengths)?)
}

/// What partial results are counted in.
trait Number: Ordered {
    const ZERO: Self;
    const ONE: Self;
    const LEAST: Self;
    const GREATEST: Self;
    fn is_absent(self) -> bool;
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn over(self, other: Self) -> Self;
    fn whole(n: u32) -> Self;
    fn float(self) -> f64;
}

impl Number for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const LEAST: f64 = f64::NEG_INFINITY;
    const GREATEST: f64 = f64::INFINITY;
    fn is_absent(self) -> bool {
        self.is_nan()
    }
    fn plus(self, other: f64) -> f64 {
        self + other
    }
    fn times(self, other: f64) -> f64 {
        self * other
    }
    fn minus(self, other: f64) -> f64 {
        self - other
    }
    fn over(self, other: f64) -> f64 {
        self / other
    }
    fn whole(n: u32) -> f64 {
        f64::from(n)
    }
    fn float(self) -> f64 {
        self
    }
}

macro_rules! integer {
    ($($t:ty),*) => {$(
        /// Sums and products wrap, as in NumPy.
        impl Number for $t {
            const ZERO: $t = 0;
            const ONE: $t = 1;
            const LEAST: $t = <$t>::MIN;
            const GREATEST: $t = <$t>::MAX;
            fn is_absent(self) -> bool {
                false
            }
            fn plus(self, other: $t) -> $t {
                self.wrapping_add(other)
            }
            fn times(self, other: $t) -> $t {
                self.wrapping_mul(other)
            }
            fn minus(self, other: $t) -> $t {
                self.wrapping_sub(other)
            }
            fn over(self, other: $t) -> $t {
                self.checked_div(other).unwrap_or(0)
            }
            fn whole(n: u32) -> $t {
                n.into()
            }
            #[expect(clippy::cast_precision_loss, reason = "a group without elements makes floats of all, as in xarray")]
            fn float(self) -> f64 {
                self as f64
            }
        }
    )*};
}
integer!(i64, u64);

/// A value, a count and a sum of squares for each of some cells of one group.
type Cells<'a, A> = (&'a mut [A], &'a mut [A], &'a mut [A]);

/// Partial results, `groups × parts × inner` numbers for each outer index, in a chunk that can leave as it is.
struct Partials<'a, A> {
    op: GroupOp,
    skipna: bool,
    /// Sorted.
    groups: Vec<u32>,
    outer: usize,
    inner: usize,
    data: &'a mut [A],
}

impl<'a, A: Number> Partials<'a, A> {
    /// `data` must be zeros.
    fn new(env: &Environment, groups: Vec<u32>, (outer, inner): (usize, usize), data: &'a mut [A]) -> Self {
        let parts = env.op.parts();
        let start = match env.op {
            GroupOp::Min => A::GREATEST,
            GroupOp::Max => A::LEAST,
            GroupOp::Prod | GroupOp::All => A::ONE,
            _ => A::ZERO,
        };
        if start != A::ZERO && inner > 0 {
            data.chunks_exact_mut(parts * inner).for_each(|cell| cell[..inner].fill(start));
        }
        Self { op: env.op, skipna: env.skipna, groups, outer, inner, data }
    }

    /// For each group, the places of its children in their order.
    fn members(&self, codes: &[u32]) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.groups.len()];
        for (place, code) in codes.iter().enumerate() {
            if let Ok(group) = self.groups.binary_search(code) {
                members[group].push(place);
            }
        }
        members
    }

    /// The parts of one group at one outer index, cells `from..to`.
    fn cells(&mut self, outer: usize, group: usize, from: usize, to: usize) -> Cells<'_, A> {
        let (inner, parts) = (self.inner, self.op.parts());
        let start = (outer * self.groups.len() + group) * parts * inner;
        let (a, rest) = self.data[start..start + parts * inner].split_at_mut(inner);
        let (n, m2) = rest.split_at_mut(inner);
        let m2 = if parts == 3 { &mut m2[from..to] } else { &mut [] };
        (&mut a[from..to], &mut n[from..to], m2)
    }

    /// Takes in every element. Those of a group come in their order, whatever the tiles.
    fn fill<T: Copy + Into<A>>(&mut self, codes: &[u32], elements: &[T]) {
        let members = self.members(codes);
        let (op, skipna, length, inner) = (self.op, self.skipna, codes.len(), self.inner);
        for outer in 0..self.outer {
            for from in (0..inner).step_by(TILE) {
                let to = (from + TILE).min(inner);
                for (group, members) in members.iter().enumerate() {
                    let (a, n, m2) = self.cells(outer, group, from, to);
                    for &place in members {
                        let start = (outer * length + place) * inner;
                        let line = &elements[start + from..start + to];
                        Self::update(op, skipna, (&mut *a, &mut *n, &mut *m2), line);
                    }
                }
            }
        }
    }

    /// One line of elements of one group.
    fn update<T: Copy + Into<A>>(op: GroupOp, skipna: bool, (a, n, m2): Cells<'_, A>, line: &[T]) {
        let both = a.iter_mut().zip(n).zip(line.iter().map(|&x| -> A { x.into() }));
        match op {
            GroupOp::Sum | GroupOp::Mean if skipna => {
                for ((a, n), x) in both {
                    let present = !x.is_absent();
                    *a = a.plus(if present { x } else { A::ZERO });
                    *n = n.plus(if present { A::ONE } else { A::ZERO });
                }
            }
            GroupOp::Sum | GroupOp::Mean => {
                for ((a, n), x) in both {
                    *a = a.plus(x);
                    *n = n.plus(A::ONE);
                }
            }
            GroupOp::Count => {
                for ((_, n), x) in both {
                    *n = n.plus(if x.is_absent() { A::ZERO } else { A::ONE });
                }
            }
            GroupOp::Prod => {
                for ((a, n), x) in both {
                    let taken = !x.is_absent() || !skipna;
                    *a = a.times(if taken { x } else { A::ONE });
                    *n = n.plus(if taken { A::ONE } else { A::ZERO });
                }
            }
            GroupOp::Min | GroupOp::Max => {
                let min = op == GroupOp::Min;
                for ((a, n), x) in both {
                    if x.is_absent() {
                        if !skipna {
                            *a = x;
                            *n = n.plus(A::ONE);
                        }
                        continue;
                    }
                    if if min { x < *a } else { x > *a } {
                        *a = x;
                    }
                    *n = n.plus(A::ONE);
                }
            }
            GroupOp::First => {
                for ((a, n), x) in both {
                    if *n == A::ZERO && (!skipna || !x.is_absent()) {
                        (*a, *n) = (x, A::ONE);
                    }
                }
            }
            GroupOp::Last => {
                for ((a, n), x) in both {
                    if !skipna || !x.is_absent() {
                        (*a, *n) = (x, A::ONE);
                    }
                }
            }
            // As in NumPy, a NaN is true.
            GroupOp::Any => {
                for ((a, n), x) in both {
                    (*a, *n) = (if x != A::ZERO { A::ONE } else { *a }, A::ONE);
                }
            }
            GroupOp::All => {
                for ((a, n), x) in both {
                    (*a, *n) = (if x != A::ZERO { *a } else { A::ZERO }, A::ONE);
                }
            }
            // Welford's way.
            GroupOp::Var | GroupOp::Std => {
                for (((mean, n), x), m2) in both.zip(m2) {
                    if x.is_absent() && skipna {
                        continue;
                    }
                    *n = n.plus(A::ONE);
                    let delta = x.minus(*mean);
                    *mean = mean.plus(delta.over(*n));
                    *m2 = m2.plus(delta.times(x.minus(*mean)));
                }
            }
        }
    }

    /// Takes in partial results, the groups of which are `codes`.
    fn merge(&mut self, codes: &[u32], partial: &[A]) {
        let members = self.members(codes);
        let (op, inner, parts) = (self.op, self.inner, self.op.parts());
        for (outer, from) in
            (0..self.outer).flat_map(|outer| (0..inner).step_by(TILE).map(move |from| (outer, from)))
        {
            let to = (from + TILE).min(inner);
            for (group, members) in members.iter().enumerate() {
                let (a, n, m2) = self.cells(outer, group, from, to);
                for &place in members {
                    let start = (outer * codes.len() + place) * parts * inner;
                    let part = |p: usize| &partial[start + p * inner + from..start + p * inner + to];
                    let theirs = (part(0), part(1), if parts == 3 { part(2) } else { &[][..] });
                    Self::join(op, (&mut *a, &mut *n, &mut *m2), theirs);
                }
            }
        }
    }

    fn join(op: GroupOp, (a, n, m2): Cells<'_, A>, (a2, n2, m22): (&[A], &[A], &[A])) {
        // Chan's formula for the union of two samples.
        if op.is_moment() {
            for ((((mean, n), m2), (&mean2, &n2)), &m22) in
                a.iter_mut().zip(n).zip(m2).zip(a2.iter().zip(n2)).zip(m22)
            {
                if n2 == A::ZERO {
                    continue;
                }
                let total = n.plus(n2);
                let delta = mean2.minus(*mean);
                *m2 = m2.plus(m22.plus(delta.times(delta).times(n.times(n2).over(total))));
                *mean = mean.plus(delta.times(n2.over(total)));
                *n = total;
            }
            return;
        }
        let both = a.iter_mut().zip(n).zip(a2.iter().zip(n2));
        for ((a, n), (&a2, &n2)) in both {
            *a = match op {
                GroupOp::Sum | GroupOp::Mean | GroupOp::Count | GroupOp::Var | GroupOp::Std => a.plus(a2),
                GroupOp::Prod | GroupOp::All => a.times(a2),
                GroupOp::Min if a2 < *a || a2.is_absent() => a2,
                GroupOp::Max if a2 > *a || a2.is_absent() => a2,
                GroupOp::First if *n == A::ZERO => a2,
                GroupOp::Last if n2 != A::ZERO => a2,
                GroupOp::Any if a2 != A::ZERO => a2,
                GroupOp::Min | GroupOp::Max | GroupOp::First | GroupOp::Last | GroupOp::Any => *a,
            };
            *n = n.plus(n2);
        }
    }

    /// Writes the results of the groups `from..to`.
    fn finish(&self, (from, to): (u32, u32), ddof: u32, absent: A, out: &mut [A]) {
        let (inner, parts) = (self.inner, self.op.parts());
        if inner == 0 {
            return;
        }
        let mut lines = out.chunks_exact_mut(inner);
        for outer in 0..self.outer {
            for (label, out) in (from..to).zip(lines.by_ref()) {
                let Ok(group) = self.groups.binary_search(&label) else {
                    // Nothing of nothing is true.
                    out.fill(match self.op {
                        GroupOp::Any => A::ZERO,
                        GroupOp::All => A::ONE,
                        _ => absent,
                    });
                    continue;
                };
                let start = (outer * self.groups.len() + group) * parts * inner;
                let cell = &self.data[start..start + parts * inner];
                let (a, n) = (&cell[..inner], &cell[inner..2 * inner]);
                let both = out.iter_mut().zip(a.iter().zip(n));
                match self.op {
                    GroupOp::Sum | GroupOp::Prod | GroupOp::Any | GroupOp::All => out.copy_from_slice(a),
                    GroupOp::Count => out.copy_from_slice(n),
                    GroupOp::Mean => both.for_each(|(out, (&a, &n))| *out = a.over(n)),
                    GroupOp::Min | GroupOp::Max | GroupOp::First | GroupOp::Last => {
                        both.for_each(|(out, (&a, &n))| *out = if n == A::ZERO { absent } else { a });
                    }
                    GroupOp::Var | GroupOp::Std => {
                        let ddof = A::whole(ddof);
                        for ((out, (_, &n)), m2) in both.zip(&cell[2 * inner..]) {
                            *out = if n > ddof { m2.over(n.minus(ddof)) } else { absent };
                        }
                    }
                }
            }
        }
    }
}

/// Extents before an axis, along it and after it.
fn extents(shape: &[u64], axis: usize) -> (usize, usize, usize) {
    let count = |shape: &[u64]| usize::try_from(shape.iter().product::<u64>()).unwrap_or(usize::MAX);
    (count(&shape[..axis]), count(&shape[axis..=axis]), count(&shape[axis + 1..]))
}

fn with_length(shape: &[u64], axis: usize, length: usize) -> Vec<u64> {
    let mut shape = shape.to_vec();
    shape[axis] = length as u64;
    shape
}

/// Makes a block's partial results with `fill`, and of them its results: those of its groups if it finishes them, else what
/// the next pass takes.
fn result<A: Number>(
    env: &Environment,
    block: &Block<'_>,
    (codes, extents): (&[u32], (usize, usize)),
    absent: A,
    fill: impl FnOnce(&mut Partials<'_, A>),
) -> Result<Chunk, String> {
    let text = |error: nuna_chunk::ChunkError| error.to_string();
    let shape = block.inputs[0].shape();
    let groups = distinct(codes.iter().copied());
    let mut chunk = ChunkMut::zeroed(A::DTYPE, &with_length(shape, env.axis, groups.len() * env.op.parts()));
    let mut partials = Partials::new(env, groups, extents, chunk.elements_mut::<A>().map_err(text)?);
    fill(&mut partials);
    let Some(finish) = &env.finish else { return Ok(chunk.freeze()) };
    let (from, to) = finish.get(env.along(block.index)).copied().unwrap_or((0, 0));
    let shape = with_length(shape, env.axis, (to - from) as usize);
    let mut out = ChunkMut::new(A::DTYPE, &shape);
    let values = out.elements_mut::<A>().map_err(text)?;
    partials.finish((from, to), env.ddof, absent, values);
    let found = match env.op {
        GroupOp::Std => {
            let roots: Vec<f64> = values.iter().map(|x| x.float().sqrt()).collect();
            Chunk::from_slice(&shape, &roots)
        }
        _ if env.output.is_float() && A::DTYPE != DType::F64 => {
            // An integer's absence is only known here.
            let absent = absent_cells(&partials, from, to);
            let of = |(x, absent): (&A, bool)| if absent { f64::NAN } else { x.float() };
            let floats: Vec<f64> = values.iter().zip(absent).map(of).collect();
            Chunk::from_slice(&shape, &floats)
        }
        _ => out.freeze(),
    };
    Ok(if found.dtype() == env.output { found } else { found.cast(env.output) })
}

/// Which cells of the groups `from..to` belong to a group without elements.
fn absent_cells<A: Number>(partials: &Partials<'_, A>, from: u32, to: u32) -> Vec<bool> {
    let line: Vec<bool> = (from..to)
        .flat_map(|label| std::iter::repeat_n(partials.groups.binary_search(&label).is_err(), partials.inner))
        .collect();
    line.repeat(partials.outer)
}

fn codes<'a>(
    env: &'a Environment,
    block: &Block<'_>,
    parts: usize,
) -> Result<(&'a [u32], usize, usize), String> {
    let (outer, length, inner) = extents(block.inputs[0].shape(), env.axis);
    let codes = env.children.get(env.along(block.index)).map_or(&[][..], Vec::as_slice);
    if codes.len() * parts != length {
        let planned = codes.len() * parts;
        return Err(format!("a block of {length} along the grouped axis where {planned} were planned"));
    }
    Ok((codes, outer, inner))
}

/// First pass: the elements of a block.
fn elements(env: &Environment, block: &Block<'_>) -> Result<Chunk, String> {
    let chunk = &block.inputs[0];
    let (codes, outer, inner) = codes(env, block, 1)?;
    let task = (codes, (outer, inner));
    let text = |error: nuna_chunk::ChunkError| error.to_string();
    match (env.op.work(chunk.dtype()), chunk.dtype()) {
        (DType::I64, _) => {
            let elements = chunk.to_vec::<i64>();
            result::<i64>(env, block, task, 0, |partials| partials.fill(codes, &elements))
        }
        (DType::U64, _) => {
            let elements = chunk.to_vec::<u64>();
            result::<u64>(env, block, task, 0, |partials| partials.fill(codes, &elements))
        }
        (_, DType::F32) => {
            let elements = chunk.elements::<f32>().map_err(text)?;
            result::<f64>(env, block, task, f64::NAN, |partials| partials.fill(codes, elements))
        }
        (_, DType::F64) => {
            let elements = chunk.elements::<f64>().map_err(text)?;
            result::<f64>(env, block, task, f64::NAN, |partials| partials.fill(codes, elements))
        }
        _ => {
            let elements = chunk.to_vec::<f64>();
            result::<f64>(env, block, task, f64::NAN, |partials| partials.fill(codes, &elements))
        }
    }
}

/// Later passes: partial results of neighbouring blocks, one after the other along the axis.
fn partials(env: &Environment, block: &Block<'_>) -> Result<Chunk, String> {
    fn run<A: Number>(env: &Environment, block: &Block<'_>, absent: A) -> Result<Chunk, String> {
        let (codes, outer, inner) = codes(env, block, env.op.parts())?;
        let theirs = block.inputs[0].elements::<A>().map_err(|error| error.to_string())?;
        result(env, block, (codes, (outer, inner)), absent, |partials| partials.merge(codes, theirs))
    }
    match block.inputs[0].dtype() {
        DType::I64 => run::<i64>(env, block, 0),
        DType::U64 => run::<u64>(env, block, 0),
        _ => run::<f64>(env, block, f64::NAN),
    }
}
