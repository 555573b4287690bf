//! Owns which group a row belongs to: a number for each different row of keys.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::{
    column::{Column, ColumnType, Data, Span, Text, float_key, hash_bytes, mix},
    error::FrameError,
};

/// Gives each different row of keys a number. A row of keys is a few words: numbers as they are, short texts by their letters,
/// longer ones by their number in a dictionary of their column, so that comparing two rows touches one place in memory.
pub(crate) struct Grouper {
    pub(super) kinds: Vec<ColumnType>,
    dictionaries: Vec<Dictionary>,
    table: HashTable<Entry>,
    /// Of each group, a word per key, and behind them a bit for each key that is missing.
    words: Vec<u64>,
    count: usize,
    /// The words of rows that are looked at; kept for its room.
    looked_at: Vec<u64>,
}

/// A group as the table has it, with enough of its hash that a growing table need not look at words.
#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    group: u32,
}

impl Entry {
    /// The table takes places from the low bits, and the mark that it compares first from the highest ones.
    #[inline(always)]
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

/// Of every hash.
const SEED: u64 = 0x2545_f491_4f6c_dd1d;

/// Texts up to this length are their word themselves: letters, and their number in the highest byte.
const SHORT: usize = 7;
const LENGTH_SHIFT: u32 = 56;
/// In the place of a length: the rest is a number in the dictionary.
const LONG: u64 = 0xff << LENGTH_SHIFT;

/// The texts of a column that are longer than [`SHORT`], each once.
#[derive(Default)]
struct Dictionary {
    table: HashTable<u32>,
    hashes: Vec<u64>,
    texts: Text,
}

impl Dictionary {
    /// What stands for a text in a row of keys.
    #[inline(always)]
    fn word(&mut self, span: Span, bytes: &[u8]) -> Result<u64, FrameError> {
        let (start, length) = (span.start(), span.len());
        if length > SHORT {
            return Ok(LONG | self.number(span.of(bytes))?);
        }
        let letters = match bytes.get(start..start + 8).and_then(|bytes| bytes.try_into().ok()) {
            Some(eight) => u64::from_le_bytes(eight) & ((1 << (8 * length)) - 1),
            None => span.of(bytes).iter().rev().fold(0, |word, &letter| word << 8 | u64::from(letter)),
        };
        Ok(letters | (length as u64) << LENGTH_SHIFT)
    }

    #[inline(always)]
    fn number(&mut self, text: &[u8]) -> Result<u64, FrameError> {
        let hash = hash_bytes(text);
        let known = self.table.find(hash, |&number| {
            self.hashes[number as usize] == hash && same_bytes(self.texts.get(number as usize), text)
        });
        match known {
            Some(&number) => Ok(u64::from(number)),
            None => self.add(hash, text),
        }
    }

    #[cold]
    fn add(&mut self, hash: u64, text: &[u8]) -> Result<u64, FrameError> {
        let number = row_number(self.hashes.len())?;
        self.texts.push(text)?;
        self.hashes.push(hash);
        let hashes = &self.hashes;
        self.table.insert_unique(hash, number, |&number| hashes[number as usize]);
        Ok(u64::from(number))
    }

    /// The texts for which such words stand.
    fn texts<'a>(self, words: impl Iterator<Item = &'a u64>) -> Result<Text, FrameError> {
        let long = self.texts.spans;
        let mut texts = Text { bytes: self.texts.bytes, spans: Vec::with_capacity(words.size_hint().0) };
        for &word in words {
            if word & LONG == LONG {
                // Of a missing one there may be no text at all.
                texts.spans.push(long.get((word & !LONG) as usize).copied().unwrap_or_default());
            } else {
                let length = (word >> LENGTH_SHIFT) as usize;
                texts.push(&word.to_le_bytes()[..length.min(SHORT)])?;
            }
        }
        Ok(texts)
    }
}

/// Most texts are short: two overlapping reads cover up to 16 bytes.
#[inline(always)]
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    match (a.len(), a.first_chunk::<8>(), a.last_chunk::<8>()) {
        (length, ..) if length != b.len() => false,
        (8..=16, first @ Some(_), last) => first == b.first_chunk() && last == b.last_chunk(),
        _ => a == b,
    }
}

fn row_number(count: usize) -> Result<u32, FrameError> {
    u32::try_from(count).map_err(|_| FrameError::Invalid(format!("there are more than {} groups", u32::MAX)))
}

#[inline(always)]
fn hash_words(words: &[u64]) -> u32 {
    let hash = words.iter().fold(SEED, |hash, &word| mix(hash, word));
    (hash >> 32) as u32
}

