//! Owns operations along a dimension by name that look at neighbours or at all of it: differences, shifts, cumulative
//! values, windows that slide or follow each other, quantiles, interpolation. Attributes, name and coordinates stay, but for
//! what is said of each.

use std::sync::Arc;

use nuna_array::{Binary, NanPolicy, Operation, Scalar, Scan};
use nuna_chunk::{Chunk, DType};
use nuna_storage::Attributes;

use crate::{
    DataArray, Dataset, LabelError, Result, Times,
    align::Method,
    coord::{Coord, Coords, Values},
    dims::IntoDims,
    positions::Positions,
    time::NOT_A_TIME,
};

/// Windows that slide along a dimension; from [`DataArray::rolling`].
#[derive(Clone, Debug)]
pub struct RollingWindow {
    array: DataArray,
    dim: String,
    window: u64,
    center: bool,
    min_periods: Option<u64>,
}

/// Windows that follow each other along dimensions; from [`DataArray::coarsen`].
#[derive(Clone, Debug)]
pub struct Coarsen {
    array: DataArray,
    windows: Vec<(String, u64)>,
    boundary: Boundary,
}

/// What becomes of elements that do not fill a window, as in xarray.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Boundary {
    /// They are an error.
    #[default]
    Exact,
    /// They are left out.
    Trim,
    /// NaN fills the window.
    Pad,
}

fn policy(skipna: bool) -> NanPolicy {
    if skipna { NanPolicy::Skip } else { NanPolicy::Propagate }
}

