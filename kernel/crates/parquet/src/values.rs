//! Owns elements in memory, as they are handed to tables.

use std::sync::Arc;

use crate::{Result, error::Error, schema::Kind};

/// So many bytes of text may be copied together for the rows of one call; where texts are parts of a page they are not copied.
const TEXT_BYTES_MAX: usize = 1 << 30;

/// Elements of a column; which of the four goes with which [`Kind`] is plain.
#[derive(Clone, Debug)]
pub enum Values {
    /// Also dates and times.
    Int(Vec<i64>),
    Float(Vec<f64>),
    Bool(Vec<bool>),
    Text(Texts),
}

/// Where in a buffer a text lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub start: usize,
    pub length: usize,
}

/// Texts as parts of a buffer, which may be a whole page, or a dictionary that many share. All are UTF-8, unless bytes
/// were asked for.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    pub bytes: Arc<Vec<u8>>,
    pub places: Vec<Place>,
}

/// Rows of a column. What a missing element holds has no meaning.
#[derive(Clone, Debug)]
pub struct Column {
    pub values: Values,
    /// `None`: none is missing.
    pub valid: Option<Vec<bool>>,
}

impl Texts {
    pub fn get(&self, row: usize) -> &[u8] {
        let Place { start, length } = self.places[row];
        &self.bytes[start..start + length]
    }

    /// Adds a part of a buffer, without copying it if it is the only buffer so far.
    pub(crate) fn share(&mut self, from: &Arc<Vec<u8>>, place: Place) -> Result<()> {
        if Arc::ptr_eq(&self.bytes, from) {
            self.places.push(place);
            return Ok(());
        }
        // Places in no buffer at all are of empty texts, or of what is missing.
        if self.bytes.is_empty() {
            self.bytes = from.clone();
            self.places.push(place);
            return Ok(());
        }
        self.push(&from[place.start..place.start + place.length])
    }

    /// Adds a copy of a text.
    ///
    /// # Errors
    /// If there are too many bytes.
    pub fn push(&mut self, text: &[u8]) -> Result<()> {
        // A buffer that others read is copied by the first push that meets it.
        let bytes = Arc::make_mut(&mut self.bytes);
        let start = bytes.len();
        if start + text.len() > TEXT_BYTES_MAX {
            return Err(Error::unsupported(format!(
                "texts of neighbouring rows take more than {TEXT_BYTES_MAX} bytes together"
            )));
        }
        bytes.extend_from_slice(text);
        self.places.push(Place { start, length: text.len() });
        Ok(())
    }
}

impl Values {
    pub(crate) fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Int | Kind::Date | Kind::Time => Values::Int(Vec::new()),
            Kind::Float => Values::Float(Vec::new()),
            Kind::Bool => Values::Bool(Vec::new()),
            Kind::Text => Values::Text(Texts::default()),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Values::Int(v) => v.len(),
            Values::Float(v) => v.len(),
            Values::Bool(v) => v.len(),
            Values::Text(v) => v.places.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds elements of a dictionary by their numbers.
    pub(crate) fn look_up(&mut self, dictionary: &Values, codes: &[u32]) -> Result<()> {
        let count = dictionary.len();
        if let Some(code) = codes.iter().find(|&&code| code as usize >= count) {
            return Err(Error::damaged(format!(
                "a page asks for element {code} of a dictionary that has {count}"
            )));
        }
        match (self, dictionary) {
            (Values::Int(out), Values::Int(from)) => {
                out.extend(codes.iter().map(|&code| from[code as usize]))
            }
            (Values::Float(out), Values::Float(from)) => {
                out.extend(codes.iter().map(|&code| from[code as usize]))
            }
            (Values::Bool(out), Values::Bool(from)) => {
                out.extend(codes.iter().map(|&code| from[code as usize]))
            }
            (Values::Text(out), Values::Text(from)) => {
                out.places.reserve(codes.len());
                for &code in codes {
                    out.share(&from.bytes, from.places[code as usize])?;
                }
            }
            _ => return Err(Error::damaged("a dictionary is of another type than its column")),
        }
        Ok(())
    }

    /// Moves the elements from `from` on apart, so that each comes to a row that is valid. Others hold anything.
    pub(crate) fn spread(&mut self, from: usize, valid: &[bool]) {
        fn apart<T: Copy + Default>(values: &mut Vec<T>, from: usize, valid: &[bool]) {
            let mut next = values.len();
            values.resize(from + valid.len(), T::default());
            // From the end, so that nothing is overwritten that is still to move.
            for (row, _) in valid.iter().enumerate().rev().filter(|(_, valid)| **valid) {
                next -= 1;
                values[from + row] = values[next];
            }
        }
        match self {
            Values::Int(v) => apart(v, from, valid),
            Values::Float(v) => apart(v, from, valid),
            Values::Bool(v) => apart(v, from, valid),
            Values::Text(v) => {
                apart(&mut v.places, from, valid);
                // Places that are left over are of no use, but have to lie within whatever buffer there is.
                for (place, _) in v.places[from..].iter_mut().zip(valid).filter(|(_, valid)| !**valid) {
                    *place = Place::default();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_moves_to_its_rows() {
        let mut values = Values::Int(vec![9, 1, 2, 3]);
        let valid = [false, true, true, false, true, false];
        values.spread(1, &valid);
        let Values::Int(values) = values else { panic!("they stay integers") };
        let kept: Vec<i64> =
            valid.iter().zip(&values[1..]).filter(|(valid, _)| **valid).map(|(_, &v)| v).collect();
        assert_eq!((values.len(), values[0], kept), (7, 9, vec![1, 2, 3]));
    }
}
