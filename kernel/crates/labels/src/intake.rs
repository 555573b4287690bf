//! Owns catalogues of intake, in YAML: what entries there are, the parameters that complete them, catalogues within catalogues, and
//! opening what an entry names. Which driver of intake is which of our openers stands in [`Kind::of`].
//!
//! Templates are not Jinja: a name of a parameter, `CATALOG_DIR`, `env(NAME)` and `'%02d' % name` are known, all else is an
//! error. A catalogue from afar is not told what is in the environment, and leads to no file of this machine.

mod parameter;

use std::{
    cell::Cell,
    fmt,
    path::{Path, PathBuf},
};

use nuna_storage::Attributes;
use serde_json::{Map, Value};

use crate::{
    Dataset, LabelError, Result, many::matching, open_dataset, open_geotiffs, open_many, open_netcdf,
    open_netcdf_group, open_zarr, open_zarr_group, yaml,
};

pub use parameter::Parameter;
use parameter::formatted;

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

/// What opens an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Zarr,
    Netcdf,
    Geotiff,
    Csv,
    Parquet,
    Catalog,
}

impl Kind {
    /// By the last part of the driver's name.
    fn of(driver: &str) -> Option<Self> {
        Some(match driver.rsplit('.').next()?.to_lowercase().as_str() {
            "zarr" | "zarrsource" | "reference" | "kerchunk" => Self::Zarr,
            "netcdf" | "netcdfsource" => Self::Netcdf,
            "rasterio" | "rasteriosource" | "geotiff" | "xarray_image" | "imagesource" => Self::Geotiff,
            "csv" | "csvsource" => Self::Csv,
            "parquet" | "parquetsource" => Self::Parquet,
            "catalog" | "yaml_file_cat" | "yaml_file" | "yamlfilecatalog" => Self::Catalog,
            _ => return None,
        })
    }
}

/// What the templates of an entry are filled in with. Defaults that name each other twice over, ten deep, would fill the memory.
const TEMPLATE_BYTES_MAX: usize = 4 << 20;

/// How deep templates are within templates, and the bytes that may still be filled in.
#[derive(Clone, Copy)]
struct Filling<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

