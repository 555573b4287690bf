//! Owns one run of `rustc` on a cell's crate, and its diagnostics as data; or, if the same was compiled before, what
//! that gave. A compilation is the same if everything that the compiler is told is: text, arguments, crates. For that
//! nothing of a session may be among it, so the session's folder is called [`CELLS`] in all that a compiler makes. What
//! else it read, a file or the environment, it says itself; such a cell is compiled each time.

use std::{
    borrow::Cow,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{
    cache::{Cache, Entry, Inputs, Key, replace},
    linker::{Linker, through_cc},
    naming,
    runtime::Runtime,
};

/// What a session's folder is called in messages and libraries, with no slash behind it.
pub const CELLS: &str = "/nuna-cells";

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
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub source: &'a Path,
    /// What stands in `source`.
    pub text: &'a str,
    pub name: &'a str,
    /// Optimisation level; `None` stops after the types are known.
    pub optimise: Option<u8>,
    /// Lies in the session's folder, as all cells do.
    pub output: &'a Path,
    /// Crates of earlier cells: name and library.
    pub cells: &'a [(String, PathBuf)],
    /// `None` leaves it to the compiler how to link.
    pub linker: Option<&'a Linker>,
    /// A folder with what is needed of the runtime's dependencies; `None` shows them all to the compiler.
    pub crates: Option<&'a Path>,
}

/// What the compiler said.
#[derive(Debug, Default)]
pub struct Compiled {
    /// None means that `output` holds the library.
    pub errors: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
    /// It was said of the same crate before.
    pub replayed: bool,
}

impl Compiled {
    /// Also gives the lines that are no diagnostics.
    fn read(succeeded: bool, messages: &[u8]) -> (Self, String) {
        let mut compiled = Compiled::default();
        let mut other = String::new();
        for line in String::from_utf8_lossy(messages).lines() {
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
        if succeeded {
            compiled.errors.clear();
        }
        (compiled, other)
    }

    /// Whether all it says is about the crate's text, so that it would be said again.
    fn is_about_the_text(&self) -> bool {
        self.errors
            .iter()
            .all(|error| !error.spans.is_empty() || error.message.starts_with("aborting due to"))
    }
}

/// Compiles a crate, or finds what that gave in `cache`.
///
/// # Errors
/// If the compiler cannot be started or does not end in time.
pub async fn compile(
    runtime: &Runtime,
    cache: Option<&Arc<Cache>>,
    request: &Request<'_>,
) -> anyhow::Result<Compiled> {
    let through_cc = Request { linker: None, ..*request };
    if let Some(cache) = cache {
        let replayed = replay(runtime, cache, request);
        if let Some(compiled) = replayed.or_else(|| replay(runtime, cache, &through_cc)) {
            return Ok(compiled);
        }
    }
    let mut request = *request;
    loop {
        let compiled = compile_once(runtime, cache, &request).await?;
        let failed = |why: &dyn Fn(&Diagnostic) -> bool| compiled.errors.iter().any(why);
        if request.crates.is_some() && failed(&lacks_a_crate) {
            request.crates = None;
        } else if request.linker.is_some() && failed(&|error| error.message.starts_with("linking with")) {
            // What the system's own linker finds, the compiler's may not.
            request.linker = None;
        } else {
            return Ok(compiled);
        }
    }
}

/// Whether more crates in sight could help.
fn lacks_a_crate(error: &Diagnostic) -> bool {
    ["E0460", "E0461", "E0462", "E0463", "E0519"].contains(&error.code())
        || error.message.contains("required to be available")
}

/// What compiling the same gave. `None` if it is not known, or cannot be put where it belongs.
fn replay(runtime: &Runtime, cache: &Cache, request: &Request<'_>) -> Option<Compiled> {
    let entry = cache.get(&request.key(runtime).ok()?)?;
    if entry.succeeded && request.optimise.is_some() {
        // It may be loaded already.
        replace(request.output, &entry.library).ok()?;
    }
    Some(Compiled { replayed: true, ..Compiled::read(entry.succeeded, &entry.messages).0 })
}

impl Request<'_> {
    fn folder(&self) -> &Path {
        self.output.parent().unwrap_or(Path::new("/"))
    }

