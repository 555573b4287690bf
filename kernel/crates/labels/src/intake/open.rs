//! Owns opening what an entry of a catalogue names: which driver of intake is which of our openers, the paths, and the catalogue or
//! dataset there.

use std::path::PathBuf;

use nuna_storage::Attributes;
use serde_json::Value;

use super::{Catalog, CatalogEntry};
use crate::{
    Dataset, Result, many::matching, open_dataset, open_geotiffs, open_many, open_netcdf, open_netcdf_group,
    open_zarr, open_zarr_group,
};

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

impl CatalogEntry {
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
