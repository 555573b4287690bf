//! Owns the package that cargo is shown for `:dep`, and what cargo makes of it: which crates there will be. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Value;

use super::{request::Wanted, shared::Shared};

/// Name of the package; cargo's messages have it, people should not.
pub(super) const PACKAGE: &str = "nuna-session";

/// A crate that is to be the runtime's own, with its features.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pin {
    package: String,
    version: String,
    features: BTreeSet<String>,
}

/// `Cargo.toml` for the crates that are wanted. Everything is optimised and nothing carries debug information.
pub(super) fn manifest(wanted: &BTreeMap<String, Wanted>, pins: &BTreeSet<Pin>) -> String {
    let mut text = format!(
        "[package]\nname = \"{PACKAGE}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[lib]\npath = \"lib.rs\"\n\n[workspace]\n\n\
         [profile.dev]\nopt-level = 3\ndebug = false\ndebug-assertions = false\noverflow-checks = false\nincremental = false\n\
         codegen-units = 16\n\n[profile.dev.build-override]\nopt-level = 0\n\n[dependencies]\n"
    );
    // Cargo lists a package that is asked for twice under one of its names only, so a wanted crate is pinned in its own entry.
    let mut own = BTreeSet::new();
    for wanted in wanted.values() {
        let pin = pins.iter().filter(|pin| pin.package == wanted.package() && wanted.is_of_registry());
        let pin: Vec<&Pin> = pin.collect();
        text += &match pin[..] {
            [pin] => pin.applied(wanted).entry(),
            _ => wanted.entry(),
        };
        text.push('\n');
        own.insert(wanted.package());
    }
    for pin in pins.iter().filter(|pin| !own.contains(pin.package.as_str())) {
        let alias = format!("nuna-pin-{}-{}", pin.package, pin.version.replace(['.', '+'], "-"));
        let features: Vec<Value> =
            pin.features.iter().map(|feature| Value::String(feature.clone())).collect();
        text += &format!(
            "{alias} = {{ package = \"{}\", version = \"={}\", default-features = false, features = {} }}\n",
            pin.package,
            pin.version,
            Value::Array(features)
        );
    }
    text
}

impl Pin {
    /// The entry of a wanted crate that must be this one as well.
    fn applied(&self, wanted: &Wanted) -> Wanted {
        let mut wanted = wanted.clone();
        let exact = format!("={}", self.version);
        let version = match wanted.source.get("version").and_then(Value::as_str) {
            None | Some("*" | "") => exact,
            Some(version) => format!("{version}, {exact}"),
        };
        wanted.source.insert("version".to_owned(), Value::String(version));
        let mut features = self.features.clone();
        let own = wanted.source.get("features").and_then(Value::as_array);
        features.extend(own.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        wanted
            .source
            .insert("features".to_owned(), Value::Array(features.into_iter().map(Value::String).collect()));
        wanted
    }
}

/// The answer of `cargo metadata`.
#[derive(Debug, Deserialize)]
pub(super) struct Graph {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    source: Option<String>,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
    root: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    /// As code calls it.
    name: String,
    pkg: String,
}

impl Package {
    /// Whether its sources never change.
    pub(super) fn is_fixed(&self) -> bool {
        self.source.is_some()
    }

    fn is_library(&self) -> bool {
        self.targets
            .iter()
            .flat_map(|target| &target.kind)
            .any(|kind| ["lib", "rlib", "dylib", "proc-macro"].contains(&kind.as_str()))
    }
}

impl Graph {
    pub(super) fn read(line: &str) -> serde_json::Result<Self> {
        serde_json::from_str(line)
    }

    pub(super) fn package(&self, id: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.id == id)
    }

    /// Crates that are compiled on the way, with those for build scripts and macros.
    pub(super) fn len(&self) -> usize {
        self.resolve.nodes.len().saturating_sub(1)
    }

    /// The wanted crates: what code calls them, and their packages.
    pub(super) fn wanted(&self) -> Vec<(&str, &Package)> {
        let root = self.resolve.nodes.iter().find(|node| Some(&node.id) == self.resolve.root.as_ref());
        let dependencies = root.into_iter().flat_map(|root| &root.deps);
        let named = dependencies.filter(|dependency| !dependency.name.starts_with("nuna_pin_"));
        named
            .filter_map(|dependency| Some((dependency.name.as_str(), self.package(&dependency.pkg)?)))
            .collect()
    }

