//! Owns the running of cells in order: what they show and fail with, and what happens to those behind a failure. What they
//! print is `iopub`'s.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::{Kernel, origin::Origin, pager};
use crate::{
    evaluator::{Evaluation, Evaluator, failure::Failure, print::Parent},
    history::Typed,
    message::Message,
};

/// After a cell has failed, those that a client sent before it could know may still be on their way. They are aborted if
/// no more than this is between one and the next.
const BEHIND: Duration = Duration::from_millis(30);
/// A longer cell is refused: the compiler would take minutes and gigabytes.
const CELL_BYTES_MAX: usize = 16 << 20;

/// Runs cells one after the other until the kernel ends. A subshell's cells wait in the same queue: variables belong to one
/// cell at a time.
pub(super) async fn run(
    kernel: Arc<Kernel>,
    mut evaluator: Box<dyn Evaluator>,
    mut queue: mpsc::Receiver<Message>,
    replies: mpsc::Sender<Message>,
) {
    let mut waiting = VecDeque::new();
    loop {
        let request = match waiting.pop_front() {
            Some(request) => request,
            None => match queue.recv().await {
                Some(request) => request,
                None => return,
            },
        };
        let (reply, failed) = cell(&kernel, &mut *evaluator, &request).await;
        // Whoever reads the reply may ask about what the cell made.
        kernel.service.learn(evaluator.snapshot());
        let mut behind = Vec::new();
        if failed && request.content["stop_on_error"].as_bool().unwrap_or(true) {
            while let Ok(Some(next)) = tokio::time::timeout(BEHIND, queue.recv()).await {
                waiting.push_back(next);
            }
            // Another subshell has nothing to do with it.
            let (own, others): (Vec<_>, Vec<_>) =
                waiting.drain(..).partition(|next: &Message| next.subshell() == request.subshell());
            behind = own;
            waiting = others.into();
        }
        let _ = replies.send(reply).await;
        kernel.cell_status(&request.header, "idle").await;
        for behind in behind {
            kernel.cell_status(&behind.header, "busy").await;
            let content = json!({
                "status": "aborted", "ename": "Aborted", "evalue": "a cell before this one failed",
                "traceback": [], "execution_count": count(&kernel),
            });
            let _ = replies.send(behind.reply(&kernel.id, "execute_reply", content)).await;
            kernel.cell_status(&behind.header, "idle").await;
        }
    }
}

fn count(kernel: &Kernel) -> u32 {
    kernel.session.lock().unwrap_or_else(PoisonError::into_inner).count()
}

