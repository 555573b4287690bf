//! Owns tables as a Parquet file has them.

use nuna_parquet::{ColumnName, Kind, Place, Texts, Values};

use crate::{
    column::{Column, ColumnType, Data},
    table::{DataTable, Schema},
};

/// What a file's columns are called and hold.
pub(crate) fn columns(schema: &Schema) -> Vec<ColumnName> {
    let kind = |kind: ColumnType| match kind {
        ColumnType::Int64 => Kind::Int,
        ColumnType::Float64 => Kind::Float,
        ColumnType::Bool => Kind::Bool,
        ColumnType::Text => Kind::Text,
        ColumnType::Date => Kind::Date,
        ColumnType::Time => Kind::Time,
    };
    schema.0.iter().map(|(name, of)| ColumnName { name: name.clone(), kind: kind(*of) }).collect()
}

/// Rows as a file takes them.
pub(crate) fn rows(table: &DataTable) -> Vec<nuna_parquet::Column> {
    let one = |column: &Column| {
        let values = match &column.data {
            Data::Int(v) => Values::Int(v.clone()),
            Data::Float(v) => Values::Float(v.clone()),
            Data::Bool(v) => Values::Bool(v.clone()),
            Data::Text(v) => {
                let place = |span: &crate::column::Span| Place { start: span.start(), length: span.len() };
                Values::Text(Texts { bytes: v.bytes.clone(), places: v.spans.iter().map(place).collect() })
            }
        };
        nuna_parquet::Column { values, valid: column.valid.clone() }
    };
    table.columns.iter().map(|column| one(column)).collect()
}
