//! Owns the evaluator process: starts it, sends orders to it, reads its reports, and notices its end. What it prints is
//! read in `output`.

use std::{
    os::fd::OwnedFd,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    Running,
    commands::Surroundings,
    output::{Passed, Reader},
    print::{Output, Parent, Print, Question},
    streams::Streams,
};
use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf, pipe},
    },
    process::{Child, Command},
    sync::{mpsc, oneshot},
};

/// From kernel to evaluator, one JSON line each.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    Run {
        library: String,
        symbol: String,
        cell: u32,
    },
    Forget {
        names: Vec<String>,
    },
    /// Finds the clusters again that the process before this one has started.
    PickUp,
    /// Runs a command in a shell; says how it failed, if it did.
    Shell {
        shell: String,
        command: String,
    },
    /// Sets an environment variable, or removes it; answers with all of them.
    Environment {
        change: Option<(String, Option<String>)>,
    },
    /// Changes the folder; says which it is.
    Folder {
        to: Option<String>,
    },
    /// Answers question `number`; an error says why there is no answer.
    Input {
        number: u64,
        answer: Result<String, String>,
    },
    /// A message of a client to one of the cells' comms; when its handler is done, a mark in the output says so.
    Comm {
        message: nuna::comm::Incoming,
    },
}

/// An order as it is written; what carrying it out prints belongs to request `parent`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ordered<O = Order> {
    pub parent: Parent,
    pub order: O,
}

/// From evaluator to kernel, one JSON line each.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub enum Report {
    /// To [`Order::Run`] and [`Order::Forget`].
    Answer(Answer),
    /// Something that belongs to `parent` reads its standard input.
    Ask { number: u64, parent: Parent, prompt: String, password: bool },
}

/// What became of an order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The cell's library was loaded and called, however that went.
    pub ran: bool,
    /// A loop of the cell saw that the person wants it to stop.
    pub interrupted: bool,
    /// The result as it is shown: media type and data.
    pub shown: Option<Vec<(String, String)>>,
    /// What `?` returned.
    pub error: Option<Trouble>,
    pub panic: Option<Trouble>,
    /// Statements of the cell that ran to their end.
    pub completed: usize,
    /// Variables that exist now.
    pub names: Vec<String>,
    /// What an order other than to run a cell is answered with.
    #[serde(default)]
    pub said: Option<String>,
    #[serde(default)]
    pub environment: Vec<(String, String)>,
    /// In answer to [`Order::PickUp`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
}

/// A cluster that outlived a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub name: String,
    pub workers: usize,
    /// What is published there: names, and what they are.
    pub holds: Vec<(String, String)>,
    /// Why it cannot be used.
    pub trouble: Option<String>,
}

/// Why a cell failed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trouble {
    pub message: String,
    pub location: Option<Location>,
}

/// Where the compiler says something was written.
#[derive(Debug, Serialize, Deserialize)]
pub struct Location {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

impl From<&std::panic::Location<'_>> for Location {
    fn from(at: &std::panic::Location<'_>) -> Self {
        Self { file: at.file().to_owned(), line: at.line() as usize, column: at.column() as usize }
    }
}

/// What a running cell prints, in order per stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Printed {
    Stdout(String),
    Stderr(String),
}

pub struct Process {
    child: Child,
    orders: mpsc::Sender<Vec<u8>>,
    answers: mpsc::Receiver<Result<Answer, String>>,
    passed: mpsc::UnboundedReceiver<Passed>,
    overflowed: Arc<AtomicBool>,
}

/// How a cell's run ended.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub enum Outcome {
    Answered(Answer),
    /// The process is gone; says how.
    Died(String),
}

/// After the process is gone, its pipes are read so much longer: a program that it started may hold them open.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Orders that may wait; comm messages come as fast as a person drags a slider.
const ORDERS_MAX: usize = 256;

