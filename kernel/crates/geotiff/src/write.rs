//! Owns what a new TIFF file says about itself: header and directories, which stand in front, for an image in tiles and the
//! same at lower resolutions; GeoTIFF's keys, GDAL's metadata; and the predictors that tiles go through before they are
//! deflated. Bands lie one after the other. Where tiles lie, and writing them, is others'.

use crate::{
    Element, Error, Geo, Kind, Metadata, Predictor, Result,
    epsg::is_geographic,
    geo::{CITATION, GEODETIC, PROJECTED, RASTER_TYPE, USER_DEFINED},
    tag,
};

/// An image of a new file.
#[derive(Clone, Debug)]
pub struct NewImage {
    pub bands: u64,
    pub rows: u64,
    pub columns: u64,
    /// Where each tile lies, and its bytes: band by band, row by row. All zero until that is known.
    pub tiles: Vec<(u64, u64)>,
}

/// A new file: the image, and the same at lower resolutions, largest first.
#[derive(Clone, Debug)]
pub struct NewTiff {
    pub images: Vec<NewImage>,
    pub element: Element,
    /// Rows and columns of a tile, multiples of 16.
    pub tile: (u64, u64),
    /// Tiles are deflated, after this.
    pub deflated: Option<Predictor>,
    pub geo: Geo,
    /// The value that means none, as text.
    pub nodata: Option<String>,
    pub metadata: Metadata,
    /// Offsets have 8 bytes, as files beyond 4 GiB need.
    pub wide: bool,
}

/// The predictor that suits elements, of those that all readers know.
pub fn predictor(element: Element) -> Predictor {
    match (element.kind, element.size) {
        (Kind::Float, _) => Predictor::FloatingPoint,
        (_, 8) => Predictor::None,
        _ => Predictor::Horizontal,
    }
}

/// Applies a predictor to little-endian elements of one band, in rows of `row` bytes.
pub fn predict(predictor: Predictor, element: Element, row: usize, bytes: &mut [u8]) {
    let size = element.size as usize;
    match predictor {
        Predictor::None => {}
        Predictor::Horizontal => {
            for row in bytes.chunks_exact_mut(row.max(1)) {
                match size {
                    1 => differences::<1>(row),
                    2 => differences::<2>(row),
                    4 => differences::<4>(row),
                    _ => differences::<8>(row),
                }
            }
        }
        Predictor::FloatingPoint => {
            let mut planes = vec![0; row];
            let count = row / size.max(1);
            for row in bytes.chunks_exact_mut(row.max(1)) {
                // Bytes of equal rank together, the highest first.
                for (plane, rank) in planes.chunks_exact_mut(count.max(1)).zip((0..size).rev()) {
                    for (byte, element) in plane.iter_mut().zip(row.chunks_exact(size)) {
                        *byte = element[rank];
                    }
                }
                row.copy_from_slice(&planes);
                differences::<1>(row);
            }
        }
    }
}

/// Every element becomes what it is more than the one before.
fn differences<const N: usize>(row: &mut [u8]) {
    let (elements, _) = row.as_chunks_mut::<N>();
    let wide = |element: [u8; N]| element.iter().rev().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
    let mut last = 0;
    for element in elements {
        let value = wide(*element);
        element.copy_from_slice(&value.wrapping_sub(last).to_le_bytes()[..N]);
        last = value;
    }
}

/// One entry of a directory.
struct Entry {
    tag: u16,
    kind: u16,
    count: u64,
    bytes: Vec<u8>,
}

const ASCII: u16 = 2;
const SHORT: u16 = 3;
const LONG: u16 = 4;
const DOUBLE: u16 = 12;
const LONG8: u16 = 16;

impl Entry {
    fn shorts(tag: u16, values: &[u16]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { tag, kind: SHORT, count: values.len() as u64, bytes }
    }

    fn long(tag: u16, value: u64) -> Self {
        Self { tag, kind: LONG, count: 1, bytes: (value as u32).to_le_bytes().to_vec() }
    }

