//! Owns what happens when code in this process sleeps, reads its standard input, prints, or starts a thread. The standard
//! library is a shared one, so it calls the functions of these names here in the place of the C library's:
//!
//! - a sleep of the running cell ends with an interrupt; what follows it does not run (`nuna::cell::step`);
//! - waiting for a program that the interrupt has ended counts as such a sleep;
//! - standard input is the notebook's input field;
//! - what is printed is marked with the cell that started the thread which prints it (`streams` reads the marks);
//! - a thread inherits the cell of the one that starts it.
//!
//! Nothing here unwinds: the callers are declared as functions of C.

#![expect(unsafe_code, reason = "these stand in for functions of the C library")]

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use libc::{iovec, size_t, ssize_t, timespec};
use nuna::session;
use nuna_kernel::evaluator::streams::{End, Mark, Stream};

use crate::questions;

/// How long a sleep goes on before it looks for an interrupt.
const LOOK_NANOSECONDS: i64 = 50_000_000;

/// What was printed last, and the marks so far.
struct Marks {
    nonce: String,
    sequence: u64,
    last: Option<(Stream, u64)>,
}

static MARKS: OnceLock<Mutex<Marks>> = OnceLock::new();

thread_local! {
    /// This thread holds the marks: a stack that overflows there prints without them.
    static PRINTING: Cell<bool> = const { Cell::new(false) };
}

/// From now on prints are marked.
pub(crate) fn mark_prints(nonce: String) {
    let _ = MARKS.set(Mutex::new(Marks { nonce, sequence: 0, last: None }));
}

/// Says in both pipes that what follows is printed for this thread's request: programs that it starts write no marks.
pub(crate) fn begin_order() {
    print(Stream::Stderr, None, &[]);
    print(Stream::Stdout, None, &[]);
}

/// Says in the pipes that all that was printed for what is done stands before.
pub(crate) fn end(end: End) {
    print(Stream::Stdout, Some(end), &[]);
}

/// Writes to one of the two pipes, after a mark if one is due.
fn print(stream: Stream, end: Option<End>, parts: &[iovec]) -> ssize_t {
    let fd = descriptor(stream);
    let Some(marks) = MARKS.get().filter(|_| !PRINTING.get()) else { return write_raw(fd, parts) };
    PRINTING.set(true);
    let mut marks = marks.lock().unwrap_or_else(PoisonError::into_inner);
    let parent = session::parent();
    if end.is_some() || marks.last != Some((stream, parent)) {
        marks.sequence += 1;
        let mark = Mark { sequence: marks.sequence, parent, end }.bytes(&marks.nonce);
        marks.last = Some((stream, parent));
        let mut rest = mark.as_slice();
        while !rest.is_empty() {
            let part = iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
            match write_raw(fd, &[part]) {
                count if count > 0 => rest = &rest[count.unsigned_abs().min(rest.len())..],
                _ if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
                // Nobody reads any more.
                _ => break,
            }
        }
    }
    let written = if end.is_some() { 0 } else { write_raw(fd, parts) };
    drop(marks);
    PRINTING.set(false);
    written
}

fn descriptor(stream: Stream) -> c_int {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    }
}

fn stream(fd: c_int) -> Option<Stream> {
    match fd {
        1 => Some(Stream::Stdout),
        2 => Some(Stream::Stderr),
        _ => None,
    }
}

fn write_raw(fd: c_int, parts: &[iovec]) -> ssize_t {
    // SAFETY: the parts are what the caller of `write` or `writev` gave; the kernel checks their addresses.
    unsafe { libc::syscall(libc::SYS_writev, fd, parts.as_ptr(), parts.len()) as ssize_t }
}

