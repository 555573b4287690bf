//! Owns what a result looks like as a row: names and values of its fields, whatever type it has. Leaves files to `written`.

use serde::{
    Serialize, Serializer,
    ser::{
        Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

/// A value as serde tells of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Nothing: `None` or `()`.
    Empty,
    Bool(bool),
    /// With its width in bytes.
    Int(i64, u8),
    /// With its width in bytes.
    Uint(u64, u8),
    F32(f32),
    F64(f64),
    Text(String),
    Sequence(Vec<Node>),
    /// Arrays of fixed length are tuples too.
    Tuple(Vec<Node>),
    Fields(Vec<(String, Node)>),
}

/// What `value` looks like.
///
/// # Errors
/// If it cannot be serialised, or has a key that is no text.
pub fn node<T: Serialize + ?Sized>(value: &T) -> Result<Node, String> {
    value.serialize(Read).map_err(|Unread(message)| message)
}

impl Node {
    /// The row as columns: a field of a field is called `outer.inner`, an element `name.0`; a row that has no fields is the
    /// column `value`, one that is a tuple the columns `0`, `1`, ….
    pub fn columns(self) -> Vec<(String, Node)> {
        let mut columns = Vec::new();
        match self {
            Node::Fields(fields) => {
                fields.into_iter().for_each(|(name, node)| node.flatten(name, &mut columns))
            }
            Node::Tuple(elements) | Node::Sequence(elements) => {
                let named = elements.into_iter().enumerate();
                named.for_each(|(index, node)| match node {
                    // `(parameters, result)`: the fields of both.
                    Node::Fields(_) => columns.extend(node.columns()),
                    node => node.flatten(index.to_string(), &mut columns),
                });
            }
            node => columns.push(("value".to_owned(), node)),
        }
        columns
    }

    fn flatten(self, name: String, columns: &mut Vec<(String, Node)>) {
        match self {
            Node::Fields(fields) => {
                fields.into_iter().for_each(|(field, node)| node.flatten(format!("{name}.{field}"), columns));
            }
            Node::Tuple(elements) | Node::Sequence(elements) => {
                let named = elements.into_iter().enumerate();
                named.for_each(|(index, node)| node.flatten(format!("{name}.{index}"), columns));
            }
            node => columns.push((name, node)),
        }
    }

    /// As a field of a CSV file (RFC 4180). Numbers read back as the same numbers; not a number is `NaN`.
    pub fn csv(&self) -> String {
        match self {
            Node::Empty => String::new(),
            Node::Bool(value) => value.to_string(),
            Node::Int(value, _) => value.to_string(),
            Node::Uint(value, _) => value.to_string(),
            Node::F32(value) => value.to_string(),
            Node::F64(value) => value.to_string(),
            Node::Text(text) => quoted(text),
            Node::Sequence(_) | Node::Tuple(_) | Node::Fields(_) => {
                unreachable!("rows are flattened before they are written")
            }
        }
    }
}

/// In quotes where it has to be.
pub(crate) fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

struct Read;

#[derive(Debug)]
struct Unread(String);

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unread {}

impl serde::ser::Error for Unread {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Unread(message.to_string())
    }
}

/// Elements or fields as they come.
struct Many {
    nodes: Vec<Node>,
    make: fn(Vec<Node>) -> Node,
    /// Of an enum: the fields are within it.
    variant: Option<&'static str>,
}

struct Named {
    fields: Vec<(String, Node)>,
    key: Option<String>,
    variant: Option<&'static str>,
}

fn within(variant: Option<&'static str>, node: Node) -> Node {
    match variant {
        Some(variant) => Node::Fields(vec![(variant.to_owned(), node)]),
        None => node,
    }
}

impl Many {
    fn new(make: fn(Vec<Node>) -> Node, variant: Option<&'static str>) -> Self {
        Many { nodes: Vec::new(), make, variant }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unread> {
        self.nodes.push(value.serialize(Read)?);
        Ok(())
    }

    fn done(self) -> Result<Node, Unread> {
        Ok(within(self.variant, (self.make)(self.nodes)))
    }
}

macro_rules! elements {
    ($($of:ident: $function:ident),+) => {$(
        impl $of for Many {
            type Ok = Node;
            type Error = Unread;

            fn $function<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unread> {
                self.push(value)
            }

            fn end(self) -> Result<Node, Unread> {
                self.done()
            }
        }
    )+};
}

elements!(SerializeSeq: serialize_element, SerializeTuple: serialize_element);
elements!(SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field);

impl Named {
    fn new(variant: Option<&'static str>) -> Self {
        Named { fields: Vec::new(), key: None, variant }
    }

