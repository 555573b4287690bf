//! Owns the index of libraries: every public item with its members, signatures and documentation, as a file and in memory.
//! Names and signatures are held; documentation, which is most of it, stays compressed in the file until somebody asks.
//! How an index is made is in `make`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Changes with the layout of the file.
const MAGIC: &[u8] = b"nuna index 2\n";
/// Documentation is compressed in pieces of so many bytes.
const BLOCK: usize = 64 << 10;
/// No index is as large; a length beyond it is damage.
const HEAD_MAX: u64 = 256 << 20;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    Module,
    Struct,
    Enum,
    Union,
    Trait,
    Function,
    Macro,
    Constant,
    Static,
    TypeAlias,
    Primitive,
    Derive,
    Attribute,
    Variant,
    Field,
    /// Takes `self`.
    Method,
    /// Belongs to a type and takes no `self`.
    AssociatedFunction,
    AssociatedConstant,
    AssociatedType,
    Keyword,
    Variable,
}

impl Kind {
    /// The word that JupyterLab has a sign for.
    pub fn word(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Struct | Self::Union | Self::TypeAlias | Self::AssociatedType | Self::Primitive => "class",
            Self::Enum | Self::Variant => "enum",
            Self::Trait => "interface",
            Self::Function | Self::AssociatedFunction | Self::Method => "function",
            Self::Macro | Self::Derive | Self::Attribute => "macro",
            Self::Constant | Self::Static | Self::AssociatedConstant => "constant",
            Self::Field => "property",
            Self::Keyword => "keyword",
            Self::Variable => "instance",
        }
    }

    pub fn is_type(self) -> bool {
        matches!(self, Self::Struct | Self::Enum | Self::Union | Self::TypeAlias | Self::Primitive)
    }
}

/// Bytes of the documentation, as if it were not compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Docs {
    at: u32,
    size: u32,
}

impl Docs {
    pub fn is_empty(self) -> bool {
        self.size == 0
    }
}

/// A method, field, variant or other part of an item.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    pub name: String,
    pub kind: Kind,
    pub signature: String,
    pub docs: Docs,
    /// The `impl` it stands in, of [`Index::headers`]; 0 for none.
    pub header: u32,
    pub deprecated: bool,
}

/// A trait that a type implements.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Implemented {
    /// Of [`Index::names`]: the trait's path.
    pub of: u32,
    /// As in [`Member`].
    pub header: u32,
    /// For all types that fulfil a bound, such as `Into`.
    pub blanket: bool,
    /// For `Deref`: the type that it leads to.
    pub target: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Item {
    /// As a cell writes it, such as `std::vec::Vec`; one word for a primitive type.
    pub path: String,
    pub kind: Kind,
    pub signature: String,
    pub docs: Docs,
    pub deprecated: bool,
    pub members: Vec<Member>,
    pub implemented: Vec<Implemented>,
}

