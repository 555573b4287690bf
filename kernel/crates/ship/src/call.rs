//! Owns [`Call`]: a closure on its way, and the functions that are monomorphised beside each closure to wake it up.
//!
//! Two shapes of closure travel: over tasks (`Fn(&E, P) -> Result<R, String>`) and over blocks
//! (`Fn(&E, u64, &[Value]) -> Result<Value, TaskError>`); both may bring a serialised environment `E`.

use std::{marker::PhantomData, mem::MaybeUninit};

use bytes::Bytes;
use nuna_plan::{LibraryId, TaskError, Value};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{build_id, error::ShipError, libraries, marker::Ship, objects, panics};

/// A closure as data. Valid wherever the build id is the same and its libraries are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// What it is called in messages: the closure's type name.
    pub name: String,
    home: Home,
    /// From the home's base to the function that wakes it up.
    offset: u64,
    shape: Shape,
    /// The closure's own bytes.
    captures: Bytes,
    /// What it is given by reference at each call, as `postcard`.
    environment: Bytes,
    /// What must be loaded before the home, in order.
    dependencies: Vec<LibraryId>,
}

/// Where a closure's code is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Home {
    /// In the runtime library, which every process has.
    Runtime,
    /// In a library that travels, such as a cell's.
    Library(LibraryId),
    /// In a program; runs only in processes of that very program.
    Program { path: String, contents: LibraryId },
}

/// Which kind of function sits at the offset. Checked before the address is used as that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Shape {
    Tasks,
    Blocks,
    /// Blocks without an environment: the function is run itself, there is nothing to wake.
    PlainBlocks,
}

impl Shape {
    fn over(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Blocks | Self::PlainBlocks => "blocks",
        }
    }
}

/// A closure over blocks, awake in this process.
pub trait Blocks: Send + Sync {
    /// Runs it on the values of one block. A panic comes back as an error.
    ///
    /// # Errors
    /// What the closure returned, or what it panicked with.
    fn run(&self, block: u64, inputs: &[Value]) -> Result<Value, TaskError>;
}

/// A closure over parameters, awake in this process.
pub(crate) trait TaskRoutine: Send + Sync {
    /// Takes one parameter from the front of `input` and appends its result to `output`.
    fn run(&self, input: &mut &[u8], output: &mut Vec<u8>) -> Result<(), TaskFault>;

    /// Takes one parameter from the front of `input` without a call, and says what it is.
    fn skip(&self, input: &mut &[u8]) -> Result<String, TaskFault>;
}

/// One task that did not return a result.
#[derive(Clone)]
pub(crate) struct TaskFault {
    pub(crate) message: String,
    pub(crate) location: Option<String>,
    /// The parameter as JSON, shortened.
    pub(crate) parameter: String,
    pub(crate) cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The parameter's bytes make no sense, so nobody knows where the next one begins.
    Unreadable,
    Panicked,
    Failed,
    TimedOut,
    /// The call took so long that nobody waits for it any more.
    Left,
}

impl TaskFault {
    pub(crate) fn left() -> Self {
        TaskFault {
            message: "nobody waits for it any more".to_owned(),
            location: None,
            parameter: String::new(),
            cause: Cause::Left,
        }
    }
}

type WakeTasks = fn(&[u8], &[u8]) -> Result<Box<dyn TaskRoutine>, String>;
type WakeBlocks = fn(&[u8], &[u8]) -> Result<Box<dyn Blocks>, String>;
type RunBlocks = fn(&[u8], u64, &[Value]) -> Result<Value, TaskError>;

impl Call {
    /// Packs a closure that maps a block's number and inputs to its value.
    ///
    /// # Errors
    /// If the closure's library cannot be found or read.
    pub fn over_blocks<F>(closure: F) -> Result<Self, ShipError>
    where
        F: Fn(u64, &[Value]) -> Result<Value, TaskError> + Copy + Ship + 'static,
    {
        let run: RunBlocks = run_blocks::<F>;
        Self::pack(std::any::type_name::<F>(), run as usize, Shape::PlainBlocks, bytes_of(&closure), &[])
    }

