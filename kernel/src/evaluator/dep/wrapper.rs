//! Owns what this program does when cargo calls it in the compiler's place, for crates of `:dep`: a crate that the
//! runtime library holds already is taken from there, every other one is compiled. Cargo notices no difference.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs, io,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};

use super::shared::Shared;

/// Names the file with [`Orders`] in the environment of cargo; where it is set, this program stands in for the compiler.
pub const ORDERS: &str = "NUNA_DEP_ORDERS";

/// What the kernel tells whoever compiles crates.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) shared: Vec<Shared>,
    /// Where crates that those need lie.
    pub(crate) dependencies: PathBuf,
}

/// Compiles a crate, or takes it from the runtime. Returns only if that fails.
pub fn run(orders: &OsStr, arguments: Vec<OsString>) -> io::Error {
    let Some((rustc, arguments)) = arguments.split_first() else {
        return io::Error::other("cargo calls this program with the compiler's path first");
    };
    let orders: Orders = match fs::read(orders).map(|text| serde_json::from_slice(&text)) {
        Ok(Ok(orders)) => orders,
        Ok(Err(error)) => return error.into(),
        Err(error) => return error,
    };
    let mut command = Command::new(rustc);
    command.args(arguments);
    if let Some(unit) = Unit::read(arguments) {
        let package = |name: &str| std::env::var(name).unwrap_or_default();
        let (name, version) = (package("CARGO_PKG_NAME"), package("CARGO_PKG_VERSION"));
        if let Some(shared) = unit.shared(&orders.shared, &name, &version) {
            match unit.take(shared) {
                Ok(()) => std::process::exit(0),
                Err(error) => return error,
            }
        }
        command.arg("-L").arg(joined("dependency=", &orders.dependencies));
        if unit.is_own {
            // Sources that the person edits make another crate each time, which may be beside the one before.
            let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            command.arg(format!("-Cmetadata=edited-{}-{}", since.as_nanos(), std::process::id()));
        }
    }
    command.exec()
}

fn joined(prefix: &str, path: &Path) -> OsString {
    let mut word = OsString::from(prefix);
    word.push(path);
    word
}

/// What cargo wants compiled.
#[derive(Debug, Default, PartialEq)]
struct Unit {
    name: String,
    source: PathBuf,
    kind: String,
    features: BTreeSet<String>,
    folder: PathBuf,
    /// Comes behind the crate's name in files.
    suffix: String,
    externs: Vec<PathBuf>,
    emits: BTreeSet<String>,
    /// Not from a registry.
    is_own: bool,
}

impl Unit {
    /// `None` if this is a question to the compiler, or a build script.
    fn read(arguments: &[OsString]) -> Option<Self> {
        let mut unit = Self { is_own: true, ..Self::default() };
        let mut words = arguments.iter().map(|word| word.to_string_lossy());
        while let Some(word) = words.next() {
            let (flag, inline) = match word.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
                _ => (word.clone().into_owned(), None),
            };
            let mut value = || inline.clone().or_else(|| words.next().map(|word| word.into_owned()));
            match flag.as_str() {
                "--crate-name" => unit.name = value()?,
                "--crate-type" => unit.kind = value()?,
                "--out-dir" => unit.folder = value()?.into(),
                "--emit" => unit.emits = value()?.split(',').map(str::to_owned).collect(),
                "--cap-lints" => {
                    value()?;
                    unit.is_own = false;
                }
                "--cfg" => {
                    let value = value()?;
                    let feature = value.strip_prefix("feature=\"").and_then(|rest| rest.strip_suffix('"'));
                    unit.features.extend(feature.map(str::to_owned));
                }
                "--extern" => {
                    if let Some((_, path)) = value()?.split_once('=') {
                        unit.externs.push(path.into());
                    }
                }
                "-C" => {
                    if let Some(suffix) = value()?.strip_prefix("extra-filename=") {
                        unit.suffix = suffix.to_owned();
                    }
                }
                "-" => return None,
                flag if !flag.starts_with('-') && flag.ends_with(".rs") => unit.source = flag.into(),
                _ => {}
            }
        }
        let is_library = ["lib", "rlib", "proc-macro"].contains(&unit.kind.as_str());
        (is_library && !unit.folder.as_os_str().is_empty()).then_some(unit)
    }

    fn is_macro(&self) -> bool {
        self.kind == "proc-macro"
    }

    /// The runtime's own of this crate, if the two are made of the same.
    fn shared<'a>(&self, shared: &'a [Shared], package: &str, version: &str) -> Option<&'a Shared> {
        let same = shared.iter().find(|shared| {
            shared.package == package
                && shared.version == version
                && shared.name == self.name
                && shared.features == self.features
        })?;
        let of_runtime = |path: &PathBuf| mark(path).is_file();
        // Nothing of what a macro is made of is in the crates that use it.
        (!self.is_own && (self.is_macro() || self.externs.iter().all(of_runtime))).then_some(same)
    }

    /// Puts the runtime's files where cargo expects those of this crate.
    fn take(&self, shared: &Shared) -> io::Result<()> {
        let file = |kind: &str| self.folder.join(format!("lib{}{}.{kind}", self.name, self.suffix));
        let mut made = Vec::new();
        if self.is_macro() {
            made.push(("link", file("so"), shared.file.clone()));
        } else {
            let metadata = shared.file.with_extension("rmeta");
            if self.emits.contains("metadata") && metadata.is_file() {
                made.push(("metadata", file("rmeta"), metadata));
            }
            made.push(("link", file("rlib"), shared.file.clone()));
        }
        let notes = self.folder.join(format!("{}{}.d", self.name, self.suffix));
        // Before anything is said to be there: whoever needs this crate looks for the mark as soon as the metadata is.
        let marks = made.iter().map(|(_, to, _)| mark(to)).collect::<BTreeSet<_>>();
        for mark in marks {
            fs::write(mark, shared.file.as_os_str().as_encoded_bytes())?;
        }
        for (emit, to, from) in made {
            if to.extension().is_some_and(|kind| kind == "rlib")
                && from.extension().is_some_and(|kind| kind == "rmeta")
            {
                fs::write(&to, archive(&fs::read(&from)?))?;
            } else {
                place(&from, &to)?;
            }
            if emit == "link" {
                let source = self.source.display();
                fs::write(&notes, format!("{}: {source}\n\n{source}:\n", to.display()))?;
            }
            // Cargo begins with the crates that need this one.
            let said = serde_json::json!({"$message_type": "artifact", "artifact": to, "emit": emit});
            writeln!(io::stderr(), "{said}")?;
        }
        Ok(())
    }
}