    fn doubles(tag: u16, values: &[f64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { tag, kind: DOUBLE, count: values.len() as u64, bytes }
    }

    fn text(tag: u16, text: &str) -> Self {
        let mut bytes: Vec<u8> = text.bytes().filter(|&byte| byte != 0).collect();
        bytes.push(0);
        Self { tag, kind: ASCII, count: bytes.len() as u64, bytes }
    }

    fn offsets(tag: u16, wide: bool, values: impl ExactSizeIterator<Item = u64>) -> Self {
        let count = values.len() as u64;
        let (kind, size) = if wide { (LONG8, 8) } else { (LONG, 4) };
        let bytes = values.flat_map(|value| value.to_le_bytes().into_iter().take(size)).collect();
        Self { tag, kind, count, bytes }
    }
}

impl NewTiff {
    /// Tiles of an image: down, and across, of each band.
    pub fn tiles(&self, image: &NewImage) -> (u64, u64) {
        (image.rows.div_ceil(self.tile.0), image.columns.div_ceil(self.tile.1))
    }

    /// What stands in front of the tiles: as long whatever is said about where they lie.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for sizes that TIFF has no numbers for.
    pub fn head(&self) -> Result<Vec<u8>> {
        let mut out = b"II".to_vec();
        let word = if self.wide { 8 } else { 4 };
        let put = |out: &mut Vec<u8>, value: u64| out.extend_from_slice(&value.to_le_bytes()[..word]);
        if self.wide {
            out.extend([43, 0, 8, 0, 0, 0]);
        } else {
            out.extend([42, 0]);
        }
        let first = out.len() + word;
        put(&mut out, first as u64);
        for (number, image) in self.images.iter().enumerate() {
            let entries = self.entries(image, number == 0)?;
            let (count_bytes, entry_bytes) = if self.wide { (8, 20) } else { (2, 12) };
            let table = out.len();
            let mut values_at = table + count_bytes + entries.len() * entry_bytes + word;
            out.extend_from_slice(&(entries.len() as u64).to_le_bytes()[..count_bytes]);
            let mut values = Vec::new();
            for entry in &entries {
                out.extend_from_slice(&entry.tag.to_le_bytes());
                out.extend_from_slice(&entry.kind.to_le_bytes());
                put(&mut out, entry.count);
                if entry.bytes.len() <= word {
                    let mut inline = entry.bytes.clone();
                    inline.resize(word, 0);
                    out.extend(inline);
                } else {
                    put(&mut out, values_at as u64);
                    let mut bytes = entry.bytes.clone();
                    bytes.resize(bytes.len().next_multiple_of(8), 0);
                    values_at += bytes.len();
                    values.extend(bytes);
                }
            }
            let next = if number + 1 < self.images.len() { values_at.next_multiple_of(8) } else { 0 };
            put(&mut out, next as u64);
            out.extend(values);
            out.resize(out.len().next_multiple_of(8), 0);
        }
        if !self.wide && out.len() as u64 > u64::from(u32::MAX) {
            return Err(Error::Unsupported(
                "its directories are longer than a classic TIFF can be".to_owned(),
            ));
        }
        Ok(out)
    }

