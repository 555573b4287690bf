//! Owns the identity of the runtime: two processes may exchange code only if theirs are equal.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::objects::{self, Object};

/// Names one build of the runtime library together with one `libstd`; 64 hexadecimal digits.
///
/// Layouts, vtables and offsets are compared by nothing else. Peers with different ids would not fail; they would
/// compute nonsense (a field that changed its type is read as what it was). So the handshake refuses them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BuildId(pub String);

impl BuildId {
    /// Enough of it for a message to be read.
    pub fn short(&self) -> &str {
        self.0.get(..16).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for BuildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// This process's build id. Computed once: from the linkers' notes where there are any, which are in memory
/// already, else from the files.
pub fn build_id() -> &'static BuildId {
    static ID: OnceLock<BuildId> = OnceLock::new();
    ID.get_or_init(|| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"nuna build id 1");
        for object in [runtime(), standard_library()] {
            let identity = identity(object);
            hasher.update(&(identity.len() as u64).to_le_bytes());
            hasher.update(&identity);
        }
        BuildId(hasher.finalize().to_hex().to_string())
    })
}

/// The object that holds the runtime: `libnuna.so`, or the program where everything is linked into it.
pub(crate) fn runtime() -> &'static Object {
    static RUNTIME: OnceLock<Object> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let here = build_id as fn() -> &'static BuildId as usize;
        objects::containing(here).expect("running code lies in a loaded object")
    })
}

/// The file of the runtime library, or of the program where everything is linked into it.
pub fn runtime_path() -> std::path::PathBuf {
    let path = std::path::Path::new(runtime().readable_path());
    // The program is known by a link; a library's path may be relative to where the process started.
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn standard_library() -> &'static Object {
    static STANDARD: OnceLock<Object> = OnceLock::new();
    STANDARD.get_or_init(|| {
        // Neither generic nor inlined, so its address is that of the one copy in use.
        let there = std::thread::yield_now as fn() as usize;
        objects::containing(there).expect("running code lies in a loaded object")
    })
}

fn identity(object: &Object) -> Vec<u8> {
    if let Some(note) = &object.build_id {
        return note.clone();
    }
    let path = object.readable_path();
    match std::fs::read(path) {
        Ok(bytes) => blake3::hash(&bytes).as_bytes().to_vec(),
        // Without its file it cannot be told from any other. An id that equals no other is the safe answer.
        Err(error) => format!("{path}: {error}: {}", std::process::id()).into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_id_is_stable_and_names_both_parts() {
        assert_eq!(build_id(), build_id());
        assert_eq!(build_id().0.len(), 64);
        assert!(standard_library().file_name().starts_with("libstd-") || standard_library().is_program());
    }
}
