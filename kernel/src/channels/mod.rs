//! Owns the kernel's five sockets and the tasks on them. Reading a socket never waits for a cell: cells run in a task
//! of their own (`execute`), everything else is answered at once.

mod execute;
mod language;
mod shell;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use zeromq::{
    PubSocket, RepSocket, RouterSendHalf, RouterSocket, Socket, SocketRecv, SocketSend, ZmqMessage,
};

use crate::{
    connection::Connection,
    evaluator::{Evaluator, Language, Running, process},
    language::Service,
    message::{self, Message, Signer},
    session::Session,
};

/// Cells that may wait; a client that sends more is told so.
const QUEUE_MAX: usize = 10_000;

/// What the tasks share.
pub(crate) struct Kernel {
    pub(crate) id: String,
    pub(crate) session: Mutex<Session>,
    iopub: mpsc::Sender<Message>,
    evaluator: Arc<Running>,
    /// Completion and inspection.
    pub(crate) service: Arc<Service>,
    /// Completion and inspection, if the evaluator brings its own.
    pub(crate) language: Option<Arc<dyn Language>>,
    /// How often the running cell was interrupted.
    pub(crate) interrupts: AtomicU32,
    /// Number of the request that runs, from 1; 0 while none does.
    running: AtomicU32,
    started: AtomicU32,
}

impl Kernel {
    pub(crate) async fn publish(&self, kind: &str, parent: &Value, content: Value) {
        // The socket's task lives as long as the kernel.
        let _ = self.iopub.send(message::child(&self.id, kind, parent, content)).await;
    }

    pub(crate) async fn status(&self, parent: &Value, state: &str) {
        self.publish("status", parent, json!({"execution_state": state})).await;
    }

