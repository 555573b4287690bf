//! Owns the only place where foreign code enters the process: verified bytes into a sealed memory file, then `dlopen`.

use std::{
    ffi::{CStr, CString},
    io::{self, Write},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::objects::{self, Object};

/// Loads a shared library from memory, for the life of the process. The caller has checked whose bytes these are.
pub(crate) fn load(name: &str, bytes: &[u8]) -> Result<Object, String> {
    let file = memory_file(name, bytes).map_err(|error| format!("no memory file for it: {error}"))?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // The loader recognises a path it has seen. Were the descriptor closed, its number and with it the path
    // would come again for another library, and the loader would hand out this one.
    std::mem::forget(file);
    let c_path = CString::new(path.clone()).map_err(|error| error.to_string())?;
    // SAFETY: `c_path` is a string; the library's initialisers are ours or the user's own code, which is what
    // the user asked to run. Names stay local to it and its dependencies.
    let handle = unsafe { libc::dlopen(c_path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if handle.is_null() {
        return Err(last_error());
    }
    // Never `dlclose`d: results, panics and thread-locals may point into its code for as long as the process lives.
    objects::all()
        .into_iter()
        .rev()
        .find(|object| object.path == path)
        .ok_or_else(|| format!("the loader does not list {path} after loading it"))
}

fn memory_file(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    // SAFETY: `name` is a string; the flags are constants.
    let raw = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else owns it.
    let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(raw) });
    file.write_all(bytes)?;
    // What was verified is what runs: nobody can write to it any more, not even through /proc.
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: a plain fcntl on a descriptor we own.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file.into())
}

fn last_error() -> String {
    // SAFETY: `dlerror` returns null or a string that is valid until the next call on this thread.
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return "the loader gives no reason".to_owned();
    }
    // SAFETY: as above; it is copied at once.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_that_are_no_library_are_refused_with_the_loaders_words() {
        let error = super::load("nonsense", b"not an object").unwrap_err();
        assert!(error.contains("file too short") || error.contains("invalid ELF header"), "{error}");
    }
}
