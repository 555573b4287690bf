//! Owns what makes chunks of a Zarr store smaller, and how metadata documents of both versions say so.

use serde_json::{Value, json};

/// What makes chunks smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compressor {
    /// Chunks are stored as they are.
    None,
    Zstd {
        /// -131072 (fastest) to 22 (smallest).
        level: i32,
    },
    Gzip {
        /// 0 to 9.
        level: u32,
    },
    Blosc {
        codec: BloscCodec,
        /// 0 to 9.
        level: u32,
        shuffle: Shuffle,
    },
    /// As numcodecs has it: a block of LZ4 behind its length. Zarr's own version 3 does not know it; zarr-python does.
    Lz4,
}

impl Default for Compressor {
    fn default() -> Self {
        Self::Zstd { level: 3 }
    }
}

/// What Blosc compresses its blocks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BloscCodec {
    Lz4,
    Lz4hc,
    Zlib,
    Zstd,
}

/// How Blosc orders the bytes of elements before it compresses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    None,
    /// First bytes first.
    Byte,
    /// First bits first.
    Bit,
}

impl Compressor {
    pub(crate) fn check(self) -> Result<(), String> {
        let (what, level, levels) = match self {
            Compressor::None | Compressor::Lz4 => return Ok(()),
            Compressor::Zstd { level } => ("zstd", i64::from(level), -131_072..=22),
            Compressor::Gzip { level } => ("gzip", i64::from(level), 0..=9),
            Compressor::Blosc { level, .. } => ("Blosc", i64::from(level), 0..=9),
        };
        if levels.contains(&level) {
            return Ok(());
        }
        Err(format!("{what} has the levels {} to {}, not {level}", levels.start(), levels.end()))
    }

    pub(crate) fn v3(self, element_bytes: usize) -> Option<Value> {
        Some(match self {
            Compressor::None => return None,
            Compressor::Lz4 => json!({"name": "numcodecs.lz4", "configuration": {"acceleration": 1}}),
            Compressor::Zstd { level } => {
                json!({"name": "zstd", "configuration": {"level": level, "checksum": false}})
            }
            Compressor::Gzip { level } => json!({"name": "gzip", "configuration": {"level": level}}),
            Compressor::Blosc { codec, level, shuffle } => {
                let shuffle = match shuffle {
                    Shuffle::None => "noshuffle",
                    Shuffle::Byte => "shuffle",
                    Shuffle::Bit => "bitshuffle",
                };
                json!({"name": "blosc", "configuration": {
                    "cname": codec.name(), "clevel": level, "shuffle": shuffle, "typesize": element_bytes, "blocksize": 0,
                }})
            }
        })
    }

    pub(crate) fn v2(self) -> Value {
        match self {
            Compressor::None => Value::Null,
            Compressor::Lz4 => json!({"id": "lz4", "acceleration": 1}),
            Compressor::Zstd { level } => json!({"id": "zstd", "level": level, "checksum": false}),
            Compressor::Gzip { level } => json!({"id": "gzip", "level": level}),
            Compressor::Blosc { codec, level, shuffle } => {
                let shuffle = match shuffle {
                    Shuffle::None => 0,
                    Shuffle::Byte => 1,
                    Shuffle::Bit => 2,
                };
                json!({"id": "blosc", "cname": codec.name(), "clevel": level, "shuffle": shuffle, "blocksize": 0})
            }
        }
    }
}

impl BloscCodec {
    fn name(self) -> &'static str {
        match self {
            BloscCodec::Lz4 => "lz4",
            BloscCodec::Lz4hc => "lz4hc",
            BloscCodec::Zlib => "zlib",
            BloscCodec::Zstd => "zstd",
        }
    }
}
