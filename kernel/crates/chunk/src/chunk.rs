//! Owns [`Chunk`], an immutable box of elements in C order, and its passage to and from the values that workers
//! hold and send.

use std::fmt;

use bytes::Bytes;
use num_complex::Complex;
use nuna_plan::Value;
use serde::{Deserialize, Serialize};

use crate::{
    buffer::{self, Buffer},
    cast,
    dtype::{DType, Element, with_any},
    error::ChunkError,
    region::Shape,
    scalar::Scalar,
};

/// Elements of one dtype in C order. Cloning shares the bytes.
#[derive(Clone)]
pub struct Chunk {
    dtype: DType,
    shape: Shape,
    /// Exactly `len * dtype.size()` bytes, little-endian, aligned for the dtype; bool bytes are 0 or 1.
    data: Bytes,
}

/// What a [`Value`]'s header says about its body: the parts follow each other, each padded to 64 bytes.
#[derive(Serialize, Deserialize)]
struct Header {
    parts: Vec<(DType, Shape)>,
}

pub(crate) const PART_ALIGNMENT: usize = buffer::ALIGNMENT;

/// Bytes of a chunk, if a machine can address them.
pub(crate) fn byte_len(dtype: DType, shape: &[u64]) -> Result<usize, ChunkError> {
    shape
        .iter()
        .try_fold(dtype.size() as u64, |bytes, &n| bytes.checked_mul(n))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|&bytes| bytes < isize::MAX as usize - 4096)
        .ok_or_else(|| ChunkError::TooLarge { dtype, shape: shape.to_vec() })
}

impl Chunk {
    /// A chunk over `data`, without a copy where its alignment allows.
    ///
    /// # Errors
    /// If the bytes do not fill the shape, or bool bytes are not 0 or 1.
    pub fn new(dtype: DType, shape: &[u64], data: Bytes) -> Result<Self, ChunkError> {
        let expected = byte_len(dtype, shape)?;
        if data.len() != expected {
            let (expected, found) = (expected as u64, data.len() as u64);
            return Err(ChunkError::Length { dtype, shape: shape.to_vec(), expected, found });
        }
        if dtype == DType::Bool && data.iter().any(|&b| b > 1) {
            return Err(ChunkError::Bool);
        }
        let aligned = (data.as_ptr() as usize).is_multiple_of(dtype.size());
        let data = if aligned { data } else { Buffer::copy_of(&data).freeze() };
        Ok(Self { dtype, shape: shape.into(), data })
    }

    /// A chunk of a buffer's bytes.
    ///
    /// # Errors
    /// As [`Chunk::new`].
    pub fn from_buffer(dtype: DType, shape: &[u64], buffer: Buffer) -> Result<Self, ChunkError> {
        Self::new(dtype, shape, buffer.freeze())
    }

    /// A copy of `elements`.
    ///
    /// # Panics
    /// If their number is not the product of `shape`.
    pub fn from_slice<T: Element>(shape: &[u64], elements: &[T]) -> Self {
        Self::copy_of(T::DTYPE, shape, elements.len(), buffer::bytes_of(elements))
    }

    /// What [`from_slice`](Chunk::from_slice) does, compiled here and not in every cell that calls it.
    fn copy_of(dtype: DType, shape: &[u64], len: usize, bytes: &[u8]) -> Self {
        assert_eq!(shape.iter().product::<u64>(), len as u64, "elements for a chunk of shape {shape:?}");
        Self { dtype, shape: shape.into(), data: Buffer::copy_of(bytes).freeze() }
    }

    /// Every element is `value`, converted to `dtype`.
    pub fn full(dtype: DType, shape: &[u64], value: Scalar) -> Self {
        let mut out = ChunkMut::new(dtype, shape);
        with_any!(dtype, T => {
            let value: T = cast::element(value);
            out.elements_of_mut::<T>().fill(value);
        }, complex P => {
            let value = value.as_complex();
            out.elements_of_mut::<Complex<P>>().fill(Complex::new(value.re as P, value.im as P));
        });
        out.freeze()
    }

    /// A chunk without axes.
    pub fn scalar(dtype: DType, value: Scalar) -> Self {
        Self { dtype, shape: Shape::new(), data: cast::scalar_bytes(value, dtype).freeze() }
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    pub fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    pub fn byte_count(&self) -> u64 {
        self.data.len() as u64
    }

    /// The elements' bytes, little-endian, C order.
    pub fn bytes(&self) -> &Bytes {
        &self.data
    }

    /// The elements.
    ///
    /// # Errors
    /// [`ChunkError::DType`] if the chunk holds another dtype.
    pub fn elements<T: Element>(&self) -> Result<&[T], ChunkError> {
        if T::DTYPE == self.dtype {
            Ok(self.elements_of())
        } else {
            Err(ChunkError::DType { asked: T::DTYPE, found: self.dtype })
        }
    }

    /// The elements, where the dtype has been matched already.
    pub(crate) fn elements_of<T: Element>(&self) -> &[T] {
        assert_eq!(T::DTYPE, self.dtype, "the caller matched the dtype");
        buffer::elements(&self.data).expect("aligned when the chunk was made")
    }

    /// The elements converted to `T`.
    ///
    /// # Panics
    /// As [`cast`](Chunk::cast): if complex elements are to become real ones.
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        self.cast(T::DTYPE).elements_of().to_vec()
    }

