//! Owns making an index: a crate that re-exports libraries is documented by `rustdoc`, which reads their compiled metadata
//! as the compiler does, and its pages are read. Nobody needs the libraries' sources for that, and what is indexed is what
//! cells are compiled against (docs/decisions/completion.md).

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use super::{
    index::{Collector, Implemented, Index, Item, Kind, Member, is_for},
    page::{self, Page},
};
use crate::evaluator::runtime::Runtime;

/// Name of the crate that re-exports; no library is called so.
const ROOT: &str = "nuna_indexed";

/// Modules of the standard library. Left out are `arch`, `simd`, `intrinsics` and `os`, which are half of its pages and
/// rarely meant in a notebook.
const STD: &[&str] = &[
    "alloc",
    "any",
    "array",
    "ascii",
    "backtrace",
    "borrow",
    "boxed",
    "cell",
    "char",
    "clone",
    "cmp",
    "collections",
    "convert",
    "default",
    "env",
    "error",
    "f32",
    "f64",
    "ffi",
    "fmt",
    "fs",
    "future",
    "hash",
    "hint",
    "i128",
    "i16",
    "i32",
    "i64",
    "i8",
    "io",
    "isize",
    "iter",
    "marker",
    "mem",
    "net",
    "num",
    "ops",
    "option",
    "panic",
    "path",
    "pin",
    "process",
    "ptr",
    "rc",
    "result",
    "slice",
    "str",
    "string",
    "sync",
    "task",
    "thread",
    "time",
    "u128",
    "u16",
    "u32",
    "u64",
    "u8",
    "usize",
    "vec",
];

/// Macros of the standard library that share their name with no module.
const STD_MACROS: &[&str] = &[
    "assert",
    "assert_eq",
    "assert_ne",
    "cfg",
    "column",
    "compile_error",
    "concat",
    "dbg",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "eprint",
    "eprintln",
    "file",
    "format",
    "format_args",
    "include",
    "include_bytes",
    "include_str",
    "line",
    "matches",
    "module_path",
    "option_env",
    "print",
    "println",
    "stringify",
    "thread_local",
    "todo",
    "unimplemented",
    "unreachable",
    "write",
    "writeln",
];

/// Primitive types and what they are. Their methods are the compiler's; what is said about the types themselves is not in
/// any metadata.
const PRIMITIVES: &[(&str, &str)] = &[
    ("array", "A fixed-size array, `[T; N]`."),
    ("bool", "`true` or `false`."),
    ("char", "One Unicode scalar value."),
    ("f32", "A 32-bit floating-point number (IEEE 754 binary32)."),
    ("f64", "A 64-bit floating-point number (IEEE 754 binary64)."),
    ("fn", "A function pointer, `fn(A) -> B`."),
    ("i8", "An 8-bit signed integer."),
    ("i16", "A 16-bit signed integer."),
    ("i32", "A 32-bit signed integer."),
    ("i64", "A 64-bit signed integer."),
    ("i128", "A 128-bit signed integer."),
    ("isize", "A signed integer as wide as a pointer."),
    ("pointer", "A raw pointer, `*const T` or `*mut T`."),
    ("slice", "A view of contiguous elements, `[T]`."),
    ("str", "UTF-8 text, mostly seen as `&str`."),
    ("tuple", "Several values of their own types, `(T, U, …)`."),
    ("u8", "An 8-bit unsigned integer."),
    ("u16", "A 16-bit unsigned integer."),
    ("u32", "A 32-bit unsigned integer."),
    ("u64", "A 64-bit unsigned integer."),
    ("u128", "A 128-bit unsigned integer."),
    ("unit", "The type of `()`, which holds nothing."),
    ("usize", "An unsigned integer as wide as a pointer."),
];

/// Modules of the façade that no person calls.
const UNCALLED: &[&str] = &["nuna::cell", "nuna::parts"];

/// What an index is of. Each has its own, since documenting two together lists every pair of their types and traits, which
/// costs five times as much; and since they change at different times.
pub enum Library {
    Standard,
    Crate {
        name: String,
        /// The library, or its metadata alone.
        file: PathBuf,
        /// Folders with what it depends on.
        dependencies: Vec<PathBuf>,
    },
}

