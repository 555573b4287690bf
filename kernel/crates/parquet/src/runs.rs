//! Owns the two ways in which pages pack small numbers: runs that repeat a number or pack some beside one another, and
//! differences packed by blocks. Both are read as far as is asked for, so that few bytes which stand for many numbers do not take
//! memory for all of them.

use crate::{
    Result,
    error::Error,
    thrift::{varint, write_varint, zigzag},
};

fn ended() -> Error {
    Error::damaged("a page has fewer values than it says")
}

/// `width` bits from bit `bit` on; `None` if they are not all there.
#[inline(always)]
fn bits(data: &[u8], bit: usize, width: u32) -> Option<u64> {
    let (byte, shift) = (bit / 8, (bit % 8) as u32);
    if shift + width <= 64
        && let Some(word) = data.get(byte..byte + 8).and_then(|b| b.try_into().ok())
    {
        return Some(u64::from_le_bytes(word) >> shift & mask(width));
    }
    let need = (shift + width).div_ceil(8) as usize;
    let mut word = [0; 16];
    word[..need].copy_from_slice(data.get(byte..byte + need)?);
    Some((u128::from_le_bytes(word) >> shift) as u64 & mask(width))
}

#[inline(always)]
fn mask(width: u32) -> u64 {
    if width >= 64 { u64::MAX } else { (1 << width) - 1 }
}

/// Numbers of a fixed width in runs (the format's "RLE/bit-packing hybrid").
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    width: u32,
    /// Where the next run begins.
    at: usize,
    run: Run,
}

#[derive(Clone, Copy, Debug)]
enum Run {
    Same { value: u32, left: u64 },
    Packed { bit: usize, left: u64 },
}

impl Runs {
    /// # Errors
    /// If numbers are to be wider than 32 bits.
    pub(crate) fn new(width: u32, at: usize) -> Result<Self> {
        if width > 32 {
            return Err(Error::damaged(format!("a page packs numbers of {width} bits")));
        }
        Ok(Runs { width, at, run: Run::Same { value: 0, left: 0 } })
    }

    /// Appends the next `count` numbers.
    #[inline(always)]
    pub(crate) fn read<T>(
        &mut self,
        data: &[u8],
        count: usize,
        out: &mut Vec<T>,
        make: impl Fn(u32) -> T + Copy,
    ) -> Result<()>
    where
        T: Clone,
    {
        let mut wanted = count;
        while wanted > 0 {
            match &mut self.run {
                Run::Same { value, left } if *left > 0 => {
                    let now = wanted.min(usize::try_from(*left).unwrap_or(usize::MAX));
                    out.resize(out.len() + now, make(*value));
                    *left -= now as u64;
                    wanted -= now;
                }
                Run::Packed { bit, left } if *left > 0 => {
                    let now = wanted.min(usize::try_from(*left).unwrap_or(usize::MAX));
                    out.reserve(now);
                    for index in 0..now {
                        let place = *bit + index * self.width as usize;
                        out.push(make(bits(data, place, self.width).ok_or_else(ended)? as u32));
                    }
                    *bit += now * self.width as usize;
                    *left -= now as u64;
                    wanted -= now;
                }
                _ => self.next(data)?,
            }
        }
        Ok(())
    }

    fn next(&mut self, data: &[u8]) -> Result<()> {
        let rest = data.get(self.at..).unwrap_or_default();
        if rest.is_empty() && self.width == 0 {
            // A dictionary of one element needs no bits, and some write none.
            self.run = Run::Same { value: 0, left: u64::MAX };
            return Ok(());
        }
        let (head, length) = varint(rest).ok_or_else(ended)?;
        self.at += length;
        if head & 1 == 0 {
            let size = self.width.div_ceil(8) as usize;
            let stored = data.get(self.at..self.at + size).ok_or_else(ended)?;
            self.at += size;
            let value = stored.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
            self.run = Run::Same { value, left: head >> 1 };
        } else {
            // Groups of 8 numbers take as many bytes as a number has bits.
            let size =
                usize::try_from(head >> 1).ok().and_then(|groups| groups.checked_mul(self.width as usize));
            let next = size.and_then(|size| self.at.checked_add(size)).ok_or_else(ended)?;
            self.run = Run::Packed { bit: self.at * 8, left: (head >> 1).saturating_mul(8) };
            // The last group may be cut off; numbers that are not there are an error once they are asked for.
            self.at = next;
        }
        Ok(())
    }
}

