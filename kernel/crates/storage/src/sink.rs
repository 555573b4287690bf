//! Owns arrays that are written piece by piece into one file ([`Draft`](crate::draft::Draft)): the descriptor that travels
//! ([`PieceSink`]), and how a piece is encoded where it was computed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use nuna_array::{ChunkSink, ChunkWriter, SinkSpec};
use nuna_chunk::{Chunk, DType, Region};
use nuna_geotiff::Predictor;
use nuna_plan::{BlockGrid, TaskError};
use serde::{Deserialize, Serialize};

use crate::{
    PIECES_KIND, draft::Pieces, error::StorageError, packing::Change, pieces::pieces, write_geotiff,
};

/// What a piece becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Encoding {
    Plain,
    /// Bytes of equal rank together, then deflated: HDF5's two filters.
    Shuffled {
        level: u32,
    },
    /// Differences along rows, then deflated: a tile of TIFF.
    Predicted {
        predictor: Predictor,
        level: u32,
    },
}

/// An array to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NewPieces {
    pub(crate) name: String,
    /// What is given.
    pub(crate) dtype: DType,
    /// What lies in the file, after a change.
    pub(crate) stored: DType,
    pub(crate) change: Change,
    pub(crate) shape: Vec<u64>,
    /// Of a piece; those at the array's end are filled up.
    pub(crate) chunk_shape: Vec<u64>,
    /// One element: what is stored beyond the array's end.
    pub(crate) fill: Vec<u8>,
    pub(crate) encoding: Encoding,
}

/// One array of a file being written, as plans name it.
#[derive(Clone, Debug)]
pub struct PieceSink {
    address: Arc<Address>,
}

/// What travels to writers.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Address {
    folder: PathBuf,
    /// Which array of the file.
    number: u32,
    array: NewPieces,
}

impl Address {
    /// The grid of pieces; none where there are no elements.
    fn grid(&self) -> BlockGrid {
        let axes = self.array.shape.iter().zip(&self.array.chunk_shape);
        BlockGrid::new(axes.map(|(&n, &chunk)| n.div_ceil(chunk)))
    }
}

impl PieceSink {
    pub(crate) fn new(array: NewPieces, number: u32, folder: &Path) -> Self {
        Self { address: Arc::new(Address { folder: folder.to_owned(), number, array }) }
    }

    /// How many there are.
    pub(crate) fn pieces(&self) -> u64 {
        self.address.grid().count()
    }

    /// Writes all of the array from memory.
    pub(crate) fn write(&self, pieces: Pieces, chunk: &Chunk) -> Result<(), StorageError> {
        let writer = PieceWriter { pieces, address: Address::clone(&self.address) };
        writer.write(&Region::new(chunk.shape().iter().map(|&n| 0..n)), chunk)
    }
}

impl ChunkSink for PieceSink {
    fn name(&self) -> String {
        self.address.array.name.clone()
    }

    fn dtype(&self) -> DType {
        self.address.array.dtype
    }

    fn shape(&self) -> &[u64] {
        &self.address.array.shape
    }

    fn chunk_shape(&self) -> &[u64] {
        &self.address.array.chunk_shape
    }

    /// A piece cut out of the block or filled up, the same rearranged, and the same compressed.
    fn scratch_bytes(&self) -> u64 {
        let size = self.dtype().size() as u64;
        let piece = self.chunk_shape().iter().fold(size, |bytes, &n| bytes.saturating_mul(n));
        let copies = if self.address.array.change.is_none() { 3 } else { 5 };
        piece.saturating_mul(copies).saturating_add(piece / 64).saturating_add(4096)
    }

    fn spec(&self) -> SinkSpec {
        let payload = postcard::to_stdvec(&*self.address).expect("plain data always encodes");
        SinkSpec { kind: PIECES_KIND.to_owned(), payload }
    }
}

/// Opens what [`PieceSink::spec`] described.
pub(crate) fn open_writer(payload: &[u8]) -> Result<Box<dyn ChunkWriter>, TaskError> {
    let address: Address = postcard::from_bytes(payload).map_err(|error| {
        TaskError::fatal(format!("the address of an array to write cannot be decoded: {error}"))
    })?;
    let pieces = Pieces::open(&address.folder).map_err(StorageError::into_task)?;
    Ok(Box::new(PieceWriter { pieces, address }))
}

/// An array open for writing whole pieces.
struct PieceWriter {
    pieces: Pieces,
    address: Address,
}

impl PieceWriter {
    fn write(&self, region: &Region, chunk: &Chunk) -> Result<(), StorageError> {
        let NewPieces { name, stored: dtype, change, shape, chunk_shape, fill, encoding, .. } =
            &self.address.array;
        let refused = |message: String| StorageError::Variable { variable: name.clone(), message };
        let chunk = &change.apply(chunk).map_err(refused)?;
        let grid = self.address.grid();
        let size = dtype.size();
        pieces(region, chunk, (shape, chunk_shape), fill, refused, |indices, bytes| {
            let key = (self.address.number, grid.index(indices));
            let put = |stored: &[u8]| self.pieces.put(key, stored);
            match *encoding {
                Encoding::Plain => put(&bytes),
                Encoding::Shuffled { level } => {
                    nuna_netcdf::deflated(&bytes, size, level, put).map_err(refused)?
                }
                Encoding::Predicted { predictor, level } => {
                    let row = usize::try_from(chunk_shape.last().copied().unwrap_or(0)).unwrap_or(0) * size;
                    let mut bytes = bytes.into_owned();
                    nuna_geotiff::predict(predictor, write_geotiff::element(*dtype), row, &mut bytes);
                    // TIFF's deflate is that of HDF5.
                    nuna_netcdf::deflated(&bytes, 1, level, put).map_err(refused)?
                }
            }
        })
    }
}

impl ChunkWriter for PieceWriter {
    fn write(&self, region: &Region, chunk: &Chunk) -> Result<(), TaskError> {
        self.write(region, chunk).map_err(StorageError::into_task)
    }
}
