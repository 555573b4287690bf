//! `nuna-directory`: a small LDAP server with users and groups from a file, for laptops and tests.
//!
//! One LDAP code path serves a laptop and a site: the spawner asks this server as it would ask the real one.
//! `settings` is the file, `tree` its entries, `session` what a connection may do, `server` the sockets.
#![forbid(unsafe_code)]

mod dn;
mod filter;
mod password;
mod server;
mod session;
mod settings;
mod tree;

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};

/// An embedded LDAP server: users and groups from a TOML file.
#[derive(Debug, Parser)]
#[command(name = "nuna-directory", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads a password from standard input and prints its hash for `password_hash`.
    HashPassword,
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:3890")]
    listen: SocketAddr,
    /// TOML file with users and groups.
    #[arg(long, default_value = "users.toml")]
    users: PathBuf,
    /// If the users file does not exist, write one with the demo users alice, bob and carol.
    #[arg(long)]
    demo: bool,
    /// Where passwords generated for users without one are written (JSON, mode 0600).
    /// Default: the users file's name with `.passwords.json`.
    #[arg(long)]
    initial_passwords: Option<PathBuf>,
    /// Write the address that was bound to this file; useful with port 0.
    #[arg(long)]
    address_file: Option<PathBuf>,
    /// Allow an address other machines can reach. Passwords travel unencrypted.
    #[arg(long)]
    allow_remote: bool,
    /// End when the process that started the server ends.
    #[arg(long)]
    die_with_parent: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::HashPassword) => hash_password(),
        None => serve(&arguments.serve),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nuna-directory: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the hash is this command's result")]
fn hash_password() -> anyhow::Result<()> {
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text).context("cannot read the password")?;
    let password = text.trim_end_matches(['\r', '\n']);
    ensure!(!password.is_empty(), "the password is empty: pipe it in, or type it and end with Ctrl-D");
    println!("{}", password::hash(password)?);
    Ok(())
}

fn serve(arguments: &Serve) -> anyhow::Result<()> {
    if arguments.die_with_parent {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)
            .context("cannot follow the parent process")?;
    }
    ensure!(
        arguments.listen.ip().is_loopback() || arguments.allow_remote,
        "{} can be reached from other machines and passwords travel unencrypted: \
         listen on 127.0.0.1, or say --allow-remote",
        arguments.listen
    );
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("NUNA_LOG").unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    if arguments.demo && !arguments.users.exists() {
        settings::write_private(&arguments.users, settings::DEMO.as_bytes())?;
    }
    let settings = settings::Settings::read(&arguments.users)?;
    let initial = arguments
        .initial_passwords
        .clone()
        .unwrap_or_else(|| arguments.users.with_extension("passwords.json"));
    let hashes = settings::complete_passwords(&settings, &arguments.users, &initial)?;
    let tree = tree::Tree::build(&settings, &hashes)?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(server::serve(arguments.listen, arguments.address_file.as_deref(), tree))
}
