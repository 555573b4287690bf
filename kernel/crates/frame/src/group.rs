//! Owns grouping: which group a row belongs to, and what is known of each group so far. What is known of blocks is put
//! together in a tree of fixed shape, so sums of floats have the same bits whoever computes them.

use std::sync::Arc;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use crate::{
    column::{Column, ColumnType, Data, Text, float_key, float_order, hash_bytes, mix},
    error::FrameError,
    expr::{Expr, Node},
    sort,
    table::{DataTable, Schema},
};

/// One result per group: `col("size").sum().named("total")`.
#[derive(Clone, Debug)]
pub struct Agg {
    pub(crate) function: Function,
    pub(crate) input: Option<Expr>,
    name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Function {
    Sum,
    Mean,
    Count,
    Min,
    Max,
    Std,
    Var,
    Unique,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Function::Sum => "sum",
            Function::Mean => "mean",
            Function::Count => "count",
            Function::Min => "min",
            Function::Max => "max",
            Function::Std => "std",
            Function::Var => "var",
            Function::Unique => "nunique",
        }
    }
}

/// How many rows there are, whatever is missing. Called `count`.
pub fn count_rows() -> Agg {
    Agg::new(Function::Count, None)
}

impl Agg {
    pub(crate) fn new(function: Function, input: Option<Expr>) -> Self {
        Agg { function, input, name: None }
    }

    /// What the column is to be called, in place of `size_sum`.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub(crate) fn output_name(&self) -> String {
        match (&self.name, &self.input) {
            (Some(name), _) => name.clone(),
            (None, None) => "count".to_owned(),
            (None, Some(input)) => format!("{}_{}", input.output_name(), self.function.name()),
        }
    }

    /// The same with its input's conversions spelled out.
    pub(crate) fn resolve(&self, schema: &Schema) -> Result<Resolved, FrameError> {
        let Some(input) = &self.input else {
            return Ok(Resolved { function: self.function, input: None, kind: ColumnType::Int64 });
        };
        let (node, kind) = input.node.resolve(schema)?;
        let wrong = || FrameError::Types {
            expression: format!("{input}.{}()", self.function.name()),
            message: format!("not defined for {kind}"),
        };
        // Truths count as 0 and 1.
        let (node, kind) = match self.function {
            Function::Sum | Function::Mean | Function::Std | Function::Var => match kind {
                ColumnType::Int64 | ColumnType::Float64 => (node, kind),
                ColumnType::Bool => (Node::Cast(ColumnType::Int64, Arc::new(node)), ColumnType::Int64),
                ColumnType::Text | ColumnType::Date | ColumnType::Time => return Err(wrong()),
            },
            Function::Count | Function::Min | Function::Max | Function::Unique => (node, kind),
        };
        Ok(Resolved { function: self.function, input: Some(node), kind })
    }
}

/// An [`Agg`] as workers have it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Resolved {
    pub(crate) function: Function,
    pub(crate) input: Option<Node>,
    /// Of the input.
    pub(crate) kind: ColumnType,
}

impl Resolved {
    pub(crate) fn output(&self) -> ColumnType {
        match self.function {
            Function::Count | Function::Unique => ColumnType::Int64,
            Function::Mean | Function::Std | Function::Var => ColumnType::Float64,
            Function::Sum | Function::Min | Function::Max => self.kind,
        }
    }
}

/// Gives each different row of keys a number. A row of keys is a few words: numbers as they are, texts by their number in a
/// dictionary of their column, so that comparing two rows touches one place in memory.
pub(crate) struct Grouper {
    kinds: Vec<ColumnType>,
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

/// What is known of each group.
enum State {
    Count(Vec<i64>),
    SumInt(Vec<i64>),
    SumFloat(Vec<f64>),
    /// Sum and number.
    Mean {
        sum: Vec<f64>,
        count: Vec<i64>,
    },
    /// Number, mean and squared distances from it.
    Moments {
        count: Vec<f64>,
        mean: Vec<f64>,
        m2: Vec<f64>,
    },
    /// The best so far.
    Best {
        column: Column,
        is_max: bool,
    },
    /// Pairs of group and value.
    Unique {
        pairs: Grouper,
    },
}

impl State {
    fn new(agg: &Resolved) -> Self {
        match (agg.function, agg.kind) {
            (Function::Count, _) => State::Count(Vec::new()),
            (Function::Sum, ColumnType::Float64) => State::SumFloat(Vec::new()),
            (Function::Sum, _) => State::SumInt(Vec::new()),
            (Function::Mean, _) => State::Mean { sum: Vec::new(), count: Vec::new() },
            (Function::Std | Function::Var, _) => {
                State::Moments { count: Vec::new(), mean: Vec::new(), m2: Vec::new() }
            }
            (Function::Min | Function::Max, kind) => {
                State::Best { column: Column::empty(kind), is_max: agg.function == Function::Max }
            }
            (Function::Unique, kind) => State::Unique { pairs: Grouper::new([ColumnType::Int64, kind]) },
        }
    }