impl Process {
    /// `folder` holds the compiled cells; the process removes it when it finds its kernel gone. What it prints and asks
    /// goes to the outlet of `running`.
    ///
    /// It finds the environment and the folder as an earlier one left them.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start(
        program: &Path,
        kernel_id: &str,
        folder: &Path,
        surroundings: &Surroundings,
        running: &Arc<Running>,
    ) -> Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().context("making a socket pair")?;
        ours.set_nonblocking(true)?;
        let nonce = &uuid::Uuid::new_v4().simple().to_string()[..16];
        let mut command = Command::new(program);
        surroundings.apply(&mut command);
        let mut child = command
            .arg(folder)
            .arg(nonce)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .env("NUNA_KERNEL_ID", kernel_id)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        running
            .process
            .store(child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0), Ordering::SeqCst);
        running.processes.fetch_add(1, Ordering::SeqCst);
        let (read, write) = UnixStream::from_std(ours)?.into_split();
        let stdout = child.stdout.take().context("the evaluator's stdout was piped")?;
        let stderr = child.stderr.take().context("the evaluator's stderr was piped")?;
        let (pass, passed) = mpsc::unbounded_channel();
        let overflowed = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            stdout: pipe::Receiver::from_owned_fd(stdout.into_owned_fd()?)?,
            stderr: pipe::Receiver::from_owned_fd(stderr.into_owned_fd()?)?,
            streams: Streams::new(nonce),
            running: Arc::clone(running),
            passed: pass,
            overflowed: Arc::clone(&overflowed),
        };
        tokio::spawn(reader.run());
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        let (answered, answers) = mpsc::channel(1);
        tokio::spawn(write_orders(queue, write));
        tokio::spawn(read_reports(read, answered, Orders(orders.downgrade()), Arc::clone(running)));
        *running.orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(Orders(orders.downgrade()));
        Ok(Self { child, orders, answers, passed, overflowed })
    }

    /// Runs one order to its end; all that it printed has been handed on then.
    pub async fn run(&mut self, order: &Order, print: &Print) -> Outcome {
        if self.orders.send(line(print.parent(), order)).await.is_err() {
            return self.died("it closed its channel").await;
        }
        let answer = match self.answers.recv().await {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => return self.died(&error).await,
            None => {
                let _ = tokio::time::timeout(LAST_WORDS, self.closed()).await;
                return self.died("it closed its channel").await;
            }
        };
        match self.passed.recv().await {
            Some(Passed::End) => Outcome::Answered(answer),
            Some(Passed::Closed) | None => self.died("it closed its output").await,
        }
    }

    async fn closed(&mut self) {
        while self.passed.recv().await.is_some_and(|passed| passed != Passed::Closed) {}
    }

    /// Whether the process ended because a stack was full.
    pub fn overflowed(&self) -> bool {
        self.overflowed.load(Ordering::SeqCst)
    }

    async fn died(&mut self, what: &str) -> Outcome {
        // A process that only closed its channel must not linger.
        let status = match tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await {
            Ok(Ok(status)) => match status.code() {
                Some(code) => format!("with exit code {code}, as std::process::exit does"),
                None => status.to_string(),
            },
            _ => {
                let _ = self.child.kill().await;
                what.to_owned()
            }
        };
        Outcome::Died(status)
    }

    pub fn id(&self) -> Option<i32> {
        self.child.id().and_then(|id| i32::try_from(id).ok())
    }
}

/// For orders beside those that [`Process::run`] waits for; ends with the process.
#[derive(Clone, Debug)]
pub struct Orders(mpsc::WeakSender<Vec<u8>>);

impl Orders {
    /// False if the process is gone.
    pub async fn send(&self, parent: Parent, order: &Order) -> bool {
        match self.0.upgrade() {
            Some(orders) => orders.send(line(parent, order)).await.is_ok(),
            None => false,
        }
    }
}

fn line(parent: Parent, order: &Order) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Ordered { parent, order }).expect("orders are plain data");
    line.push(b'\n');
    line
}

async fn write_orders(mut orders: mpsc::Receiver<Vec<u8>>, mut socket: OwnedWriteHalf) {
    while let Some(line) = orders.recv().await {
        // The process is gone; whoever waits for its answer notices.
        if socket.write_all(&line).await.is_err() {
            return;
        }
    }
}

async fn read_reports(
    socket: OwnedReadHalf,
    answers: mpsc::Sender<Result<Answer, String>>,
    orders: Orders,
    running: Arc<Running>,
) {
    let mut lines = BufReader::new(socket);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
        match serde_json::from_slice::<Report>(&line) {
            Ok(Report::Answer(answer)) => drop(answers.send(Ok(answer)).await),
            Ok(Report::Ask { number, parent, prompt, password }) => {
                let (outlet, orders) = (running.outlet.get().cloned(), orders.clone());
                tokio::spawn(async move {
                    let answer = ask(outlet, parent, Question { prompt, password }).await;
                    orders.send(parent, &Order::Input { number, answer }).await;
                });
            }
            Err(error) => drop(answers.send(Err(format!("its answer cannot be read: {error}"))).await),
        }
        line.clear();
    }
    // Whoever waits for a handler of this process waits no longer.
    running.delivered.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
}

async fn ask(
    outlet: Option<mpsc::Sender<Output>>,
    parent: Parent,
    question: Question,
) -> Result<String, String> {
    let (sender, answer) = oneshot::channel();
    let gone = || "nobody is there to answer".to_owned();
    outlet.ok_or_else(gone)?.send(Output::Ask(parent, question, sender)).await.map_err(|_| gone())?;
    answer.await.unwrap_or_else(|_| Err(gone()))
}

/// Sends a signal to the evaluator and to the programs that its cells have started.
pub fn signal_group(id: i32, signal: Signal) {
    let _ = nix::sys::signal::killpg(Pid::from_raw(id), signal);
}

/// Sends a signal to the evaluator; one that is gone already is no error.
pub fn signal(id: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(id), signal);
}
