//! Owns NetCDF4's use of HDF5 (NetCDF's file format specification, "The NetCDF-4 Format"): groups by path, dimension
//! scales as names of dimensions, unlimited dimensions, hidden attributes. Files that never saw NetCDF open too; their
//! dimensions get the names that the C library gives them.

use std::collections::HashMap;

use super::{
    ChunkIndex, Hdf5,
    attribute::RawAttribute,
    datatype::{Type, datatype},
    group::Link,
    message::{Dataspace, LayoutMessage},
    object::{Object, kind},
};
use crate::{
    Attribute, Error, Format, Group, Input, Layout, Placement, Result, Variable, cursor::Cursor,
    read::Element,
};

pub(crate) const DIMENSION_ONLY: &str = "This is a netCDF dimension but not a netCDF variable";
pub(crate) const NON_COORD: &str = "_nc4_non_coord_";
pub(crate) const HIDDEN: [&str; 9] = [
    "REFERENCE_LIST",
    "DIMENSION_LIST",
    "DIMENSION_LABELS",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_nc3_strict",
    "_NCProperties",
    "_NCCOPYRIGHT",
    "_Nc4IsNetcdf4",
];

/// Elements, fill value and layout, or the reason why a dataset is skipped.
type Parts = Result<(Element, Vec<u8>, Layout), String>;

/// A dataset before its dimensions are known to be as long as they are.
struct Draft {
    name: String,
    is_dimension_only: bool,
    space: Dataspace,
    dims: Vec<Option<String>>,
    attributes: Vec<(String, Attribute)>,
    /// What it lacks to be a variable is the reason why it is skipped.
    parts: Parts,
}

/// What is known about dimensions.
#[derive(Default)]
struct Dimensions {
    /// Names by the address of the scale.
    names: HashMap<u64, String>,
    lengths: HashMap<String, u64>,
    /// Names by NetCDF's number of the dimension, once something asked.
    by_id: Option<HashMap<i64, String>>,
}

pub(crate) fn open(input: &dyn Input, path: &str) -> Result<Group> {
    let file = Hdf5::open(input)?;
    let mut object = file.object(file.root)?;
    let mut dimensions = Dimensions::default();
    let mut links = file.links(&object)?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        dimensions.names.extend(links.objects.iter().map(|link| (link.at, link.name.clone())));
        let next = links.objects.iter().find(|link| link.name == name);
        let next = next.map(|link| file.object(link.at)).transpose()?.filter(|next| file.is_group(next));
        let Some(next) = next else {
            let is_group = |link: &&Link| file.object(link.at).is_ok_and(|object| file.is_group(&object));
            let have = links.objects.iter().filter(is_group).map(|link| link.name.clone()).collect();
            return Err(Error::NoGroup { group: path.to_owned(), have });
        };
        object = next;
        links = file.links(&object)?;
    }
    dimensions.names.extend(links.objects.iter().map(|link| (link.at, link.name.clone())));

    let attributes = file.shown(&file.attributes(&object)?, false)?;
    let mut group = Group {
        format: Format::Hdf5,
        attributes,
        variables: Vec::new(),
        groups: Vec::new(),
        skipped: links.elsewhere,
    };
    let mut drafts = Vec::new();
    for link in &links.objects {
        let outcome = file.object(link.at).and_then(|object| {
            if file.is_group(&object) {
                group.groups.push(link.name.clone());
                return Ok(None);
            }
            if object.first(kind::DATASPACE).is_none() || object.first(kind::LAYOUT).is_none() {
                return Ok(None);
            }
            file.draft(link, &object, &mut dimensions).map(Some)
        });
        match outcome {
            Ok(draft) => drafts.extend(draft),
            Err(error) => group.skipped.push((link.name.clone(), error.to_string())),
        }
    }
    for draft in &drafts {
        for (dim, &length) in draft.dims.iter().zip(&draft.space.shape) {
            if let Some(dim) = dim {
                let longest = dimensions.lengths.entry(dim.clone()).or_default();
                *longest = length.max(*longest);
            }
        }
    }
    let mut phony = Vec::new();
    let known = dimensions.lengths.len();
    for draft in drafts {
        if draft.is_dimension_only {
            continue;
        }
        let name = draft.name.clone();
        match variable(draft, &dimensions, known, &mut phony) {
            Ok(variable) => group.variables.push(variable),
            Err(reason) => group.skipped.push((name, reason)),
        }
    }
    Ok(group)
}

