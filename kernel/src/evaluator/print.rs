//! Owns the way from what runs to the notebook: what is printed, and questions to the person. Each thing names the request
//! it belongs to, so that what comes late still finds its cell.

use tokio::sync::{mpsc, oneshot};

use super::process::Printed;

/// A request of a client, by the number that the channels gave it; 0 is none.
pub type Parent = u64;

/// Something on its way to the notebook. All of it takes one path, so its order is kept.
#[derive(Debug)]
pub enum Output {
    Printed(Parent, Printed),
    /// The cell waits for the answer; an error says why there is none.
    Ask(Parent, Question, oneshot::Sender<Result<String, String>>),
    /// Everything of this request has been handed on.
    Flushed(Parent, oneshot::Sender<()>),
}

/// What a cell asks the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub prompt: String,
    pub password: bool,
}

/// Takes what one request prints. Waits when the notebook is slower than the cell.
#[derive(Clone, Debug)]
pub struct Print {
    sender: mpsc::Sender<Output>,
    parent: Parent,
}

/// The notebook's side is gone, so nobody needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NobodyListens;

impl Print {
    pub fn new(sender: mpsc::Sender<Output>, parent: Parent) -> Self {
        Self { sender, parent }
    }

    /// For what is run without being shown.
    pub fn nowhere() -> Self {
        Self { sender: mpsc::channel(1).0, parent: 0 }
    }

    pub fn parent(&self) -> Parent {
        self.parent
    }

    /// # Errors
    /// If nobody listens any more.
    pub async fn send(&self, printed: Printed) -> Result<(), NobodyListens> {
        self.sender.send(Output::Printed(self.parent, printed)).await.map_err(|_| NobodyListens)
    }
}