impl Grouper {
    pub(crate) fn new(kinds: impl IntoIterator<Item = ColumnType>) -> Self {
        let kinds: Vec<ColumnType> = kinds.into_iter().collect();
        let dictionaries = kinds.iter().map(|_| Dictionary::default()).collect();
        Grouper {
            kinds,
            dictionaries,
            table: HashTable::new(),
            words: Vec::new(),
            count: 0,
            looked_at: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Words per row.
    fn width(&self) -> usize {
        // Also without keys there is a row.
        self.kinds.len() + self.kinds.len().div_ceil(64).max(1)
    }

    /// The group of each row; new ones are added.
    pub(crate) fn assign(&mut self, keys: &[Arc<Column>], rows: usize) -> Result<Vec<u32>, FrameError> {
        let width = self.width();
        let mut words = std::mem::take(&mut self.looked_at);
        words.clear();
        words.resize(rows * width, 0);
        for (place, (key, dictionary)) in keys.iter().zip(&mut self.dictionaries).enumerate() {
            let places = words.iter_mut().skip(place).step_by(width);
            match &key.data {
                Data::Int(v) => places.zip(v).for_each(|(word, &v)| *word = v as u64),
                Data::Float(v) => places.zip(v).for_each(|(word, &v)| *word = float_key(v)),
                Data::Bool(v) => places.zip(v).for_each(|(word, &v)| *word = u64::from(v)),
                Data::Text(v) => {
                    for (word, &span) in places.zip(&v.spans) {
                        *word = dictionary.word(span, &v.bytes)?;
                    }
                }
            }
            if let Some(valid) = &key.valid {
                let flags = self.kinds.len() + place / 64;
                // Whatever a missing element holds, it is one key.
                for (row, _) in valid.iter().enumerate().filter(|(_, valid)| !**valid) {
                    words[row * width + place] = 0;
                    words[row * width + flags] |= 1 << (place % 64);
                }
            }
        }
        // Few keys are the rule, and rows of known width are compared without a call.
        let groups = match width {
            2 => self.number(words.as_chunks::<2>().0),
            3 => self.number(words.as_chunks::<3>().0),
            4 => self.number(words.as_chunks::<4>().0),
            5 => self.number(words.as_chunks::<5>().0),
            _ => self.number_wide(&words, width),
        };
        self.looked_at = words;
        groups
    }

    fn number<const WIDTH: usize>(&mut self, rows: &[[u64; WIDTH]]) -> Result<Vec<u32>, FrameError> {
        let mut groups = Vec::with_capacity(rows.len());
        for row in rows {
            let hash = hash_words(row);
            let own = self.words.as_chunks::<WIDTH>().0;
            let is_same = |entry: &Entry| entry.hash == hash && own[entry.group as usize] == *row;
            groups.push(match self.table.find(Entry::spread(hash), is_same) {
                Some(entry) => entry.group,
                None => self.add(hash, row)?,
            });
        }
        Ok(groups)
    }

    /// The same for rows of any width.
    fn number_wide(&mut self, words: &[u64], width: usize) -> Result<Vec<u32>, FrameError> {
        let mut groups = Vec::with_capacity(words.len() / width);
        for row in words.chunks_exact(width) {
            let hash = hash_words(row);
            let own = |group: usize| &self.words[group * width..(group + 1) * width];
            let is_same = |entry: &Entry| entry.hash == hash && own(entry.group as usize) == row;
            groups.push(match self.table.find(Entry::spread(hash), is_same) {
                Some(entry) => entry.group,
                None => self.add(hash, row)?,
            });
        }
        Ok(groups)
    }

    fn add(&mut self, hash: u32, row: &[u64]) -> Result<u32, FrameError> {
        let group = row_number(self.count)?;
        self.words.extend_from_slice(row);
        self.count += 1;
        let rehash = |entry: &Entry| Entry::spread(entry.hash);
        self.table.insert_unique(Entry::spread(hash), Entry { hash, group }, rehash);
        Ok(group)
    }

    /// For each group, in which of so many parts it is: by what its keys are, not by when they came.
    pub(super) fn parts(&self, parts: usize) -> Vec<usize> {
        let part_of = |row: &[u64]| {
            let one = |hash, (place, &word): (usize, &u64)| match self.dictionaries.get(place) {
                // The number of a text is a matter of order.
                Some(texts) if self.kinds[place] == ColumnType::Text && word & LONG == LONG => {
                    mix(hash, texts.hashes.get((word & !LONG) as usize).copied().unwrap_or_default())
                }
                _ => mix(hash, word),
            };
            let hash = row.iter().enumerate().fold(SEED, one);
            ((u128::from(hash) * parts as u128) >> 64) as usize
        };
        self.words.chunks_exact(self.width()).map(part_of).collect()
    }

    /// The keys of each group.
    ///
    /// # Errors
    /// If all texts of a key are larger than a column can hold.
    pub(crate) fn columns(self) -> Result<Vec<Column>, FrameError> {
        let width = self.width();
        let words = |place: usize| self.words.iter().skip(place).step_by(width);
        let one = |(place, (&kind, dictionary)): (usize, (&ColumnType, Dictionary))| {
            let data = match kind {
                ColumnType::Int64 | ColumnType::Date | ColumnType::Time => {
                    Data::Int(words(place).map(|&word| word as i64).collect())
                }
                ColumnType::Float64 => Data::Float(words(place).map(|&word| f64::from_bits(word)).collect()),
                ColumnType::Bool => Data::Bool(words(place).map(|&word| word != 0).collect()),
                ColumnType::Text => Data::Text(dictionary.texts(words(place))?),
            };
            let flags = self.kinds.len() + place / 64;
            let valid = words(flags).map(|word| word >> (place % 64) & 1 == 0).collect();
            Ok(Column::new(kind, data, Some(valid)))
        };
        self.kinds.iter().zip(self.dictionaries).enumerate().map(one).collect()
    }
}

/// A hash for each row of keys.
pub(crate) fn hash(keys: &[Arc<Column>], rows: usize) -> Vec<u64> {
    let mut hashes = vec![SEED; rows];
    keys.iter().for_each(|key| key.hash_into(&mut hashes));
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&[u8]]) -> Arc<Column> {
        let mut all = Text::default();
        texts.iter().for_each(|text| all.push(text).unwrap());
        Arc::new(Column::new(ColumnType::Text, Data::Text(all), None))
    }

