//! Cells compiled by `rustc` as the kernel compiles them, packed in one process and run in another.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up has failed")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use tempfile::TempDir;

/// Where the fixtures are built: the runtime library, the host program, and cells.
struct Workshop {
    folder: TempDir,
}

fn workshop() -> &'static Workshop {
    static WORKSHOP: OnceLock<Workshop> = OnceLock::new();
    WORKSHOP.get_or_init(|| {
        let workshop = Workshop { folder: TempDir::new().unwrap() };
        let ours = newest_rlib("nuna_ship");
        let plan = newest_rlib("nuna_plan");
        let externs = [format!("nuna_ship={}", ours.display()), format!("nuna_plan={}", plan.display())];
        workshop
            .compile("runtime", &["--crate-type=dylib", "--extern", &externs[0], "--extern", &externs[1]])
            .expect_success();
        workshop.compile("host", &["--crate-type=bin"]).expect_success();
        workshop
    })
}

/// The test binary lies beside the libraries it was built from.
fn dependencies() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn newest_rlib(name: &str) -> PathBuf {
    let prefix = format!("lib{name}-");
    std::fs::read_dir(dependencies())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let file = path.file_name().unwrap().to_string_lossy();
            file.starts_with(&prefix) && file.ends_with(".rlib")
        })
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap())
        .unwrap_or_else(|| panic!("no {prefix}*.rlib in {}", dependencies().display()))
}

impl Workshop {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn compile(&self, fixture: &str, options: &[&str]) -> Output {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/{fixture}.rs"));
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command
            .args(["--edition=2024", "-Cprefer-dynamic", "-Crpath", "-Copt-level=1", "--out-dir"])
            .arg(self.folder.path())
            .arg("-L")
            .arg(format!("dependency={}", dependencies().display()))
            .arg("-L")
            .arg(self.folder.path())
            .args(options)
            .arg(source)
            // Cells are stable Rust: the switch that opens unstable features must not leak into them.
            .env_remove("RUSTC_BOOTSTRAP");
        if fixture != "runtime" {
            command.arg("--extern").arg(format!("runtime={}", self.path("libruntime.so").display()));
        }
        command.output().expect("rustc runs")
    }

    /// A cell as a dylib under its own soname, as the kernel makes them.
    fn compile_cell(&self, fixture: &str, options: &[&str]) -> PathBuf {
        let soname = format!("-Clink-arg=-Wl,-soname,lib{fixture}.so");
        self.compile(fixture, &[&["--crate-type=dylib", &soname], options].concat()).expect_success();
        self.path(&format!("lib{fixture}.so"))
    }

    fn host(&self, arguments: &[&Path]) -> String {
        let output = Command::new(self.path("host"))
            .args(arguments)
            .env_clear()
            .env("PATH", "")
            .env("LD_LIBRARY_PATH", library_path(self))
            .output()
            .expect("the host runs");
        output.expect_success();
        String::from_utf8(output.stdout).unwrap()
    }
}

fn library_path(workshop: &Workshop) -> std::ffi::OsString {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir"]).output().unwrap();
    let standard = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    std::env::join_paths([workshop.folder.path(), &standard]).unwrap()
}

trait ExpectSuccess {
    fn expect_success(&self);
}

impl ExpectSuccess for Output {
    fn expect_success(&self) {
        let words = String::from_utf8_lossy(&self.stderr);
        assert!(self.status.success(), "{}\n{words}", self.status);
    }
}

#[test]
fn a_closure_with_captures_runs_in_another_process_without_a_compiler() {
    let workshop = workshop();
    let cell = workshop.compile_cell("cell", &[]);
    let parcel = TempDir::new().unwrap();
    workshop.host(&[Path::new("pack"), parcel.path(), &cell]);
    let printed = workshop.host(&[Path::new("run"), parcel.path()]);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[..3], ["2", "11", "26"], "{printed}");
    assert!(lines[3].starts_with("panicked at ") && lines[3].contains("cell.rs:"), "{printed}");
    assert!(lines[3].ends_with("100 is too much, with parameter 100.0"), "{printed}");
}

#[test]
fn a_cell_brings_the_cell_it_imports_from() {
    let workshop = workshop();
    // A name of its own, since the other test may be compiling `libcell.so` right now.
    let soname = "-Clink-arg=-Wl,-soname,libfirst.so";
    workshop.compile("cell", &["--crate-type=dylib", "--crate-name=first", soname]).expect_success();
    let first = workshop.path("libfirst.so");
    let import = format!("cell={}", first.display());
    let next = workshop.compile_cell("next_cell", &["--extern", &import]);
    let parcel = TempDir::new().unwrap();
    workshop.host(&[Path::new("pack"), parcel.path(), &first, &next]);
    let printed = workshop.host(&[Path::new("run"), parcel.path()]);
    assert_eq!(printed, "100\n400\nfailed: no row 2, with parameter 2\n");
}

#[test]
fn a_tampered_library_is_refused_and_nothing_of_it_runs() {
    let workshop = workshop();
    let soname = "-Clink-arg=-Wl,-soname,libtampered.so";
    workshop.compile("cell", &["--crate-type=dylib", "--crate-name=tampered", soname]).expect_success();
    let parcel = TempDir::new().unwrap();
    workshop.host(&[Path::new("pack"), parcel.path(), &workshop.path("libtampered.so")]);
    let library = std::fs::read_dir(parcel.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with("0-"))
        .expect("one library was packed");
    let mut bytes = std::fs::read(&library).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&library, bytes).unwrap();
    let printed = workshop.host(&[Path::new("run"), parcel.path()]);
    assert!(
        printed.contains("refused: library ") && printed.contains("tampered with on the way"),
        "{printed}"
    );
    assert!(printed.contains("not prepared: library ") && printed.contains("is not here yet"), "{printed}");
}

#[test]
fn every_process_of_one_build_has_the_same_build_id() {
    let workshop = workshop();
    let ours = workshop.host(&[Path::new("id")]);
    assert_eq!(ours, workshop.host(&[Path::new("id")]));
    assert_eq!(ours.trim().len(), 64);
}

#[test]
fn captures_that_cannot_travel_do_not_compile_and_say_why() {
    let workshop = workshop();
    for (fixture, message) in [
        ("captures_reference", "`&[f64]` cannot travel to another process"),
        ("captures_function_pointer", "`fn(f64) -> f64` cannot travel to another process"),
        ("captures_vec", "cannot travel to another process"),
    ] {
        let output = workshop.compile(fixture, &["--crate-type=dylib", "--emit=metadata"]);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{fixture} compiled");
        assert!(
            words.contains(message) || words.contains(&message.replace("&[f64]", "&'static [f64]")),
            "{fixture}:\n{words}"
        );
        assert!(words.contains("map_with"), "{fixture} shows the way out:\n{words}");
    }
}