    /// Element number `index` in C order.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn get(&self, index: usize) -> Scalar {
        with_any!(
            self.dtype,
            T => Scalar::from(self.elements_of::<T>()[index]),
            complex P => Scalar::from(self.elements_of::<Complex<P>>()[index])
        )
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshape(&self, shape: &[u64]) -> Result<Self, ChunkError> {
        let expected = byte_len(self.dtype, shape)?;
        if expected != self.data.len() {
            return Err(ChunkError::Length {
                dtype: self.dtype,
                shape: shape.to_vec(),
                expected: expected as u64,
                found: self.byte_count(),
            });
        }
        Ok(Self { dtype: self.dtype, shape: shape.into(), data: self.data.clone() })
    }

    /// As a block's value, without a copy.
    pub fn to_value(&self) -> Value {
        Value { header: header(std::slice::from_ref(self)), body: self.data.clone() }
    }

    /// From a block's value, without a copy where its alignment allows.
    ///
    /// # Errors
    /// If the header is not a single chunk's, or does not fit the body.
    pub fn from_value(value: &Value) -> Result<Self, ChunkError> {
        let mut parts = Self::parts_from_value(value)?;
        match (parts.pop(), parts.len()) {
            (Some(chunk), 0) => Ok(chunk),
            (_, more) => Err(ChunkError::Header(format!("it describes {} chunks, not one", more + 1))),
        }
    }

    /// Several chunks as one value; one chunk is not copied.
    pub fn parts_to_value(parts: &[Chunk]) -> Value {
        if let [one] = parts {
            return one.to_value();
        }
        let total = parts.iter().map(|p| p.data.len().next_multiple_of(PART_ALIGNMENT)).sum();
        let mut body = Buffer::new(total);
        let mut rest = body.as_mut_slice();
        for part in parts {
            let (to, after) = rest.split_at_mut(part.data.len().next_multiple_of(PART_ALIGNMENT));
            to[..part.data.len()].copy_from_slice(&part.data);
            to[part.data.len()..].fill(0);
            rest = after;
        }
        Value { header: header(parts), body: body.freeze() }
    }

    /// The chunks of a value made by [`Chunk::parts_to_value`].
    ///
    /// # Errors
    /// If the header cannot be read or does not fit the body.
    pub fn parts_from_value(value: &Value) -> Result<Vec<Self>, ChunkError> {
        let header: Header =
            postcard::from_bytes(&value.header).map_err(|error| ChunkError::Header(error.to_string()))?;
        let single = header.parts.len() == 1;
        let mut offset = 0usize;
        let mut chunks = Vec::with_capacity(header.parts.len());
        for (dtype, shape) in header.parts {
            let bytes = byte_len(dtype, &shape)?;
            let step = if single { bytes } else { bytes.next_multiple_of(PART_ALIGNMENT) };
            if value.body.len() - offset < step {
                let found = (value.body.len() - offset) as u64;
                return Err(ChunkError::Length {
                    dtype,
                    shape: shape.to_vec(),
                    expected: step as u64,
                    found,
                });
            }
            chunks.push(Self::new(dtype, &shape, value.body.slice(offset..offset + bytes))?);
            offset += step;
        }
        if offset == value.body.len() {
            Ok(chunks)
        } else {
            Err(ChunkError::Header(format!("it describes {offset} bytes of {}", value.body.len())))
        }
    }
}

fn header(parts: &[Chunk]) -> Bytes {
    parts_header(parts.iter().map(|p| (p.dtype, p.shape.clone())).collect())
}

pub(crate) fn parts_header(parts: Vec<(DType, Shape)>) -> Bytes {
    postcard::to_stdvec(&Header { parts }).expect("dtypes and numbers always encode").into()
}

/// Equal dtype, shape and bits; so NaN equals itself.
impl PartialEq for Chunk {
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.data == other.data
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 24;
        write!(f, "Chunk {} {:?} [", self.dtype, self.shape)?;
        for index in 0..self.len().min(SHOWN) {
            write!(f, "{}{}", if index > 0 { ", " } else { "" }, self.get(index))?;
        }
        f.write_str(if self.len() > SHOWN { ", …]" } else { "]" })
    }
}

/// A chunk being filled.
pub struct ChunkMut {
    dtype: DType,
    shape: Shape,
    buffer: Buffer,
}

impl ChunkMut {
    /// Elements are valid but arbitrary; the caller writes all of them.
    ///
    /// # Panics
    /// If the chunk is larger than this machine can address.
    pub fn new(dtype: DType, shape: &[u64]) -> Self {
        let bytes = byte_len(dtype, shape).unwrap_or_else(|error| panic!("{error}"));
        // A reused buffer may hold any bytes, and bools must be 0 or 1.
        let buffer = if dtype == DType::Bool { Buffer::zeroed(bytes) } else { Buffer::new(bytes) };
        Self { dtype, shape: shape.into(), buffer }
    }

