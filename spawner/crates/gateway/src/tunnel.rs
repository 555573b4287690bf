//! Two upgraded connections, joined. Reading waits for writing, so nothing piles up here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::Shared;
use crate::guard::Caller;
use crate::registry::Cluster;
use crate::shares::Share;

const UPGRADE_LIMIT: Duration = Duration::from_secs(10);
/// Dashboards ping every 15 s, and browsers answer.
const SILENCE_LIMIT: Duration = Duration::from_secs(90);
/// Who takes nothing for this long is gone.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// How soon a sign-out at the hub ends what is being watched.
const ASK_AGAIN: Duration = Duration::from_secs(60);
const BUFFER_BYTES: usize = 64 * 1024;

pub(crate) async fn run(
    gateway: Shared,
    caller: Caller,
    cluster: Arc<Cluster>,
    browser: OnUpgrade,
    dashboard: OnUpgrade,
    _share: Share,
) {
    let upgraded = tokio::time::timeout(UPGRADE_LIMIT, async { tokio::try_join!(browser, dashboard) }).await;
    let reason = match upgraded {
        Ok(Ok((browser, dashboard))) => join(&gateway, &caller, browser, dashboard).await,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the browser did not go on within {UPGRADE_LIMIT:?}"),
    };
    tracing::debug!(user = caller.user, cluster = cluster.name, reason, "a live view ended");
}

async fn join(gateway: &Shared, caller: &Caller, browser: Upgraded, dashboard: Upgraded) -> String {
    let (mut from_browser, mut to_browser) = tokio::io::split(TokioIo::new(browser));
    let (mut from_dashboard, mut to_dashboard) = tokio::io::split(TokioIo::new(dashboard));
    let reason = tokio::select! {
        end = copy(&mut from_browser, &mut to_dashboard) => said("browser", end),
        end = copy(&mut from_dashboard, &mut to_browser) => said("dashboard", end),
        () = until_unknown(gateway, caller) => "the hub no longer knows the viewer".to_owned(),
    };
    // Both ends hear of it; one of them knows already.
    let goodbye = async { tokio::join!(to_browser.shutdown(), to_dashboard.shutdown()) };
    let _ = tokio::time::timeout(WRITE_LIMIT, goodbye).await;
    reason
}

async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = tokio::time::timeout(SILENCE_LIMIT, from.read(&mut buffer)).await??;
        if count == 0 {
            return Ok(());
        }
        tokio::time::timeout(WRITE_LIMIT, async {
            to.write_all(&buffer[..count]).await?;
            to.flush().await
        })
        .await??;
    }
}

async fn until_unknown(gateway: &Shared, caller: &Caller) {
    loop {
        tokio::time::sleep(ASK_AGAIN).await;
        if !gateway.is_still_known(caller).await {
            return;
        }
    }
}

fn said(who: &str, end: io::Result<()>) -> String {
    match end {
        Ok(()) => format!("the {who} hung up"),
        Err(error) => format!("from the {who}: {error}"),
    }
}
