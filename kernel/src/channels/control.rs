//! Owns the answers that belong to the control channel: shutdown, interrupt, subshells, the kernel's use of the machine, and
//! that there is no debugger. Clients of old protocols send some of them on the shell channel, where they are answered too.

use std::{collections::BTreeSet, sync::Arc, sync::PoisonError};

use serde_json::{Value, json};

use super::Kernel;
use crate::message::Message;

/// More than this no client needs; each is a queue of its own to the client, though cells share one.
const SUBSHELLS_MAX: usize = 64;

/// Subshells by id. Everything but cells is answered while a cell runs anyway, in any subshell. Cells of subshells wait for
/// each other, because a variable belongs to one cell at a time.
#[derive(Default)]
pub(crate) struct Subshells(BTreeSet<String>);

impl Subshells {
    pub(super) fn knows(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    fn create(&mut self) -> Value {
        if self.0.len() >= SUBSHELLS_MAX {
            let reason = format!("there are {SUBSHELLS_MAX} subshells already; delete one first");
            return refused("TooManySubshells", &reason);
        }
        let id = uuid::Uuid::new_v4().to_string();
        self.0.insert(id.clone());
        json!({"status": "ok", "subshell_id": id})
    }

    fn delete(&mut self, id: Option<&str>) -> Value {
        match id {
            Some(id) if self.0.remove(id) => json!({"status": "ok"}),
            Some(id) => refused("UnknownSubshell", &format!("there is no subshell {id:?}")),
            None => refused("BadRequest", "`subshell_id` says which subshell to delete"),
        }
    }

    fn list(&self) -> Value {
        json!({"status": "ok", "subshell_id": self.0})
    }
}

/// An error as replies carry it.
pub(super) fn refused(name: &str, reason: &str) -> Value {
    json!({"status": "error", "ename": name, "evalue": reason, "traceback": [reason]})
}

/// The answer, if the request is one of these.
pub(super) fn respond(kernel: &Arc<Kernel>, request: &Message) -> Option<(&'static str, Value)> {
    let content = &request.content;
    let subshells = || kernel.subshells.lock().unwrap_or_else(PoisonError::into_inner);
    Some(match request.kind() {
        "interrupt_request" => {
            kernel.interrupt();
            ("interrupt_reply", json!({"status": "ok"}))
        }
        "shutdown_request" => (
            "shutdown_reply",
            json!({"status": "ok", "restart": content["restart"].as_bool().unwrap_or(false)}),
        ),
        "create_subshell_request" => ("create_subshell_reply", subshells().create()),
        "delete_subshell_request" => {
            ("delete_subshell_reply", subshells().delete(content["subshell_id"].as_str()))
        }
        "list_subshell_request" => ("list_subshell_reply", subshells().list()),
        "usage_request" => ("usage_reply", usage(kernel)),
        "debug_request" => (
            "debug_reply",
            json!({"type": "response", "success": false, "request_seq": content["seq"], "command": content["command"],
                   "message": "this kernel has no debugger"}),
        ),
        _ => return None,
    })
}

/// What JupyterLab's kernel usage panel shows: memory in bytes, of the kernel and the process that runs cells.
fn usage(kernel: &Kernel) -> Value {
    let own = std::process::id();
    let evaluator = kernel.evaluator.process.load(std::sync::atomic::Ordering::SeqCst);
    let resident = |process: String| {
        let text = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
        let pages: u64 = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        pages * 4096
    };
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |field: &str| {
        let line = memory.lines().find(|line| line.starts_with(field));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    let (total, available) = (bytes("MemTotal:"), bytes("MemAvailable:"));
    let used = total.saturating_sub(available);
    let percent = if total > 0 { used as f64 * 100.0 / total as f64 } else { 0.0 };
    json!({
        "hostname": nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default(),
        "pid": own,
        "kernel_memory": resident(own.to_string()) + resident(evaluator.to_string()),
        "cpu_count": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "host_virtual_memory": {
            "total": total, "available": available, "used": used, "percent": percent, "free": bytes("MemFree:"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subshells_come_and_go_by_id() {
        let mut subshells = Subshells::default();
        let made = subshells.create();
        let id = made["subshell_id"].as_str().unwrap();
        assert!(subshells.knows(id) && subshells.list()["subshell_id"] == json!([id]));
        assert_eq!(subshells.delete(Some(id))["status"], "ok");
        assert_eq!(subshells.delete(Some(id))["ename"], "UnknownSubshell");
        assert_eq!(subshells.delete(None)["ename"], "BadRequest");
        (0..SUBSHELLS_MAX).for_each(|_| assert_eq!(subshells.create()["status"], "ok"));
        assert_eq!(subshells.create()["ename"], "TooManySubshells");
    }
}
