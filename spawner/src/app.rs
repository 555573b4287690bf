//! All that a request may use, and how it is put together from the configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use nuna_pbs::{BatchSystem, Caller, Dialect, RunAs, UserName};
use nuna_systemd::Heart;
use tokio::sync::{Semaphore, watch};

use crate::auth::{Acquaintances, Directory, Identity, LdapDirectory, Standings, Throttle};
use crate::clock::Clock;
use crate::config::{BatchSettings, Config, Fault, RunAsSettings, RunAsWord, System};
use crate::journal::Journal;
use crate::lifecycle::polling::PollPlan;
use crate::lifecycle::{Driver, Fleet, Keeper, Limits, Owners};
use crate::metrics::Metrics;
use crate::names::Names;
use crate::profiles::Profiles;
use crate::queues::QueueBoard;
use crate::templates::{self, Templates};

/// Beyond the commands' own limit; a command that needs it has hung.
const COMMAND_GRACE: Duration = Duration::from_secs(5);

pub struct App {
    pub config: Config,
    pub templates: Templates,
    pub profiles: Profiles,
    pub directory: Arc<dyn Directory>,
    pub keeper: Keeper,
    pub queues: QueueBoard,
    pub journal: Arc<Journal>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub limits: Limits,
    /// Longest wait for one command of the batch system.
    pub command_max: Duration,
    pub sign_ins: Semaphore,
    /// Wrong passwords by name, and by address.
    pub throttle: Throttle,
    pub address_throttle: Throttle,
    /// The same for names that have signed in from there: strangers' guesses do not keep them out.
    pub acquainted_throttle: Throttle,
    pub acquaintances: Acquaintances,
    pub standings: Standings,
    /// Names that the batch system gave, and names that launchers claim.
    pub node_names: Names,
    pub claimed_names: Names,
    /// Of this machine, and never a user server's.
    pub own_ports: Vec<u16>,
    /// True once the service has been told to end.
    pub ending: watch::Receiver<bool>,
}

/// What is checked before anything listens, and nothing else.
pub struct Parts {
    pub templates: Templates,
    pub profiles: Profiles,
    pub directory: LdapDirectory,
}

impl Parts {
    pub fn new(config: &Config) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let templates =
            Templates::new(&config.templates, config.batch.system).map_err(|found| faults.extend(found)).ok();
        let directory = LdapDirectory::new(&config.directory).map_err(|found| faults.extend(found)).ok();
        let profiles = Profiles::new(config.profiles.clone());
        if let Err(fault) = config.hub.api_token() {
            faults.push(fault);
        }
        if let Some(templates) = &templates {
            faults.extend(templates::check_all(
                templates,
                &profiles,
                &config.profiles,
                &config.launcher,
                &config.nodes.url,
            ));
        }
        match (templates, directory, faults.is_empty()) {
            (Some(templates), Some(directory), true) => Ok(Self { templates, profiles, directory }),
            (_, _, _) => Err(faults),
        }
    }
}

/// The batch system that the configuration names, with what is asked of it by those who know which one it is.
pub enum Batch {
    Pbs(nuna_pbs::Commands),
    Slurm(nuna_slurm::Commands),
}

impl Batch {
    pub fn new(settings: &BatchSettings) -> Self {
        let run_as = match &settings.run_as {
            RunAsSettings::Word(RunAsWord::Myself) => RunAs::Myself,
            RunAsSettings::Word(RunAsWord::Label) => RunAs::Label,
            RunAsSettings::Helper(argv) => RunAs::Helper { argv: argv.clone() },
        };
        let (environment, timeout) = (settings.environment.clone(), settings.timeout());
        match settings.system {
            System::Pbs | System::Torque => Self::Pbs(nuna_pbs::Commands {
                dialect: if settings.system == System::Torque { Dialect::Torque } else { Dialect::Pbs },
                qsub: settings.program("batch.qsub"),
                qstat: settings.program("batch.qstat"),
                qdel: settings.program("batch.qdel"),
                environment,
                run_as,
                timeout,
            }),
            System::Slurm => Self::Slurm(nuna_slurm::Commands {
                sbatch: settings.program("batch.sbatch"),
                squeue: settings.program("batch.squeue"),
                scancel: settings.program("batch.scancel"),
                scontrol: settings.program("batch.scontrol"),
                caller: Caller { run_as, environment, timeout },
            }),
        }
    }

