//! Owns reading the places of one box, none of them past the end, and said beforehand where that pays.

use std::ops::Range;

use crate::{Ahead, Error, Input};

/// Places of an input that are read one after the other.
pub struct Reads<'a> {
    input: &'a dyn Input,
    ahead: Option<Box<dyn Ahead + 'a>>,
}

impl<'a> Reads<'a> {
    /// Of a far input, `places` says what will be read, in its order. What is past the end, and all after it, is not begun.
    pub fn new(input: &'a dyn Input, places: impl FnOnce() -> Vec<Range<u64>>) -> Self {
        let ahead = if input.is_far() {
            let places = places();
            let good = places.iter().take_while(|place| place.end <= input.length()).count();
            if good > 1 { input.ahead(&places[..good]) } else { None }
        } else {
            None
        };
        Self { input, ahead }
    }

    /// Whether so many bytes are there, before memory is asked for them.
    ///
    /// # Errors
    /// [`Error::Damaged`] if they are not.
    pub fn check(&self, at: u64, count: u64) -> Result<(), Error> {
        let length = self.input.length();
        if at.checked_add(count).is_none_or(|end| end > length) {
            let message = format!("{count} bytes are expected here, but the file ends at {length}");
            return Err(Error::damaged(at, message));
        }
        Ok(())
    }

    /// Fills `out` from `at` on.
    ///
    /// # Errors
    /// [`Error::Damaged`] past the end, [`Error::Io`].
    pub fn read(&mut self, at: u64, out: &mut [u8]) -> Result<(), Error> {
        self.check(at, out.len() as u64)?;
        match &mut self.ahead {
            Some(ahead) => ahead.read_at(at, out)?,
            None => self.input.read_at(at, out)?,
        }
        Ok(())
    }
}