/// Appends numbers as [`Runs`] reads them: what repeats as a run, the rest packed.
pub(crate) fn write_runs(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    let mut at = 0;
    let mut packed_from = 0;
    let pack = |from: usize, to: usize, out: &mut Vec<u8>| {
        if from == to {
            return;
        }
        let groups = (to - from).div_ceil(8);
        write_varint((groups as u64) << 1 | 1, out);
        let (mut word, mut filled) = (0_u64, 0);
        for &number in numbers[from..to].iter().chain(std::iter::repeat(&0)).take(groups * 8) {
            word |= u64::from(number) << filled;
            filled += width;
            while filled >= 8 {
                out.push(word as u8);
                word >>= 8;
                filled -= 8;
            }
        }
    };
    while at < numbers.len() {
        let same = numbers[at..].iter().take_while(|&&number| number == numbers[at]).count();
        // Packed numbers before a run come in groups of 8, so the run gives away what is needed to fill the last one.
        let borrowed = (8 - (at - packed_from) % 8) % 8;
        if same >= 8 + borrowed {
            pack(packed_from, at + borrowed, out);
            let left = same - borrowed;
            write_varint((left as u64) << 1, out);
            out.extend_from_slice(&numbers[at].to_le_bytes()[..width.div_ceil(8) as usize]);
            at += same;
            packed_from = at;
        } else {
            at += same;
        }
    }
    pack(packed_from, numbers.len(), out);
}

/// Integers as packed differences (`DELTA_BINARY_PACKED`).
#[derive(Clone, Debug)]
pub(crate) struct Deltas {
    /// Values of a packed part of a block.
    part: u64,
    /// Such parts in a block.
    parts: usize,
    /// Values still to come, the first one too.
    left: u64,
    last: i64,
    is_first: bool,
    smallest: i64,
    /// Where the widths of a block's parts are, and which part is next.
    widths: usize,
    next_part: usize,
    width: u32,
    bit: usize,
    part_left: u64,
    /// Behind all that was begun.
    end: usize,
}

/// Parquet's own writers make blocks of 128 to 2048 values.
const BLOCK_MAX: u64 = 1 << 16;

impl Deltas {
    pub(crate) fn new(data: &[u8], at: usize) -> Result<Self> {
        let mut end = at;
        let mut number = || {
            let (value, length) = varint(data.get(end..).unwrap_or_default()).ok_or_else(ended)?;
            end += length;
            Ok::<u64, Error>(value)
        };
        let (block, parts, left, first) = (number()?, number()?, number()?, number()?);
        if parts == 0 || block > BLOCK_MAX || block % parts != 0 || (block / parts) % 8 != 0 || block == 0 {
            return Err(Error::damaged(format!(
                "a page packs differences in {parts} parts of blocks of {block}"
            )));
        }
        Ok(Deltas {
            part: block / parts,
            parts: parts as usize,
            left,
            last: zigzag(first),
            is_first: true,
            smallest: 0,
            widths: 0,
            next_part: parts as usize,
            width: 0,
            bit: 0,
            part_left: 0,
            end,
        })
    }

