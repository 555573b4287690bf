//! Owns which group a row belongs to: a number for each different row of keys.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::{
    column::{Column, ColumnType, Data, Text, float_key, hash_bytes, mix},
    error::FrameError,
};

/// Gives each different row of keys a number. A row of keys is a few words: numbers as they are, texts by their number in a
/// dictionary of their column, so that comparing two rows touches one place in memory.
pub(crate) struct Grouper {
    pub(super) kinds: Vec<ColumnType>,
    dictionaries: Vec<Dictionary>,
    table: HashTable<u32>,
    /// Of each group, a word per key, and one with a bit for each key that is missing.
    words: Vec<u64>,
    count: usize,
}

/// The texts of a column, each once.
#[derive(Default)]
struct Dictionary {
    table: HashTable<u32>,
    hashes: Vec<u64>,
    texts: Text,
}

impl Dictionary {
    #[inline(always)]
    fn number(&mut self, text: &[u8]) -> Result<u64, FrameError> {
        let hash = hash_bytes(text);
        let known = self.table.find(hash, |&number| {
            self.hashes[number as usize] == hash && self.texts.get(number as usize) == text
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
}

fn row_number(count: usize) -> Result<u32, FrameError> {
    u32::try_from(count).map_err(|_| FrameError::Invalid(format!("there are more than {} groups", u32::MAX)))
}

#[inline(always)]
fn hash_words(words: &[u64]) -> u64 {
    words.iter().fold(0x2545_f491_4f6c_dd1d, |hash, &word| mix(hash, word))
}

impl Grouper {
    pub(crate) fn new(kinds: impl IntoIterator<Item = ColumnType>) -> Self {
        let kinds: Vec<ColumnType> = kinds.into_iter().collect();
        let dictionaries = kinds.iter().map(|_| Dictionary::default()).collect();
        Grouper { kinds, dictionaries, table: HashTable::new(), words: Vec::new(), count: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The group of each row; new ones are added.
    pub(crate) fn assign(&mut self, keys: &[Arc<Column>], rows: usize) -> Result<Vec<u32>, FrameError> {
        let width = self.kinds.len() + 1;
        let mut words = vec![0_u64; rows * width];
        for (place, (key, dictionary)) in keys.iter().zip(&mut self.dictionaries).enumerate() {
            let places = words.iter_mut().skip(place).step_by(width);
            match &key.data {
                Data::Int(v) => places.zip(v).for_each(|(word, &v)| *word = v as u64),
                Data::Float(v) => places.zip(v).for_each(|(word, &v)| *word = float_key(v)),
                Data::Bool(v) => places.zip(v).for_each(|(word, &v)| *word = u64::from(v)),
                Data::Text(v) => {
                    for (word, span) in places.zip(&v.spans) {
                        *word = dictionary.number(span.of(&v.bytes))?;
                    }
                }
            }
            if let Some(valid) = &key.valid {
                // Whatever a missing element holds, it is one key.
                for (row, _) in valid.iter().enumerate().filter(|(_, valid)| !**valid) {
                    words[row * width + place] = 0;
                    words[(row + 1) * width - 1] |= 1 << (place % 64);
                }
            }
        }
        let mut groups = Vec::with_capacity(rows);
        for row in words.chunks_exact(width) {
            let hash = hash_words(row);
            let own = &self.words;
            let known = self.table.find(hash, |&group| {
                let start = group as usize * width;
                own[start..start + width] == *row
            });
            let group = match known {
                Some(&group) => group,
                None => {
                    let group = row_number(self.count)?;
                    self.words.extend_from_slice(row);
                    self.count += 1;
                    let own = &self.words;
                    self.table.insert_unique(hash, group, |&group| {
                        let start = group as usize * width;
                        hash_words(&own[start..start + width])
                    });
                    group
                }
            };
            groups.push(group);
        }
        Ok(groups)
    }

    /// The keys of each group.
    pub(crate) fn columns(self) -> Vec<Column> {
        let width = self.kinds.len() + 1;
        let words = |place: usize| self.words.iter().skip(place).step_by(width);
        let one = |(place, (&kind, dictionary)): (usize, (&ColumnType, Dictionary))| {
            let data = match kind {
                ColumnType::Int64 | ColumnType::Date | ColumnType::Time => {
                    Data::Int(words(place).map(|&word| word as i64).collect())
                }
                ColumnType::Float64 => Data::Float(words(place).map(|&word| f64::from_bits(word)).collect()),
                ColumnType::Bool => Data::Bool(words(place).map(|&word| word != 0).collect()),
                ColumnType::Text => {
                    // Of a missing one there may be no text at all.
                    let span =
                        |&word: &u64| dictionary.texts.spans.get(word as usize).copied().unwrap_or_default();
                    let spans = words(place).map(span).collect();
                    Data::Text(Text { bytes: dictionary.texts.bytes.clone(), spans })
                }
            };
            let valid = words(width - 1).map(|word| word >> (place % 64) & 1 == 0).collect();
            Column::new(kind, data, Some(valid))
        };
        self.kinds.iter().zip(self.dictionaries).enumerate().map(one).collect()
    }
}

/// A hash for each row of keys.
pub(crate) fn hash(keys: &[Arc<Column>], rows: usize) -> Vec<u64> {
    let mut hashes = vec![0x2545_f491_4f6c_dd1d; rows];
    keys.iter().for_each(|key| key.hash_into(&mut hashes));
    hashes
}
