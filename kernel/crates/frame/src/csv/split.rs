//! Owns cutting bytes into rows and fields. Only where fields lie is found out here, and only of the columns that are
//! wanted; every row's number of fields is checked all the same.
//!
//! Rows without quotes are cut 64 bytes at a time; one with a quote is read byte by byte, by the rules of RFC 4180: a
//! field that begins with a quote ends with one, and two in it stand for one. A quote elsewhere is a letter.

use super::lanes::{self, LANES, Marks, Wanted};
use crate::column::{Span, TEXT_BYTES_MAX};

/// Zero bytes that follow what is cut, so that 64 bytes can be looked at from anywhere.
pub(crate) const PADDING: usize = LANES;

/// How rows are written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: Option<u8>,
    /// Whether a field in quotes may hold line ends.
    pub(crate) multiline: bool,
}

/// A row that cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRow {
    /// Where it begins.
    pub(crate) start: usize,
    /// Where the next one begins.
    pub(crate) next: usize,
    pub(crate) fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// So many fields instead of so many.
    Fields {
        found: usize,
        expected: usize,
    },
    /// A line end, or the end of the file, comes before the closing quote.
    OpenQuote {
        column: usize,
        at_end: bool,
    },
    /// Something other than a delimiter follows a closing quote.
    AfterQuote {
        column: usize,
    },
    /// With line ends in quotes, a quote within a field makes it undecidable where rows end.
    StrayQuote {
        column: usize,
    },
    LongField {
        column: usize,
    },
}

impl Fault {
    /// Faults after which nobody knows where the next row begins.
    pub(crate) fn loses_place(&self) -> bool {
        matches!(self, Fault::OpenQuote { .. } | Fault::StrayQuote { .. } | Fault::AfterQuote { .. })
    }
}

/// Where the fields of rows lie.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    pub(crate) rows: usize,
    /// For each wanted column, a place per row.
    pub(crate) spans: Vec<Vec<Span>>,
    /// Where each row begins.
    pub(crate) starts: Vec<u32>,
    /// Fields that had to be rewritten. Their places count from [`Fields::side_base`].
    pub(crate) side: Vec<u8>,
    pub(crate) side_base: usize,
}

impl Fields {
    fn clear(&mut self, wanted: usize, side_base: usize) {
        self.rows = 0;
        self.spans.resize_with(wanted, Vec::new);
        self.spans.iter_mut().for_each(Vec::clear);
        self.starts.clear();
        self.side.clear();
        self.side_base = side_base;
    }

    /// Forgets the fields of a row that has not ended.
    fn forget(&mut self) {
        let rows = self.rows;
        self.spans.iter_mut().for_each(|spans| spans.truncate(rows));
    }

    #[inline(always)]
    fn end_row(&mut self, start: usize) {
        self.rows += 1;
        self.starts.push(start as u32);
    }
}

/// Not a wanted column.
const SKIPPED: u32 = u32::MAX;

/// Cuts rows of one kind of file.
#[derive(Clone, Debug)]
pub(crate) struct Splitter {
    dialect: Dialect,
    /// For each column of the file, its number among the wanted ones.
    slots: Vec<u32>,
    wanted_count: usize,
}

/// What there is to cut.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    /// What was read, and [`PADDING`] more bytes.
    pub(crate) bytes: &'a [u8],
    pub(crate) length: usize,
    /// Rows that begin here or later are for others.
    pub(crate) limit: usize,
    /// Nothing follows in the file.
    pub(crate) is_end: bool,
}

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Where the first row begins that was not cut.
    pub(crate) next: usize,
}

impl Splitter {
    /// Looks for the columns `wanted`, of `columns` columns; places come in that order.
    pub(crate) fn new(dialect: Dialect, columns: usize, wanted: &[usize]) -> Self {
        let mut slots = vec![SKIPPED; columns];
        for (slot, &column) in wanted.iter().enumerate() {
            slots[column] = slot as u32;
        }
        Splitter { dialect, slots, wanted_count: wanted.len() }
    }

