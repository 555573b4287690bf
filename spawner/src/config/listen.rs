//! `[socket]`, where the hub asks, and `[nodes]`, where launchers and browsers' dashboards come in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Faults, seconds};

/// Longest path a unix socket can have.
const SOCKET_PATH_MAX: usize = 107;
/// All that the service offers on TCP is below this path.
pub const PREFIX: &str = "/services/nuna";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketSettings {
    #[serde(default = "default_path")]
    pub path: PathBuf,
    /// Accounts besides root and the service's own that may ask: the hub's.
    #[serde(default)]
    pub allow_users: Vec<String>,
}

fn default_path() -> PathBuf {
    PathBuf::from("/run/nuna/spawner.sock")
}

impl SocketSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.absolute("socket.path", &self.path);
        let length = self.path.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            let wrong = format!("the path has {length} bytes, and a socket's has {SOCKET_PATH_MAX} at most");
            faults.add("socket.path", wrong, "use a shorter folder, such as /run/nuna");
        }
        for user in &self.allow_users {
            if !matches!(nix::unistd::User::from_name(user), Ok(Some(_))) {
                let wrong = format!("there is no account {user:?} on this machine");
                faults.add("socket.allow_users", wrong, "name the account JupyterHub runs as");
            }
        }
    }

    /// Uids that may connect.
    pub fn uids(&self) -> Vec<u32> {
        let named =
            self.allow_users.iter().filter_map(|user| nix::unistd::User::from_name(user).ok().flatten());
        let mut uids: Vec<u32> = named.map(|user| user.uid.as_raw()).collect();
        uids.extend([0, nix::unistd::geteuid().as_raw()]);
        uids
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodesSettings {
    /// Address and port for launchers and, through the hub's proxy, dashboards.
    pub listen: SocketAddr,
    /// The same as compute nodes reach it, with the path `/services/nuna`.
    pub url: String,
    #[serde(default = "default_connections_max")]
    pub connections_max: usize,
    /// From one machine; the hub's proxy, which comes from this one, has no such limit.
    #[serde(default = "default_connections_per_host_max")]
    pub connections_per_host_max: usize,
    /// A client that has not sent its headers after this long is dropped, and so is an idle connection.
    #[serde(default = "default_header_seconds")]
    pub header_seconds: f64,
}

fn default_connections_per_host_max() -> usize {
    512
}

fn default_header_seconds() -> f64 {
    30.0
}

fn default_connections_max() -> usize {
    4096
}

impl NodesSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        let remedy = format!("write http://HOST:PORT{PREFIX} as compute nodes reach this machine");
        let wrong = match self.url.parse::<http::Uri>() {
            Err(error) => Some(format!("{:?} is not a URL: {error}", self.url)),
            Ok(url) if !matches!(url.scheme_str(), Some("http" | "https")) => {
                Some(format!("{:?} is neither http:// nor https://", self.url))
            }
            Ok(url) if url.path().trim_end_matches('/') != PREFIX || url.query().is_some() => {
                Some(format!("the path of {:?} is not {PREFIX}", self.url))
            }
            Ok(_) => None,
        };
        if let Some(wrong) = wrong {
            faults.add("nodes.url", wrong, remedy);
        }
        if self.connections_max == 0 || self.connections_per_host_max == 0 {
            let wrong = "0 connections could not serve anybody";
            faults.add(
                "nodes.connections_max",
                wrong,
                "leave it and connections_per_host_max out for 4096 and 512",
            );
        }
        faults.seconds("nodes.header_seconds", self.header_seconds, 600.0);
    }

    pub fn header_time(&self) -> Duration {
        seconds(self.header_seconds)
    }
}
