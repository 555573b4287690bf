//! Owns what the code around a cell calls: the variables that live between cells, the shown result, and the
//! probe that makes the compiler name a type. Written for generated code; people never call it.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    mem::ManuallyDrop,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

/// What a failed cell returns: `?` turns whatever can become a `Box<dyn std::error::Error>` into it.
///
/// It is no `Error` itself, so that the conversion below may be for all of them, and remembers where it was made.
pub struct Error {
    cause: Box<dyn std::error::Error>,
    location: &'static std::panic::Location<'static>,
}

impl Error {
    pub fn cause(&self) -> &dyn std::error::Error {
        self.cause.as_ref()
    }

    /// Where the `?` stands.
    pub fn location(&self) -> &'static std::panic::Location<'static> {
        self.location
    }
}

impl<E: Into<Box<dyn std::error::Error>>> From<E> for Error {
    #[track_caller]
    fn from(error: E) -> Self {
        Self { cause: error.into(), location: std::panic::Location::caller() }
    }
}

/// How a statement of a cell failed. Behind a pointer, so that cells need not know how to drop what it holds.
pub struct Failed(Box<dyn Any>);

/// See [`Failed`].
pub enum Failure {
    Error(Error),
    /// Also what an interrupt unwinds with.
    Panic(Box<dyn Any + Send>),
}

impl Failed {
    pub fn panic(payload: Box<dyn Any + Send>) -> Self {
        Self(Box::new(Failure::Panic(payload)))
    }

    fn error(error: Error) -> Self {
        Self(Box::new(Failure::Error(error)))
    }

    pub fn failure(self) -> Failure {
        *self.0.downcast().expect("both constructors hold a failure")
    }
}

/// What a cell's function gives back.
pub type Ended = Result<(), Failed>;

/// Runs one statement of a cell, so that its failure leaves the variables of the statements before it alone.
///
/// # Errors
/// If it panics, or a `?` in it returns.
pub fn step<T>(statement: impl FnOnce() -> Result<T, Error>) -> Result<T, Failed> {
    // Whatever is generic here is compiled again for every statement of every cell.
    let (mut statement, mut made) = (Some(statement), None);
    catch(&mut || {
        if let Some(statement) = statement.take() {
            made = Some(statement());
        }
    })?;
    // What comes after a sleep must not run because the sleep was cut short.
    if crate::session::interrupted() && crate::session::wait_was_cut() {
        return Err(Failed::panic(Box::new(Interrupted)));
    }
    match made {
        Some(Ok(made)) => Ok(made),
        Some(Err(error)) => Err(Failed::error(error)),
        None => not_made(),
    }
}

fn catch(statement: &mut dyn FnMut()) -> Result<(), Failed> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(statement)).map_err(Failed::panic)
}

#[cold]
fn not_made() -> ! {
    unreachable!("a statement that did not panic has a result")
}

thread_local! {
    // Never dropped: a cell that ends the process must not end the clusters that outlive it.
    static VARIABLES: RefCell<ManuallyDrop<BTreeMap<String, Box<dyn Any>>>> =
        const { RefCell::new(ManuallyDrop::new(BTreeMap::new())) };
    static SHOWN: RefCell<Option<Vec<(String, String)>>> = const { RefCell::new(None) };
    static COMPLETED: Cell<u32> = const { Cell::new(0) };
}

/// Records that so many statements of the cell ran to their end.
pub fn completed(count: u32) {
    COMPLETED.set(count);
}

/// How many statements of the last cell ran to their end, as far as it said so.
pub fn take_completed() -> u32 {
    COMPLETED.take()
}

/// Takes variable `name` out of the store; the glue puts it back unless the cell moved it.
///
/// # Panics
/// If there is none of this name and type, which the evaluator rules out before it runs the cell.
pub fn take<T: 'static>(name: &str) -> T {
    match take_any(name).downcast::<T>() {
        Ok(value) => *value,
        Err(_) => of_another_type(name),
    }
}

fn take_any(name: &str) -> Box<dyn Any> {
    let value = VARIABLES.with_borrow_mut(|variables| variables.remove(name));
    value.unwrap_or_else(|| panic!("variable `{name}` is gone: an earlier cell moved it and failed"))
}

#[cold]
fn of_another_type(name: &str) -> ! {
    panic!("variable `{name}` is of another type than the kernel recorded; define it again")
}

/// Stores a variable, replacing one of the same name.
pub fn put<T: 'static>(name: &str, value: T) {
    put_any(name, Box::new(value));
}

