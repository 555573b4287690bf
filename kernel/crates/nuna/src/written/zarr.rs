//! Owns rows as a Zarr store (version 3): which variables there are, and the bytes of each one's chunk of a block.

use serde_json::json;

use crate::rows::Node;

impl Node {
    /// The row as variables: as [`columns`](Self::columns), but sequences stay together.
    pub(crate) fn variables(self) -> Vec<(String, Node)> {
        fn put(name: String, node: Node, to: &mut Vec<(String, Node)>) {
            match node {
                Node::Fields(fields) => {
                    for (field, node) in fields {
                        let name = if name.is_empty() { field } else { format!("{name}.{field}") };
                        put(name, node, to);
                    }
                }
                node => to.push((if name.is_empty() { "value".to_owned() } else { name }, node)),
            }
        }
        let mut variables = Vec::new();
        match self {
            // `(parameters, result)`: the fields of both. A tuple of numbers is a sequence.
            Node::Tuple(nodes) if nodes.iter().any(|node| !node.is_number()) => {
                for (index, node) in nodes.into_iter().enumerate() {
                    let name =
                        if matches!(node, Node::Fields(_)) { String::new() } else { index.to_string() };
                    put(name, node, &mut variables);
                }
            }
            node => put(String::new(), node, &mut variables),
        }
        variables
    }

    fn is_number(&self) -> bool {
        matches!(
            self,
            Node::Bool(_) | Node::Int(..) | Node::Uint(..) | Node::F32(_) | Node::F64(_) | Node::Empty
        )
    }

    /// As Zarr calls the type, and its width in bytes.
    fn data_type(&self) -> Option<(&'static str, usize)> {
        Some(match self {
            Node::Bool(_) => ("bool", 1),
            Node::Int(_, 1) => ("int8", 1),
            Node::Int(_, 2) => ("int16", 2),
            Node::Int(_, 4) => ("int32", 4),
            Node::Int(..) => ("int64", 8),
            Node::Uint(_, 1) => ("uint8", 1),
            Node::Uint(_, 2) => ("uint16", 2),
            Node::Uint(_, 4) => ("uint32", 4),
            Node::Uint(..) => ("uint64", 8),
            Node::F32(_) => ("float32", 4),
            Node::F64(_) => ("float64", 8),
            Node::Empty | Node::Text(_) | Node::Sequence(_) | Node::Tuple(_) | Node::Fields(_) => {
                return None;
            }
        })
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Node::Bool(value) => bytes.push(u8::from(*value)),
            Node::Int(value, width) => bytes.extend_from_slice(&value.to_le_bytes()[..usize::from(*width)]),
            Node::Uint(value, width) => bytes.extend_from_slice(&value.to_le_bytes()[..usize::from(*width)]),
            Node::F32(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            Node::F64(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            Node::Empty | Node::Text(_) | Node::Sequence(_) | Node::Tuple(_) | Node::Fields(_) => {
                unreachable!("only numbers are put")
            }
        }
    }
}

/// The variables of a block's rows.
pub(super) struct Variables(Vec<Variable>);

struct Variable {
    name: String,
    data_type: &'static str,
    /// Elements of each row; nothing for a plain number.
    length: Option<usize>,
    /// Of the whole chunk.
    bytes: Vec<u8>,
}

impl Variables {
    /// `rows` of consecutive tasks from `first`; `None` for one that failed.
    pub(super) fn of(
        first: u64,
        rows: Vec<Option<Vec<(String, Node)>>>,
        tasks_per_block: u64,
    ) -> Result<Self, String> {
        let mut done = vec![0_u8; tasks_per_block as usize];
        for (done, row) in done.iter_mut().zip(&rows) {
            *done = u8::from(row.is_some());
        }
        let names: Vec<String> =
            rows.iter().flatten().next().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        let mut variables = Vec::with_capacity(names.len() + 1);
        for (place, name) in names.into_iter().enumerate() {
            let column = rows.iter().map(|row| match row {
                None => Ok(None),
                Some(row) => match row.get(place) {
                    Some((found, node)) if *found == name => Ok(Some(node)),
                    Some(_) | None => Err(format!("one has the field `{name}`, another does not")),
                },
            });
            let column: Vec<Option<&Node>> = column.collect::<Result<_, _>>()?;
            variables.push(Variable::of(name, first, &column, tasks_per_block as usize)?);
        }
        if let Some(row) = rows.iter().flatten().find(|row| row.len() != variables.len()) {
            return Err(format!("rows have different fields: {} and {}", variables.len(), row.len()));
        }
        if let Some(taken) = variables.iter().find(|variable| variable.name == "done") {
            return Err(format!("a field cannot be called `{}` in a Zarr store of tasks", taken.name));
        }
        variables.push(Variable { name: "done".to_owned(), data_type: "bool", length: None, bytes: done });
        Ok(Variables(variables))
    }

