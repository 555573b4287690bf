//! Owns values that the processes of one user and host read from one piece of memory: a file without a name that nobody can
//! write to any more, not even whoever made it. Others of the same user open it through the process that has it, and map it
//! read-only; the system frees it with the last of them. Another user can neither open it nor put another in its place: the
//! way to it leads through a connection on which both sides have asked the system for each other's user, and what is opened is
//! compared with what was promised.
#![expect(unsafe_code, reason = "memory that the system maps")]

use std::{
    collections::HashMap,
    ffi::c_void,
    fs::File,
    io::{self, Write},
    num::NonZeroUsize,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    ptr::NonNull,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    libc,
    sys::memfd::{MFdFlags, memfd_create},
};
use nuna_plan::Value;
use nuna_ship::scatter::SHARED;
use nuna_wire::message::Shared;

/// Smaller values are sent: a file costs a descriptor in each process, and the system some work.
const LEAST: usize = 1 << 20;
/// Of a process at once; it has other uses for its descriptors.
const SEALED_MAX: usize = 256;

/// A sealed file and where it is mapped.
struct Sealed {
    file: File,
    address: NonNull<c_void>,
    length: NonZeroUsize,
}

// SAFETY: the mapping is read-only, and sealed files never change; it is this value's alone to unmap.
unsafe impl Send for Sealed {}
// SAFETY: as above.
unsafe impl Sync for Sealed {}

/// What this process has mapped, by address.
static MAPPED: Mutex<Option<HashMap<usize, Weak<Sealed>>>> = Mutex::new(None);

struct Owner(Arc<Sealed>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: so much is mapped for as long as the value lives, and its file cannot be written to or cut.
        unsafe { std::slice::from_raw_parts(self.0.address.as_ptr().cast(), self.0.length.get()) }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        mapped().as_mut().map(|mapped| mapped.remove(&(self.address.as_ptr() as usize)));
        // SAFETY: it was mapped so, and nobody has a reference any more.
        unsafe { libc::munmap(self.address.as_ptr(), self.length.get()) };
    }
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL
}

/// The same bytes in sealed memory.
///
/// # Errors
/// If there is not so much memory, or too many files are sealed already.
fn seal(bytes: &[u8]) -> io::Result<Bytes> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"nuna-value", flags)?);
    file.write_all(bytes)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
    map(file, bytes.len())
}

/// The value, in sealed memory if it is a large one that many processes read.
pub(crate) fn shareable(mut value: Value) -> Value {
    if &*value.header == SHARED && value.body.len() >= LEAST && describe(&value.body).is_none() {
        match seal(&value.body) {
            Ok(body) => value.body = body,
            Err(error) => {
                tracing::warn!(%error, bytes = value.body.len(), "a value cannot be shared, and is sent");
            }
        }
    }
    value
}

/// What others need to open these bytes, if they are all of a sealed file of this process.
pub(crate) fn describe(bytes: &Bytes) -> Option<Shared> {
    let sealed = mapped().as_ref()?.get(&(bytes.as_ptr() as usize))?.upgrade()?;
    if sealed.length.get() != bytes.len() {
        return None;
    }
    Some(Shared {
        descriptor: sealed.file.as_raw_fd(),
        inode: sealed.file.metadata().ok()?.ino(),
        length: bytes.len() as u64,
    })
}

/// The bytes that another process of this user has described. None if they cannot be had this way: it is in a container of its
/// own, has given the value up in the meantime, or is not what it seems.
pub(crate) fn open(pid: u32, shared: &Shared) -> Option<Bytes> {
    let opened = open_sealed(pid, shared);
    opened.inspect_err(|error| tracing::debug!(%error, ?shared, "a value is sent instead of shared")).ok()
}

fn open_sealed(pid: u32, shared: &Shared) -> io::Result<Bytes> {
    // Whatever that number is by now, opening it must neither wait nor do anything.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let path = format!("/proc/{pid}/fd/{}", shared.descriptor);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let sealed = fcntl(&file, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
    let own = metadata.uid() == nix::unistd::geteuid().as_raw();
    let same = metadata.ino() == shared.inode && metadata.len() == shared.length;
    if !own || !same || !sealed.is_ok_and(|sealed| sealed.contains(seals())) {
        return Err(io::Error::other("it is another file, or not sealed"));
    }
    let length = usize::try_from(shared.length).map_err(io::Error::other)?;
    map(file, length)
}

