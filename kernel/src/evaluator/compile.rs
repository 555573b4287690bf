//! Owns one run of `rustc` on a cell's crate, and its diagnostics as data.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    linker::{Linker, through_cc},
    runtime::Runtime,
};

/// A compilation that takes longer is stopped.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Diagnostic {
    pub message: String,
    pub code: Option<Code>,
    pub level: String,
    #[serde(default)]
    pub spans: Vec<Span>,
    #[serde(default)]
    pub children: Vec<Diagnostic>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Code {
    pub code: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Span {
    pub file_name: String,
    pub line_start: usize,
    pub line_end: usize,
    pub column_start: usize,
    pub column_end: usize,
    pub is_primary: bool,
    pub label: Option<String>,
    #[serde(default)]
    pub suggested_replacement: Option<String>,
    pub expansion: Option<Box<Expansion>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Expansion {
    pub span: Span,
}

impl Span {
    /// Where the person wrote what a macro expanded to.
    pub fn written(&self) -> &Span {
        match &self.expansion {
            Some(expansion) => expansion.span.written(),
            None => self,
        }
    }
}

impl Diagnostic {
    pub fn code(&self) -> &str {
        self.code.as_ref().map_or("", |code| code.code.as_str())
    }

    pub fn primary(&self) -> Option<&Span> {
        self.spans.iter().find(|span| span.is_primary)
    }
}

/// How a crate is compiled.
pub struct Request<'a> {
    pub source: &'a Path,
    pub name: &'a str,
    /// Optimisation level; `None` stops after the types are known.
    pub optimise: Option<u8>,
    pub output: &'a Path,
    /// Crates of earlier cells: name and library.
    pub cells: &'a [(String, PathBuf)],
    /// `None` leaves it to the compiler how to link.
    pub linker: Option<&'a Linker>,
}

/// What the compiler said.
#[derive(Debug, Default)]
pub struct Compiled {
    /// None means that `output` holds the library.
    pub errors: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
}

/// Compiles a crate.
///
/// # Errors
/// If the compiler cannot be started or does not end in time.
pub async fn compile(runtime: &Runtime, request: &Request<'_>) -> anyhow::Result<Compiled> {
    let compiled = compile_once(runtime, request).await?;
    // What the system's own linker finds, the compiler's may not.
    if request.linker.is_some()
        && compiled.errors.iter().any(|error| error.message.starts_with("linking with"))
    {
        return compile_once(runtime, &Request { linker: None, ..*request }).await;
    }
    Ok(compiled)
}

async fn compile_once(runtime: &Runtime, request: &Request<'_>) -> anyhow::Result<Compiled> {
    use anyhow::Context as _;
    let mut command = tokio::process::Command::new(&runtime.rustc);
    command.arg(request.source).args([
        "--edition=2024",
        "--crate-type=dylib",
        "-Cprefer-dynamic",
        "--error-format=json",
    ]);
    command.arg("--crate-name").arg(request.name);
    match request.optimise {
        None => {
            command
                .args([
                    "-Awarnings",
                    "--emit=metadata",
                    "-Ztrim-diagnostic-paths=no",
                    "-Zwrite-long-types-to-disk=no",
                ])
                .arg("-o")
                .arg(request.output);
            // The flag above changes how types are printed, nothing else; cells themselves stay stable Rust.
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        Some(level) => {
            command
                .arg(format!("-Copt-level={level}"))
                .arg("-Ccodegen-units=1")
                .arg("-o")
                .arg(request.output);
            let soname =
                request.output.file_name().and_then(|name| name.to_str()).context("a library has a name")?;
            command.args(match request.linker {
                Some(linker) => linker.arguments(soname),
                None => through_cc(soname),
            });
            command.env_remove("RUSTC_BOOTSTRAP");
        }
    }
    command.arg(format!("--extern=nuna={}", runtime.library.display()));
    command.arg(format!("-Ldependency={}", runtime.dependencies.display()));
    for (name, library) in request.cells {
        command.arg(format!("--extern={name}={}", library.display()));
    }
    if let Some(folder) = request.output.parent() {
        command.arg(format!("-Ldependency={}", folder.display()));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command
        .spawn()
        .with_context(|| format!("starting {}; is Rust installed?", runtime.rustc.display()))?;
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .with_context(|| format!("the compiler took longer than {} s", PATIENCE.as_secs()))??;
    let mut compiled = Compiled::default();
    let mut other = String::new();
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        match serde_json::from_str::<Diagnostic>(line) {
            Ok(diagnostic) if diagnostic.level.starts_with("error") => compiled.errors.push(diagnostic),
            Ok(diagnostic) if diagnostic.level == "warning" => compiled.warnings.push(diagnostic),
            Ok(_) => {}
            Err(_) => {
                other.push_str(line);
                other.push('\n');
            }
        }
    }
    if output.status.success() {
        compiled.errors.clear();
    } else if compiled.errors.is_empty() {
        anyhow::bail!("{} failed ({}): {other}", runtime.rustc.display(), output.status);
    }
    Ok(compiled)
}
