//! Owns [`Source`]: a stored variable of whatever kind, for those who do not care which.

use nuna_array::{ChunkSource, SourceSpec};
use nuna_chunk::{Chunk, DType};

use crate::{
    GEOTIFF_KIND, NETCDF_KIND, error::StorageError, geotiff::GeotiffSource, netcdf::NetcdfSource,
    read::ZarrSource,
};

/// A stored variable. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Source {
    Zarr(ZarrSource),
    Netcdf(NetcdfSource),
    Geotiff(GeotiffSource),
}

impl Source {
    /// What [`ChunkSource::spec`] described, without reading metadata again.
    ///
    /// # Errors
    /// If it is not the descriptor of a stored array, or does not fit `shape`.
    pub fn from_spec(spec: &SourceSpec, shape: Vec<u64>) -> Result<Self, String> {
        if spec.kind == NETCDF_KIND {
            NetcdfSource::from_spec(spec, &shape).map(Source::Netcdf)
        } else if spec.kind == GEOTIFF_KIND {
            GeotiffSource::from_spec(spec, &shape).map(Source::Geotiff)
        } else {
            ZarrSource::from_spec(spec, shape).map(Source::Zarr)
        }
    }

    fn any(&self) -> &dyn ChunkSource {
        match self {
            Source::Zarr(source) => source,
            Source::Netcdf(source) => source,
            Source::Geotiff(source) => source,
        }
    }

    /// Whether the elements are text, which arrays cannot hold.
    pub fn is_text(&self) -> bool {
        match self {
            Source::Zarr(source) => source.is_text(),
            Source::Netcdf(source) => source.is_text(),
            Source::Geotiff(_) => false,
        }
    }

    pub fn dtype(&self) -> DType {
        self.any().dtype()
    }

    pub fn shape(&self) -> &[u64] {
        self.any().shape()
    }

    /// Every element, in memory; for coordinates.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read_all(&self) -> Result<Chunk, StorageError> {
        match self {
            Source::Zarr(source) => source.read_all(),
            Source::Netcdf(source) => source.read_all(),
            Source::Geotiff(source) => source.read_all(),
        }
    }

    /// Every element of a text array.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read_all_text(&self) -> Result<Vec<String>, StorageError> {
        match self {
            Source::Zarr(source) => source.read_all_text(),
            Source::Netcdf(source) => source.read_all_text(),
            Source::Geotiff(_) => Ok(Vec::new()),
        }
    }
}

impl ChunkSource for Source {
    fn name(&self) -> String {
        self.any().name()
    }

    fn dtype(&self) -> DType {
        self.any().dtype()
    }

    fn shape(&self) -> &[u64] {
        self.any().shape()
    }

    fn chunk_shape(&self) -> &[u64] {
        self.any().chunk_shape()
    }

    fn spec(&self) -> SourceSpec {
        self.any().spec()
    }

    fn scratch_bytes(&self, bytes: u64) -> u64 {
        self.any().scratch_bytes(bytes)
    }

    fn random_access(&self) -> bool {
        self.any().random_access()
    }
}
