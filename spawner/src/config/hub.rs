//! `[hub]`: how this service, as a service of JupyterHub, asks the hub who a browser belongs to.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Fault, Faults, read_secret};
use crate::secret::Secret;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSettings {
    /// Such as `http://127.0.0.1:8081/hub/api`.
    pub api_url: String,
    /// File with the service's API token…
    pub api_token_file: Option<PathBuf>,
    /// … or the environment variable that holds it (JupyterHub gives managed services `JUPYTERHUB_API_TOKEN`).
    pub api_token_env: Option<String>,
    #[serde(default = "default_client_id")]
    pub client_id: String,
    /// Where browsers see this service, behind the hub's proxy.
    #[serde(default = "default_public_prefix")]
    pub public_prefix: String,
    /// Where browsers see the hub.
    #[serde(default = "default_hub_public_path")]
    pub public_path: String,
    /// `https://hub.example.org`; without it, a page's origin must be the host it was asked from.
    pub public_origin: Option<String>,
    /// Further ports of this machine that are never a dashboard's, such as the proxy's API.
    #[serde(default)]
    pub own_ports: Vec<u16>,
}

fn default_client_id() -> String {
    "service-nuna".to_owned()
}

fn default_public_prefix() -> String {
    "/services/nuna/".to_owned()
}

fn default_hub_public_path() -> String {
    "/hub/".to_owned()
}

impl HubSettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        let is_url = self
            .api_url
            .parse::<http::Uri>()
            .is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
        if !is_url {
            let wrong = format!("{:?} is not an http:// or https:// URL", self.api_url);
            faults.add(
                "hub.api_url",
                wrong,
                "write the hub's API as this machine reaches it, such as http://127.0.0.1:8081/hub/api",
            );
        }
        match (&self.api_token_file, &self.api_token_env) {
            (Some(path), None) => faults.absolute("hub.api_token_file", path),
            (None, Some(name)) if !name.is_empty() => {}
            (Some(_), Some(_)) => faults.add(
                "hub.api_token_env",
                "the token is given twice",
                "keep either hub.api_token_file or hub.api_token_env",
            ),
            (None, Some(_) | None) => faults.add(
                "hub.api_token_file",
                "there is no token for the hub's API",
                "write the token of the service `nuna` to a file of mode 0600 and name it here",
            ),
        }
        for (key, path) in
            [("hub.public_prefix", &self.public_prefix), ("hub.public_path", &self.public_path)]
        {
            let is_path =
                path.starts_with('/') && path.ends_with('/') && !path.contains(['?', '#', ' ', '\\']);
            if !is_path || path.starts_with("//") {
                faults.add(key, format!("{path:?} is not a path"), "begin and end it with one slash");
            }
        }
        if self.client_id.is_empty() || !self.client_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            faults.add(
                "hub.client_id",
                format!("{:?} is not a client id", self.client_id),
                "leave it out for service-nuna",
            );
        }
    }

    pub fn api_token(&self) -> Result<Secret, Fault> {
        if let Some(path) = &self.api_token_file {
            return read_secret("hub.api_token_file", path);
        }
        let name = self.api_token_env.as_deref().unwrap_or_default();
        std::env::var(name).ok().filter(|token| !token.is_empty()).map(Secret::new).ok_or_else(|| Fault {
            key: "hub.api_token_env".to_owned(),
            wrong: format!("the environment variable {name} is not set"),
            remedy: "set it where the service is started, or use hub.api_token_file".to_owned(),
        })
    }
}