/// Runs one cell; gives its reply and whether it failed.
async fn cell(kernel: &Arc<Kernel>, evaluator: &mut dyn Evaluator, request: &Message) -> (Message, bool) {
    let header = &request.header;
    let started = jiff::Timestamp::now().to_string();
    kernel.cell_status(header, "busy").await;
    // JupyterLab shows from it how long the cell took.
    let reply = |content: Value| {
        let metadata = json!({"started": started, "status": content["status"]});
        Message { metadata, ..request.reply(&kernel.id, "execute_reply", content) }
    };
    let refused = |reason: &str| {
        reply(json!({
            "status": "error", "ename": "BadRequest", "evalue": reason, "traceback": [reason],
            "execution_count": count(kernel), "user_expressions": {}, "payload": [],
        }))
    };
    let Some(code) = request.content["code"].as_str() else {
        return (
            refused("an execute_request has its cell in the text field `code`, and this one has none"),
            true,
        );
    };
    if code.len() > CELL_BYTES_MAX {
        let reason = format!(
            "the cell has {} MB; at most {} are compiled, so read large data from a file",
            code.len() >> 20,
            CELL_BYTES_MAX >> 20
        );
        return (refused(&reason), true);
    }
    let silent = request.content["silent"].as_bool().unwrap_or(false);
    let remember =
        !silent && request.content["store_history"].as_bool().unwrap_or(true) && !code.trim().is_empty();
    let number = {
        let mut session = kernel.session.lock().unwrap_or_else(PoisonError::into_inner);
        if remember { session.begin(code) } else { session.count() }
    };
    if !silent {
        kernel.publish("execute_input", header, json!({"code": code, "execution_count": number})).await;
    }
    let parent = kernel.add_origin(Origin::of(request));
    let mut payload = Vec::new();
    kernel.cell_started(parent);
    let page = match pager::asked(code) {
        Some(name) => pager::page(kernel, name).await,
        None => None,
    };
    let evaluation = match page {
        Some(page) => {
            payload.push(page);
            Evaluation::default()
        }
        // It may still be a command.
        None => match evaluate(kernel, evaluator, parent, code, number).await {
            Evaluation { error: Some(failure), .. } if pager::means_exit(code, &failure) => {
                payload.push(json!({"source": "ask_exit", "keepkernel": false}));
                Evaluation::default()
            }
            evaluation => evaluation,
        },
    };
    kernel.cell_ended();

    let mut shown_text = None;
    let failed = evaluation.error.is_some();
    let content = match evaluation.error {
        Some(failure) => {
            let content =
                json!({"ename": failure.name, "evalue": failure.value, "traceback": failure.traceback});
            if !silent {
                kernel.publish("error", header, content.clone()).await;
            }
            let mut reply = content;
            reply["status"] = json!("error");
            reply["execution_count"] = json!(number);
            reply["user_expressions"] = json!({});
            reply["payload"] = json!([]);
            reply
        }
        None => {
            if let Some(bundle) = &evaluation.shown
                && !silent
            {
                let data = data(bundle);
                shown_text = data.get("text/plain").and_then(Value::as_str).map(str::to_owned);
                let content = json!({"data": data, "metadata": {}, "execution_count": number});
                kernel.publish("execute_result", header, content).await;
            }
            let expressions = expressions(kernel, evaluator, request, number).await;
            json!({"status": "ok", "execution_count": number, "payload": payload, "user_expressions": expressions})
        }
    };
    if remember {
        let session = {
            let mut session = kernel.session.lock().unwrap_or_else(PoisonError::into_inner);
            session.finish(number, shown_text);
            session.number()
        };
        // Not waited for: a home folder that does not answer must not hold up cells.
        if let Some(Some(keep)) = kernel.history.get() {
            keep.add(Typed { session, number, input: code.to_owned() });
        }
    }
    (reply(content), failed)
}

/// A bundle as messages carry it: what is JSON by its media type is no text.
fn data(bundle: &[(String, String)]) -> Map<String, Value> {
    let value = |kind: &str, text: &String| {
        let parsed = if kind.ends_with("json") { serde_json::from_str(text).ok() } else { None };
        parsed.unwrap_or_else(|| json!(text))
    };
    bundle.iter().map(|(kind, text)| (kind.clone(), value(kind, text))).collect()
}

async fn evaluate(
    kernel: &Kernel,
    evaluator: &mut dyn Evaluator,
    parent: Parent,
    code: &str,
    number: u32,
) -> Evaluation {
    let processes = kernel.evaluator.processes.load(Ordering::SeqCst);
    let result = evaluator.evaluate(code, number, &kernel.print(parent)).await;
    kernel.flush(parent).await;
    if kernel.evaluator.processes.load(Ordering::SeqCst) != processes {
        kernel.close_comms(parent).await;
    }
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
async fn expressions(
    kernel: &Kernel,
    evaluator: &mut dyn Evaluator,
    request: &Message,
    number: u32,
) -> Value {
    let mut answers = Map::new();
    for (name, code) in request.content["user_expressions"].as_object().into_iter().flatten() {
        let parent = kernel.add_origin(Origin { silent: true, ..Origin::of(request) });
        let evaluation = match code.as_str() {
            Some(code) => {
                kernel.cell_started(parent);
                let evaluation = evaluate(kernel, evaluator, parent, code, number).await;
                kernel.cell_ended();
                evaluation
            }
            None => Failure::new("BadRequest", "a user expression is text").into(),
        };
        let answer = match evaluation.error {
            None => {
                json!({"status": "ok", "data": data(&evaluation.shown.unwrap_or_default()), "metadata": {}})
            }
            Some(failure) => {
                json!({"status": "error", "ename": failure.name, "evalue": failure.value, "traceback": failure.traceback})
            }
        };
        answers.insert(name.clone(), answer);
    }
    Value::Object(answers)
}