    /// The same for a closure that also needs what cannot travel as bytes: `environment` is serialised once, and
    /// the closure is lent its copy at each call.
    ///
    /// # Errors
    /// As [`over_blocks`](Self::over_blocks), and if `environment` cannot be serialised.
    pub fn over_blocks_with<E, F>(environment: &E, closure: F) -> Result<Self, ShipError>
    where
        E: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Fn(&E, u64, &[Value]) -> Result<Value, TaskError> + Copy + Ship + 'static,
    {
        let wake: WakeBlocks = wake_blocks::<E, F>;
        Self::pack(
            std::any::type_name::<F>(),
            wake as usize,
            Shape::Blocks,
            bytes_of(&closure),
            &to_bytes(environment, std::any::type_name::<F>())?,
        )
    }

    /// Packs a closure that maps a parameter to a result.
    ///
    /// # Errors
    /// If the closure's library cannot be found or read.
    pub fn over_tasks<P, R, F>(closure: F) -> Result<Self, ShipError>
    where
        P: Serialize + DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(P) -> R + Copy + Ship + 'static,
    {
        let call =
            Self::over_tasks_with(&(), move |(): &(), parameter: P| Ok::<R, String>(closure(parameter)))?;
        Ok(Call { name: std::any::type_name::<F>().to_owned(), ..call })
    }

    /// The same with a serialised environment, and with failure as a value.
    ///
    /// # Errors
    /// As [`over_tasks`](Self::over_tasks), and if `environment` cannot be serialised.
    pub fn over_tasks_with<E, P, R, F>(environment: &E, closure: F) -> Result<Self, ShipError>
    where
        E: Serialize + DeserializeOwned + Send + Sync + 'static,
        P: Serialize + DeserializeOwned + 'static,
        R: Serialize + 'static,
        F: Fn(&E, P) -> Result<R, String> + Copy + Ship + 'static,
    {
        let wake: WakeTasks = wake_tasks::<E, P, R, F>;
        Self::pack(
            std::any::type_name::<F>(),
            wake as usize,
            Shape::Tasks,
            bytes_of(&closure),
            &to_bytes(environment, std::any::type_name::<F>())?,
        )
    }

    fn pack(
        name: &str,
        address: usize,
        shape: Shape,
        captures: Vec<u8>,
        environment: &[u8],
    ) -> Result<Self, ShipError> {
        let object = objects::containing(address).ok_or(ShipError::NoHome { address })?;
        let (home, dependencies) = if object.base == build_id::runtime().base {
            (Home::Runtime, Vec::new())
        } else {
            let contents = libraries::register_object(&object)?;
            let dependencies = libraries::loaded_dependencies(contents);
            if object.is_program() {
                (Home::Program { path: program_path(), contents }, dependencies)
            } else {
                (Home::Library(contents), dependencies)
            }
        };
        Ok(Call {
            name: name.to_owned(),
            home,
            offset: (address - object.base) as u64,
            shape,
            captures: captures.into(),
            environment: Bytes::copy_from_slice(environment),
            dependencies,
        })
    }

    /// Where its code is.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What a worker must have loaded to run it, in loading order: for [`nuna_plan::Work::libraries`].
    pub fn libraries(&self) -> Vec<LibraryId> {
        let mut libraries = self.dependencies.clone();
        if let Home::Library(id) = self.home {
            libraries.push(id);
        }
        libraries
    }

    /// Wakes up a closure over blocks.
    ///
    /// # Errors
    /// If its library is not here, or does not hold what the call says.
    pub fn open(&self) -> Result<Box<dyn Blocks>, ShipError> {
        if self.shape == Shape::PlainBlocks {
            let address = self.address(Shape::PlainBlocks)?;
            // SAFETY: as below.
            let run = unsafe { std::mem::transmute::<usize, RunBlocks>(address) };
            return Ok(Box::new(Plain { run, captures: self.captures.clone() }));
        }
        let address = self.address(Shape::Blocks)?;
        // SAFETY: `address` checked that it lies in code of an object with the contents the sender had, and that
        // the sender took it from a function of this shape; equal build ids make the signatures the same.
        let wake = unsafe { std::mem::transmute::<usize, WakeBlocks>(address) };
        self.wake(|| wake(&self.captures, &self.environment))
    }