impl Library {
    /// What cells see of the runtime.
    pub fn of_runtime(runtime: &Runtime) -> Self {
        Self::Crate {
            name: "nuna".to_owned(),
            file: runtime.library.clone(),
            dependencies: vec![runtime.dependencies.clone()],
        }
    }
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    pub items: usize,
    pub members: usize,
    pub bytes: u64,
}

/// Makes the index of `libraries` at `output`. Takes some ten seconds and a few hundred megabytes of memory and of
/// temporary files, so the kernel leaves it to a process of its own.
///
/// # Errors
/// If `rustdoc` is missing or fails, or writes pages that this reader does not know.
pub fn make(rustdoc: &Path, library: &Library, key: &str, output: &Path) -> Result<Made> {
    let folder =
        tempfile::Builder::new().prefix("nuna-index-").tempdir().context("making a temporary folder")?;
    document(rustdoc, library, folder.path())?;
    let pages = folder.path().join("doc").join(ROOT);
    let mut found = Vec::new();
    walk(&pages, &mut Vec::new(), &mut found)?;
    // Short paths first: an item is called by its shortest.
    found.sort_by_key(|page| (page.path.matches("::").count(), page.path.clone()));
    let mut items = Items::default();
    for file in &found {
        let text =
            fs::read_to_string(&file.file).with_context(|| format!("reading {}", file.file.display()))?;
        let name = file.path.rsplit("::").next().unwrap_or_default();
        let page = page::read(&text, ROOT, name, file.kind).with_context(|| {
            format!("reading the page of `{}` that {} wrote", file.path, rustdoc.display())
        })?;
        if !page.unstable {
            items.add(&file.path, file.kind, page);
        }
    }
    let mut made = Made { items: 0, members: 0, bytes: 0 };
    let mut collector = Collector::new(key);
    for (item, mut paths) in items.items {
        // A primitive type is known by its name alone.
        if item.kind == Kind::Primitive {
            paths.truncate(1);
        }
        made.items += 1;
        made.members += item.page.members.len();
        collect(&mut collector, item, paths);
    }
    collector.write(output)?;
    if matches!(library, Library::Standard) {
        check(&Index::open(output, key)?).inspect_err(|_| drop(fs::remove_file(output))).with_context(
            || format!("{} writes pages that this version of Nuna cannot read", rustdoc.display()),
        )?;
    }
    made.bytes = fs::metadata(output)?.len();
    Ok(made)
}

fn document(rustdoc: &Path, library: &Library, folder: &Path) -> Result<()> {
    let source = folder.join("root.rs");
    fs::write(&source, root(library))?;
    let mut command = Command::new(rustdoc);
    command.arg(&source).args(["--edition=2024", "--crate-name", ROOT, "-o"]).arg(folder.join("doc"));
    if let Library::Crate { name, file, dependencies } = library {
        command.arg(format!("--extern={name}={}", file.display()));
        for folder in dependencies {
            command.arg(format!("-Ldependency={}", folder.display()));
        }
    }
    // For the attribute that makes pages of primitive types.
    command.env("RUSTC_BOOTSTRAP", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().with_context(|| {
        format!(
            "starting {}, which completion learns libraries from; it comes with the Rust toolchain",
            rustdoc.display()
        )
    })?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = words.lines().rev().take(20).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        bail!("{} failed ({}):\n{}", rustdoc.display(), output.status, last.join("\n"));
    }
    Ok(())
}

/// The crate that re-exports everything.
fn root(library: &Library) -> String {
    let mut text = String::from(
        "#![feature(rustc_attrs, rustdoc_internals)]\n#![allow(internal_features, ambiguous_glob_reexports, deprecated)]\n",
    );
    match library {
        Library::Standard => {
            for (number, (name, about)) in PRIMITIVES.iter().enumerate() {
                text +=
                    &format!("#[rustc_doc_primitive = {name:?}]\n/// {about}\nmod primitive_{number} {{}}\n");
            }
            let names = [STD, STD_MACROS].concat().join(", ");
            text += &format!("pub mod std {{\n#[doc(inline)] pub use ::std::{{{names}}};\n");
            text += "pub mod prelude { #[doc(inline)] pub use ::std::prelude::rust_2024; }\n}\n";
        }
        Library::Crate { name, .. } => {
            text += &format!("pub mod {name} {{ #[doc(inline)] pub use ::{name}::*; }}\n");
        }
    }
    text
}