    fn done(self) -> Result<Node, Unread> {
        Ok(within(self.variant, Node::Fields(self.fields)))
    }
}

macro_rules! fields {
    ($($of:ident),+) => {$(
        impl $of for Named {
            type Ok = Node;
            type Error = Unread;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Unread> {
                self.fields.push((name.to_owned(), value.serialize(Read)?));
                Ok(())
            }

            fn end(self) -> Result<Node, Unread> {
                self.done()
            }
        }
    )+};
}

fields!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Named {
    type Ok = Node;
    type Error = Unread;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unread> {
        self.key = match key.serialize(Read)? {
            Node::Text(text) => Some(text),
            key @ (Node::Bool(_) | Node::Int(..) | Node::Uint(..)) => Some(key.csv()),
            _ => return Err(Unread("a key of a map is neither text nor a number".to_owned())),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unread> {
        let key = self.key.take().ok_or_else(|| Unread::custom("a map has a value without a key"))?;
        self.fields.push((key, value.serialize(Read)?));
        Ok(())
    }

    fn end(self) -> Result<Node, Unread> {
        self.done()
    }
}

macro_rules! numbers {
    ($($function:ident($ty:ty) $value:ident => $node:expr),+ $(,)?) => {$(
        fn $function(self, $value: $ty) -> Result<Node, Unread> {
            Ok($node)
        }
    )+};
}

impl Serializer for Read {
    type Ok = Node;
    type Error = Unread;
    type SerializeSeq = Many;
    type SerializeTuple = Many;
    type SerializeTupleStruct = Many;
    type SerializeTupleVariant = Many;
    type SerializeMap = Named;
    type SerializeStruct = Named;
    type SerializeStructVariant = Named;

    numbers! {
        serialize_bool(bool) value => Node::Bool(value),
        serialize_i8(i8) value => Node::Int(value.into(), 1),
        serialize_i16(i16) value => Node::Int(value.into(), 2),
        serialize_i32(i32) value => Node::Int(value.into(), 4),
        serialize_i64(i64) value => Node::Int(value, 8),
        serialize_u8(u8) value => Node::Uint(value.into(), 1),
        serialize_u16(u16) value => Node::Uint(value.into(), 2),
        serialize_u32(u32) value => Node::Uint(value.into(), 4),
        serialize_u64(u64) value => Node::Uint(value, 8),
        serialize_f32(f32) value => Node::F32(value),
        serialize_f64(f64) value => Node::F64(value),
        serialize_char(char) value => Node::Text(value.to_string()),
        serialize_str(&str) value => Node::Text(value.to_owned()),
        serialize_unit_struct(&'static str) _name => Node::Empty,
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Node, Unread> {
        Ok(Node::Sequence(bytes.iter().map(|&byte| Node::Uint(byte.into(), 1)).collect()))
    }

    fn serialize_none(self) -> Result<Node, Unread> {
        Ok(Node::Empty)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Node, Unread> {
        value.serialize(Read)
    }

    fn serialize_unit(self) -> Result<Node, Unread> {
        Ok(Node::Empty)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Node, Unread> {
        Ok(Node::Text(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Node, Unread> {
        value.serialize(Read)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Node, Unread> {
        Ok(within(Some(variant), value.serialize(Read)?))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Many, Unread> {
        Ok(Many::new(Node::Sequence, None))
    }

    fn serialize_tuple(self, _: usize) -> Result<Many, Unread> {
        Ok(Many::new(Node::Tuple, None))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Many, Unread> {
        Ok(Many::new(Node::Tuple, None))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Many, Unread> {
        Ok(Many::new(Node::Tuple, Some(variant)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Named, Unread> {
        Ok(Named::new(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Named, Unread> {
        Ok(Named::new(None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Named, Unread> {
        Ok(Named::new(Some(variant)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    #[serde(crate = "serde")]
    struct Run {
        name: &'static str,
        place: (f64, f32),
        series: Vec<i32>,
        missing: Option<u8>,
    }

    fn run() -> Run {
        Run { name: "a, \"b\"", place: (1.5, f32::NAN), series: vec![-1, 2], missing: None }
    }

    fn columns(row: &impl Serialize) -> Vec<(String, String)> {
        node(row).unwrap().columns().into_iter().map(|(name, node)| (name, node.csv())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn fields_of_a_struct_are_columns() {
        let expected = [
            ("name", "\"a, \"\"b\"\"\""),
            ("place.0", "1.5"),
            ("place.1", "NaN"),
            ("series.0", "-1"),
            ("series.1", "2"),
            ("missing", ""),
        ];
        assert_eq!(columns(&run()), pairs(&expected));
    }

    #[test]
    fn rows_without_fields_have_columns_too() {
        assert_eq!(columns(&0.1), pairs(&[("value", "0.1")]));
        assert_eq!(columns(&(1, true)), pairs(&[("0", "1"), ("1", "true")]));
        assert_eq!(columns(&(7_u8, run()))[..2], pairs(&[("0", "7"), ("name", "\"a, \"\"b\"\"\"")]));
        assert_eq!(columns(&f64::INFINITY), pairs(&[("value", "inf")]));
    }
}