    /// A wanted crate that nothing can be called in.
    pub(super) fn without_library(&self) -> Option<&Package> {
        self.wanted().into_iter().map(|(_, package)| package).find(|package| !package.is_library())
    }

    /// The crates that the runtime has as well, in versions that may stand for each other.
    pub(super) fn pins(&self, shared: &[Shared]) -> BTreeSet<Pin> {
        let fixed = self.packages.iter().filter(|package| {
            package
                .source
                .as_ref()
                .is_some_and(|from| from.starts_with("registry+") || from.starts_with("sparse+"))
        });
        let pin = |package: &Package| {
            let same = |shared: &&Shared| {
                shared.package == package.name && compatible(&shared.version) == compatible(&package.version)
            };
            shared.iter().find(same).map(|shared| Pin {
                package: shared.package.clone(),
                version: shared.version.clone(),
                features: shared.features.clone(),
            })
        };
        fixed.filter_map(pin).collect()
    }
}

/// The part of a version that must be equal for cargo to choose one for the other.
fn compatible(version: &str) -> (&str, &str, &str) {
    let mut parts = version.split(['.', '-', '+']);
    let mut next = || parts.next().unwrap_or("0");
    match (next(), next(), next()) {
        ("0", "0", patch) => ("0", "0", patch),
        ("0", minor, _) => ("0", minor, ""),
        (major, ..) => (major, "", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluator::dep::request;

    #[test]
    fn versions_that_may_stand_for_each_other() {
        assert_eq!(compatible("1.0.229"), compatible("1.9.0"));
        assert_ne!(compatible("0.16.1"), compatible("0.17.2"));
        assert_eq!(compatible("0.17.0"), compatible("0.17.2"));
        assert_ne!(compatible("0.0.1"), compatible("0.0.2"));
    }

    #[test]
    fn the_manifest_is_one_that_cargo_reads() {
        let wanted = request::read(
            "my-name = { version = \"1\", features = [\"a\\\"b\"] }",
            std::path::Path::new("/"),
        )
        .unwrap();
        let pin =
            Pin { package: "serde".into(), version: "1.0.2+x".into(), features: ["std".to_owned()].into() };
        let text = manifest(&[(wanted.name.clone(), wanted)].into(), &[pin].into());
        let parsed: toml::Table = text.parse().unwrap();
        let dependencies = parsed["dependencies"].as_table().unwrap();
        assert_eq!(dependencies["my-name"]["features"][0].as_str(), Some("a\"b"));
        assert_eq!(dependencies["nuna-pin-serde-1-0-2-x"]["version"].as_str(), Some("=1.0.2+x"));
        let wanted =
            request::read("serde = { version = \"1\", features = [\"rc\"] }", std::path::Path::new("/"))
                .unwrap();
        let pin =
            Pin { package: "serde".into(), version: "1.0.2".into(), features: ["std".to_owned()].into() };
        let parsed: toml::Table =
            manifest(&[(wanted.name.clone(), wanted)].into(), &[pin].into()).parse().unwrap();
        assert_eq!(parsed["dependencies"]["serde"]["version"].as_str(), Some("1, =1.0.2"));
        assert_eq!(parsed["dependencies"]["serde"]["features"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn the_graph_names_what_was_wanted_and_what_the_runtime_has() {
        let line = r#"{"packages": [
            {"id": "root", "name": "nuna-session", "version": "0.0.0", "source": null, "targets": [{"kind": ["lib"]}]},
            {"id": "a", "name": "my-serde", "version": "1.0.230", "source": "registry+x", "targets": [{"kind": ["lib"]}]}],
            "resolve": {"root": "root", "nodes": [{"id": "root", "deps": [{"name": "my_serde", "pkg": "a"}]}, {"id": "a", "deps": []}]}}"#;
        let graph = Graph::read(line).unwrap();
        assert_eq!(graph.len(), 1);
        assert_eq!(graph.wanted()[0].0, "my_serde");
        let shared = Shared {
            package: "my-serde".into(),
            version: "1.0.229".into(),
            name: "my_serde".into(),
            features: BTreeSet::new(),
            file: "x".into(),
        };
        assert_eq!(graph.pins(std::slice::from_ref(&shared)).first().unwrap().version, "1.0.229");
        assert!(graph.pins(&[Shared { version: "2.0.0".into(), ..shared }]).is_empty());
    }
}
