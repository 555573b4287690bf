//! Owns selection by labels with a method and a tolerance, and of points: one element (or line) for each of several places given
//! along some dimensions together, as stations in a grid. xarray does the latter by indexing with arrays that share a dimension.

use std::sync::Arc;

use crate::{
    DataArray, Dataset, LabelError, Reindex, Result, Selection, Times,
    align::places,
    coord::{Coord, Coords, Values},
    label::Label,
    positions::{Pick, Positions},
};

/// One list of positions for each of some dimensions, all of one length, and what the points' dimension is called.
struct Points<'a> {
    new: &'a str,
    along: Vec<(String, Vec<u64>)>,
}

impl Points<'_> {
    /// Checked against the dimensions and coordinates that there are.
    fn check(&self, owner: &str, dims: &[String], coords: &Coords) -> Result<()> {
        let refuse =
            |why: String| Err(LabelError::Invalid(format!("points `{}` of {owner}: {why}", self.new)));
        let Some((first, list)) = self.along.first() else {
            return refuse("name at least one dimension with a position for each point".to_owned());
        };
        for (at, (dim, other)) in self.along.iter().enumerate() {
            if self.along[..at].iter().any(|(d, _)| d == dim) {
                return refuse(format!("`{dim}` is named twice"));
            }
            if other.len() != list.len() {
                let (n, m) = (list.len(), other.len());
                return refuse(format!(
                    "{n} places along `{first}` and {m} along `{dim}`; give one of each for every point"
                ));
            }
        }
        let stays = |dim: &String| !self.along.iter().any(|(d, _)| d == dim);
        if dims.iter().any(|dim| dim == self.new && stays(dim)) || coords.get(self.new).is_some() {
            return refuse("there is a dimension or a coordinate of that name; choose another".to_owned());
        }
        Ok(())
    }

    fn count(&self) -> usize {
        self.along.first().map_or(0, |(_, list)| list.len())
    }

    fn of(&self, dim: &str) -> Option<&[u64]> {
        self.along.iter().find(|(d, _)| d == dim).map(|(_, list)| list.as_slice())
    }

    /// Dimensions with the points' in the place of the first of those it stands for.
    fn dims(&self, dims: &[String]) -> Vec<String> {
        let mut out: Vec<String> = Vec::with_capacity(dims.len());
        let mut named = false;
        for dim in dims {
            if self.of(dim).is_none() {
                out.push(dim.clone());
            } else if !named {
                out.push(self.new.to_owned());
                named = true;
            }
        }
        out
    }

    fn coord(&self, coord: &Coord) -> Result<Coord> {
        let dims = self.dims(coord.dims());
        let size = |dim: &String| match coord.dims().iter().position(|d| d == dim) {
            Some(axis) if dim != self.new || self.of(dim).is_none() => coord.shape()[axis],
            _ => self.count() as u64,
        };
        let shape: Vec<u64> = dims.iter().map(size).collect();
        let grid = nuna_plan::BlockGrid::new(shape.iter().copied());
        let point = dims.iter().position(|dim| dim == self.new);
        let place = |dim: &String, at: &[u64]| match (self.of(dim), point) {
            (Some(list), Some(axis)) => {
                list.get(usize::try_from(at[axis]).unwrap_or(usize::MAX)).copied().unwrap_or(0)
            }
            _ => dims.iter().position(|d| d == dim).map_or(0, |axis| at[axis]),
        };
        let flat: Vec<usize> = (0..grid.count())
            .map(|number| {
                let at = grid.coords(number);
                let index = coord
                    .dims()
                    .iter()
                    .zip(coord.shape())
                    .fold(0, |index, (dim, &n)| index * n + place(dim, &at));
                usize::try_from(index).unwrap_or(usize::MAX)
            })
            .collect();
        let values = coord.values()?.take(&shape, &flat);
        Ok(Coord::new(dims, shape, values, coord.attrs().clone()))
    }

    fn coords(&self, coords: &Coords) -> Result<Coords> {
        coords.try_map(|_, coord| match coord.dims().iter().any(|dim| self.of(dim).is_some()) {
            true => Ok(Arc::new(self.coord(coord)?)),
            false => Ok(coord.clone()),
        })
    }

    /// The points of an array, which has at least one of the dimensions: first what any of them is at along each dimension, so
    /// that only these chunks are read, then the points of what that leaves, flattened.
    fn array(&self, of: &DataArray) -> Result<DataArray> {
        let own: Vec<&(String, Vec<u64>)> =
            self.along.iter().filter(|(dim, _)| of.dims.contains(dim)).collect();
        let mut narrow = of.array.clone();
        let mut flat = vec![0_u64; self.count()];
        for (dim, list) in &own {
            let mut kept = list.clone();
            kept.sort_unstable();
            kept.dedup();
            narrow = Positions::from_list(kept.clone()).of(&narrow, of.axis(dim)?)?;
            for (flat, at) in flat.iter_mut().zip(list) {
                let place = kept.binary_search(at).unwrap_or(0) as u64;
                *flat = *flat * kept.len() as u64 + place;
            }
        }
        let gone: Vec<usize> = own.iter().map(|(dim, _)| of.axis(dim)).collect::<Result<_>>()?;
        let kept: Vec<usize> = (0..of.ndim()).filter(|axis| !gone.contains(axis)).collect();
        let order: Vec<usize> = kept.iter().chain(&gone).copied().collect();
        let lines = narrow.transpose(&order)?.flatten(kept.len(), gone.len())?;
        let taken = Positions::from_list(flat).of(&lines, kept.len())?;
        // The points' dimension is the last one now, and goes where the first that it stands for was.
        let dims = self.dims(&of.dims);
        let names: Vec<&str> = kept.iter().map(|&axis| of.dims[axis].as_str()).chain([self.new]).collect();
        let back: Vec<usize> =
            dims.iter().filter_map(|dim| names.iter().position(|name| name == dim)).collect();
        let coords = self.coords(&of.coords)?;
        Ok(DataArray { dims, coords, ..of.with_array(taken.transpose(&back)?) })
    }
}

