//! Owns the files of the demo that `cargo xtask up` starts: ports, tokens, the spawner's settings, homes with the tutorial.
//! Everything lies in one private folder; nothing needs root, and every demo user runs as the current account.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{setup, tools, tools::Repository};

/// Whom the address is printed for.
pub(crate) const DEMO_USER: &str = "alice";
pub(crate) const OTHER_USERS: [&str; 2] = ["bob", "carol"];

/// A unix socket's path has room for so many bytes.
const SOCKET_PATH_MAX: usize = 107;

/// Ports of one run, all on loopback.
pub(crate) struct Ports {
    pub(crate) public: u16,
    pub(crate) hub: u16,
    pub(crate) proxy_api: u16,
    pub(crate) service: u16,
    pub(crate) directory: u16,
}

/// The folder with everything that the processes of one run read.
pub(crate) struct Demo {
    state: PathBuf,
    pub(crate) ports: Ports,
}

impl Demo {
    /// Writes what is missing; what a former run left (homes, passwords, the hub's database) is kept.
    /// `profiles` is a file with more of them.
    pub(crate) fn prepare(
        repository: &Repository,
        state: &Path,
        port: u16,
        profiles: Option<&Path>,
    ) -> Result<Self> {
        let demo = Self { state: state.to_owned(), ports: Ports::choose(port)? };
        let socket = demo.socket();
        ensure!(
            socket.as_os_str().len() <= SOCKET_PATH_MAX,
            "{} is too long for a unix socket (at most {SOCKET_PATH_MAX} bytes); choose a shorter folder with --state",
            socket.display()
        );
        for name in ["", "pbs", "directory", "spawner", "hub", "homes", "logs"] {
            private_folder(&demo.path(name))?;
        }
        // A token of its own for each run: nothing that an older run gave away opens this one.
        write_private(&demo.service_token_file(), &random_hex(32)?)?;
        let mut settings = demo.spawner_settings(repository)?;
        if let Some(path) = profiles {
            settings += &fs::read_to_string(path)
                .with_context(|| format!("reading profiles from {}", path.display()))?;
        }
        write_private(&demo.path("spawner/spawner.toml"), &settings)?;
        for user in [DEMO_USER].iter().chain(&OTHER_USERS) {
            demo.home(repository, user)?;
        }
        Ok(demo)
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.state.join(relative)
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}/", self.ports.public)
    }

    fn socket(&self) -> PathBuf {
        self.path("spawner/spawner.sock")
    }

    fn service_token_file(&self) -> PathBuf {
        self.path("spawner/service-token")
    }

    pub(crate) fn passwords_file(&self) -> PathBuf {
        self.path("directory/users.passwords.json")
    }

    /// The demo user's password, which the embedded directory made at its first start.
    pub(crate) fn password(&self) -> Result<String> {
        let path = self.passwords_file();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let passwords: BTreeMap<String, String> =
            serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        passwords.get(DEMO_USER).cloned().with_context(|| {
            format!(
                "{} names no {DEMO_USER}; remove {} to start anew",
                path.display(),
                self.path("directory").display()
            )
        })
    }

    /// What every process of the stack gets besides the person's own environment.
    pub(crate) fn environment(&self, repository: &Repository) -> Result<Vec<(String, String)>> {
        let text = |path: PathBuf| path.display().to_string();
        Ok(vec![
            ("PATH".into(), search_path(repository)?),
            ("NUNA_UP_STATE".into(), text(self.path("hub"))),
            ("NUNA_UP_ROOT".into(), text(self.state.clone())),
            ("NUNA_UP_PORT".into(), self.ports.public.to_string()),
            ("NUNA_UP_HUB_PORT".into(), self.ports.hub.to_string()),
            ("NUNA_UP_PROXY_API_PORT".into(), self.ports.proxy_api.to_string()),
            ("NUNA_SPAWNER_SOCKET".into(), text(self.socket())),
            ("NUNA_SERVICE_PORT".into(), self.ports.service.to_string()),
            ("NUNA_SERVICE_TOKEN_FILE".into(), text(self.service_token_file())),
            ("NUNA_PBS_DIR".into(), text(self.path("pbs"))),
        ])
    }

    fn spawner_settings(&self, repository: &Repository) -> Result<String> {
        let ports = &self.ports;
        let program = |name: &str| quoted(&setup::commands_folder(repository).join(name));
        let mut text = String::from("# Written by `cargo xtask up` at every start; changes here are lost.\n");
        text += &format!("[socket]\npath = {}\n\n", quoted(&self.socket()));
        text += &format!(
            "[nodes]\nlisten = \"127.0.0.1:{0}\"\nurl = \"http://127.0.0.1:{0}/services/nuna\"\n\n",
            ports.service
        );
        text += &format!(
            "[hub]\napi_url = \"http://127.0.0.1:{}/hub/api\"\napi_token_file = {}\nclient_id = \"service-nuna\"\n\n",
            ports.hub,
            quoted(&self.service_token_file())
        );
        text += &format!("[state]\nfolder = {}\n\n", quoted(&self.path("spawner/state")));
        text += &format!(
            "[directory]\nservers = [\"ldap://127.0.0.1:{}\"]\nuser_dn = \"uid={{user}},ou=people,dc=nuna,dc=local\"\n\
             group_base = \"ou=groups,dc=nuna,dc=local\"\nadmin_groups = [\"hub-admins\"]\n\n",
            ports.directory
        );
        text += &format!(
            "[batch]\nqsub = {}\nqstat = {}\nqdel = {}\nrun_as = \"label\"\ninterval_seconds = 1\n\
             environment = {{ NUNA_PBS_DIR = {} }}\n\n",
            program("qsub"),
            program("qstat"),
            program("qdel"),
            quoted(&self.path("pbs"))
        );
        text += &format!(
            "[launcher]\nprogram = {}\nhome = {}\npath = {}\n",
            program("nuna-singleuser"),
            quoted(&self.path("homes/{user}")),
            quoted(Path::new(&search_path(repository)?))
        );
        text += &format!(
            "[launcher.environment]\nNUNA_BIN = {}\nNUNA_PBS_DIR = {}\n",
            program("nuna"),
            quoted(&self.path("pbs"))
        );
        // HOME is the demo user's, and rustup looks there for its toolchains.
        for (name, folder) in [("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")] {
            let own = std::env::var_os(name).map(PathBuf::from);
            let usual = || std::env::var_os("HOME").map(|home| Path::new(&home).join(folder));
            if let Some(path) = own.or_else(usual) {
                text += &format!("{name} = {}\n", quoted(&path));
            }
        }
        Ok(text + PROFILES)
    }

    /// A home with the tutorial and its store, unless the person has them already.
    fn home(&self, repository: &Repository, user: &str) -> Result<()> {
        let home = self.path("homes").join(user);
        private_folder(&home)?;
        let notebook = home.join("first-cluster.ipynb");
        if !notebook.exists() {
            fs::copy(repository.path("docs/tutorials/first-cluster.ipynb"), &notebook)?;
        }
        if home.join("sea.zarr").exists() {
            return Ok(());
        }
        // Written beside and renamed, so that an interrupted start leaves no half of a store.
        let fresh = home.join(".sea.zarr.new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        let first = self.path("homes").join(DEMO_USER).join("sea.zarr");
        if first.exists() {
            copy_folder(&first, &fresh)?;
        } else {
            let mut script = repository.command(repository.python());
            script.arg("-Wignore").arg(repository.path("docs/tutorials/make_store.py")).arg(&fresh);
            tools::run("write the tutorial's store", &mut script)?;
        }
        fs::rename(&fresh, home.join("sea.zarr")).context("naming the tutorial's store")
    }
}