/// # Safety
/// As `write(2)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn write(fd: c_int, data: *const c_void, count: size_t) -> ssize_t {
    let Some(stream) = stream(fd) else {
        // SAFETY: the caller's promise.
        return unsafe { libc::syscall(libc::SYS_write, fd, data, count) as ssize_t };
    };
    if stream == Stream::Stdout && count > 0 && count <= questions::REQUEST_BYTES_MAX && !data.is_null() {
        // SAFETY: the caller's promise: `count` bytes can be read.
        let text = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), count) };
        // What evcxr's input crate prints is a question, not a print.
        if let Some(before) = questions::request(text) {
            if before > 0 {
                print(stream, None, &[iovec { iov_base: data.cast_mut(), iov_len: before }]);
            }
            return count.cast_signed();
        }
    }
    print(stream, None, &[iovec { iov_base: data.cast_mut(), iov_len: count }])
}

/// # Safety
/// As `writev(2)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    match (stream(fd), usize::try_from(count)) {
        (Some(stream), Ok(length @ 1..=1024)) => {
            // SAFETY: the caller's promise: `count` parts can be read.
            print(stream, None, unsafe { std::slice::from_raw_parts(parts, length) })
        }
        // SAFETY: the caller's promise.
        _ => unsafe { libc::syscall(libc::SYS_writev, fd, parts, count) as ssize_t },
    }
}

/// # Safety
/// As `read(2)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn read(fd: c_int, data: *mut c_void, count: size_t) -> ssize_t {
    if fd != 0 || count == 0 || data.is_null() {
        // SAFETY: the caller's promise.
        return unsafe { libc::syscall(libc::SYS_read, fd, data, count) as ssize_t };
    }
    // SAFETY: the caller's promise: `count` bytes can be written.
    let buffer = unsafe { std::slice::from_raw_parts_mut(data.cast::<u8>(), count) };
    match questions::read(buffer) {
        Ok(count) => count.cast_signed(),
        Err(code) => {
            // SAFETY: the address of this thread's own error number.
            unsafe { *libc::__errno_location() = code };
            -1
        }
    }
}

/// # Safety
/// As `readv(2)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    if fd != 0 || count < 1 || parts.is_null() {
        // SAFETY: the caller's promise.
        return unsafe { libc::syscall(libc::SYS_readv, fd, parts, count) as ssize_t };
    }
    // SAFETY: the caller's promise; a read may give less than was asked for, so one part is enough.
    unsafe { read(fd, (*parts).iov_base, (*parts).iov_len) }
}

/// # Safety
/// As `nanosleep(2)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nanosleep(request: *const timespec, remaining: *mut timespec) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { clock_nanosleep(libc::CLOCK_MONOTONIC, 0, request, remaining) } {
        0 => 0,
        code => {
            // SAFETY: the address of this thread's own error number.
            unsafe { *libc::__errno_location() = code };
            -1
        }
    }
}

/// # Safety
/// As `clock_nanosleep(2)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_nanosleep(
    clock: libc::clockid_t,
    flags: c_int,
    request: *const timespec,
    remaining: *mut timespec,
) -> c_int {
    // Threads of the libraries, and of earlier cells, sleep as long as they please.
    let running = session::running();
    if running == 0 || session::parent() != running || request.is_null() {
        // SAFETY: the caller's promise.
        return unsafe { sleep_raw(clock, flags, request, remaining) };
    }
    let now = || {
        let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is ours.
        unsafe { libc::clock_gettime(clock, &raw mut now) };
        now
    };
    // SAFETY: the caller's promise; it is not null.
    let request = unsafe { *request };
    if !(0..1_000_000_000).contains(&request.tv_nsec) || request.tv_sec < 0 {
        return libc::EINVAL;
    }
    let end = if flags & libc::TIMER_ABSTIME == 0 { later(now(), request) } else { request };
    loop {
        // Someone else's cell may have begun meanwhile: then this thread has nothing to do with its interrupt.
        if session::interrupted() && session::running() == running {
            session::cut_wait();
            return 0;
        }
        let look = later(now(), timespec { tv_sec: 0, tv_nsec: LOOK_NANOSECONDS });
        let last = (end.tv_sec, end.tv_nsec) <= (look.tv_sec, look.tv_nsec);
        let until = if last { end } else { look };
        // SAFETY: `until` is ours; an absolute sleep writes no remaining time.
        match unsafe { sleep_raw(clock, libc::TIMER_ABSTIME, &raw const until, std::ptr::null_mut()) } {
            0 if last => return 0,
            0 | libc::EINTR => {}
            code => return code,
        }
    }
}