fn map(file: File, length: usize) -> io::Result<Bytes> {
    let length = NonZeroUsize::new(length).ok_or_else(|| io::Error::other("it is empty"))?;
    let mut mapped = mapped();
    let mapped = mapped.get_or_insert_default();
    if mapped.len() >= SEALED_MAX {
        return Err(io::Error::other("too many files are mapped"));
    }
    // SAFETY: a new mapping of a file that is open, at an address that the system chooses.
    let address = unsafe {
        libc::mmap(std::ptr::null_mut(), length.get(), libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let address = NonNull::new(address).ok_or_else(|| io::Error::other("mapped nowhere"))?;
    let sealed = Arc::new(Sealed { file, address, length });
    mapped.insert(address.as_ptr() as usize, Arc::downgrade(&sealed));
    Ok(Bytes::from_owner(Owner(sealed)))
}

fn mapped() -> MutexGuard<'static, Option<HashMap<usize, Weak<Sealed>>>> {
    MAPPED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> u32 {
        std::process::id()
    }

    fn body(byte: u8) -> Vec<u8> {
        vec![byte; LEAST]
    }

    #[test]
    fn sealed_bytes_are_opened_by_their_description_and_are_the_same_memory() {
        let sealed = seal(&body(7)).unwrap();
        let shared = describe(&sealed).unwrap();
        let opened = open(own(), &shared).unwrap();
        assert_eq!(opened, body(7));
        assert_ne!(opened.as_ptr(), sealed.as_ptr(), "mapped once more");
        let again = describe(&opened).unwrap();
        assert_eq!(
            (again.inode, again.length),
            (shared.inode, shared.length),
            "it is handed on as the same file"
        );
        drop(sealed);
        assert_eq!(opened, body(7), "it lives on with whoever has it");
        assert_eq!(describe(&opened.slice(1..)), None);
        assert_eq!(describe(&Bytes::from(body(7))), None);
    }

    #[test]
    fn nobody_can_write_to_what_is_sealed() {
        let sealed = seal(&body(7)).unwrap();
        let shared = describe(&sealed).unwrap();
        let path = format!("/proc/self/fd/{}", shared.descriptor);
        let written = File::options().write(true).open(path).and_then(|mut file| file.write_all(b"evil"));
        assert!(written.is_err());
        assert_eq!(sealed, body(7));
    }

    #[test]
    fn other_files_and_those_that_are_not_sealed_are_refused() {
        let sealed = seal(&body(7)).unwrap();
        let shared = describe(&sealed).unwrap();
        assert!(open(own(), &Shared { inode: shared.inode + 1, ..shared }).is_none());
        assert!(open(own(), &Shared { length: shared.length + 4096, ..shared }).is_none());
        assert!(open(own(), &Shared { descriptor: -1, ..shared }).is_none());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&body(1)).unwrap();
        let inode = file.metadata().unwrap().ino();
        let descriptor = file.as_raw_fd();
        assert!(open(own(), &Shared { descriptor, inode, length: LEAST as u64 }).is_none());
        drop(sealed);
        assert!(open(own(), &shared).is_none(), "it went with its last user");
    }

    #[test]
    fn what_would_wait_for_somebody_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let pipe = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
        let inode = pipe.metadata().unwrap().ino();
        let descriptor = pipe.as_raw_fd();
        assert!(open(own(), &Shared { descriptor, inode, length: LEAST as u64 }).is_none());
    }

    #[test]
    fn only_large_values_that_many_read_are_sealed() {
        let value = |header: &'static [u8], bytes: usize| {
            shareable(Value { header: Bytes::from_static(header), body: Bytes::from(vec![7; bytes]) })
        };
        assert!(describe(&value(SHARED, LEAST).body).is_some());
        assert!(describe(&value(SHARED, LEAST - 1).body).is_none());
        assert!(describe(&value(b"", LEAST).body).is_none());
    }
}