    /// Of the earlier cells those whose crates the text names, as every path into one does.
    fn named(&self) -> impl Iterator<Item = &(String, PathBuf)> {
        self.cells.iter().filter(|(name, _)| self.text.contains(name.as_str()))
    }

    /// Where the compiler says what it read. `None` if its command line has no way to say so.
    fn read_list(&self) -> Option<PathBuf> {
        let mut path = self.output.as_os_str().to_owned();
        path.push(".d");
        path.to_str().is_some_and(|path| !path.contains(',')).then(|| path.into())
    }

    fn arguments(&self, runtime: &Runtime) -> anyhow::Result<Vec<OsString>> {
        let joined = |parts: &[&std::ffi::OsStr]| parts.iter().copied().collect::<OsString>();
        let of = |flag: &str, path: &Path| joined(&[flag.as_ref(), path.as_os_str()]);
        let mut arguments: Vec<OsString> = vec![self.source.into()];
        arguments.extend(
            [
                "--edition=2024",
                "--crate-type=dylib",
                "-Cprefer-dynamic",
                "--error-format=json",
                "--crate-name",
            ]
            .map(OsString::from),
        );
        arguments.push(self.name.into());
        arguments.push(joined(&[
            "--remap-path-prefix=".as_ref(),
            self.folder().as_os_str(),
            "=".as_ref(),
            CELLS.as_ref(),
        ]));
        let kind = if self.optimise.is_some() { "link" } else { "metadata" };
        match self.read_list() {
            Some(list) => {
                let emit = format!("--emit={kind}=");
                arguments.push(joined(&[
                    emit.as_ref(),
                    self.output.as_os_str(),
                    ",dep-info=".as_ref(),
                    list.as_os_str(),
                ]));
            }
            None => {
                arguments.extend([format!("--emit={kind}").into(), "-o".into(), self.output.into()]);
            }
        }
        match self.optimise {
            None => arguments.extend(
                ["-Awarnings", "-Ztrim-diagnostic-paths=no", "-Zwrite-long-types-to-disk=no"]
                    .map(OsString::from),
            ),
            Some(level) => {
                arguments.extend([format!("-Copt-level={level}").into(), "-Ccodegen-units=1".into()]);
                // Whether a cell holds a function, which makes it an optimised one, must not change its numbers.
                if level < 3 {
                    arguments.push("-Coverflow-checks=on".into());
                }
                let soname =
                    self.output.file_name().and_then(|name| name.to_str()).context("a library has a name")?;
                arguments.extend(match self.linker {
                    Some(linker) => linker.arguments(soname),
                    None => through_cc(soname),
                });
            }
        }
        arguments.push(of("--extern=nuna=", &runtime.library));
        arguments.push(of("-Ldependency=", self.crates.unwrap_or(&runtime.dependencies)));
        arguments.extend(self.named().map(|(name, library)| of(&format!("--extern={name}="), library)));
        arguments.push(of("-Ldependency=", self.folder()));
        Ok(arguments)
    }

    /// Names all that the compilation depends on, but for what the cache's own folder stands for.
    fn key(&self, runtime: &Runtime) -> anyhow::Result<Key> {
        let mut inputs = Inputs::default();
        inputs.add(self.text.as_bytes());
        let folder = self.folder().as_os_str().as_encoded_bytes();
        // How many crates are in sight changes nothing.
        for argument in (Request { crates: None, ..*self }).arguments(runtime)? {
            inputs.add(&without(argument.as_encoded_bytes(), folder));
            if let Some(library) = outside(&argument, self.folder()) {
                inputs.add_file(library)?;
            }
        }
        for (name, library) in self.named() {
            if !naming::is_cell(name) {
                // A crate of `:dep`, which is large, and another file when it is made of something else.
                inputs.add_file(library).with_context(|| format!("looking at {}", library.display()))?;
                continue;
            }
            inputs.add(&fs::read(library).with_context(|| format!("reading {}", library.display()))?);
        }
        Ok(inputs.key())
    }
}