/// A library of metadata alone, as `ar` would write it. Nobody misses the code: it is in the runtime library.
fn archive(metadata: &[u8]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    bytes.extend(
        format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", "lib.rmeta/", 0, 0, 0, 644, metadata.len()).bytes(),
    );
    bytes.extend(metadata);
    if metadata.len() % 2 == 1 {
        bytes.push(b'\n');
    }
    bytes
}

/// Beside a crate's file, says that it is the runtime's.
pub(crate) fn mark(file: &Path) -> PathBuf {
    file.with_extension("runtime")
}

/// Puts a copy of a file at another place. No link: cargo compiles again what is older than what it was made from.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::copy(from, to).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(words: &str) -> Option<Unit> {
        Unit::read(&words.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    const SERDE: &str = "--crate-name serde --edition=2021 /r/serde-1/src/lib.rs --error-format=json \
        --json=artifacts --crate-type lib --emit=dep-info,metadata,link -C opt-level=3 --cfg feature=\"std\" \
        --cfg feature=\"derive\" --check-cfg cfg(x) -C metadata=9f -C extra-filename=-a1 --out-dir /t/deps \
        -L dependency=/t/deps --cap-lints allow";

    fn shared() -> Shared {
        Shared {
            package: "serde".into(),
            version: "1.0.0".into(),
            name: "serde".into(),
            features: ["derive", "std"].map(str::to_owned).into(),
            file: "/runtime/libserde-b2.rlib".into(),
        }
    }

    #[test]
    fn cargos_words_are_read() {
        let unit = unit(SERDE).unwrap();
        assert_eq!((unit.name.as_str(), unit.suffix.as_str(), unit.is_own), ("serde", "-a1", false));
        assert_eq!(unit.features, shared().features);
        assert_eq!(unit.source, Path::new("/r/serde-1/src/lib.rs"));
    }

    #[test]
    fn a_crate_is_the_runtimes_only_if_all_is_the_same() {
        let all = [shared()];
        let with = |more: &str| unit(&format!("{SERDE} {more}")).unwrap();
        assert!(with("").shared(&all, "serde", "1.0.0").is_some());
        assert!(with("").shared(&all, "serde", "1.0.1").is_none());
        assert!(with("--cfg feature=\"rc\"").shared(&all, "serde", "1.0.0").is_none());
        assert!(with("--extern core=/t/deps/libcore_x-1.rmeta").shared(&all, "serde", "1.0.0").is_none());
        assert!(
            unit(&SERDE.replace("--cap-lints allow", "")).unwrap().shared(&all, "serde", "1.0.0").is_none()
        );
    }

    #[test]
    fn questions_and_build_scripts_are_the_compilers() {
        assert_eq!(unit("-vV"), None);
        assert_eq!(unit("- --crate-name ___ --print=file-names --crate-type lib"), None);
        assert_eq!(
            unit("--crate-name build_script_build build.rs --crate-type bin --out-dir /t/build"),
            None
        );
    }

    #[test]
    fn an_archive_has_headers_of_60_bytes_and_even_members() {
        assert_eq!(archive(b"abc").len(), 8 + 60 + 4);
        assert!(archive(b"ab").ends_with(b"`\nab"));
    }

    #[test]
    fn the_runtimes_files_are_put_in_place_and_marked() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("libserde-b2.rlib"), "code").unwrap();
        fs::write(at("libserde-b2.rmeta"), "metadata").unwrap();
        let unit = Unit { folder: folder.path().to_owned(), ..unit(SERDE).unwrap() };
        unit.take(&Shared { file: at("libserde-b2.rlib"), ..shared() }).unwrap();
        assert_eq!(fs::read_to_string(at("libserde-a1.rmeta")).unwrap(), "metadata");
        assert_eq!(fs::read_to_string(at("libserde-a1.rlib")).unwrap(), "code");
        assert!(mark(&at("libserde-a1.rmeta")).is_file() && at("serde-a1.d").is_file());
    }
}
