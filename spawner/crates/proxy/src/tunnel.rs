//! After `101 Switching Protocols`: bytes both ways until either side is done.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tracing::debug;

use crate::Proxy;
use crate::metrics::Gauge;
use crate::routes::Route;

const BUFFER_BYTES: usize = 16 << 10;
/// After one side has ended, the other may finish what it was saying.
const LINGER_MAX: Duration = Duration::from_secs(10);
/// Both sides are upgraded at once; a side that is not is gone.
const UPGRADE_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn run(proxy: Arc<Proxy>, client: OnUpgrade, target: OnUpgrade, route: Arc<Route>) {
    let both = async { tokio::try_join!(client, target) };
    let (client, target) = match tokio::time::timeout(UPGRADE_MAX, both).await {
        Ok(Ok(pair)) => pair,
        Ok(Err(error)) => {
            debug!(%error, route = route.prefix, "a tunnel did not open");
            return;
        }
        Err(_) => {
            debug!(route = route.prefix, "a tunnel did not open in time");
            return;
        }
    };
    let _open = Gauge::enter(&proxy.metrics.tunnels);
    let (mut client_reader, mut client_writer) = split(TokioIo::new(client));
    let (mut target_reader, mut target_writer) = split(TokioIo::new(target));
    // Only what the user sends is activity: a kernel that prints forever must not keep its server alive.
    let mut up = std::pin::pin!(pass(&mut client_reader, &mut target_writer, Some(&route)));
    let mut down = std::pin::pin!(pass(&mut target_reader, &mut client_writer, None));
    tokio::select! {
        () = &mut up => { let _ = tokio::time::timeout(LINGER_MAX, down).await; }
        () = &mut down => { let _ = tokio::time::timeout(LINGER_MAX, up).await; }
    }
}

async fn pass(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    active: Option<&Arc<Route>>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        if let Some(route) = active {
            route.touch();
        }
        if writer.write_all(&buffer[..length]).await.is_err() || writer.flush().await.is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = writer.shutdown().await;
}
