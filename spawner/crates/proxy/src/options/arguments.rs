//! The command line, as clap reads it.

use std::path::PathBuf;

use anyhow::ensure;
use clap::{ArgAction, Parser};

/// HTTP and WebSocket proxy with a routing table changed through a REST API.
///
/// The API's token comes from the environment variable CONFIGPROXY_AUTH_TOKEN.
#[derive(Debug, Parser)]
#[command(name = "configurable-http-proxy", version)]
pub(super) struct Arguments {
    /// Public-facing IP of the proxy; empty or `*` for all.
    #[arg(long, default_value = "")]
    pub(super) ip: String,
    /// Public-facing port of the proxy.
    #[arg(long)]
    pub(super) port: Option<u16>,
    /// Public-facing unix socket instead of a port.
    #[arg(long, conflicts_with = "port")]
    pub(super) socket: Option<PathBuf>,
    /// SSL key to use, if any.
    #[arg(long)]
    pub(super) ssl_key: Option<PathBuf>,
    /// SSL certificate (chain) to use, if any.
    #[arg(long)]
    pub(super) ssl_cert: Option<PathBuf>,
    /// Another certificate and key, for clients that ask for this name (NAME=CERT:KEY; `*.` stands for one label);
    /// may be repeated.
    #[arg(long = "ssl-sni", value_name = "NAME=CERT:KEY", action = ArgAction::Append)]
    pub(super) ssl_by_name: Vec<String>,
    /// Authority that client certificates come from.
    #[arg(long)]
    pub(super) ssl_ca: Option<PathBuf>,
    /// Ask clients for certificates.
    #[arg(long)]
    pub(super) ssl_request_cert: bool,
    /// Reject clients without a valid certificate.
    #[arg(long)]
    pub(super) ssl_reject_unauthorized: bool,
    #[arg(long, hide = true)]
    pub(super) ssl_protocol: Option<String>,
    #[arg(long, hide = true)]
    pub(super) ssl_ciphers: Option<String>,
    #[arg(long, hide = true)]
    pub(super) ssl_allow_rc4: bool,
    #[arg(long, hide = true)]
    pub(super) ssl_dhparam: Option<PathBuf>,
    /// Inward-facing IP for API requests.
    #[arg(long, default_value = "localhost")]
    pub(super) api_ip: String,
    /// Inward-facing port for API requests; default --port + 1.
    #[arg(long)]
    pub(super) api_port: Option<u16>,
    /// Inward-facing unix socket for API requests.
    #[arg(long, conflicts_with = "api_port")]
    pub(super) api_socket: Option<PathBuf>,
    #[arg(long)]
    pub(super) api_ssl_key: Option<PathBuf>,
    #[arg(long)]
    pub(super) api_ssl_cert: Option<PathBuf>,
    #[arg(long)]
    pub(super) api_ssl_ca: Option<PathBuf>,
    #[arg(long)]
    pub(super) api_ssl_request_cert: bool,
    #[arg(long)]
    pub(super) api_ssl_reject_unauthorized: bool,
    /// Key the proxy shows to https targets.
    #[arg(long)]
    pub(super) client_ssl_key: Option<PathBuf>,
    #[arg(long)]
    pub(super) client_ssl_cert: Option<PathBuf>,
    /// Authority that https targets' certificates come from.
    #[arg(long)]
    pub(super) client_ssl_ca: Option<PathBuf>,
    #[arg(long)]
    pub(super) client_ssl_request_cert: bool,
    #[arg(long)]
    pub(super) client_ssl_reject_unauthorized: bool,
    /// Default proxy target (proto://host[:port]).
    #[arg(long)]
    pub(super) default_target: Option<String>,
    /// Server that makes error pages (proto://host[:port]/path).
    #[arg(long)]
    pub(super) error_target: Option<String>,
    /// Folder with error pages: 404.html, 503.html, error.html.
    #[arg(long)]
    pub(super) error_path: Option<PathBuf>,
    /// Redirect HTTP requests on this port to the server on HTTPS.
    #[arg(long)]
    pub(super) redirect_port: Option<u16>,
    /// Port that --redirect-port sends clients to; default --port.
    #[arg(long)]
    pub(super) redirect_to: Option<u16>,
    /// Write our process id to a file.
    #[arg(long)]
    pub(super) pid_file: Option<PathBuf>,
    /// Don't add X-Forwarded- headers to proxied requests.
    #[arg(long)]
    pub(super) no_x_forward: bool,
    /// Don't prepend the target's path to proxied requests.
    #[arg(long)]
    pub(super) no_prepend_path: bool,
    /// Don't include the routing prefix in proxied requests.
    #[arg(long)]
    pub(super) no_include_prefix: bool,
    /// Rewrite the Location header's host in redirect responses.
    #[arg(long)]
    pub(super) auto_rewrite: bool,
    /// Send the target's name in the Host header.
    #[arg(long)]
    pub(super) change_origin: bool,
    /// Rewrite the Location header's protocol in redirect responses.
    #[arg(long)]
    pub(super) protocol_rewrite: Option<String>,
    /// Header to add to proxied requests (name:value); may be repeated.
    #[arg(long = "custom-header", action = ArgAction::Append)]
    pub(super) custom_headers: Vec<String>,
    /// Don't verify the certificates of https targets.
    #[arg(long)]
    pub(super) insecure: bool,
    /// Use the host as first level of the path.
    #[arg(long)]
    pub(super) host_routing: bool,
    #[arg(long, hide = true)]
    pub(super) statsd_host: Option<String>,
    #[arg(long, hide = true)]
    pub(super) statsd_port: Option<u16>,
    #[arg(long, hide = true)]
    pub(super) statsd_prefix: Option<String>,
    /// IP for metrics.
    #[arg(long, default_value = "")]
    pub(super) metrics_ip: String,
    /// Port for metrics; off unless given.
    #[arg(long)]
    pub(super) metrics_port: Option<u16>,
    /// Unix socket for metrics instead of a port.
    #[arg(long, conflicts_with = "metrics_port")]
    pub(super) metrics_socket: Option<PathBuf>,
    /// Log level (debug, info, warn, error).
    #[arg(long, default_value = "info", ignore_case = true, value_parser = ["debug", "info", "warn", "error"])]
    pub(super) log_level: String,
    /// Milliseconds a client may leave a request unfinished.
    #[arg(long)]
    pub(super) timeout: Option<u64>,
    /// Milliseconds a target may take before it begins to answer.
    #[arg(long)]
    pub(super) proxy_timeout: Option<u64>,
    /// Milliseconds the hub may take before it begins to answer, after which a page says so; 0 for no limit.
    #[arg(long, default_value_t = 20_000)]
    pub(super) hub_timeout: u64,
    /// Milliseconds an idle client connection is kept.
    #[arg(long)]
    pub(super) keep_alive_timeout: Option<u64>,
    #[arg(long, hide = true)]
    pub(super) storage_backend: Option<String>,
    /// Milliseconds running requests get to end after SIGTERM.
    #[arg(long, default_value_t = 5_000)]
    pub(super) drain_timeout: u64,
    /// Client connections at the same time.
    #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) connections_max: u32,
    /// Milliseconds a client may take over the next piece of what it sends, or of what it is sent.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) client_timeout: u64,
    /// Address or network (10.0.0.0/8) of a proxy in front of this one; what other clients say in X-Forwarded-*,
    /// X-Real-IP and such is dropped; `none` for nobody; may be repeated. All are believed if none is given.
    #[arg(long = "trusted-proxy", value_name = "ADDRESS[/BITS]", action = ArgAction::Append)]
    pub(super) trusted_proxies: Vec<String>,
    /// Threads that carry traffic; default as many as there are processors, at most 8.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
}

impl Arguments {
    pub(super) fn refuse_what_is_not_offered(&self) -> anyhow::Result<()> {
        ensure!(
            self.storage_backend.is_none(),
            "--storage-backend loads JavaScript: this proxy keeps its routes in memory, and JupyterHub restores them"
        );
        ensure!(
            self.statsd_host.is_none() && self.statsd_port.is_none() && self.statsd_prefix.is_none(),
            "--statsd-* is not offered: use --metrics-port for Prometheus metrics"
        );
        ensure!(
            self.ssl_ciphers.is_none()
                && self.ssl_protocol.is_none()
                && self.ssl_dhparam.is_none()
                && !self.ssl_allow_rc4,
            "--ssl-ciphers, --ssl-protocol, --ssl-dhparam and --ssl-allow-rc4 are not offered: \
             TLS 1.2 and 1.3 with current ciphers are always used"
        );
        Ok(())
    }
}
