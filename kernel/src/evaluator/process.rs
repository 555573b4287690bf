//! Owns the evaluator process: starts it, sends cells to it, reads what they print, and notices its end.

use std::{os::fd::OwnedFd, path::Path, process::Stdio, time::Duration};

use super::{commands::Surroundings, print::Print};
use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, Command},
    sync::mpsc,
};

/// Ends what a cell printed; the process writes it to both streams when the cell is done.
pub const END_OF_CELL: &[u8] = b"\x02nuna-end-of-cell\x03\n";
/// Prints are gathered for so long before they are sent on.
const COALESCE: Duration = Duration::from_millis(15);
/// Or until there is so much.
const COALESCE_BYTES: usize = 256 << 10;

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
}

/// From evaluator to kernel, one JSON line for each order.
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
    orders: OwnedWriteHalf,
    answers: BufReader<OwnedReadHalf>,
    printed: mpsc::Receiver<Stream>,
    /// What the standard library prints when a stack is full was seen.
    overflowed: bool,
}

enum Stream {
    Text(Printed),
    End,
}

/// How a cell's run ended.
pub enum Outcome {
    Answered(Answer),
    /// The process is gone; says how.
    Died(String),
}

impl Process {
    /// `folder` holds the compiled cells; the process removes it when it finds its kernel gone.
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
    ) -> Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().context("making a socket pair")?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(program);
        surroundings.apply(&mut command);
        let mut child = command
            .arg(folder)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .env("NUNA_KERNEL_ID", kernel_id)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let (answers, orders) = UnixStream::from_std(ours)?.into_split();
        // Bounded, so that a cell that prints faster than the notebook reads waits instead of filling memory.
        let (sender, printed) = mpsc::channel(64);
        let stdout = child.stdout.take().context("the evaluator's stdout was piped")?;
        let stderr = child.stderr.take().context("the evaluator's stderr was piped")?;
        tokio::spawn(forward(stdout, sender.clone(), Printed::Stdout));
        tokio::spawn(forward(stderr, sender, Printed::Stderr));
        Ok(Self { child, orders, answers: BufReader::new(answers), printed, overflowed: false })
    }

    /// Runs one order to its end, handing on what is printed meanwhile.
    pub async fn run(&mut self, order: &Order, print: &Print) -> Outcome {
        let mut line = serde_json::to_string(order).expect("orders are plain data");
        line.push('\n');
        if let Err(error) = self.orders.write_all(line.as_bytes()).await {
            return self.died(&error.to_string()).await;
        }
        // Kept over turns of the loop: a partly read line must survive the other branch.
        let mut answer = Vec::new();
        let (mut ends, mut answered) = (0, None);
        while ends < 2 || answered.is_none() {
            tokio::select! {
                read = self.answers.read_until(b'\n', &mut answer), if answered.is_none() => match read {
                    Ok(0) | Err(_) => {
                        while let Ok(Some(stream)) = tokio::time::timeout(Duration::from_secs(2), self.printed.recv()).await {
                            if let Stream::Text(text) = stream { self.hand_on(text, print).await; }
                        }
                        return self.died("it closed its channel").await;
                    }
                    Ok(_) => match serde_json::from_slice::<Answer>(&answer) {
                        Ok(read) => answered = Some(read),
                        Err(error) => return self.died(&format!("its answer cannot be read: {error}")).await,
                    },
                },
                stream = self.printed.recv() => match stream {
                    Some(Stream::Text(text)) => self.hand_on(text, print).await,
                    Some(Stream::End) => ends += 1,
                    None => return self.died("it closed its output").await,
                },
            }
        }
        Outcome::Answered(answered.expect("the loop ends with an answer"))
    }

    async fn hand_on(&mut self, text: Printed, print: &Print) {
        if let Printed::Stderr(text) = &text {
            self.overflowed |= text.contains("has overflowed its stack");
        }
        // Nobody listens to what expressions print.
        let _ = print.send(text).await;
    }

    /// Whether the process ended because a stack was full.
    pub fn overflowed(&self) -> bool {
        self.overflowed
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

/// Sends a signal to the evaluator; one that is gone already is no error.
pub fn signal(id: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(id), signal);
}

/// Reads a stream to its end, gathering small prints, and marks where cells end.
async fn forward(
    mut stream: impl AsyncRead + Unpin,
    sender: mpsc::Sender<Stream>,
    wrap: fn(String) -> Printed,
) {
    let mut held: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = if held.is_empty() {
            stream.read(&mut buffer).await
        } else {
            match tokio::time::timeout(COALESCE, stream.read(&mut buffer)).await {
                Ok(read) => read,
                Err(_) => {
                    let keep = incomplete_tail(&held);
                    let rest = held.split_off(held.len() - keep);
                    if !flush(&mut held, &sender, wrap).await {
                        return;
                    }
                    held = rest;
                    if held.is_empty() { continue } else { stream.read(&mut buffer).await }
                }
            }
        };
        let Ok(count @ 1..) = read else { break };
        held.extend_from_slice(&buffer[..count]);
        while let Some(at) = find(&held, END_OF_CELL) {
            let rest = held.split_off(at + END_OF_CELL.len());
            held.truncate(at);
            if !flush(&mut held, &sender, wrap).await || sender.send(Stream::End).await.is_err() {
                return;
            }
            held = rest;
        }
        if held.len() >= COALESCE_BYTES {
            let rest = held.split_off(held.len() - incomplete_tail(&held));
            if !flush(&mut held, &sender, wrap).await {
                return;
            }
            held = rest;
        }
    }
    flush(&mut held, &sender, wrap).await;
}

/// Bytes at the end that may be the beginning of the mark or of a character.
fn incomplete_tail(held: &[u8]) -> usize {
    let longest = END_OF_CELL.len().min(held.len());
    let mark = (1..=longest).rev().find(|&n| END_OF_CELL.starts_with(&held[held.len() - n..])).unwrap_or(0);
    let character = match std::str::from_utf8(held) {
        Err(error) if error.error_len().is_none() => held.len() - error.valid_up_to(),
        _ => 0,
    };
    mark.max(character)
}

async fn flush(held: &mut Vec<u8>, sender: &mpsc::Sender<Stream>, wrap: fn(String) -> Printed) -> bool {
    if held.is_empty() {
        return true;
    }
    let text = String::from_utf8_lossy(held).into_owned();
    held.clear();
    sender.send(Stream::Text(wrap(text))).await.is_ok()
}

fn find(held: &[u8], what: &[u8]) -> Option<usize> {
    // The mark begins with a byte that text hardly holds.
    let mut from = 0;
    while let Some(at) = held[from..].iter().position(|byte| *byte == what[0]) {
        if held[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}
