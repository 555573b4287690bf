//! The one-time code, the ticket, and values that must not appear in anything we print.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

const CODE_LENGTH_MAX: usize = 256;
/// The here-document is there before we are.
const CODE_LIMIT: Duration = Duration::from_secs(30);

/// Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// The first line of standard input.
pub(crate) async fn read_code() -> anyhow::Result<Secret> {
    let reading = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        std::io::stdin().take(CODE_LENGTH_MAX as u64 + 2).read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes = tokio::time::timeout(CODE_LIMIT, reading)
        .await
        .context("no one-time code on standard input: this program is started by a job script, not by hand")?
        .context("reading standard input failed")?
        .context("cannot read the one-time code from standard input")?;
    parse_code(&bytes)
}

fn parse_code(bytes: &[u8]) -> anyhow::Result<Secret> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    ensure!(
        !line.is_empty(),
        "standard input holds no one-time code: this program is started by a job script, not by hand"
    );
    ensure!(line.len() <= CODE_LENGTH_MAX, "the one-time code is longer than {CODE_LENGTH_MAX} characters");
    if !line.iter().all(u8::is_ascii_hexdigit) {
        bail!("the one-time code on standard input is not hexadecimal");
    }
    Ok(Secret(String::from_utf8_lossy(line).into_owned()))
}

/// Replaces secrets in text that leaves this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrubber {
    secrets: Vec<Secret>,
}

/// Shorter values are found by chance in innocent text.
const SECRET_LENGTH_MIN: usize = 8;

impl Scrubber {
    /// Keeps what the names in `environment` call secret, and `others`.
    pub(crate) fn new<'a>(
        environment: impl IntoIterator<Item = (&'a String, &'a String)>,
        others: impl IntoIterator<Item = Secret>,
    ) -> Self {
        let named = environment
            .into_iter()
            .filter(|(name, _)| {
                let name = name.to_ascii_uppercase();
                ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "COOKIE", "API_KEY", "CREDENTIAL"]
                    .iter()
                    .any(|part| name.contains(part))
            })
            .map(|(_, value)| Secret(value.clone()));
        let mut secrets: Vec<Secret> =
            named.chain(others).filter(|secret| secret.0.len() >= SECRET_LENGTH_MIN).collect();
        // A secret that contains another one goes first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.0.len()));
        Self { secrets }
    }

    pub(crate) fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            if text.contains(&secret.0) {
                text = text.replace(&secret.0, "***");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_one_line_of_hexadecimal() {
        assert_eq!(parse_code(b"  00ffAB \nmore").unwrap().0, "00ffAB");
        for (bytes, words) in [
            (&b""[..], "no one-time code"),
            (b"\nabc", "no one-time code"),
            (b"xyz", "not hexadecimal"),
            (&[b'a'; 300], "longer than"),
        ] {
            assert!(parse_code(bytes).unwrap_err().to_string().contains(words));
        }
    }

    #[test]
    fn secrets_are_found_by_the_names_of_their_variables() {
        let environment = [
            ("JUPYTERHUB_API_TOKEN".to_owned(), "0123456789".to_owned()),
            ("LONG_secret".to_owned(), "0123456789abc".to_owned()),
            ("JUPYTERHUB_USER".to_owned(), "alice-long-name".to_owned()),
            ("EMPTY_TOKEN".to_owned(), String::new()),
        ];
        let pairs = environment.iter().map(|(name, value)| (name, value));
        let scrubber = Scrubber::new(pairs, [Secret("ticketticket".to_owned())]);
        let text = "0123456789abc 0123456789 ticketticket alice-long-name";
        assert_eq!(scrubber.scrub(text), "*** *** *** alice-long-name");
        assert!(!format!("{scrubber:?}").contains("0123"));
    }
}
