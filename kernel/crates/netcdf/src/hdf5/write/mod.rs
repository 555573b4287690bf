//! Owns writing what a new NetCDF4 file says about itself: one group of variables with named dimensions and attributes, as the
//! NetCDF library arranges them in HDF5. Elements are in the file already, wherever their writers have put them; all else
//! goes behind them, and the superblock comes last, so that a file that is not whole is no HDF5 file. What objects
//! say about themselves is in `objects`.

mod heap;
mod message;
mod objects;
mod tree;

use std::collections::HashSet;

pub use tree::StoredChunk;

use self::message::SUPERBLOCK_BYTES;
use super::netcdf4::{HIDDEN, NON_COORD};
use crate::{Error, Result, read::Element};

/// Where elements may begin: what is before is the superblock's.
pub const ELEMENTS_FROM: u64 = 512;

/// What a new file holds.
#[derive(Clone, Debug, Default)]
pub struct NewGroup {
    pub attributes: Vec<(String, Value)>,
    pub variables: Vec<NewVariable>,
    /// Dimensions that others may make longer; those of length 0 always are. Numbers along them are chunked.
    pub unlimited: Vec<String>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Texts(Vec<String>),
    /// Little-endian numbers, one after the other.
    Numbers(Element, Vec<u8>),
}

/// A variable of a new file.
#[derive(Clone, Debug)]
pub struct NewVariable {
    pub name: String,
    pub dims: Vec<String>,
    pub shape: Vec<u64>,
    pub attributes: Vec<(String, Value)>,
    pub data: Data,
}

/// Elements of a new variable.
#[derive(Clone, Debug)]
pub enum Data {
    /// Little-endian numbers, and the bytes of the one that is not there.
    Numbers { element: Element, fill: Option<Vec<u8>>, layout: NewLayout },
    /// Text, which is written with what the file says about itself.
    Text(Vec<String>),
}

/// Where the numbers of a variable lie.
#[derive(Clone, Debug)]
pub enum NewLayout {
    /// One after the other from an address on; without one, there are none.
    Contiguous(Option<u64>),
    /// All chunks of the grid, row by row; each shuffled and deflated if there is a level.
    Chunked { chunk_shape: Vec<u64>, deflate: Option<u32>, chunks: Vec<StoredChunk> },
}

/// A dimension and the variable that is its scale, if there is one.
struct Dimension<'a> {
    name: &'a str,
    length: u64,
    is_unlimited: bool,
    scale: Option<usize>,
    /// Which variables use it, for which of their axes.
    users: Vec<(usize, u32)>,
}

/// What becomes an object of the file.
#[derive(Clone, Copy)]
enum Object {
    /// The scale of a dimension that has no coordinates.
    Dimension(usize),
    Variable(usize),
}

/// Where things will lie.
struct Places {
    objects: Vec<u64>,
    /// Of the trees of chunks of each variable.
    trees: Vec<Option<u64>>,
    /// Of the elements of variables of text.
    texts: Vec<u64>,
}

/// Headers of all objects, the last of them the group's, and what they need besides.
struct Built {
    headers: Vec<Vec<u8>>,
    heap: Vec<u8>,
    texts: Vec<Vec<u8>>,
}

