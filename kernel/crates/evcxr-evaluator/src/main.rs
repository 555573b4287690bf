//! `nuna-evcxr`: cells evaluated by evcxr, for the kernel that started this program. Owns the conversation with the
//! kernel; what evcxr is asked, and what its answers mean, is in `session`.
//!
//! evcxr starts this same program again: as the process that runs cells, and as a wrapper around `rustc`.

#![forbid(unsafe_code)]

mod output;
#[path = "../../../src/evaluator/evcxr/protocol.rs"]
mod protocol;
mod session;
mod stop;

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use anyhow::{Context, Result, bail};
use nix::sys::{prctl, signal::Signal};

use crate::{
    protocol::{Said, Wish},
    session::Session,
    stop::Stop,
};

fn main() -> Result<()> {
    if std::env::var_os("EVCXR_IS_RUNTIME").is_some() {
        // A cell that never ends must not outlive whoever could stop it.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
    }
    evcxr::runtime_hook();

    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        bail!("usage: nuna-evcxr FOLDER; nuna-kernel starts it with a socket as standard input");
    };
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    // Nothing that evcxr starts may read what the kernel says.
    let channel = UnixStream::from(nix::unistd::dup(std::io::stdin())?);
    let null = std::fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::fcntl::fcntl(&channel, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;

    let stop = Arc::new(Stop::default());
    let mut signals =
        signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM])?;
    let (own, asked) = (folder.clone(), Arc::clone(&stop));
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                signal_hook::consts::SIGTERM => leave(&own),
                _ => asked.ask(),
            }
        }
    });
    let (requests, received) = mpsc::channel();
    let reader = channel.try_clone()?;
    let own = folder.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            match line.map(|line| serde_json::from_str::<Wish>(&line)) {
                Ok(Ok(request)) => drop(requests.send(request)),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        // The kernel is gone, and what it started goes with it.
        leave(&own);
    });
    let served = serve(received, Mutex::new(channel), stop);
    if let Err(error) = &served {
        // The kernel shows the last words of this program to whoever waits for a cell.
        eprintln!("{error:#}");
    }
    served
}

/// Answers requests until there are no more.
fn serve(requests: mpsc::Receiver<Wish>, channel: Mutex<UnixStream>, stop: Arc<Stop>) -> Result<()> {
    let mut session = Session::start(stop).context("starting evcxr; it needs cargo and rustc")?;
    for wish in requests {
        let say = |what: Said| {
            let Ok(mut line) = serde_json::to_vec(&what) else { return };
            line.push(b'\n');
            // Whether the kernel is still there, the reading thread finds out.
            let _ = channel.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
        };
        match wish {
            Wish::Evaluate { code, number } => {
                let evaluated = session.evaluate(&code, number, &say);
                say(Said::Evaluated(evaluated));
            }
            Wish::Complete { code, at } => say(session.complete(&code, at)),
            Wish::Inspect { code, at } => say(Said::Inspected(session.inspect(&code, at))),
        }
    }
    Ok(())
}

/// Ends this process, and with it the one that runs cells, after its kernel.
fn leave(folder: &Path) -> ! {
    // Whoever started it chose the name; nothing else is removed. What cannot be removed, the next kernel removes.
    if folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nuna-cells-")) {
        let _ = std::fs::remove_dir_all(folder);
    }
    std::process::exit(0)
}