fn variable(
    draft: Draft,
    dimensions: &Dimensions,
    known: usize,
    phony: &mut Vec<(String, u64)>,
) -> Result<Variable, String> {
    let (element, fill, layout) = draft.parts?;
    let Dataspace { shape: stored_shape, max_shape, .. } = draft.space;
    let mut shape = stored_shape.clone();
    let mut dims: Vec<String> = Vec::new();
    for (axis, dim) in draft.dims.into_iter().enumerate() {
        if let Some(dim) = &dim
            && max_shape[axis].is_none()
            && let Some(&length) = dimensions.lengths.get(dim)
        {
            shape[axis] = length.max(shape[axis]);
        }
        let dim = dim.unwrap_or_else(|| {
            let free = phony.iter().find(|(name, length)| *length == shape[axis] && !dims.contains(name));
            match free {
                Some((name, _)) => name.clone(),
                None => {
                    let name = format!("phony_dim_{}", known + phony.len());
                    phony.push((name.clone(), shape[axis]));
                    name
                }
            }
        });
        dims.push(dim);
    }
    let placement = Placement { element, shape, stored_shape, fill, layout };
    placement.check().map_err(|error| error.to_string())?;
    Ok(Variable { name: draft.name, dims, attributes: draft.attributes, placement })
}

