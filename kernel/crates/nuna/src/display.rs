//! Owns how values show themselves in a notebook: pairs of media type and data, and what a running cell may do with its
//! output. The kernel finds all of it in what the cell prints.

use serde_json::{Map, Value, json};

/// What the kernel takes for a message of its own, where evcxr's convention has a media type.
const MESSAGE: &str = "application/x-nuna-message";

/// A value with views of its own. Data is text; images are base64.
pub trait Display {
    /// Pairs such as `("text/html", "<table>…")`. `text/plain` comes along, for terminals and for search.
    fn mime_bundle(&self) -> Vec<(String, String)>;
}

/// Shows `value` now, in the middle of a cell, as a last expression would be shown.
pub fn display(value: &(impl Display + ?Sized)) {
    send("display_data", json!({"data": data(value), "metadata": {}, "transient": {}}));
}

/// As [`display`], under a name by which [`update`] finds it.
pub fn display_as(id: &str, value: &(impl Display + ?Sized)) {
    send("display_data", json!({"data": data(value), "metadata": {}, "transient": {"display_id": id}}));
}

/// Shows `value` in the place of what was shown under `id`, also by an earlier cell.
pub fn update(id: &str, value: &(impl Display + ?Sized)) {
    send(
        "update_display_data",
        json!({"data": data(value), "metadata": {}, "transient": {"display_id": id}}),
    );
}

/// Removes what the cell has shown and printed so far.
pub fn clear_output() {
    send("clear_output", json!({"wait": false}));
}

/// Removes what the cell has shown so far once there is something new, so that nothing flickers.
pub fn clear_output_when_next_is_shown() {
    send("clear_output", json!({"wait": true}));
}

/// Sends data of a media type to the notebook, by the convention that evcxr's display crates follow too.
#[expect(
    clippy::print_stdout,
    reason = "the convention is markers on standard output, which the kernel reads"
)]
pub fn publish(kind: &str, data: &str) {
    println!("EVCXR_BEGIN_CONTENT {kind}\n{data}\nEVCXR_END_CONTENT");
}

fn send(kind: &str, content: Value) {
    send_message(&json!({"msg_type": kind, "content": content}));
}

/// Sends a whole message to the notebook, as far as the kernel lets cells send it.
pub(crate) fn send_message(message: &Value) {
    publish(MESSAGE, &message.to_string());
}

fn data(value: &(impl Display + ?Sized)) -> Map<String, Value> {
    value.mime_bundle().into_iter().map(|(kind, data)| (kind, Value::String(data))).collect()
}
