//! Owns the kernel's part in comms: which are open, and the order in which a client's messages reach the handlers, which
//! run in the evaluator process beside the cells.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use nuna::comm::{Incoming, Kind};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

use super::{Kernel, origin::Origin};
use crate::{evaluator::process::Order, message::Message};

/// Messages that may wait for their handler; a client that sends more loses them, and the log says so.
pub(super) const WAITING_MAX: usize = 4096;

/// Open comms by id, with their targets.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<String, String>);

impl Table {
    /// Notes a message that a cell sends.
    pub(super) fn sent(&mut self, kind: &str, content: &Value) {
        let Some(id) = content["comm_id"].as_str() else { return };
        match kind {
            "comm_open" => {
                let target = content["target_name"].as_str().unwrap_or_default();
                self.0.insert(id.to_owned(), target.to_owned());
            }
            "comm_close" => drop(self.0.remove(id)),
            _ => {}
        }
    }

    /// Answers a `comm_info_request`.
    pub(super) fn info(&self, request: &Value) -> Value {
        let wanted = request["target_name"].as_str().filter(|target| !target.is_empty());
        let comms: Map<String, Value> = self
            .0
            .iter()
            .filter(|(_, target)| wanted.is_none_or(|wanted| wanted == *target))
            .map(|(id, target)| (id.clone(), json!({"target_name": target})))
            .collect();
        json!({"status": "ok", "comms": comms})
    }

    /// The process that had the handlers is gone: gives the comms that went with it.
    pub(super) fn take_all(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0).into_keys().collect()
    }
}

pub(super) fn is_comm(kind: &str) -> bool {
    ["comm_open", "comm_msg", "comm_close"].contains(&kind)
}

/// Hands clients' messages to the handlers, one after the other, until the kernel ends.
pub(super) async fn run(kernel: Arc<Kernel>, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        // Widgets send the next change when the last one's handler is done, which this tells.
        kernel.publish("status", &message.header, json!({"execution_state": "busy"})).await;
        deliver(&kernel, &message).await;
        kernel.publish("status", &message.header, json!({"execution_state": "idle"})).await;
    }
}

async fn deliver(kernel: &Arc<Kernel>, message: &Message) {
    let Some(id) = message.content["comm_id"].as_str().map(str::to_owned) else {
        tracing::warn!(kind = message.kind(), "a comm message without `comm_id`");
        return;
    };
    let kind = match message.kind() {
        "comm_open" => Kind::Open,
        "comm_msg" => Kind::Message,
        _ => Kind::Close,
    };
    let known = {
        let mut comms = kernel.comms.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kind == Kind::Open || comms.0.contains_key(&id);
        comms.sent(message.kind(), &message.content);
        known
    };
    if !known {
        tracing::debug!(id, "a message to a comm that is not open");
        return;
    }
    let parent = kernel.add_origin(Origin { allow_stdin: false, silent: false, ..Origin::of(message) });
    let (handled, done) = oneshot::channel();
    kernel.evaluator.delivered.lock().unwrap_or_else(PoisonError::into_inner).insert(parent, handled);
    let incoming = Incoming {
        kind,
        id: id.clone(),
        target: message.content["target_name"].as_str().unwrap_or_default().to_owned(),
        data: message.content["data"].clone(),
        metadata: message.metadata.clone(),
        buffers: message.buffers.iter().map(|bytes| nuna::comm::text_of(bytes)).collect(),
    };
    let orders = kernel.evaluator.orders.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let sent = match orders {
        Some(orders) => orders.send(parent, &Order::Comm { message: incoming }).await,
        None => false,
    };
    if sent {
        // Ends with the handler, or with the process.
        let _ = done.await;
    } else {
        kernel.evaluator.delivered.lock().unwrap_or_else(PoisonError::into_inner).remove(&parent);
        kernel.comms.lock().unwrap_or_else(PoisonError::into_inner).0.remove(&id);
        if kind == Kind::Open {
            let data = json!({"reason": "no process that runs cells is there to take the comm"});
            kernel.publish("comm_close", &message.header, json!({"comm_id": id, "data": data})).await;
        }
    }
    kernel.flush(parent).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comms_are_told_by_target() {
        let mut table = Table::default();
        for (id, target) in [("a", "widget"), ("b", "widget"), ("c", "other")] {
            table.sent("comm_open", &json!({"comm_id": id, "target_name": target}));
        }
        table.sent("comm_close", &json!({"comm_id": "a"}));
        table.sent("comm_msg", &json!({"comm_id": "unknown"}));
        assert_eq!(table.info(&json!({}))["comms"].as_object().unwrap().len(), 2);
        assert_eq!(
            table.info(&json!({"target_name": "widget"}))["comms"],
            json!({"b": {"target_name": "widget"}})
        );
    }
}
