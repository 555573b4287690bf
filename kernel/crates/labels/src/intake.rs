//! Owns catalogues of intake, in YAML: what entries there are, the parameters that complete them, and how both look as text. Leaves
//! opening what an entry names to `open`, where catalogues within catalogues are. A catalogue from afar is not told what is in the
//! environment, and leads to no file of this machine.

mod open;
mod parameter;
mod template;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use nuna_storage::Attributes;
use serde_json::{Map, Value};

use crate::{Dataset, LabelError, Result, yaml};

pub use parameter::Parameter;

/// A catalogue: named entries. Nothing of the data is read until one is opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    pub name: String,
    pub description: String,
    pub metadata: Attributes,
    file: PathBuf,
    entries: Vec<CatalogEntry>,
}

/// What a catalogue says of some data: a store, files, a table, or another catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogEntry {
    pub name: String,
    pub description: String,
    /// As the catalogue has it, `zarr` or `intake_xarray.netcdf.NetCDFSource`.
    pub driver: String,
    pub metadata: Attributes,
    pub parameters: Vec<Parameter>,
    /// As they stand in the catalogue, with templates.
    pub args: Attributes,
    /// The catalogue's.
    file: PathBuf,
}

fn invalid(message: String) -> LabelError {
    LabelError::Invalid(message)
}

/// Reads a catalogue of intake: a YAML file, also at an address.
///
/// Relative paths in it are taken from its own folder. Parameters have the catalogue's defaults until
/// [`with`](CatalogEntry::with) sets others.
///
/// # Errors
/// If it cannot be read, or is no catalogue of intake's first version; what is wrong with one entry is said when it is opened.
pub fn open_intake(path: impl AsRef<Path>) -> Result<Catalog> {
    let file = nuna_storage::resolve(None, &path.as_ref().to_string_lossy())?;
    Catalog::read(file)
}

impl Catalog {
    fn read(file: PathBuf) -> Result<Self> {
        let shown = nuna_storage::shown(&file);
        let wrong =
            |message: &str| invalid(format!("the catalogue {} cannot be read: {message}", shown.display()));
        let text = nuna_storage::read_text(&file)?.ok_or_else(|| wrong("there is no such file"))?;
        let document = yaml::parse(&text).map_err(|message| wrong(&message))?;
        if document["version"].as_i64().is_some_and(|version| version > 1) {
            return Err(wrong(
                "it is of intake's version 2, which is not supported; write its entries as `sources`",
            ));
        }
        let sources = match &document["sources"] {
            Value::Object(sources) => sources.clone(),
            Value::Null if document.is_object() && document.get("sources").is_some() => Map::new(),
            _ => return Err(wrong("it has no `sources`, so it is no catalogue of intake")),
        };
        let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
        let stem = shown.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let name = Some(text("name")).filter(|name| !name.is_empty()).unwrap_or(stem);
        let metadata = document["metadata"].as_object().cloned().unwrap_or_default();
        let entry = |(name, source): (String, Value)| {
            CatalogEntry::new(&file, &name, &source)
                .map_err(|message| wrong(&format!("entry `{name}`: {message}")))
        };
        let entries = sources.into_iter().map(entry).collect::<Result<_>>()?;
        Ok(Self { name, description: text("description"), metadata, file, entries })
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, CatalogEntry> {
        self.entries.iter()
    }

    pub fn names(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.name.clone()).collect()
    }

