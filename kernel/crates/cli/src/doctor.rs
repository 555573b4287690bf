//! Owns `nuna doctor`: one line per thing that must be right on this machine, and what to do where it is not.
//! It looks and compiles one cell; it changes nothing and submits nothing.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Longer than any of the programs asked may take on a busy file system.
const PATIENCE: Duration = Duration::from_secs(30);

enum Verdict {
    Fine(String),
    /// Something some people do without.
    Missing {
        found: String,
        remedy: String,
    },
    Broken {
        found: String,
        remedy: String,
    },
}

/// Runs every check and prints its line. Fails if something is broken, not if something optional is missing.
pub(crate) fn run() -> ExitCode {
    type Check = fn() -> Verdict;
    let checks: [(&str, Check); 8] = [
        ("runtime library", runtime_library),
        ("rust compiler", rust_compiler),
        ("compiling a cell", compile_cell),
        ("state directory", state_directory),
        ("running clusters", running_clusters),
        ("jupyter", jupyter),
        ("kernelspec", kernelspec),
        ("PBS commands", pbs_commands),
    ];
    let mut broken = 0;
    for (name, check) in checks {
        let (mark, found, remedy) = match check() {
            Verdict::Fine(found) => ("ok  ", found, None),
            Verdict::Missing { found, remedy } => ("none", found, Some(remedy)),
            Verdict::Broken { found, remedy } => {
                broken += 1;
                ("BAD ", found, Some(remedy))
            }
        };
        crate::print(&format!("{mark}  {name:<17} {found}"));
        if let Some(remedy) = remedy {
            crate::print(&format!("      {:<17} → {remedy}", ""));
        }
    }
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn runtime_library() -> Verdict {
    let path = nuna::parts::ship::build_id::runtime_path();
    Verdict::Fine(format!("{} (build {})", path.display(), nuna::parts::ship::build_id().short()))
}

/// `$NUNA_RUSTC`, else the one laid out beside the runtime, else what `PATH` finds.
fn rustc() -> PathBuf {
    if let Some(path) = std::env::var_os("NUNA_RUSTC") {
        return path.into();
    }
    let beside = runtime_directory().join("toolchain/bin/rustc");
    if beside.exists() { beside } else { "rustc".into() }
}

fn runtime_directory() -> PathBuf {
    if let Some(path) = std::env::var_os("NUNA_RUNTIME_DIR") {
        return path.into();
    }
    let library = nuna::parts::ship::build_id::runtime_path();
    library.parent().map(Path::to_owned).unwrap_or_default()
}

fn rust_compiler() -> Verdict {
    let (release, commit) = (env!("NUNA_RUSTC_RELEASE"), env!("NUNA_RUSTC_COMMIT"));
    let remedy = format!(
        "install Rust {release} (`rustup toolchain install {release}`), or set NUNA_RUSTC to its rustc"
    );
    match output_of(Command::new(rustc()).arg("-vV")) {
        Err(error) => Verdict::Broken { found: format!("{error:#}"), remedy },
        Ok(text) if text.contains(commit) && text.contains(release) => {
            Verdict::Fine(format!("{} is {release}, which built the runtime", rustc().display()))
        }
        Ok(text) => {
            let first = text.lines().next().unwrap_or_default();
            Verdict::Broken {
                found: format!("{first}, but the runtime was built by {release} ({commit})"),
                remedy,
            }
        }
    }
}

fn compile_cell() -> Verdict {
    let started = Instant::now();
    match try_cell() {
        Ok(()) => Verdict::Fine(format!("{:.2} s", started.elapsed().as_secs_f64())),
        Err(error) => Verdict::Broken {
            found: format!("{error:#}"),
            remedy: "lay the runtime out again with `nuna kernel install`".to_owned(),
        },
    }
}

fn try_cell() -> Result<()> {
    let runtime = runtime_directory();
    let libraries = [runtime.join("deps"), runtime.join("lib/deps"), runtime.clone()];
    let library = nuna::parts::ship::build_id::runtime_path();
    let folder = std::env::temp_dir().join(format!("nuna-doctor-{}", std::process::id()));
    std::fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let result = (|| {
        let source = folder.join("cell.rs");
        std::fs::write(
            &source,
            "use nuna::prelude::*;\npub fn cell() -> Vec<(i32, i32)> { grid([1], [2]) }\n",
        )?;
        let mut command = Command::new(rustc());
        command.args(["--edition=2024", "--crate-type=dylib", "-Cprefer-dynamic", "--out-dir"]).arg(&folder);
        command.arg("--extern").arg(format!("nuna={}", library.display()));
        for path in libraries.iter().filter(|path| path.is_dir()) {
            command.arg("-L").arg(format!("dependency={}", path.display()));
        }
        output_of(command.arg(&source)).map(drop)
    })();
    // It lies in the temporary directory, so leaving it behind on a failure to remove would do no harm.
    let _ = std::fs::remove_dir_all(&folder);
    result
}

fn state_directory() -> Verdict {
    let path = nuna::parts::wire::cluster_file::state_directory();
    let probe = path.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::create_dir_all(&path).and_then(|()| std::fs::write(&probe, b""));
    let _ = std::fs::remove_file(&probe);
    match written {
        Ok(()) => Verdict::Fine(path.display().to_string()),
        Err(error) => Verdict::Broken {
            found: format!("{}: {error}", path.display()),
            remedy: "set NUNA_STATE_DIR to a folder of yours that every node sees".to_owned(),
        },
    }
}

fn running_clusters() -> Verdict {
    let clusters =
        nuna::parts::wire::ClusterFile::list(&nuna::parts::wire::cluster_file::clusters_directory());
    let mut found = format!("{}", clusters.len());
    for cluster in &clusters {
        let _ = write!(
            found,
            "{} {} at {}",
            if found.len() < 3 { ":" } else { "," },
            cluster.name,
            cluster.scheduler
        );
    }
    Verdict::Fine(found)
}

fn jupyter() -> Verdict {
    let remedy = "activate the virtual environment that has JupyterLab (`cargo xtask setup` makes one), or set NUNA_VENV";
    match output_of(Command::new(program_of_environment("jupyter")).arg("--version")) {
        Ok(text) => {
            let version =
                text.lines().find(|line| line.starts_with("jupyterlab")).unwrap_or("without jupyterlab");
            Verdict::Fine(version.split_whitespace().collect::<Vec<_>>().join(" "))
        }
        Err(error) => Verdict::Missing { found: format!("{error:#}"), remedy: remedy.to_owned() },
    }
}

/// From `$NUNA_VENV` or `$VIRTUAL_ENV` if one is set, else by `PATH`.
fn program_of_environment(name: &str) -> PathBuf {
    environment_directories()
        .into_iter()
        .map(|path| path.join("bin").join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| name.into())
}

fn environment_directories() -> Vec<PathBuf> {
    ["NUNA_VENV", "VIRTUAL_ENV", "CONDA_PREFIX"]
        .iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        .collect()
}

fn kernelspec() -> Verdict {
    let found: Vec<PathBuf> =
        jupyter_data_directories().iter().flat_map(|path| nuna_kernels(&path.join("kernels"))).collect();
    let remedy = "run `nuna kernel install` (with --sys-prefix inside a virtual environment)".to_owned();
    let Some(first) = found.first() else {
        return Verdict::Missing { found: "no kernelspec of Nuna in Jupyter's folders".to_owned(), remedy };
    };
    match kernel_program(first) {
        Ok(program) if program.exists() => {
            Verdict::Fine(format!("{} runs {}", first.display(), program.display()))
        }
        Ok(program) => Verdict::Broken {
            found: format!("{} names {}, which is gone", first.display(), program.display()),
            remedy,
        },
        Err(error) => Verdict::Broken { found: format!("{error:#}"), remedy },
    }
}

/// The order in which Jupyter searches.
fn jupyter_data_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = std::env::var_os("JUPYTER_PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    directories.extend(environment_directories().into_iter().map(|path| path.join("share/jupyter")));
    directories.extend(std::env::var_os("JUPYTER_DATA_DIR").map(PathBuf::from));
    directories.extend(std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share/jupyter")));
    directories.extend(["/usr/local/share/jupyter", "/usr/share/jupyter"].map(PathBuf::from));
    directories
}

fn nuna_kernels(kernels: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(kernels) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.path().join("kernel.json"))
        .filter(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("nuna-kernel")))
        .collect()
}

