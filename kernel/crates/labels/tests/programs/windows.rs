//! Owns what programs do along dimensions of labelled arrays: differences, windows, quantiles, interpolation, periods, fits,
//! stacking.

use nuna_array::Pad;
use nuna_labels::{Boundary, DataArray, Values};

use crate::{
    labelled::{dim, dims},
    program::{self, Choose, Draw},
};

type Call = program::Call<DataArray>;
type Drawn<'a, 'b> = &'a mut Draw<'b, DataArray>;

/// As in `labelled.rs`.
pub(crate) const OPERATIONS: &[(u64, Choose<DataArray>)] = &[
    (2, diff),
    (2, shift),
    (2, roll),
    (2, cumsum),
    (3, quantile),
    (3, rolling),
    (3, coarsen),
    (4, interp),
    (2, fill),
    (2, interpolate_na),
    (2, reindex),
    (3, resample),
    (3, upsample),
    (2, polyfit),
    (2, idx),
    (3, stack),
    (2, rank),
    (2, ends),
    (2, pad),
    (4, calculus),
    (3, covariance),
];

fn rank(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    let (rust, python) = (format!("$0.rank({dim:?})?"), format!("xranked($0, {dim:?}, False)"));
    if draw.random.chance(50) {
        return Some(Call::new(&[a], rust, python, move |v| Ok(v[0].rank(&dim)?)));
    }
    let (rust, python) = (format!("$0.rank_pct({dim:?})?"), format!("xranked($0, {dim:?}, True)"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].rank_pct(&dim)?)))
}

fn ends(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    let name = *draw.random.pick(&["head", "tail", "thin"]);
    let n = 1 + draw.random.below(6);
    let rust = format!("$0.{name}({dim:?}, {n})?");
    let python = format!("$0.{name}({{{dim:?}: {n}}})");
    Some(Call::new(&[a], rust, python, move |v| {
        Ok(match name {
            "head" => v[0].head(&dim, n)?,
            "tail" => v[0].tail(&dim, n)?,
            _ => v[0].thin(&dim, n)?,
        })
    }))
}

fn pad(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.suiting(|v| v.shape().iter().all(|&n| n > 1))?;
    let dim = dim(draw, a)?;
    let (mode, name) = *draw.random.pick(&[
        (Pad::Edge, "edge"),
        (Pad::Wrap, "wrap"),
        (Pad::Symmetric, "symmetric"),
        (Pad::Reflect, "reflect"),
    ]);
    let (before, after) = (draw.random.below(5), draw.random.below(5));
    let rust = format!("$0.pad({dim:?}, {before}, {after}, Pad::{mode:?})?");
    let python = format!("$0.pad({{{dim:?}: ({before}, {after})}}, mode={name:?})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].pad(&dim, before, after, mode)?)))
}

fn calculus(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (dim, _) = numbered(draw, a)?;
    let name = *draw.random.pick(&["differentiate", "integrate", "cumulative_integrate"]);
    let (rust, python) = (format!("$0.{name}({dim:?})?"), format!("x{name}($0, {dim:?})"));
    let call = Call::new(&[a], rust, python, move |v| {
        Ok(match name {
            "differentiate" => v[0].differentiate(&dim)?,
            "integrate" => v[0].integrate(dim.as_str())?,
            _ => v[0].cumulative_integrate(&dim)?,
        })
    });
    Some(if name == "differentiate" { call } else { call.ordered() })
}

fn covariance(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    let b = draw.suiting(|v| v.dims().contains(&dim))?;
    let (rust, python) = (format!("$0.cov(&$1, {dim:?})?"), format!("xcov($0, $1, {dim:?})"));
    Some(Call::new(&[a, b], rust, python, move |v| Ok(v[0].cov(&v[1], dim.as_str())?)).ordered())
}

fn diff(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    // What differs is not what subtracting gives, which NumPy refuses.
    if draw.array(a).dtype() == nuna_chunk::DType::Bool {
        return None;
    }
    let dim = dim(draw, a)?;
    let n = 1 + draw.random.below(2);
    let (rust, python) = (format!("$0.diff_n({dim:?}, {n})?"), format!("$0.diff({dim:?}, {n})"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].diff_n(&dim, n)?)))
}

fn shift(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    let by = draw.random.range(-4, 4);
    let (rust, python) =
        (format!("$0.shift({dim:?}, {by})?"), format!("xfloat($0).shift({{{dim:?}: {by}}})"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].shift(&dim, by)?)))
}

fn roll(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    let by = draw.random.range(-9, 9);
    let (rust, python) = (format!("$0.roll({dim:?}, {by})?"), format!("$0.roll({{{dim:?}: {by}}})"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].roll(&dim, by)?)))
}