    /// Cuts whole rows, from `from` on; `out` holds what came before an error.
    ///
    /// # Errors
    /// The first row that is not as it should be.
    pub(crate) fn split(&self, input: Input<'_>, from: usize, out: &mut Fields) -> Result<Cut, BadRow> {
        debug_assert!(input.bytes.len() >= input.length + PADDING, "64 bytes can be read from anywhere");
        out.clear(self.wanted_count, input.bytes.len());
        let quote = self.dialect.quote;
        let wanted = Wanted {
            delimiter: self.dialect.delimiter,
            quote: quote.unwrap_or(self.dialect.delimiter),
            has_quotes: quote.is_some(),
        };
        let cut = self.split_with(input, from, wanted, out);
        if cut.is_err() {
            out.forget();
        }
        cut
    }

    fn split_with(
        &self,
        input: Input<'_>,
        from: usize,
        wanted: Wanted,
        out: &mut Fields,
    ) -> Result<Cut, BadRow> {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi1") {
            // SAFETY: the machine has both.
            return unsafe { self.split_avx2(input, from, wanted, out) };
        }
        self.run(input, from, out, |bytes| lanes::plain(bytes, wanted))
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1")]
    fn split_avx2(
        &self,
        input: Input<'_>,
        from: usize,
        wanted: Wanted,
        out: &mut Fields,
    ) -> Result<Cut, BadRow> {
        self.run(input, from, out, |bytes| lanes::avx2(bytes, wanted))
    }

    #[inline(always)]
    fn run(
        &self,
        input: Input<'_>,
        from: usize,
        out: &mut Fields,
        marks: impl Fn(&[u8; LANES]) -> Marks,
    ) -> Result<Cut, BadRow> {
        let Input { bytes, length, limit, is_end } = input;
        let last = self.slots.len() - 1;
        let mut place = from;
        let (mut row, mut start, mut column) = (from, from, 0_usize);
        while place < length && row < limit {
            let Some(lanes) = bytes.get(place..place + LANES).and_then(|b| b.try_into().ok()) else { break };
            let found = marks(lanes);
            let inside = if length - place < LANES { (1 << (length - place)) - 1 } else { u64::MAX };
            let quotes = found.quotes & inside;
            let mut ends = (found.delimiters | found.newlines) & inside;
            if quotes != 0 {
                // Up to the first quote nothing is special.
                ends &= (quotes & quotes.wrapping_neg()) - 1;
            }
            while ends != 0 {
                let bit = ends.trailing_zeros();
                ends &= ends - 1;
                let at = place + bit as usize;
                if found.newlines >> bit & 1 == 0 {
                    if column == last {
                        if self.dialect.multiline && self.dialect.quote.is_some() {
                            // Its quotes say where the row ends.
                            out.forget();
                            let next = self.careful(input, row, out)?;
                            return Ok(Cut { next: next.unwrap_or(row) });
                        }
                        return Err(self.too_many(input, row));
                    }
                    self.put(out, row, input, column, start, at)?;
                    column += 1;
                    start = at + 1;
                    continue;
                }
                let stop = if at > row && bytes[at - 1] == b'\r' { at - 1 } else { at };
                // An empty line is no row.
                if stop > row || column > 0 {
                    if column != last {
                        let fault = Fault::Fields { found: column + 1, expected: last + 1 };
                        return Err(BadRow { start: row, next: at + 1, fault });
                    }
                    // A delimiter may stand right before the carriage return.
                    self.put(out, row, input, column, start, stop.max(start))?;
                    out.end_row(row);
                }
                (row, start, column) = (at + 1, at + 1, 0);
                if row >= limit {
                    return Ok(Cut { next: row });
                }
            }
            if quotes == 0 {
                place += LANES;
                continue;
            }
            out.forget();
            match self.careful(input, row, out)? {
                Some(next) => (place, row, start, column) = (next, next, next, 0),
                None => return Ok(Cut { next: row }),
            }
        }
        out.forget();
        if is_end && row < length.min(limit) {
            // The last row has no line end.
            self.careful(input, row, out)?;
            row = length;
        }
        Ok(Cut { next: row })
    }