impl Item {
    pub fn name(&self) -> &str {
        self.path.rsplit("::").next().unwrap_or(&self.path)
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Head {
    key: String,
    items: Vec<Item>,
    /// Every path of every item, in order; an item may have several.
    paths: Vec<(String, u32)>,
    headers: Vec<String>,
    names: Vec<String>,
    /// Where each block of documentation begins in the file, counted from the first; and the last one's end.
    blocks: Vec<u64>,
}

/// An index that was read from a file.
pub struct Index {
    head: Head,
    /// Positions in `head.paths` by what the paths end with.
    docs: File,
    docs_from: u64,
}

impl Index {
    /// Reads the index at `path`.
    ///
    /// # Errors
    /// If there is none, it is damaged, or it was made from another build than `key` says.
    pub fn open(path: &Path, key: &str) -> Result<Self> {
        let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut start = vec![0; MAGIC.len() + 8];
        file.read_exact(&mut start).with_context(|| format!("reading {}", path.display()))?;
        let (magic, size) = start.split_at(MAGIC.len());
        ensure!(magic == MAGIC, "{} is no index of this version", path.display());
        let size = u64::from_le_bytes(size.try_into().context("eight bytes")?);
        let whole = file.metadata()?.len();
        ensure!(size <= HEAD_MAX && size <= whole, "{} is damaged", path.display());
        let mut bytes = vec![0; size as usize];
        file.read_exact(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
        // The key stands first, so that an index of another build costs nothing to refuse.
        let (found, _): (String, _) =
            postcard::take_from_bytes(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
        ensure!(found == key, "{} was made for another build", path.display());
        let head: Head =
            postcard::from_bytes(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
        let count = head.items.len() as u32;
        ensure!(
            !head.headers.is_empty() && head.paths.iter().all(|(_, item)| *item < count),
            "{} is damaged",
            path.display()
        );
        let docs_from = file.stream_position()?;
        Ok(Self { head, docs: file, docs_from })
    }

    pub fn items(&self) -> &[Item] {
        &self.head.items
    }

    /// The item at `path`. Where a module or macro shares it with something else, that is meant.
    pub fn item(&self, path: &str) -> Option<&Item> {
        let all = self.all(path);
        let other =
            |item: &&Item| !matches!(item.kind, Kind::Module | Kind::Macro | Kind::Derive | Kind::Attribute);
        all.iter().copied().find(other).or(all.first().copied())
    }

    /// Everything at `path`.
    pub fn all(&self, path: &str) -> Vec<&Item> {
        let from = self.head.paths.partition_point(|(own, _)| own.as_str() < path);
        let own = self.head.paths[from..].iter().take_while(|(own, _)| own == path);
        own.filter_map(|(_, item)| self.head.items.get(*item as usize)).collect()
    }

    /// What module `path` holds: name and item. An empty path gives the crates.
    pub fn inside(&self, path: &str) -> Vec<(&str, &Item)> {
        let start = if path.is_empty() { String::new() } else { format!("{path}::") };
        let from = self.head.paths.partition_point(|(own, _)| own.as_str() < start.as_str());
        self.head.paths[from..]
            .iter()
            .take_while(|(own, _)| own.starts_with(&start))
            .filter(|(own, _)| !own[start.len()..].contains("::"))
            .filter_map(|(own, item)| Some((&own[start.len()..], self.head.items.get(*item as usize)?)))
            .filter(|(_, item)| !(path.is_empty() && item.kind == Kind::Primitive))
            .collect()
    }

    /// Items called `name`, whatever their paths; the shortest path first.
    pub fn named(&self, name: &str) -> Vec<(&str, &Item)> {
        let mut found: Vec<(&str, &Item)> = self
            .head
            .paths
            .iter()
            .filter(|(path, _)| path.rsplit("::").next() == Some(name))
            .filter_map(|(path, item)| Some((path.as_str(), self.head.items.get(*item as usize)?)))
            .collect();
        found.sort_by_key(|(path, _)| path.matches("::").count());
        found
    }

    pub fn header(&self, header: u32) -> &str {
        self.head.headers.get(header as usize).map_or("", String::as_str)
    }

    pub fn of_trait(&self, implemented: &Implemented) -> &str {
        self.head.names.get(implemented.of as usize).map_or("", String::as_str)
    }

    /// Documentation as Markdown; empty if there is none, or the file is not what it was.
    pub fn docs(&self, docs: Docs) -> String {
        self.read_docs(docs).unwrap_or_else(|error| {
            tracing::warn!(%error, "reading documentation from the index");
            String::new()
        })
    }

    fn read_docs(&self, docs: Docs) -> Result<String> {
        if docs.is_empty() {
            return Ok(String::new());
        }
        let (at, end) = (docs.at as usize, docs.at as usize + docs.size as usize);
        let mut text = Vec::new();
        for block in at / BLOCK..=(end - 1) / BLOCK {
            let bounds = self.head.blocks.get(block..block + 2).context("a block that is not there")?;
            let size = bounds[1].checked_sub(bounds[0]).filter(|size| *size <= 2 * BLOCK as u64);
            let mut packed = vec![0; size.context("a block of no possible size")? as usize];
            self.docs.read_exact_at(&mut packed, self.docs_from + bounds[0])?;
            flate2::read::DeflateDecoder::new(&packed[..])
                .take(BLOCK as u64)
                .read_to_end(&mut text)
                .context("a damaged block")?;
        }
        let from = at % BLOCK;
        let bytes = text.get(from..from + docs.size as usize).context("a block that is too short")?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// Collects what an index is made of.
#[derive(Default)]
pub struct Collector {
    head: Head,
    docs: Vec<u8>,
    headers: BTreeMap<String, u32>,
    names: BTreeMap<String, u32>,
}

impl Collector {
    pub fn new(key: &str) -> Self {
        let head = Head { key: key.to_owned(), headers: vec![String::new()], ..Head::default() };
        let headers = BTreeMap::from([(String::new(), 0)]);
        Self { head, headers, ..Self::default() }
    }

    pub fn docs(&mut self, text: &str) -> Docs {
        let at = self.docs.len();
        // 4 GB of documentation there is not; if there were, the rest would go without.
        let (Ok(start), Ok(size)) = (u32::try_from(at), u32::try_from(text.len())) else {
            return Docs::default();
        };
        self.docs.extend_from_slice(text.as_bytes());
        Docs { at: start, size }
    }

    pub fn header(&mut self, text: &str) -> u32 {
        *self.headers.entry(text.to_owned()).or_insert_with(|| {
            self.head.headers.push(text.to_owned());
            self.head.headers.len() as u32 - 1
        })
    }

    pub fn name(&mut self, text: &str) -> u32 {
        *self.names.entry(text.to_owned()).or_insert_with(|| {
            self.head.names.push(text.to_owned());
            self.head.names.len() as u32 - 1
        })
    }

    /// Adds an item with all its paths.
    pub fn add(&mut self, item: Item, paths: Vec<String>) {
        let number = self.head.items.len() as u32;
        self.head.items.push(item);
        self.head.paths.extend(paths.into_iter().map(|path| (path, number)));
    }

    /// Writes the index in place of what is at `path`, for its owner to write and everybody to read.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn write(mut self, path: &Path) -> Result<()> {
        self.head.paths.sort();
        let mut packed = Vec::new();
        self.head.blocks.push(0);
        for block in self.docs.chunks(BLOCK) {
            let mut encoder = flate2::write::DeflateEncoder::new(&mut packed, flate2::Compression::best());
            encoder.write_all(block)?;
            encoder.finish()?;
            self.head.blocks.push(packed.len() as u64);
        }
        let head = postcard::to_allocvec(&self.head).context("writing an index")?;
        let folder = path.parent().context("an index lies in a folder")?;
        let mut file = tempfile::Builder::new()
            .prefix(".index-")
            .tempfile_in(folder)
            .with_context(|| format!("making a file in {}", folder.display()))?;
        file.write_all(MAGIC)?;
        file.write_all(&(head.len() as u64).to_le_bytes())?;
        file.write_all(&head)?;
        file.write_all(&packed)?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(readable)?;
        file.persist(path).with_context(|| format!("writing {}", path.display()))?;
        Ok(())
    }
}

/// Whether the file at `path` is an index for `key`; reads its beginning only.
pub fn is_for(path: &Path, key: &str) -> bool {
    let beginning = || -> Result<String> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(MAGIC.len() as u64 + 8))?;
        let mut bytes = vec![0; key.len() + 8];
        file.read_exact(&mut bytes)?;
        let (found, _) = postcard::take_from_bytes(&bytes)?;
        let mut magic = vec![0; MAGIC.len()];
        file.read_exact_at(&mut magic, 0)?;
        ensure!(magic == MAGIC);
        Ok(found)
    };
    beginning().is_ok_and(|found| found == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(collector: &mut Collector, path: &str, docs: &str) -> Item {
        Item {
            path: path.to_owned(),
            kind: Kind::Function,
            signature: String::new(),
            docs: collector.docs(docs),
            deprecated: false,
            members: Vec::new(),
            implemented: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let mut collector = Collector::new("build 1");
        let long: String = (0..40_000).map(|n| format!("word {n} ")).collect();
        for (name, docs) in [("a::f", "short"), ("a::b::g", long.as_str()), ("a::h", "last")] {
            let made = item(&mut collector, name, docs);
            collector.add(made, vec![name.to_owned(), format!("z::{}", name.rsplit("::").next().unwrap())]);
        }
        collector.write(&path).unwrap();
        assert!(is_for(&path, "build 1") && !is_for(&path, "build 2"));
        let index = Index::open(&path, "build 1").unwrap();
        assert_eq!(index.docs(index.item("a::b::g").unwrap().docs), long);
        assert_eq!(index.docs(index.item("z::h").unwrap().docs), "last");
        let inside: Vec<&str> = index.inside("a").into_iter().map(|(name, _)| name).collect();
        assert_eq!(inside, ["f", "h"]);
        assert_eq!(index.named("g").len(), 2);
        assert!(Index::open(&path, "build 2").is_err());
    }

    #[test]
    fn a_damaged_index_is_refused_or_silent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index");
        let mut collector = Collector::new("k");
        let made = item(&mut collector, "a::f", "documentation");
        collector.add(made, vec!["a::f".to_owned()]);
        collector.write(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x41;
            std::fs::write(&path, &bytes).unwrap();
            if let Ok(index) = Index::open(&path, "k") {
                let _ = index.item("a::f").map(|item| index.docs(item.docs));
            }
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(Index::open(&path, "k").is_err() || at > 24);
        }
    }
}