fn cumsum(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    let python = format!("labelled($0, scanned($0.values, \"sum\", $0.get_axis_num({dim:?}), True))");
    Some(Call::new(&[a], format!("$0.cumsum({dim:?})?"), python, move |v| Ok(v[0].cumsum(&dim)?)).ordered())
}

fn quantile(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dims = dims(draw, a);
    if dims.is_empty() {
        return None;
    }
    let at: Vec<f64> = (0..1 + draw.random.below(3)).map(|_| draw.random.below(101) as f64 / 100.0).collect();
    let rust = format!("$0.quantile(vec!{at:?}, {dims:?} as [&str; {}])?", dims.len());
    let python = format!("xquantile($0, {at:?}, {dims:?})");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].quantile(at.clone(), &dims[..])?)))
}

fn rolling(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    let window = 1 + draw.random.below(5);
    let least = 1 + draw.random.below(window);
    let centred = draw.random.chance(50);
    let name = *draw.random.pick(&["sum", "mean", "min", "max", "std", "median"]);
    let (center, left) = if centred { (".center()", window / 2) } else { ("", window - 1) };
    let right = window - 1 - left;
    let rust = format!("$0.rolling({dim:?}, {window})?{center}.min_periods({least}).{name}()?");
    let python = format!(
        "labelled($0, rolling($0.values, $0.get_axis_num({dim:?}), {left}, {right}, {least}, {name:?}))"
    );
    let call = Call::new(&[a], rust, python, move |v| {
        let windows = v[0].rolling(&dim, window)?.min_periods(least);
        let windows = if centred { windows.center() } else { windows };
        Ok(match name {
            "sum" => windows.sum(),
            "mean" => windows.mean(),
            "min" => windows.min(),
            "max" => windows.max(),
            "std" => windows.std(),
            _ => windows.median(),
        }?)
    });
    Some(if matches!(name, "min" | "max" | "median") { call } else { call.ordered() })
}

fn coarsen(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    // The mean of texts is the first one here, and none there.
    if matches!(draw.value(a).coords().index(&dim).map(|c| c.values()), Some(Ok(Values::Text(_)))) {
        return None;
    }
    let window = 1 + draw.random.below(4);
    let trim = draw.random.chance(70);
    let name = *draw.random.pick(&["sum", "mean", "min", "max"]);
    // Where not one window is whole xarray has an error of NumPy's for some, and nothing for others; here it is nothing.
    if draw.value(a).axis(&dim).is_ok_and(|axis| draw.array(a).shape()[axis] < window) {
        return None;
    }
    let (boundary, kind) = if trim { (Boundary::Trim, "trim") } else { (Boundary::Exact, "exact") };
    let rust = format!("$0.coarsen([({dim:?}, {window})])?.boundary(nuna::Boundary::{boundary:?}).{name}()?");
    let python = format!("xcoarsened($0, {dim:?}, {window}, {kind:?}, {name:?})");
    let call = Call::new(&[a], rust, python, move |v| {
        let coarse = v[0].coarsen([(dim.as_str(), window)])?.boundary(boundary);
        Ok(match name {
            "sum" => coarse.sum(),
            "mean" => coarse.mean(),
            "min" => coarse.min(),
            _ => coarse.max(),
        }?)
    });
    Some(if matches!(name, "min" | "max") { call } else { call.ordered() })
}

/// A dimension with numbers for labels, none twice.
fn numbered(draw: Drawn<'_, '_>, a: usize) -> Option<(String, Vec<f64>)> {
    let dims = draw.value(a).dims().to_vec();
    let dim = if dims.is_empty() { return None } else { draw.random.pick(&dims).clone() };
    let Values::Numbers(chunk) = draw.value(a).coords().index(&dim)?.values().ok()?.clone() else {
        return None;
    };
    let numbers = chunk.to_vec::<f64>();
    let mut sorted = numbers.clone();
    sorted.sort_by(f64::total_cmp);
    let unique = sorted.windows(2).all(|pair| pair[0] < pair[1]);
    (unique && !numbers.is_empty() && numbers.iter().all(|x| x.is_finite())).then_some((dim, numbers))
}

fn interp(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (dim, numbers) = numbered(draw, a)?;
    let to: Vec<f64> = (0..1 + draw.random.below(4))
        .map(|_| numbers[draw.random.index(numbers.len())] + *draw.random.pick(&[0.0, 0.5, -1.25, 2.0]))
        .collect();
    let (rust, python) =
        (format!("$0.interp({dim:?}, vec!{to:?})?"), format!("interpolated($0, {dim:?}, {to:?})"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].interp(&dim, to.clone())?)))
}