    fn grow(&mut self, groups: usize) {
        match self {
            State::Count(v) | State::SumInt(v) => v.resize(groups, 0),
            State::SumFloat(v) => v.resize(groups, 0.0),
            State::Mean { sum, count } => {
                sum.resize(groups, 0.0);
                count.resize(groups, 0);
            }
            State::Moments { count, mean, m2 } => {
                [count, mean, m2].into_iter().for_each(|v| v.resize(groups, 0.0));
            }
            State::Best { column, .. } => {
                let missing = groups - column.len();
                if missing > 0 {
                    column.append_missing(missing);
                }
            }
            State::Unique { .. } => {}
        }
    }

    /// What [`partial`](Self::partial) made, as it is.
    fn adopt(self, columns: &mut dyn Iterator<Item = Column>) -> Result<Self, FrameError> {
        let mut next = || columns.next().ok_or_else(odd);
        let ints = |column: Column| if let Data::Int(v) = column.data { Ok(v) } else { Err(odd()) };
        let floats = |column: Column| if let Data::Float(v) = column.data { Ok(v) } else { Err(odd()) };
        Ok(match self {
            State::Count(_) => State::Count(ints(next()?)?),
            State::SumInt(_) => State::SumInt(ints(next()?)?),
            State::SumFloat(_) => State::SumFloat(floats(next()?)?),
            State::Mean { .. } => State::Mean { sum: floats(next()?)?, count: ints(next()?)? },
            State::Moments { .. } => {
                State::Moments { count: floats(next()?)?, mean: floats(next()?)?, m2: floats(next()?)? }
            }
            State::Best { is_max, .. } => State::Best { column: next()?, is_max },
            State::Unique { .. } => return Err(odd()),
        })
    }

    /// Takes in a value per row.
    fn update(&mut self, groups: &[u32], input: Option<&Arc<Column>>) -> Result<(), FrameError> {
        let there = |row: usize| input.is_none_or(|input| input.is_valid(row));
        let numbers = |input: &Column| match &input.data {
            Data::Int(v) => v.iter().map(|&v| v as f64).collect(),
            Data::Float(v) => v.clone(),
            Data::Bool(_) | Data::Text(_) => Vec::new(),
        };
        match (self, input) {
            (State::Count(counts), _) => {
                for (row, &group) in groups.iter().enumerate() {
                    counts[group as usize] += i64::from(there(row));
                }
            }
            (State::SumInt(sums), Some(input)) => {
                let Data::Int(values) = &input.data else { return Err(odd()) };
                for (row, (&group, &value)) in groups.iter().zip(values).enumerate() {
                    if there(row) {
                        add(&mut sums[group as usize], value)?;
                    }
                }
            }
            (State::SumFloat(sums), Some(input)) => {
                for (row, (&group, value)) in groups.iter().zip(numbers(input)).enumerate() {
                    if there(row) {
                        sums[group as usize] += value;
                    }
                }
            }
            (State::Mean { sum, count }, Some(input)) => {
                for (row, (&group, value)) in groups.iter().zip(numbers(input)).enumerate() {
                    if there(row) {
                        sum[group as usize] += value;
                        count[group as usize] += 1;
                    }
                }
            }
            (State::Moments { count, mean, m2 }, Some(input)) => {
                for (row, (&group, value)) in groups.iter().zip(numbers(input)).enumerate() {
                    if there(row) {
                        let group = group as usize;
                        count[group] += 1.0;
                        let distance = value - mean[group];
                        mean[group] += distance / count[group];
                        m2[group] += distance * (value - mean[group]);
                    }
                }
            }
            (State::Best { column, is_max }, Some(input)) => best(column, *is_max, groups, input)?,
            (State::Unique { pairs, .. }, Some(input)) => {
                let rows: Vec<usize> = (0..groups.len()).filter(|&row| there(row)).collect();
                let owners = Column::int(rows.iter().map(|&row| i64::from(groups[row])).collect());
                pairs.assign(&[Arc::new(owners), Arc::new(input.gather(&rows))], rows.len())?;
            }
            (_, None) => return Err(odd()),
        }
        Ok(())
    }