impl Filling<'_> {
    fn take(self, bytes: usize) -> Result<(), String> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or("its templates stand for more than 4 MiB")?);
        Ok(())
    }
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

    /// Its arguments with templates filled in.
    ///
    /// # Errors
    /// If one cannot be: it is no template that is understood, or a parameter has no value.
    pub fn arguments(&self) -> Result<Attributes> {
        let args = Value::Object(self.args.clone());
        match self
            .fill(&args, Filling { depth: 0, left: &Cell::new(TEMPLATE_BYTES_MAX) })
            .map_err(|message| self.wrong(message))?
        {
            Value::Object(args) => Ok(args),
            _ => Ok(Map::new()),
        }
    }

    fn fill(&self, value: &Value, filling: Filling<'_>) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => self.rendered(text, filling)?.into(),
            Value::Array(values) => {
                values.iter().map(|value| self.fill(value, filling)).collect::<Result<Vec<_>, _>>()?.into()
            }
            Value::Object(map) => {
                let filled = map.iter().map(|(key, value)| Ok((key.clone(), self.fill(value, filling)?)));
                Value::Object(filled.collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }

    /// A text with what stands between its braces filled in.
    fn rendered(&self, text: &str, filling: Filling<'_>) -> Result<String, String> {
        if text.contains("{%") {
            return Err(format!("the template `{text}` has statements, which are not supported"));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, behind) =
                after.split_once("}}").ok_or_else(|| format!("the template `{text}` has no end"))?;
            out.push_str(before);
            let filled = self.expression(inside.trim(), filling)?;
            filling.take(inside.len() + filled.len())?;
            out.push_str(&filled);
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn expression(&self, text: &str, filling: Filling<'_>) -> Result<String, String> {
        let unquoted = |text: &str| -> Option<String> {
            let text = text.trim();
            let quote = text.chars().next().filter(|c| ['"', '\''].contains(c))?;
            let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
            (!inner.contains(quote)).then(|| inner.to_owned())
        };
        if let Some(name) = text.strip_prefix("env(").and_then(|rest| rest.strip_suffix(')')) {
            let name = unquoted(name).unwrap_or_else(|| name.trim().to_owned());
            if nuna_storage::is_address(&self.file) {
                return Err(format!(
                    "it asks for the variable `{name}` of the environment, which catalogues from afar are not told; copy the catalogue if you trust it"
                ));
            }
            return std::env::var(&name)
                .map_err(|_| format!("the variable `{name}` of the environment is not set"));
        }
        if let Some((format, name)) = text.split_once('%').and_then(|_| text.rsplit_once('%'))
            && let Some(format) = unquoted(format)
        {
            return formatted(&format, &self.value(name.trim(), filling)?);
        }
        Ok(match self.value(text, filling)? {
            Value::String(text) => text,
            value => value.to_string(),
        })
    }

    /// What a name stands for.
    fn value(&self, name: &str, filling: Filling<'_>) -> Result<Value, String> {
        if name == "CATALOG_DIR" {
            let mut file = self.file.to_string_lossy().into_owned();
            if nuna_storage::is_address(&self.file)
                && let Some(query) = file.find('?')
            {
                file.truncate(query);
            }
            return Ok(file.rsplit_once('/').map_or(".", |(folder, _)| folder).into());
        }
        let Some(parameter) = self.parameters.iter().find(|parameter| parameter.name == name) else {
            return Err(format!(
                "`{{{{ {name} }}}}` is not understood; names of parameters, CATALOG_DIR, env(NAME) and '%02d' % name are"
            ));
        };
        match &parameter.value {
            Value::Null => {
                Err(format!("the parameter `{name}` has no default; set it using `with(\"{name}\", …)`"))
            }
            // Defaults may be templates.
            Value::String(text) if text.contains("{{") => {
                if filling.depth > 10 {
                    return Err(format!("the parameter `{name}` is made of itself"));
                }
                self.rendered(text, Filling { depth: filling.depth + 1, ..filling }).map(Value::from)
            }
            value => Ok(value.clone()),
        }
    }

    /// The paths or addresses that it names, completed; patterns of files are looked up.
    ///
    /// # Errors
    /// If a template cannot be filled in, or no file is of that name.
    pub fn paths(&self) -> Result<Vec<PathBuf>> {
        self.paths_of(&self.arguments()?)
    }

    fn paths_of(&self, args: &Attributes) -> Result<Vec<PathBuf>> {
        let named = ["urlpath", "url", "path", "uri", "urls"].iter().find_map(|key| args.get(*key));
        let texts: Vec<&str> = match named {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect(),
            _ => return Err(self.wrong("it has no `urlpath`")),
        };
        let mut paths = Vec::new();
        for text in texts {
            let reference = text.strip_prefix("reference://").map(|_| self.reference(args)).transpose()?;
            let text = reference.as_deref().unwrap_or(text);
            // Copies are not kept: what is wanted is read where it is.
            let text = ["simplecache::", "filecache::", "blockcache::", "cached::"]
                .iter()
                .find_map(|cache| text.strip_prefix(cache))
                .unwrap_or(text);
            if text.contains('{') {
                let message = format!(
                    "`{text}` is a pattern that names parts of paths, which is not supported; use `*` and `concat_dim`"
                );
                return Err(self.wrong(message));
            }
            let path = nuna_storage::resolve(Some(&self.file), text)?;
            if !text.contains(['*', '?']) || nuna_storage::is_address(&path) && !text.contains('*') {
                paths.push(path);
                continue;
            }
            if nuna_storage::is_address(&path) {
                let message =
                    format!("`{text}` is a pattern, and what is at addresses is not listed; name the files");
                return Err(self.wrong(message));
            }
            let found = matching(&path.to_string_lossy())?;
            if found.is_empty() {
                return Err(self.wrong(format!("no file is named as the pattern `{}` says", path.display())));
            }
            paths.extend(found);
        }
        if paths.is_empty() {
            return Err(self.wrong("its `urlpath` names nothing"));
        }
        Ok(paths)
    }

    /// Where the references of an fsspec `reference://` are.
    fn reference(&self, args: &Attributes) -> Result<String> {
        let about = |key: &str| {
            args.get("storage_options").and_then(|options| options.get(key)).and_then(Value::as_str)
        };
        let Some(file) = about("fo") else {
            return Err(self.wrong("it reads references, and its `storage_options` do not name them by `fo`"));
        };
        match about("target_protocol") {
            Some(protocol) if !file.contains("://") && !["file", "local"].contains(&protocol) => {
                Ok(format!("{protocol}://{file}"))
            }
            _ => Ok(file.to_owned()),
        }
    }

    fn kind(&self) -> Result<Kind> {
        Kind::of(&self.driver).ok_or_else(|| {
            self.wrong(format!(
                "the driver `{}` is not supported; those for zarr, netcdf, rasterio, xarray_image, csv, parquet, references and yaml_file catalogues are",
                self.driver
            ))
        })
    }

    /// The catalogue that it is.
    ///
    /// # Errors
    /// If it is none, or as [`open_intake`].
    pub fn catalog(&self) -> Result<Catalog> {
        if self.kind()? != Kind::Catalog {
            return Err(
                self.wrong(format!("it is no catalogue but data, of the driver `{}`; open it", self.driver))
            );
        }
        match &self.paths()?[..] {
            [path] => Catalog::read(path.clone()),
            _ => Err(self.wrong("it is several catalogues, which are not joined")),
        }
    }

    /// Opens it as a dataset. Several files are joined along its `concat_dim`.
    ///
    /// # Errors
    /// If its driver is not supported or is for tables, it asks for what is not (such as times that stay numbers), or as
    /// [`open_zarr`], [`open_netcdf`], [`open_dataset`] and [`open_many`].
    pub fn open(&self) -> Result<Dataset> {
        let kind = self.kind()?;
        match kind {
            Kind::Zarr | Kind::Netcdf | Kind::Geotiff => {}
            Kind::Csv | Kind::Parquet => {
                return Err(self.wrong(format!(
                    "it is a table, of the driver `{}`; open it with `scan()`",
                    self.driver
                )));
            }
            Kind::Catalog => return Err(self.wrong("it is a catalogue; open it with `catalog()`")),
        }
        let args = self.arguments()?;
        let paths = self.paths_of(&args)?;
        let inner = ["xarray_kwargs", "backend_kwargs", "open_kwargs"]
            .map(|key| args.get(key).and_then(Value::as_object));
        let argument =
            |key: &str| args.get(key).or_else(|| inner.iter().flatten().find_map(|inner| inner.get(key)));
        for key in ["decode_times", "decode_cf", "mask_and_scale"] {
            if argument(key) == Some(&Value::Bool(false)) {
                return Err(self.wrong(format!(
                    "it asks for `{key}: false`, which is not supported; open {} by itself",
                    nuna_storage::shown(&paths[0]).display()
                )));
            }
        }
        let group =
            argument("group").and_then(Value::as_str).unwrap_or_default().trim_matches('/').to_owned();
        let dim = argument("concat_dim").or_else(|| argument("new_dim"));
        let dim = dim.and_then(|dim| dim.as_str().or_else(|| dim.as_array()?.first()?.as_str()));
        match (&paths[..], dim) {
            ([path], _) => match kind {
                Kind::Zarr if group.is_empty() => open_zarr(path),
                Kind::Zarr => open_zarr_group(path, &group),
                Kind::Netcdf if group.is_empty() => open_netcdf(path),
                Kind::Netcdf => open_netcdf_group(path, &group),
                _ => open_dataset(path),
            },
            (_, None) => Err(self.wrong(format!(
                "it is {} files, and does not say along which dimension (`concat_dim`) they are joined; join them with `open_many(entry.paths()?, dim)`",
                paths.len()
            ))),
            (_, Some(_)) if !group.is_empty() => Err(self.wrong("groups of several files are not joined")),
            (_, Some(dim)) if kind == Kind::Geotiff => open_geotiffs(paths, dim)?.named("band_data").to_dataset(),
            (_, Some(dim)) => open_many(paths, dim),
        }
    }

    /// Whether it is a table in CSV or Parquet.
    pub fn table(&self) -> Option<&'static str> {
        match Kind::of(&self.driver)? {
            Kind::Csv => Some("csv"),
            Kind::Parquet => Some("parquet"),
            Kind::Zarr | Kind::Netcdf | Kind::Geotiff | Kind::Catalog => None,
        }
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
