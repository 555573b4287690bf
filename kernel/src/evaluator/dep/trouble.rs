//! Owns what a person reads when `:dep` fails: cargo's words without the package that only this kernel knows, and what to
//! do about them. No I/O.

use super::workspace::PACKAGE;

/// The most lines of cargo's words that are shown.
const LINES_MAX: usize = 40;

/// What no network looks like.
const NO_NETWORK: &[&str] = &[
    "--offline was specified",
    "offline was specified",
    "can't be updated",
    "Could not resolve host",
    "Couldn't resolve host",
    "Couldn't connect to server",
    "failed to connect",
    "Timeout was reached",
    "network failure",
    "spurious network error",
    "download of config.json failed",
    "Failed to connect",
];

/// Explains why no versions could be chosen.
pub(super) fn of_resolution(errors: &str, is_offline: bool) -> String {
    let words = words(errors);
    if NO_NETWORK.iter().any(|sign| errors.contains(sign)) {
        let first = words.lines().next().unwrap_or("cargo cannot reach the network").to_owned();
        let why = if is_offline {
            "the kernel is offline (`:offline 0` ends that)"
        } else {
            "there is no network here"
        };
        return format!(
            "{first}\n{why}, and the crate is not in cargo's cache. On a compute node without a network, run this :dep once where \
             there is one, such as on the login node: the crates stay in your home for all kernels. Or name a mirror or vendored \
             sources in ~/.cargo/config.toml, or use {{ path = \"…\" }}.\n\n{words}"
        );
    }
    words
}

/// Explains why crates could not be compiled. `rendered` are the compiler's own errors.
pub(super) fn of_build(errors: &str, rendered: &[String]) -> String {
    let mut text = String::new();
    let mut lines = rendered.iter().flat_map(|message| message.lines());
    for line in lines.by_ref().take(LINES_MAX) {
        text.push_str(line);
        text.push('\n');
    }
    if lines.next().is_some() {
        text.push_str("…\n");
    }
    let words = words(errors);
    text.push_str(&words);
    if ["linker `cc` not found", "is `cc` not installed", "failed to find tool \"cc\"", "Is `cc` installed"]
        .iter()
        .any(|sign| text.contains(sign))
    {
        text.push_str(
            "\nCrates with macros, build scripts or C code need a C compiler to be added; on Debian: apt-get install gcc libc6-dev. \
             Once added, they work on nodes without one.",
        );
    }
    text
}

/// Cargo's errors without its chatter, without colours, and without the package of this session.
fn words(errors: &str) -> String {
    let chatter = [
        "Compiling ",
        "Downloading ",
        "Downloaded ",
        "Updating ",
        "Locking ",
        "Adding ",
        "Blocking ",
        "Fresh ",
        "warning: build failed",
    ];
    // `package X depends on Y with feature Z but …`: what was asked for is what X says here.
    let asked = |line: &str| match line.split_once(" depends on ") {
        Some((before, rest)) if before.contains(PACKAGE) => format!("you asked for {rest}"),
        _ => line.to_owned(),
    };
    let lines = errors.lines().map(asked).filter(|line| {
        let line = line.trim_start();
        let is_chatter = chatter.iter().any(|word| line.starts_with(word));
        !line.is_empty() && !is_chatter && !line.contains(PACKAGE) && line != "Caused by:"
    });
    let all: Vec<String> = lines.collect();
    let first = all.iter().position(|line| line.starts_with("error")).unwrap_or(0);
    let kept = &all[first..];
    let mut text = String::new();
    // The end has the reason, as of a build script that failed after much talk.
    let from = if kept.len() > LINES_MAX { kept.len() - LINES_MAX + 1 } else { 0 };
    for (index, line) in kept.iter().enumerate() {
        if index == 0 {
            text.push_str(line.trim_start_matches("error: "));
        } else if index >= from {
            text.push('\n');
            text.push_str(line);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_crate_keeps_cargos_suggestion() {
        let errors = "    Updating crates.io index\nerror: no matching package named `ploters` found\nlocation searched: crates.io index\n\
                      help: a package with a similar name exists: `plotters`\nrequired by package `nuna-session v0.0.0 (/home/x)`\n";
        let text = of_resolution(errors, false);
        assert!(
            text.starts_with("no matching package named `ploters` found") && text.contains("`plotters`"),
            "{text}"
        );
        assert!(!text.contains("nuna-session") && !text.contains("Updating"));
    }

    #[test]
    fn a_feature_that_is_not_there_is_named() {
        let errors = "error: failed to select a version for `a`.\n    ... required by package `nuna-session v0.0.0 (/x)`\n\n\
                      package `nuna-session` depends on `a` with feature `b` but `a` does not have that feature.\n";
        let text = of_resolution(errors, false);
        assert!(
            text.ends_with("you asked for `a` with feature `b` but `a` does not have that feature."),
            "{text}"
        );
    }

    #[test]
    fn no_network_says_what_to_do_on_a_compute_node() {
        let errors = "error: failed to get `rand` as a dependency of package `nuna-session v0.0.0`\n\nCaused by:\n  download of config.json failed\n\nCaused by:\n  [6] Could not resolve hostname\n";
        assert!(of_resolution(errors, false).contains("login node"));
        assert!(of_resolution("error: x, but --offline was specified", true).contains(":offline 0"));
    }

    #[test]
    fn a_crate_that_does_not_compile_shows_its_own_lines() {
        let text = of_build(
            "error: could not compile `a` (lib) due to 1 previous error\n",
            &["error[E0308]: mismatched types\n --> src/lib.rs:3:5\n".to_owned()],
        );
        assert!(text.contains("src/lib.rs:3:5") && text.contains("could not compile `a`"));
    }
}
