//! Owns the connection file: which addresses to bind and which key signs.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// As jupyter_client writes it.
#[derive(Clone, Deserialize)]
pub struct Connection {
    pub transport: String,
    pub ip: String,
    pub shell_port: u32,
    pub control_port: u32,
    pub iopub_port: u32,
    pub stdin_port: u32,
    pub hb_port: u32,
    #[serde(default)]
    pub key: String,
    #[serde(default = "hmac_sha256")]
    pub signature_scheme: String,
}

fn hmac_sha256() -> String {
    "hmac-sha256".to_owned()
}

impl Connection {
    /// # Errors
    /// If the file cannot be read, is not a connection file, or asks for what this kernel does not speak.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading connection file {}", path.display()))?;
        let connection: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a connection file", path.display()))?;
        if connection.signature_scheme != "hmac-sha256" {
            bail!(
                "signature scheme {:?} is unknown; this kernel signs with hmac-sha256",
                connection.signature_scheme
            );
        }
        if !["tcp", "ipc"].contains(&connection.transport.as_str()) {
            bail!("transport {:?} is unknown; this kernel speaks tcp and ipc", connection.transport);
        }
        Ok(connection)
    }

    pub fn endpoint(&self, port: u32) -> String {
        match self.transport.as_str() {
            "ipc" => format!("ipc://{}-{port}", self.ip),
            _ => format!("tcp://{}:{port}", self.ip),
        }
    }
}