    /// All elements are zero (or false).
    ///
    /// # Panics
    /// As [`ChunkMut::new`].
    pub fn zeroed(dtype: DType, shape: &[u64]) -> Self {
        let bytes = byte_len(dtype, shape).unwrap_or_else(|error| panic!("{error}"));
        Self { dtype, shape: shape.into(), buffer: Buffer::zeroed(bytes) }
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The elements, to be written.
    ///
    /// # Errors
    /// [`ChunkError::DType`] if the chunk holds another dtype.
    pub fn elements_mut<T: Element>(&mut self) -> Result<&mut [T], ChunkError> {
        if T::DTYPE == self.dtype {
            Ok(self.elements_of_mut())
        } else {
            Err(ChunkError::DType { asked: T::DTYPE, found: self.dtype })
        }
    }

    pub(crate) fn elements_of_mut<T: Element>(&mut self) -> &mut [T] {
        assert_eq!(T::DTYPE, self.dtype, "the caller matched the dtype");
        self.buffer.elements_mut()
    }

    /// Raw bytes for copies between chunks of one dtype.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.as_mut_slice()
    }

    pub fn freeze(self) -> Chunk {
        Chunk { dtype: self.dtype, shape: self.shape, data: self.buffer.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_shares_the_chunks_memory() {
        let chunk = Chunk::from_slice(&[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let back = Chunk::from_value(&chunk.to_value()).unwrap();
        assert_eq!(back, chunk);
        assert_eq!(back.bytes().as_ptr(), chunk.bytes().as_ptr());
    }

    #[test]
    fn several_parts_travel_in_one_value() {
        let parts = [
            Chunk::from_slice(&[3], &[1u8, 2, 3]),
            Chunk::from_slice(&[], &[4.5f64]),
            Chunk::from_slice::<i64>(&[0], &[]),
        ];
        let value = Chunk::parts_to_value(&parts);
        assert_eq!(Chunk::parts_from_value(&value).unwrap(), parts);
        assert!(Chunk::from_value(&value).is_err());
    }

    #[test]
    fn foreign_bytes_are_checked() {
        assert!(matches!(
            Chunk::new(DType::F64, &[2], Bytes::from_static(&[0; 15])),
            Err(ChunkError::Length { .. })
        ));
        assert_eq!(Chunk::new(DType::Bool, &[2], Bytes::from_static(&[0, 2])), Err(ChunkError::Bool));
        assert!(Chunk::new(DType::F64, &[u64::MAX, 2], Bytes::new()).is_err());
        let shifted = Bytes::copy_from_slice(&[0u8; 17]).slice(1..);
        assert_eq!(Chunk::new(DType::F64, &[2], shifted).unwrap().elements::<f64>().unwrap(), [0.0, 0.0]);
        let garbage = Value { header: Bytes::from_static(&[9, 9]), body: Bytes::new() };
        assert!(Chunk::from_value(&garbage).is_err());
    }

    #[test]
    fn casts_follow_numpy() {
        let floats = Chunk::from_slice(&[4], &[1.9f64, -1.9, 0.0, 300.0]);
        assert_eq!(floats.to_vec::<i32>(), [1, -1, 0, 300]);
        assert_eq!(floats.to_vec::<bool>(), [true, true, false, true]);
        assert_eq!(Chunk::from_slice(&[2], &[300i32, -1]).to_vec::<u8>(), [44, 255]);
        assert_eq!(Chunk::from_slice(&[2], &[true, false]).to_vec::<f32>(), [1.0, 0.0]);
    }

    #[test]
    fn complex_numbers_do_not_become_real_ones_silently() {
        let c = |re, im| Complex::<f64>::new(re, im);
        let complex = Chunk::from_slice(&[2], &[c(1.5, -2.0), c(0.0, 0.0)]);
        let error = complex.try_cast(DType::F64).unwrap_err().to_string();
        assert!(
            error.contains("complex128") && error.contains("float64") && error.contains("`abs`"),
            "{error}"
        );
        assert_eq!(complex.to_vec::<bool>(), [true, false]);
        assert_eq!(complex.to_vec::<Complex<f32>>(), [Complex::new(1.5, -2.0), Complex::new(0.0, 0.0)]);
        assert_eq!(
            Chunk::from_slice(&[2], &[3i64, -1]).to_vec::<Complex<f64>>(),
            [c(3.0, 0.0), c(-1.0, 0.0)]
        );
        assert_eq!(Chunk::from_slice(&[1], &[true]).cast(DType::C64).get(0), Scalar::Complex(1.0, 0.0));
        assert_eq!(Chunk::full(DType::C64, &[1], Scalar::Float(2.0)).get(0).to_string(), "2+0j");
        assert_eq!(Scalar::Complex(1.0, -0.5).to_string(), "1-0.5j");
        let (value, shape) = (complex.to_value(), complex.shape());
        assert_eq!((Chunk::from_value(&value).unwrap(), shape), (complex.clone(), &[2][..]));
    }
}