    /// Hands on the next `count` values.
    pub(crate) fn read(
        &mut self,
        data: &[u8],
        count: usize,
        take: &mut dyn FnMut(i64) -> Result<()>,
    ) -> Result<()> {
        if count as u64 > self.left {
            return Err(ended());
        }
        for _ in 0..count {
            if self.is_first {
                self.is_first = false;
            } else {
                if self.part_left == 0 {
                    self.begin_part(data)?;
                }
                let delta = bits(data, self.bit, self.width).ok_or_else(ended)?;
                self.bit += self.width as usize;
                self.part_left -= 1;
                self.last = self.last.wrapping_add(self.smallest).wrapping_add(delta.cast_signed());
            }
            self.left -= 1;
            take(self.last)?;
        }
        Ok(())
    }

    fn begin_part(&mut self, data: &[u8]) -> Result<()> {
        if self.next_part == self.parts {
            let (smallest, length) = varint(data.get(self.end..).unwrap_or_default()).ok_or_else(ended)?;
            self.smallest = zigzag(smallest);
            self.widths = self.end + length;
            self.end = self.widths + self.parts;
            self.next_part = 0;
        }
        self.width = u32::from(*data.get(self.widths + self.next_part).ok_or_else(ended)?);
        if self.width > 64 {
            return Err(Error::damaged(format!("a page packs differences of {} bits", self.width)));
        }
        self.next_part += 1;
        self.bit = self.end * 8;
        self.end += (self.part * u64::from(self.width) / 8) as usize;
        self.part_left = self.part;
        if self.end > data.len() {
            return Err(ended());
        }
        Ok(())
    }

    /// How many values there are in all, and where what follows them begins.
    pub(crate) fn end(&self, data: &[u8]) -> Result<(u64, usize)> {
        let mut all = self.clone();
        let count = all.left;
        if count > 0 {
            // The first value stands in the head; others come in parts.
            let mut left = count - 1;
            while left > 0 {
                all.begin_part(data)?;
                left = left.saturating_sub(all.part);
            }
        }
        Ok((count, all.end))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_come_back_as_they_were(
            parts in proptest::collection::vec((0_u32..5, 1_usize..40), 0..30), width in 3_u32..33, step in 1_usize..50,
        ) {
            let numbers: Vec<u32> = parts.iter().flat_map(|&(n, count)| std::iter::repeat_n(n, count)).collect();
            let mut data = vec![1, 2];
            write_runs(&numbers, width, &mut data);
            let mut runs = Runs::new(width, 2).unwrap();
            let mut found: Vec<u32> = Vec::new();
            while found.len() < numbers.len() {
                let count = step.min(numbers.len() - found.len());
                runs.read(&data, count, &mut found, |n| n).unwrap();
            }
            prop_assert_eq!(found, numbers);
        }

        #[test]
        fn any_bytes_are_numbers_or_an_error(data in proptest::collection::vec(any::<u8>(), 0..60), width in 0_u32..33) {
            let mut found: Vec<u32> = Vec::new();
            let _ = Runs::new(width, 0).unwrap().read(&data, 1000, &mut found, |n| n);
            prop_assert!(found.len() <= 1000);
            if let Ok(mut deltas) = Deltas::new(&data, 0) {
                let _ = deltas.end(&data);
                let _ = deltas.read(&data, 1000, &mut |_| Ok(()));
            }
        }
    }

    #[test]
    fn differences_are_as_the_format_says() {
        // 7, 5, 3, 1, 2, 3, 4, 5 of the format's own page, in a block of 128 with 4 parts.
        let mut data = vec![0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0];
        // Differences -2 -2 -2 1 1 1 1 less the smallest one: 0 0 0 3 3 3 3.
        data.extend([0b1100_0000, 0b0011_1111, 0, 0, 0, 0, 0, 0]);
        data.push(99);
        let mut deltas = Deltas::new(&data, 0).unwrap();
        assert_eq!(deltas.end(&data).unwrap(), (8, data.len() - 1));
        let mut found = Vec::new();
        for _ in 0..4 {
            deltas
                .read(&data, 2, &mut |value| {
                    found.push(value);
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(found, [7, 5, 3, 1, 2, 3, 4, 5]);
        assert!(deltas.read(&data, 1, &mut |_| Ok(())).is_err());
    }
}
