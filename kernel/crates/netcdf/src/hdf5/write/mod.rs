//! Owns writing what a new NetCDF4 file says about itself: one group of variables with named dimensions and attributes, as the
//! NetCDF library arranges them in HDF5. Elements are in the file already, wherever their writers have put them; all else
//! goes behind them, and the superblock comes last, so that a file that is not whole is no HDF5 file.

mod heap;
mod message;
mod tree;

use std::collections::HashSet;

pub use tree::StoredChunk;

use self::{
    heap::Heap,
    message::{Header, NOWHERE, Put as _, SUPERBLOCK_BYTES, Space},
};
use super::{
    netcdf4::{DIMENSION_ONLY, HIDDEN, NON_COORD},
    object::kind,
};
use crate::{
    Error, Result,
    read::{Element, Kind},
};

/// Where elements may begin: what is before is the superblock's.
pub const ELEMENTS_FROM: u64 = 512;
/// Text of more bytes is kept in a heap, since headers are short.
const SHORT_TEXT_BYTES: usize = 16 << 10;
const I32: Element = Element { kind: Kind::Int, size: 4, big_endian: false };
const F32: Element = Element { kind: Kind::Float, size: 4, big_endian: false };

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

    fn build(
        &self,
        dimensions: &[Dimension<'_>],
        objects: &[Object],
        places: &Places,
        heap_at: u64,
    ) -> Result<Built> {
        let mut heap = Heap::new(heap_at);
        let mut texts = Vec::with_capacity(self.variables.len());
        for variable in &self.variables {
            let mut elements = Vec::new();
            if let Data::Text(values) = &variable.data {
                for value in values {
                    elements.extend(long_text(&mut heap, value)?);
                }
            }
            texts.push(elements);
        }
        // Which object each variable became.
        let mut objects_of = vec![0; self.variables.len()];
        for (object, what) in objects.iter().enumerate() {
            if let Object::Variable(variable) = what {
                objects_of[*variable] = places.objects[object];
            }
        }
        let mut headers = Vec::with_capacity(objects.len() + 1);
        for object in objects {
            let header = match *object {
                Object::Dimension(number) => dimension_header(number, &dimensions[number], &objects_of)?,
                Object::Variable(number) => {
                    self.variable_header(number, dimensions, &objects_of, places, &mut heap)?
                }
            };
            headers.push(header.bytes()?);
        }
        let mut root = Header::new("the file");
        let mut info = vec![0, 3];
        info.u64(objects.len() as u64);
        [NOWHERE; 3].iter().for_each(|&nowhere| info.u64(nowhere));
        root.push(kind::LINK_INFO, info);
        root.push(GROUP_INFO, vec![0, 0]);
        attributes(&mut root, &self.attributes, &mut heap)?;
        finish_attributes(&mut root);
        for (order, (object, &place)) in objects.iter().zip(&places.objects).enumerate() {
            let name = match *object {
                Object::Dimension(number) => dimensions[number].name.to_owned(),
                Object::Variable(number) => self.link_name(number, dimensions),
            };
            // A hard link with its number, its name in UTF-8, and a length of two bytes.
            let mut link = vec![1, 0x01 | 0x04 | 0x10];
            link.u64(order as u64);
            link.push(1);
            link.u16(name.len() as u16);
            link.extend_from_slice(name.as_bytes());
            link.u64(place);
            root.push(kind::LINK, link);
        }
        headers.push(root.bytes()?);
        Ok(Built { headers, heap: heap.finish(), texts })
    }

    /// What has a dimension's name without being its coordinates hides behind another one, as in the NetCDF library.
    fn link_name(&self, number: usize, dimensions: &[Dimension<'_>]) -> String {
        let name = &self.variables[number].name;
        match dimensions.iter().any(|d| d.name == name && d.scale != Some(number)) {
            true => format!("{NON_COORD}{name}"),
            false => name.clone(),
        }
    }

    fn variable_header(
        &self,
        number: usize,
        dimensions: &[Dimension<'_>],
        objects_of: &[u64],
        places: &Places,
        heap: &mut Heap,
    ) -> Result<Header> {
        let variable = &self.variables[number];
        let NewVariable { name, dims, shape, .. } = variable;
        let mut header = Header::new(&format!("`{name}`"));
        let used: Vec<(usize, &Dimension<'_>)> = dims
            .iter()
            .filter_map(|dim| dimensions.iter().enumerate().find(|(_, d)| d.name == dim))
            .collect();
        let unlimited: Vec<bool> = used.iter().map(|(_, dimension)| dimension.is_unlimited).collect();
        let space = match shape.is_empty() {
            true => Space::Scalar,
            false => Space::Simple { shape, unlimited: &unlimited },
        };
        header.push(kind::DATASPACE, message::space(&space));
        let text_layout;
        let (datatype, element_bytes, fill, layout) = match &variable.data {
            Data::Numbers { element, fill, layout } => {
                (message::number(*element), element.size, fill.as_deref(), layout)
            }
            Data::Text(values) => {
                let address = (!values.is_empty()).then_some(places.texts[number]);
                text_layout = match (address, unlimited.contains(&true)) {
                    (address, false) => NewLayout::Contiguous(address),
                    (address, true) => NewLayout::Chunked {
                        chunk_shape: shape.iter().map(|&n| n.max(1)).collect(),
                        deflate: None,
                        chunks: address
                            .map(|address| StoredChunk { address, bytes: values.len() as u64 * 16 })
                            .into_iter()
                            .collect(),
                    },
                };
                (message::long_text(), 16, None, &text_layout)
            }
        };
        header.push(kind::DATATYPE, datatype);
        let tree = places.trees[number];
        self.storage(&mut header, variable, element_bytes, fill, layout, tree)?;

        let scale = used.iter().find(|(_, dimension)| dimension.scale == Some(number));
        if let Some((id, dimension)) = scale {
            scale_attributes(&mut header, name, *id, dimension, objects_of)?;
        } else if !dims.is_empty() {
            let mut list = Vec::new();
            for (id, dimension) in &used {
                // Scales come first among objects, in the order of dimensions.
                let at = match dimension.scale {
                    Some(scale) => objects_of[scale],
                    None => places.objects[*id],
                };
                list.extend(heap.add(1, &at.to_le_bytes())?);
            }
            let axes = message::space(&Space::Simple { shape: &[dims.len() as u64], unlimited: &[] });
            header.attribute("DIMENSION_LIST", &message::references(), &axes, &list)?;
        }
        attributes(&mut header, &variable.attributes, heap)?;
        finish_attributes(&mut header);
        Ok(header)
    }

    /// Fill value, layout and filters.
    fn storage(
        &self,
        header: &mut Header,
        variable: &NewVariable,
        element_bytes: u32,
        fill: Option<&[u8]>,
        layout: &NewLayout,
        tree: Option<u64>,
    ) -> Result<()> {
        let is_chunked = matches!(layout, NewLayout::Chunked { .. });
        header.push(kind::FILL, fill_message(is_chunked, fill));
        match layout {
            NewLayout::Contiguous(address) => {
                let bytes = variable.shape.iter().product::<u64>() * u64::from(element_bytes);
                header.push(kind::LAYOUT, contiguous(*address, bytes));
            }
            NewLayout::Chunked { chunk_shape, deflate, .. } => {
                let mut out = vec![3, 2, chunk_shape.len() as u8 + 1];
                out.u64(tree.unwrap_or(NOWHERE));
                for &n in chunk_shape {
                    out.u32(u32::try_from(n).map_err(|_| {
                        let message = format!(
                            "chunks of `{}` are longer than HDF5 allows; use smaller ones",
                            variable.name
                        );
                        Error::Unsupported(message)
                    })?);
                }
                out.u32(element_bytes);
                header.push(kind::LAYOUT, out);
                if let Some(level) = deflate {
                    let mut out = vec![2, 0];
                    let shuffles = (element_bytes > 1).then_some((2, element_bytes));
                    for (number, value) in shuffles.into_iter().chain([(1, *level)]) {
                        out[1] += 1;
                        out.u16(number);
                        // Optional, and one number that says how.
                        out.u16(1);
                        out.u16(1);
                        out.u32(value);
                    }
                    header.push(kind::FILTERS, out);
                }
            }
        }
        Ok(())
    }
}

/// Constants for new groups.
const GROUP_INFO: u16 = 0xa;

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

fn contiguous(address: Option<u64>, bytes: u64) -> Vec<u8> {
    let mut out = vec![3, 1];
    out.u64(address.unwrap_or(NOWHERE));
    out.u64(bytes);
    out
}

/// When space is taken is as the library has it for the layout; a value is written where one was set.
fn fill_message(is_chunked: bool, fill: Option<&[u8]>) -> Vec<u8> {
    let when = if is_chunked { 3 } else { 2 } | 2 << 2;
    match fill {
        None => vec![3, when],
        Some(fill) => {
            let mut out = vec![3, when | 0x20];
            out.u32(fill.len() as u32);
            out.extend_from_slice(fill);
            out
        }
    }
}

/// A dimension without coordinates is a dataset of numbers that are never written.
fn dimension_header(number: usize, dimension: &Dimension<'_>, objects_of: &[u64]) -> Result<Header> {
    let mut header = Header::new(&format!("dimension `{}`", dimension.name));
    let unlimited = [dimension.is_unlimited];
    let shape = [dimension.length];
    header.push(kind::DATASPACE, message::space(&Space::Simple { shape: &shape, unlimited: &unlimited }));
    header.push(kind::DATATYPE, message::number(F32));
    header.push(kind::FILL, fill_message(dimension.is_unlimited, None));
    if dimension.is_unlimited {
        let mut out = vec![3, 2, 2];
        out.u64(NOWHERE);
        out.u32(1024);
        out.u32(F32.size);
        header.push(kind::LAYOUT, out);
    } else {
        header.push(kind::LAYOUT, contiguous(None, dimension.length.saturating_mul(F32.size.into())));
    }
    let name = format!("{DIMENSION_ONLY}.{:10}", dimension.length);
    scale_attributes(&mut header, &name, number, dimension, objects_of)?;
    finish_attributes(&mut header);
    Ok(header)
}

/// What makes a dataset a scale.
fn scale_attributes(
    header: &mut Header,
    name: &str,
    id: usize,
    dimension: &Dimension<'_>,
    objects_of: &[u64],
) -> Result<()> {
    let scalar = message::space(&Space::Scalar);
    for (attribute, value) in [("CLASS", "DIMENSION_SCALE"), ("NAME", name)] {
        let mut value = value.as_bytes().to_vec();
        value.push(0);
        header.attribute(attribute, &message::text(value.len() as u32), &scalar, &value)?;
    }
    let id = i32::try_from(id).unwrap_or(i32::MAX);
    header.attribute("_Netcdf4Dimid", &message::number(I32), &scalar, &id.to_le_bytes())?;
    // Reading needs no list of users; one that is longer than a header allows is left out.
    const USERS_MAX: usize = 4000;
    if !dimension.users.is_empty() && dimension.users.len() <= USERS_MAX {
        let mut list = Vec::new();
        for &(variable, axis) in &dimension.users {
            list.u64(objects_of[variable]);
            list.u32(axis);
            list.u32(0);
        }
        let count = [dimension.users.len() as u64];
        let space = message::space(&Space::Simple { shape: &count, unlimited: &[] });
        header.attribute("REFERENCE_LIST", &message::used_by(), &space, &list)?;
    }
    Ok(())
}

fn long_text(heap: &mut Heap, value: &str) -> Result<[u8; 16]> {
    match value.is_empty() {
        // Nothing is kept of nothing.
        true => Ok([0; 16]),
        false => heap.add(value.len(), value.as_bytes()),
    }
}

fn attributes(header: &mut Header, attributes: &[(String, Value)], heap: &mut Heap) -> Result<()> {
    for (name, value) in attributes {
        let line = |count: usize| match count {
            0 => message::space(&Space::Null),
            count => message::space(&Space::Simple { shape: &[count as u64], unlimited: &[] }),
        };
        match value {
            Value::Text(text) if text.is_empty() => {
                header.attribute(name, &message::text(1), &message::space(&Space::Null), &[])?;
            }
            Value::Text(text) if text.len() <= SHORT_TEXT_BYTES => {
                let scalar = message::space(&Space::Scalar);
                header.attribute(name, &message::text(text.len() as u32), &scalar, text.as_bytes())?;
            }
            Value::Text(text) => {
                let element = long_text(heap, text)?;
                header.attribute(name, &message::long_text(), &message::space(&Space::Scalar), &element)?;
            }
            Value::Texts(texts) => {
                let mut elements = Vec::with_capacity(texts.len() * 16);
                for text in texts {
                    elements.extend(long_text(heap, text)?);
                }
                header.attribute(name, &message::long_text(), &line(texts.len()), &elements)?;
            }
            Value::Numbers(element, bytes) => {
                let count = bytes.len() / element.size as usize;
                header.attribute(name, &message::number(*element), &line(count), bytes)?;
            }
        }
    }
    Ok(())
}

/// Says that attributes are numbered; comes with them.
fn finish_attributes(header: &mut Header) {
    let mut info = vec![0, 3];
    info.u16(header.attributes());
    [NOWHERE; 3].iter().for_each(|&nowhere| info.u64(nowhere));
    header.push(kind::ATTRIBUTE_INFO, info);
}
