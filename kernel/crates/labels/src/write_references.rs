//! Owns writing references to parts of files, so that many files open as one store: the labels along the dimension of joining,
//! where each file counts them in its own units. Where chunks lie is `storage`'s to find.

use std::path::{Path, PathBuf};

use nuna_storage::{NewLabels, ReferencesOptions};

use crate::{
    Dataset, Result,
    many::{join, open_all},
    write::{Stored, encode_coord},
};

/// Writes references to where the chunks of NetCDF and HDF5 files lie (also at addresses), as kerchunk makes them: what they hold opens as one
/// Zarr store, here ([`open_zarr`](crate::open_zarr)) and by fsspec's reference file system, and no element is copied. `to` is a file
/// of JSON if it ends with `.json`, else a folder of Parquet files.
///
/// Several files are joined along `dim`, in the order given, as [`open_many`](crate::open_many) joins them; of one file all groups are
/// taken, and `dim` may be empty. Labels that count in other units in each file are written anew. Scales and offsets in single
/// precision are decoded in double precision, since JSON does not tell them apart.
///
/// # Errors
/// If files do not fit, or a variable can be no Zarr array where it lies: it is compressed with what Zarr has no codec for,
/// or the length of a file along `dim` is no multiple of its chunks', and it has more than 16 MiB. Variables of less are put
/// into the references. [`ReferencesOptions::leave_out`] leaves variables out.
pub fn write_references<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
    dim: &str,
    to: impl AsRef<Path>,
) -> Result<()> {
    write_references_with(paths, dim, to, &ReferencesOptions::default())
}

/// [`write_references`] with a choice of what is put into the references, how paths are written, what is left out, and
/// whether to overwrite.
///
/// # Errors
/// As [`write_references`].
pub fn write_references_with<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
    dim: &str,
    to: impl AsRef<Path>,
    options: &ReferencesOptions,
) -> Result<()> {
    let paths: Vec<PathBuf> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
    let mut labels = Vec::new();
    if paths.len() != 1 {
        let opened = open_all(&paths)?;
        let kept = |mut dataset: Dataset| {
            dataset.variables.retain(|(name, _)| !options.leave_out.contains(name));
            dataset.coords.retain(|name, _| !options.leave_out.iter().any(|left| left == name));
            dataset
        };
        let opened: Vec<_> = opened.into_iter().map(kept).collect();
        let joined = join(&paths, &opened, dim)?;
        for (name, coord) in joined.coords.iter().filter(|(_, coord)| coord.dims() == [dim]) {
            let (variable, values) = encode_coord(name, coord)?;
            let values = match values {
                Stored::Numbers(chunk) => NewLabels::Numbers(chunk),
                Stored::Text(text) => NewLabels::Text(text.to_vec()),
            };
            labels.push((variable, values));
        }
    }
    Ok(nuna_storage::write_references(&paths, dim, &labels, to.as_ref(), options)?)
}
