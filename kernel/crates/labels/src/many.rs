//! Owns several files that are one dataset: finding them by a pattern, opening them side by side, and joining what they
//! hold along a dimension, with names of files in whatever does not fit.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use nuna_storage::Skipped;

use crate::{
    DataArray, Dataset, LabelError, Result, concat,
    coord::{Coord, Coords, Values},
    open_dataset,
};

/// Files opened at a time. Opening waits for the file system, not for the processor.
const OPENED_AT_ONCE: usize = 16;
/// More files than this are more likely a mistake in a pattern.
const FILES_MAX: usize = 1_000_000;

/// Opens several files or stores and joins them along `dim`, in the order given, lazily: xarray's
/// `open_mfdataset(paths, combine="nested", concat_dim=dim, data_vars="minimal", coords="minimal", compat="override")`.
///
/// Variables without `dim`, and attributes, are the first file's. Variables must be in all files, of one dtype and with
/// equal lengths and labels along the other dimensions. Labels along `dim` follow each other; nothing is sorted.
///
/// # Errors
/// If there is no path, one cannot be opened, or two do not fit: both are named.
pub fn open_many<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>, dim: &str) -> Result<Dataset> {
    let paths: Vec<PathBuf> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
    let opened = open_all(&paths)?;
    join(&paths, &opened, dim)
}

/// [`open_many`] of the paths that a pattern stands for, sorted by name: `"/data/2001/theta_*.nc"`. `*` is any part of a
/// name, `?` any one character.
///
/// # Errors
/// As [`open_many`], and if nothing is of that name.
pub fn open_mfdataset(pattern: &str, dim: &str) -> Result<Dataset> {
    let paths = matching(pattern)?;
    if paths.is_empty() {
        let message =
            format!("no file is named as the pattern `{pattern}` says; check the folder and the spelling");
        return Err(LabelError::Invalid(message));
    }
    open_many(paths, dim)
}

