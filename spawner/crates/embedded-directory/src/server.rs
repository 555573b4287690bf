//! The sockets: accept, read messages within limits, answer, close.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::{SinkExt, StreamExt};
use ldap3_proto::LdapCodec;
use ldap3_proto::proto::{LdapMsg, LdapOp};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::codec::Framed;
use tracing::{debug, info, warn};

use crate::password;
use crate::session::{Session, Step};
use crate::tree::Tree;

const CONNECTIONS_MAX: usize = 512;
/// Password checks at the same time; each is tens of milliseconds of computing.
const CHECKS_MAX: usize = 2;
/// A message is at most this long; searches and binds are far shorter.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// How long a connection may say nothing before and after its sign-in.
const IDLE_ANONYMOUS_MAX: Duration = Duration::from_secs(60);
const IDLE_BOUND_MAX: Duration = Duration::from_secs(900);
/// A client that does not read its answers is dropped.
const SEND_MAX: Duration = Duration::from_secs(30);

struct Shared {
    tree: Tree,
    checks: Semaphore,
}

pub(crate) async fn serve(listen: SocketAddr, address_file: Option<&Path>, tree: Tree) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    if let Some(path) = address_file {
        crate::settings::write_private(path, address.to_string().as_bytes())?;
    }
    info!(address = %address, entries = tree.entries().count(), "directory is ready");
    let shared = Arc::new(Shared { tree, checks: Semaphore::new(CHECKS_MAX) });
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        let slot = slots.clone().acquire_owned().await.context("the connection limit is gone")?;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        match accepted {
            Ok((stream, peer)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(&shared, stream).await {
                        debug!(%peer, error = format!("{error:#}"), "connection ended");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(shared: &Arc<Shared>, stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut frames = Framed::new(stream, LdapCodec::new(Some(MESSAGE_BYTES_MAX), None));
    let mut session = Session::default();
    loop {
        let idle = if session.is_bound() { IDLE_BOUND_MAX } else { IDLE_ANONYMOUS_MAX };
        let message = match tokio::time::timeout(idle, frames.next()).await.context("idle for too long")? {
            Some(message) => message.context("not an LDAP message")?,
            None => return Ok(()),
        };
        let LdapMsg { msgid, op, ctrl } = message;
        let answers = match session.handle(&shared.tree, op, &ctrl) {
            Step::Answer(answers) => answers,
            Step::Verify { dn, hash, password } => {
                let permit = shared.checks.acquire().await?;
                let is_right = tokio::task::spawn_blocking(move || match hash {
                    Some(hash) => password::verify(&hash, &password),
                    None => {
                        password::pretend(&password);
                        false
                    }
                })
                .await?;
                drop(permit);
                info!(user = ?dn, accepted = is_right, "bind");
                session.verified(dn, is_right)
            }
            Step::Silence => continue,
            Step::Close => return Ok(()),
        };
        tokio::time::timeout(SEND_MAX, send(&mut frames, msgid, answers))
            .await
            .context("the client does not read its answers")??;
    }
}

async fn send(
    frames: &mut Framed<TcpStream, LdapCodec>,
    msgid: i32,
    answers: Vec<LdapOp>,
) -> anyhow::Result<()> {
    for op in answers {
        frames.feed(LdapMsg { msgid, op, ctrl: Vec::new() }).await?;
    }
    frames.flush().await?;
    Ok(())
}