    #[inline(always)]
    fn put(
        &self,
        out: &mut Fields,
        row: usize,
        input: Input<'_>,
        column: usize,
        start: usize,
        end: usize,
    ) -> Result<(), BadRow> {
        let slot = self.slots[column];
        if slot != SKIPPED {
            match Span::new(start, end) {
                Some(span) => out.spans[slot as usize].push(span),
                None => {
                    let next = line_end(input, row);
                    return Err(BadRow { start: row, next, fault: Fault::LongField { column } });
                }
            }
        }
        Ok(())
    }

    /// Counts the fields of a row that has more than it should.
    #[cold]
    fn too_many(&self, input: Input<'_>, row: usize) -> BadRow {
        let next = line_end(input, row);
        let line = &input.bytes[row..next.min(input.length)];
        let found = 1 + line.iter().filter(|&&b| b == self.dialect.delimiter).count();
        BadRow { start: row, next, fault: Fault::Fields { found, expected: self.slots.len() } }
    }

    /// Cuts one row by the rules of quotes. Where the next one begins; `None` if this one does not end here.
    #[cold]
    fn careful(&self, input: Input<'_>, row: usize, out: &mut Fields) -> Result<Option<usize>, BadRow> {
        let result = self.quoted_row(input, row, out);
        match &result {
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => out.forget(),
        }
        result
    }

    fn quoted_row(&self, input: Input<'_>, row: usize, out: &mut Fields) -> Result<Option<usize>, BadRow> {
        let Input { length, is_end, .. } = input;
        let bytes = &input.bytes[..length];
        let (columns, delimiter) = (self.slots.len(), self.dialect.delimiter);
        let (mut at, mut column) = (row, 0);
        let bad = |next: usize, fault: Fault| BadRow { start: row, next, fault };
        loop {
            let slot = self.slots.get(column).copied().unwrap_or(SKIPPED);
            let long = || bad(line_end(input, row), Fault::LongField { column });
            // Where the field ends: at a delimiter, a line end, or the end of the file.
            let end = match self.dialect.quote {
                Some(quote) if bytes.get(at) == Some(&quote) => {
                    let mut close = at + 1;
                    let mut doubled = false;
                    loop {
                        let found = memchr::memchr(quote, &bytes[close..]).map(|found| close + found);
                        let stop = found.unwrap_or(length);
                        if !self.dialect.multiline && memchr::memchr(b'\n', &bytes[close..stop]).is_some() {
                            return Err(bad(
                                line_end(input, row),
                                Fault::OpenQuote { column, at_end: false },
                            ));
                        }
                        match found {
                            None if is_end => {
                                return Err(bad(length, Fault::OpenQuote { column, at_end: true }));
                            }
                            None => return Ok(None),
                            // Another one may follow in what is not read yet.
                            Some(found) if found + 1 == length && !is_end => return Ok(None),
                            Some(found) if bytes.get(found + 1) == Some(&quote) => {
                                doubled = true;
                                close = found + 2;
                            }
                            Some(found) => {
                                close = found;
                                break;
                            }
                        }
                    }
                    if slot != SKIPPED {
                        let span = if doubled {
                            let begin = out.side_base + out.side.len();
                            let mut rest = &bytes[at + 1..close];
                            while let Some(found) = memchr::memchr(quote, rest) {
                                out.side.extend_from_slice(&rest[..=found]);
                                rest = &rest[found + 2..];
                            }
                            out.side.extend_from_slice(rest);
                            Span::new(begin, out.side_base + out.side.len())
                        } else {
                            Span::new(at + 1, close)
                        };
                        out.spans[slot as usize].push(span.ok_or_else(long)?.quoted());
                    }
                    let end = close + 1;
                    let after = &bytes[end..];
                    let ends = match after {
                        [] => true,
                        [b'\r'] if !is_end => return Ok(None),
                        [b'\n', ..] | [b'\r', b'\n', ..] => true,
                        [b'\r'] => true,
                        [first, ..] => *first == delimiter,
                    };
                    if !ends {
                        return Err(bad(line_end(input, row), Fault::AfterQuote { column }));
                    }
                    end
                }
                _ => {
                    let end = match memchr::memchr2(delimiter, b'\n', &bytes[at..]) {
                        Some(found) => at + found,
                        None if is_end => length,
                        None if length - row > TEXT_BYTES_MAX => return Err(long()),
                        None => return Ok(None),
                    };
                    if self.dialect.multiline
                        && let Some(quote) = self.dialect.quote
                        && memchr::memchr(quote, &bytes[at..end]).is_some()
                    {
                        return Err(bad(line_end(input, row), Fault::StrayQuote { column }));
                    }
                    let stop = if bytes.get(end) != Some(&delimiter) && end > at && bytes[end - 1] == b'\r' {
                        end - 1
                    } else {
                        end
                    };
                    // The whole line is empty, as in `run`.
                    if stop == row && column == 0 && bytes.get(end) != Some(&delimiter) {
                        return Ok(Some((end + 1).min(length)));
                    }
                    if slot != SKIPPED {
                        out.spans[slot as usize].push(Span::new(at, stop).ok_or_else(long)?);
                    }
                    end
                }
            };
            column += 1;
            if bytes.get(end) == Some(&delimiter) {
                at = end + 1;
                continue;
            }
            let newline = if bytes.get(end) == Some(&b'\r') { end + 1 } else { end };
            let next = (newline + 1).min(length);
            if newline >= length && !is_end {
                return Ok(None);
            }
            if column != columns {
                return Err(bad(next, Fault::Fields { found: column, expected: columns }));
            }
            out.end_row(row);
            return Ok(Some(next));
        }
    }