pub(crate) fn open_all(paths: &[PathBuf]) -> Result<Vec<Dataset>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((0..paths.len()).map(|_| None).collect::<Vec<Option<Result<Dataset>>>>());
    std::thread::scope(|scope| {
        for _ in 0..OPENED_AT_ONCE.min(paths.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    let Some(path) = paths.get(number) else { break };
                    let opened = open_dataset(path);
                    if opened.is_err() {
                        // The others will not be wanted.
                        next.fetch_max(paths.len(), Relaxed);
                    }
                    results.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(opened);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    // A failure leaves holes behind it, never before it but for what was begun later.
    let mut opened = Vec::with_capacity(paths.len());
    for result in results.into_iter().flatten() {
        opened.push(result?);
    }
    Ok(opened)
}

pub(crate) fn join(paths: &[PathBuf], opened: &[Dataset], dim: &str) -> Result<Dataset> {
    let (Some(first), Some(first_path)) = (opened.first(), paths.first()) else {
        return Err(LabelError::Invalid("there are no files to open".to_owned()));
    };
    if !first.sizes().iter().any(|(name, _)| name == dim) {
        let dims: Vec<_> = first.sizes().into_iter().map(|(name, _)| name).collect();
        let owner = format!("the dataset {}", first_path.display());
        return Err(LabelError::NoDim { owner, dim: dim.to_owned(), dims });
    }
    let mut joined = first.clone();
    joined.path = None;
    // Labels along the dimension once, however many variables share them.
    let mut coords = Coords::default();
    for (name, coord) in first.coords.iter() {
        let is_text = |dataset: &Dataset| dataset.text.iter().any(|text| text == name);
        if is_text(first) && !opened.iter().all(is_text) {
            let reason = "it is text in the first file, and not in all".to_owned();
            joined.skipped.push(Skipped { name: name.to_owned(), reason });
            joined.text.retain(|text| text != name);
        } else if coord.dims.iter().any(|d| d == dim) {
            if let Some(coord) = labels(paths, opened, name, coord, dim)? {
                coords.insert(name, Arc::new(coord));
            }
        } else {
            coords.insert(name, coord.clone());
        }
    }
    for (name, variable) in &mut joined.variables {
        if !variable.dims.iter().any(|d| d == dim) {
            continue;
        }
        let mut parts = Vec::with_capacity(opened.len());
        for (path, dataset) in paths.iter().zip(opened) {
            let part = dataset.var(name).map_err(|error| at(path, &error.to_string()))?;
            fits(name, variable, first_path, &part, path, dim)?;
            // The labels along it are joined above, once.
            let without = part.coords.without(dim);
            parts.push(DataArray { coords: without, ..part });
        }
        let whole = concat(&parts, dim).map_err(|error| LabelError::Invalid(format!("`{name}`: {error}")))?;
        *variable = DataArray { coords: coords.within(&whole.dims), ..whole };
    }
    joined.coords = coords;
    Ok(joined)
}

pub(crate) fn at(path: &Path, message: &str) -> LabelError {
    LabelError::Invalid(format!("{}: {message}", path.display()))
}

/// Says which two files do not fit, before anything else is said about them.
fn fits(name: &str, a: &DataArray, a_path: &Path, b: &DataArray, b_path: &Path, dim: &str) -> Result<()> {
    let differ = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
        Err(LabelError::Invalid(format!(
            "`{name}` cannot be joined along `{dim}`: its {what} {a:?} in {} but {b:?} in {}",
            a_path.display(),
            b_path.display()
        )))
    };
    if a.dims != b.dims {
        return differ("dimensions are", &a.dims, &b.dims);
    }
    if a.dtype() != b.dtype() {
        return differ("dtype is", &a.dtype().name(), &b.dtype().name());
    }
    for (axis, other) in a.dims.iter().enumerate().filter(|(_, d)| *d != dim) {
        if a.shape()[axis] != b.shape()[axis] {
            return differ(&format!("length along `{other}` is"), &a.shape()[axis], &b.shape()[axis]);
        }
        if let (Some(ours), Some(theirs)) = (a.coords.index(other), b.coords.index(other))
            && !ours.same(theirs)
        {
            return Err(LabelError::Invalid(format!(
                "`{name}` cannot be joined along `{dim}`: the labels along `{other}` differ between {} and {}",
                a_path.display(),
                b_path.display()
            )));
        }
    }
    Ok(())
}

/// One coordinate of all files, joined; `None` if it has other dimensions besides, which are left out.
fn labels(
    paths: &[PathBuf],
    opened: &[Dataset],
    name: &str,
    first: &Coord,
    dim: &str,
) -> Result<Option<Coord>> {
    if first.dims != [dim] {
        return Ok(None);
    }
    let mut parts = Vec::with_capacity(opened.len());
    for (path, dataset) in paths.iter().zip(opened) {
        let coord = dataset.coord(name).map_err(|error| at(path, &error.to_string()))?;
        let values = coord.values().map_err(|error| at(path, &error.to_string()))?;
        if let (Values::Times(a), Values::Times(b)) = (first.values()?, values)
            && a.calendar != b.calendar
            && !(a.calendar.is_gregorian() && b.calendar.is_gregorian())
        {
            let message = format!(
                "`{name}` is in the calendar {} here but {} in {}; files of two calendars are not one series",
                b.calendar,
                a.calendar,
                paths[0].display()
            );
            return Err(at(path, &message));
        }
        if values.dtype_name() != first.dtype_name() {
            let message = format!(
                "`{name}` holds {} here but {} in {}",
                values.dtype_name(),
                first.dtype_name(),
                paths[0].display()
            );
            return Err(at(path, &message));
        }
        parts.push(values);
    }
    let joined = crate::build::join(&parts);
    Ok(joined.map(|values| Coord::line(dim, values, first.attrs.clone())))
}

/// What a pattern stands for, sorted.
pub(crate) fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    if nuna_storage::is_address(Path::new(pattern)) {
        return match pattern.contains('*') {
            true => Err(LabelError::Invalid(format!(
                "{} is a pattern at an address, where nothing is listed; give the addresses one by one",
                nuna_storage::shown(Path::new(pattern)).display()
            ))),
            false => Ok(vec![pattern.into()]),
        };
    }
    let mut found = vec![PathBuf::new()];
    for part in Path::new(pattern).components() {
        let name = part.as_os_str().to_string_lossy();
        if !name.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut next = Vec::new();
        for folder in found {
            let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            let Ok(entries) = std::fs::read_dir(here) else { continue };
            for entry in entries.flatten() {
                let file = entry.file_name();
                let text = file.to_string_lossy();
                // As a shell has it, hidden files must be meant.
                if (!text.starts_with('.') || name.starts_with('.')) && like(&name, &text) {
                    next.push(folder.join(&file));
                }
                if next.len() > FILES_MAX {
                    let message = format!("the pattern `{pattern}` stands for more than {FILES_MAX} files");
                    return Err(LabelError::Invalid(message));
                }
            }
        }
        found = next;
    }
    found.retain(|path| path.exists());
    found.sort();
    Ok(found)
}

/// Whether a name is as a pattern says. Takes no longer than the product of both lengths.
fn like(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_shells() {
        for (pattern, name, expected) in [
            ("*.nc", "a.nc", true),
            ("*.nc", "a.nc4", false),
            ("theta_???.nc", "theta_001.nc", true),
            ("theta_???.nc", "theta_01.nc", false),
            ("*a*b", "xaybab", true),
            ("*a*b", "xayba", false),
            ("*", "", true),
            ("", "a", false),
        ] {
            assert_eq!(like(pattern, name), expected, "{pattern} {name}");
        }
    }
}