    /// Columns that [`merge`](Self::merge) takes in: a row per group, or a table of its own.
    fn partial(self) -> Result<Partial, FrameError> {
        Ok(match self {
            State::Count(v) | State::SumInt(v) => Partial::Rows(vec![Column::int(v)]),
            State::SumFloat(v) => Partial::Rows(vec![Column::float(v)]),
            State::Mean { sum, count } => Partial::Rows(vec![Column::float(sum), Column::int(count)]),
            State::Moments { count, mean, m2 } => {
                Partial::Rows([count, mean, m2].into_iter().map(Column::float).collect())
            }
            State::Best { column, .. } => Partial::Rows(vec![column.compact()?]),
            State::Unique { pairs, .. } => Partial::Apart(pairs.columns()),
        })
    }

    fn merge(&mut self, groups: &[u32], partial: &[Arc<Column>]) -> Result<(), FrameError> {
        let floats = |index: usize| match partial.get(index).map(|column| &column.data) {
            Some(Data::Float(v)) => Ok(v),
            _ => Err(odd()),
        };
        let first = partial.first().ok_or_else(odd)?;
        match self {
            State::Count(sums) | State::SumInt(sums) => {
                let Data::Int(values) = &first.data else { return Err(odd()) };
                for (&group, &value) in groups.iter().zip(values) {
                    add(&mut sums[group as usize], value)?;
                }
            }
            State::SumFloat(sums) => {
                for (&group, value) in groups.iter().zip(floats(0)?) {
                    sums[group as usize] += value;
                }
            }
            State::Mean { sum, count } => {
                let Some(Data::Int(counts)) = partial.get(1).map(|column| &column.data) else {
                    return Err(odd());
                };
                for ((&group, value), more) in groups.iter().zip(floats(0)?).zip(counts) {
                    sum[group as usize] += value;
                    count[group as usize] += more;
                }
            }
            State::Moments { count, mean, m2 } => {
                let (counts, means, m2s) = (floats(0)?, floats(1)?, floats(2)?);
                for (row, &group) in groups.iter().enumerate() {
                    let group = group as usize;
                    let (a, b) = (count[group], counts[row]);
                    if b == 0.0 {
                        continue;
                    }
                    let total = a + b;
                    let distance = means[row] - mean[group];
                    mean[group] += distance * (b / total);
                    m2[group] += m2s[row] + distance * distance * (a * b / total);
                    count[group] = total;
                }
            }
            State::Best { column, is_max } => best(column, *is_max, groups, first)?,
            State::Unique { pairs, .. } => {
                let (Data::Int(owners), Some(values)) = (&first.data, partial.get(1)) else {
                    return Err(odd());
                };
                let now: Option<Vec<i64>> = owners
                    .iter()
                    .map(|&owner| Some(i64::from(*groups.get(usize::try_from(owner).ok()?)?)))
                    .collect();
                let rows = owners.len();
                pairs.assign(&[Arc::new(Column::int(now.ok_or_else(odd)?)), values.clone()], rows)?;
            }
        }
        Ok(())
    }

