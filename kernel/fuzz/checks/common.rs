//! What checks of stores share: a folder for one store, and reading everything in it.

use std::{
    fs,
    path::Path,
    sync::{Mutex, Once, PoisonError},
};

use nuna_chunk::Region;
use nuna_storage::{Group, Source};

/// More elements than this are not read.
pub(crate) const ELEMENTS_MAX: u64 = 1 << 16;

/// The last of our own panics, which whoever catches those of others' codecs may have caught too.
static OURS: Mutex<Option<String>> = Mutex::new(None);

/// The codecs of others panic over bad chunks, and ours catch that: only our own panics are faults. They reach the hook that was
/// there before, which ends a fuzzer.
pub(crate) fn forgive_others() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_ours = panic
                .location()
                .is_none_or(|at| !at.file().contains("/registry/src/") && !at.file().starts_with("/rustc/"));
            if is_ours {
                *OURS.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
                before(panic);
            }
        }));
    });
}

/// Panics if anything of ours has panicked since the last call, even if that was caught.
#[allow(dead_code, reason = "a fuzzer ends at the first")]
pub(crate) fn assert_unharmed() {
    let found = OURS.lock().unwrap_or_else(PoisonError::into_inner).take();
    assert!(found.is_none(), "{}", found.unwrap_or_default());
}

/// Whether it may lead to what nobody is to ask, such as servers and devices, which have no end.
#[allow(dead_code, reason = "not every check reads names of files")]
pub(crate) fn leads_elsewhere(data: &[u8]) -> bool {
    data.windows(3).any(|part| part == b"://" || part == b"dev" || part == b"pro" || part == b"sys")
}

/// Writes files into an empty folder, asks `read` about it, and removes it.
#[allow(dead_code, reason = "not every check has a folder")]
pub(crate) fn store<T>(files: &[(&str, &[u8])], read: impl FnOnce(&Path) -> T) -> T {
    let folder = tempfile::tempdir().expect("a folder of temporary files");
    for (name, bytes) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("it is in the folder")).expect("room for a folder");
        fs::write(file, bytes).expect("room for a small file");
    }
    read(folder.path())
}

/// All elements of what is not huge; any part of them is as in the whole.
#[allow(dead_code, reason = "not every check reads all")]
pub(crate) fn read_all(group: &Group) {
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
        let shape = source.shape();
        let part = Region::new(shape.iter().map(|&n| n / 3..(n / 3 + 2).min(n)));
        if source.is_text() {
            let Ok(texts) = source.read_all_text() else { continue };
            assert_eq!(texts.len() as u64, shape.iter().product::<u64>());
            let Source::Zarr(zarr) = source else { continue };
            let found = zarr.reader().and_then(|reader| reader.read_text(&part));
            let found = found.expect("a part of what can be read can be read");
            let expected: Vec<&String> = elements_of(&part, shape).into_iter().map(|at| &texts[at]).collect();
            assert!(found.iter().eq(expected), "a part is as in the whole");
        } else if let Ok(whole) = source.read_all() {
            assert_eq!(whole.shape(), shape);
            let Source::Zarr(zarr) = source else { continue };
            let found = zarr.reader().and_then(|reader| reader.read(&part));
            let found = found.expect("a part of what can be read can be read");
            let size = whole.dtype().size();
            let bytes = whole.bytes();
            let expected: Vec<u8> = elements_of(&part, shape)
                .into_iter()
                .flat_map(|at| bytes[at * size..(at + 1) * size].to_vec())
                .collect();
            assert_eq!(found.bytes()[..], expected[..], "a part is as in the whole");
        }
    }
}

/// Where the elements of a box lie in an array of this shape, in C order.
fn elements_of(part: &Region, shape: &[u64]) -> Vec<usize> {
    part.ranges().iter().zip(shape).fold(vec![0], |places, (range, &length)| {
        let along = |at: usize| range.clone().map(move |index| at * length as usize + index as usize);
        places.into_iter().flat_map(along).collect()
    })
}

/// A Zarr store of any bytes: one for how it is laid out, two for the length of its metadata, the metadata, and the bytes of its
/// first chunk.
#[allow(dead_code, reason = "not every check is of Zarr")]
pub(crate) fn zarr_store(data: &[u8], layouts: std::ops::Range<u8>, read: impl FnOnce(&Path, &[u8])) {
    let [layout, low, high, rest @ ..] = data else { return };
    let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
    let (metadata, chunk) = rest.split_at(length);
    let group = br#"{"zarr_format": 3, "node_type": "group"}"#;
    let files: &[(&str, &[u8])] = match layouts.start + layout % (layouts.end - layouts.start) {
        0 => &[(".zarray", metadata), ("0", chunk), ("0.0", chunk)],
        1 => &[("zarr.json", metadata), ("c/0/0", chunk)],
        2 => &[("zarr.json", metadata), ("c/0", chunk)],
        3 => &[(".zmetadata", metadata), ("x/0", chunk), ("x/0.0", chunk)],
        4 => &[
            (".zgroup", br#"{"zarr_format": 2}"#),
            ("x/.zarray", metadata),
            ("x/0", chunk),
            ("x/0.0", chunk),
        ],
        _ => &[("zarr.json", group), ("x/zarr.json", metadata), ("x/c/0", chunk)],
    };
    store(files, |folder| read(folder, chunk));
}