fn fill(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = dim(draw, a)?;
    let back = draw.random.chance(50);
    let (rust, python) = match back {
        true => (format!("$0.bfill({dim:?})?"), format!("filled($0, {dim:?}, -1)")),
        false => (format!("$0.ffill({dim:?})?"), format!("filled($0, {dim:?}, 1)")),
    };
    Some(Call::new(&[a], rust, python, move |v| Ok(if back { v[0].bfill(&dim)? } else { v[0].ffill(&dim)? })))
}

fn interpolate_na(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.suiting(|v| v.dtype().is_float())?;
    let (dim, _) = numbered(draw, a)?;
    let python = format!("gaps_filled($0, {dim:?})");
    Some(Call::new(&[a], format!("$0.interpolate_na({dim:?})?"), python, move |v| {
        Ok(v[0].interpolate_na(&dim)?)
    }))
}

fn reindex(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (dim, numbers) = numbered(draw, a)?;
    let to: Vec<f64> = (0..1 + draw.random.below(4))
        .map(|_| numbers[draw.random.index(numbers.len())] + *draw.random.pick(&[0.0, 0.0, 0.5]))
        .collect();
    let python = format!("xreindexed($0, {dim:?}, {to:?})");
    Some(Call::new(&[a], format!("$0.reindex({dim:?}, vec!{to:?})?"), python, move |v| {
        Ok(v[0].reindex(&dim, to.clone())?)
    }))
}

/// A dimension with times that ascend.
fn timed(draw: Drawn<'_, '_>, a: usize) -> Option<String> {
    let dims = draw.value(a).dims().to_vec();
    dims.into_iter().find(|dim| {
        let index = draw.value(a).coords().index(dim);
        matches!(index.map(|c| c.values()), Some(Ok(Values::Times(times)))
            if !times.is_empty() && times.micros.windows(2).all(|pair| pair[0] < pair[1]))
    })
}

fn resample(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dim = timed(draw, a)?;
    let frequency = *draw.random.pick(&["MS", "40D", "QS-DEC", "YS"]);
    let name = *draw.random.pick(&["sum", "mean", "min", "max", "count"]);
    let rust = format!("$0.resample({dim:?}, {frequency:?})?.{name}()?");
    let python = format!("resampled($0, {dim:?}, {frequency:?}, {name:?})");
    let call = Call::new(&[a], rust, python, move |v| {
        let groups = v[0].resample(&dim, frequency)?;
        Ok(match name {
            "sum" => groups.sum(),
            "mean" => groups.mean(),
            "min" => groups.min(),
            "max" => groups.max(),
            _ => groups.count(),
        }?)
    });
    Some(if matches!(name, "min" | "max" | "count") { call } else { call.ordered() })
}

fn upsample(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.suiting(|v| v.dtype().is_float())?;
    let dim = timed(draw, a)?;
    let frequency = *draw.random.pick(&["5D", "8D", "MS"]);
    let name = *draw.random.pick(&["asfreq", "ffill", "bfill", "nearest"]);
    let rust = format!("$0.resample({dim:?}, {frequency:?})?.{name}()?");
    let python = format!("upsampled($0, {dim:?}, {frequency:?}, {name:?})");
    Some(Call::new(&[a], rust, python, move |v| {
        let groups = v[0].resample(&dim, frequency)?;
        Ok(match name {
            "asfreq" => groups.asfreq(),
            "ffill" => groups.ffill(),
            "bfill" => groups.bfill(),
            _ => groups.nearest(),
        }?)
    }))
}

fn polyfit(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (dim, _) = numbered(draw, a)?;
    let degree = draw.random.below(3) as u32;
    let (rust, python) =
        (format!("$0.polyfit({dim:?}, {degree})?"), format!("polyfitted($0, {dim:?}, {degree})"));
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].polyfit(&dim, degree)?)).ordered())
}

fn idx(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let (dim, _) = numbered(draw, a)?;
    let least = draw.random.chance(50);
    let name = if least { "idxmin" } else { "idxmax" };
    let (rust, python) = (format!("$0.{name}({dim:?})?"), format!("label_of($0, {dim:?}, {name:?})"));
    Some(Call::new(&[a], rust, python, move |v| {
        Ok(if least { v[0].idxmin(&dim)? } else { v[0].idxmax(&dim)? })
    }))
}

/// There and, sometimes, back again.
fn stack(draw: Drawn<'_, '_>) -> Option<Call> {
    let a = draw.any();
    let dims = dims(draw, a);
    let value = draw.value(a);
    let all_labelled = dims.iter().all(|dim| value.coords().index(dim).is_some());
    if dims.len() < 2 || !all_labelled || value.shape().contains(&0) {
        return None;
    }
    let rust = format!("$0.stack({dims:?} as [&str; {}], \"z\")?", dims.len());
    let python = format!("$0.stack(z={dims:?}).reset_index(\"z\")");
    Some(Call::new(&[a], rust, python, move |v| Ok(v[0].stack(&dims[..], "z")?)))
}