impl Ports {
    /// The public port as asked for, the others from what is free now.
    fn choose(public: u16) -> Result<Self> {
        let mut held = Vec::new();
        let mut free = || -> Result<u16> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
            let port = listener.local_addr()?.port();
            // Held until all are chosen, or the same port might be given twice.
            held.push(listener);
            Ok(port)
        };
        Ok(Self { public, hub: free()?, proxy_api: free()?, service: free()?, directory: free()? })
    }
}

const PROFILES: &str = r#"
[profiles.small]
title = "Small: 1 core, 2 GB"
description = "Starts within seconds; for looking at data and for the tutorial."
queue = "workq"
select = "1:ncpus=1:mem=2gb"
walltime = "02:00:00"

[profiles.interactive]
title = "Interactive: 2 cores, 4 GB"
description = "For work with a local cluster of workers."
queue = "interactive"
select = "1:ncpus=2:mem=4gb"
walltime = "04:00:00"

[profiles.ocean]
title = "Ocean group: 2 cores, 8 GB"
description = "For members of the group ocean."
queue = "omp"
select = "1:ncpus=2:mem=8gb"
walltime = "08:00:00"
groups = ["ocean"]
"#;

fn search_path(repository: &Repository) -> Result<String> {
    let own = [setup::commands_folder(repository), repository.venv().join("bin")];
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&inherited)))?;
    path.into_string().ok().context("PATH is not text")
}

/// A TOML basic string.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

fn private_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("creating {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("closing {} to others", path.display()))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn random_hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .context("reading /dev/urandom")?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
