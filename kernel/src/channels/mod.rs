//! Owns the kernel's five sockets and the tasks on them. Reading a socket never waits for a cell: cells run in a task
//! of their own (`execute`), everything else is answered at once.

mod comm;
mod control;
mod displays;
mod door;
mod execute;
mod iopub;
mod language;
mod origin;
mod pager;
mod shell;
mod stdin;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, mpsc, oneshot, watch};
use zeromq::{
    PubSocket, RepSocket, RouterSendHalf, RouterSocket, Socket, SocketRecv, SocketSend, ZmqMessage,
};

use self::{
    iopub::Lanes,
    origin::{Origin, Origins},
    stdin::Stdin,
};

use crate::{
    connection::Connection,
    evaluator::{
        Evaluator, Language, Running,
        print::{Output, Parent, Print},
        process,
    },
    history::{self, Keep},
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
    /// Set once earlier sessions' history has been read; who keeps this one's.
    pub(crate) history: OnceCell<Option<Keep>>,
    /// Completion and inspection.
    pub(crate) service: Arc<Service>,
    /// Completion and inspection, if the evaluator brings its own.
    pub(crate) language: Option<Arc<dyn Language>>,
    /// Comms that are open between cells and clients.
    pub(crate) comms: Mutex<comm::Table>,
    pub(crate) subshells: Mutex<control::Subshells>,
    pub(crate) stdin: Arc<Stdin>,
    lanes: Lanes,
    outlet: mpsc::Sender<Output>,
    origins: Mutex<Origins>,
    pub(crate) evaluator: Arc<Running>,
    /// How often the running cell was interrupted.
    pub(crate) interrupts: AtomicU32,
    /// The request whose cell runs; 0 while none does.
    pub(crate) cell: AtomicU64,
}

impl Kernel {
    /// Sends what belongs to a cell, after all that it sent before.
    pub(crate) async fn publish(&self, kind: &str, parent: &Value, content: Value) {
        // The socket's task lives as long as the kernel.
        let _ = self.lanes.ordered.send(message::child(&self.id, kind, parent, content)).await;
    }

    /// The status of a cell, in order with what it prints.
    pub(crate) async fn cell_status(&self, parent: &Value, state: &str) {
        self.publish("status", parent, json!({"execution_state": state})).await;
    }

    /// The status of a request that prints nothing, so it need not wait behind a cell that prints much.
    pub(crate) async fn status(&self, parent: &Value, state: &str) {
        let content = json!({"execution_state": state});
        let _ = self.lanes.express.send(message::child(&self.id, "status", parent, content)).await;
    }

    /// Reads what earlier sessions have typed, the first time. A slow home folder keeps nobody waiting but who asks.
    pub(crate) async fn open_history(&self) -> &Option<Keep> {
        self.history
            .get_or_init(|| async {
                match tokio::task::spawn_blocking(|| history::open(history::path())).await {
                    Ok(opened) => {
                        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
                        session.opened(opened.session, opened.earlier);
                        opened.keep
                    }
                    Err(_) => None,
                }
            })
            .await
    }

    fn add_origin(&self, origin: Origin) -> Parent {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner).add(origin)
    }

    fn origin(&self, parent: Parent) -> Option<Arc<Origin>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner).get(parent)
    }

    /// Takes what is printed for a request.
    fn print(&self, parent: Parent) -> Print {
        Print::new(self.outlet.clone(), parent)
    }

    /// Waits until all that was printed for a request so far is on its way.
    async fn flush(&self, parent: Parent) {
        let (flushed, done) = oneshot::channel();
        if self.outlet.send(Output::Flushed(parent, flushed)).await.is_ok() {
            let _ = done.await;
        }
    }

    /// Tells the clients that the comms of a process that has ended are closed.
    async fn close_comms(&self, parent: Parent) {
        let ids = self.comms.lock().unwrap_or_else(PoisonError::into_inner).take_all();
        let Some(origin) = self.origin(parent) else { return };
        for id in ids {
            self.publish("comm_close", &origin.header, json!({"comm_id": id, "data": {}})).await;
        }
    }

    fn cell_started(&self, parent: Parent) {
        self.interrupts.store(0, Ordering::SeqCst);
        self.evaluator.stop.store(false, Ordering::SeqCst);
        self.evaluator.killed.store(false, Ordering::SeqCst);
        self.cell.store(parent, Ordering::SeqCst);
    }

    fn cell_ended(&self) {
        self.cell.store(0, Ordering::SeqCst);
        self.stdin.forget();
    }

    /// The first time asks the cell to stop and keeps every variable; the second ends its process.
    fn interrupt(self: &Arc<Self>) {
        let cell = self.cell.load(Ordering::SeqCst);
        if cell == 0 {
            // A comm's handler may run, which no cell would notice.
            let handled = !self.evaluator.delivered.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            let pid = self.evaluator.process.load(Ordering::SeqCst);
            if handled && pid > 0 {
                process::signal(pid, Signal::SIGINT);
            }
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
        tokio::spawn(Arc::clone(self).insist(cell));
    }

    /// Asks the running cell to stop until it does; one that just begins may have missed the first time.
    async fn insist(self: Arc<Self>, cell: Parent) {
        for turn in 0.. {
            if self.cell.load(Ordering::SeqCst) != cell {
                return;
            }
            let pid = self.evaluator.pid.load(Ordering::SeqCst);
            if pid > 0 {
                // Programs that the cell waits for are interrupted once, as a terminal does it; the process itself looks
                // at signals when it can.
                if turn == 0 {
                    process::signal_group(pid, Signal::SIGINT)
                } else {
                    process::signal(pid, Signal::SIGINT)
                }
            }
            if turn == STUBBORN_TURNS
                && let Some(origin) = self.origin(cell)
            {
                let text = "the cell has not stopped yet; it may be in code that does not look for interrupts. \
                            Interrupt again to end its process, which loses all variables\n";
                self.publish("stream", &origin.header, json!({"name": "stderr", "text": text})).await;
            }
            tokio::time::sleep(INSIST).await;
        }
    }
}