    /// The fields of the first row, as text; `None` if it does not end here.
    ///
    /// # Errors
    /// If its quotes are not closed.
    pub(crate) fn first_row(
        dialect: &Dialect,
        bytes: &[u8],
        is_end: bool,
    ) -> Result<Option<(Vec<String>, usize)>, BadRow> {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len() + PADDING, 0);
        let mut from = 0;
        // As many columns as it has: tried with one, the error says how many there are.
        let mut columns = 1;
        loop {
            let wanted: Vec<usize> = (0..columns).collect();
            let splitter = Splitter::new(dialect.clone(), columns, &wanted);
            let mut out = Fields::default();
            out.clear(columns, padded.len());
            let input = Input { bytes: &padded, length: bytes.len(), limit: usize::MAX, is_end };
            match splitter.careful(input, from, &mut out) {
                Ok(None) => return Ok(None),
                Ok(Some(next)) if out.rows == 0 && next < bytes.len() => from = next,
                Ok(Some(_)) if out.rows == 0 => return Ok(None),
                Ok(Some(next)) => {
                    let mut all = padded.clone();
                    all.extend_from_slice(&out.side);
                    let text = |spans: &Vec<Span>| String::from_utf8_lossy(spans[0].of(&all)).into_owned();
                    return Ok(Some((out.spans.iter().map(text).collect(), next)));
                }
                Err(BadRow { fault: Fault::Fields { found, .. }, .. }) if found != columns => columns = found,
                Err(bad) => return Err(bad),
            }
        }
    }
}

/// Where the line after this one begins.
fn line_end(input: Input<'_>, row: usize) -> usize {
    let rest = &input.bytes[row..input.length];
    memchr::memchr(b'\n', rest).map_or(input.length, |found| row + found + 1)
}
