//! Owns writing GeoTIFF files: what attributes become in one, and where its directories stand. Tiles get into it by `sink` and
//! `draft`; the bytes of directories are the `geotiff` crate's.

use std::path::Path;

use nuna_chunk::DType;
use nuna_geotiff::{Element, Geo, Item, Kind, Metadata, NewImage, NewTiff};
use serde_json::Value;

use crate::{
    cf,
    draft::Draft,
    error::StorageError,
    geotiff::is_geotiff,
    json::Attributes,
    packing::Change,
    sink::{Encoding, NewPieces, PieceSink},
};

/// How a GeoTIFF file is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeotiffWriteOptions {
    /// Rows and columns of a tile, a multiple of 16.
    pub tile: u64,
    /// Level of deflate, 1 (fastest) to 9 (smallest), after a predictor; 0 stores tiles as they are.
    pub deflate_level: u32,
    /// Adds the image at half the resolution, at a quarter, and so on until it is no larger than a tile.
    pub overviews: bool,
    /// Replace a TIFF file of that name.
    pub overwrite: bool,
}

impl Default for GeotiffWriteOptions {
    fn default() -> Self {
        Self { tile: 512, deflate_level: 6, overviews: false, overwrite: false }
    }
}

/// Where an image to be written lies and what it holds.
#[derive(Clone, Debug)]
pub struct NewRaster {
    pub name: String,
    pub dtype: DType,
    /// `(y, x)` or `(band, y, x)`, of the image and of its overviews, largest first.
    pub shapes: Vec<Vec<u64>>,
    /// Of pixels to coordinates.
    pub transform: Option<[f64; 6]>,
    /// As [`open_geotiff`](crate::open_geotiff) gives them: `crs`, `nodata`, `AREA_OR_POINT`, `scale`, `offset`, `units`,
    /// `long_name`; other texts and numbers are kept as text.
    pub attrs: Attributes,
}

/// A file that is being written. Dropping it unfinished removes what was written.
#[derive(Debug)]
pub struct NewGeotiff {
    draft: Draft,
    tiff: NewTiff,
    sinks: Vec<PieceSink>,
}

/// Bytes beyond which offsets of 4 bytes might not reach.
const CLASSIC_BYTES_MAX: u64 = 4_000_000_000;

impl NewGeotiff {
    /// Begins a file beside `path`.
    ///
    /// # Errors
    /// If `path` exists and may not be replaced, TIFF has no place for the dtype, shape or attributes, or the file system refuses.
    pub fn create(
        path: impl AsRef<Path>,
        raster: NewRaster,
        options: &GeotiffWriteOptions,
    ) -> Result<Self, StorageError> {
        let path = path.as_ref();
        let NewRaster { name, dtype, shapes, transform, attrs } = raster;
        let refused = |message: String| StorageError::Variable { variable: name.clone(), message };
        let &GeotiffWriteOptions { tile, deflate_level, .. } = options;
        if deflate_level > 9 {
            return Err(refused(format!("deflate has the levels 0 to 9, not {deflate_level}")));
        }
        if tile == 0 || !tile.is_multiple_of(16) || tile > 1 << 14 {
            return Err(refused(format!(
                "tiles have a multiple of 16 rows and columns, up to 16384, not {tile}"
            )));
        }
        if dtype.is_complex() {
            let message =
                "complex numbers are not written to TIFF files; write real and imaginary parts as two bands";
            return Err(refused(message.to_owned()));
        }
        let element = element(dtype);
        let mut images = Vec::new();
        for shape in &shapes {
            let (bands, rows, columns) = match shape[..] {
                [rows, columns] => (1, rows, columns),
                [bands, rows, columns] => (bands, rows, columns),
                _ => {
                    let message =
                        format!("a TIFF file holds (y, x) or (band, y, x), not {} axes", shape.len());
                    return Err(refused(message));
                }
            };
            if bands * rows.min(1) * columns.min(1) == 0 {
                return Err(refused(format!("its shape {shape:?} has no pixels, which TIFF does not allow")));
            }
            images.push(NewImage { bands, rows, columns, tiles: Vec::new() });
        }
        let Some(main) = images.first() else { return Err(refused("there is no image".to_owned())) };
        // A small image is one tile no larger than it needs.
        let fitted = |n: u64| n.next_multiple_of(16).min(tile);
        let (bands, tile) = (main.bands, (fitted(main.rows), fitted(main.columns)));
        let nodata = nodata(&attrs, dtype).map_err(refused)?;
        let mut tiff = NewTiff {
            element,
            tile,
            deflated: (deflate_level > 0).then(|| nuna_geotiff::predictor(element)),
            geo: geo(&attrs, transform).map_err(refused)?,
            nodata: nodata.map(shown),
            metadata: metadata(&attrs, bands).map_err(refused)?,
            wide: false,
            images,
        };
        let mut bytes = 0u64;
        for number in 0..tiff.images.len() {
            let (down, across) = tiff.tiles(&tiff.images[number]);
            let count = bands.saturating_mul(down).saturating_mul(across);
            let tile_bytes = tile.0 * tile.1 * u64::from(element.size);
            // With what deflating adds to noise, and workers to their pieces.
            bytes = bytes.saturating_add(count.saturating_mul(tile_bytes + tile_bytes / 900 + 256));
            let tiles = usize::try_from(count).ok().filter(|&count| count <= TILES_MAX).ok_or_else(|| {
                refused(format!("it has {count} tiles, more than {TILES_MAX}; choose larger tiles"))
            })?;
            tiff.images[number].tiles = vec![(0, 0); tiles];
        }
        tiff.wide = bytes > CLASSIC_BYTES_MAX;
        let head = tiff.head().map_err(|error| refused(error.to_string()))?;
        let replaces = options.overwrite.then_some(("a TIFF file", is_geotiff as fn(&Path) -> bool));
        let draft = Draft::create(path, head.len() as u64, replaces)?;
        let encoding = match tiff.deflated {
            None => Encoding::Plain,
            Some(predictor) => Encoding::Predicted { predictor, level: deflate_level },
        };
        let fill = elements(nodata.filter(|_| dtype.is_float()).unwrap_or(0.0), dtype);
        let sinks = shapes.into_iter().enumerate().map(|(number, shape)| {
            let chunk_shape = [1, tile.0, tile.1][3 - shape.len()..].to_vec();
            let (name, fill) = (name.clone(), fill.clone());
            let change = Change::default();
            let array = NewPieces { name, dtype, stored: dtype, change, shape, chunk_shape, fill, encoding };
            PieceSink::new(array, number as u32, draft.folder())
        });
        let sinks = sinks.collect();
        Ok(Self { draft, tiff, sinks })
    }