impl Hdf5<'_> {
    /// Attributes that are not HDF5's or NetCDF's own.
    fn shown(&self, raw: &[RawAttribute], is_scale: bool) -> Result<Vec<(String, Attribute)>> {
        let mut shown = Vec::new();
        for attribute in raw {
            let name = attribute.name.as_str();
            if HIDDEN.contains(&name) || (is_scale && ["CLASS", "NAME"].contains(&name)) {
                continue;
            }
            if let Some(value) = self.value(attribute)? {
                shown.push((name.to_owned(), value));
            }
        }
        Ok(shown)
    }

    fn draft(&self, link: &Link, object: &Object, dimensions: &mut Dimensions) -> Result<Draft> {
        let missing = || Error::damaged(link.at, format!("`{}` has no dataspace or datatype", link.name));
        let space = self.dataspace(object.first(kind::DATASPACE).ok_or_else(missing)?)?;
        let raw = self.attributes(object)?;
        let text = |name: &str| -> Result<Option<String>> {
            let Some(found) = raw.iter().find(|attribute| attribute.name == name) else { return Ok(None) };
            Ok(self.value(found)?.and_then(|value| value.text().map(str::to_owned)))
        };
        let is_scale = text("CLASS")?.is_some_and(|class| class == "DIMENSION_SCALE");
        let is_dimension_only =
            is_scale && text("NAME")?.is_some_and(|name| name.starts_with(DIMENSION_ONLY));
        let dims = self.dims(link, &space, &raw, is_scale, dimensions)?;
        let attributes = self.shown(&raw, is_scale)?;
        let parts = if space.is_null {
            Err("it has no elements at all".to_owned())
        } else {
            self.parts(object, &space)?
        };
        let name = link.name.strip_prefix(NON_COORD).unwrap_or(&link.name).to_owned();
        Ok(Draft { name, is_dimension_only, space, dims, attributes, parts })
    }

    /// Names of the axes, as far as the file knows them.
    fn dims(
        &self,
        link: &Link,
        space: &Dataspace,
        raw: &[RawAttribute],
        is_scale: bool,
        dimensions: &mut Dimensions,
    ) -> Result<Vec<Option<String>>> {
        let rank = space.shape.len();
        let mut dims = vec![None; rank];
        if let Some(list) = raw.iter().find(|attribute| attribute.name == "DIMENSION_LIST") {
            for (axis, at) in self.first_references(list)?.into_iter().enumerate().take(rank) {
                let Some(at) = at else { continue };
                let Some(name) = dimensions.names.get(&at).cloned() else { continue };
                if space.max_shape[axis].is_none() {
                    // Another group's variables may have made it longer.
                    let scale = self.object(at)?;
                    let length = match scale.first(kind::DATASPACE) {
                        Some(message) => self.dataspace(message)?.shape.first().copied(),
                        None => None,
                    };
                    let longest = dimensions.lengths.entry(name.clone()).or_default();
                    *longest = length.unwrap_or(0).max(*longest);
                }
                dims[axis] = Some(name);
            }
        } else if is_scale && rank == 1 {
            // Its own dimension, below.
        } else if let Some(numbers) = raw.iter().find(|attribute| attribute.name == "_Netcdf4Coordinates")
            && let Some(Attribute::Int(numbers)) = self.value(numbers)?
        {
            if dimensions.by_id.is_none() {
                dimensions.by_id = Some(self.numbered(dimensions)?);
            }
            for (dim, number) in dims.iter_mut().zip(numbers) {
                *dim = dimensions.by_id.as_ref().and_then(|by_id| by_id.get(&number).cloned());
            }
        }
        if is_scale && let Some(first @ None) = dims.first_mut() {
            *first = Some(link.name.clone());
        }
        Ok(dims)
    }

    /// Dimensions by NetCDF's own numbers.
    fn numbered(&self, dimensions: &Dimensions) -> Result<HashMap<i64, String>> {
        let mut by_id = HashMap::new();
        for (&at, name) in &dimensions.names {
            let Ok(object) = self.object(at) else { continue };
            let attributes = self.attributes(&object).unwrap_or_default();
            // Variables that are no scales carry the number of their first dimension.
            if !attributes.iter().any(|attribute| attribute.name == "CLASS") {
                continue;
            }
            for attribute in attributes {
                if attribute.name == "_Netcdf4Dimid"
                    && let Some(Attribute::Int(number)) = self.value(&attribute)?
                    && let Some(&number) = number.first()
                {
                    by_id.insert(number, name.clone());
                }
            }
        }
        Ok(by_id)
    }

    /// What reading takes; the inner error is the reason why it cannot be read.
    fn parts(&self, object: &Object, space: &Dataspace) -> Result<Parts> {
        let missing = || Error::damaged(0, "a dataset has no datatype or layout");
        let message = object.first(kind::DATATYPE).ok_or_else(missing)?;
        let datatype = datatype(&mut Cursor::new(&message.data, message.at))?;
        let element = match datatype.kind {
            Type::Plain(element) => element,
            Type::Reference => return Ok(Err("it holds references to other variables".to_owned())),
            Type::List(_) => return Ok(Err("it holds lists of variable length".to_owned())),
            Type::Other(what) => return Ok(Err(format!("it holds {what}, which arrays cannot hold"))),
        };
        if object.first(kind::EXTERNAL).is_some() {
            return Ok(Err("its data are kept in other files".to_owned()));
        }
        let fill = match (object.first(kind::FILL), object.first(kind::FILL_OLD)) {
            (Some(message), _) => self.fill(message, false)?,
            (None, Some(message)) => self.fill(message, true)?,
            (None, None) => None,
        };
        let size = datatype.size as usize;
        if size > ELEMENT_BYTES_MAX {
            return Ok(Err(format!("its elements are of {size} bytes each, which is beyond what is read")));
        }
        let fill = fill.filter(|fill| fill.len() == size).unwrap_or_else(|| vec![0; size]);
        let filters = match object.first(kind::FILTERS) {
            Some(message) => match self.filters(message, datatype.size)? {
                Ok(filters) => filters,
                Err(reason) => return Ok(Err(reason)),
            },
            None => Vec::new(),
        };
        let layout = match self.layout(object.first(kind::LAYOUT).ok_or_else(missing)?)? {
            LayoutMessage::Compact(bytes) => Layout::Compact(bytes),
            LayoutMessage::Contiguous { address: None } => Layout::Empty,
            LayoutMessage::Contiguous { address: Some(address) } => {
                let absolute = address.checked_add(self.meta.base());
                let address = absolute.ok_or_else(|| Error::damaged(address, "data lie beyond any file"))?;
                Layout::Contiguous { address }
            }
            LayoutMessage::Chunked { chunk_shape, index } => {
                let index = ChunkIndex::new(self, &index, &space.max_shape, !filters.is_empty());
                Layout::Chunked { chunk_shape, index, filters }
            }
            LayoutMessage::Virtual => {
                return Ok(Err("it is a virtual dataset, a view of other files; open these".to_owned()));
            }
        };
        Ok(Ok((element, fill, layout)))
    }
}

/// Fixed text of more bytes than this is no label.
const ELEMENT_BYTES_MAX: usize = 1 << 20;