    pub fn into_system(self) -> Arc<dyn BatchSystem> {
        match self {
            Self::Pbs(commands) => Arc::new(commands),
            Self::Slurm(commands) => Arc::new(commands),
        }
    }
}

/// Everything but the listeners. The task ends some time after `ending` turns true.
pub fn start(
    config: Config,
    parts: Parts,
    batch: Arc<dyn BatchSystem>,
    heart: Heart,
    ending: watch::Receiver<bool>,
) -> anyhow::Result<(Arc<App>, tokio::task::JoinHandle<()>)> {
    let journal = Journal::open(&config.state.folder).context("state.folder: cannot open the journal")?;
    let journal = Arc::new(journal);
    let records = journal.servers().context("state.folder: cannot read the journal")?;
    let clock = Clock::start();
    let metrics = Arc::new(Metrics::default());
    let limits = config.limits.lifecycle(config.batch.timeout());
    let living = records.iter().filter(|(_, state)| !state.is_gone()).count();
    tracing::info!(
        living,
        remembered = records.len() - living,
        tag = journal.tag_prefix(),
        "the journal is read"
    );
    let plan = PollPlan::new(config.batch.interval());
    let owners = match &config.batch.run_as {
        RunAsSettings::Word(RunAsWord::Myself) => Owners::Service,
        RunAsSettings::Word(RunAsWord::Label) | RunAsSettings::Helper(_) => Owners::Users,
    };
    let fleet = Fleet::restored(clock.now(), journal.tag_prefix(), owners, plan, limits, records)
        .on(config.batch.system);
    let command_max = config.batch.timeout() + COMMAND_GRACE;
    let times = (config.batch.interval(), command_max);
    let budget = (fleet.budget().clone(), clock);
    let queues = QueueBoard::new(batch.clone(), metrics.clone(), times, budget);
    let driver = Driver {
        fleet,
        batch,
        journal: journal.clone(),
        metrics: metrics.clone(),
        clock,
        command_max,
        heart,
    };
    let (keeper, task) = driver.start(ending.clone());
    let app = App {
        sign_ins: Semaphore::new(config.limits.sign_ins_max),
        throttle: Throttle::new(config.limits.wrong_passwords_per_minute),
        address_throttle: Throttle::new(config.limits.wrong_passwords_per_minute_per_address),
        acquainted_throttle: Throttle::new(config.limits.wrong_passwords_per_minute_per_address),
        acquaintances: Acquaintances::default(),
        standings: Standings::new(config.directory.lookup_keep()),
        node_names: Names::default(),
        claimed_names: Names::default(),
        own_ports: own_ports(&config),
        templates: parts.templates,
        profiles: parts.profiles,
        directory: Arc::new(parts.directory),
        keeper,
        queues,
        journal,
        metrics,
        clock,
        limits,
        command_max,
        ending,
        config,
    };
    Ok((Arc::new(app), task))
}

impl App {
    /// The groups somebody had when they last signed in. Nobody who never did has any.
    pub fn groups(&self, user: &UserName) -> Vec<String> {
        self.journal.user(user).map(|identity| identity.groups).unwrap_or_default()
    }

    /// Who has lost their access is in no group.
    pub async fn forget(&self, user: &UserName) -> anyhow::Result<()> {
        Ok(self.journal.forget_user(user).await?)
    }

    pub async fn remember(&self, identity: &Identity) -> anyhow::Result<()> {
        Ok(self.journal.remember_user(identity).await?)
    }
}

/// Ports that only this machine's own programs should reach.
fn own_ports(config: &Config) -> Vec<u16> {
    let mut ports = config.hub.own_ports.clone();
    ports.push(config.nodes.listen.port());
    ports.extend(config.hub.api_url.parse::<http::Uri>().ok().and_then(|url| url.port_u16()));
    ports
}

/// The dashboards' routes, for the listener that nodes and browsers reach.
pub fn gateway(config: &Config) -> anyhow::Result<axum::Router> {
    let token = match config.hub.api_token() {
        Ok(token) => token,
        Err(fault) => bail!("{fault}"),
    };
    let token = nuna_gateway::Secret::new(token.reveal());
    let mut settings = nuna_gateway::Settings::new(&config.hub.api_url, token, &config.hub.client_id);
    settings.public_prefix.clone_from(&config.hub.public_prefix);
    settings.hub_public_path.clone_from(&config.hub.public_path);
    settings.public_origin.clone_from(&config.hub.public_origin);
    settings.own_ports = own_ports(config);
    nuna_gateway::router(settings).context("the gateway for dashboards")
}