/// # Safety
/// As `waitpid(2)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn waitpid(id: libc::pid_t, status: *mut c_int, options: c_int) -> libc::pid_t {
    let mut found: c_int = 0;
    let nothing = std::ptr::null_mut::<c_void>();
    // SAFETY: `found` is ours.
    let ended =
        unsafe { libc::syscall(libc::SYS_wait4, id, &raw mut found, options, nothing) as libc::pid_t };
    if !status.is_null() {
        // SAFETY: the caller's promise; it is not null.
        unsafe { *status = found };
    }
    // A program that ended with the interrupt did not do what the cell waited for. This process may learn of the
    // interrupt a moment later than the program.
    if ended > 0 && libc::WIFSIGNALED(found) && libc::WTERMSIG(found) == libc::SIGINT {
        let running = session::running();
        if running != 0 && session::parent() == running {
            let moment = timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            for _ in 0..20 {
                if session::interrupted() {
                    session::cut_wait();
                    break;
                }
                // SAFETY: `moment` is ours.
                unsafe { sleep_raw(libc::CLOCK_MONOTONIC, 0, &raw const moment, std::ptr::null_mut()) };
            }
        }
    }
    ended
}

fn later(from: timespec, by: timespec) -> timespec {
    let nanoseconds = from.tv_nsec + by.tv_nsec;
    timespec {
        tv_sec: from.tv_sec.saturating_add(by.tv_sec).saturating_add(nanoseconds / 1_000_000_000),
        tv_nsec: nanoseconds % 1_000_000_000,
    }
}

/// # Safety
/// As `clock_nanosleep(2)`.
unsafe fn sleep_raw(
    clock: libc::clockid_t,
    flags: c_int,
    request: *const timespec,
    remaining: *mut timespec,
) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { libc::syscall(libc::SYS_clock_nanosleep, clock, flags, request, remaining) } {
        0 => 0,
        // The function gives the error itself, the system call sets it.
        _ => std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINTR),
    }
}

type Routine = extern "C" fn(*mut c_void) -> *mut c_void;
type Create =
    unsafe extern "C" fn(*mut libc::pthread_t, *const libc::pthread_attr_t, Routine, *mut c_void) -> c_int;

struct Start {
    routine: Routine,
    argument: *mut c_void,
    parent: u64,
}

/// The C library's `pthread_create`, once it was looked up.
static CREATE: AtomicUsize = AtomicUsize::new(0);

fn create() -> Option<Create> {
    let mut address = CREATE.load(Ordering::Relaxed);
    if address == 0 {
        // SAFETY: the name ends with a zero.
        address = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) } as usize;
        CREATE.store(address, Ordering::Relaxed);
    }
    // SAFETY: the next library after this program that has the name is the C library, which gives it this type.
    (address != 0).then(|| unsafe { std::mem::transmute::<usize, Create>(address) })
}

/// # Safety
/// As `pthread_create(3)`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    routine: Routine,
    argument: *mut c_void,
) -> c_int {
    let Some(create) = create() else { return libc::EAGAIN };
    let start = Box::into_raw(Box::new(Start { routine, argument, parent: session::parent() }));
    // SAFETY: the caller's promise; the new thread owns `start`, and if there is none we do.
    let code = unsafe { create(thread, attributes, begin, start.cast()) };
    if code != 0 {
        // SAFETY: no thread has taken it.
        drop(unsafe { Box::from_raw(start) });
    }
    code
}

extern "C" fn begin(start: *mut c_void) -> *mut c_void {
    // SAFETY: `pthread_create` above made it for this thread alone.
    let start = *unsafe { Box::from_raw(start.cast::<Start>()) };
    session::set_parent(start.parent);
    (start.routine)(start.argument)
}
