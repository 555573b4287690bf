//! Owns the running of cells in order: what they print, show and fail with, and what happens to those behind a failure.

use std::sync::{Arc, atomic::Ordering};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::Kernel;
use crate::{
    evaluator::{
        Evaluation, Evaluator,
        failure::Failure,
        print::{Output, Print},
        process::Printed,
    },
    message::{self, Message},
};

const BEGIN: &str = "EVCXR_BEGIN_CONTENT ";
const END: &str = "EVCXR_END_CONTENT";
/// Stands for a media type where `nuna::display` sends a whole message.
const MESSAGE: &str = "application/x-nuna-message";

/// Runs cells one after the other until the kernel ends.
pub(super) async fn run(
    kernel: Arc<Kernel>,
    mut evaluator: Box<dyn Evaluator>,
    mut queue: mpsc::Receiver<Message>,
    replies: mpsc::Sender<Message>,
) {
    while let Some(request) = queue.recv().await {
        let behind = cell(&kernel, &mut *evaluator, &request, &mut queue, &replies).await;
        for behind in behind {
            kernel.status(&behind.header, "busy").await;
            let content = json!({"status": "aborted", "execution_count": count(&kernel)});
            let _ = replies.send(behind.reply(&kernel.id, "execute_reply", content)).await;
            kernel.status(&behind.header, "idle").await;
        }
    }
}

fn count(kernel: &Kernel) -> u32 {
    kernel.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner).count()
}

/// Runs one cell. If it failed, gives those that waited behind it and are to be aborted: they were sent before anybody
/// could know of the failure, so they are taken before the reply goes out.
async fn cell(
    kernel: &Kernel,
    evaluator: &mut dyn Evaluator,
    request: &Message,
    queue: &mut mpsc::Receiver<Message>,
    replies: &mpsc::Sender<Message>,
) -> Vec<Message> {
    let parent = &request.header;
    let code = request.content["code"].as_str().unwrap_or_default();
    let silent = request.content["silent"].as_bool().unwrap_or(false);
    let remember =
        !silent && request.content["store_history"].as_bool().unwrap_or(true) && !code.trim().is_empty();
    kernel.status(parent, "busy").await;
    let number = {
        let mut session = kernel.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if remember { session.begin(code) } else { session.count() }
    };
    if !silent {
        kernel.publish("execute_input", parent, json!({"code": code, "execution_count": number})).await;
    }
    kernel.cell_started();
    let evaluation = evaluate(kernel, evaluator, parent, code, number).await;
    kernel.cell_ended();
    let stops = evaluation.error.is_some() && request.content["stop_on_error"].as_bool().unwrap_or(true);
    let behind = std::iter::from_fn(|| if stops { queue.try_recv().ok() } else { None }).collect();

    let mut shown_text = None;
    let content = match &evaluation.error {
        Some(failure) => {
            let content =
                json!({"ename": failure.name, "evalue": failure.value, "traceback": failure.traceback});
            if !silent {
                kernel.publish("error", parent, content.clone()).await;
            }
            let mut reply = content;
            reply["status"] = json!("error");
            reply["execution_count"] = json!(number);
            reply["user_expressions"] = json!({});
            reply
        }
        None => {
            if let Some(bundle) = &evaluation.shown
                && !silent
            {
                let data: Map<String, Value> = bundle.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
                shown_text = data.get("text/plain").and_then(Value::as_str).map(str::to_owned);
                let content = json!({"data": data, "metadata": {}, "execution_count": number});
                kernel.publish("execute_result", parent, content).await;
            }
            let expressions = expressions(evaluator, &request.content["user_expressions"], number).await;
            json!({"status": "ok", "execution_count": number, "payload": [], "user_expressions": expressions})
        }
    };
    if remember {
        kernel.session.lock().unwrap_or_else(std::sync::PoisonError::into_inner).finish(number, shown_text);
    }
    // Whoever reads the reply may ask about what the cell made.
    kernel.service.learn(evaluator.snapshot());
    let _ = replies.send(request.reply(&kernel.id, "execute_reply", content)).await;
    kernel.status(parent, "idle").await;
    behind
}

async fn evaluate(
    kernel: &Kernel,
    evaluator: &mut dyn Evaluator,
    parent: &Value,
    code: &str,
    number: u32,
) -> Evaluation {
    // Prints go through a bounded channel to the socket's task while the cell runs.
    let (sender, mut printed) = mpsc::channel::<Output>(64);
    let iopub = kernel.iopub.clone();
    let (id, header) = (kernel.id.clone(), parent.clone());
    let places = evaluator.places();
    let printer = tokio::spawn(async move {
        let mut displays = Displays::default();
        while let Some(output) = printed.recv().await {
            // Nothing else is sent yet.
            let Output::Printed(_, text) = output else { continue };
            let text = match text {
                Printed::Stderr(text) => Printed::Stderr(places.translate(&text).into_owned()),
                stdout => stdout,
            };
            for (kind, content) in displays.read(text) {
                let _ = iopub.send(message::child(&id, kind, &header, content)).await;
            }
        }
        for (kind, content) in displays.rest() {
            let _ = iopub.send(message::child(&id, kind, &header, content)).await;
        }
    });
    let print = Print::new(sender, 0);
    let result = evaluator.evaluate(code, number, &print).await;
    drop(print);
    let _ = printer.await;
    let mut evaluation = result.unwrap_or_else(|error| Evaluation {
        error: Some(Failure::new("KernelError", format!("{error:#}"))),
        ..Evaluation::default()
    });
    if let Some(failure) = &mut evaluation.error
        && kernel.interrupts.load(Ordering::SeqCst) > 0
        && failure.name == "Error"
    {
        *failure = Failure::interrupted(&failure.value);
    }
    evaluation
}

