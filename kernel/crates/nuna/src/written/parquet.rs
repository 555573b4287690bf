//! Owns rows as a Parquet file: which columns a block's file has, so that those of all blocks are one table, and its bytes.

use nuna_parquet::{Column, ColumnName, Kind, Texts, Values, Writer};

use crate::{rows::Node, written::traced::Field};

/// Rows of consecutive tasks; `None` for one that failed.
type Rows = [Option<Vec<(String, Node)>>];

/// What all blocks have to agree on, as text, and the bytes of this block's file. `traced` is what the row's type says of its
/// columns.
pub(super) fn file(first: u64, rows: &Rows, traced: &[Field]) -> Result<(Vec<u8>, Vec<u8>), String> {
    let mut columns = vec![ColumnName { name: "task".to_owned(), kind: Kind::Int }];
    columns.extend(columns_of(rows, traced));
    if let Some(twice) = columns
        .iter()
        .enumerate()
        .find(|(at, column)| columns[..*at].iter().any(|before| before.name == column.name))
    {
        return Err(format!("two columns would be called `{}`", twice.1.name));
    }
    let mut schema = String::new();
    for ColumnName { name, kind } in &columns {
        schema.push_str(&format!("{name:?} {kind:?}\n"));
    }
    let failed = |error: nuna_parquet::Error| format!("its rows cannot be written as Parquet: {error}");
    let there = || (first..).zip(rows).filter_map(|(task, row)| row.as_ref().map(|row| (task, row)));
    let tasks = there().map(|(task, _)| whole(task)).collect::<Result<_, _>>()?;
    let mut filled = vec![Column { values: Values::Int(tasks), valid: None }];
    for (place, column) in columns[1..].iter().enumerate() {
        let nodes = there().map(|(task, row)| (task, super::field(row, place, &column.name)));
        filled.push(fill(column, nodes).map_err(|error| format!("`{}` {error}", column.name))?);
    }
    let mut writer = Writer::new(Vec::new(), &columns).map_err(failed)?;
    writer.write(&filled).map_err(failed)?;
    Ok((schema.into_bytes(), writer.finish().map_err(failed)?))
}

/// Those that the type tells of, if the rows have no others: then they do not hang on what happens to be in this block.
/// Otherwise those of the rows.
fn columns_of(rows: &Rows, traced: &[Field]) -> Vec<ColumnName> {
    let names = super::names(rows);
    let found: Vec<(&str, Option<Kind>)> = names
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let mut nodes = rows.iter().flatten().filter_map(|row| super::field(row, place, name));
            (*name, nodes.find_map(kind))
        })
        .collect();
    let known: Option<Vec<ColumnName>> =
        traced.iter().map(|field| Some(ColumnName { name: field.name.clone(), kind: field.kind? })).collect();
    let is_within =
        |outer: &str, name: &str| name.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
    if let Some(known) = known
        && found.iter().all(|(name, kind)| match kind {
            Some(_) => known.iter().any(|column| column.name == **name && Some(column.kind) == *kind),
            // Nothing at all, where others may have fields.
            None => known.iter().any(|column| column.name == **name || is_within(name, &column.name)),
        })
    {
        return known;
    }
    let others = |name: &str| found.iter().any(|(other, _)| is_within(name, other));
    let kept = found.iter().filter(|(name, kind)| kind.is_some() || !others(name));
    kept.map(|&(name, kind)| {
        let said = || traced.iter().find(|field| field.name == name).and_then(|field| field.kind);
        ColumnName { name: name.to_owned(), kind: kind.or_else(said).unwrap_or(Kind::Float) }
    })
    .collect()
}

/// As which an element is stored; nothing for one that is missing.
pub(super) fn kind(node: &Node) -> Option<Kind> {
    match node {
        Node::Bool(_) => Some(Kind::Bool),
        Node::Int(..) | Node::Uint(..) => Some(Kind::Int),
        Node::F32(_) | Node::F64(_) => Some(Kind::Float),
        Node::Text(_) => Some(Kind::Text),
        Node::Empty | Node::Sequence(_) | Node::Tuple(_) | Node::Fields(_) => None,
    }
}

fn whole(value: u64) -> Result<i64, String> {
    let too_large =
        |_| format!("is {value} in a row, and Parquet's integers end at {}; use to_csv", i64::MAX);
    i64::try_from(value).map_err(too_large)
}

fn fill<'a>(
    column: &ColumnName,
    nodes: impl Iterator<Item = (u64, Option<&'a Node>)>,
) -> Result<Column, String> {
    let mut valid = Vec::new();
    let mut values = match column.kind {
        Kind::Int | Kind::Date | Kind::Time => Values::Int(Vec::new()),
        Kind::Float => Values::Float(Vec::new()),
        Kind::Bool => Values::Bool(Vec::new()),
        Kind::Text => Values::Text(Texts::default()),
    };
    for (task, node) in nodes {
        let node = node.unwrap_or(&Node::Empty);
        // An outer field without anything stands for all that is within it.
        let is_there = kind(node).is_some();
        valid.push(is_there);
        match (&mut values, node) {
            (Values::Int(to), Node::Int(value, _)) => to.push(*value),
            (Values::Int(to), Node::Uint(value, _)) => to.push(whole(*value)?),
            (Values::Float(to), Node::F64(value)) => to.push(*value),
            (Values::Float(to), Node::F32(value)) => to.push(f64::from(*value)),
            (Values::Bool(to), Node::Bool(value)) => to.push(*value),
            (Values::Text(to), Node::Text(text)) => {
                to.push(text.as_bytes()).map_err(|error| error.to_string())?;
            }
            (Values::Int(to), _) if !is_there => to.push(0),
            (Values::Float(to), _) if !is_there => to.push(0.0),
            (Values::Bool(to), _) if !is_there => to.push(false),
            (Values::Text(to), _) if !is_there => to.push(&[]).map_err(|error| error.to_string())?,
            _ => {
                return Err(format!(
                    "of task {task} is not of the same type as in other rows ({:?}); all must be, or use to_csv",
                    column.kind
                ));
            }
        }
    }
    let all = valid.iter().all(|&is_there| is_there);
    Ok(Column { values, valid: (!all).then_some(valid) })
}
