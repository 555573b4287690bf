//! Owns reading what is written behind `:dep`: a crate's name and where it comes from, as `Cargo.toml` has it. No I/O.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// A crate that the person asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// The name of its entry, which is what cells call it but for dashes; of a path alone, the path.
    pub(crate) name: String,
    pub(crate) source: Table,
}

impl Wanted {
    /// Whether its code may change without a word of its entry.
    pub(crate) fn may_change(&self) -> bool {
        self.source.contains_key("path")
    }

    /// Name of its package.
    pub(crate) fn package(&self) -> &str {
        self.source.get("package").and_then(Value::as_str).unwrap_or(&self.name)
    }

    pub(crate) fn is_of_registry(&self) -> bool {
        !self.source.contains_key("path") && !self.source.contains_key("git")
    }

    /// The entry for `Cargo.toml`.
    pub(crate) fn entry(&self) -> String {
        format!("{} = {}", Value::String(self.name.clone()), Value::Table(self.source.clone()))
    }

    /// As a person would write it.
    pub(crate) fn describe(&self) -> String {
        let only_version = self.source.len() == 1;
        match self.source.get("version").filter(|_| only_version) {
            Some(version) => format!("{} = {version}", self.name),
            None => format!("{} = {}", self.name, Value::Table(self.source.clone())),
        }
    }
}

/// Keys that an entry may have.
const KEYS: &[&str] = &[
    "version",
    "path",
    "git",
    "branch",
    "tag",
    "rev",
    "features",
    "default-features",
    "default_features",
    "package",
    "registry",
];

/// Names that every cell has.
const PRESENT: &[&str] = &["nuna", "std", "core", "alloc", "proc_macro", "test"];

/// Reads one line. `here` is the folder that paths start from.
pub(crate) fn read(words: &str, here: &Path) -> Result<Wanted, String> {
    let words = words.trim();
    if words.is_empty() {
        return Err(":dep takes a crate, as in :dep rand = \"0.9\"".to_owned());
    }
    let mut wanted = if words.starts_with(['.', '/', '~']) {
        at_path(words, here)?
    } else if let Some((name, version)) = words.split_once('@').filter(|(name, _)| is_name(name)) {
        of_version(name, version.trim())
    } else if is_name(words) {
        of_version(words, "*")
    } else {
        entry(words)?
    };
    if PRESENT.contains(&wanted.name.as_str()) {
        return Err(format!(
            "`{}` is there without being added: write `use {}::…;`",
            wanted.name, wanted.name
        ));
    }
    if let Some(Value::String(path)) = wanted.source.get_mut("path") {
        *path = absolute(path, here)?.display().to_string();
    }
    Ok(wanted)
}

fn is_name(word: &str) -> bool {
    word.starts_with(char::is_alphabetic) && word.chars().all(|c| c.is_alphanumeric() || "-_".contains(c))
}

fn of_version(name: &str, version: &str) -> Wanted {
    let source = Table::from_iter([("version".to_owned(), Value::String(version.to_owned()))]);
    Wanted { name: name.to_owned(), source }
}

/// `name = "1"`, `name = { … }` or `name.key = …`.
fn entry(words: &str) -> Result<Wanted, String> {
    // A table may be written over several lines here, though not in a file.
    let line = words.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let parsed: Table = line.parse().map_err(|error: toml::de::Error| {
        format!("`:dep {line}` is not like a line of Cargo.toml: {}; write :dep NAME = \"1.2\" or :dep NAME = {{ … }}", error.message())
    })?;
    let mut entries = parsed.into_iter();
    let (Some((name, value)), None) = (entries.next(), entries.next()) else {
        return Err("write one crate on each :dep line".to_owned());
    };
    if !is_name(&name) {
        return Err(format!("{name:?} is no name of a crate"));
    }
    let source = match value {
        Value::String(version) => return Ok(of_version(&name, &version)),
        Value::Table(source) => source,
        other => {
            return Err(format!(
                "`{name}` is a version in quotes or a table in braces, not {}",
                other.type_str()
            ));
        }
    };
    if let Some(key) = source.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("`{key}` is nothing that :dep knows; it takes {}", KEYS.join(", ")));
    }
    let mut source = source;
    if !["version", "path", "git"].iter().any(|key| source.contains_key(*key)) {
        source.insert("version".to_owned(), Value::String("*".to_owned()));
    }
    Ok(Wanted { name, source })
}

/// A folder alone, whose `Cargo.toml` says the name.
fn at_path(path: &str, here: &Path) -> Result<Wanted, String> {
    let folder = absolute(path, here)?;
    let manifest = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)
        .map_err(|error| format!("reading {}: {error}", manifest.display()))?;
    let parsed: Table =
        text.parse().map_err(|error| format!("{} is no manifest: {error}", manifest.display()))?;
    let name = parsed.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    let name = name.ok_or_else(|| format!("{} names no package", manifest.display()))?;
    let source = Table::from_iter([("path".to_owned(), Value::String(folder.display().to_string()))]);
    Ok(Wanted { name: name.to_owned(), source })
}

fn absolute(path: &str, here: &Path) -> Result<PathBuf, String> {
    let path = match path.strip_prefix("~/") {
        Some(rest) => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(rest),
        None => here.join(path),
    };
    let found =
        path.canonicalize().map_err(|error| format!("there is no crate at {}: {error}", path.display()))?;
    if !found.join("Cargo.toml").is_file() {
        return Err(format!("there is no Cargo.toml in {}", found.display()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &str) -> Result<String, String> {
        read(words, Path::new("/nonexistent")).map(|wanted| wanted.entry())
    }

    #[test]
    fn what_evcxr_takes_is_read() {
        assert_eq!(of("rand").unwrap(), "\"rand\" = { version = \"*\" }");
        assert_eq!(of("rand = \"0.9\"").unwrap(), "\"rand\" = { version = \"0.9\" }");
        assert_eq!(of("rand@0.9").unwrap(), "\"rand\" = { version = \"0.9\" }");
        let table =
            of("plotters = { version = \"0.3\",\n  default-features = false, features = [\"evcxr\"] }")
                .unwrap();
        assert!(table.contains("default-features = false") && table.contains("\"evcxr\""), "{table}");
        assert!(
            of("a = { git = \"https://example.org/a\", rev = \"abc\" }").unwrap().contains("rev = \"abc\"")
        );
        assert!(of("b = { package = \"a\" }").unwrap().contains("version = \"*\""));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        assert!(of("nuna").unwrap_err().contains("there without being added"));
        assert!(of("").unwrap_err().contains(":dep rand"));
        assert!(of("rand = 1").unwrap_err().contains("version in quotes"));
        assert!(of("rand = \"1").unwrap_err().contains("not like a line of Cargo.toml"));
        assert!(of("a = { versoin = \"1\" }").unwrap_err().contains("`versoin`"));
        assert!(of("a = { path = \"b\" }").unwrap_err().contains("/nonexistent/b"));
        assert!(of("a = \"1\"\nb = \"2\"").unwrap_err().contains("not like"));
    }

    #[test]
    fn a_path_alone_is_named_by_its_manifest() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("own")).unwrap();
        std::fs::write(folder.path().join("own/Cargo.toml"), "[package]\nname = \"my-crate\"\n").unwrap();
        let wanted = read("./own", folder.path()).unwrap();
        assert_eq!(wanted.name, "my-crate");
        assert!(wanted.may_change() && wanted.entry().contains("/own\""));
    }
}