impl DataArray {
    /// The differences between neighbours along a dimension, which becomes one shorter; labelled by the later one.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn diff(&self, dim: &str) -> Result<DataArray> {
        self.diff_n(dim, 1)
    }

    /// [`diff`](DataArray::diff) applied `n` times.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn diff_n(&self, dim: &str, n: u64) -> Result<DataArray> {
        let axis = self.axis(dim)?;
        let array = self.array.diff(n, axis)?;
        let (length, left) = (self.shape()[axis], array.shape()[axis]);
        let coords =
            self.coords.isel(dim, &Positions::Slice { start: length - left, step: 1, count: left })?;
        let apart = DataArray { coords, ..self.with_array(array) };
        Ok(if n == 0 { apart } else { apart.after(crate::counted::Makes::Durations) })
    }

    /// Elements move `by` places towards the end of a dimension (towards its beginning if negative), and NaN comes in, which
    /// makes floats of integers. Labels stay.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn shift(&self, dim: &str, by: i64) -> Result<DataArray> {
        Ok(self.with_array(self.array.shift(by, self.axis(dim)?, f64::NAN)?))
    }

    /// Elements move `by` places towards the end of a dimension; what leaves comes in at the other end. Labels stay, as in
    /// xarray; see [`roll_labels`](DataArray::roll_labels).
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn roll(&self, dim: &str, by: i64) -> Result<DataArray> {
        Ok(self.with_array(self.array.roll(by, self.axis(dim)?)?))
    }

    /// [`roll`](DataArray::roll) with the labels, such as of longitudes that are to begin elsewhere.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn roll_labels(&self, dim: &str, by: i64) -> Result<DataArray> {
        let axis = self.axis(dim)?;
        let n = self.shape()[axis].cast_signed();
        let rolled = self.with_array(self.array.roll(by, axis)?);
        if n == 0 {
            return Ok(rolled);
        }
        let list = (0..n).map(|at| (at - by).rem_euclid(n).unsigned_abs()).collect();
        Ok(DataArray { coords: self.coords.isel(dim, &Positions::List(list))?, ..rolled })
    }

    /// The sum of all elements up to each along a dimension. NaNs count as 0.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn cumsum(&self, dim: &str) -> Result<DataArray> {
        Ok(self.with_array(self.array.scan(Scan::Sum, NanPolicy::Skip, self.axis(dim)?)?))
    }

    /// The product of all elements up to each along a dimension. NaNs count as 1.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn cumprod(&self, dim: &str) -> Result<DataArray> {
        Ok(self.with_array(self.array.scan(Scan::Prod, NanPolicy::Skip, self.axis(dim)?)?))
    }

    /// The median over dimensions. NaNs are skipped. Blocks hold these dimensions whole.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or if there is no dimension.
    pub fn median(&self, dims: impl IntoDims) -> Result<DataArray> {
        let axes = self.axes(dims)?;
        let array = self.array.nanmedian(&axes)?;
        let dims: Vec<String> = (0..self.ndim())
            .filter(|axis| !axes.contains(axis))
            .map(|axis| self.dims[axis].clone())
            .collect();
        Ok(DataArray { coords: self.coords.within(&dims), dims, ..self.with_array(array) })
    }

    /// Quantiles from 0 to 1 over dimensions, by linear interpolation: one, which leaves the coordinate `quantile`, or
    /// several, which become a dimension of that name in front. NaNs are skipped. `float32` stays.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or if a quantile is not from 0 to 1.
    pub fn quantile(&self, q: impl Into<Quantiles>, dims: impl IntoDims) -> Result<DataArray> {
        let q = q.into();
        let axes = self.axes(dims)?;
        let array = self.array.quantile(&q.at, NanPolicy::Skip, &axes)?;
        let mut dims: Vec<String> = (0..self.ndim())
            .filter(|axis| !axes.contains(axis))
            .map(|axis| self.dims[axis].clone())
            .collect();
        if dims.iter().any(|dim| dim == "quantile") {
            return Err(LabelError::DimTwice { dim: "quantile".to_owned(), dims });
        }
        let mut coords = self.coords.within(&dims);
        let (own, shape) = if q.single {
            (Vec::new(), Vec::new())
        } else {
            (vec!["quantile".to_owned()], vec![q.at.len() as u64])
        };
        let values = Values::Numbers(Chunk::from_slice(&shape, &q.at));
        let array = if q.single { array.squeeze(&[0])? } else { array };
        coords.insert("quantile", Arc::new(Coord::new(own.clone(), shape, values, Attributes::new())));
        dims.splice(0..0, own);
        Ok(DataArray { coords, dims, ..self.with_array(array) })
    }

    /// Windows of `window` elements along a dimension, each ending with the element that it is for:
    /// `t.rolling("time", 30)?.mean()`.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or if the window has no element.
    pub fn rolling(&self, dim: &str, window: u64) -> Result<RollingWindow> {
        self.axis(dim)?;
        if window == 0 {
            return Err(LabelError::Invalid(format!("a window along `{dim}` needs at least one element")));
        }
        Ok(RollingWindow {
            array: self.clone(),
            dim: dim.to_owned(),
            window,
            center: false,
            min_periods: None,
        })
    }

    /// Windows that follow each other: `t.coarsen([("lat", 4), ("lon", 4)])?.mean()`. Labels become the means of the
    /// windows' labels.
    ///
    /// # Errors
    /// [`LabelError::NoDim`], or if a window has no element.
    pub fn coarsen<T: AsRef<str>>(&self, windows: impl IntoIterator<Item = (T, u64)>) -> Result<Coarsen> {
        let windows: Vec<(String, u64)> =
            windows.into_iter().map(|(dim, n)| (dim.as_ref().to_owned(), n)).collect();
        self.axes(windows.iter().map(|(dim, _)| dim.as_str()).collect::<Vec<_>>())?;
        if let Some((dim, _)) = windows.iter().find(|(_, n)| *n == 0) {
            return Err(LabelError::Invalid(format!("a window along `{dim}` needs at least one element")));
        }
        Ok(Coarsen { array: self.clone(), windows, boundary: Boundary::Exact })
    }

    /// Values at other labels along a dimension, linear between the neighbours and exact where there is one; NaN
    /// outside. The result is `float64`, or
    /// `float32` as it was. Coordinates of numbers along the dimension are interpolated too, others go away.
    ///
    /// Several dimensions are interpolated one after the other: `t.interp("lat", lats)?.interp("lon", lons)?`.
    ///
    /// # Errors
    /// If the dimension has no labels, or they are text, missing, equal, or of another calendar.
    pub fn interp(&self, dim: &str, labels: impl Into<Values>) -> Result<DataArray> {
        let (axis, labels) = (self.axis(dim)?, labels.into());
        let index = self.index(dim)?;
        let (order, brackets) = brackets(dim, index.values()?, &labels)?;
        let place = |side: fn(&Bracket) -> usize| -> Positions {
            Positions::from_list(brackets.iter().map(|b| order[side(b)] as u64).collect())
        };
        let bare = DataArray { coords: Coords::default(), ..self.clone() };
        let weights: Vec<f64> = brackets.iter().map(|b| b.weight).collect();
        let weights = Chunk::from_slice(&[weights.len() as u64], &weights);
        let dtype = self.dtype().to_float();
        let mut coords = self.coords.without(dim);
        let coord = Coord::line(dim, labels, index.attrs.clone());
        if order.is_empty() {
            let mut shape = self.shape().to_vec();
            shape[axis] = brackets.len() as u64;
            coords.insert(dim, Arc::new(coord));
            let array = nuna_array::Array::full(&shape, f64::NAN, dtype);
            return Ok(DataArray { coords, ..self.with_array(array) });
        }
        let (low, high) = (bare.take(axis, &place(|b| b.low))?, bare.take(axis, &place(|b| b.high))?);
        // Where both neighbours are one, their difference must not make infinity NaN.
        let weights = DataArray::from_chunk(weights.cast(dtype), [dim])?;
        let (low, high) = (low.astype(dtype), high.astype(dtype));
        let between =
            low.binary(Binary::Add, high.binary(Binary::Sub, &low)?.binary(Binary::Mul, &weights)?)?;
        let exact = weights.equal(0.0)?;
        let found = low.where_or(&exact, &between)?.transpose(self.dims.as_slice())?;
        for (name, other) in self.coords.iter().filter(|(name, c)| *name != dim && c.dims == [dim]) {
            if let Values::Numbers(chunk) = other.values()? {
                let numbers = chunk.to_vec::<f64>();
                let at = |b: &Bracket| {
                    let (low, high) = (numbers[order[b.low]], numbers[order[b.high]]);
                    if b.weight == 0.0 { low } else { low + (high - low) * b.weight }
                };
                let values: Vec<f64> = brackets.iter().map(at).collect();
                coords.insert(name, Arc::new(Coord::line(dim, values.into(), other.attrs.clone())));
            }
        }
        coords.insert(dim, Arc::new(coord));
        Ok(DataArray { coords, ..self.with_array(found.array) })
    }

    /// The values of the nearest labels along a dimension, labelled anew; NaN outside of the labels there are.
    ///
    /// # Errors
    /// As [`interp`](DataArray::interp).
    pub fn interp_nearest(&self, dim: &str, labels: impl Into<Values>) -> Result<DataArray> {
        let labels = labels.into();
        let inside = brackets(dim, self.index(dim)?.values()?, &labels)?.1;
        let near = self.reindex_with(dim, labels, Method::Nearest)?;
        let inside: Vec<bool> = inside.iter().map(|b| !b.weight.is_nan()).collect();
        if inside.iter().all(|inside| *inside) {
            return Ok(near.astype(self.dtype().to_float()));
        }
        let inside = DataArray::from_chunk(Chunk::from_slice(&[inside.len() as u64], &inside), [dim])?;
        near.where_(&inside)
    }

    /// NaN replaced by the last element before it that is none, along a dimension.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn ffill(&self, dim: &str) -> Result<DataArray> {
        self.filled(dim, false)
    }

    /// NaN replaced by the next element after it that is none, along a dimension.
    ///
    /// # Errors
    /// [`LabelError::NoDim`].
    pub fn bfill(&self, dim: &str) -> Result<DataArray> {
        self.filled(dim, true)
    }

    fn filled(&self, dim: &str, backwards: bool) -> Result<DataArray> {
        self.each_line(
            dim,
            if backwards { "bfill" } else { "ffill" },
            &backwards,
            |backwards: &bool, line| {
                for step in 1..line.len() {
                    let last = line.len() - 1;
                    let (at, from) =
                        if *backwards { (last - step, last - step + 1) } else { (step, step - 1) };
                    if line[at].is_nan() {
                        line[at] = line[from];
                    }
                }
            },
        )
    }
}