    /// Wakes up a closure over tasks.
    pub(crate) fn open_tasks(&self) -> Result<Box<dyn TaskRoutine>, ShipError> {
        let address = self.address(Shape::Tasks)?;
        // SAFETY: as in `open`.
        let wake = unsafe { std::mem::transmute::<usize, WakeTasks>(address) };
        self.wake(|| wake(&self.captures, &self.environment))
    }

    fn wake<T>(&self, wake: impl FnOnce() -> Result<T, String>) -> Result<T, ShipError> {
        // The environment's `Deserialize` is the user's code too.
        let woken = panics::catch(wake).unwrap_or_else(|panicked| Err(panicked.to_string()));
        woken.map_err(|message| ShipError::Unpack { name: self.name.clone(), message })
    }

    fn address(&self, shape: Shape) -> Result<usize, ShipError> {
        if self.shape != shape {
            let message = format!("it is a closure over {}, not over {}", self.shape.over(), shape.over());
            return Err(ShipError::Unpack { name: self.name.clone(), message });
        }
        let object = match &self.home {
            Home::Runtime => build_id::runtime().clone(),
            Home::Library(id) => libraries::object(*id).ok_or(ShipError::Missing { library: *id })?,
            Home::Program { path, contents } => objects::all()
                .into_iter()
                .find(objects::Object::is_program)
                .filter(|program| libraries::register_object(program).is_ok_and(|id| id == *contents))
                .ok_or_else(|| ShipError::OtherProgram { name: self.name.clone(), program: path.clone() })?,
        };
        let address = object.base.wrapping_add(self.offset as usize);
        if object.code.iter().any(|range| range.contains(&address)) {
            Ok(address)
        } else {
            let home = format!("{:?}", self.home);
            Err(ShipError::NoCode { name: self.name.clone(), offset: self.offset, home })
        }
    }
}

fn program_path() -> String {
    std::env::current_exe().map_or_else(|_| "of the sender".to_owned(), |path| path.display().to_string())
}

// What is generic below is compiled again beside every closure, so it hands over to what is not as soon as it can.

fn to_bytes<E: Serialize>(environment: &E, name: &str) -> Result<Vec<u8>, ShipError> {
    postcard::to_stdvec(environment).map_err(|error| not_serialised(name, std::any::type_name::<E>(), &error))
}

#[cold]
fn not_serialised(name: &str, ty: &str, error: &postcard::Error) -> ShipError {
    let message = format!("its environment, of type {ty}, cannot be serialised: {error}");
    ShipError::Pack { name: name.to_owned(), message }
}

fn bytes_of<F: Copy + Ship>(closure: &F) -> Vec<u8> {
    // SAFETY: `closure` is valid for `size_of::<F>()` bytes, and `F: Copy` makes a copy of the bytes a value.
    unsafe { bytes_at((&raw const *closure).cast(), size_of::<F>()) }
}

/// # Safety
/// `start` must be valid for reading `len` bytes.
unsafe fn bytes_at(start: *const u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0_u8; len];
    // SAFETY: both sides are valid for `len` bytes. Padding is copied as whatever the source holds there, which the
    // receiver never looks at.
    unsafe { std::ptr::copy_nonoverlapping(start, bytes.as_mut_ptr(), len) };
    bytes
}

/// A closure's bytes together with what it is lent.
struct Woken<E, F, Rest> {
    closure: Box<[MaybeUninit<u8>]>,
    environment: E,
    rest: PhantomData<fn(F) -> Rest>,
}

impl<E: DeserializeOwned, F: Copy + Ship, Rest> Woken<E, F, Rest> {
    fn new(captures: &[u8], environment: &[u8]) -> Result<Self, String> {
        let closure = own_bytes(captures, size_of::<F>())?;
        let environment =
            postcard::from_bytes(environment).map_err(|e| unreadable(std::any::type_name::<E>(), &e))?;
        Ok(Woken { closure, environment, rest: PhantomData })
    }

    /// The closure. Each caller gets a copy of its own, so it need not be `Sync`.
    fn closure(&self) -> F {
        // SAFETY: the length was checked, the bytes were copied from a value of this very type (the code that
        // reads them was chosen by that type), and `Copy + Ship` makes them a value wherever they are.
        unsafe { self.closure.as_ptr().cast::<F>().read_unaligned() }
    }
}