/// How often a cell is asked to stop, and when the person is told that it does not.
const INSIST: Duration = Duration::from_millis(250);
const STUBBORN_TURNS: u32 = 12;

/// Serves until a shutdown request. Returns once the reply is out.
///
/// # Errors
/// If a socket cannot be bound.
pub async fn serve(connection: Connection, evaluator: Box<dyn Evaluator>) -> Result<()> {
    let signer = Signer::new(&connection.key);
    let folder = evaluator.folder();
    let mut heartbeat = RepSocket::new();
    let mut iopub = PubSocket::new();
    let (mut shell, mut control, mut stdin) = (RouterSocket::new(), RouterSocket::new(), RouterSocket::new());
    bind(&mut heartbeat, &connection, connection.hb_port, &folder, "heartbeat").await?;
    bind(&mut iopub, &connection, connection.iopub_port, &folder, "iopub").await?;
    bind(&mut shell, &connection, connection.shell_port, &folder, "shell").await?;
    bind(&mut control, &connection, connection.control_port, &folder, "control").await?;
    bind(&mut stdin, &connection, connection.stdin_port, &folder, "stdin").await?;

    tokio::spawn(async move {
        loop {
            // A client that goes away in between is an error of one beat, not of the heart.
            match heartbeat.recv().await {
                Ok(message) => drop(heartbeat.send(message).await),
                Err(error) => {
                    tracing::debug!(%error, "heartbeat");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    });
    let (shell_send, shell_receive) = shell.split();
    let (control_send, control_receive) = control.split();
    let (stdin_send, stdin_receive) = stdin.split();
    let id = uuid::Uuid::new_v4().to_string();
    let running = evaluator.running();
    let (outlet, outputs) = mpsc::channel(iopub::OUTPUTS_MAX);
    // Whoever set it before would take what this kernel's cells print.
    running.outlet.set(outlet.clone()).ok().context("the evaluator serves another kernel already")?;
    let kernel = Arc::new(Kernel {
        session: Mutex::default(),
        history: OnceCell::new(),
        service: evaluator.service(),
        language: evaluator.language(),
        comms: Mutex::default(),
        subshells: Mutex::default(),
        stdin: Stdin::start(id.clone(), stdin_send, stdin_receive, signer.clone()),
        lanes: iopub::publish(iopub, signer.clone()),
        outlet,
        origins: Mutex::default(),
        evaluator: running,
        interrupts: AtomicU32::new(0),
        cell: AtomicU64::new(0),
        id,
    });
    // A person may ask before the first cell has run.
    kernel.service.learn(evaluator.snapshot());
    kernel.status(&json!({}), "starting").await;

    let reader = Arc::clone(&kernel);
    tokio::spawn(async move { reader.open_history().await.is_some() });
    tokio::spawn(iopub::print(Arc::clone(&kernel), outputs, evaluator.places()));
    let shell_replies = replies(shell_send, signer.clone());
    let control_replies = replies(control_send, signer.clone());
    let (cells, queue) = mpsc::channel(QUEUE_MAX);
    let (comms, messages) = mpsc::channel(comm::WAITING_MAX);
    let (stop, mut stopped) = watch::channel(false);
    tokio::spawn(execute::run(Arc::clone(&kernel), evaluator, queue, shell_replies.clone()));
    tokio::spawn(comm::run(Arc::clone(&kernel), messages));
    let rooms = shell::Rooms { cells, comms, stop };
    let answer = |socket, replies| {
        tokio::spawn(shell::answer(Arc::clone(&kernel), socket, signer.clone(), replies, rooms.clone()))
    };
    answer(shell_receive, shell_replies);
    answer(control_receive, control_replies);

    let interrupted = Arc::clone(&kernel);
    tokio::spawn(async move {
        if let Ok(mut signals) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()) {
            while signals.recv().await.is_some() {
                interrupted.interrupt();
            }
        }
    });
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = stopped.wait_for(|stop| *stop) => {
            // Whatever was sent last is on its way through the sockets' own tasks.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        _ = terminate.recv() => {}
        () = crate::parent::gone() => {}
    }
    let pid = kernel.evaluator.process.load(Ordering::SeqCst);
    if pid > 0 {
        process::signal(pid, Signal::SIGKILL);
    }
    let build = kernel.evaluator.build.load(Ordering::SeqCst);
    if build > 0 {
        // A negative number is a group.
        process::signal(-build, Signal::SIGKILL);
    }
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::warn!(%error, folder = %folder.display(), "compiled cells were left behind");
    }
    // Compilers and cells under way are of no use any more.
    std::process::exit(0)
}

async fn bind(
    socket: &mut impl Socket,
    connection: &Connection,
    port: u32,
    folder: &Path,
    name: &'static str,
) -> Result<()> {
    if door::guards(&connection.transport) {
        return door::bind(socket, &connection.ip, port, folder, name).await;
    }
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
