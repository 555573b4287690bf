//! Owns what is known of each group so far, for one aggregation: growing by rows, by what is known of other blocks, and
//! becoming a column.

use std::sync::Arc;

use super::{
    agg::{Function, Resolved},
    keys::Grouper,
    odd,
};
use crate::{
    column::{Column, ColumnType, Data, float_order},
    error::FrameError,
};

/// What is known of each group.
pub(super) enum State {
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
    pub(super) fn new(agg: &Resolved) -> Self {
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

    /// Whether what is known is a table of its own, and not a row per group.
    pub(super) fn is_apart(&self) -> bool {
        matches!(self, State::Unique { .. })
    }

    pub(super) fn grow(&mut self, groups: usize) {
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
    pub(super) fn adopt(self, columns: &mut dyn Iterator<Item = Column>) -> Result<Self, FrameError> {
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
    pub(super) fn update(&mut self, groups: &[u32], input: Option<&Arc<Column>>) -> Result<(), FrameError> {
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
    pub(super) fn partial(self) -> Result<Partial, FrameError> {
        Ok(match self {
            State::Count(v) | State::SumInt(v) => Partial::Rows(vec![Column::int(v)]),
            State::SumFloat(v) => Partial::Rows(vec![Column::float(v)]),
            State::Mean { sum, count } => Partial::Rows(vec![Column::float(sum), Column::int(count)]),
            State::Moments { count, mean, m2 } => {
                Partial::Rows([count, mean, m2].into_iter().map(Column::float).collect())
            }
            State::Best { column, .. } => Partial::Rows(vec![column.compact()?]),
            State::Unique { pairs, .. } => Partial::Apart(pairs.columns()?),
        })
    }

    pub(super) fn merge(&mut self, groups: &[u32], partial: &[Arc<Column>]) -> Result<(), FrameError> {
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

    pub(super) fn finish(self, function: Function, groups: usize) -> Result<Column, FrameError> {
        Ok(match self {
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
                if let Some(Column { data: Data::Int(owners), .. }) = pairs.columns()?.first() {
                    owners.iter().for_each(|&owner| counts[owner as usize] += 1);
                }
                Column::int(counts)
            }
        })
    }
}

pub(super) enum Partial {
    Rows(Vec<Column>),
    Apart(Vec<Column>),
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