    fn entries(&self, image: &NewImage, is_main: bool) -> Result<Vec<Entry>> {
        let &NewImage { bands, rows, columns, .. } = image;
        let bits = self.element.size as u16 * 8;
        let too_large = || {
            let message =
                format!("{bands} bands of {rows} × {columns} pixels are more than TIFF has numbers for");
            Error::Unsupported(message)
        };
        if rows.max(columns) > u64::from(i32::MAX as u32) || rows.min(columns) == 0 {
            return Err(too_large());
        }
        let count = u16::try_from(bands).map_err(|_| too_large())?;
        let format = match self.element.kind {
            Kind::UInt => 1,
            Kind::Int => 2,
            Kind::Float => 3,
        };
        let each = |value: u16| vec![value; usize::from(count)];
        let mut entries = vec![
            Entry::long(tag::NEW_SUBFILE_TYPE, u64::from(!is_main)),
            Entry::long(tag::WIDTH, columns),
            Entry::long(tag::HEIGHT, rows),
            Entry::shorts(tag::BITS_PER_SAMPLE, &each(bits)),
            Entry::shorts(tag::COMPRESSION, &[if self.deflated.is_some() { 8 } else { 1 }]),
            // Black is the smallest; further bands are of no kind that TIFF knows.
            Entry::shorts(PHOTOMETRIC, &[1]),
            Entry::shorts(tag::SAMPLES_PER_PIXEL, &[count]),
            Entry::shorts(tag::PLANAR_CONFIGURATION, &[if count > 1 { 2 } else { 1 }]),
        ];
        let predictor = match self.deflated {
            None | Some(Predictor::None) => 1,
            Some(Predictor::Horizontal) => 2,
            Some(Predictor::FloatingPoint) => 3,
        };
        if predictor > 1 {
            entries.push(Entry::shorts(tag::PREDICTOR, &[predictor]));
        }
        entries.push(Entry::long(tag::TILE_WIDTH, self.tile.1));
        entries.push(Entry::long(tag::TILE_HEIGHT, self.tile.0));
        entries.push(Entry::offsets(tag::TILE_OFFSETS, self.wide, image.tiles.iter().map(|tile| tile.0)));
        entries.push(Entry::offsets(tag::TILE_BYTE_COUNTS, self.wide, image.tiles.iter().map(|tile| tile.1)));
        if count > 1 {
            entries.push(Entry::shorts(EXTRA_SAMPLES, &vec![0; usize::from(count) - 1]));
        }
        entries.push(Entry::shorts(tag::SAMPLE_FORMAT, &each(format)));
        if is_main {
            entries.extend(self.geo.entries());
            let xml = self.metadata.xml();
            entries.extend((!xml.is_empty()).then(|| Entry::text(tag::GDAL_METADATA, &xml)));
        }
        entries.extend(self.nodata.as_ref().map(|text| Entry::text(tag::GDAL_NODATA, text)));
        Ok(entries)
    }
}

const PHOTOMETRIC: u16 = 262;
const EXTRA_SAMPLES: u16 = 338;
const MODEL_TYPE: u64 = 1024;

impl Geo {
    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        if let Some([a, b, c, d, e, f]) = self.transform {
            // Of points, the transform is that of centres.
            let half = if self.pixel_is_point { 0.5 } else { 0.0 };
            let (c, f) = (c + (a + b) * half, f + (d + e) * half);
            if b == 0.0 && d == 0.0 && a > 0.0 && e < 0.0 {
                entries.push(Entry::doubles(tag::PIXEL_SCALE, &[a, -e, 0.0]));
                entries.push(Entry::doubles(tag::TIEPOINTS, &[0.0, 0.0, 0.0, c, f, 0.0]));
            } else {
                let matrix = [a, b, 0.0, c, d, e, 0.0, f, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
                entries.push(Entry::doubles(tag::TRANSFORMATION, &matrix));
            }
        }
        let code = self.epsg.and_then(|code| u16::try_from(code).ok());
        let mut keys = Vec::new();
        let model = match code {
            Some(code) if is_geographic(code.into()) => Some((2, GEODETIC, code)),
            Some(code) => Some((1, PROJECTED, code)),
            None => None,
        };
        let user = USER_DEFINED as u16;
        let citation = self.citation.as_ref().filter(|_| code.is_none());
        match (model, citation) {
            (Some((model, _, _)), _) => keys.push([MODEL_TYPE as u16, 0, 1, model]),
            (None, Some(_)) => keys.push([MODEL_TYPE as u16, 0, 1, user]),
            (None, None) => {}
        }
        if self.transform.is_some() || !keys.is_empty() || self.pixel_is_point {
            keys.push([RASTER_TYPE as u16, 0, 1, if self.pixel_is_point { 2 } else { 1 }]);
        }
        let text = citation.map(|text| format!("{}|", text.replace('|', " ")));
        if let Some(text) = &text {
            keys.push([CITATION as u16, tag::GEO_TEXT, text.len() as u16, 0]);
        }
        if let Some((_, key, code)) = model {
            keys.push([key as u16, 0, 1, code]);
        }
        if !keys.is_empty() {
            let mut all = vec![1, 1, 0, keys.len() as u16];
            all.extend(keys.concat());
            entries.push(Entry::shorts(tag::GEO_KEYS, &all));
        }
        entries.extend(text.map(|text| Entry::text(tag::GEO_TEXT, &text)));
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Item, decode, open};