struct PageFile {
    file: PathBuf,
    path: String,
    kind: Kind,
}

fn walk(folder: &Path, modules: &mut Vec<String>, found: &mut Vec<PageFile>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            modules.push(name);
            let path = modules.join("::");
            if !path.contains("::__") && !UNCALLED.contains(&path.as_str()) {
                walk(&entry.path(), modules, found)?;
            }
            modules.pop();
            continue;
        }
        let Some(stem) = name.strip_suffix(".html") else { continue };
        let (kind, own) = match stem.split_once('.') {
            None if stem == "index" => (Kind::Module, None),
            Some((kind, own)) => match kind_of(kind) {
                Some(kind) => (kind, Some(own)),
                None => continue,
            },
            None => continue,
        };
        // `macro.vec!.html` leads to `macro.vec.html`.
        if own.is_some_and(|own| own.ends_with('!') || own.starts_with("__")) {
            continue;
        }
        let path: Vec<&str> = modules.iter().map(String::as_str).chain(own).collect();
        if !path.is_empty() {
            found.push(PageFile { file: entry.path(), path: path.join("::"), kind });
        }
    }
    Ok(())
}

fn kind_of(word: &str) -> Option<Kind> {
    Some(match word {
        "struct" => Kind::Struct,
        "enum" => Kind::Enum,
        "union" => Kind::Union,
        "trait" => Kind::Trait,
        "fn" => Kind::Function,
        "macro" => Kind::Macro,
        "constant" => Kind::Constant,
        "static" => Kind::Static,
        "type" => Kind::TypeAlias,
        "primitive" => Kind::Primitive,
        "derive" => Kind::Derive,
        "attr" => Kind::Attribute,
        _ => return None,
    })
}

struct Read {
    path: String,
    kind: Kind,
    page: Page,
}

/// Items with all their paths: one that is re-exported has a page in every place.
#[derive(Default)]
struct Items {
    items: Vec<(Read, Vec<String>)>,
    seen: BTreeMap<u64, usize>,
}

impl Items {
    fn add(&mut self, path: &str, kind: Kind, page: Page) {
        let mut hasher = DefaultHasher::new();
        (kind, path.rsplit("::").next(), &page.signature, &page.docs).hash(&mut hasher);
        for member in &page.members {
            (&member.name, &member.signature, &member.header).hash(&mut hasher);
        }
        // Modules with little to say look alike.
        if kind == Kind::Module {
            path.hash(&mut hasher);
        }
        match self.seen.entry(hasher.finish()) {
            Entry::Occupied(at) => self.items[*at.get()].1.push(path.to_owned()),
            Entry::Vacant(free) => {
                free.insert(self.items.len());
                self.items.push((Read { path: path.to_owned(), kind, page }, vec![path.to_owned()]));
            }
        }
    }
}

fn collect(collector: &mut Collector, read: Read, paths: Vec<String>) {
    let Read { path, kind, page } = read;
    let members = page.members.into_iter().map(|member| Member {
        docs: collector.docs(&member.docs),
        header: collector.header(&member.header),
        name: member.name,
        kind: member.kind,
        signature: member.signature,
        deprecated: member.deprecated,
    });
    let members = members.collect();
    let implemented = page.implemented.into_iter().map(|implemented| Implemented {
        of: collector.name(&implemented.of),
        header: collector.header(&implemented.header),
        blanket: implemented.blanket,
        target: implemented.target,
    });
    let implemented = implemented.collect();
    let docs = collector.docs(&page.docs);
    let item = Item {
        path,
        kind,
        signature: page.signature,
        docs,
        deprecated: page.deprecated,
        members,
        implemented,
    };
    collector.add(item, paths);
}

