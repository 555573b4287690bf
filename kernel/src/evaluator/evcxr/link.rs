//! Owns the process `nuna-evcxr`: starts it, asks it one thing at a time, and notices its end.

use std::{os::fd::OwnedFd, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, Command},
};

use super::protocol::{Said, Wish};
use crate::evaluator::{print::Print, process::Printed};

pub(super) struct Link {
    child: Child,
    requests: OwnedWriteHalf,
    replies: BufReader<OwnedReadHalf>,
}

/// How a question ended.
pub(super) enum Answered {
    Said(Said),
    /// The program is gone; says how.
    Died(String),
}

impl Link {
    /// `folder` is for compiled cells; the program removes it when it finds its kernel gone.
    pub(super) fn start(program: &Path, kernel_id: &str, folder: &Path) -> Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().context("making a socket pair")?;
        ours.set_nonblocking(true)?;
        // Of its own, so that evcxr's files and the kernel's lock do not meet.
        let cells = folder.join("evcxr");
        std::fs::create_dir_all(&cells).with_context(|| format!("making {}", cells.display()))?;
        let child = Command::new(program)
            .arg(folder)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            // What the program itself has to say belongs to the kernel's log.
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .process_group(0)
            .env("EVCXR_TMPDIR", cells)
            .env("NUNA_KERNEL_ID", kernel_id)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let (replies, requests) = UnixStream::from_std(ours)?.into_split();
        Ok(Self { child, requests, replies: BufReader::new(replies) })
    }

    /// Asks, and hands on what a cell prints until there is an answer. Once begun, it must be awaited to its end.
    pub(super) async fn ask(&mut self, wish: &Wish, print: Option<&Print>) -> Answered {
        let mut line = serde_json::to_vec(wish).expect("requests are plain data");
        line.push(b'\n');
        if let Err(error) = self.requests.write_all(&line).await {
            return self.died(&error.to_string()).await;
        }
        loop {
            line.clear();
            match self.replies.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return self.died("it closed its channel").await,
                Ok(_) => {}
            }
            match serde_json::from_slice::<Said>(&line) {
                Ok(Said::Stdout(text)) => hand_on(print, Printed::Stdout(text)).await,
                Ok(Said::Stderr(text)) => hand_on(print, Printed::Stderr(text)).await,
                Ok(said) => return Answered::Said(said),
                Err(error) => return self.died(&format!("its answer cannot be read: {error}")).await,
            }
        }
    }

    async fn died(&mut self, what: &str) -> Answered {
        // A process that only closed its channel must not linger.
        Answered::Died(match tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => {
                let _ = self.child.kill().await;
                what.to_owned()
            }
        })
    }

    pub(super) fn id(&self) -> Option<i32> {
        self.child.id().and_then(|id| i32::try_from(id).ok())
    }
}

async fn hand_on(print: Option<&Print>, text: Printed) {
    if let Some(print) = print {
        // Nobody listens to what expressions print.
        let _ = print.send(text).await;
    }
}
