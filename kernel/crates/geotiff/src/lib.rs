//! Owns TIFF files as bytes: classic and BigTIFF, strips and tiles, GeoTIFF's place on Earth and GDAL's metadata. What a file
//! holds ([`open`]), what one image is ([`Image`]), reading a box of it ([`Reader`]), with positioned reads alone, and
//! what stands in front of a new file's tiles ([`NewTiff`]).
//!
//! Leaves to others: arrays and their labels, which files belong together, when what is read, and on which machine.
//!
//! Nothing here trusts a file: lengths are compared with the file's before memory is asked for, directories that point in
//! circles are an error, and what a whole opening may read is limited (`inputs`).

#![forbid(unsafe_code)]

mod decode;
mod directory;
mod epsg;
mod error;
mod geo;
mod image;
mod metadata;
mod read;
mod write;

use std::collections::HashSet;

pub use decode::{Compression, Predictor};
pub use error::Error;
pub use geo::Geo;
pub use image::{Element, Image, Kind};
pub use metadata::{Item, Metadata};
pub use nuna_inputs::Input;
pub use read::Reader;
pub use write::{NewImage, NewTiff, predict, predictor};

use directory::Directory;
use nuna_inputs::Meta;

/// What can go wrong in a file.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Directories followed at most; files with thousands of pages exist.
const DIRECTORIES_MAX: usize = 65_536;

/// A file: its first image, and what belongs to that.
#[derive(Clone, Debug)]
pub struct File {
    pub image: Image,
    /// The same at lower resolutions, largest first.
    pub overviews: Vec<Image>,
    /// Whether another image says which pixels are valid.
    pub has_mask: bool,
    /// Further images that are none of these.
    pub pages: usize,
    pub geo: Geo,
    pub metadata: Metadata,
}

/// Whether the first bytes are those of a TIFF file.
///
/// # Errors
/// If they cannot be read, or are those of a BigTIFF that nobody knows.
pub fn is_tiff(input: &dyn Input) -> Result<bool> {
    Ok(directory::header(&directory::meta(input))?.is_some())
}

/// Reads what a file says about its first image. Reads no elements, and not where tiles lie.
///
/// # Errors
/// [`Error::NotTiff`] for another kind of file, [`Error::Damaged`] with the place, [`Error::Unsupported`].
pub fn open(input: &dyn Input) -> Result<File> {
    let meta = directory::meta(input);
    let Some((numbers, first)) = directory::header(&meta)? else {
        let mut first = vec![0; usize::try_from(input.length().min(8)).unwrap_or(8)];
        input.read_at(0, &mut first)?;
        return Err(Error::NotTiff { first });
    };
    let main = Directory::read(&meta, numbers, first)?;
    let image = Image::of(&meta, &main)?;
    let mut file = File {
        overviews: Vec::new(),
        has_mask: false,
        pages: 0,
        geo: Geo::of(&meta, &main)?,
        metadata: Metadata::of(&meta, &main, image.bands)?,
        image,
    };
    let mut seen = HashSet::from([first]);
    let mut next = main.next;
    let mut open = main.uints(&meta, tag::SUB_DIRECTORIES)?.unwrap_or_default();
    while let Some(at) = next.take().or_else(|| open.pop()) {
        if !seen.insert(at) {
            return Err(Error::damaged(at, "directories point in circles"));
        }
        if seen.len() > DIRECTORIES_MAX {
            let message = format!("it has more than {DIRECTORIES_MAX} images");
            return Err(Error::Unsupported(message));
        }
        let directory = Directory::read(&meta, numbers, at)?;
        next = directory.next;
        file.add(&meta, &directory)?;
    }
    file.overviews.sort_by_key(|image| std::cmp::Reverse((image.width, image.height)));
    Ok(file)
}

impl File {
    fn add(&mut self, meta: &Meta<'_>, directory: &Directory) -> Result<()> {
        let purpose = directory.uint(meta, tag::NEW_SUBFILE_TYPE)?.unwrap_or(0);
        if purpose & 4 != 0 {
            self.has_mask |= purpose & 1 == 0;
        } else if purpose & 1 != 0 {
            let overview = Image::of(meta, directory)?;
            // Thumbnails and previews may be of another kind, and then stand for nothing.
            if overview.bands == self.image.bands && overview.element == self.image.element {
                self.overviews.push(overview);
            }
        } else {
            self.pages += 1;
        }
        Ok(())
    }
}

/// Numbers of tags: TIFF 6.0, GeoTIFF 1.1, and those that GDAL has registered.
pub(crate) mod tag {
    pub(crate) const NEW_SUBFILE_TYPE: u16 = 254;
    pub(crate) const WIDTH: u16 = 256;
    pub(crate) const HEIGHT: u16 = 257;
    pub(crate) const BITS_PER_SAMPLE: u16 = 258;
    pub(crate) const COMPRESSION: u16 = 259;
    pub(crate) const PHOTOMETRIC: u16 = 262;
    pub(crate) const FILL_ORDER: u16 = 266;
    pub(crate) const STRIP_OFFSETS: u16 = 273;
    pub(crate) const SAMPLES_PER_PIXEL: u16 = 277;
    pub(crate) const ROWS_PER_STRIP: u16 = 278;
    pub(crate) const STRIP_BYTE_COUNTS: u16 = 279;
    pub(crate) const PLANAR_CONFIGURATION: u16 = 284;
    pub(crate) const PREDICTOR: u16 = 317;
    pub(crate) const TILE_WIDTH: u16 = 322;
    pub(crate) const TILE_HEIGHT: u16 = 323;
    pub(crate) const TILE_OFFSETS: u16 = 324;
    pub(crate) const TILE_BYTE_COUNTS: u16 = 325;
    pub(crate) const SUB_DIRECTORIES: u16 = 330;
    pub(crate) const SAMPLE_FORMAT: u16 = 339;
    pub(crate) const YCBCR_SUBSAMPLING: u16 = 530;
    pub(crate) const PIXEL_SCALE: u16 = 33550;
    pub(crate) const TIEPOINTS: u16 = 33922;
    pub(crate) const TRANSFORMATION: u16 = 34264;
    pub(crate) const GEO_KEYS: u16 = 34735;
    pub(crate) const GEO_TEXT: u16 = 34737;
    pub(crate) const GDAL_METADATA: u16 = 42112;
    pub(crate) const GDAL_NODATA: u16 = 42113;
}
