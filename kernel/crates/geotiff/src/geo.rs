//! Owns where an image lies on Earth: GeoTIFF's keys and the three ways of saying the transform from pixels to coordinates,
//! with GDAL's choices where the standard leaves any (OGC GeoTIFF 1.1).

use nuna_inputs::Meta;

use crate::{Result, directory::Directory, tag};

/// What GeoTIFF says about an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Geo {
    /// `a, b, c, d, e, f`: x is `a * column + b * row + c`, y is `d * column + e * row + f`, at the corners of pixels.
    pub transform: Option<[f64; 6]>,
    /// The number of the coordinate reference system in EPSG's register.
    pub epsg: Option<u32>,
    /// What the file says about it in words.
    pub citation: Option<String>,
    /// Values are those at a point, not means over pixels. Coordinates are of centres all the same, as in GDAL.
    pub pixel_is_point: bool,
    /// Whether there are ground control points instead of a transform.
    pub has_control_points: bool,
}

/// Keys of the directory of keys.
pub(crate) const RASTER_TYPE: u64 = 1025;
pub(crate) const CITATION: u64 = 1026;
pub(crate) const GEODETIC: u64 = 2048;
const GEODETIC_CITATION: u64 = 2049;
pub(crate) const PROJECTED: u64 = 3072;
const PROJECTED_CITATION: u64 = 3073;
pub(crate) const USER_DEFINED: u64 = 32_767;

impl Geo {
    pub(crate) fn of(meta: &Meta<'_>, directory: &Directory) -> Result<Self> {
        let mut geo = Self::default();
        let keys = directory.uints(meta, tag::GEO_KEYS)?.unwrap_or_default();
        let text = directory.text(meta, tag::GEO_TEXT)?.unwrap_or_default();
        // Four numbers each: key, where its value is, how many, the value or its place.
        let listed = || keys.get(4..).unwrap_or_default().as_chunks::<4>().0.iter();
        let short = |key: u64| listed().find(|k| k[0] == key && k[1] == 0).map(|k| k[3]);
        let words = |key: u64| {
            let k = listed().find(|k| k[0] == key && k[1] == u64::from(tag::GEO_TEXT))?;
            let start = usize::try_from(k[3]).ok()?;
            let part = text.get(start..)?.get(..usize::try_from(k[2]).ok()?)?;
            Some(part.trim_end_matches(['|', '\0']).to_owned()).filter(|words| !words.is_empty())
        };
        geo.pixel_is_point = short(RASTER_TYPE) == Some(2);
        let code = |key: u64| short(key).filter(|&code| code != 0);
        geo.epsg = code(PROJECTED)
            .or_else(|| code(GEODETIC))
            .filter(|&code| code != USER_DEFINED)
            .and_then(|code| u32::try_from(code).ok());
        geo.citation =
            words(PROJECTED_CITATION).or_else(|| words(CITATION)).or_else(|| words(GEODETIC_CITATION));
        let (transform, has_control_points) = transform(meta, directory, geo.pixel_is_point)?;
        (geo.transform, geo.has_control_points) = (transform, has_control_points);
        Ok(geo)
    }

    /// The transform of the same image at another resolution.
    pub fn transform_for(&self, from: (u64, u64), to: (u64, u64)) -> Option<[f64; 6]> {
        let [a, b, c, d, e, f] = self.transform?;
        let (down, across) = (from.0 as f64 / to.0 as f64, from.1 as f64 / to.1 as f64);
        Some([a * across, b * down, c, d * across, e * down, f])
    }
}

type Found = (Option<[f64; 6]>, bool);

fn transform(meta: &Meta<'_>, directory: &Directory, pixel_is_point: bool) -> Result<Found> {
    let scale = directory.doubles(meta, tag::PIXEL_SCALE)?.unwrap_or_default();
    let points = directory.doubles(meta, tag::TIEPOINTS)?.unwrap_or_default();
    let matrix = directory.doubles(meta, tag::TRANSFORMATION)?.unwrap_or_default();
    let found = match (&scale[..], &points[..], &matrix[..]) {
        (&[across, down, ..], &[column, row, _, x, y, ..], _) if across != 0.0 && down != 0.0 => {
            // GDAL takes north to be up, whatever the sign.
            let down = -down.abs();
            Some([across, 0.0, x - column * across, 0.0, down, y - row * down])
        }
        (_, _, &[a, b, _, c, d, e, _, f, ..]) => Some([a, b, c, d, e, f]),
        _ => None,
    };
    let shifted = found.map(|[a, b, c, d, e, f]| match pixel_is_point {
        true => [a, b, c - (a * 0.5 + b * 0.5), d, e, f - (d * 0.5 + e * 0.5)],
        false => [a, b, c, d, e, f],
    });
    Ok((shifted.filter(|t| t.iter().all(|x| x.is_finite())), found.is_none() && points.len() >= 6))
}