    pub(crate) fn cell_started(&self) {
        self.interrupts.store(0, Ordering::SeqCst);
        self.evaluator.stop.store(false, Ordering::SeqCst);
        self.evaluator.killed.store(false, Ordering::SeqCst);
        self.running.store(self.started.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    }

    pub(crate) fn cell_ended(&self) {
        self.running.store(0, Ordering::SeqCst);
    }

    /// The first time asks the cell to stop and keeps every variable; the second ends its process.
    fn interrupt(self: &Arc<Self>, parent: &Value) {
        let running = self.running.load(Ordering::SeqCst);
        if running == 0 {
            return;
        }
        let pid = self.evaluator.pid.load(Ordering::SeqCst);
        if self.interrupts.fetch_add(1, Ordering::SeqCst) > 0 {
            if pid > 0 {
                self.evaluator.killed.store(true, Ordering::SeqCst);
                process::signal(pid, Signal::SIGKILL);
            }
            return;
        }
        // Nothing may run yet: the compiler does.
        self.evaluator.stop.store(true, Ordering::SeqCst);
        self.evaluator.cancel.notify_waiters();
        tokio::spawn(Arc::clone(self).insist(running, parent.clone()));
    }

    /// Asks the running cell to stop until it does; one that just begins may have missed the first time.
    async fn insist(self: Arc<Self>, running: u32, parent: Value) {
        for turn in 0.. {
            if self.running.load(Ordering::SeqCst) != running {
                return;
            }
            let pid = self.evaluator.pid.load(Ordering::SeqCst);
            if pid > 0 {
                process::signal(pid, Signal::SIGINT);
            }
            if turn == STUBBORN_TURNS {
                let text = "the cell has not stopped yet; it may be in code that does not look for interrupts. \
                            Interrupt again to end its process, which loses all variables\n";
                self.publish("stream", &parent, json!({"name": "stderr", "text": text})).await;
            }
            tokio::time::sleep(INSIST).await;
        }
    }
}

/// How often a cell is asked to stop, and when the person is told that it does not.
const INSIST: std::time::Duration = std::time::Duration::from_millis(250);
const STUBBORN_TURNS: u32 = 12;

/// Serves until a shutdown request. Returns once the reply is out.
///
/// # Errors
/// If a socket cannot be bound.
pub async fn serve(connection: Connection, evaluator: Box<dyn Evaluator>) -> Result<()> {
    let signer = Signer::new(&connection.key);
    let mut heartbeat = RepSocket::new();
    let mut iopub = PubSocket::new();
    let (mut shell, mut control, mut stdin) = (RouterSocket::new(), RouterSocket::new(), RouterSocket::new());
    bind(&mut heartbeat, &connection, connection.hb_port, "heartbeat").await?;
    bind(&mut iopub, &connection, connection.iopub_port, "iopub").await?;
    bind(&mut shell, &connection, connection.shell_port, "shell").await?;
    bind(&mut control, &connection, connection.control_port, "control").await?;
    bind(&mut stdin, &connection, connection.stdin_port, "stdin").await?;

    tokio::spawn(async move {
        loop {
            // A client that goes away in between is an error of one beat, not of the heart.
            match heartbeat.recv().await {
                Ok(message) => drop(heartbeat.send(message).await),
                Err(error) => {
                    tracing::debug!(%error, "heartbeat");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    });
    let (publish, mut published) = mpsc::channel::<Message>(1024);
    let publisher_signer = signer.clone();
    let publisher = tokio::spawn(async move {
        while let Some(message) = published.recv().await {
            if let Ok(frames) = ZmqMessage::try_from(publisher_signer.frames(&message))
                && let Err(error) = iopub.send(frames).await
            {
                tracing::warn!(%error, "a message to the notebook was lost");
            }
        }
    });

    let kernel = Arc::new(Kernel {
        id: uuid::Uuid::new_v4().to_string(),
        session: Mutex::default(),
        iopub: publish,
        evaluator: evaluator.running(),
        service: evaluator.service(),
        language: evaluator.language(),
        interrupts: AtomicU32::new(0),
        running: AtomicU32::new(0),
        started: AtomicU32::new(0),
    });
    kernel.status(&json!({}), "starting").await;
    let folder = evaluator.folder();

    let (shell_send, shell_receive) = shell.split();
    let (control_send, control_receive) = control.split();
    let shell_replies = replies(shell_send, signer.clone());
    let control_replies = replies(control_send, signer.clone());
    let (cells, queue) = mpsc::channel(QUEUE_MAX);
    let (stop, mut stopped) = watch::channel(false);
    tokio::spawn(execute::run(Arc::clone(&kernel), evaluator, queue, shell_replies.clone()));
    tokio::spawn(shell::answer(
        Arc::clone(&kernel),
        shell_receive,
        signer.clone(),
        shell_replies,
        cells.clone(),
        stop.clone(),
    ));
    tokio::spawn(shell::answer(Arc::clone(&kernel), control_receive, signer, control_replies, cells, stop));
    // Nothing asks for input, but the port belongs to the protocol.
    tokio::spawn(async move {
        loop {
            if stdin.recv().await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    });

    let interrupted = Arc::clone(&kernel);
    tokio::spawn(async move {
        if let Ok(mut signals) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()) {
            while signals.recv().await.is_some() {
                interrupted.interrupt(&json!({}));
            }
        }
    });
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = stopped.wait_for(|stop| *stop) => {
            // Whatever was sent last is on its way through the sockets' own tasks.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        _ = terminate.recv() => {}
    }
    let pid = kernel.evaluator.pid.load(Ordering::SeqCst);
    if pid > 0 {
        process::signal(pid, Signal::SIGKILL);
    }
    publisher.abort();
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::warn!(%error, folder = %folder.display(), "compiled cells were left behind");
    }
    // Compilers and cells under way are of no use any more.
    std::process::exit(0)
}

async fn bind(socket: &mut impl Socket, connection: &Connection, port: u32, name: &str) -> Result<()> {
    let endpoint = connection.endpoint(port);
    socket.bind(&endpoint).await.with_context(|| format!("binding the {name} socket to {endpoint}"))?;
    Ok(())
}

/// A task that signs and sends what the others hand it.
fn replies(mut socket: RouterSendHalf, signer: Signer) -> mpsc::Sender<Message> {
    let (sender, mut receiver) = mpsc::channel::<Message>(256);
    tokio::spawn(async move {
        while let Some(message) = receiver.recv().await {
            let frames: Vec<Bytes> = signer.frames(&message);
            if let Ok(frames) = ZmqMessage::try_from(frames)
                && let Err(error) = socket.send(frames).await
            {
                tracing::warn!(%error, kind = message.kind(), "a reply was not delivered");
            }
        }
    });
    sender
}
