//! Owns how images of TIFF files become labelled arrays: dimensions and coordinates as rioxarray has them, and many files as
//! one cube of dates or of bands.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use nuna_array::{Array, ChunkSource};
use nuna_storage::{Attributes, GeotiffOptions, OpenFile, Raster, Source, Stack};

use crate::{
    Calendar, DataArray, Dataset, LabelError, Result, Times,
    coord::{Coord, Values},
    many::matching,
};

/// Opens a GeoTIFF, or any other TIFF, as `rioxarray.open_rasterio` does: dimensions `(band, y, x)`, bands counted from 1, and
/// coordinates of the centres of pixels. Nothing but metadata is read; chunks are the file's tiles, several at a time.
///
/// Values are as they are stored. Attributes say what the file says about them: `crs`, `transform` (`a, b, c, d, e, f` as in
/// rasterio), `AREA_OR_POINT`, `nodata`, `scale`, `offset`, `units`, `long_name`, and GDAL's metadata. A transform with a
/// rotation gives no coordinates along `y` and `x`.
///
/// `path` may also be an address, `https://host/image.tif` or `s3://bucket/image.tif`: workers then read the parts of the file that they need,
/// and an overview costs no more than itself.
///
/// # Errors
/// If there is no such file, it is no TIFF, damaged, or of a kind that is not supported, which is then named.
pub fn open_geotiff(path: impl AsRef<Path>) -> Result<DataArray> {
    open_geotiff_with(path, &GeotiffOptions::default())
}

/// [`open_geotiff`] with nodata as NaN, scales applied, or at a lower resolution.
///
/// # Errors
/// As [`open_geotiff`], and if there is no such overview, or bands are scaled differently.
pub fn open_geotiff_with(path: impl AsRef<Path>, options: &GeotiffOptions) -> Result<DataArray> {
    nuna_storage::register();
    let raster = nuna_storage::open_geotiff(path, options)?;
    labelled(raster, &["band", "y", "x"])
}

/// Opens an overview of a Cloud Optimized GeoTIFF: 0 is the one of the highest resolution. Its coordinates are of its own
/// pixels.
///
/// # Errors
/// As [`open_geotiff`], and if there is no such overview, naming those there are.
pub fn open_geotiff_overview(path: impl AsRef<Path>, level: usize) -> Result<DataArray> {
    open_geotiff_with(path, &GeotiffOptions { overview: Some(level), ..GeotiffOptions::default() })
}

/// Several files: their paths, or a pattern such as `"/data/2024/*_B04.tif"`, whose files are sorted by name. `*` is any part
/// of a name, `?` any one character.
#[derive(Clone, Debug)]
pub enum Files {
    Pattern(String),
    Paths(Vec<PathBuf>),
}

impl From<&str> for Files {
    fn from(pattern: &str) -> Self {
        Files::Pattern(pattern.to_owned())
    }
}

impl From<String> for Files {
    fn from(pattern: String) -> Self {
        Files::Pattern(pattern)
    }
}

impl From<&String> for Files {
    fn from(pattern: &String) -> Self {
        Files::Pattern(pattern.clone())
    }
}

impl<P: AsRef<Path>> From<Vec<P>> for Files {
    fn from(paths: Vec<P>) -> Self {
        paths.as_slice().into()
    }
}

impl<P: AsRef<Path>> From<&Vec<P>> for Files {
    fn from(paths: &Vec<P>) -> Self {
        paths.as_slice().into()
    }
}

impl<P: AsRef<Path>> From<&[P]> for Files {
    fn from(paths: &[P]) -> Self {
        Files::Paths(paths.iter().map(|path| path.as_ref().to_owned()).collect())
    }
}

impl<P: AsRef<Path>, const N: usize> From<[P; N]> for Files {
    fn from(paths: [P; N]) -> Self {
        paths.as_slice().into()
    }
}

impl Files {
    fn paths(self) -> Result<Vec<PathBuf>> {
        match self {
            Files::Paths(paths) if paths.is_empty() => {
                Err(LabelError::Invalid("there are no files to open".to_owned()))
            }
            Files::Paths(paths) => Ok(paths),
            Files::Pattern(pattern) => {
                let paths = matching(&pattern)?;
                if paths.is_empty() {
                    let message = format!(
                        "no file is named as the pattern `{pattern}` says; check the folder and the spelling"
                    );
                    return Err(LabelError::Invalid(message));
                }
                Ok(paths)
            }
        }
    }
}

/// Opens many images of the same place as one cube, in the order of the files: dimensions `(dim, band, y, x)`; with
/// `"band"` for `dim`, the bands of all files one after the other, `(band, y, x)`. Of each file only what it says about
/// itself is read, many at a time; the cube is one array however many files it has.
///
/// Where each file's name has one date in it (`20240131` or `2024-01-31`), these dates are the labels along `dim`;
/// [`assign_coord`](DataArray::assign_coord) sets others. Attributes are those that all files agree on.
///
/// # Errors
/// As [`open_geotiff`], if there are no files, or two differ in shape, dtype, transform or reference system: both are named.
pub fn open_geotiffs(files: impl Into<Files>, dim: &str) -> Result<DataArray> {
    open_geotiffs_with(files, dim, &GeotiffOptions::default())
}

