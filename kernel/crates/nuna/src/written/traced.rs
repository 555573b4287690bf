//! Owns what a type says of its fields before there is a value: it is read from a source that has one of everything. So the
//! columns of a block in which every element of a field is missing are those of other blocks.
//!
//! What depends on values (sequences, maps, variants with contents) says nothing, and neither does what follows a type that
//! refuses what it is given.

use std::fmt;

use nuna_parquet::Kind;
use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
        VariantAccess, Visitor,
        value::{Error, StrDeserializer},
    },
};

use crate::{rows::Node, written::parquet::kind};

/// Types that hold themselves have no end.
const DEPTH_MAX: usize = 32;
/// Longer arrays and tuples say nothing: they would be as many columns.
const ELEMENTS_MAX: usize = 4096;

/// A column that a row of some type has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Option<Kind>,
}

/// The columns of a row of type `T`, as far as it says.
pub(super) fn fields<T: DeserializeOwned>() -> Vec<Field> {
    let mut node = Node::Empty;
    // What was read before an error stands.
    let read = T::deserialize(Trace { node: &mut node, depth: 0 });
    let mut fields: Vec<Field> =
        node.columns().into_iter().map(|(name, node)| Field { name, kind: kind(&node) }).collect();
    if read.is_err() {
        // There is more, of which nothing is known.
        fields.push(Field { name: String::new(), kind: None });
    }
    fields
}

struct Trace<'a> {
    node: &'a mut Node,
    depth: usize,
}

impl<'a> Trace<'a> {
    fn within(node: &'a mut Node, depth: usize) -> Result<Self, Error> {
        if depth >= DEPTH_MAX { Err(unknown()) } else { Ok(Trace { node, depth: depth + 1 }) }
    }
}

fn unknown() -> Error {
    Error::custom("nothing is known of this type")
}

macro_rules! elements {
    ($($function:ident => $visit:ident($($value:expr)?), $node:expr;)+) => {$(
        fn $function<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            *self.node = $node;
            visitor.$visit($($value)?)
        }
    )+};
}

// One and not zero: some types have no zero.
impl<'de> Deserializer<'de> for Trace<'_> {
    type Error = Error;

    elements! {
        deserialize_bool => visit_bool(false), Node::Bool(false);
        deserialize_i8 => visit_i8(1), Node::Int(1, 1);
        deserialize_i16 => visit_i16(1), Node::Int(1, 2);
        deserialize_i32 => visit_i32(1), Node::Int(1, 4);
        deserialize_i64 => visit_i64(1), Node::Int(1, 8);
        deserialize_u8 => visit_u8(1), Node::Uint(1, 1);
        deserialize_u16 => visit_u16(1), Node::Uint(1, 2);
        deserialize_u32 => visit_u32(1), Node::Uint(1, 4);
        deserialize_u64 => visit_u64(1), Node::Uint(1, 8);
        deserialize_f32 => visit_f32(1.0), Node::F32(1.0);
        deserialize_f64 => visit_f64(1.0), Node::F64(1.0);
        deserialize_char => visit_char('0'), Node::Text(String::new());
        deserialize_str => visit_str(""), Node::Text(String::new());
        deserialize_string => visit_str(""), Node::Text(String::new());
        deserialize_bytes => visit_bytes(&[]), Node::Empty;
        deserialize_byte_buf => visit_bytes(&[]), Node::Empty;
        deserialize_unit => visit_unit(), Node::Empty;
        deserialize_ignored_any => visit_unit(), Node::Empty;
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(unknown())
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(unknown())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(Trace::within(self.node, self.depth)?)
    }

    nuna_frame::deserialize_named! {
        self, visitor,
        unit => visitor.visit_unit(),
        newtype => Trace::within(self.node, self.depth)?
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Elements { nodes: &mut Vec::new(), left: 0, depth: self.depth })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        if length > ELEMENTS_MAX {
            return Err(unknown());
        }
        let mut nodes = Vec::new();
        let value = visitor.visit_seq(Elements { nodes: &mut nodes, left: length, depth: self.depth });
        *self.node = Node::Tuple(nodes);
        value
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Fields { nodes: &mut Vec::new(), names: &[], depth: self.depth })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut nodes = Vec::new();
        let value = visitor.visit_map(Fields { nodes: &mut nodes, names, depth: self.depth });
        *self.node = Node::Fields(nodes);
        value
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(First { depth: self.depth })
    }
}

