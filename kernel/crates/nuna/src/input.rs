//! Owns questions to the person: in a notebook its input field, in a plain program the terminal.

use std::io::{self, BufRead, Write};

use crate::session;

/// Asks the person at the notebook for a line of text, without its line end. `std::io::stdin().read_line()` works too.
///
/// # Errors
/// If the notebook cannot be asked (it runs unattended), or the person interrupts.
pub fn input(prompt: &str) -> io::Result<String> {
    ask(prompt, false)
}

/// As [`input`], but what is typed is not shown. It is kept nowhere but in the result.
///
/// # Errors
/// As [`input`]; a plain program has no way to hide what is typed, so there it always fails.
pub fn password(prompt: &str) -> io::Result<String> {
    ask(prompt, true)
}

fn ask(prompt: &str, password: bool) -> io::Result<String> {
    match session::ask() {
        Some(ask) => ask(prompt, password),
        None if password => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a password can be asked for in a notebook only; read it from a file that only you can read",
        )),
        None => {
            let mut out = io::stdout().lock();
            out.write_all(prompt.as_bytes())?;
            out.flush()?;
            let mut line = String::new();
            if io::stdin().lock().read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            line.truncate(line.trim_end_matches(['\n', '\r']).len());
            Ok(line)
        }
    }
}