/// The library that an argument names, unless it is a cell's. Cargo may build another under the same path.
fn outside<'a>(argument: &'a std::ffi::OsStr, folder: &Path) -> Option<&'a Path> {
    let (_, library) = argument.to_str()?.strip_prefix("--extern=")?.split_once('=')?;
    let library = Path::new(library);
    (library.is_absolute() && !library.starts_with(folder)).then_some(library)
}

/// `text` with [`CELLS`] in the place of the session's folder.
fn without<'t>(text: &'t [u8], folder: &[u8]) -> Cow<'t, [u8]> {
    let at = |text: &[u8]| text.windows(folder.len().max(1)).position(|part| part == folder);
    let Some(mut found) = at(text) else { return Cow::Borrowed(text) };
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    loop {
        out.extend_from_slice(&rest[..found]);
        out.extend_from_slice(CELLS.as_bytes());
        rest = &rest[found + folder.len()..];
        match at(rest) {
            Some(next) => found = next,
            None => break,
        }
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Whether `list`, which the compiler wrote, names nothing that was read but `source`: no other file, and no variable of
/// the environment.
fn read_only(list: &str, source: &Path) -> bool {
    let source = source.display().to_string();
    // Each file stands on a line of its own that ends with a colon; the first line says what was made of them.
    list.lines().all(|line| match line.strip_suffix(':') {
        Some(file) => file.replace("\\ ", " ") == source,
        None => !line.starts_with("# env-dep:"),
    })
}

async fn compile_once(
    runtime: &Runtime,
    cache: Option<&Arc<Cache>>,
    request: &Request<'_>,
) -> anyhow::Result<Compiled> {
    let mut command = tokio::process::Command::new(&runtime.rustc);
    command.args(request.arguments(runtime)?);
    // What is relative to where the kernel was started would be in the library.
    command.current_dir(request.folder());
    match request.optimise {
        // The flags change how types are printed, nothing else; cells themselves stay stable Rust.
        None => command.env("RUSTC_BOOTSTRAP", "1"),
        Some(_) => command.env_remove("RUSTC_BOOTSTRAP"),
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command
        .spawn()
        .with_context(|| format!("starting {}; is Rust installed?", runtime.rustc.display()))?;
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output())
        .await
        .with_context(|| format!("the compiler took longer than {} s", PATIENCE.as_secs()))??;
    let succeeded = output.status.success();
    let (compiled, other) = Compiled::read(succeeded, &output.stderr);
    if !succeeded && compiled.errors.is_empty() {
        anyhow::bail!("{} failed ({}): {other}", runtime.rustc.display(), output.status);
    }
    let list = request.read_list().and_then(|path| {
        let list = fs::read_to_string(&path).ok();
        let _ = fs::remove_file(&path);
        list
    });
    // A compiler that was killed, or found no space, may do better the next time.
    let lasts = matches!(output.status.code(), Some(0 | 1))
        && compiled.is_about_the_text()
        && (request.named().all(|(name, _)| naming::is_cell(name))
            || !naming::may_run_foreign_code(request.text))
        && list.is_some_and(|list| read_only(&list, request.source));
    if let Some(cache) = cache
        && lasts
        && let Ok(key) = request.key(runtime)
    {
        let (cache, library) = (Arc::clone(cache), request.output.to_owned());
        let has_library = succeeded && request.optimise.is_some();
        let folder = request.folder().as_os_str().as_encoded_bytes();
        let messages = without(&output.stderr, folder).into_owned();
        // A home directory may be far away, and nothing waits for this.
        tokio::task::spawn_blocking(move || {
            let library = if has_library { fs::read(&library) } else { Ok(Vec::new()) };
            if let Ok(library) = library {
                cache.put(&key, &Entry { succeeded, messages, library });
            }
        });
    }
    Ok(compiled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_in_every_session_and_follows_what_is_compiled() {
        let opt = tempfile::tempdir().unwrap();
        let nuna = opt.path().join("libnuna.so");
        fs::write(&nuna, "built once").unwrap();
        let runtime = Runtime {
            library: nuna.clone(),
            dependencies: "/opt/deps".into(),
            evaluator: "/opt/nuna-evaluator".into(),
            rustc: "rustc".into(),
        };
        let sessions = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let key = |session: usize, text: &str, optimise: Option<u8>, earlier: &str| {
            let folder = sessions[session].path();
            let (source, output) =
                (folder.join("cell_00000000000000bb.rs"), folder.join("libcell_00000000000000bb.so"));
            let library = folder.join("libcell_00000000000000aa.so");
            fs::write(&library, earlier).unwrap();
            let cells = [("cell_00000000000000aa".to_owned(), library)];
            let request = Request {
                source: &source,
                text,
                name: "cell_00000000000000bb",
                optimise,
                output: &output,
                cells: &cells,
                linker: None,
                crates: None,
            };
            request.key(&runtime).unwrap()
        };
        let first = key(0, "use cell_00000000000000aa::P;", Some(0), "one");
        assert_eq!(key(1, "use cell_00000000000000aa::P;", Some(0), "one"), first);
        for other in [
            key(0, "use cell_00000000000000aa::Q;", Some(0), "one"),
            key(0, "use cell_00000000000000aa::P;", Some(2), "one"),
            key(0, "use cell_00000000000000aa::P;", None, "one"),
            key(0, "use cell_00000000000000aa::P;", Some(0), "two"),
        ] {
            assert_ne!(other, first);
        }
        // What is not named does not matter.
        assert_eq!(key(0, "1 + 1", Some(0), "one"), key(1, "1 + 1", Some(0), "two"));
        replace(&nuna, b"built anew").unwrap();
        assert_ne!(key(0, "use cell_00000000000000aa::P;", Some(0), "one"), first);
    }

    #[test]
    fn a_cell_that_read_something_else_is_known_by_what_the_compiler_wrote() {
        let source = Path::new("/tmp/my cells/cell_a.rs");
        let list = "/tmp/l.d: /tmp/my\\ cells/cell_a.rs\n\nlib.so: /tmp/my\\ cells/cell_a.rs\n\n/tmp/my\\ cells/cell_a.rs:\n";
        assert!(read_only(list, source));
        assert!(!read_only(&format!("{list}/etc/hostname:\n"), source));
        assert!(!read_only(&format!("{list}\n# env-dep:HOME=/root\n"), source));
        assert!(!read_only(&format!("{list}\n# env-dep:UNSET\n"), source));
    }

    #[test]
    fn trouble_that_is_not_the_texts_does_not_last() {
        let about = |line: &str| Compiled::read(false, line.as_bytes()).0.is_about_the_text();
        assert!(about(
            r#"{"message":"aborting due to 1 previous error","code":null,"level":"error","spans":[],"children":[]}"#
        ));
        assert!(!about(
            r#"{"message":"linking with `rust-lld` failed: exit status: 1","code":null,"level":"error","spans":[],"children":[]}"#
        ));
        assert!(!about(
            r#"{"message":"failed to write to `/tmp/x`: No space left on device (os error 28)","code":null,"level":"error","spans":[],"children":[]}"#
        ));
    }

    #[test]
    fn the_sessions_folder_is_replaced_wherever_it_is() {
        assert_eq!(&*without(b"-L/tmp/a=/tmp/a/x", b"/tmp/a"), b"-L/nuna-cells=/nuna-cells/x");
        assert!(matches!(without(b"nothing", b"/tmp/a"), Cow::Borrowed(_)));
    }
}
