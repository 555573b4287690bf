//! Owns the headers of a new file's objects: dimensions and variables with their attributes, and the group of all.

use super::{
    super::{
        netcdf4::{DIMENSION_ONLY, NON_COORD},
        object::kind,
    },
    Built, Data, Dimension, NewGroup, NewLayout, NewVariable, Object, Places, StoredChunk, Value,
    heap::Heap,
    message::{self, Header, NOWHERE, Put as _, Space},
};
use crate::{
    Error, Result,
    read::{Element, Kind},
};

/// Text of more bytes is kept in a heap, since headers are short.
const SHORT_TEXT_BYTES: usize = 16 << 10;
const I32: Element = Element { kind: Kind::Int, size: 4, big_endian: false };
const F32: Element = Element { kind: Kind::Float, size: 4, big_endian: false };
/// Constants for new groups.
const GROUP_INFO: u16 = 0xa;

impl NewGroup {
    pub(super) fn build(
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
