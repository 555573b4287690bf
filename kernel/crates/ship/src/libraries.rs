//! Owns the registry of libraries in this process: which are loaded, under which content hash, and what each
//! needs first. A client's cells are registered where the loader put them; a worker inserts what it was sent.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use nuna_plan::LibraryId;

use crate::{
    error::ShipError,
    load,
    objects::{self, Object},
};

/// One library whose code is in this process. Never removed, since it is never unloaded.
#[derive(Clone)]
struct Library {
    object: Object,
    bytes: Bytes,
    /// Directly needed libraries that must be shipped as well; their own needs are theirs.
    needs: Vec<LibraryId>,
}

#[derive(Default)]
struct Registry {
    libraries: HashMap<LibraryId, Library>,
    /// Where the loader put each; a base address is never used twice.
    by_base: HashMap<usize, LibraryId>,
}

fn registry() -> MutexGuard<'static, Registry> {
    static REGISTRY: OnceLock<Mutex<Registry>> = OnceLock::new();
    REGISTRY.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The content hash by which a library is known.
pub fn id_of(bytes: &[u8]) -> LibraryId {
    LibraryId(*blake3::hash(bytes).as_bytes())
}

/// Registers a library that this process has loaded from `path`, and those of its needs that must travel with it.
///
/// # Errors
/// [`ShipError::Unreadable`] if the file cannot be read or is not loaded here.
pub fn register_path(path: impl AsRef<Path>) -> Result<LibraryId, ShipError> {
    let path = path.as_ref();
    let unreadable = |message: String| ShipError::Unreadable { path: path.display().to_string(), message };
    let canonical = path.canonicalize().map_err(|error| unreadable(error.to_string()))?;
    let object = objects::all()
        .into_iter()
        .find(|object| {
            Path::new(&object.path) == path
                || Path::new(&object.path).canonicalize().ok() == Some(canonical.clone())
        })
        .ok_or_else(|| unreadable("it is not loaded into this process".to_owned()))?;
    register_object(&object)
}

/// Makes a library that was sent available: checks its contents against `id`, then loads it. Inserting what is
/// here already succeeds without a look at `bytes`.
///
/// # Errors
/// [`ShipError::WrongContents`] if the bytes are not those of `id`, which are then not loaded;
/// [`ShipError::Load`] if the loader refuses, for one because something it needs was not inserted before.
pub fn insert(id: LibraryId, bytes: Bytes) -> Result<(), ShipError> {
    let found = id_of(&bytes);
    if found != id {
        return Err(ShipError::WrongContents { expected: id, found });
    }
    // The lock is held while loading, so that two threads cannot load the same library twice.
    let mut registry = registry();
    if registry.libraries.contains_key(&id) {
        return Ok(());
    }
    let object =
        load::load(&format!("{id:?}"), &bytes).map_err(|message| ShipError::Load { library: id, message })?;
    let everything = objects::all();
    let needs = needs_of(&object, &everything)
        .into_iter()
        .filter_map(|needed| registry.by_base.get(&needed.base).copied())
        .collect();
    registry.by_base.insert(object.base, id);
    registry.libraries.insert(id, Library { object, bytes, needs });
    Ok(())
}

/// The file's contents, for sending it on.
pub fn bytes(id: LibraryId) -> Option<Bytes> {
    registry().libraries.get(&id).map(|library| library.bytes.clone())
}

/// Whether the library is loaded here.
pub fn contains(id: LibraryId) -> bool {
    registry().libraries.contains_key(&id)
}

/// What must be loaded before `id`, in an order that works; `id` itself is not in it. Empty for an unknown library.
pub fn loaded_dependencies(id: LibraryId) -> Vec<LibraryId> {
    let registry = registry();
    let mut order = Vec::new();
    collect_needs(&registry, id, &mut order);
    order
}

/// Depth first; needs cannot be cyclic, because the loader resolved each library after its needs.
fn collect_needs(registry: &Registry, id: LibraryId, order: &mut Vec<LibraryId>) {
    let Some(library) = registry.libraries.get(&id) else { return };
    for &need in &library.needs {
        if !order.contains(&need) {
            collect_needs(registry, need, order);
            order.push(need);
        }
    }
}

/// Where the code of `id` begins.
pub(crate) fn object(id: LibraryId) -> Option<Object> {
    registry().libraries.get(&id).map(|library| library.object.clone())
}

/// Registers an object that the loader has in memory.
pub(crate) fn register_object(object: &Object) -> Result<LibraryId, ShipError> {
    register_within(object, &objects::all())
}

fn register_within(object: &Object, everything: &[Object]) -> Result<LibraryId, ShipError> {
    if let Some(&id) = registry().by_base.get(&object.base) {
        return Ok(id);
    }
    let bytes = std::fs::read(object.readable_path())
        .map_err(|error| ShipError::Unreadable { path: object.path.clone(), message: error.to_string() })?;
    let id = id_of(&bytes);
    let needs = needs_of(object, everything)
        .into_iter()
        .map(|needed| register_within(needed, everything))
        .collect::<Result<_, _>>()?;
    let mut registry = registry();
    registry.by_base.insert(object.base, id);
    registry.libraries.entry(id).or_insert(Library { object: object.clone(), bytes: bytes.into(), needs });
    Ok(id)
}

/// The loaded objects that `object` asks for and that a worker does not have of its own: neither part of the
/// runtime, which the handshake has compared, nor of the system.
fn needs_of<'a>(object: &Object, everything: &'a [Object]) -> Vec<&'a Object> {
    let own = runtime_names(everything);
    object
        .needed
        .iter()
        .filter(|needed| !own.contains(needed))
        .filter_map(|needed| everything.iter().find(|candidate| candidate.answers_to(needed)))
        .filter(|candidate| !candidate.is_program() && !is_system(&candidate.path))
        .collect()
}

/// The runtime library, and whatever it needs itself, by the names that others ask for them.
fn runtime_names(everything: &[Object]) -> Vec<String> {
    let runtime = crate::build_id::runtime();
    let mut names: Vec<String> = runtime.soname.iter().cloned().collect();
    names.push(runtime.file_name().to_owned());
    let mut next = runtime.needed.clone();
    while let Some(name) = next.pop() {
        if !names.contains(&name) {
            if let Some(object) = everything.iter().find(|object| object.answers_to(&name)) {
                next.extend(object.needed.iter().cloned());
            }
            names.push(name);
        }
    }
    names
}

fn is_system(path: &str) -> bool {
    ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/", "/usr/local/lib/"]
        .iter()
        .any(|root| path.starts_with(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_contents_are_refused_before_they_are_loaded() {
        let id = id_of(b"what was sent");
        let error = insert(id, Bytes::from_static(b"what arrived")).unwrap_err();
        assert!(matches!(error, ShipError::WrongContents { expected, .. } if expected == id), "{error}");
        assert!(!contains(id));
    }

    #[test]
    fn a_file_that_is_not_loaded_cannot_be_registered() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = register_path(file.path()).unwrap_err();
        assert!(error.to_string().contains("not loaded into this process"), "{error}");
    }

    #[test]
    fn an_unknown_library_has_no_dependencies_and_no_bytes() {
        let id = LibraryId([7; 32]);
        assert_eq!(loaded_dependencies(id), []);
        assert_eq!(bytes(id), None);
    }
}