fn put_any(name: &str, value: Box<dyn Any>) {
    // What it replaces may be asked for variables while it is dropped.
    let before = VARIABLES.with_borrow_mut(|variables| variables.insert(name.to_owned(), value));
    drop(before);
}

/// Stores an earlier cell's variable again unless this cell bound the name anew.
pub fn put_back<T: 'static>(name: &str, value: T) {
    put_back_any(name, Box::new(value));
}

fn put_back_any(name: &str, value: Box<dyn Any>) {
    VARIABLES.with_borrow_mut(|variables| {
        variables.entry(name.to_owned()).or_insert(value);
    });
}

pub use crate::{recast::migrate, timing::time_it};

/// Puts what `change` makes of variable `name` in its place.
pub(crate) fn replace(name: &str, change: &mut dyn FnMut(Box<dyn Any>) -> Box<dyn Any>) {
    VARIABLES.with_borrow_mut(|variables| {
        if let Some(value) = variables.remove(name) {
            variables.insert(name.to_owned(), change(value));
        }
    });
}

/// What a loop unwinds with when the person interrupts.
pub struct Interrupted;

/// Put into the loops of a cell: ends the cell if the person interrupts. Unwinds without a panic's message.
#[inline]
pub fn check() {
    if crate::session::interrupted() {
        stop_if_meant();
    }
}

#[cold]
fn stop_if_meant() {
    if crate::session::is_meant() {
        stop();
    }
}

#[cold]
fn stop() -> ! {
    std::panic::resume_unwind(Box::new(Interrupted))
}

/// Names of the stored variables.
pub fn names() -> Vec<String> {
    VARIABLES.with_borrow(|variables| variables.keys().cloned().collect())
}

/// Forgets variable `name`; forgetting what is gone succeeds.
pub fn forget(name: &str) {
    let value = VARIABLES.with_borrow_mut(|variables| variables.remove(name));
    drop(value);
}

/// What the cell's last expression was shown as: pairs of media type and data.
pub fn take_shown() -> Option<Vec<(String, String)>> {
    SHOWN.with_borrow_mut(Option::take)
}

/// Implemented for nothing, so that the compiler's complaint names the type of a new variable.
pub trait Reveal {}

/// See [`Reveal`].
pub fn reveal<T: Reveal + ?Sized>(_: &T) {}

/// Chooses how a result is shown, by which `show` the compiler finds first: rich, then `Debug`, then its type alone.
pub struct Shown<'a, T: ?Sized>(pub &'a T);

fn record(bundle: Vec<(String, String)>) {
    SHOWN.with_borrow_mut(|shown| *shown = Some(bundle));
}

/// What [`EvcxrDisplay`] gives for a type that has no such method of its own.
pub struct Unshown;

/// Stands in where a type has no method `evcxr_display`. One of its own is found first, and shows the value by printing
/// what the kernel understands: the convention of evcxr's display crates.
pub trait EvcxrDisplay {
    fn evcxr_display(&self) -> Unshown {
        Unshown
    }
}

impl<T: ?Sized> EvcxrDisplay for &T {}

/// Whether the stand-in was called.
pub fn is_unshown<R>(_: &R) -> bool {
    std::any::type_name::<R>() == std::any::type_name::<Unshown>()
}

/// A type with views of its own.
pub trait ShowRich {
    fn show(&self);
}

impl<T: crate::display::Display + ?Sized> ShowRich for &&&Shown<'_, T> {
    fn show(&self) {
        record(self.0.mime_bundle());
    }
}

/// A type that can be printed for programmers.
pub trait ShowDebug {
    fn show(&self);
}

impl<T: std::fmt::Debug + ?Sized> ShowDebug for &&Shown<'_, T> {
    fn show(&self) {
        record_debug(&self.0);
    }
}

fn record_debug(value: &dyn std::fmt::Debug) {
    // One line where it fits, as people expect of numbers and short vectors.
    let short = format!("{value:?}");
    let text = if short.len() <= 100 { short } else { format!("{value:#?}") };
    if text != "()" {
        record(vec![("text/plain".to_owned(), text)]);
    }
}

/// Anything else.
pub trait ShowType {
    fn show(&self);
}

impl<T: ?Sized> ShowType for &Shown<'_, T> {
    fn show(&self) {
        record_type(std::any::type_name::<T>());
    }
}

fn record_type(name: &str) {
    record(vec![("text/plain".to_owned(), format!("<{name}>"))]);
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a cell's `async` block to its end on this thread.
///
/// # Errors
/// Whatever the block returns.
pub fn block_on<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return result;
        }
        if crate::session::interrupted() {
            stop();
        }
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
}
