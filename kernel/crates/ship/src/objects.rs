//! Owns the look at what the dynamic loader has in memory: objects, their names, needs, code and build ids.
//! All of its `unsafe` reads what the loader itself mapped and relocated; nothing is ever unloaded by us.

use std::{
    ffi::{CStr, c_int, c_void},
    ops::Range,
};

/// One loaded object: the program, or a shared library.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// What offsets count from.
    pub(crate) base: usize,
    /// The name it was loaded under; empty for the program itself.
    pub(crate) path: String,
    /// `DT_SONAME`, which is how other objects ask for it.
    pub(crate) soname: Option<String>,
    /// `DT_NEEDED`: sonames of what must be loaded before it.
    pub(crate) needed: Vec<String>,
    /// Addresses of everything that was mapped.
    pub(crate) mapped: Vec<Range<usize>>,
    /// Addresses that hold code.
    pub(crate) code: Vec<Range<usize>>,
    /// The linker's build id, if it wrote one.
    pub(crate) build_id: Option<Vec<u8>>,
}

impl Object {
    /// Whether another object asks for this one with `needed`.
    pub(crate) fn answers_to(&self, needed: &str) -> bool {
        self.soname.as_deref() == Some(needed) || self.file_name() == needed || self.path == needed
    }

    /// Last component of the path.
    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    pub(crate) fn is_program(&self) -> bool {
        self.path.is_empty()
    }

    /// A path that can be opened: the loader does not name the program.
    pub(crate) fn readable_path(&self) -> &str {
        if self.is_program() { "/proc/self/exe" } else { &self.path }
    }
}

/// Everything loaded right now, in load order; the program comes first.
pub(crate) fn all() -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    // SAFETY: the callback only runs during this call and `objects` outlives it; it does not unwind, since
    // `read_object` indexes nothing and allocation failure aborts.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut objects).cast::<c_void>()) };
    objects
}

/// The object that `address` lies in.
pub(crate) fn containing(address: usize) -> Option<Object> {
    all().into_iter().find(|object| object.mapped.iter().any(|range| range.contains(&address)))
}

unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
    // SAFETY: the loader hands a valid `info`, and `data` is the vector that `all` passed.
    let (info, objects) = unsafe { (&*info, &mut *data.cast::<Vec<Object>>()) };
    // SAFETY: `info` describes an object that stays mapped during the callback.
    let object = unsafe { read_object(info) };
    // The vdso and the loader's own entry have neither path nor a place in line.
    if !object.path.is_empty() || objects.is_empty() {
        objects.push(object);
    }
    0
}

/// # Safety
/// `info` must describe an object that is mapped.
unsafe fn read_object(info: &libc::dl_phdr_info) -> Object {
    let base = info.dlpi_addr as usize;
    let path = if info.dlpi_name.is_null() {
        String::new()
    } else {
        // SAFETY: the loader's names end with a zero byte.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned()
    };
    let mut object = Object {
        base,
        path,
        soname: None,
        needed: Vec::new(),
        mapped: Vec::new(),
        code: Vec::new(),
        build_id: None,
    };
    // SAFETY: `dlpi_phnum` headers lie at `dlpi_phdr`.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
    for header in headers {
        let start = base.wrapping_add(header.p_vaddr as usize);
        let range = start..start.wrapping_add(header.p_memsz as usize);
        match header.p_type {
            libc::PT_LOAD => {
                if header.p_flags & libc::PF_X != 0 {
                    object.code.push(range.clone());
                }
                object.mapped.push(range);
            }
            libc::PT_NOTE => {
                // SAFETY: the segment is mapped and readable for its whole length.
                let notes =
                    unsafe { std::slice::from_raw_parts(start as *const u8, header.p_memsz as usize) };
                object.build_id =
                    object.build_id.take().or_else(|| find_build_id(notes, header.p_align as usize));
            }
            libc::PT_DYNAMIC => {
                // SAFETY: the segment is an array of pairs that ends with `DT_NULL`.
                unsafe { read_dynamic(start as *const [usize; 2], &mut object) };
            }
            _ => {}
        }
    }
    object
}

