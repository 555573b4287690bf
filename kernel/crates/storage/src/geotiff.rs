//! Owns images of TIFF files as sources: one file, or many of equal size one after the other; how GDAL's nodata, scale and
//! offset are decoded; the descriptor that travels ([`GeotiffSource`]); and the readers that a process keeps open, so that
//! tiles are located once for each file.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use nuna_array::{ChunkReader, ChunkSource, SourceSpec};
use nuna_chunk::{Buffer, Chunk, DType, Region};
use nuna_geotiff::{Element, Error, Geo, Image, Kind, Reader};
use nuna_plan::TaskError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    GEOTIFF_KIND,
    cf::{Decode, Stored},
    error::StorageError,
    file::{File, FileKind, OpenFile, Stamp, changed, unread},
    json::Attributes,
    kept::Kept,
    object::AHEAD_BYTES,
    place,
};

/// How images are opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeotiffOptions {
    /// The image at a lower resolution: 0 is the largest of them. `None` is the image itself.
    pub overview: Option<usize>,
    /// Pixels that are nodata become NaN. Integers of up to 16 bits become `f32`, others `f64`, whether there is nodata or
    /// not. Otherwise values are as they are stored, and the attribute `nodata` says which one means none.
    pub masked: bool,
    /// Values are multiplied by their band's scale and its offset is added, in `f64`. Otherwise the attributes `scale` and
    /// `offset` say what they are.
    pub scaled: bool,
}

/// How several files are one array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// A new first axis with one step for each file: `(file, band, y, x)`.
    Files,
    /// The bands of all files one after the other: `(band, y, x)`.
    Bands,
}

/// One image, or several that are one array, as they were opened.
#[derive(Clone, Debug)]
pub struct Raster {
    pub source: GeotiffSource,
    pub paths: Vec<PathBuf>,
    /// Of the first file, but for what differs in others.
    pub attrs: Attributes,
    /// Of pixels to coordinates, as [`Geo::transform`]. All files have the same.
    pub transform: Option<[f64; 6]>,
}

/// Where elements lie, and how they are decoded. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GeotiffSource {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shape: Vec<u64>,
    chunk_shape: Vec<u64>,
    address: Address,
    spec: OnceLock<SourceSpec>,
}

/// What travels to workers: everything but the tiles' places, which are many.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Address {
    name: String,
    files: Vec<FileAddress>,
    has_file_axis: bool,
    /// Of each file's image.
    bands: u64,
    rows: u64,
    columns: u64,
    element: Element,
    /// Bands, rows and columns that are best read together.
    block: [u64; 3],
    scratch_bytes: u64,
    random_access: bool,
    output: DType,
    decodes: Vec<Decode>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FileAddress {
    path: PathBuf,
    stamp: Stamp,
    /// Where the image's directory lies.
    directory: u64,
    /// Which of the decodes.
    decode: u32,
}

/// Whether a file begins as TIFF files do. `false` for what cannot be read.
pub(crate) fn is_geotiff(path: &Path) -> bool {
    path.is_file()
        && OpenFile::open(path).and_then(|file| file.kind()).is_ok_and(|kind| kind == FileKind::Tiff)
}

/// Reads what a TIFF file says about itself.
///
/// # Errors
/// If there is no such file or overview, or it is no TIFF, damaged, or of a kind that is not supported.
pub fn open_geotiff(path: impl AsRef<Path>, options: &GeotiffOptions) -> Result<Raster, StorageError> {
    open_geotiff_file(&OpenFile::open(path)?, options)
}

/// [`open_geotiff`] of a file that is open.
///
/// # Errors
/// As [`open_geotiff`].
pub fn open_geotiff_file(file: &OpenFile, options: &GeotiffOptions) -> Result<Raster, StorageError> {
    let mut raster = stack(&[Opened::of(file, options)?], Stack::Bands, options)?;
    raster.attrs.shift_remove("files");
    Ok(raster)
}

/// Files opened at a time. Opening waits for the file system, not for the processor.
const OPENED_AT_ONCE: usize = 16;

