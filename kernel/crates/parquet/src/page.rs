//! Owns the elements of one page: where they begin, and decoding some of them at a time, in each encoding that is read.

use std::sync::Arc;

use crate::{
    Result,
    codec::Codec,
    error::Error,
    footer::PageHeader,
    runs::{Deltas, Runs},
    schema::{Leaf, Physical},
    values::{Place, Values},
};

#[derive(Debug)]
pub(crate) struct Page {
    data: Arc<Vec<u8>>,
    /// Rows that were not read or skipped.
    pub(crate) left: usize,
    /// Which rows are there; `None` if all are.
    levels: Option<Levels>,
    coding: Coding,
}

/// Levels of a page; in newer pages they lie apart from the elements.
#[derive(Debug)]
struct Levels {
    runs: Runs,
    apart: Option<Vec<u8>>,
    /// Where they end.
    end: usize,
}

/// How elements of a page are written, and how far they were read: a place in the page's data, or what is left of it.
#[derive(Debug)]
enum Coding {
    Plain(usize),
    /// Truths as bits; the next one.
    Bits(usize),
    Runs(Runs),
    Codes(Runs),
    Deltas(Deltas),
    /// Texts one after another, their lengths before them.
    Lengths {
        lengths: Deltas,
        at: usize,
    },
    /// Texts that share their beginnings with the one before.
    Prefixes {
        prefixes: Deltas,
        lengths: Deltas,
        at: usize,
        last: Vec<u8>,
    },
    /// First bytes of all elements, then second bytes.
    Split {
        next: usize,
        from: usize,
    },
}

fn ended() -> Error {
    Error::damaged("a page has fewer values than it says")
}

fn plain(leaf: &Leaf) -> Coding {
    if leaf.physical == Physical::Bool { Coding::Bits(0) } else { Coding::Plain(0) }
}

/// A length at the front of what follows.
fn length_before(data: &[u8], at: usize) -> Result<usize> {
    let bytes = data.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or_else(ended)?;
    Ok(u32::from_le_bytes(bytes) as usize)
}

impl Page {
    /// The elements of a dictionary, which are written one after another.
    pub(crate) fn of_dictionary(leaf: &Leaf, count: usize, data: Arc<Vec<u8>>) -> Self {
        Page { coding: plain(leaf), data, left: count, levels: None }
    }

    pub(crate) fn older(leaf: &Leaf, header: &PageHeader, count: usize, data: Vec<u8>) -> Result<Self> {
        let mut at = 0;
        let mut levels = None;
        if leaf.optional {
            if header.level_encoding != 3 {
                return Err(Error::unsupported(format!(
                    "column `{}` writes what is missing in encoding {}, which was given up long ago",
                    leaf.name, header.level_encoding
                )));
            }
            let length = length_before(&data, 0)?;
            at = length + 4;
            if at > data.len() {
                return Err(ended());
            }
            levels = Some(Levels { runs: Runs::new(1, 4)?, apart: None, end: at });
        }
        let coding = Coding::begin(leaf, header.encoding, &data, at)?;
        Ok(Page { data: Arc::new(data), left: count, levels, coding })
    }

    pub(crate) fn newer(
        leaf: &Leaf,
        header: &PageHeader,
        count: usize,
        codec: Codec,
        raw: &[u8],
        unpacked: usize,
    ) -> Result<Self> {
        let lengths = (usize::try_from(header.definition_bytes), usize::try_from(header.repetition_bytes));
        let (Ok(definition), Ok(repetition)) = lengths else { return Err(ended()) };
        let before = definition.saturating_add(repetition);
        let (Some(levels), Some(packed), Some(size)) =
            (raw.get(repetition..before), raw.get(before..), unpacked.checked_sub(before))
        else {
            return Err(ended());
        };
        let data = match (header.is_packed, size) {
            (_, 0) => Vec::new(),
            (true, size) => codec.unpack(packed, size)?,
            (false, _) => packed.to_vec(),
        };
        let levels = if leaf.optional {
            Some(Levels { runs: Runs::new(1, 0)?, apart: Some(levels.to_vec()), end: levels.len() })
        } else {
            None
        };
        let coding = Coding::begin(leaf, header.encoding, &data, 0)?;
        Ok(Page { data: Arc::new(data), left: count, levels, coding })
    }

    /// Appends `rows` rows.
    pub(crate) fn read(
        &mut self,
        leaf: &Leaf,
        dictionary: Option<&Values>,
        rows: usize,
        values: &mut Values,
        valid: &mut Option<Vec<bool>>,
    ) -> Result<()> {
        let before = values.len();
        let mut there = Vec::new();
        if let Some(levels) = &mut self.levels {
            let data = levels.apart.as_ref().unwrap_or(&self.data);
            levels.runs.read(&data[..levels.end], rows, &mut there, |level| level != 0)?;
        }
        let count = there.iter().filter(|there| **there).count();
        if self.levels.is_none() || count == rows {
            if let Some(valid) = valid {
                valid.resize(before + rows, true);
            }
            return self.elements(leaf, dictionary, rows, values);
        }
        self.elements(leaf, dictionary, count, values)?;
        values.spread(before, &there);
        let valid = valid.get_or_insert_with(|| vec![true; before]);
        valid.extend_from_slice(&there);
        Ok(())
    }