    #[test]
    fn predictors_are_undone() {
        for (kind, size) in [
            (Kind::UInt, 1),
            (Kind::Int, 2),
            (Kind::UInt, 4),
            (Kind::Int, 8),
            (Kind::Float, 4),
            (Kind::Float, 8),
        ] {
            let element = Element { kind, size };
            let plain: Vec<u8> = (0..5 * 7 * size).map(|i| (i * 37 % 251) as u8).collect();
            for predictor in [predictor(element), Predictor::None, Predictor::Horizontal] {
                let mut bytes = plain.clone();
                predict(predictor, element, 7 * size as usize, &mut bytes);
                assert_eq!(bytes == plain, predictor == Predictor::None);
                decode::restore(predictor, element, false, 1, 7 * size as usize, &mut bytes);
                assert_eq!(bytes, plain, "{element:?} {predictor:?}");
            }
        }
    }

    #[test]
    fn what_a_new_file_says_is_read_again() {
        for wide in [false, true] {
            let image = |bands: u64, rows: u64, columns: u64| NewImage {
                bands,
                rows,
                columns,
                tiles: (0..bands * rows.div_ceil(16) * columns.div_ceil(32)).map(|n| (n + 9, 7)).collect(),
            };
            let item = |name: &str, band, role: Option<&str>, value: &str| Item {
                name: name.to_owned(),
                band,
                role: role.map(str::to_owned),
                value: value.to_owned(),
            };
            let tiff = NewTiff {
                images: vec![image(3, 100, 70), image(3, 50, 35)],
                element: Element { kind: Kind::Float, size: 4 },
                tile: (16, 32),
                deflated: Some(Predictor::FloatingPoint),
                geo: Geo {
                    transform: Some([10.0, 0.0, 500.0, 0.0, -20.0, 9000.0]),
                    epsg: Some(32633),
                    pixel_is_point: true,
                    ..Geo::default()
                },
                nodata: Some("nan".to_owned()),
                metadata: Metadata {
                    items: vec![
                        item("a<b & \"c\"", None, None, "x > é & y"),
                        item("SCALE", Some(1), Some("scale"), "0.5"),
                    ],
                },
                wide,
            };
            let mut bytes = tiff.head().unwrap();
            bytes.resize(bytes.len() + 200, 0);
            let file = open(&bytes).unwrap();
            assert_eq!((file.geo, file.metadata), (tiff.geo.clone(), tiff.metadata.clone()));
            assert_eq!((file.image.bands, file.image.height, file.image.width), (3, 100, 70));
            assert_eq!((file.overviews.len(), file.overviews[0].height), (1, 50));
            assert!(file.image.nodata.unwrap().is_nan());
            // South at the top, and a reference system in words.
            let geo = Geo {
                transform: Some([0.25, 0.0, -180.0, 0.0, 0.25, -90.0]),
                citation: Some("my own".to_owned()),
                ..Geo::default()
            };
            let other = NewTiff { geo: geo.clone(), images: vec![image(1, 5, 5)], ..tiff };
            let mut bytes = other.head().unwrap();
            bytes.resize(bytes.len() + 200, 0);
            assert_eq!(open(&bytes).unwrap().geo, geo);
        }
    }
}