    /// Rows for a table: name, driver and description.
    pub fn rows(&self) -> Vec<Attributes> {
        let row = |entry: &CatalogEntry| {
            let cells =
                [("name", &entry.name), ("driver", &entry.driver), ("description", &entry.description)];
            cells.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value.clone()))).collect()
        };
        self.entries.iter().map(row).collect()
    }

    /// An entry; `"ocean/sst"` is the entry `sst` of the catalogue that the entry `ocean` is.
    ///
    /// # Errors
    /// If there is none of that name; names those there are.
    pub fn get(&self, name: &str) -> Result<CatalogEntry> {
        if let Some(entry) = self.entries.iter().find(|entry| entry.name == name) {
            return Ok(entry.clone());
        }
        if let Some((outer, inner)) = name.split_once('/')
            && let Some(entry) = self.entries.iter().find(|entry| entry.name == outer)
        {
            return entry.catalog()?.get(inner);
        }
        Err(invalid(format!(
            "the catalogue `{}` has no entry `{name}`; it has {}",
            self.name,
            self.names().join(", ")
        )))
    }

    /// Opens an entry with the defaults of its parameters: `get(name)?.open()`.
    ///
    /// # Errors
    /// As [`get`](Catalog::get) and [`CatalogEntry::open`].
    pub fn open(&self, name: &str) -> Result<Dataset> {
        self.get(name)?.open()
    }
}

impl CatalogEntry {
    fn new(file: &Path, name: &str, source: &Value) -> Result<Self, String> {
        let source = source.as_object().ok_or("it is no mapping")?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        // Of several drivers the first is the default.
        let driver = match source.get("driver") {
            Some(Value::Array(drivers)) => text(drivers.first()),
            driver => text(driver),
        };
        if driver.is_empty() {
            return Err("it has no `driver`".to_owned());
        }
        let map = |key: &str| match source.get(key) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map.clone()),
            Some(_) => Err(format!("its `{key}` is no mapping")),
        };
        let mut parameters = Vec::new();
        for (name, about) in map("parameters")? {
            parameters.push(Parameter::new(&name, &about)?);
        }
        Ok(Self {
            name: name.to_owned(),
            description: text(source.get("description")),
            driver,
            metadata: map("metadata")?,
            parameters,
            args: map("args")?,
            file: file.to_owned(),
        })
    }

    fn wrong(&self, message: impl fmt::Display) -> LabelError {
        invalid(format!("entry `{}` of {}: {message}", self.name, nuna_storage::shown(&self.file).display()))
    }

    /// The entry with a parameter set: `with("year", 2001)`.
    ///
    /// # Errors
    /// If it has no such parameter, or the value is of another type, or none of those that are allowed.
    pub fn with(&self, parameter: &str, value: impl Into<Value>) -> Result<Self> {
        let mut entry = self.clone();
        let Some(found) = entry.parameters.iter_mut().find(|known| known.name == parameter) else {
            let names: Vec<&str> = self.parameters.iter().map(|known| known.name.as_str()).collect();
            return Err(self.wrong(format!("it has no parameter `{parameter}`; it has {}", names.join(", "))));
        };
        found.set(value.into()).map_err(|message| self.wrong(message))?;
        Ok(entry)
    }
}

impl<'a> IntoIterator for &'a Catalog {
    type Item = &'a CatalogEntry;
    type IntoIter = std::slice::Iter<'a, CatalogEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<nuna.Catalog '{}'> {} entries", self.name, self.len())?;
        if !self.description.is_empty() {
            write!(f, "\n{}", self.description.trim())?;
        }
        let pad = |text: fn(&CatalogEntry) -> &str| {
            self.iter().map(|e| text(e).chars().count()).max().unwrap_or(0).min(40)
        };
        let (names, drivers) = (pad(|entry| &entry.name), pad(|entry| &entry.driver));
        for entry in self {
            let CatalogEntry { name, driver, description, .. } = entry;
            let first = description.trim().lines().next().unwrap_or_default();
            let line = format!("    {name:names$}  {driver:drivers$}  {first}");
            write!(f, "\n{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for CatalogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<nuna.CatalogEntry '{}'> {}", self.name, self.driver)?;
        if !self.description.is_empty() {
            write!(f, "\n{}", self.description.trim())?;
        }
        for Parameter { name, kind, value, description, .. } in &self.parameters {
            write!(f, "\n    {}", format!("{name} ({kind}) = {value}  {description}").trim_end())?;
        }
        for (key, value) in &self.metadata {
            write!(f, "\n    {key}: {}", crate::format::attribute(value))?;
        }
        Ok(())
    }
}