/// Labels of the kind that a dimension has: dates may be written as text.
fn of_kind(index: &Values, labels: Values) -> Result<Values> {
    match (index, labels) {
        (Values::Times(times), Values::Text(text)) => Ok(Times::from_dates(&text, times.calendar)?.into()),
        (Values::Numbers(own), Values::Numbers(labels)) if own.dtype().is_float() => {
            Ok(Values::Numbers(labels.cast(own.dtype())))
        }
        (_, labels) => Ok(labels),
    }
}

/// Positions of labels, all of which must be found.
fn found(dim: &str, coords: &Coords, owner: &str, labels: Values, rules: &Reindex) -> Result<Vec<u64>> {
    let index = coords.index(dim).ok_or_else(|| LabelError::NoCoord {
        owner: owner.to_owned(),
        name: dim.to_owned(),
        have: coords.names(),
    })?;
    let values = index.values()?;
    let labels = of_kind(values, labels)?;
    let places = places(dim, values, &labels, rules)?;
    let one = |(at, place): (usize, &Option<usize>)| {
        place.map(|at| at as u64).ok_or_else(|| {
            let hint = match (rules.method, rules.tolerance) {
                (Some(_), Some(tolerance)) => format!("none lies within {tolerance} of it by this method"),
                (Some(_), None) => "none lies on that side of it".to_owned(),
                (None, _) => format!(
                    "the labels go {}; `Method::Nearest` takes the nearest",
                    crate::select::span(values)
                ),
            };
            LabelError::NoLabel { dim: dim.to_owned(), label: labels.show(at), hint }
        })
    };
    places.iter().enumerate().map(one).collect()
}

/// The labels of a selection as values of the dimension's kind, and whether there is but one.
fn listed(dim: &str, index: &Values, selection: Selection) -> Result<(Values, bool)> {
    let (labels, single) = match selection {
        Selection::One(label) => (vec![label], true),
        Selection::Many(labels) => (labels, false),
        Selection::Between { .. } => {
            let why = format!("a range of labels along `{dim}` takes no method; select the range with `sel`");
            return Err(LabelError::Invalid(why));
        }
    };
    if labels.iter().all(|label| matches!(label, Label::Text(_))) && !labels.is_empty() {
        let text: Vec<String> = labels
            .into_iter()
            .map(|label| match label {
                Label::Text(text) => text,
                other => other.to_string(),
            })
            .collect();
        return Ok((of_kind(index, text.into())?, single));
    }
    if labels.iter().any(|label| matches!(label, Label::Text(_))) {
        return Err(LabelError::Invalid(format!("labels along `{dim}` are numbers or text, not both")));
    }
    let whole: Option<Vec<i64>> =
        labels.iter().map(|label| label.whole().and_then(|x| i64::try_from(x).ok())).collect();
    let values = match (whole, index) {
        (Some(whole), Values::Numbers(chunk)) if !chunk.dtype().is_float() => whole.into(),
        _ => labels.iter().map(Label::as_f64).collect::<Vec<f64>>().into(),
    };
    Ok((of_kind(index, values)?, single))
}

