//! Owns values of attributes.

/// What an attribute holds; a scalar is one value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    Text(Vec<String>),
    Int(Vec<i64>),
    UInt(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Attribute {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Attribute::Text(values) if values.len() == 1 => Some(&values[0]),
            _ => None,
        }
    }
}
