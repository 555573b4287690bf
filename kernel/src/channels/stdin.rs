//! Owns questions to the person on the stdin channel: at most one at a time, to the client whose cell asks.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use zeromq::{RouterRecvHalf, RouterSendHalf, SocketRecv, SocketSend, ZmqMessage};

use super::origin::Origin;
use crate::{
    evaluator::print::Question,
    message::{Message, Signer, child},
};

type Answer = oneshot::Sender<Result<String, String>>;

/// The question that waits for its answer.
struct Waiting {
    origin: Arc<Origin>,
    /// `msg_id` of the question.
    id: String,
    answer: Answer,
}

/// Asks, and takes answers.
pub(crate) struct Stdin {
    session: String,
    waiting: Mutex<Option<Waiting>>,
    send: mpsc::UnboundedSender<Message>,
}

impl Stdin {
    /// Starts the tasks on the socket.
    pub(super) fn start(
        session: String,
        sender: RouterSendHalf,
        receiver: RouterRecvHalf,
        signer: Signer,
    ) -> Arc<Self> {
        let (send, questions) = mpsc::unbounded_channel();
        let stdin = Arc::new(Self { session, waiting: Mutex::new(None), send });
        tokio::spawn(Arc::clone(&stdin).put(sender, signer.clone(), questions));
        tokio::spawn(Arc::clone(&stdin).read(receiver, signer));
        stdin
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a question to the client of `origin`. A question that still waits is given up.
    pub(crate) fn ask(&self, origin: Arc<Origin>, question: Question, answer: Answer) {
        if !origin.allow_stdin {
            let reason = "this front end runs cells without anybody to ask (allow_stdin is false); \
                          give the value in the cell instead";
            let _ = answer.send(Err(reason.to_owned()));
            return;
        }
        let content = json!({"prompt": question.prompt, "password": question.password});
        let message = Message {
            identities: origin.identities.clone(),
            ..child(&self.session, "input_request", &origin.header, content)
        };
        let id = message.header["msg_id"].as_str().unwrap_or_default().to_owned();
        *self.waiting() = Some(Waiting { origin, id, answer });
        // The task lives as long as the kernel.
        let _ = self.send.send(message);
    }

    /// The cell that asked has ended.
    pub(crate) fn forget(&self) {
        drop(self.waiting().take());
    }

    async fn put(
        self: Arc<Self>,
        mut socket: RouterSendHalf,
        signer: Signer,
        mut questions: mpsc::UnboundedReceiver<Message>,
    ) {
        while let Some(question) = questions.recv().await {
            let Ok(frames) = ZmqMessage::try_from(signer.frames(&question)) else { continue };
            if let Err(error) = socket.send(frames).await
                && let Some(waiting) = self.waiting().take()
            {
                let _ = waiting.answer.send(Err(format!(
                    "the front end that runs this cell has not opened the stdin channel ({error})"
                )));
            }
        }
    }

    async fn read(self: Arc<Self>, mut socket: RouterRecvHalf, signer: Signer) {
        loop {
            let frames = match socket.recv().await {
                Ok(frames) => frames.into_vec(),
                Err(error) => {
                    tracing::debug!(%error, "stdin");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            match signer.read(frames) {
                Ok(message) if message.kind() == "input_reply" => self.answer(&message),
                Ok(message) => tracing::warn!(kind = message.kind(), "only answers are read on stdin"),
                // What was typed may be a password, so the error names no content.
                Err(error) => tracing::warn!(%error, "dropped frames that are not a message for this kernel"),
            }
        }
    }

    fn answer(&self, reply: &Message) {
        let mut waiting = self.waiting();
        // An answer to an earlier question, given up since, must not answer this one. Clients may leave the parent out.
        let ours = waiting.as_ref().is_some_and(|waiting| {
            waiting.origin.identities == reply.identities
                && reply.parent["msg_id"].as_str().is_none_or(|id| id == waiting.id)
        });
        let value = reply.content["value"].as_str();
        if ours
            && let Some(value) = value
            && let Some(waiting) = waiting.take()
        {
            let _ = waiting.answer.send(Ok(value.to_owned()));
        }
    }
}