/// One quantile or several.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantiles {
    at: Vec<f64>,
    single: bool,
}

impl Quantiles {
    pub(crate) fn at(&self) -> &[f64] {
        &self.at
    }

    /// Whether one was named, which becomes no dimension.
    pub(crate) fn is_single(&self) -> bool {
        self.single
    }
}

impl From<f64> for Quantiles {
    fn from(q: f64) -> Self {
        Self { at: vec![q], single: true }
    }
}

impl From<Vec<f64>> for Quantiles {
    fn from(at: Vec<f64>) -> Self {
        Self { at, single: false }
    }
}

impl<const N: usize> From<[f64; N]> for Quantiles {
    fn from(at: [f64; N]) -> Self {
        at.to_vec().into()
    }
}

/// Where a new label lies: between two of the sorted ones, so far from the first; NaN is outside.
struct Bracket {
    low: usize,
    high: usize,
    weight: f64,
}

/// The order of the labels that there are, and where the new ones lie in it.
fn brackets(dim: &str, from: &Values, to: &Values) -> Result<(Vec<usize>, Vec<Bracket>)> {
    let refuse = |reason: &str| Err(LabelError::Invalid(format!("interp along `{dim}`: {reason}")));
    match (from, to) {
        (Values::Times(a), Values::Times(b)) if !a.fits(b) => {
            return refuse(&format!(
                "the labels are in the calendar {}, the new ones in {}",
                a.calendar, b.calendar
            ));
        }
        (Values::Numbers(_), Values::Numbers(_)) | (Values::Times(_), Values::Times(_)) => {}
        _ => {
            let (from, to) = (from.dtype_name(), to.dtype_name());
            return refuse(&format!(
                "the labels are {from}, the new ones {to}; both must be numbers, or times"
            ));
        }
    }
    let (Some(have), Some(want)) = (from.distances(), to.distances()) else {
        return refuse("text has nothing between");
    };
    let order = from.order();
    if have.iter().any(|x| x.is_nan()) {
        return refuse("a label is missing; select the others first");
    }
    if let Some(pair) = order.windows(2).find(|pair| have[pair[0]] == have[pair[1]]) {
        let label = from.show(pair[0]);
        return refuse(&format!(
            "the label {label} stands several times; keep one with `drop_duplicates(\"{dim}\")`"
        ));
    }
    let bracket = |&x: &f64| {
        let above = order.partition_point(|&at| have[at] < x);
        let outside = Bracket { low: 0, high: 0, weight: f64::NAN };
        match order.get(above) {
            _ if x.is_nan() => outside,
            Some(&at) if have[at] == x => Bracket { low: above, high: above, weight: 0.0 },
            Some(&at) if above > 0 => {
                let before = have[order[above - 1]];
                Bracket { low: above - 1, high: above, weight: (x - before) / (have[at] - before) }
            }
            _ => outside,
        }
    };
    let brackets = want.iter().map(bracket).collect();
    Ok((order, brackets))
}

