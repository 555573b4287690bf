//! The command line as people see it. A change here is a change for them.

use std::process::Command;

fn help(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_nuna")).args(arguments).arg("--help").output().expect("nuna runs");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("help is text")
}

#[test]
fn help_is_as_agreed() {
    for command in [
        &[][..],
        &["scheduler"],
        &["worker"],
        &["cluster"],
        &["cluster", "stop"],
        &["kernel", "install"],
        &["doctor"],
    ] {
        let name = if command.is_empty() { "nuna".to_owned() } else { format!("nuna_{}", command.join("_")) };
        insta::assert_snapshot!(name, help(command));
    }
}

#[test]
fn an_unknown_command_is_refused_with_a_hint() {
    let output = Command::new(env!("CARGO_BIN_EXE_nuna")).arg("claster").output().expect("nuna runs");
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("similar subcommand") && words.contains("cluster"), "{words}");
}

#[test]
fn doctor_finds_the_compiler_and_compiles_a_cell() {
    let output = Command::new(env!("CARGO_BIN_EXE_nuna"))
        .arg("doctor")
        .env("NUNA_STATE_DIR", tempfile::tempdir().expect("a folder").path())
        .output()
        .expect("nuna runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    for check in ["runtime library", "rust compiler", "compiling a cell", "state directory"] {
        let line = printed
            .lines()
            .find(|line| line.contains(check))
            .unwrap_or_else(|| panic!("{check}:\n{printed}"));
        assert!(line.starts_with("ok"), "{printed}");
    }
}

#[test]
fn doctor_names_what_to_do_about_a_missing_compiler() {
    let output = Command::new(env!("CARGO_BIN_EXE_nuna"))
        .arg("doctor")
        .env("NUNA_RUSTC", "/nowhere/rustc")
        .output()
        .expect("nuna runs");
    assert!(!output.status.success());
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains("BAD   rust compiler") && printed.contains("rustup toolchain install"),
        "{printed}"
    );
}