    /// Appends `count` elements that are there.
    pub(crate) fn elements(
        &mut self,
        leaf: &Leaf,
        dictionary: Option<&Values>,
        count: usize,
        out: &mut Values,
    ) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let data = &self.data;
        match &mut self.coding {
            Coding::Plain(at) => match leaf.physical.width() {
                Some(width) => {
                    let end =
                        count.checked_mul(width).and_then(|size| size.checked_add(*at)).ok_or_else(ended)?;
                    leaf.push_plain(data.get(*at..end).ok_or_else(ended)?, out)?;
                    *at = end;
                }
                None => {
                    for _ in 0..count {
                        let length = length_before(data, *at)?;
                        let start = *at + 4;
                        *at = put(leaf, data, start, length, out)?;
                    }
                }
            },
            Coding::Bits(next) => {
                let Values::Bool(out) = out else { return Err(ended()) };
                for bit in *next..*next + count {
                    out.push(data.get(bit / 8).ok_or_else(ended)? >> (bit % 8) & 1 == 1);
                }
                *next += count;
            }
            Coding::Runs(runs) => {
                let Values::Bool(out) = out else { return Err(ended()) };
                runs.read(data, count, out, |value| value != 0)?;
            }
            Coding::Codes(runs) => {
                let Some(dictionary) = dictionary else {
                    return Err(Error::damaged("a page asks for elements of a dictionary that is not there"));
                };
                let mut codes = Vec::with_capacity(count);
                runs.read(data, count, &mut codes, |code| code)?;
                out.look_up(dictionary, &codes)?;
            }
            Coding::Deltas(deltas) => {
                let mut ints = Vec::with_capacity(count);
                deltas.read(data, count, &mut |value| {
                    ints.push(value);
                    Ok(())
                })?;
                // Differences of short integers count in 32 bits.
                let is_short = leaf.physical == Physical::Int32;
                let whole = |value: i64| if is_short { i64::from(value as i32) } else { value };
                leaf.push_ints(ints.into_iter().map(whole), out)?;
            }
            Coding::Lengths { lengths, at } => {
                lengths.read(data, count, &mut |length| {
                    let length = usize::try_from(length).map_err(|_| ended())?;
                    *at = put(leaf, data, *at, length, out)?;
                    Ok(())
                })?;
            }
            Coding::Prefixes { prefixes, lengths, at, last } => {
                let mut shared = Vec::with_capacity(count);
                prefixes.read(data, count, &mut |length| {
                    shared.push(length);
                    Ok(())
                })?;
                let mut shared = shared.into_iter();
                lengths.read(data, count, &mut |length| {
                    let prefix =
                        shared.next().and_then(|prefix| usize::try_from(prefix).ok()).ok_or_else(ended)?;
                    let length = usize::try_from(length).map_err(|_| ended())?;
                    let end = at.checked_add(length).ok_or_else(ended)?;
                    let rest = data.get(*at..end).ok_or_else(ended)?;
                    if prefix > last.len() {
                        return Err(Error::damaged("a text shares more with the one before than that has"));
                    }
                    last.truncate(prefix);
                    last.extend_from_slice(rest);
                    *at = end;
                    if let Physical::Fixed(width) = leaf.physical
                        && width != last.len()
                    {
                        return Err(ended());
                    }
                    leaf.push_bytes(last, out)
                })?;
            }
            Coding::Split { next, from } => {
                let width = leaf.physical.width().ok_or_else(ended)?;
                let streams = data.get(*from..).unwrap_or_default();
                let length = streams.len() / width;
                if next.checked_add(count).is_none_or(|end| end > length) {
                    return Err(ended());
                }
                let mut plain = vec![0; count * width];
                for (byte, stream) in streams.chunks_exact(length).enumerate().take(width) {
                    for (index, value) in stream[*next..*next + count].iter().enumerate() {
                        plain[index * width + byte] = *value;
                    }
                }
                leaf.push_plain(&plain, out)?;
                *next += count;
            }
        }
        Ok(())
    }
}

/// Appends the bytes of one element; where the next one begins.
fn put(leaf: &Leaf, data: &Arc<Vec<u8>>, start: usize, length: usize, out: &mut Values) -> Result<usize> {
    let end = start.checked_add(length).ok_or_else(ended)?;
    let bytes = data.get(start..end).ok_or_else(ended)?;
    match out {
        Values::Text(out) => {
            leaf.check_text(bytes)?;
            out.share(data, Place { start, length })?;
        }
        out => leaf.push_bytes(bytes, out)?,
    }
    Ok(end)
}

impl Coding {
    fn begin(leaf: &Leaf, encoding: i32, data: &[u8], at: usize) -> Result<Self> {
        use Physical::{Bool, Bytes, Double, Fixed, Float, Int32, Int64};
        // Of a page in which everything is missing there may be nothing at all.
        if data.len() == at {
            return Ok(Coding::Plain(at));
        }
        Ok(match (encoding, leaf.physical) {
            (0, Bool) => Coding::Bits(at * 8),
            (0, _) => Coding::Plain(at),
            (2 | 8, _) => Coding::Codes(Runs::new(u32::from(data[at]), at + 1)?),
            (3, Bool) => {
                length_before(data, at)?;
                Coding::Runs(Runs::new(1, at + 4)?)
            }
            (5, Int32 | Int64) => Coding::Deltas(Deltas::new(data, at)?),
            (6, Bytes) => {
                let lengths = Deltas::new(data, at)?;
                let (_, at) = lengths.end(data)?;
                Coding::Lengths { lengths, at }
            }
            (7, Bytes | Fixed(_)) => {
                let prefixes = Deltas::new(data, at)?;
                let lengths = Deltas::new(data, prefixes.end(data)?.1)?;
                let (_, at) = lengths.end(data)?;
                Coding::Prefixes { prefixes, lengths, at, last: Vec::new() }
            }
            (9, Float | Double | Int32 | Int64 | Fixed(_)) => Coding::Split { next: 0, from: at },
            (encoding, physical) => {
                return Err(Error::unsupported(format!(
                    "column `{}` writes {physical:?} in encoding {encoding}, which is not read here",
                    leaf.name
                )));
            }
        })
    }
}
