//! Owns [`Scattered`]: a value that many tasks read and that travels to each worker once, as the single block of a held
//! stage. The farm's blocks read that stage, so it is located, fetched from peers, counted, spilled and made again after a
//! loss as any other value; here is how a handle finds it when it arrives among a closure's captures or parameters.

use std::{
    any::{Any, TypeId},
    cell::RefCell,
    collections::HashMap,
    marker::PhantomData,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use nuna_plan::{BlockGrid, Engine, HeldId, Keep, MemoryBound, Origin, Plan, Stage, Terms, Work, WorkKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

pub use self::numbers::Number;
use self::numbers::{Here, bytes_of};
use crate::{
    error::ShipError,
    tasks::{Begin, Payload},
};

mod numbers;

/// A value may take this much, serialised: it travels in one message.
pub const SCATTER_BYTES_MAX: usize = 192 << 20;

/// The header of a scattered value, which tells a worker that the processes of its host may share its memory.
pub const SHARED: &[u8] = b"shared";

/// A value on the workers, for tasks to read. Clones are handles to the same value, which is freed with the last of them
/// and the last task that reads it. Within tasks it is the value: `table[i]`, `table.len()`. Of numbers, `Scattered<[f64]>`, the
/// worker processes of a node read the same memory; of other types each has the value for itself.
pub struct Scattered<T: ?Sized> {
    id: HeldId,
    /// Where it is held for this process.
    held: Option<Arc<Held>>,
    /// Where tasks read it.
    here: Option<Here<T>>,
}

/// Keeps a scattered value on the workers.
pub struct Held {
    id: HeldId,
    engine: Arc<dyn Engine>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {}", self.id, self.engine.describe())
    }
}

impl Held {
    pub(crate) fn id(&self) -> HeldId {
        self.id
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.engine.release(self.id);
    }
}

impl<T: ?Sized> Clone for Scattered<T> {
    fn clone(&self) -> Self {
        Scattered { id: self.id, held: self.held.clone(), here: self.here.clone() }
    }
}

impl<T: ?Sized> std::fmt::Debug for Scattered<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scattered<{}>", std::any::type_name::<T>())
    }
}

impl<T: ?Sized> Deref for Scattered<T> {
    type Target = T;

    /// # Panics
    /// Outside of tasks: this process keeps no copy.
    fn deref(&self) -> &T {
        match &self.here {
            Some(here) => here.get(),
            None => panic!(
                "a scattered {} is on the workers only: use it within tasks, or keep a copy here",
                std::any::type_name::<T>()
            ),
        }
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Scattered<T> {
    /// The plan that brings `value` to a worker, from where others get it, and the handle for when it is there.
    ///
    /// # Errors
    /// If `value` cannot be serialised, or is larger than [`SCATTER_BYTES_MAX`].
    pub fn new(
        value: &T,
        engine: Arc<dyn Engine>,
        origin: Option<Origin>,
    ) -> Result<(Plan, Self), ShipError> {
        let bytes = postcard::to_stdvec(value)
            .map_err(|error| ShipError::Pack { name: Self::name(), message: error.to_string() })?;
        Self::of_bytes(bytes, engine, origin)
    }
}

impl<T: Number> Scattered<[T]> {
    /// As [`new`](Scattered::new), of numbers that tasks read where they arrive.
    ///
    /// # Errors
    /// If they take more than [`SCATTER_BYTES_MAX`].
    pub fn of_numbers(
        numbers: &[T],
        engine: Arc<dyn Engine>,
        origin: Option<Origin>,
    ) -> Result<(Plan, Self), ShipError> {
        Self::of_bytes(bytes_of(numbers).to_vec(), engine, origin)
    }
}

impl<T: ?Sized> Scattered<T> {
    fn name() -> String {
        format!("scatter {}", std::any::type_name::<T>())
    }

    fn of_bytes(
        bytes: Vec<u8>,
        engine: Arc<dyn Engine>,
        origin: Option<Origin>,
    ) -> Result<(Plan, Self), ShipError> {
        if bytes.len() > SCATTER_BYTES_MAX {
            return Err(ShipError::TooLarge { bytes: bytes.len(), limit: SCATTER_BYTES_MAX });
        }
        let id = engine.new_held_id();
        let held = Arc::new(Held { id, engine });
        Ok((plan(Self::name(), id, bytes, origin)?, Scattered { id, held: Some(held), here: None }))
    }
}

fn plan(name: String, id: HeldId, bytes: Vec<u8>, origin: Option<Origin>) -> Result<Plan, ShipError> {
    let output = bytes.len() as u64;
    let payload = Payload::only(Begin::Value(bytes.into()));
    let payload = postcard::to_stdvec(&payload)
        .map_err(|error| ShipError::Pack { name: name.clone(), message: error.to_string() })?;
    let stage = Stage {
        name: name.clone(),
        grid: BlockGrid::line(1),
        inputs: Vec::new(),
        work: Work { kind: WorkKind::Call, payload, libraries: Vec::new() },
        bound: MemoryBound { inputs: 0, output, scratch: 0 },
        keep: Keep::Hold(id),
        retries: 0,
        origin,
    };
    Ok(Plan { label: name, stages: vec![stage], terms: Terms::default() })
}

thread_local! {
    /// Handles that are packed by this thread, while somebody wants to know.
    static PACKED: RefCell<Option<Vec<Arc<Held>>>> = const { RefCell::new(None) };
    /// Values that the block read by this thread has as inputs.
    static READ: RefCell<HashMap<HeldId, Bytes>> = RefCell::new(HashMap::new());
}

/// Runs `pack`; says which scattered values are among what it serialised.
pub fn collecting<R>(pack: impl FnOnce() -> R) -> (R, Vec<Arc<Held>>) {
    let before = PACKED.replace(Some(Vec::new()));
    let result = pack();
    let mut packed = PACKED.replace(before).unwrap_or_default();
    packed.sort_by_key(|held| held.id);
    packed.dedup_by_key(|held| held.id);
    (result, packed)
}

/// Runs `read` where handles to these values find them.
pub(crate) fn reading<R>(values: HashMap<HeldId, Bytes>, read: impl FnOnce() -> R) -> R {
    /// Also if `read` panics.
    struct Restore(HashMap<HeldId, Bytes>);
    impl Drop for Restore {
        fn drop(&mut self) {
            READ.set(std::mem::take(&mut self.0));
        }
    }
    let _restore = Restore(READ.replace(values));
    read()
}

impl<T: ?Sized> Serialize for Scattered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(held) = &self.held {
            PACKED.with_borrow_mut(|packed| {
                if let Some(packed) = packed {
                    packed.push(Arc::clone(held));
                }
            });
        }
        self.id.serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned + Send + Sync + 'static> Deserialize<'de> for Scattered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = HeldId::deserialize(deserializer)?;
        let here = Decoded(PhantomData).get(id).map_err(serde::de::Error::custom)?;
        Ok(Scattered { id, held: None, here: here.map(Here::from) })
    }
}

