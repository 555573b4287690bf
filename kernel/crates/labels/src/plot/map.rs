//! Owns what makes a heat map a map of the Earth: degrees on its axes, their proportion, and coastlines.
//!
//! `coast.bin` holds the coastlines of Natural Earth at 1:110 million (public domain, <https://www.naturalearthdata.com>),
//! without the edges of the world: for each line the number of its points (u16), then longitude and latitude of each in
//! hundredths of a degree (i16), all little-endian. 128 lines, 5,122 points.

use std::fmt::Write as _;

use crate::{DataArray, plot::Frame};

const COAST: &[u8] = include_bytes!("coast.bin");

/// What a dimension of a map measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Angle {
    Latitude,
    Longitude,
}

/// By the units that the CF conventions give them, else by the usual names.
pub(crate) fn angle(array: &DataArray, dim: &str) -> Option<Angle> {
    let coord = array.coords.index(dim)?;
    let text =
        |key: &str| coord.attrs().get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    // <https://cfconventions.org/Data/cf-conventions/cf-conventions-1.11/cf-conventions.html#latitude-coordinate>
    match text("units").as_str() {
        "degrees_north" | "degree_north" | "degree_N" | "degrees_N" | "degreeN" | "degreesN" => {
            return Some(Angle::Latitude);
        }
        "degrees_east" | "degree_east" | "degree_E" | "degrees_E" | "degreeE" | "degreesE" => {
            return Some(Angle::Longitude);
        }
        _ => {}
    }
    let names = [text("standard_name"), dim.to_lowercase()];
    let named = |wanted: &[&str]| names.iter().any(|name| wanted.contains(&name.as_str()));
    if named(&["latitude", "lat"]) {
        Some(Angle::Latitude)
    } else if named(&["longitude", "lon", "long"]) {
        Some(Angle::Longitude)
    } else {
        None
    }
}

impl Angle {
    /// `30°N`, `60°W`; longitudes may count from 0 to 360.
    pub(crate) fn tick(self, degrees: f64) -> String {
        let (value, letter) = match self {
            Angle::Latitude if degrees < 0.0 => (-degrees, "S"),
            Angle::Latitude => (degrees, "N"),
            Angle::Longitude => {
                let east = (degrees + 180.0).rem_euclid(360.0) - 180.0;
                if east < 0.0 { (-east, "W") } else { (east, "E") }
            }
        };
        let letter = if value == 0.0 || (value == 180.0 && self == Angle::Longitude) { "" } else { letter };
        let text = format!("{value:.3}");
        format!("{}°{letter}", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// `frame` made as wide and high as a map of that many degrees is, if that leaves something to look at.
pub(crate) fn proportioned(frame: Frame, longitudes: (f64, f64), latitudes: (f64, f64)) -> Frame {
    let (wide, high) = (longitudes.1 - longitudes.0, latitudes.1 - latitudes.0);
    let middle = (latitudes.0 + latitudes.1) / 2.0;
    // A degree of longitude is shorter away from the equator; on a map of half the world no one number is right.
    let shrink = if high < 60.0 { middle.to_radians().cos().max(0.1) } else { 1.0 };
    let proportion = wide * shrink / high;
    if !proportion.is_finite() || !(0.2..=5.0).contains(&proportion) {
        return frame;
    }
    let width = frame.width.min(frame.height * proportion);
    Frame { width, height: width / proportion, ..frame }
}

/// Draws the coastlines. `x` and `y` give the place of a longitude and latitude along the frame's sides, from 0 to 1;
/// the map may show longitudes from -180 to 180, from 0 to 360, or any part of both.
pub(crate) fn coastlines(
    svg: &mut String,
    frame: Frame,
    clip: &str,
    x: &dyn Fn(f64) -> Option<f64>,
    y: &dyn Fn(f64) -> Option<f64>,
) {
    let mut path = String::new();
    for turn in [-360.0, 0.0, 360.0] {
        for line in coast() {
            let mut pen_down = false;
            let mut before = f64::NAN;
            for (longitude, latitude) in line {
                // From one edge of the world to the other is no coast either.
                pen_down &= (longitude - before).abs() < 180.0;
                before = longitude;
                let (Some(px), Some(py)) = (x(longitude + turn), y(latitude)) else {
                    pen_down = false;
                    continue;
                };
                let (px, py) = (frame.left + px * frame.width, frame.top + frame.height - py * frame.height);
                let _ = write!(path, "{}{px:.1} {py:.1}", if pen_down { 'L' } else { 'M' });
                pen_down = true;
            }
        }
    }
    let _ = write!(
        svg,
        "<path d=\"{path}\" fill=\"none\" stroke=\"#111\" stroke-opacity=\"0.75\" stroke-width=\"0.7\" clip-path=\"url(#{clip})\"/>"
    );
}

/// The lines of [`COAST`], in degrees.
fn coast() -> impl Iterator<Item = Vec<(f64, f64)>> {
    let mut rest = COAST;
    std::iter::from_fn(move || {
        let (count, after) = rest.split_first_chunk::<2>()?;
        let (points, next) = after.split_at_checked(usize::from(u16::from_le_bytes(*count)) * 4)?;
        rest = next;
        let degrees = |low: u8, high: u8| f64::from(i16::from_le_bytes([low, high])) / 100.0;
        Some(points.chunks_exact(4).map(|p| (degrees(p[0], p[1]), degrees(p[2], p[3]))).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coastlines_are_whole_and_on_earth() {
        let lines: Vec<_> = coast().collect();
        assert_eq!((lines.len(), lines.iter().map(Vec::len).sum::<usize>()), (128, 5122));
        for (longitude, latitude) in lines.iter().flatten() {
            assert!(longitude.abs() <= 180.0 && latitude.abs() <= 90.0);
        }
        // Cape Agulhas, the southern end of Africa, is near 34.8 S, 20 E.
        assert!(lines.iter().flatten().any(|(x, y)| (x - 20.0).abs() < 1.5 && (y + 34.8).abs() < 0.5));
    }

    #[test]
    fn degrees_have_their_letters() {
        let longitude = |degrees| Angle::Longitude.tick(degrees);
        assert_eq!(
            [longitude(-60.0), longitude(300.0), longitude(2.5), longitude(180.0)],
            ["60°W", "60°W", "2.5°E", "180°"]
        );
        assert_eq!([Angle::Latitude.tick(-30.0), Angle::Latitude.tick(0.0)], ["30°S", "0°"]);
    }

    #[test]
    fn a_map_of_the_world_is_twice_as_wide_as_high() {
        let frame = Frame { left: 0.0, top: 0.0, width: 450.0, height: 316.0 };
        let map = proportioned(frame, (-180.0, 180.0), (-90.0, 90.0));
        assert!((map.width / map.height - 2.0).abs() < 1e-9 && map.width <= 450.0 && map.height <= 316.0);
        assert_eq!(proportioned(frame, (0.0, 100.0), (0.0, 1.0)), frame);
    }
}
