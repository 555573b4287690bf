//! The process that runs cells: loads what the kernel compiled, calls it, and reports. It links `libnuna.so`, keeps
//! the variables, and ends with its kernel. If that was killed, the folder of compiled cells, the first argument, is
//! this one's to remove. The second is by what the kernel knows this process's marks among what cells print.

mod interpose;
mod orders;
mod questions;

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, mpsc},
};

use nuna::{
    Publishing,
    cell::{Failed, Failure},
};
use nuna_kernel::evaluator::{
    lifeline,
    process::{Answer, Kept, Location, Order, Ordered, Report, Trouble},
    streams::End,
};

static PANIC: Mutex<Option<Trouble>> = Mutex::new(None);
/// Where reports go.
static CHANNEL: Mutex<Option<UnixStream>> = Mutex::new(None);

/// Name of the thread that runs cells.
const CELLS: &str = "cells";
const STACK_BYTES: usize = 256 << 20;

type Entry = fn() -> nuna::cell::Ended;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), Some(nonce)) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        anyhow::bail!(
            "usage: nuna-evaluator FOLDER NONCE; nuna-kernel starts it with a socket as standard input"
        );
    };
    // Should the socket's end be missed, the system says that the kernel is gone.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)?;
    // The kernel's channel came as standard input; cells must not read it.
    let channel = UnixStream::from(nix::unistd::dup(std::io::stdin())?);
    let null = std::fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    let _ = nix::fcntl::fcntl(&channel, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC));

    let mut signals =
        signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM])?;
    let own = folder.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                signal_hook::consts::SIGTERM => leave(&own),
                _ => nuna::session::interrupt(),
            }
        }
    });
    // Clusters live with the kernel, so that a crash of this process does not take them along.
    // The kernel has said so if its folder cannot have a named pipe.
    if let Err(error) = nuna::parts::cluster::live_with(&lifeline::path(&folder))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error.into());
    }
    nuna::progress::show_in_cells();
    *CHANNEL.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel.try_clone()?);
    interpose::mark_prints(nonce.to_string_lossy().into_owned());
    nuna::session::set_ask(questions::ask);
    nuna::parts::plan::engine::set_interrupt_check(Some(nuna::session::interrupted));
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("a panic without a message").to_owned();
        let location = info.location().map(Location::from);
        if std::thread::current().name() == Some(CELLS) {
            *PANIC.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Some(Trouble { message, location });
        } else {
            let place = location.map(|at| format!(" at {}:{}", at.file, at.line)).unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "thread panicked{place}: {message}");
        }
    }));

    let (orders, received) = mpsc::channel();
    let (comms, messages) = mpsc::channel();
    std::thread::Builder::new().name("comms".to_owned()).spawn(move || deliver(messages))?;
    std::thread::spawn(move || {
        for line in BufReader::new(channel).lines() {
            let Ok(line) = line else { break };
            let Ok(Ordered { parent, order }) = serde_json::from_str(&line) else { break };
            match order {
                Order::Input { number, answer } => questions::answered(number, answer),
                Order::Comm { message } => drop(comms.send((parent, message))),
                order => drop(orders.send((parent, order))),
            }
        }
        // The kernel is gone, and what it started goes with it.
        leave(&folder);
    });
    // People put whole arrays on the stack. It is address space until it is used.
    let cells = std::thread::Builder::new().name(CELLS.to_owned()).stack_size(STACK_BYTES);
    let ended = cells.spawn(move || serve(received))?.join();
    ended.unwrap_or_else(|_| anyhow::bail!("the thread that runs cells panicked outside of them"))
}

/// Writes one line to the kernel.
pub(crate) fn report(report: &Report) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    match CHANNEL.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        Some(channel) => channel.write_all(&line),
        None => Err(std::io::ErrorKind::NotConnected.into()),
    }
}

/// Carries out orders until there are no more.
fn serve(orders: mpsc::Receiver<(u64, Order)>) -> anyhow::Result<()> {
    for (parent, order) in orders {
        nuna::session::set_parent(parent);
        nuna::session::forget_interrupt();
        nuna::session::set_running(parent);
        questions::begin();
        interpose::begin_order();
        let answer = match order {
            Order::Run { library, symbol, cell } => run(&library, &symbol, cell),
            Order::PickUp => Answer { kept: pick_up(), ..Answer::default() },
            Order::Forget { names } => {
                names.iter().for_each(|name| nuna::cell::forget(name));
                Answer::default()
            }
            Order::Shell { shell, command } => orders::shell(&shell, &command),
            Order::Environment { change } => orders::environment(change),
            Order::Folder { to } => orders::folder(to.as_deref()),
            // The thread that reads orders has passed these on itself.
            Order::Input { .. } | Order::Comm { .. } => continue,
        };
        let answer = Answer { names: nuna::cell::names(), ..answer };
        nuna::session::set_running(0);
        std::io::stdout().flush()?;
        interpose::end(End::Order);
        report(&Report::Answer(answer))?;
    }
    Ok(())
}

