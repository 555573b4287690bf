//! Owns `nuna kernel install`: where Jupyter looks for kernelspecs, then a call into the kernel's own installer.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use nuna_kernel::evaluator::Kind;

/// Which kernel, and where Jupyter is to find it.
#[derive(Args)]
pub(crate) struct Install {
    #[command(flatten)]
    place: Place,
    /// What runs the cells: direct, or evcxr as the reference (a second kernel, built by `cargo xtask evcxr`).
    #[arg(long, value_name = "NAME", default_value = "direct")]
    evaluator: Kind,
}

#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct Place {
    /// For you alone: Jupyter's data folder in your home. This is the default.
    #[arg(long)]
    user: bool,
    /// For the active virtual or conda environment.
    #[arg(long)]
    sys_prefix: bool,
    /// For an environment at this path, or a system prefix such as /usr/local.
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

impl Place {
    /// The folder that holds `kernels`.
    fn data_directory(&self) -> Result<PathBuf> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(prefix) = &self.prefix {
            return Ok(prefix.join("share/jupyter"));
        }
        if self.sys_prefix {
            let prefix = variable("VIRTUAL_ENV").or_else(|| variable("CONDA_PREFIX")).context(
                "no environment is active (neither VIRTUAL_ENV nor CONDA_PREFIX is set); activate one, or name it with --prefix",
            )?;
            return Ok(prefix.join("share/jupyter"));
        }
        variable("JUPYTER_DATA_DIR")
            .or_else(|| variable("HOME").map(|home| home.join(".local/share/jupyter")))
            .context("HOME is not set, so there is no folder of yours; name one with --prefix")
    }
}

pub(crate) fn install(wanted: &Install) -> Result<()> {
    let data = wanted.place.data_directory()?;
    let folder = nuna_kernel::install::install(&runtime_directory()?, &data, wanted.evaluator)?;
    let (_, display_name) = nuna_kernel::install::names(wanted.evaluator);
    crate::print(&format!("installed {}; Jupyter shows it as \"{display_name}\"", folder.display()));
    match nuna_kernel::install::index(&runtime_directory()?) {
        Ok(made) if made.is_empty() => {}
        Ok(made) => crate::print(&format!("indexed the libraries for completion: {}", made.join(", "))),
        // Cells run without; the kernel tries once more, in the person's own cache.
        Err(error) => crate::print(&format!(
            "completion will know less, since the libraries were not indexed: {error:#}"
        )),
    }
    Ok(())
}

/// Where `libnuna.so` and the programs lie: `$NUNA_RUNTIME_DIR`, else the folder of this program.
pub(crate) fn runtime_directory() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("NUNA_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        return Ok(path.into());
    }
    let program =
        std::env::current_exe().context("cannot tell where this program is; set NUNA_RUNTIME_DIR")?;
    program.parent().map(PathBuf::from).context("this program lies in no folder; set NUNA_RUNTIME_DIR")
}