/// What every index of the standard library holds; pages of another shape lack some of it.
fn check(index: &Index) -> Result<()> {
    let vec = index.item("std::vec::Vec").context("no page of `Vec`")?;
    let push = vec.members.iter().find(|member| member.name == "push").context("`Vec` has no `push`")?;
    ensure!(push.signature == "fn push(&mut self, value: T)", "`Vec::push` reads as {:?}", push.signature);
    ensure!(!index.docs(push.docs).is_empty(), "`Vec::push` has no documentation");
    let target = vec.implemented.iter().find_map(|implemented| implemented.target.as_deref());
    ensure!(target == Some("[T]"), "`Vec` derefs to {target:?}");
    let option = index.item("std::option::Option").context("no page of `Option`")?;
    ensure!(option.members.iter().any(|member| member.kind == Kind::Variant), "`Option` has no variants");
    let iterator = index.item("std::iter::Iterator").context("no page of `Iterator`")?;
    ensure!(iterator.members.iter().any(|member| member.name == "map"), "`Iterator` has no `map`");
    let range = index.item("std::ops::Range").context("no page of `Range`")?;
    ensure!(range.members.iter().any(|member| member.kind == Kind::Field), "`Range` has no fields");
    let float = index.item("f64").context("no page of `f64`")?;
    ensure!(float.members.iter().any(|member| member.name == "sqrt"), "`f64` has no `sqrt`");
    ensure!(index.item("std::println").is_some_and(|item| item.kind == Kind::Macro), "no page of `println!`");
    Ok(())
}

/// An index that every kernel of a runtime reads.
pub struct Wanted {
    pub library: Library,
    /// Name of its file.
    pub file: &'static str,
    /// Tells builds apart.
    pub key: String,
}

/// The indexes of a runtime.
pub fn wanted(runtime: &Runtime) -> [Wanted; 2] {
    let version = env!("CARGO_PKG_VERSION");
    [
        Wanted {
            library: Library::Standard,
            file: "std.index",
            key: format!("{version} {}", standard_library()),
        },
        Wanted {
            library: Library::of_runtime(runtime),
            file: "nuna.index",
            key: format!("{version} {}", nuna::parts::ship::build_id()),
        },
    ]
}

/// Name of the standard library that this program runs with, which has a hash of the compiler's build in it.
fn standard_library() -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let files = maps.lines().filter_map(|line| line.rsplit('/').next());
    files.into_iter().find(|file| file.starts_with("libstd-")).unwrap_or("libstd").to_owned()
}