impl RollingWindow {
    /// The element that a window is for lies in its middle (of an even number just after it).
    #[must_use]
    pub fn center(&self) -> Self {
        Self { center: true, ..self.clone() }
    }

    /// Windows with fewer elements that are not NaN give NaN; unless told, all elements of a window must be there.
    #[must_use]
    pub fn min_periods(&self, n: u64) -> Self {
        Self { min_periods: Some(n), ..self.clone() }
    }

    fn reduce(&self, rolling: nuna_array::Rolling, min_periods: u64) -> Result<DataArray> {
        let (left, right) = if self.center {
            (self.window / 2, self.window - 1 - self.window / 2)
        } else {
            (self.window - 1, 0)
        };
        let axis = self.array.axis(&self.dim)?;
        Ok(self.array.with_array(self.array.array.rolling(rolling, axis, left, right, min_periods)?))
    }
}

macro_rules! rolling {
    ($($(#[$doc:meta])* $name:ident => $op:expr;)*) => {
        impl RollingWindow {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// If the array cannot be cut so.
            pub fn $name(&self) -> Result<DataArray> {
                self.reduce($op, self.min_periods.unwrap_or(self.window))
            }
        )*}
    };
}
rolling!(
    /// The sum of each window.
    sum => nuna_array::Rolling::Sum;
    /// The mean of each window.
    mean => nuna_array::Rolling::Mean;
    /// The least element of each window.
    min => nuna_array::Rolling::Min;
    /// The greatest element of each window.
    max => nuna_array::Rolling::Max;
    /// How many elements of each window are not NaN; NaN where that is fewer than `min_periods`, as in xarray.
    count => nuna_array::Rolling::Count;
    /// The variance of each window (`ddof` 0).
    var => nuna_array::Rolling::Var { ddof: 0 };
    /// The standard deviation of each window (`ddof` 0).
    std => nuna_array::Rolling::Std { ddof: 0 };
    /// The median of each window.
    median => nuna_array::Rolling::Median;
);

impl Coarsen {
    /// What becomes of elements that do not fill a window; an error unless told.
    #[must_use]
    pub fn boundary(&self, boundary: Boundary) -> Self {
        Self { boundary, ..self.clone() }
    }

    fn reduce(&self, operation: Operation, skipna: bool) -> Result<DataArray> {
        let mut coarse = self.array.clone();
        // A mean over several dimensions counts elements, not windows.
        let (mut counts, mean) = (None, operation == Operation::Mean && self.windows.len() > 1);
        if mean {
            let present = coarse.unary(nuna_array::Unary::IsNan)?.unary(nuna_array::Unary::Not)?;
            counts = Some(present.astype(DType::F64));
        }
        let moments = matches!(operation, Operation::Var { .. } | Operation::Std { .. } | Operation::Count);
        if moments && self.windows.len() > 1 {
            return Err(LabelError::Invalid(format!(
                "coarsen over {} dimensions has sum, mean, min and max; take `{operation:?}` of one dimension",
                self.windows.len()
            )));
        }
        for (dim, window) in &self.windows {
            let step = if mean { Operation::Sum } else { operation };
            coarse = self.along(&coarse, dim, *window, step, skipna, true)?;
            counts = match counts {
                Some(counts) => Some(self.along(&counts, dim, *window, Operation::Sum, true, false)?),
                None => None,
            };
        }
        match counts {
            Some(counts) => {
                let array = coarse.array.astype(self.array.dtype().to_float());
                let dtype = array.dtype();
                Ok(coarse.with_array(array.binary(Binary::Div, &counts.array)?.astype(dtype)))
            }
            None => Ok(coarse),
        }
    }

    fn along(
        &self,
        array: &DataArray,
        dim: &str,
        window: u64,
        operation: Operation,
        skipna: bool,
        values: bool,
    ) -> Result<DataArray> {
        let axis = array.axis(dim)?;
        let n = array.shape()[axis];
        let rest = n % window;
        let source = match self.boundary {
            Boundary::Exact if rest != 0 => {
                return Err(LabelError::Invalid(format!(
                    "windows of {window} leave {rest} of the {n} elements along `{dim}` over; choose `.boundary(Boundary::Trim)` or Pad"
                )));
            }
            Boundary::Pad if rest != 0 => {
                let fill = if values { f64::NAN } else { 0.0 };
                array.array.pad(axis, 0, window - rest, nuna_array::Pad::Constant(Scalar::Float(fill)))?
            }
            Boundary::Exact | Boundary::Trim | Boundary::Pad => array.array.clone(),
        };
        let coarse = source.coarsen(operation, policy(skipna), axis, window)?;
        let count = usize::try_from(coarse.shape()[axis]).unwrap_or(usize::MAX);
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        let mut coords = array.coords.without(dim);
        for (name, coord) in array.coords.iter().filter(|(_, c)| c.dims == [dim]) {
            let values = coarse_labels(coord.values()?, window, count);
            coords.insert(name, Arc::new(Coord::line(dim, values, coord.attrs.clone())));
        }
        Ok(DataArray { coords, ..array.with_array(coarse) })
    }
}

/// The means of the labels in each window; of text the first.
#[expect(clippy::cast_precision_loss, reason = "windows are short")]
fn coarse_labels(values: &Values, window: usize, count: usize) -> Values {
    let ranges = (0..count).map(|at| at * window..((at + 1) * window).min(values.len()));
    match values {
        Values::Numbers(chunk) => {
            let numbers = chunk.to_vec::<f64>();
            let mean = |range: std::ops::Range<usize>| {
                let part: Vec<f64> = numbers[range].iter().copied().filter(|x| !x.is_nan()).collect();
                part.iter().sum::<f64>() / part.len() as f64
            };
            let means: Vec<f64> = ranges.map(mean).collect();
            Values::Numbers(Chunk::from_slice(&[count as u64], &means).cast(chunk.dtype().to_float()))
        }
        Values::Times(times) => {
            let mean = |range: std::ops::Range<usize>| {
                let part: Vec<i128> = times.micros[range]
                    .iter()
                    .filter(|&&t| t != NOT_A_TIME)
                    .map(|&t| i128::from(t))
                    .collect();
                match part.len() {
                    0 => NOT_A_TIME,
                    n => i64::try_from(part.iter().sum::<i128>().div_euclid(n as i128)).unwrap_or(NOT_A_TIME),
                }
            };
            Values::Times(Times { calendar: times.calendar, micros: ranges.map(mean).collect() })
        }
        Values::Text(text) => Values::Text(ranges.map(|range| text[range.start].clone()).collect()),
    }
}

macro_rules! coarsen {
    ($($(#[$doc:meta])* $name:ident => $op:expr;)*) => {
        impl Coarsen {$(
            $(#[$doc])*
            /// NaNs are skipped.
            ///
            /// # Errors
            /// If elements are left over and [`boundary`](Coarsen::boundary) does not say what becomes of them.
            pub fn $name(&self) -> Result<DataArray> {
                self.reduce($op, true)
            }
        )*}
    };
}
coarsen!(
    /// The sum of each window.
    sum => Operation::Sum;
    /// The mean of each window.
    mean => Operation::Mean;
    /// The least element of each window.
    min => Operation::Min;
    /// The greatest element of each window.
    max => Operation::Max;
    /// How many elements of each window are not NaN, along one dimension.
    count => Operation::Count;
    /// The variance of each window (`ddof` 0), along one dimension.
    var => Operation::Var { ddof: 0 };
    /// The standard deviation of each window (`ddof` 0), along one dimension.
    std => Operation::Std { ddof: 0 };
);

macro_rules! of_datasets {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $t:ty),*);)*) => {
        impl Dataset {$(
            $(#[$doc])*
            /// Of every variable that has the dimension; the others stay.
            ///
            /// # Errors
            /// [`LabelError::NoDim`] if no variable has it; else as for arrays.
            pub fn $name(&self, dim: &str $(, $argument: $t)*) -> Result<Dataset> {
                self.size(dim)?;
                let whole = self.along(dim, self.coords.clone(), |variable| variable.$name(dim $(, $argument.clone())*))?;
                let changed = whole.variables.iter().find(|(_, variable)| variable.dims.iter().any(|d| d == dim));
                let along = changed.map(|(_, variable)| variable.coords.clone()).unwrap_or_default();
                let coords = self.coords.try_map(|name, coord| {
                    let same = coord.dims.iter().any(|d| d == dim);
                    Ok(along.get(name).filter(|_| same).cloned().unwrap_or_else(|| coord.clone()))
                })?;
                Ok(Dataset { coords, ..whole })
            }
        )*}
    };
}
of_datasets!(
    /// [`DataArray::diff`].
    diff();
    /// [`DataArray::shift`].
    shift(by: i64);
    /// [`DataArray::roll`].
    roll(by: i64);
    /// [`DataArray::roll_labels`].
    roll_labels(by: i64);
    /// [`DataArray::cumsum`].
    cumsum();
    /// [`DataArray::cumprod`].
    cumprod();
    /// [`DataArray::ffill`].
    ffill();
    /// [`DataArray::bfill`].
    bfill();
    /// [`DataArray::interpolate_na`].
    interpolate_na();
    /// [`DataArray::rank`].
    rank();
    /// [`DataArray::rank_pct`].
    rank_pct();
    /// [`DataArray::interp`].
    interp(labels: Values);
);