macro_rules! selecting {
    ($($type:ident: $what:literal;)*) => {$(
        impl $type {
            #[doc = concat!("Takes labels along a dimension of ", $what, " by a method, at most a tolerance away:")]
            /// `sel_with("lat", 43.1, Method::Nearest.within(0.5))`, `sel_with("time", "2001-06-15T12:00", Method::Pad)` for the last one
            /// before. The tolerance is in the labels' own unit, of times in seconds.
            ///
            /// # Errors
            /// [`LabelError::NoLabel`] if nothing is near enough; if labels stand several times, or a range is asked for.
            pub fn sel_with(
                &self,
                dim: &str,
                labels: impl Into<Selection>,
                rules: impl Into<Reindex>,
            ) -> Result<$type> {
                let owner = self.describe();
                let index = self.coords.index(dim).ok_or_else(|| LabelError::NoCoord {
                    owner: owner.clone(),
                    name: dim.to_owned(),
                    have: self.coords.names(),
                })?;
                let (labels, single) = listed(dim, index.values()?, labels.into())?;
                let places = found(dim, &self.coords, &owner, labels, &rules.into())?;
                self.at_places(dim, match places.as_slice() {
                    [at] if single => Positions::At(*at),
                    _ => Positions::List(places),
                })
            }

            #[doc = concat!("Points of ", $what, " by position: `isel_points(\"station\", [(\"lat\", [3, 10]), (\"lon\", [7, 2])])` has two of them, along")]
            /// the new dimension `station`, which stands where the first of the dimensions was. Their labels become coordinates along it.
            ///
            /// Along each dimension only what some point is at is read; of many points, blocks hold the grid that these span.
            ///
            /// # Errors
            /// [`LabelError::NoDim`], [`LabelError::Position`], or if there are not as many positions along each, or the new name is taken.
            pub fn isel_points<D: AsRef<str>, L: Into<Pick>>(
                &self,
                new: &str,
                points: impl IntoIterator<Item = (D, L)>,
            ) -> Result<$type> {
                let mut along = Vec::new();
                for (dim, places) in points {
                    let (dim, places) = (dim.as_ref(), places.into());
                    let positions = places.resolve_in(dim, self.length(dim)?, &self.coords)?;
                    along.push((dim.to_owned(), positions.list().into_iter().map(|at| at as u64).collect()));
                }
                self.at_points(&Points { new, along })
            }

            #[doc = concat!("Points of ", $what, " by label: `sel_points(\"station\", [(\"lat\", vec![43.0, 51.5]), (\"lon\", vec![201.0, 0.0])])`;")]
            /// see [`isel_points`](Self::isel_points).
            ///
            /// # Errors
            /// [`LabelError::NoLabel`] for a label that is not there; else as [`isel_points`](Self::isel_points).
            pub fn sel_points<D: AsRef<str>, L: Into<Values>>(
                &self,
                new: &str,
                points: impl IntoIterator<Item = (D, L)>,
            ) -> Result<$type> {
                self.sel_points_with(new, points, Reindex::default())
            }

            /// [`sel_points`](Self::sel_points) by a method, such as `Method::Nearest` or `Method::Nearest.within(0.5)`.
            ///
            /// # Errors
            /// As [`sel_points`](Self::sel_points).
            pub fn sel_points_with<D: AsRef<str>, L: Into<Values>>(
                &self,
                new: &str,
                points: impl IntoIterator<Item = (D, L)>,
                rules: impl Into<Reindex>,
            ) -> Result<$type> {
                let (rules, owner) = (rules.into(), self.describe());
                let mut along = Vec::new();
                for (dim, labels) in points {
                    let dim = dim.as_ref();
                    self.length(dim)?;
                    along.push((dim.to_owned(), found(dim, &self.coords, &owner, labels.into(), &rules)?));
                }
                self.at_points(&Points { new, along })
            }
        }
    )*};
}
selecting! {
    DataArray: "the array";
    Dataset: "every variable that has it";
}

impl DataArray {
    fn length(&self, dim: &str) -> Result<u64> {
        Ok(self.shape()[self.axis(dim)?])
    }

    fn at_places(&self, dim: &str, places: Positions) -> Result<DataArray> {
        self.take(self.axis(dim)?, &places)
    }

    fn at_points(&self, points: &Points<'_>) -> Result<DataArray> {
        points.check(&self.describe(), &self.dims, &self.coords)?;
        points.array(self)
    }
}

impl Dataset {
    fn length(&self, dim: &str) -> Result<u64> {
        self.size(dim)
    }

    fn at_places(&self, dim: &str, places: Positions) -> Result<Dataset> {
        let coords = self.coords.isel(dim, &places)?;
        self.along(dim, coords, |variable| variable.take(variable.axis(dim)?, &places))
    }

    fn at_points(&self, points: &Points<'_>) -> Result<Dataset> {
        let dims: Vec<String> = self.sizes().into_iter().map(|(dim, _)| dim).collect();
        points.check(&self.describe(), &dims, &self.coords)?;
        let concerned = |variable: &DataArray| variable.dims.iter().any(|dim| points.of(dim).is_some());
        let changed =
            self.each(
                |variable| if concerned(variable) { points.array(variable) } else { Ok(variable.clone()) },
            )?;
        Ok(Dataset { coords: points.coords(&self.coords)?, ..changed })
    }
}