struct Elements<'a> {
    nodes: &'a mut Vec<Node>,
    left: usize,
    depth: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let mut node = Node::Empty;
        let value = Trace::within(&mut node, self.depth).and_then(|trace| seed.deserialize(trace));
        self.nodes.push(node);
        value.map(Some)
    }
}

struct Fields<'a> {
    nodes: &'a mut Vec<(String, Node)>,
    /// Of those to come.
    names: &'static [&'static str],
    depth: usize,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(name) = self.names.first() else { return Ok(None) };
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (name, names) = self.names.split_first().ok_or_else(unknown)?;
        self.names = names;
        let mut node = Node::Empty;
        let value = Trace::within(&mut node, self.depth).and_then(|trace| seed.deserialize(trace));
        self.nodes.push(((*name).to_owned(), node));
        value
    }
}

/// The first variant, for a value to be had: which columns there are hangs on which it is.
struct First {
    depth: usize,
}

impl<'de> EnumAccess<'de> for First {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let number: serde::de::value::U32Deserializer<Error> = 0_u32.into_deserializer();
        Ok((seed.deserialize(number)?, self))
    }
}

impl<'de> VariantAccess<'de> for First {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(Trace::within(&mut Node::Empty, self.depth)?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        Trace::within(&mut Node::Empty, self.depth)?.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        Trace::within(&mut Node::Empty, self.depth)?.deserialize_struct("", names, visitor)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.name, self.kind)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use serde::Deserialize;

    use super::*;

    fn said<T: DeserializeOwned>() -> Vec<String> {
        fields::<T>().iter().map(ToString::to_string).collect()
    }

    #[derive(Deserialize)]
    #[serde(crate = "serde")]
    #[allow(dead_code, reason = "only its type counts")]
    struct Run {
        flag: Option<bool>,
        inner: Option<Place>,
        level: Option<Level>,
        pair: (NonZeroU8, f32),
        series: Vec<f64>,
        name: char,
    }

    #[derive(Deserialize)]
    #[serde(crate = "serde")]
    #[allow(dead_code, reason = "only its type counts")]
    struct Place {
        x: f64,
        label: Option<String>,
    }

    #[derive(Deserialize)]
    #[serde(crate = "serde")]
    #[allow(dead_code, reason = "only its type counts")]
    enum Level {
        Low(Place),
        High,
    }

    #[derive(Deserialize)]
    #[serde(crate = "serde")]
    #[allow(dead_code, reason = "only its type counts")]
    struct Endless {
        number: i16,
        next: Option<Box<Endless>>,
    }

    #[test]
    fn a_type_tells_of_columns_before_there_is_a_row() {
        assert_eq!(
            said::<Run>(),
            [
                "flag: Some(Bool)",
                "inner.x: Some(Float)",
                "inner.label: Some(Text)",
                "level: None",
                "pair.0: Some(Int)",
                "pair.1: Some(Float)",
                "series: None",
                "name: Some(Text)"
            ]
        );
        assert_eq!(said::<Option<u64>>(), ["value: Some(Int)"]);
        assert_eq!(said::<(u8, Place)>(), ["0: Some(Int)", "x: Some(Float)", "label: Some(Text)"]);
    }

    #[test]
    fn a_type_that_has_no_end_or_refuses_says_that_there_is_more() {
        let endless = said::<Endless>();
        assert_eq!((endless[0].as_str(), endless.last().unwrap().as_str()), ("number: Some(Int)", ": None"));
        assert_eq!(said::<std::net::IpAddr>().last().unwrap(), ": None");
    }
}