/// Evaluates each expression as a cell of its own that prints nothing.
async fn expressions(evaluator: &mut dyn Evaluator, wanted: &Value, number: u32) -> Value {
    let mut answers = Map::new();
    for (name, code) in wanted.as_object().into_iter().flatten() {
        let result = evaluator.evaluate(code.as_str().unwrap_or_default(), number, &Print::nowhere()).await;
        let answer = match result {
            Ok(Evaluation { error: None, shown }) => {
                let data: Map<String, Value> =
                    shown.unwrap_or_default().into_iter().map(|(k, v)| (k, json!(v))).collect();
                json!({"status": "ok", "data": data, "metadata": {}})
            }
            Ok(Evaluation { error: Some(failure), .. }) => {
                json!({"status": "error", "ename": failure.name, "evalue": failure.value, "traceback": failure.traceback})
            }
            Err(error) => {
                json!({"status": "error", "ename": "KernelError", "evalue": format!("{error:#}"), "traceback": []})
            }
        };
        answers.insert(name.clone(), answer);
    }
    Value::Object(answers)
}

/// Finds displays in what a cell prints: the convention of evcxr's display crates.
#[derive(Default)]
struct Displays {
    held: String,
}

impl Displays {
    fn read(&mut self, printed: Printed) -> Vec<(&'static str, Value)> {
        let text = match printed {
            Printed::Stderr(text) => return vec![("stream", json!({"name": "stderr", "text": text}))],
            Printed::Stdout(text) => text,
        };
        self.held.push_str(&text);
        let mut out = Vec::new();
        loop {
            let Some(begin) = self.held.find(BEGIN) else {
                // What may become the mark waits for the rest of it.
                let keep = (1..BEGIN.len()).rev().find(|&n| self.held.ends_with(&BEGIN[..n])).unwrap_or(0);
                let rest = self.held.split_off(self.held.len() - keep);
                Self::stream(std::mem::replace(&mut self.held, rest), &mut out);
                return out;
            };
            let Some(end) = self.held[begin..].find(END).map(|at| begin + at) else {
                let rest = self.held.split_off(begin);
                Self::stream(std::mem::replace(&mut self.held, rest), &mut out);
                return out;
            };
            let block = self.held[begin + BEGIN.len()..end].to_owned();
            let before = self.held[..begin].to_owned();
            let after = self.held[end + END.len()..]
                .strip_prefix('\n')
                .unwrap_or(&self.held[end + END.len()..])
                .to_owned();
            Self::stream(before, &mut out);
            let (kind, data) = block.split_once('\n').unwrap_or((&block, ""));
            let data = data.strip_suffix('\n').unwrap_or(data);
            match kind.trim() {
                MESSAGE => out.extend(message_of(data)),
                kind => {
                    out.push(("display_data", json!({"data": {kind: data}, "metadata": {}, "transient": {}})))
                }
            }
            self.held = after;
        }
    }

    fn rest(&mut self) -> Vec<(&'static str, Value)> {
        let mut out = Vec::new();
        Self::stream(std::mem::take(&mut self.held), &mut out);
        out
    }

    fn stream(text: String, out: &mut Vec<(&'static str, Value)>) {
        if !text.is_empty() {
            out.push(("stream", json!({"name": "stdout", "text": text})));
        }
    }
}

/// The message that `nuna::display` wrote; what a cell may not send is dropped.
fn message_of(text: &str) -> Option<(&'static str, Value)> {
    let mut message: Value = serde_json::from_str(text).ok()?;
    let kinds = ["display_data", "update_display_data", "clear_output"];
    let kind = kinds.into_iter().find(|kind| message["msg_type"] == *kind)?;
    Some((kind, message["content"].take()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_are_found_across_prints() {
        let mut displays = Displays::default();
        let mut out = displays.read(Printed::Stdout("before\nEVCXR_BEG".into()));
        out.extend(displays.read(Printed::Stdout("IN_CONTENT text/html\n<b>x</b>\nEVCXR_END_CON".into())));
        out.extend(displays.read(Printed::Stdout("TENT\nafter".into())));
        out.extend(displays.rest());
        assert_eq!(out[0], ("stream", json!({"name": "stdout", "text": "before\n"})));
        assert_eq!(out[1].1["data"], json!({"text/html": "<b>x</b>"}));
        assert_eq!(out[2].1["text"], "after");
    }

    #[test]
    fn a_cell_sends_messages_about_its_output_only() {
        assert_eq!(
            message_of(r#"{"msg_type": "clear_output", "content": {"wait": true}}"#),
            Some(("clear_output", json!({"wait": true})))
        );
        assert_eq!(message_of(r#"{"msg_type": "shutdown_reply", "content": {}}"#), None);
        assert_eq!(message_of("{"), None);
    }
}