/// Attaches to the clusters of the process before this one.
fn pick_up() -> Vec<Kept> {
    let kept = nuna::parts::cluster::pick_up().into_iter();
    kept.map(|kept| match kept.cluster {
        Ok(cluster) => {
            let workers = cluster.info().workers.len();
            let held = cluster.published();
            let trouble = held.as_ref().err().map(ToString::to_string);
            let holds = held.iter().flat_map(|held| held.iter());
            let holds = holds.map(|held| (held.name.clone(), held.summary.clone())).collect();
            Kept { name: kept.name, workers, holds, trouble }
        }
        Err(error) => Kept { name: kept.name, workers: 0, holds: Vec::new(), trouble: Some(error) },
    })
    .collect()
}

/// Calls the comms' handlers. One that panics is told of, and the next message is delivered.
fn deliver(messages: mpsc::Receiver<(u64, nuna::comm::Incoming)>) {
    for (parent, message) in messages {
        nuna::session::set_parent(parent);
        nuna::session::begin_handler();
        // The panic's message has been printed by then.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| nuna::comm::deliver(message)));
        let _ = std::io::stdout().flush();
        interpose::end(End::Handler);
    }
}

fn run(library: &str, symbol: &str, cell: u32) -> Answer {
    nuna::session::set_cell(cell);
    let entry = match load(library, symbol) {
        Ok(entry) => entry,
        Err(error) => {
            let message = format!("cannot load the compiled cell {library}: {error}");
            return Answer { error: Some(Trouble { message, location: None }), ..Answer::default() };
        }
    };
    // The glue catches the cell's own panics; taking a variable that is gone panics outside of it.
    let ended = std::panic::catch_unwind(entry).unwrap_or_else(|payload| Err(Failed::panic(payload)));
    nuna::progress::end_cell();
    let completed = nuna::cell::take_completed() as usize;
    let shown = nuna::cell::take_shown();
    let panic = PANIC.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let ran = Answer { ran: true, completed, ..Answer::default() };
    let refusal = questions::refusal();
    let explained = |trouble: Trouble| match &refusal {
        Some(reason) => Trouble { message: format!("standard input cannot be read: {reason}"), ..trouble },
        None => trouble,
    };
    let ended = ended.map_err(Failed::failure);
    // Reading that was cut short made an error, and perhaps the cell made a panic of it.
    if ended.is_err() && nuna::session::interrupted() && nuna::session::wait_was_cut() {
        return Answer { interrupted: true, ..ran };
    }
    match ended {
        Ok(()) => Answer { shown, ..ran },
        Err(Failure::Error(error)) => {
            let trouble =
                Trouble { message: explain(error.cause()), location: Some(error.location().into()) };
            Answer { error: Some(explained(trouble)), ..ran }
        }
        Err(Failure::Panic(payload)) if payload.is::<nuna::cell::Interrupted>() => {
            Answer { interrupted: true, ..ran }
        }
        Err(Failure::Panic(_)) => {
            let unknown = Trouble { message: "a panic without a message".to_owned(), location: None };
            Answer { panic: Some(explained(panic.unwrap_or(unknown))), ..ran }
        }
    }
}

/// Ends this process after its kernel.
fn leave(folder: &Path) -> ! {
    // Whoever started it chose the name; nothing else is removed. What cannot be removed, the next kernel removes.
    if folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nuna-cells-")) {
        let _ = std::fs::remove_dir_all(folder);
    }
    std::process::exit(0)
}

/// An error with its causes, where they add something.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = next.source();
    }
    text
}

#[expect(unsafe_code, reason = "running compiled cells is what this program is for")]
fn load(library: &str, symbol: &str) -> Result<Entry, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: the kernel compiled the file a moment ago against the `libnuna.so` that this process links, in a folder
    // that only this user can write; its initialisers are Rust's own.
    let library = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) }?;
    // SAFETY: the glue defines the symbol with exactly this type.
    let entry = unsafe { *library.get::<Entry>(symbol.as_bytes())? };
    // Values, vtables and closures of the cell may live as long as this process, so its code must too.
    std::mem::forget(library);
    Ok(entry)
}