const DT_NULL: usize = 0;
const DT_NEEDED: usize = 1;
const DT_STRTAB: usize = 5;
const DT_SONAME: usize = 14;

/// # Safety
/// `entry` must be the start of a mapped dynamic section.
unsafe fn read_dynamic(mut entry: *const [usize; 2], object: &mut Object) {
    let (mut strings, mut names, mut soname) = (0, Vec::new(), None);
    loop {
        // SAFETY: entries follow one another up to `DT_NULL`.
        let [tag, value] = unsafe { entry.read() };
        match tag {
            DT_NULL => break,
            DT_NEEDED => names.push(value),
            DT_SONAME => soname = Some(value),
            DT_STRTAB => strings = value,
            _ => {}
        }
        // SAFETY: `DT_NULL` was not reached, so another entry follows.
        entry = unsafe { entry.add(1) };
    }
    // glibc relocates this entry in place, except in the vdso, where it stays an offset.
    if strings < object.base {
        strings = strings.wrapping_add(object.base);
    }
    if !object.mapped.iter().any(|range| range.contains(&strings)) {
        return;
    }
    // SAFETY: `strings` lies in a mapped segment, and offsets from the dynamic section name strings in it.
    let text = |offset: usize| {
        unsafe { CStr::from_ptr((strings + offset) as *const _) }.to_string_lossy().into_owned()
    };
    object.needed = names.into_iter().map(text).collect();
    object.soname = soname.map(text);
}

/// The description of the note `GNU`, type 3.
fn find_build_id(mut notes: &[u8], align: usize) -> Option<Vec<u8>> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let align = if align == 8 { 8 } else { 4 };
    while notes.len() >= 12 {
        let word = |at: usize| u32::from_ne_bytes([notes[at], notes[at + 1], notes[at + 2], notes[at + 3]]);
        let (name_size, size, kind) = (word(0) as usize, word(4) as usize, word(8));
        let start = (12 + name_size).next_multiple_of(align);
        let end = start.checked_add(size)?;
        if end > notes.len() {
            return None;
        }
        if kind == NT_GNU_BUILD_ID && notes.get(12..12 + name_size) == Some(b"GNU\0") {
            return Some(notes[start..end].to_vec());
        }
        notes = notes.get(end.next_multiple_of(align)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_comes_first_and_needs_the_c_library() {
        let objects = all();
        assert!(objects[0].is_program());
        assert!(objects[0].needed.iter().any(|name| name.starts_with("libc.so")), "{:?}", objects[0].needed);
        let libc = objects.iter().find(|object| object.answers_to("libc.so.6")).expect("libc is loaded");
        assert!(
            libc.build_id.as_ref().is_some_and(|id| id.len() >= 8),
            "distributions build libc with a build id"
        );
    }

    #[test]
    fn code_is_found_in_its_object_and_data_is_not_code() {
        let function = find_build_id as fn(&[u8], usize) -> Option<Vec<u8>> as usize;
        let object = containing(function).expect("our own code is loaded");
        assert!(object.code.iter().any(|range| range.contains(&function)));
        static DATA: [u8; 4] = [1, 2, 3, 4];
        assert!(!object.code.iter().any(|range| range.contains(&(DATA.as_ptr() as usize))));
    }

    #[test]
    fn a_note_without_a_build_id_gives_none() {
        assert_eq!(find_build_id(&[0; 5], 4), None);
        let mut notes = Vec::new();
        for word in [4_u32, 2, 3] {
            notes.extend(word.to_ne_bytes());
        }
        notes.extend(b"GNU\0\xab\xcd\0\0");
        assert_eq!(find_build_id(&notes, 4), Some(vec![0xab, 0xcd]));
        notes[16..].fill(0);
        notes[8] = 9;
        assert_eq!(find_build_id(&notes, 4), None);
    }
}
