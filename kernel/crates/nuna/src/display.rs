//! Owns how values show themselves in a notebook: pairs of media type and data.

/// A value with views of its own. Data is text; images are base64.
pub trait Display {
    /// Pairs such as `("text/html", "<table>…")`. `text/plain` comes along, for terminals and for search.
    fn mime_bundle(&self) -> Vec<(String, String)>;
}

/// Shows `value` now, in the middle of a cell, as a last expression would be shown.
pub fn display(value: &(impl Display + ?Sized)) {
    for (kind, data) in value.mime_bundle() {
        if kind != "text/plain" {
            publish(&kind, &data);
            return;
        }
    }
}

/// Sends data of a media type to the notebook, by the convention that evcxr's display crates follow too.
#[expect(
    clippy::print_stdout,
    reason = "the convention is markers on standard output, which the kernel reads"
)]
pub fn publish(kind: &str, data: &str) {
    println!("EVCXR_BEGIN_CONTENT {kind}\n{data}\nEVCXR_END_CONTENT");
}
