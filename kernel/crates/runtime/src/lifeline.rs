//! Owns the lifeline: whoever starts a process keeps the other end of its standard input, and the process ends when that
//! end closes. The kernel closes it however the starter ended, so nothing is left behind.

use std::{io::Read, time::Duration};

use tokio::sync::watch;

/// How long a process may take to end by itself once its lifeline is cut.
const GRACE: Duration = Duration::from_secs(5);

/// True once the process should end.
pub(crate) type Ending = watch::Receiver<bool>;

/// Watches standard input. The process exits for good some seconds after it closed, whatever it is busy with.
///
/// # Errors
/// If no thread can be started.
pub(crate) fn watch_standard_input() -> std::io::Result<Ending> {
    let (sender, receiver) = watch::channel(false);
    std::thread::Builder::new().name("lifeline".into()).spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = [0; 64];
        while !matches!(stdin.read(&mut buffer), Ok(0) | Err(_)) {}
        tracing::info!("the process that started this one is gone, or asked it to end");
        let _ = sender.send(true);
        std::thread::sleep(GRACE);
        std::process::exit(1);
    })?;
    Ok(receiver)
}

/// Never ends by itself.
pub(crate) fn endless() -> Ending {
    let (sender, receiver) = watch::channel(false);
    // Kept for the life of the process, so that nobody waits on a channel without a sender.
    std::mem::forget(sender);
    receiver
}

/// Waits until the process should end.
pub(crate) async fn ended(ending: &mut Ending) {
    if ending.wait_for(|ending| *ending).await.is_err() {
        std::future::pending::<()>().await;
    }
}