fn kernel_program(kernelspec: &Path) -> Result<PathBuf> {
    let text = std::fs::read_to_string(kernelspec).with_context(|| kernelspec.display().to_string())?;
    let spec: serde_json::Value =
        serde_json::from_str(&text).with_context(|| kernelspec.display().to_string())?;
    let program =
        spec["argv"][0].as_str().with_context(|| format!("{} has no argv", kernelspec.display()))?;
    Ok(program.into())
}

/// Looks for the commands only; asking the server is left to the clusters, which share one query.
fn pbs_commands() -> Verdict {
    let find = |name: &str| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
    };
    let (found, missing): (Vec<_>, Vec<_>) =
        ["qsub", "qstat", "qdel"].into_iter().partition(|name| find(name).is_some());
    match (find("qsub"), missing.is_empty()) {
        (Some(path), true) => Verdict::Fine(format!("qsub is {}", path.display())),
        _ if found.is_empty() => Verdict::Missing {
            found: "none of qsub, qstat, qdel is on PATH".to_owned(),
            remedy: "only `Cluster::local()` will work here; on a PBS system load its module first"
                .to_owned(),
        },
        _ => Verdict::Broken {
            found: format!("{} found, but not {}", found.join(", "), missing.join(", ")),
            remedy: "put all PBS commands on PATH".to_owned(),
        },
    }
}

/// What a command prints. Its failure is an error that holds its own words; so is a command that hangs.
fn output_of(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name} cannot be started"))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        bail!("{name} has no output");
    };
    let read = |mut pipe: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = pipe.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let (stdout, stderr) = (read(Box::new(stdout)), read(Box::new(stderr)));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{name} gave no answer within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    if !status.success() {
        bail!("{name} failed ({status}): {}", stderr.lines().take(6).collect::<Vec<_>>().join(" | "));
    }
    Ok(stdout)
}