/// Reads what several files say about themselves: of each its first pages, side by side.
///
/// # Errors
/// As [`open_geotiff`], if there is none, or two do not fit: both are named.
pub fn open_geotiffs(
    paths: &[PathBuf],
    kind: Stack,
    options: &GeotiffOptions,
) -> Result<Raster, StorageError> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((0..paths.len()).map(|_| None).collect::<Vec<Option<Result<Opened, _>>>>());
    std::thread::scope(|scope| {
        for _ in 0..OPENED_AT_ONCE.min(paths.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    let Some(path) = paths.get(number) else { break };
                    let opened = OpenFile::open(path).and_then(|file| Opened::of(&file, options));
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
    let opened = results.into_iter().flatten().collect::<Result<Vec<_>, _>>()?;
    stack(&opened, kind, options)
}

/// One file, metadata only.
struct Opened {
    path: PathBuf,
    stamp: Stamp,
    image: Image,
    geo: Geo,
    transform: Option<[f64; 6]>,
    decode: Decode,
    attrs: Attributes,
}

impl Opened {
    fn of(open: &OpenFile, options: &GeotiffOptions) -> Result<Self, StorageError> {
        let path = &open.path;
        let failed = |message: String| StorageError::File { path: place::shown(path), message };
        let file = nuna_geotiff::open(&open.file).map_err(|error| failed(error.to_string()))?;
        let image = match options.overview {
            None => file.image.clone(),
            Some(level) => {
                let mut image = file.overviews.get(level).cloned().ok_or_else(|| {
                    let sizes: Vec<_> =
                        file.overviews.iter().map(|o| format!("{} × {}", o.height, o.width)).collect();
                    failed(match sizes.is_empty() {
                        true => "it has no overviews; the image itself can be read".to_owned(),
                        false => format!(
                            "it has no overview {level}; there are {} ({}), counted from 0",
                            sizes.len(),
                            sizes.join(", ")
                        ),
                    })
                })?;
                image.nodata = image.nodata.or(file.image.nodata);
                image
            }
        };
        let decode = decode(&file, &image, options).map_err(failed)?;
        let size = |image: &Image| (image.height, image.width);
        let transform = file.geo.transform_for(size(&file.image), size(&image));
        let attrs = attributes(&file, &image, transform, options);
        let stamp = open.file.stamp();
        Ok(Self { path: path.clone(), stamp, image, geo: file.geo, transform, decode, attrs })
    }
}

fn stored(element: Element) -> Stored {
    match (element.kind, element.size) {
        (Kind::UInt, 1) => Stored::Plain(DType::U8),
        (Kind::UInt, 2) => Stored::Plain(DType::U16),
        (Kind::UInt, 4) => Stored::Plain(DType::U32),
        (Kind::UInt, _) => Stored::Plain(DType::U64),
        (Kind::Int, 1) => Stored::Plain(DType::I8),
        (Kind::Int, 2) => Stored::Plain(DType::I16),
        (Kind::Int, 4) => Stored::Plain(DType::I32),
        (Kind::Int, _) => Stored::Plain(DType::I64),
        (Kind::Float, 2) => Stored::F16,
        (Kind::Float, 4) => Stored::Plain(DType::F32),
        (Kind::Float, _) => Stored::Plain(DType::F64),
    }
}

fn decode(file: &nuna_geotiff::File, image: &Image, options: &GeotiffOptions) -> Result<Decode, String> {
    let stored = stored(image.element);
    let mut decode = Decode {
        stored,
        output: match stored {
            Stored::Plain(dtype) => dtype,
            Stored::F16 => DType::F32,
        },
        missing: Vec::new(),
        scale: None,
        offset: None,
        counts_time: false,
    };
    if options.masked {
        if file.has_mask && image.nodata.is_none() {
            return Err("which of its pixels are valid is said by a mask, not by a nodata value; masks cannot be applied yet: \
                        open it without `masked`, or write it with nodata"
                .to_owned());
        }
        decode.missing = image.nodata.filter(|nodata| !nodata.is_nan()).into_iter().collect();
        decode.output = match (image.element.kind, image.element.size) {
            (Kind::Float, 8) => DType::F64,
            (Kind::Float, _) | (_, 1 | 2) => DType::F32,
            _ => DType::F64,
        };
    }
    if options.scaled {
        let one = |what: &str, values: Vec<f64>, neutral: f64| {
            let first = values.first().copied().unwrap_or(neutral);
            match values.iter().all(|&value| value == first) {
                true => Ok(Some(first).filter(|&value| value != neutral)),
                false => Err(format!(
                    "its bands have different {what} ({values:?}); open it without `scaled`, select a band and apply its own"
                )),
            }
        };
        decode.scale = one("scales", file.metadata.scales(image.bands), 1.0)?;
        decode.offset = one("offsets", file.metadata.offsets(image.bands), 0.0)?;
        if decode.scale.is_some() || decode.offset.is_some() {
            decode.output = DType::F64;
        }
    }
    Ok(decode)
}

fn attributes(
    file: &nuna_geotiff::File,
    image: &Image,
    transform: Option<[f64; 6]>,
    options: &GeotiffOptions,
) -> Attributes {
    let mut attrs = Attributes::new();
    let (geo, metadata, bands) = (&file.geo, &file.metadata, image.bands);
    for (name, value) in metadata.tags() {
        attrs.insert(name.to_owned(), value.into());
    }
    let crs = geo.epsg.map(|code| format!("EPSG:{code}")).or_else(|| geo.citation.clone());
    if let Some(crs) = crs {
        attrs.insert("crs".to_owned(), crs.into());
    }
    if let Some(transform) = transform {
        attrs.insert("transform".to_owned(), json!(transform));
    }
    let point = if geo.pixel_is_point { "Point" } else { "Area" };
    attrs.insert("AREA_OR_POINT".to_owned(), point.into());
    if let Some(nodata) = image.nodata.filter(|_| !options.masked) {
        attrs.insert("nodata".to_owned(), number(nodata));
    }
    let numbers = |values: Vec<f64>| -> Value { together(values.into_iter().map(number).collect()) };
    if !options.scaled {
        let (scales, offsets) = (metadata.scales(bands), metadata.offsets(bands));
        if scales.iter().any(|&scale| scale != 1.0) {
            attrs.insert("scale".to_owned(), numbers(scales));
        }
        if offsets.iter().any(|&offset| offset != 0.0) {
            attrs.insert("offset".to_owned(), numbers(offsets));
        }
    }
    for (name, texts) in [("units", metadata.units(bands)), ("long_name", metadata.descriptions(bands))] {
        if texts.iter().any(Option::is_some) {
            attrs.insert(name.to_owned(), together(texts.into_iter().map(Value::from).collect()));
        }
    }
    attrs
}

/// One value where all are equal.
fn together(mut values: Vec<Value>) -> Value {
    match values.iter().all(|value| *value == values[0]) {
        true => values.pop().unwrap_or(Value::Null),
        false => Value::Array(values),
    }
}

fn number(value: f64) -> Value {
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    match serde_json::Number::from_f64(value) {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        Some(_) if value.fract() == 0.0 && value.abs() < WHOLE_MAX => (value as i64).into(),
        Some(number) => Value::Number(number),
        None if value.is_nan() => "NaN".into(),
        None if value > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

fn stack(opened: &[Opened], kind: Stack, options: &GeotiffOptions) -> Result<Raster, StorageError> {
    let Some(first) = opened.first() else {
        let message = "there are no files to open".to_owned();
        return Err(StorageError::File { path: PathBuf::new(), message });
    };
    let mut decodes: Vec<Decode> = Vec::new();
    let mut files = Vec::with_capacity(opened.len());
    let mut attrs = first.attrs.clone();
    let image = &first.image;
    let (mut scratch_bytes, mut random_access) = (0, true);
    for other in opened {
        fits(first, other)?;
        attrs.retain(|key, value| other.attrs.get(key) == Some(value));
        let known = decodes.iter().position(|decode| *decode == other.decode);
        let decode = known.unwrap_or_else(|| {
            decodes.push(other.decode.clone());
            decodes.len() - 1
        }) as u32;
        scratch_bytes = scratch_bytes.max(other.image.scratch_bytes());
        random_access &= other.image.random_access();
        files.push(FileAddress {
            path: other.path.clone(),
            stamp: other.stamp.clone(),
            directory: other.image.at,
            decode,
        });
    }
    // Where some files are scaled and others are not, all are what the widest is.
    let output = match decodes.iter().any(|decode| decode.output == DType::F64 && options.scaled) {
        true => DType::F64,
        false => first.decode.output,
    };
    decodes.iter_mut().for_each(|decode| decode.output = output);
    let (rows, columns) = image.block;
    let row_bytes = columns.min(image.width) * image.bands_in_block() * u64::from(image.element.size);
    let rows = if random_access { rows.min((PIECE_BYTES / row_bytes.max(1)).max(1)) } else { rows };
    let address = Address {
        name: name(&files),
        files,
        has_file_axis: kind == Stack::Files,
        bands: image.bands,
        rows: image.height,
        columns: image.width,
        element: image.element,
        block: [image.bands_in_block(), rows.min(image.height), columns.min(image.width)],
        scratch_bytes,
        random_access,
        output,
        decodes,
    };
    Ok(Raster {
        source: GeotiffSource::new(address),
        paths: opened.iter().map(|file| place::shown(&file.path)).collect(),
        attrs,
        transform: first.transform,
    })
}

/// What is not compressed is offered in pieces of about this many bytes.
const PIECE_BYTES: u64 = 4 << 20;

/// Says which two files do not fit, and in what.
fn fits(a: &Opened, b: &Opened) -> Result<(), StorageError> {
    let differ = |what: &str, ours: String, theirs: String| {
        let message = format!(
            "{what} is {theirs}, but {ours} in {}; files of two kinds are not one array",
            place::shown(&a.path).display()
        );
        Err(StorageError::File { path: place::shown(&b.path), message })
    };
    let shape = |image: &Image| (image.bands, image.height, image.width);
    if shape(&a.image) != shape(&b.image) {
        let show = |image: &Image| format!("{:?}", shape(image));
        return differ("its shape (band, y, x)", show(&a.image), show(&b.image));
    }
    if a.image.element != b.image.element {
        let show = |element: Element| match stored(element) {
            Stored::Plain(dtype) => dtype.name().to_owned(),
            Stored::F16 => "float16".to_owned(),
        };
        return differ("its dtype", show(a.image.element), show(b.image.element));
    }
    if a.transform != b.transform {
        return differ("its transform", format!("{:?}", a.transform), format!("{:?}", b.transform));
    }
    if a.geo.epsg != b.geo.epsg {
        let show = |geo: &Geo| geo.epsg.map_or("not said".to_owned(), |code| format!("EPSG:{code}"));
        return differ("its reference system", show(&a.geo), show(&b.geo));
    }
    Ok(())
}

/// What the files' names have in common, without what separates it from the rest.
fn name(files: &[FileAddress]) -> String {
    let stem = |file: &FileAddress| {
        place::shown(&file.path).file_stem().unwrap_or_default().to_string_lossy().into_owned()
    };
    let mut stems = files.iter().map(stem);
    let first = stems.next().unwrap_or_default();
    if files.len() == 1 {
        return first;
    }
    let common = stems.fold(first.clone(), |common, stem| {
        common.chars().zip(stem.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    });
    let common = common.trim_end_matches(|c: char| c.is_ascii_digit() || "_-. ".contains(c));
    if common.is_empty() { first } else { common.to_owned() }
}

impl GeotiffSource {
    fn new(address: Address) -> Self {
        let Address { bands, rows, columns, .. } = address;
        let count = address.files.len() as u64;
        let block = address.block.map(|n| n.max(1));
        let (shape, chunk_shape) = match address.has_file_axis {
            true => (vec![count, bands, rows, columns], [&[1][..], &block].concat()),
            false => (vec![count.saturating_mul(bands), rows, columns], block.to_vec()),
        };
        Self { inner: Arc::new(Inner { shape, chunk_shape, address, spec: OnceLock::new() }) }
    }

    /// As [`Source::from_spec`](crate::Source::from_spec).
    pub(crate) fn from_spec(spec: &SourceSpec, shape: &[u64]) -> Result<Self, String> {
        let address: Address = postcard::from_bytes(&spec.payload)
            .map_err(|error| format!("the address of an image cannot be decoded: {error}"))?;
        let source = Self::new(address);
        if source.inner.shape != shape {
            return Err(format!("an image has shape {:?}, expected {shape:?}", source.inner.shape));
        }
        Ok(source)
    }

    /// Every element, in memory, decoded on this thread.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read_all(&self) -> Result<Chunk, StorageError> {
        let reader = GeotiffReader { address: self.inner.address.clone() };
        reader.read(&Region::new(self.inner.shape.iter().map(|&n| 0..n)))
    }
}

impl ChunkSource for GeotiffSource {
    fn name(&self) -> String {
        self.inner.address.name.clone()
    }

    fn dtype(&self) -> DType {
        self.inner.address.output
    }

    fn shape(&self) -> &[u64] {
        &self.inner.shape
    }

    fn chunk_shape(&self) -> &[u64] {
        &self.inner.chunk_shape
    }

    fn spec(&self) -> SourceSpec {
        let spec = self.inner.spec.get_or_init(|| {
            let payload = postcard::to_stdvec(&self.inner.address).expect("plain data always encodes");
            SourceSpec { kind: GEOTIFF_KIND.to_owned(), payload }
        });
        spec.clone()
    }

    fn scratch_bytes(&self, bytes: u64) -> u64 {
        let address = &self.inner.address;
        let stored = bytes / address.output.size() as u64 * u64::from(address.element.size);
        let is_far = address.files.iter().any(|file| place::is_remote(&file.path));
        address.scratch_bytes
            + if is_far { AHEAD_BYTES } else { 0 }
            + if address.is_plain() { 0 } else { stored }
    }

    fn random_access(&self) -> bool {
        self.inner.address.random_access
    }
}

/// Opens what [`GeotiffSource::spec`] described.
pub(crate) fn open_reader(payload: &[u8]) -> Result<Box<dyn ChunkReader>, TaskError> {
    let address: Address = postcard::from_bytes(payload)
        .map_err(|error| TaskError::fatal(format!("the address of an image cannot be decoded: {error}")))?;
    Ok(Box::new(GeotiffReader { address }))
}

impl Address {
    /// Whether elements are delivered as they are stored.
    fn is_plain(&self) -> bool {
        self.decodes.iter().all(Decode::is_identity)
    }
}

struct GeotiffReader {
    address: Address,
}

impl GeotiffReader {
    fn read(&self, region: &Region) -> Result<Chunk, StorageError> {
        let address = &self.address;
        let parts = address.parts(region.ranges())?;
        let size = address.element.size as usize;
        let bytes_of = |part: &[Range<u64>; 3]| {
            part.iter().map(|r| (r.end - r.start) as usize).product::<usize>() * size
        };
        let mut out = Buffer::new(region.len() as usize * size);
        let mut rest = out.as_mut_slice();
        for (number, part) in &parts {
            let file = address.file(*number)?;
            let (here, after) = rest.split_at_mut(bytes_of(part));
            file.open(address)?.read(part, here).map_err(|error| file.blame(&address.name, error))?;
            rest = after;
        }
        let bytes: Bytes = out.freeze();
        nuna_plan::meter::add_read_bytes(bytes.len() as u64);
        let bytes = if address.is_plain() { bytes } else { address.decoded(&parts, bytes, bytes_of)? };
        Chunk::new(address.output, &region.shape(), bytes).map_err(|error| address.odd(error.to_string()))
    }
}

impl ChunkReader for GeotiffReader {
    fn read(&self, region: &Region) -> Result<Chunk, TaskError> {
        self.read(region).map_err(StorageError::into_task)
    }
}

/// A box of bands, rows and columns of the file of that number.
type Part = (usize, [Range<u64>; 3]);

impl Address {
    fn odd(&self, message: String) -> StorageError {
        let file = self.files.first().map(|file| place::shown(&file.path)).unwrap_or_default();
        StorageError::Damaged { variable: self.name.clone(), file, message }
    }

    fn file(&self, number: usize) -> Result<&FileAddress, StorageError> {
        self.files.get(number).ok_or_else(|| self.odd(format!("there is no file {number}")))
    }

    /// What a box takes of each file, in the order in which it lies in the box.
    fn parts(&self, ranges: &[Range<u64>]) -> Result<Vec<Part>, StorageError> {
        let (files, bands, rows, columns) = match ranges {
            [files, bands, rows, columns] if self.has_file_axis => {
                (files.clone(), bands.clone(), rows, columns)
            }
            [bands, rows, columns] if !self.has_file_axis => {
                let n = self.bands.max(1);
                (bands.start / n..bands.end.div_ceil(n), bands.clone(), rows, columns)
            }
            _ => return Err(self.odd(format!("there is no box {ranges:?} in it"))),
        };
        let mut parts = Vec::new();
        for file in files {
            let bands = match self.has_file_axis {
                true => bands.clone(),
                false => {
                    let first = file * self.bands;
                    bands.start.max(first) - first..bands.end.min(first + self.bands) - first
                }
            };
            let fits = bands.end <= self.bands && rows.end <= self.rows && columns.end <= self.columns;
            if !fits {
                return Err(self.odd(format!("there is no box {ranges:?} in it")));
            }
            parts.push((file as usize, [bands, rows.clone(), columns.clone()]));
        }
        Ok(parts)
    }

    /// How the elements of a file are decoded.
    fn decode(&self, number: usize) -> Result<&Decode, StorageError> {
        let decode = self.decodes.get(self.file(number)?.decode as usize);
        decode.ok_or_else(|| self.odd("it does not say how a file is decoded".to_owned()))
    }

    /// Decodes each file's part in its own way.
    fn decoded(
        &self,
        parts: &[Part],
        bytes: Bytes,
        bytes_of: impl Fn(&[Range<u64>; 3]) -> usize,
    ) -> Result<Bytes, StorageError> {
        if let [decode] = &self.decodes[..] {
            return Ok(decode.apply(bytes));
        }
        let mut out = Buffer::new(bytes.len() / self.element.size as usize * self.output.size());
        let (mut from, mut to) = (0, 0);
        for (number, part) in parts {
            let length = bytes_of(part);
            let piece = self.decode(*number)?.apply(bytes.slice(from..from + length));
            out.as_mut_slice()[to..to + piece.len()].copy_from_slice(&piece);
            (from, to) = (from + length, to + piece.len());
        }
        Ok(out.freeze())
    }
}

/// Readers that stay open: files that one process keeps, and places of tiles, 16 bytes each.
static KEPT: Kept<(PathBuf, Stamp, u64), Reader<File>> = Kept::new(256, 8 << 20, Reader::blocks);

impl FileAddress {
    fn open(&self, address: &Address) -> Result<Arc<Reader<File>>, StorageError> {
        let changed = || changed(&address.name, &self.path);
        let key = (self.path.clone(), self.stamp.clone(), self.directory);
        if let Some(open) = KEPT.get(&key) {
            return if open.input().is_unchanged() { Ok(open) } else { Err(changed()) };
        }
        let blame = |error| self.blame(&address.name, error);
        let file =
            File::again(&self.path, &self.stamp).map_err(|error| blame(error.into()))?.ok_or_else(changed)?;
        let image = Image::read(&file, self.directory).map_err(blame)?;
        let is_same = (image.bands, image.height, image.width, image.element)
            == (address.bands, address.rows, address.columns, address.element);
        if !is_same {
            return Err(changed());
        }
        // Two threads may locate the same tiles at once; the second one's are as good.
        let open = Arc::new(Reader::new(file, image).map_err(blame)?);
        KEPT.put(key, &open);
        Ok(open)
    }

    fn blame(&self, name: &str, error: Error) -> StorageError {
        match error {
            Error::Io(error) => unread(name, &self.path, &error),
            other => StorageError::Damaged {
                variable: name.to_owned(),
                file: place::shown(&self.path),
                message: other.to_string(),
            },
        }
    }
}