/// Makes the indexes of `runtime` that are not in `folder` yet; gives the names of those that were made.
///
/// # Errors
/// As [`make`], and if `folder` cannot be written.
pub fn make_missing(runtime: &Runtime, folder: &Path) -> Result<Vec<&'static str>> {
    let missing =
        || wanted(runtime).into_iter().filter(|wanted| !is_for(&folder.join(wanted.file), &wanted.key));
    if missing().next().is_none() {
        return Ok(Vec::new());
    }
    // Several kernels may start at once; one makes what all of them want.
    let path = folder.join(".index.lock");
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("making {}", path.display()))?;
    let _lock = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("locking {}", path.display()))?;
    let mut names = Vec::new();
    for Wanted { library, file, key } in missing() {
        let made = make(&runtime.rustc.with_file_name("rustdoc"), &library, &key, &folder.join(file))?;
        tracing::info!(file, made.items, made.members, made.bytes, "made an index");
        names.push(file);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: &str = r#"
        //! A library.
        /// A place.
        #[derive(Clone)]
        pub struct Place<T> { /** Metres. */ pub height: T, hidden: u8 }
        impl<T: Copy> Place<T> {
            /// Makes a `Place`.
            ///
            /// # Panics
            /// Never.
            pub fn new(height: T) -> Self { Place { height, hidden: 0 } }
            /// How high it is, in `unit`.
            pub fn above(&self, unit: &str) -> T { let _ = (unit, self.hidden); self.height }
            #[deprecated(note = "use `above`")]
            pub fn over(&self) -> T { self.height }
            fn own(&self) {}
        }
        impl Place<u8> { pub fn small(&self) -> bool { true } }
        impl<T> std::ops::Deref for Place<T> { type Target = T; fn deref(&self) -> &T { &self.height } }
        pub trait Measured {
            /// Of what.
            const UNIT: &'static str;
            fn measure(&self, times: usize) -> f64;
            fn twice(&self) -> f64 { 2.0 * self.measure(2) }
        }
        impl<T> Measured for Place<T> { const UNIT: &'static str = "m"; fn measure(&self, _: usize) -> f64 { 1.0 } }
        pub enum Season { /** Rain. */ Wet, Dry { days: u32 }, Other(String) }
        pub mod inner { pub use super::Place; pub fn free(x: i32) -> i32 { x } pub const LIMIT: usize = 4; }
        /// Squares.
        #[macro_export]
        macro_rules! square { ($x:expr) => { $x * $x } }
    "#;

    /// Made of the library's metadata alone, as of a crate whose sources are not there.
    #[test]
    fn a_crate_is_indexed_from_its_metadata() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("lib.rs");
        let file = folder.path().join("libsample.rmeta");
        fs::write(&source, LIBRARY).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let paths = (source.to_str().unwrap(), file.to_str().unwrap());
        run(
            "rustc",
            &[
                "--edition=2024",
                "--crate-type=lib",
                "--crate-name=sample",
                "--emit=metadata",
                "-Aunused",
                "-o",
                paths.1,
                paths.0,
            ],
        );
        fs::remove_file(&source).unwrap();
        let rustdoc = Path::new(run("rustc", &["--print", "sysroot"]).trim()).join("bin/rustdoc");
        let library = Library::Crate { name: "sample".to_owned(), file, dependencies: Vec::new() };
        let output = folder.path().join("sample.index");
        make(&rustdoc, &library, "key", &output).unwrap();

        let index = Index::open(&output, "key").unwrap();
        let place = index.item("sample::Place").unwrap();
        assert_eq!(index.docs(place.docs), "A place.");
        let member = |name: &str| {
            place.members.iter().find(|member| member.name == name).unwrap_or_else(|| panic!("no `{name}`"))
        };
        assert_eq!(
            (member("new").kind, member("new").signature.as_str()),
            (Kind::AssociatedFunction, "fn new(height: T) -> Place<T>")
        );
        assert_eq!(index.docs(member("new").docs), "Makes a `Place`.\n\n#### Panics\n\nNever.");
        assert_eq!(
            (member("above").kind, member("above").signature.as_str()),
            (Kind::Method, "fn above(&self, unit: &str) -> T")
        );
        assert!(index.header(member("small").header).contains("Place<u8>"));
        assert!(member("over").deprecated && !member("above").deprecated);
        assert_eq!((member("height").kind, member("height").signature.as_str()), (Kind::Field, "height: T"));
        assert!(!place.members.iter().any(|member| ["own", "hidden"].contains(&member.name.as_str())));
        let traits: Vec<&str> = place.implemented.iter().map(|one| index.of_trait(one)).collect();
        assert!(
            traits.contains(&"sample::Measured") && traits.iter().any(|name| name.ends_with("::Clone")),
            "{traits:?}"
        );
        assert!(place.implemented.iter().any(|one| one.target.as_deref() == Some("T")));
        assert!(std::ptr::eq(index.item("sample::inner::Place").unwrap(), place));

        let measured = index.item("sample::Measured").unwrap();
        let names: Vec<&str> = measured.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["UNIT", "measure", "twice"]);
        let season = index.item("sample::Season").unwrap();
        let variants: Vec<&str> = season.members.iter().map(|member| member.signature.as_str()).collect();
        assert_eq!((variants[0], variants[2]), ("Wet", "Other(String)"));
        assert_eq!(index.item("sample::inner::free").unwrap().signature, "pub fn free(x: i32) -> i32");
        assert_eq!(index.item("sample::square").unwrap().kind, Kind::Macro);
        let inside: Vec<&str> = index.inside("sample::inner").into_iter().map(|(name, _)| name).collect();
        assert_eq!(inside, ["LIMIT", "Place", "free"]);
    }
}