    #[test]
    fn every_text_is_a_group_of_its_own_and_comes_back_whatever_its_length() {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for length in 0..20 {
            // Letters that a longer text could be mistaken for, and a difference at either end.
            all.extend([vec![0; length], vec![b'a'; length], vec![0xc3; length]]);
            if length > 1 {
                let mut last = vec![b'a'; length];
                last[length - 1] = 0;
                let mut first = vec![b'a'; length];
                first[0] = 0xff;
                all.extend([last, first]);
            }
        }
        all.sort();
        all.dedup();
        let column = texts(&all.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let mut grouper = Grouper::new([ColumnType::Text]);
        let expected: Vec<u32> = (0..all.len() as u32).collect();
        assert_eq!(grouper.assign(std::slice::from_ref(&column), all.len()).unwrap(), expected);
        // Once more the other way round, where the last text has nothing behind it that could be read with it.
        let turned = texts(&all.iter().rev().map(Vec::as_slice).collect::<Vec<_>>());
        let groups = grouper.assign(&[turned], all.len()).unwrap();
        assert_eq!(groups.into_iter().rev().collect::<Vec<_>>(), expected);
        let keys = grouper.columns().unwrap();
        let Data::Text(keys) = &keys[0].data else { panic!("keys are texts") };
        assert!((0..all.len()).all(|row| keys.get(row) == all[row]));
    }

    #[test]
    fn missing_keys_are_told_apart_from_empty_ones_also_beyond_the_sixty_fourth() {
        for count in [1, 3, 4, 5, 66] {
            let missing = |at: Option<usize>, place: usize| {
                Column::new(ColumnType::Int64, Data::Int(vec![0]), Some(vec![at != Some(place)]))
            };
            let mut grouper = Grouper::new(vec![ColumnType::Int64; count]);
            let cases: Vec<Option<usize>> = std::iter::once(None).chain((0..count).map(Some)).collect();
            for (number, at) in (0..).zip(&cases) {
                let keys: Vec<_> = (0..count).map(|place| Arc::new(missing(*at, place))).collect();
                assert_eq!(grouper.assign(&keys, 1).unwrap(), [number], "{at:?} of {count}");
                assert_eq!(grouper.assign(&keys, 1).unwrap(), [number], "{at:?} of {count}");
            }
            for (place, column) in grouper.columns().unwrap().iter().enumerate() {
                let found: Vec<bool> = (0..=count).map(|row| column.is_valid(row)).collect();
                assert_eq!(found, cases.iter().map(|at| *at != Some(place)).collect::<Vec<_>>());
            }
        }
    }
}