/// [`open_geotiffs`] with nodata as NaN, scales applied, or at a lower resolution.
///
/// # Errors
/// As [`open_geotiffs`].
pub fn open_geotiffs_with(files: impl Into<Files>, dim: &str, options: &GeotiffOptions) -> Result<DataArray> {
    if ["y", "x"].contains(&dim) {
        let message = format!(
            "files are joined along a new dimension such as `time`, or along `band`, not along `{dim}`: they show the same place"
        );
        return Err(LabelError::Invalid(message));
    }
    nuna_storage::register();
    let paths = files.into().paths()?;
    if dim == "band" {
        return labelled(nuna_storage::open_geotiffs(&paths, Stack::Bands, options)?, &["band", "y", "x"]);
    }
    let raster = nuna_storage::open_geotiffs(&paths, Stack::Files, options)?;
    let dates: Option<Vec<String>> = raster.paths.iter().map(|path| date(path)).collect();
    let cube = labelled(raster, &[dim, "band", "y", "x"])?;
    match dates.and_then(|dates| Times::from_dates(&dates, Calendar::Standard).ok()) {
        Some(times) => cube.assign_coord(dim, Values::Times(times)),
        None => Ok(cube),
    }
}

/// [`open_geotiff`] as a dataset, whose only variable is called as rioxarray calls it in datasets.
pub(crate) fn dataset(file: &OpenFile) -> Result<Dataset> {
    nuna_storage::register();
    let mut raster = nuna_storage::open_geotiff_file(file, &GeotiffOptions::default())?;
    let path = raster.paths.pop();
    let array = labelled(raster, &["band", "y", "x"])?;
    Ok(Dataset { path, ..Dataset::new().assign("band_data", &array)? })
}

fn labelled(raster: Raster, dims: &[&str]) -> Result<DataArray> {
    let Raster { source, attrs, transform, .. } = raster;
    let name = source.name();
    let shape = source.shape().to_vec();
    let array = DataArray::new(Array::from_source(Arc::new(Source::Geotiff(source))), dims)?;
    let mut made = DataArray { attrs, name: Some(name), ..array };
    let (first, last) = (dims.len() - 3, shape.len() - 1);
    let count = |axis: usize| i64::try_from(shape[axis]).unwrap_or(i64::MAX);
    made = made.assign_coord("band", (1..=count(first)).collect::<Vec<_>>())?;
    // Pixels of a file without a place on Earth are where they are in the file.
    let [a, b, c, d, e, f] = transform.unwrap_or([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    if b == 0.0 && d == 0.0 {
        // In the order in which rioxarray multiplies and adds, so that labels are equal to the last bit.
        let centres = |n: i64, scale: f64, origin: f64| -> Vec<f64> {
            (0..n).map(|i| (i as f64 + 0.5) * scale + origin).collect()
        };
        for (dim, axis, scale, origin) in [("y", last - 1, e, f), ("x", last, a, c)] {
            let values = centres(count(axis), scale, origin);
            made.coords.insert(dim, Arc::new(Coord::line(dim, values.into(), Attributes::new())));
        }
    }
    Ok(made)
}

/// The only date in a file's name.
fn date(path: &Path) -> Option<String> {
    let name = path.file_stem()?.to_string_lossy().into_owned();
    let bytes = name.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        // Not before digits: a letter may be of several bytes.
        if digits == 0 {
            at += 1;
            continue;
        }
        let run = &name[at..at + digits];
        let rest = &bytes[at + digits..];
        // `2024-01-31`, or `2024_01_31`.
        if digits == 4
            && let [s @ (b'-' | b'_'), m1, m2, t, d1, d2, rest @ ..] = rest
            && s == t
            && [m1, m2, d1, d2].iter().all(|byte| byte.is_ascii_digit())
            && !rest.first().is_some_and(u8::is_ascii_digit)
        {
            found.push((run.to_owned(), name[at + 5..at + 7].to_owned(), name[at + 8..at + 10].to_owned()));
            at += 10;
            continue;
        }
        // `20240131`, also `20240131T101031`.
        if digits == 8 {
            found.push((run[..4].to_owned(), run[4..6].to_owned(), run[6..].to_owned()));
        }
        at += digits;
    }
    let plausible = |(year, month, day): &(String, String, String)| {
        let number = |text: &str| text.parse::<u32>().unwrap_or(0);
        (1900..2200).contains(&number(year))
            && (1..=12).contains(&number(month))
            && (1..=31).contains(&number(day))
    };
    found.retain(plausible);
    found.dedup();
    match &found[..] {
        [(year, month, day)] => Some(format!("{year}-{month}-{day}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_found_in_names_where_there_is_one() {
        for (name, expected) in [
            ("S2A_20240131_B04.tif", Some("2024-01-31")),
            ("T32TPS_20240131T101031_B04_10m.tif", Some("2024-01-31")),
            ("red_2024-01-31.tif", Some("2024-01-31")),
            ("red_2024_01_31_v2.tif", Some("2024-01-31")),
            ("LC08_20240131_20240131.tif", Some("2024-01-31")),
            ("LC08_L1TP_193027_20240131_20240202.tif", None),
            ("red_000.tif", None),
            ("red_20241331.tif", None),
            ("red_202401311.tif", None),
            ("übersicht_20240131.tif", Some("2024-01-31")),
        ] {
            assert_eq!(date(Path::new(name)).as_deref(), expected, "{name}");
        }
    }
}
