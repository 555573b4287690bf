//! Owns summaries of a frame: what its columns hold in a few numbers, and a column as an array.

use nuna_labels::DataArray;

use super::Frame;
use crate::{
    column::{Column, ColumnType, Data, Text},
    error::FrameError,
    expr::col,
    group::count_rows,
    table::DataTable,
};

impl Frame {
    /// A row for each column: its name and type, how many elements are there and how many are missing, mean and standard deviation
    /// of numbers (`n - 1`; NaN counts), the smallest and the largest as text (NaN only if there is nothing else). One reading of
    /// the files.
    ///
    /// # Errors
    /// As [`compute`](Self::compute).
    pub fn describe(&self) -> Result<DataTable, FrameError> {
        let columns = self.columns();
        let kinds: Vec<ColumnType> =
            columns.iter().map(|name| self.column_type(name)).collect::<Result<_, _>>()?;
        let mut aggs = vec![count_rows().named("rows")];
        for (place, (name, kind)) in columns.iter().zip(&kinds).enumerate() {
            let named = |what: &str| format!("{what} {place}");
            aggs.extend([
                col(name).count().named(&named("count")),
                col(name).min().named(&named("min")),
                col(name).max().named(&named("max")),
            ]);
            if kind.is_number() {
                aggs.extend([col(name).mean().named(&named("mean")), col(name).std().named(&named("std"))]);
            }
        }
        let known = self.agg(aggs)?.compute()?;
        let rows = known.column_i64("rows")?.first().copied().unwrap_or(0);
        let each = |what: &str| {
            let one = |place: usize| {
                known.column(&format!("{what} {place}")).ok().filter(|column| column.is_valid(0))
            };
            (0..columns.len()).map(one).collect::<Vec<_>>()
        };
        let counts: Vec<i64> = each("count")
            .into_iter()
            .map(|column| match column.map(|column| &column.data) {
                Some(Data::Int(v)) => v.first().copied().unwrap_or(0),
                _ => 0,
            })
            .collect();
        let floats = |what: &str| {
            let found: Vec<Option<f64>> = each(what)
                .into_iter()
                .map(|column| match column.map(|column| &column.data) {
                    Some(Data::Float(v)) => v.first().copied(),
                    _ => None,
                })
                .collect();
            let values = found.iter().map(|value| value.unwrap_or(0.0)).collect();
            let valid = found.iter().map(Option::is_some).collect();
            Column::new(ColumnType::Float64, Data::Float(values), Some(valid))
        };
        let texts = |what: &str| {
            let found: Vec<Option<String>> =
                each(what).into_iter().map(|column| column.and_then(|column| column.show(0))).collect();
            let mut text = Text::default();
            found.iter().try_for_each(|value| text.push(value.as_deref().unwrap_or_default().as_bytes()))?;
            let valid = found.iter().map(Option::is_some).collect();
            Ok::<Column, FrameError>(Column::new(ColumnType::Text, Data::Text(text), Some(valid)))
        };
        let missing: Vec<i64> = counts.iter().map(|count| rows - count).collect();
        DataTable::new()
            .with_text("column", &columns)?
            .with_text("type", kinds.iter().map(|kind| kind.name()))?
            .with_i64("count", counts)?
            .with_i64("missing", missing)?
            .with("mean", floats("mean"))?
            .with("std", floats("std"))?
            .with("min", texts("min")?)?
            .with("max", texts("max")?)
    }

    /// A column of numbers as an array with the dimension `row`; computed now, and nothing but this column is read.
    ///
    /// # Errors
    /// As [`compute`](Self::compute) and [`DataTable::to_data_array`].
    pub fn to_data_array(&self, name: &str) -> Result<DataArray, FrameError> {
        self.select(name)?.compute()?.to_data_array(name)
    }
}
