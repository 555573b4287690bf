//! Owns what goes out to everybody: the lanes to the iopub socket, and the task that makes messages of what cells print.
//!
//! There are two lanes, so that nobody waits behind a cell that prints a lot: what belongs to cells keeps its order in the
//! one, and the status of requests that are answered at once takes the other.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

use tokio::sync::mpsc;
use zeromq::{PubSocket, SocketSend, ZmqMessage};

use super::{
    Kernel,
    displays::{Displays, Shown},
};
use crate::{
    evaluator::{
        places::Places,
        print::{Output, Parent},
        process::Printed,
    },
    message::{self, Message, Signer},
};

/// Messages of cells that may wait for the socket, each of at most some hundred kilobytes; then the cell waits.
const ORDERED_MAX: usize = 16;
const EXPRESS_MAX: usize = 4096;
/// Prints that may wait to become messages.
pub(super) const OUTPUTS_MAX: usize = 64;

/// The ways to the iopub socket.
#[derive(Clone)]
pub(super) struct Lanes {
    pub(super) ordered: mpsc::Sender<Message>,
    pub(super) express: mpsc::Sender<Message>,
}

/// Starts the task that sends.
pub(super) fn publish(mut socket: PubSocket, signer: Signer) -> Lanes {
    let (ordered, mut cells) = mpsc::channel::<Message>(ORDERED_MAX);
    let (express, mut status) = mpsc::channel::<Message>(EXPRESS_MAX);
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                biased;
                Some(message) = status.recv() => message,
                Some(message) = cells.recv() => message,
                else => return,
            };
            if let Ok(frames) = ZmqMessage::try_from(signer.frames(&message))
                && let Err(error) = socket.send(frames).await
            {
                tracing::warn!(%error, "a message to the notebook was lost");
            }
        }
    });
    Lanes { ordered, express }
}

/// Makes messages of what cells print and ask, until the kernel ends.
pub(super) async fn print(kernel: Arc<Kernel>, mut outputs: mpsc::Receiver<Output>, places: Arc<Places>) {
    let mut displays: HashMap<Parent, Displays> = HashMap::new();
    while let Some(output) = outputs.recv().await {
        match output {
            Output::Printed(parent, Printed::Stderr(text)) => {
                let shown = vec![Shown::stream("stderr", &places.translate(&text))];
                send(&kernel, parent, shown).await;
            }
            Output::Printed(parent, Printed::Stdout(text)) => {
                let own = displays.entry(parent).or_default();
                let shown = own.read(&text);
                if own.holds_nothing() {
                    displays.remove(&parent);
                }
                send(&kernel, parent, shown).await;
            }
            Output::Ask(parent, question, answer) => {
                let origin = kernel.origin(parent);
                let running = kernel.cell.load(std::sync::atomic::Ordering::SeqCst);
                match origin {
                    Some(origin) if parent == running => kernel.stdin.ask(origin, question, answer),
                    _ => drop(answer.send(Err("the cell that asks has ended".to_owned()))),
                }
            }
            Output::Flushed(parent, flushed) => {
                if let Some(mut own) = displays.remove(&parent) {
                    send(&kernel, parent, own.rest()).await;
                }
                let _ = flushed.send(());
            }
        }
    }
}

async fn send(kernel: &Kernel, parent: Parent, shown: Vec<Shown>) {
    // Before the first cell nothing prints.
    let Some(origin) = kernel.origin(parent) else { return };
    for Shown { kind, content, metadata, buffers } in shown {
        match kind {
            "comm_open" | "comm_close" => {
                kernel.comms.lock().unwrap_or_else(PoisonError::into_inner).sent(kind, &content);
            }
            "comm_msg" => {}
            _ if origin.silent => continue,
            _ => {}
        }
        let message = message::child(&kernel.id, kind, &origin.header, content);
        // The socket's task lives as long as the kernel.
        let _ = kernel.lanes.ordered.send(Message { metadata, buffers, ..message }).await;
    }
}