/// What [`Call::over_blocks`] leaves beside a closure: no more than its call, since each line here is compiled for each
/// closure of a cell. The closure is copied for each call, so it need not be `Sync`.
fn run_blocks<F>(captures: &[u8], block: u64, inputs: &[Value]) -> Result<Value, TaskError>
where
    F: Fn(u64, &[Value]) -> Result<Value, TaskError> + Copy + Ship + 'static,
{
    if captures.len() != size_of::<F>() {
        return Err(TaskError::fatal(wrong_size(captures.len(), size_of::<F>())));
    }
    // SAFETY: as in `Woken::closure`.
    let closure = unsafe { captures.as_ptr().cast::<F>().read_unaligned() };
    closure(block, inputs)
}

/// A closure without an environment, awake in this process.
struct Plain {
    run: RunBlocks,
    captures: Bytes,
}

impl Blocks for Plain {
    fn run(&self, block: u64, inputs: &[Value]) -> Result<Value, TaskError> {
        panics::catch(|| (self.run)(&self.captures, block, inputs))?
    }
}

#[cold]
fn wrong_size(found: usize, size: usize) -> String {
    format!("{found} bytes of captures arrived where it has {size}")
}

fn own_bytes(captures: &[u8], size: usize) -> Result<Box<[MaybeUninit<u8>]>, String> {
    if captures.len() != size {
        return Err(wrong_size(captures.len(), size));
    }
    Ok(captures.iter().map(|&byte| MaybeUninit::new(byte)).collect())
}

#[cold]
fn unreadable(ty: &str, error: &postcard::Error) -> String {
    format!("its environment, of type {ty}, cannot be read: {error}")
}

fn wake_blocks<E, F>(captures: &[u8], environment: &[u8]) -> Result<Box<dyn Blocks>, String>
where
    E: DeserializeOwned + Send + Sync + 'static,
    F: Fn(&E, u64, &[Value]) -> Result<Value, TaskError> + Copy + Ship + 'static,
{
    Ok(Box::new(Woken::<E, F, ()>::new(captures, environment)?))
}

fn wake_tasks<E, P, R, F>(captures: &[u8], environment: &[u8]) -> Result<Box<dyn TaskRoutine>, String>
where
    E: DeserializeOwned + Send + Sync + 'static,
    P: Serialize + DeserializeOwned + 'static,
    R: Serialize + 'static,
    F: Fn(&E, P) -> Result<R, String> + Copy + Ship + 'static,
{
    Ok(Box::new(Woken::<E, F, (P, R)>::new(captures, environment)?))
}

impl<E, F> Blocks for Woken<E, F, ()>
where
    E: DeserializeOwned + Send + Sync + 'static,
    F: Fn(&E, u64, &[Value]) -> Result<Value, TaskError> + Copy + Ship + 'static,
{
    fn run(&self, block: u64, inputs: &[Value]) -> Result<Value, TaskError> {
        let closure = self.closure();
        panics::catch(|| closure(&self.environment, block, inputs))?
    }
}