impl NewGroup {
    /// Whether it can be written, but for the places of elements, which need not be known yet.
    ///
    /// # Errors
    /// Naming the variable, dimension or attribute that NetCDF does not allow.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::Unsupported(message));
        let mut names = HashSet::new();
        let dimensions = self.dimensions()?;
        for variable in &self.variables {
            check_name("variable", &variable.name)?;
            if !names.insert(&variable.name) {
                return refuse(format!("there are two variables `{}`", variable.name));
            }
            if variable.dims.len() != variable.shape.len() || variable.dims.len() > 32 {
                return refuse(format!("`{}` has {} axes", variable.name, variable.shape.len()));
            }
        }
        for dimension in &dimensions {
            check_name("dimension", dimension.name)?;
        }
        for name in &self.unlimited {
            if !dimensions.iter().any(|dimension| dimension.name == name) {
                let have: Vec<_> = dimensions.iter().map(|dimension| dimension.name).collect();
                return refuse(format!("there is no dimension `{name}` to be unlimited; there are {have:?}"));
            }
        }
        let owners = self.variables.iter().map(|variable| (variable.name.as_str(), &variable.attributes));
        for (owner, attributes) in owners.chain([("the file", &self.attributes)]) {
            for (name, _) in attributes {
                check_name("attribute", name)?;
                if HIDDEN.contains(&name.as_str()) || ["CLASS", "NAME"].contains(&name.as_str()) {
                    return refuse(format!(
                        "attribute `{name}` of {owner} is NetCDF's own; rename or remove it"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Writes everything behind `end`, where elements end, and then the superblock. `put` writes at a place.
    ///
    /// # Errors
    /// As [`check`](Self::check), and what `put` says.
    pub fn write(&self, end: u64, put: &mut dyn FnMut(u64, &[u8]) -> std::io::Result<()>) -> Result<()> {
        self.check()?;
        let dimensions = self.dimensions()?;
        let mut at = end.max(ELEMENTS_FROM).next_multiple_of(8);
        let mut trees = Vec::new();
        for variable in &self.variables {
            let Data::Numbers { element, layout: NewLayout::Chunked { chunk_shape, chunks, .. }, .. } =
                &variable.data
            else {
                trees.push(None);
                continue;
            };
            let mut place = at;
            trees.push(tree::tree(&variable.shape, chunk_shape, element.size, chunks, at, &mut |node| {
                put(place, node)?;
                place += node.len() as u64;
                Ok(())
            })?);
            at = place;
        }
        // Scales first, so that dimensions keep their order.
        let scale = |(number, dimension): (usize, &Dimension<'_>)| match dimension.scale {
            Some(variable) => Object::Variable(variable),
            None => Object::Dimension(number),
        };
        let is_scale =
            |variable: &usize| dimensions.iter().any(|dimension| dimension.scale == Some(*variable));
        let others = (0..self.variables.len()).filter(|variable| !is_scale(variable)).map(Object::Variable);
        let objects: Vec<Object> = dimensions.iter().enumerate().map(scale).chain(others).collect();

        // Lengths do not depend on addresses: what is built without them says how long everything is.
        let mut places =
            Places { objects: vec![0; objects.len()], trees, texts: vec![0; self.variables.len()] };
        let draft = self.build(&dimensions, &objects, &places, at)?;
        let heap_at = at;
        at += draft.heap.len() as u64;
        for (place, text) in places.texts.iter_mut().zip(&draft.texts) {
            *place = at;
            at += text.len() as u64;
        }
        let mut root = at;
        for (header, bytes) in draft.headers.iter().enumerate() {
            match places.objects.get_mut(header) {
                Some(place) => *place = at,
                None => root = at,
            }
            at += (bytes.len() as u64).next_multiple_of(8);
        }
        let built = self.build(&dimensions, &objects, &places, heap_at)?;
        put(heap_at, &built.heap)?;
        for (place, text) in places.texts.iter().zip(&built.texts) {
            put(*place, text)?;
        }
        for (place, header) in places.objects.iter().copied().chain([root]).zip(built.headers) {
            let mut header = header;
            header.resize(header.len().next_multiple_of(8), 0);
            put(place, &header)?;
        }
        let superblock = message::superblock(root, at);
        put(superblock.len() as u64, &vec![0; (ELEMENTS_FROM as usize) - SUPERBLOCK_BYTES])?;
        put(0, &superblock)?;
        Ok(())
    }

    fn dimensions(&self) -> Result<Vec<Dimension<'_>>> {
        let mut dimensions: Vec<Dimension<'_>> = Vec::new();
        for (number, variable) in self.variables.iter().enumerate() {
            for (axis, (name, &length)) in variable.dims.iter().zip(&variable.shape).enumerate() {
                let known = dimensions.iter().position(|dimension| dimension.name == name);
                let known = known.unwrap_or_else(|| {
                    let is_scale =
                        |v: &NewVariable| v.name == *name && v.dims.len() == 1 && v.dims[0] == *name;
                    let scale = self.variables.iter().position(is_scale);
                    // NetCDF knows no other dimension without a length.
                    let is_unlimited = self.unlimited.contains(name) || length == 0;
                    dimensions.push(Dimension { name, length, is_unlimited, scale, users: Vec::new() });
                    dimensions.len() - 1
                });
                let dimension = &mut dimensions[known];
                if dimension.length != length {
                    return Err(Error::Unsupported(format!(
                        "dimension `{name}` has length {} and, in `{}`, {length}",
                        dimension.length, variable.name
                    )));
                }
                if dimension.scale != Some(number) {
                    dimension.users.push((number, axis as u32));
                }
            }
        }
        Ok(dimensions)
    }
}

fn check_name(what: &str, name: &str) -> Result<()> {
    const BYTES_MAX: usize = 256;
    let bad = name.is_empty()
        || name.len() > BYTES_MAX
        || name.starts_with(NON_COORD)
        || name.ends_with(' ')
        || name == "."
        || name.chars().any(|c| c == '/' || c.is_control());
    match bad {
        true => Err(Error::Unsupported(format!(
            "`{name}` cannot be the name of a {what}: NetCDF wants 1 to {BYTES_MAX} bytes without `/`, control characters, or \
             a space at the end"
        ))),
        false => Ok(()),
    }
}
