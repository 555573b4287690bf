//! Owns writing labelled arrays as GeoTIFF files: where the image lies, as its coordinates say, and its overviews.

use std::path::Path;

use nuna_array::ChunkSink;
use nuna_storage::{GeotiffWriteOptions, NewGeotiff, NewRaster};

use crate::{Boundary, DataArray, LabelError, Result, coord::Values, slice};

/// How far a label may be from where even spacing has it, in pixels.
const UNEVEN_MAX: f64 = 1e-3;

impl DataArray {
    /// Computes it into a new GeoTIFF file, which GDAL, rasterio and [`open_geotiff`](crate::open_geotiff) read: `(y, x)`, or
    /// `(band, y, x)`, whatever the dimensions are called. Nothing appears under `path` before all is written.
    ///
    /// Tiles have 512 × 512 pixels and are deflated after a predictor; directories stand in front. The transform is that of the
    /// coordinates, or, without coordinates, of the attribute `transform`. Attributes are written as
    /// [`open_geotiff`](crate::open_geotiff) reads them: `crs` (`"EPSG:32633"`; other words are kept as words),
    /// `AREA_OR_POINT`, `scale`, `offset`, `units`, `long_name`, and other texts and numbers. `nodata` is the attribute's, or
    /// NaN for floats. Truth values become bytes; complex numbers are refused. What is larger than 4 GB is a BigTIFF.
    ///
    /// Who writes is as in [`Dataset::to_netcdf`](crate::Dataset::to_netcdf): threads of this process straight into the file,
    /// workers of a cluster into parts that this process then appends to one another.
    ///
    /// # Errors
    /// If it has other than 2 or 3 dimensions, coordinates are not evenly spaced numbers, an attribute cannot be written,
    /// `path` exists, or as [`compute`](DataArray::compute).
    pub fn to_geotiff(&self, path: impl AsRef<Path>) -> Result<()> {
        self.to_geotiff_with(path, &GeotiffWriteOptions::default())
    }

    /// [`to_geotiff`](DataArray::to_geotiff) with a choice of tiles, compression, overviews, and whether to overwrite.
    ///
    /// Pixels of overviews are means of those that they cover, leaving out NaN; of whole numbers, and where another number than
    /// NaN is nodata, the upper left of them. All are computed together with the image.
    ///
    /// # Errors
    /// As [`to_geotiff`](DataArray::to_geotiff), and for tiles whose size is no multiple of 16.
    pub fn to_geotiff_with(&self, path: impl AsRef<Path>, options: &GeotiffWriteOptions) -> Result<()> {
        nuna_storage::register();
        let ndim = self.ndim();
        if ndim != 2 && ndim != 3 {
            return Err(LabelError::Invalid(format!(
                "a GeoTIFF file holds (y, x) or (band, y, x), but {} has {ndim} dimensions; select along the others",
                self.describe()
            )));
        }
        let transform = self.pixels()?;
        let mut images = vec![self.clone()];
        if options.overviews {
            while let Some(smaller) =
                images.last().map(|image| image.halved(options.tile)).transpose()?.flatten()
            {
                images.push(smaller);
            }
        }
        let raster = NewRaster {
            name: self.name.clone().unwrap_or_else(|| "image".to_owned()),
            dtype: self.dtype(),
            shapes: images.iter().map(|image| image.shape().to_vec()).collect(),
            transform,
            attrs: self.attrs.clone(),
        };
        let file = NewGeotiff::create(path, raster, options)?;
        let sinks = file.sinks().iter().map(|sink| sink as &dyn ChunkSink);
        let writes: Vec<_> = images.iter().map(|image| image.array.clone()).zip(sinks).collect();
        nuna_array::write(&writes, &nuna_array::engine())?;
        file.finish()?;
        Ok(())
    }

    /// At half the resolution; `None` if the image is no larger than a tile.
    fn halved(&self, tile: u64) -> Result<Option<DataArray>> {
        let [.., rows, columns] = *self.shape() else { return Ok(None) };
        if rows.max(columns) <= tile {
            return Ok(None);
        }
        let [.., y, x] = self.dims() else { return Ok(None) };
        let nodata_is_nan = self.attrs.get("nodata").is_none_or(|value| value == "NaN");
        if self.dtype().is_float() && nodata_is_nan {
            let windows = self.coarsen([(y, 2), (x, 2)])?.boundary(Boundary::Pad);
            return Ok(Some(windows.mean()?.astype(self.dtype())));
        }
        let every_other = |length: u64| slice(0, length.cast_signed(), 2);
        Ok(Some(self.isel(y, every_other(rows))?.isel(x, every_other(columns))?))
    }

    /// The transform of pixels to coordinates, if there is one.
    fn pixels(&self) -> Result<Option<[f64; 6]>> {
        let attribute: Option<[f64; 6]> = self.attrs.get("transform").and_then(|value| {
            let numbers: Option<Vec<f64>> = value.as_array()?.iter().map(serde_json::Value::as_f64).collect();
            // Nine numbers are rasterio's, whose last row is that of all transforms.
            let numbers = numbers.filter(|numbers| [6, 9].contains(&numbers.len()))?;
            numbers.first_chunk::<6>().copied()
        });
        let [.., y, x] = self.dims() else { return Ok(None) };
        let (Some(rows), Some(columns)) = (self.centres(y)?, self.centres(x)?) else { return Ok(attribute) };
        if let Some([a, b, _, d, e, _]) = attribute
            && (b != 0.0 || d != 0.0 || a == 0.0 || e == 0.0)
        {
            return Ok(attribute);
        }
        // The file's own numbers, as long as the labels are still those of its pixels.
        if let Some([a, _, c, _, e, f]) = attribute
            && is_even(&columns, a, c)
            && is_even(&rows, e, f)
        {
            return Ok(attribute);
        }
        let mut found = [0.0; 6];
        let known = attribute.unwrap_or([0.0; 6]);
        for (dim, labels, scale, origin) in [(x, &columns, 0, 2), (y, &rows, 4, 5)] {
            let (Some(first), Some(last)) = (labels.first(), labels.last()) else { return Ok(attribute) };
            let step = match labels.len() {
                // One pixel alone does not say how large it is.
                1 => known[scale],
                n => (last - first) / (n - 1) as f64,
            };
            found[scale] = step;
            found[origin] = first - step / 2.0;
            if step == 0.0 || !is_even(labels, step, found[origin]) {
                return Err(LabelError::Invalid(format!(
                    "the coordinates along `{dim}` are not evenly spaced, as those of an image must be; `interp` to labels \
                     that are, or write NetCDF"
                )));
            }
        }
        Ok(Some(found))
    }

    /// Labels that are numbers.
    fn centres(&self, dim: &str) -> Result<Option<Vec<f64>>> {
        let Some(coord) = self.coords.index(dim) else { return Ok(None) };
        match coord.values()? {
            Values::Numbers(chunk) if !chunk.dtype().is_complex() => Ok(Some(chunk.to_vec::<f64>())),
            _ => Err(LabelError::Invalid(format!(
                "the coordinates along `{dim}` are no numbers, as those of an image must be"
            ))),
        }
    }
}

/// Whether labels are the centres of pixels of that size.
fn is_even(labels: &[f64], step: f64, origin: f64) -> bool {
    let centre = |i: usize| origin + (i as f64 + 0.5) * step;
    labels.iter().enumerate().all(|(i, label)| ((label - centre(i)) / step).abs() <= UNEVEN_MAX)
}