    fn finish(self, function: Function, groups: usize) -> Column {
        match self {
            State::Count(v) | State::SumInt(v) => Column::int(v),
            State::SumFloat(v) => Column::float(v),
            State::Mean { sum, count } => {
                let valid = count.iter().map(|&n| n > 0).collect();
                let values = sum.iter().zip(&count).map(|(sum, &n)| sum / n as f64).collect();
                Column::new(ColumnType::Float64, Data::Float(values), Some(valid))
            }
            State::Moments { count, mean: _, m2 } => {
                let valid = count.iter().map(|&n| n >= 2.0).collect();
                let values = match function {
                    Function::Var => m2.iter().zip(&count).map(|(m2, n)| m2 / (n - 1.0)).collect(),
                    _ => m2.iter().zip(&count).map(|(m2, n)| (m2 / (n - 1.0)).sqrt()).collect(),
                };
                Column::new(ColumnType::Float64, Data::Float(values), Some(valid))
            }
            State::Best { column, .. } => Column::new(column.kind, column.data, column.valid),
            State::Unique { pairs, .. } => {
                let mut counts = vec![0; groups];
                if let Some(Column { data: Data::Int(owners), .. }) = pairs.columns().first() {
                    owners.iter().for_each(|&owner| counts[owner as usize] += 1);
                }
                Column::int(counts)
            }
        }
    }
}

enum Partial {
    Rows(Vec<Column>),
    Apart(Vec<Column>),
}

/// Cannot happen: states are made for the columns they get.
fn odd() -> FrameError {
    FrameError::Invalid("a group's state met a column of another type than it was made for".to_owned())
}

#[inline(always)]
fn add(sum: &mut i64, value: i64) -> Result<(), FrameError> {
    *sum = sum.checked_add(value).ok_or_else(|| {
        FrameError::Invalid(
            "a sum of integers does not fit into int64; sum floats with `.cast(ColumnType::Float64)`"
                .to_owned(),
        )
    })?;
    Ok(())
}

/// Keeps the smaller or larger of what a group has and a row brings. NaN loses against every number.
fn best(column: &mut Column, is_max: bool, groups: &[u32], input: &Column) -> Result<(), FrameError> {
    let valid = column.valid.get_or_insert_with(|| vec![true; 0]);
    let known = valid.len();
    let groups_count = match &column.data {
        Data::Int(v) => v.len(),
        Data::Float(v) => v.len(),
        Data::Bool(v) => v.len(),
        Data::Text(v) => v.spans.len(),
    };
    if known < groups_count {
        valid.resize(groups_count, true);
    }
    let better = |order: std::cmp::Ordering| if is_max { order.is_gt() } else { order.is_lt() };
    match (&mut column.data, &input.data) {
        (Data::Int(own), Data::Int(values)) => {
            for (row, (&group, &value)) in groups.iter().zip(values).enumerate() {
                let group = group as usize;
                if input.is_valid(row) && (!valid[group] || better(value.cmp(&own[group]))) {
                    (own[group], valid[group]) = (value, true);
                }
            }
        }
        (Data::Float(own), Data::Float(values)) => {
            for (row, (&group, &value)) in groups.iter().zip(values).enumerate() {
                let group = group as usize;
                let wins = || match (value.is_nan(), own[group].is_nan()) {
                    (true, _) => false,
                    (false, true) => true,
                    (false, false) => better(float_order(value, own[group])),
                };
                if input.is_valid(row) && (!valid[group] || wins()) {
                    (own[group], valid[group]) = (value, true);
                }
            }
        }
        (Data::Bool(own), Data::Bool(values)) => {
            for (row, (&group, &value)) in groups.iter().zip(values).enumerate() {
                let group = group as usize;
                if input.is_valid(row) && (!valid[group] || better(value.cmp(&own[group]))) {
                    (own[group], valid[group]) = (value, true);
                }
            }
        }
        (Data::Text(own), Data::Text(values)) => {
            for (row, &group) in groups.iter().enumerate() {
                let group = group as usize;
                let value = values.get(row);
                if input.is_valid(row) && (!valid[group] || better(value.cmp(own.get(group)))) {
                    own.push(value)?;
                    // The new text takes the place of the old one, whose letters stay until the column is made compact.
                    own.spans[group] = own.spans.pop().unwrap_or_default();
                    valid[group] = true;
                }
            }
        }
        _ => return Err(odd()),
    }
    Ok(())
}

/// Groups with what is known of them.
pub(crate) struct Groups {
    keys: Grouper,
    states: Vec<State>,
    aggs: Vec<Resolved>,
}

impl Groups {
    pub(crate) fn new(kinds: impl IntoIterator<Item = ColumnType>, aggs: &[Resolved]) -> Self {
        Groups {
            keys: Grouper::new(kinds),
            states: aggs.iter().map(State::new).collect(),
            aggs: aggs.to_vec(),
        }
    }

    /// Takes in rows: their keys, and for each aggregation its input.
    pub(crate) fn update(
        &mut self,
        keys: &[Arc<Column>],
        inputs: &[Option<Arc<Column>>],
        rows: usize,
    ) -> Result<(), FrameError> {
        let groups = self.keys.assign(keys, rows)?;
        for (state, input) in self.states.iter_mut().zip(inputs) {
            state.grow(self.keys.len());
            state.update(&groups, input.as_ref())?;
        }
        Ok(())
    }