impl<'de, T: Number> Deserialize<'de> for Scattered<[T]> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = HeldId::deserialize(deserializer)?;
        let of_bytes = |bytes| {
            let wrong = || serde::de::Error::custom("a scattered value cannot be read as whole numbers");
            Here::of_bytes(bytes).ok_or_else(wrong)
        };
        let here = read(id).map(of_bytes).transpose()?;
        Ok(Scattered { id, held: None, here })
    }
}

/// The bytes of a value, if the block that is read has it among its inputs.
fn read(id: HeldId) -> Option<Bytes> {
    READ.with_borrow(|values| values.get(&id).cloned())
}

/// Values of this process, each decoded once and kept for as long as somebody uses it.
static DECODED: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

struct Entry {
    id: HeldId,
    ty: TypeId,
    value: Weak<dyn Any + Send + Sync>,
}

struct Decoded<T>(PhantomData<T>);

impl<T: DeserializeOwned + Send + Sync + 'static> Decoded<T> {
    /// Nothing where it is not among what the block reads, as in the process that scattered it.
    fn get(self, id: HeldId) -> Result<Option<Arc<T>>, String> {
        let Some(bytes) = read(id) else { return Ok(None) };
        if let Some(value) = known(id, TypeId::of::<T>()) {
            return Ok(value.downcast().ok());
        }
        let value: T = postcard::from_bytes(&bytes).map_err(|error| {
            format!("a scattered value cannot be read as {}: {error}", std::any::type_name::<T>())
        })?;
        let value: Arc<T> = Arc::new(value);
        let any: Arc<dyn Any + Send + Sync> = value.clone();
        // Another thread may have been quicker; one of the two goes as soon as its block is done.
        remember(id, TypeId::of::<T>(), Arc::downgrade(&any));
        Ok(Some(value))
    }
}

fn known(id: HeldId, ty: TypeId) -> Option<Arc<dyn Any + Send + Sync>> {
    let entries = DECODED.lock().unwrap_or_else(PoisonError::into_inner);
    entries.iter().filter(|entry| entry.id == id && entry.ty == ty).find_map(|entry| entry.value.upgrade())
}

fn remember(id: HeldId, ty: TypeId, value: Weak<dyn Any + Send + Sync>) {
    let mut entries = DECODED.lock().unwrap_or_else(PoisonError::into_inner);
    entries.retain(|entry| entry.value.strong_count() > 0);
    entries.push(Entry { id, ty, value });
}
