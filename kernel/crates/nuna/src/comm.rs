//! Owns comms: channels between cells and whatever a front end attaches to them, widgets above all. Messages to the front
//! end are written as `display` writes; messages from it come from the evaluator, on a thread of their own, so handlers
//! run also while a cell does.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::display;

/// What one side says to the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    pub data: Value,
    pub metadata: Value,
    /// Bytes that are no JSON, such as pixels.
    pub buffers: Vec<Vec<u8>>,
}

impl From<Value> for Message {
    fn from(data: Value) -> Self {
        Self { data, metadata: json!({}), buffers: Vec::new() }
    }
}

/// One end of a channel to the front end. Clones are the same end; it stays open until it is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comm {
    id: Arc<str>,
}

type OnMessage = Arc<Mutex<dyn FnMut(&Comm, Message) + Send>>;
type OnOpen = Arc<Mutex<dyn FnMut(Comm, Message) + Send>>;

#[derive(Default)]
struct Registry {
    targets: HashMap<String, OnOpen>,
    open: HashMap<Arc<str>, Handlers>,
}

#[derive(Clone, Default)]
struct Handlers {
    message: Option<OnMessage>,
    close: Option<OnMessage>,
}

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// Says what happens when the front end opens a comm to `target`. A later call takes the place of an earlier one.
///
/// The handler is called on a thread of its own, one message after the other, also while a cell runs. Values that cells
/// share with it are put behind an `Arc<Mutex<…>>`.
pub fn register_target(target: &str, handler: impl FnMut(Comm, Message) + Send + 'static) {
    with(|registry| registry.targets.insert(target.to_owned(), Arc::new(Mutex::new(handler))));
}

/// Opens a comm to what the front end knows as `target`, such as `jupyter.widget`.
pub fn open(target: &str, message: impl Into<Message>) -> Comm {
    // Unique among the front end's comms as long as the clock and the process are.
    static OPENED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = OPENED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let id: Arc<str> =
        format!("{:024x}{:04x}{number:04x}", since.as_nanos(), std::process::id() & 0xffff).into();
    with(|registry| registry.open.insert(Arc::clone(&id), Handlers::default()));
    send("comm_open", json!({"comm_id": id, "target_name": target}), message.into());
    Comm { id }
}

impl Comm {
    /// As the front end knows it; a widget's model id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Sends a message; one to a comm that is closed is dropped.
    pub fn send(&self, message: impl Into<Message>) {
        if with(|registry| registry.open.contains_key(&self.id)) {
            send("comm_msg", json!({"comm_id": self.id}), message.into());
        }
    }

    /// Says what happens with the front end's messages; see [`register_target`] for where it is called.
    pub fn on_message(&self, handler: impl FnMut(&Comm, Message) + Send + 'static) {
        self.change(|handlers| handlers.message = Some(Arc::new(Mutex::new(handler))));
    }

    /// Says what happens when the front end closes the comm.
    pub fn on_close(&self, handler: impl FnMut(&Comm, Message) + Send + 'static) {
        self.change(|handlers| handlers.close = Some(Arc::new(Mutex::new(handler))));
    }

    fn change(&self, change: impl FnOnce(&mut Handlers)) {
        with(|registry| registry.open.get_mut(&self.id).map(change));
    }

    /// Closes the comm on both sides; closing one that is closed does nothing.
    pub fn close(&self, message: impl Into<Message>) {
        if with(|registry| registry.open.remove(&self.id)).is_some() {
            send("comm_close", json!({"comm_id": self.id}), message.into());
        }
    }
}

/// A message of the front end, as the kernel hands it to the evaluator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Incoming {
    pub kind: Kind,
    pub id: String,
    /// Of an `Open`.
    #[serde(default)]
    pub target: String,
    pub data: Value,
    pub metadata: Value,
    /// Base64.
    #[serde(default)]
    pub buffers: Vec<String>,
}

/// What an [`Incoming`] message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Open,
    Message,
    Close,
}

/// Calls the handler that `incoming` is for. The evaluator's business.
pub fn deliver(incoming: Incoming) {
    let id: Arc<str> = incoming.id.into();
    let comm = Comm { id: Arc::clone(&id) };
    let buffers = incoming.buffers.iter().map(|text| bytes_of(text).unwrap_or_default()).collect();
    let message = Message { data: incoming.data, metadata: incoming.metadata, buffers };
    // Handlers register targets and send messages, so the registry is not held while one runs.
    let handler = match incoming.kind {
        Kind::Open => {
            let Some(target) = with(|registry| registry.targets.get(&incoming.target).cloned()) else {
                let reason =
                    json!({"reason": format!("no cell has registered comm target {:?}", incoming.target)});
                return send("comm_close", json!({"comm_id": id}), reason.into());
            };
            with(|registry| registry.open.insert(Arc::clone(&id), Handlers::default()));
            let mut target = target.lock().unwrap_or_else(PoisonError::into_inner);
            return (*target)(comm, message);
        }
        Kind::Message => {
            with(|registry| registry.open.get(&id).and_then(|handlers| handlers.message.clone()))
        }
        Kind::Close => with(|registry| registry.open.remove(&id).and_then(|handlers| handlers.close)),
    };
    if let Some(handler) = handler {
        let mut handler = handler.lock().unwrap_or_else(PoisonError::into_inner);
        (*handler)(&comm, message);
    }
}

fn with<T>(use_it: impl FnOnce(&mut Registry) -> T) -> T {
    let mut registry: MutexGuard<'_, Option<Registry>> =
        REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    use_it(registry.get_or_insert_with(Registry::default))
}

fn send(kind: &str, mut content: Value, message: Message) {
    content["data"] = message.data;
    let buffers: Vec<String> = message.buffers.iter().map(|bytes| text_of(bytes)).collect();
    let metadata = if message.metadata.is_object() { message.metadata } else { json!({}) };
    display::send_message(&json!({
        "msg_type": kind, "content": content, "metadata": metadata, "buffers": buffers,
    }));
}

/// Base64, as JSON carries bytes.
pub fn text_of(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The bytes that [`text_of`] wrote; none if it did not write them.
pub fn bytes_of(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_may_use_its_comm_and_open_others() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        register_target("echo", move |comm, first| {
            let kept = Arc::clone(&kept);
            kept.lock().unwrap().push(first.data.clone());
            comm.on_message(move |_, message| kept.lock().unwrap().push(message.data));
        });
        let message = |kind, data| Incoming {
            kind,
            id: "one".into(),
            target: "echo".into(),
            data,
            metadata: json!({}),
            buffers: vec![],
        };
        deliver(message(Kind::Open, json!(1)));
        deliver(message(Kind::Message, json!(2)));
        deliver(message(Kind::Close, json!(3)));
        deliver(message(Kind::Message, json!(4)));
        assert_eq!(*seen.lock().unwrap(), [json!(1), json!(2)]);
    }
}