    /// As tables that [`merge`](Self::merge) takes in: keys and states by row, and a table for each state that is not.
    pub(crate) fn partial(self) -> Result<Vec<DataTable>, FrameError> {
        let rows = self.keys.len();
        let mut columns = self.keys.columns();
        let mut apart = Vec::new();
        for state in self.states {
            match state.partial()? {
                Partial::Rows(more) => columns.extend(more),
                Partial::Apart(pairs) => apart.push(unnamed(pairs)),
            }
        }
        let mut tables = vec![unnamed(columns)];
        // Without keys and states by row nobody else knows how many there are.
        tables[0].rows = rows;
        tables.extend(apart);
        Ok(tables)
    }

    pub(crate) fn merge(&mut self, tables: &[DataTable]) -> Result<(), FrameError> {
        let (first, mut apart) = tables.split_first().ok_or_else(odd)?;
        let key_count = self.keys.kinds.len();
        let mut columns = first.columns.get(key_count..).ok_or_else(odd)?;
        let groups = self.keys.assign(&first.columns[..key_count], first.rows)?;
        for state in &mut self.states {
            state.grow(self.keys.len());
            let count = match state {
                State::Count(_) | State::SumInt(_) | State::SumFloat(_) | State::Best { .. } => 1,
                State::Mean { .. } => 2,
                State::Moments { .. } => 3,
                State::Unique { .. } => 0,
            };
            if count == 0 {
                let (table, rest) = apart.split_first().ok_or_else(odd)?;
                apart = rest;
                state.merge(&groups, &table.columns)?;
            } else {
                let (own, rest) = columns.split_at_checked(count).ok_or_else(odd)?;
                columns = rest;
                state.merge(&groups, own)?;
            }
        }
        Ok(())
    }

    /// A row per group, by ascending keys.
    pub(crate) fn finish(self, schema: Arc<Schema>) -> Result<DataTable, FrameError> {
        // Everything is one group, also if it is nothing.
        let groups = if self.keys.kinds.is_empty() { 1 } else { self.keys.len() };
        finish(self.keys.columns(), self.states, &self.aggs, groups, schema)
    }

    /// The same of all that there is, which needs no putting together.
    pub(crate) fn finish_partial(
        aggs: &[Resolved],
        keys: usize,
        tables: Vec<DataTable>,
        schema: Arc<Schema>,
    ) -> Result<DataTable, FrameError> {
        let mut tables = tables.into_iter();
        let first = tables.next().ok_or_else(odd)?;
        let groups = if keys == 0 { 1 } else { first.rows };
        let mut columns = first.columns.into_iter().map(Arc::unwrap_or_clone);
        let keys: Vec<Column> = columns.by_ref().take(keys).collect();
        let states = aggs.iter().map(|agg| match State::new(agg) {
            State::Unique { mut pairs } => {
                let table = tables.next().ok_or_else(odd)?;
                pairs.assign(&table.columns, table.rows)?;
                Ok(State::Unique { pairs })
            }
            state => state.adopt(&mut columns),
        });
        let states = states.collect::<Result<_, FrameError>>()?;
        finish(keys, states, aggs, groups, schema)
    }
}

fn finish(
    keys: Vec<Column>,
    states: Vec<State>,
    aggs: &[Resolved],
    groups: usize,
    schema: Arc<Schema>,
) -> Result<DataTable, FrameError> {
    let mut columns: Vec<Arc<Column>> = keys.into_iter().map(Arc::new).collect();
    let rows = sort::by_keys(&columns, groups)?;
    for (mut state, agg) in states.into_iter().zip(aggs) {
        state.grow(groups);
        columns.push(Arc::new(state.finish(agg.function, groups)));
    }
    Ok(DataTable::from_parts(schema, columns, groups).gather(&rows))
}

/// Columns on their way: what they are called says nothing.
fn unnamed(columns: Vec<Column>) -> DataTable {
    let rows = columns.first().map_or(0, Column::len);
    let schema = columns.iter().map(|column| (String::new(), column.kind)).collect();
    DataTable::from_parts(Arc::new(Schema(schema)), columns.into_iter().map(Arc::new).collect(), rows)
}