    /// The targets of the image and of its overviews.
    pub fn sinks(&self) -> &[PieceSink] {
        &self.sinks
    }

    /// Writes the directories and moves the file to its name.
    ///
    /// # Errors
    /// If a tile was not written, another file took the name meanwhile, or the file system refuses.
    pub fn finish(mut self) -> Result<(), StorageError> {
        let counts: Vec<u64> = self.sinks.iter().map(PieceSink::pieces).collect();
        for (image, places) in self.tiff.images.iter_mut().zip(self.draft.gather(&counts)?) {
            image.tiles = places.into_iter().map(|place| (place.offset, place.bytes)).collect();
        }
        let draft = self.draft;
        let head = self.tiff.head().map_err(|error| draft.blame(&error))?;
        if !self.tiff.wide && draft.end() > u64::from(u32::MAX) {
            return Err(draft
                .blame(&"blocks ran so often that it is longer than a classic TIFF can be; write it again"));
        }
        draft.write_at(0, &head).map_err(|error| draft.blame(&error))?;
        draft.publish()
    }
}

/// Directories say of each tile where it is, in memory and in front of the file.
const TILES_MAX: usize = 1 << 26;

/// How elements are stored; truth values as bytes.
pub(crate) fn element(dtype: DType) -> Element {
    let kind = match dtype {
        DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 => Kind::UInt,
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => Kind::Int,
        DType::F32 | DType::F64 | DType::C64 | DType::C128 => Kind::Float,
    };
    Element { kind, size: dtype.size() as u32 }
}

#[expect(clippy::cast_possible_truncation, reason = "single precision is what the array has")]
fn elements(value: f64, dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F32 => (value as f32).to_le_bytes().to_vec(),
        DType::F64 => value.to_le_bytes().to_vec(),
        // What is beyond the image is nothing to anybody.
        _ => vec![0; dtype.size()],
    }
}

/// The attribute `nodata`, or NaN for floats, whose missing values are NaN.
fn nodata(attrs: &Attributes, dtype: DType) -> Result<Option<f64>, String> {
    match attrs.get("nodata") {
        None => Ok(dtype.is_float().then_some(f64::NAN)),
        Some(value) => {
            cf::number(value).map(Some).ok_or_else(|| format!("its `nodata` {value} is no number"))
        }
    }
}

fn shown(value: f64) -> String {
    if value.is_nan() { "nan".to_owned() } else { value.to_string() }
}

fn geo(attrs: &Attributes, transform: Option<[f64; 6]>) -> Result<Geo, String> {
    let crs = match attrs.get("crs") {
        None => None,
        Some(Value::String(text)) => Some(text.as_str()),
        Some(other) => return Err(format!("its `crs` {other} is no text such as \"EPSG:4326\"")),
    };
    let mut geo = Geo {
        transform,
        pixel_is_point: attrs.get("AREA_OR_POINT").is_some_and(|value| value == "Point"),
        ..Geo::default()
    };
    match crs.map(|text| (text, text.strip_prefix("EPSG:").map(str::parse::<u32>))) {
        None => {}
        Some((_, Some(Ok(code)))) if (1024..32_767).contains(&code) => geo.epsg = Some(code),
        Some((text, Some(_))) => {
            return Err(format!(
                "its `crs` {text} has no number that GeoTIFF has a place for (1024 to 32766)"
            ));
        }
        Some((text, None)) => geo.citation = Some(text.to_owned()),
    }
    Ok(geo)
}

/// Scales, offsets, units and descriptions of bands, and everything else as text.
fn metadata(attrs: &Attributes, bands: u64) -> Result<Metadata, String> {
    const ELSEWHERE: [&str; 5] = ["crs", "transform", "nodata", "AREA_OR_POINT", "_FillValue"];
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let mut items = Vec::new();
    for (key, value) in attrs.iter().filter(|(key, _)| !ELSEWHERE.contains(&key.as_str())) {
        let of_bands = [
            ("scale", "SCALE", "scale"),
            ("offset", "OFFSET", "offset"),
            ("units", "UNITTYPE", "unittype"),
            ("long_name", "DESCRIPTION", "description"),
        ];
        if let Some((_, name, role)) = of_bands.iter().find(|(known, ..)| known == key) {
            for band in 0..bands {
                let one = match value {
                    Value::Array(values) if values.len() as u64 == bands => &values[band as usize],
                    Value::Array(values) => {
                        return Err(format!("its `{key}` has {} values for {bands} bands", values.len()));
                    }
                    one => one,
                };
                let (name, role) = ((*name).to_owned(), Some((*role).to_owned()));
                items.extend(text(one).map(|value| Item { name, band: Some(band), role, value }));
            }
        } else if let Some(value) = text(value) {
            items.push(Item { name: key.clone(), band: None, role: None, value });
        }
    }
    Ok(Metadata { items })
}
