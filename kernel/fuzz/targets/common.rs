//! What targets of stores share: a folder for one store, and reading everything in it.

use std::{fs, path::Path, sync::Once};

use nuna_storage::{Group, Source};

/// More elements than this are not read.
const ELEMENTS_MAX: u64 = 1 << 16;

/// The codecs of others panic over bad chunks, and ours catch that: only our own panics are faults.
pub fn forgive_others() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let abort = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_ours = panic
                .location()
                .is_none_or(|at| !at.file().contains("/registry/src/") && !at.file().starts_with("/rustc/"));
            if is_ours {
                abort(panic);
            }
        }));
    });
}

/// Writes files into an empty folder, asks `read` about it, and removes it.
pub fn store<T>(files: &[(&str, &[u8])], read: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().expect("a folder of temporary files");
    for (name, bytes) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("it is in the folder")).expect("room for a folder");
        fs::write(file, bytes).expect("room for a small file");
    }
    read(folder.path())
}

/// All elements of what is not huge.
pub fn read_all(group: &Group) {
    for variable in &group.variables {
        let source = &variable.source;
        assert_eq!(source.shape().len(), variable.dims.len(), "a name for each axis");
        let chunk = match source {
            Source::Zarr(zarr) => zarr.chunk_shape().iter().product::<u64>(),
            _ => 1,
        };
        if source.shape().iter().product::<u64>().max(chunk) > ELEMENTS_MAX {
            continue;
        }
        if source.is_text() {
            let _ = source.read_all_text();
        } else if let Ok(elements) = source.read_all() {
            assert_eq!(elements.shape(), source.shape());
        }
    }
}
