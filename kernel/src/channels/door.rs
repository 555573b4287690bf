//! Owns the doors of the kernel's TCP sockets. Whoever can reach a port, and on a shared machine that is everybody, may
//! write what they please, and the ZeroMQ library sets memory aside for whatever length a frame claims to have. So what
//! comes in is looked at first: a connection that breaks the framing, or claims more than a message may have, is closed.
//! Who may ask for anything is decided later, by the signature.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result};
use nix::{
    fcntl::{OFlag, open},
    sys::stat::Mode,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Semaphore,
};
use zeromq::Socket;

/// As `message` refuses what is larger, with room for its other frames.
const MESSAGE_BYTES_MAX: u64 = (256 << 20) + (1 << 20);
const FRAMES_MAX: u32 = 10_000;
const COMMAND_BYTES_MAX: u64 = 64 << 10;
/// Connections at one door at a time; a client has one.
const CONNECTIONS_MAX: usize = 512;
const GREETING_BYTES: u64 = 64;

/// Binds `socket` behind a door at this address. `folder` is the kernel's own, where only its user gets.
pub(super) async fn bind(
    socket: &mut impl Socket,
    ip: &str,
    port: u32,
    folder: &Path,
    name: &'static str,
) -> Result<()> {
    let port =
        u16::try_from(port).with_context(|| format!("port {port} of the {name} socket is above 65535"))?;
    let at = || format!("binding the {name} socket to {ip}:{port}");
    let ip = if ip == "*" { "0.0.0.0" } else { ip };
    let outside = TcpListener::bind((ip, port)).await.with_context(at)?;
    // The folder's own path may be longer than a socket's name can be.
    let folder: OwnedFd = open(folder, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .with_context(|| format!("opening {}", folder.display()))?;
    let inside =
        Arc::new(Inside { path: format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()), _folder: folder });
    let listener = std::os::unix::net::UnixListener::bind(&inside.path).with_context(at)?;
    socket.bind_listener(listener).await.with_context(at)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match outside.accept().await {
                Ok((stream, _)) => {
                    let inside = Arc::clone(&inside);
                    tokio::spawn(async move {
                        if let Err(error) = pass(stream, &inside.path).await {
                            tracing::debug!(%error, name, "a connection was closed");
                        }
                        drop(place);
                    });
                }
                // Such as no file descriptors left.
                Err(error) => {
                    tracing::warn!(%error, name, "a connection could not be taken");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

struct Inside {
    path: String,
    _folder: OwnedFd,
}

async fn pass(outside: TcpStream, path: &str) -> std::io::Result<()> {
    outside.set_nodelay(true)?;
    let inside = UnixStream::connect(path).await?;
    let (mut from, mut back) = outside.into_split();
    let (mut out, mut to) = inside.into_split();
    let coming = async {
        let mut buffer = vec![0; 64 << 10];
        let mut frames = Frames::default();
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            frames.look(&buffer[..count]).map_err(std::io::Error::other)?;
            to.write_all(&buffer[..count]).await?;
        }
    };
    let going = async {
        tokio::io::copy_buf(&mut tokio::io::BufReader::with_capacity(256 << 10, &mut out), &mut back)
            .await
            .map(drop)
    };
    // Either side's end is the connection's.
    tokio::select! {
        ended = coming => ended,
        ended = going => ended,
    }
}

/// Why a connection is closed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Refused {
    #[error("its first byte is {0:#04x}, so it does not speak ZeroMQ's protocol")]
    Foreign(u8),
    #[error("a frame has the flags {0:#04x}, which do not exist")]
    Flags(u8),
    #[error("a message of at least {bytes} bytes in {frames} frames is more than the kernel takes")]
    TooLarge { bytes: u64, frames: u32 },
}

/// Follows the framing of one direction of a connection, ZMTP 3.x.
#[derive(Debug, Default)]
pub(super) struct Frames {
    part: Part,
    /// Of the message so far.
    bytes: u64,
    frames: u32,
}

#[derive(Debug)]
enum Part {
    Greeting { read: u64 },
    Flags,
    Length { flags: u8, left: u8, length: u64 },
    Body { flags: u8, left: u64 },
}

impl Default for Part {
    fn default() -> Self {
        Self::Greeting { read: 0 }
    }
}

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

impl Frames {
    /// Looks at the next bytes.
    ///
    /// # Errors
    /// If they are not what a peer may send; nothing more is to be read then.
    pub(super) fn look(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.part {
                Part::Greeting { read } => {
                    if *read == 0 && first != 0xff {
                        return Err(Refused::Foreign(first));
                    }
                    let count = bytes.len().min((GREETING_BYTES - *read) as usize);
                    *read += count as u64;
                    bytes = &bytes[count..];
                    if *read == GREETING_BYTES {
                        self.part = Part::Flags;
                    }
                }
                Part::Flags => {
                    if first > MORE | LONG | COMMAND {
                        return Err(Refused::Flags(first));
                    }
                    let left = if first & LONG == 0 { 1 } else { 8 };
                    self.part = Part::Length { flags: first, left, length: 0 };
                    bytes = rest;
                }
                Part::Length { flags, left, length } => {
                    *length = (*length << 8) | u64::from(first);
                    *left -= 1;
                    bytes = rest;
                    if *left == 0 {
                        let (flags, length) = (*flags, *length);
                        self.begin(flags, length)?;
                    }
                }
                Part::Body { flags, left } => {
                    let count = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                    *left -= count as u64;
                    bytes = &bytes[count..];
                    if *left == 0 {
                        let flags = *flags;
                        self.end(flags);
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, flags: u8, length: u64) -> Result<(), Refused> {
        let most = if flags & COMMAND == 0 {
            self.frames += 1;
            MESSAGE_BYTES_MAX
        } else {
            COMMAND_BYTES_MAX
        };
        let bytes = self.bytes.saturating_add(length);
        if bytes > most || self.frames > FRAMES_MAX {
            return Err(Refused::TooLarge { bytes, frames: self.frames });
        }
        self.bytes = bytes;
        self.part = Part::Body { flags, left: length };
        if length == 0 {
            self.end(flags);
        }
        Ok(())
    }

    fn end(&mut self, flags: u8) {
        self.part = Part::Flags;
        if flags & (MORE | COMMAND) != MORE {
            (self.bytes, self.frames) = (0, 0);
        }
    }
}

/// Whether an address is reached through a door.
pub(super) fn guards(transport: &str) -> bool {
    // A socket in a folder is guarded by the folder.
    transport == "tcp"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn greeting() -> Vec<u8> {
        let mut greeting = vec![0; GREETING_BYTES as usize];
        greeting[0] = 0xff;
        greeting
    }

    fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![flags];
        if flags & LONG == 0 {
            frame.push(u8::try_from(body.len()).unwrap());
        } else {
            frame.extend((body.len() as u64).to_be_bytes());
        }
        frame.extend(body);
        frame
    }

    #[test]
    fn lengths_that_nobody_means_are_refused_before_anything_follows() {
        for length in [MESSAGE_BYTES_MAX + 1, 1 << 40, 1 << 62, u64::MAX] {
            let mut frames = Frames::default();
            frames.look(&greeting()).unwrap();
            let mut header = vec![LONG];
            header.extend(length.to_be_bytes());
            assert!(matches!(frames.look(&header), Err(Refused::TooLarge { .. })), "{length}");
        }
        let mut frames = Frames::default();
        frames.look(&greeting()).unwrap();
        let mut command = vec![LONG | COMMAND];
        command.extend((1u64 << 20).to_be_bytes());
        assert!(frames.look(&command).is_err());
    }

    #[test]
    fn a_message_that_never_ends_is_refused() {
        let mut frames = Frames::default();
        frames.look(&greeting()).unwrap();
        let refused = (0..=FRAMES_MAX).find_map(|_| frames.look(&frame(MORE, b"x")).err());
        assert!(matches!(refused, Some(Refused::TooLarge { .. })));
    }

    #[test]
    fn other_protocols_are_refused() {
        assert_eq!(Frames::default().look(b"GET / HTTP/1.1\r\n"), Err(Refused::Foreign(b'G')));
        let mut frames = Frames::default();
        frames.look(&greeting()).unwrap();
        assert_eq!(frames.look(&[0x80]), Err(Refused::Flags(0x80)));
    }

    proptest! {
        /// What a peer sends passes, however it is cut.
        #[test]
        fn whole_frames_pass_in_any_portions(
            bodies in prop::collection::vec((any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 0..20),
            cuts in prop::collection::vec(1usize..50, 1..50),
        ) {
            let mut bytes = greeting();
            for (more, long, body) in &bodies {
                bytes.extend(frame((u8::from(*more) * MORE) | (u8::from(*long) * LONG), body));
            }
            let (mut frames, mut rest, mut cuts) = (Frames::default(), bytes.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                prop_assert_eq!(frames.look(now), Ok(()));
                rest = later;
            }
        }

        /// Whatever comes, the looking ends.
        #[test]
        fn any_bytes_pass_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400), greeted in any::<bool>()) {
            let mut frames = Frames::default();
            if greeted {
                frames.look(&greeting()).unwrap();
            }
            let _ = frames.look(&bytes);
        }
    }
}