impl<E, P, R, F> TaskRoutine for Woken<E, F, (P, R)>
where
    E: DeserializeOwned + Send + Sync + 'static,
    P: Serialize + DeserializeOwned + 'static,
    R: Serialize + 'static,
    F: Fn(&E, P) -> Result<R, String> + Copy + Ship + 'static,
{
    fn run(&self, input: &mut &[u8], output: &mut Vec<u8>) -> Result<(), TaskFault> {
        let before = *input;
        let fault = |message: String, location, cause| TaskFault {
            message,
            location,
            // The closure took the parameter; a failed task can afford to read it a second time.
            parameter: postcard::from_bytes::<P>(before)
                .map_or_else(|_| "unreadable".to_owned(), |value| describe(&value)),
            cause,
        };
        let (parameter, rest) = postcard::take_from_bytes::<P>(before).map_err(|error| {
            fault(format!("its parameter cannot be read: {error}"), None, Cause::Unreadable)
        })?;
        *input = rest;
        let closure = self.closure();
        let start = output.len();
        let outcome = panics::catch(|| -> Result<(), String> {
            let result = closure(&self.environment, parameter)?;
            postcard::to_io(&result, &mut *output).map(drop).map_err(|error| {
                format!("its result, of type {}, cannot be serialised: {error}", std::any::type_name::<R>())
            })
        });
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => {
                output.truncate(start);
                Err(fault(message, None, Cause::Failed))
            }
            Err(panicked) => {
                output.truncate(start);
                Err(fault(panicked.message, panicked.location, Cause::Panicked))
            }
        }
    }

    fn skip(&self, input: &mut &[u8]) -> Result<String, TaskFault> {
        let bytes = *input;
        // Reading and printing it is the user's code too.
        let read = panics::catch(|| {
            postcard::take_from_bytes::<P>(bytes).map(|(parameter, rest)| (describe(&parameter), rest))
        });
        let unreadable = |message| TaskFault {
            message,
            location: None,
            parameter: String::new(),
            cause: Cause::Unreadable,
        };
        let (parameter, rest) = read
            .map_err(|panicked| unreadable(panicked.to_string()))?
            .map_err(|error| unreadable(format!("its parameter cannot be read: {error}")))?;
        *input = rest;
        Ok(parameter)
    }
}

fn describe(parameter: &impl Serialize) -> String {
    /// Longer than any sensible parameter, shorter than a page.
    const LENGTH_MAX: usize = 200;
    let mut text = serde_json::to_string(parameter).unwrap_or_else(|_| "not printable".to_owned());
    if let Some((end, _)) = text.char_indices().nth(LENGTH_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(body: &[u8]) -> Value {
        Value { header: Bytes::new(), body: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn a_call_survives_its_bytes_and_keeps_its_captures() {
        let (scale, offset) = (3_u8, [1_u8, 2]);
        let call = Call::over_blocks(move |block, inputs: &[Value]| {
            Ok(value(&[scale * inputs[0].body[0] + offset[1], block as u8]))
        })
        .unwrap();
        let call: Call = postcard::from_bytes(&postcard::to_stdvec(&call).unwrap()).unwrap();
        let blocks = call.open().unwrap();
        assert_eq!(blocks.run(9, &[value(&[5])]).unwrap(), value(&[17, 9]));
    }

    #[test]
    fn an_environment_is_lent_at_each_call() {
        let names = vec!["a".to_owned(), "bcd".to_owned()];
        let call = Call::over_blocks_with(&names, |names: &Vec<String>, block, _| {
            Ok(value(names[block as usize].as_bytes()))
        })
        .unwrap();
        let blocks = call.open().unwrap();
        assert_eq!(blocks.run(1, &[]).unwrap(), value(b"bcd"));
        let error = blocks.run(2, &[]).unwrap_err();
        assert!(
            error.message.contains("index out of bounds") && error.message.contains("call.rs:"),
            "{error}"
        );
    }

    #[test]
    fn a_call_with_another_shape_or_offset_is_refused() {
        let call = Call::over_blocks(|_, _| Ok(value(&[]))).unwrap();
        assert!(call.open_tasks().err().unwrap().to_string().contains("closure over blocks, not over tasks"));
        let astray = Call { offset: u64::MAX / 2, ..call.clone() };
        assert!(matches!(astray.open().err().unwrap(), ShipError::NoCode { .. }));
        let cut = Call { captures: Bytes::from_static(&[1]), ..call };
        assert!(cut.open().unwrap().run(0, &[]).unwrap_err().message.contains("1 bytes of captures"));
        let lent = Call::over_blocks_with(&1_u8, |_, _, _| Ok(value(&[]))).unwrap();
        let cut = Call { captures: Bytes::from_static(&[1]), ..lent };
        assert!(cut.open().err().unwrap().to_string().contains("1 bytes of captures"));
    }

    #[test]
    fn a_missing_library_is_named() {
        let call = Call::over_blocks(|_, _| Ok(value(&[]))).unwrap();
        let elsewhere = Call { home: Home::Library(LibraryId([9; 32])), ..call };
        let error = elsewhere.open().err().unwrap();
        assert!(error.to_string().contains("0909090909090909"), "{error}");
    }
}