    /// Names and contents of what block `block` has to write. Without a row the types are not known, and the chunks are
    /// left out, which is how Zarr says that they hold nothing.
    pub(super) fn files(&self, block: u64, tasks: u64, tasks_per_block: u64) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        let group = json!({ "zarr_format": 3, "node_type": "group", "attributes": {} });
        files.push(("zarr.json".to_owned(), group.to_string().into_bytes()));
        for variable in &self.0 {
            let (mut shape, mut chunk, mut dimensions) =
                (vec![tasks], vec![tasks_per_block], vec!["task".to_owned()]);
            if let Some(length) = variable.length {
                shape.push(length as u64);
                chunk.push(length.max(1) as u64);
                dimensions.push(format!("{}_index", variable.name));
            }
            let fill = match variable.data_type {
                "bool" => json!(false),
                float if float.starts_with("float") => json!("NaN"),
                _ => json!(0),
            };
            let metadata = json!({
                "zarr_format": 3,
                "node_type": "array",
                "shape": shape,
                "data_type": variable.data_type,
                "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": chunk } },
                "chunk_key_encoding": { "name": "default", "configuration": { "separator": "/" } },
                "fill_value": fill,
                "codecs": [{ "name": "bytes", "configuration": { "endian": "little" } }],
                "attributes": {},
                "dimension_names": dimensions,
            });
            let name = &variable.name;
            files.push((format!("{name}/zarr.json"), metadata.to_string().into_bytes()));
            let key = if variable.length.is_some() { format!("{block}/0") } else { block.to_string() };
            if variable.length != Some(0) {
                files.push((format!("{name}/c/{key}"), variable.bytes.clone()));
            }
        }
        files
    }
}

impl Variable {
    fn of(name: String, first: u64, rows: &[Option<&Node>], count: usize) -> Result<Self, String> {
        if name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(format!("a variable of a Zarr store cannot be called `{name}`"));
        }
        let elements = |node: &Node| match node {
            Node::Sequence(nodes) | Node::Tuple(nodes) => Some(nodes.len()),
            _ => None,
        };
        let length = rows.iter().flatten().next().and_then(|node| elements(node));
        let numbers = |node: &'_ Node| -> Vec<Node> {
            match node {
                Node::Sequence(nodes) | Node::Tuple(nodes) => nodes.clone(),
                node => vec![node.clone()],
            }
        };
        let known = rows.iter().flatten().flat_map(|node| numbers(node)).find(|node| *node != Node::Empty);
        let kind = match &known {
            None => Some(("float64", 8)),
            Some(node) => node.data_type(),
        };
        let Some((data_type, width)) = kind else {
            return Err(format!(
                "`{name}` is neither a number nor a sequence of numbers, and only these have a place in a Zarr store; leave it out, or use to_csv"
            ));
        };
        let per_row = length.unwrap_or(1);
        let nothing = |bytes: &mut Vec<u8>| match data_type {
            "float64" => bytes.extend_from_slice(&f64::NAN.to_le_bytes()),
            "float32" => bytes.extend_from_slice(&f32::NAN.to_le_bytes()),
            _ => bytes.resize(bytes.len() + width, 0),
        };
        let mut bytes = Vec::with_capacity(count * per_row * width);
        for (task, row) in (first..).zip(rows) {
            let Some(row) = row else {
                (0..per_row).for_each(|_| nothing(&mut bytes));
                continue;
            };
            if elements(row) != length {
                return Err(format!(
                    "`{name}` of task {task} has {} elements, of another task {}; all must have the same number",
                    elements(row).unwrap_or(1),
                    per_row
                ));
            }
            for node in numbers(row) {
                match node.data_type() {
                    Some((found, _)) if found == data_type => node.put(&mut bytes),
                    None if node == Node::Empty && data_type.starts_with("float") => nothing(&mut bytes),
                    _ => {
                        return Err(format!(
                            "`{name}` of task {task} is not {data_type} as in other rows; all must be of one type"
                        ));
                    }
                }
            }
        }
        for _ in rows.len()..count {
            (0..per_row).for_each(|_| nothing(&mut bytes));
        }
        Ok(Variable { name, data_type, length, bytes })
    }
}
