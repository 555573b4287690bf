//! The command line of configurable-http-proxy 5. Everything it accepts is accepted or refused by name.

mod arguments;
mod networks;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use http::header::{self, HeaderName, HeaderValue};

use self::arguments::Arguments;
use self::networks::Trusted;
use crate::routes::Route;

/// Threads that are not asked for beyond this many would cost memory for nothing: one carries gigabits.
const THREADS_MAX: usize = 8;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { ip: String, port: u16 },
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { ip, port } if ip.is_empty() => write!(formatter, "*:{port}"),
            Self::Tcp { ip, port } => write!(formatter, "{ip}:{port}"),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// Key, certificate and what is demanded of the other side.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) key: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) request_cert: bool,
    pub(crate) reject_unauthorized: bool,
    /// Certificates for clients that ask for these names.
    pub(crate) by_name: Vec<NamedCertificate>,
}

/// `NAME=CERT:KEY`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedCertificate {
    pub(crate) name: String,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

pub(crate) enum ErrorPages {
    Builtin,
    /// Ends with a slash.
    Target(crate::upstream::Target, String),
    Folder(PathBuf),
}

pub(crate) struct Options {
    pub(crate) public: Address,
    pub(crate) api: Address,
    pub(crate) metrics: Option<Address>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) api_tls: Option<TlsFiles>,
    pub(crate) client_identity: Option<(PathBuf, PathBuf)>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) insecure: bool,
    pub(crate) auth_token: Option<String>,
    pub(crate) default_target: Option<String>,
    pub(crate) error_pages: ErrorPages,
    pub(crate) redirect: Option<(Address, u16)>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) x_forward: bool,
    pub(crate) prepend_path: bool,
    pub(crate) include_prefix: bool,
    pub(crate) auto_rewrite: bool,
    pub(crate) change_origin: bool,
    pub(crate) protocol_rewrite: Option<String>,
    pub(crate) custom_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) host_routing: bool,
    /// Time for a request's headers, and for a connection between requests.
    pub(crate) header_time_max: Duration,
    proxy_timeout: Option<Duration>,
    hub_timeout: Option<Duration>,
    pub(crate) drain_max: Duration,
    pub(crate) connections_max: usize,
    pub(crate) threads: usize,
    /// For the next piece of what a client sends, or of what it is sent.
    pub(crate) client_time_max: Duration,
    /// Whether requests pass without being rewritten, so that they need not be understood in full.
    pub(crate) takes_plain: bool,
    trusted: Trusted,
    log_level: String,
}

/// A client that has not sent its headers after this long is dropped; also the idle time of a connection.
const HEADER_TIME_MAX: Duration = Duration::from_secs(60);

impl Options {
    pub(crate) fn from_command_line() -> anyhow::Result<Self> {
        let token = std::env::var("CONFIGPROXY_AUTH_TOKEN").ok().filter(|token| !token.is_empty());
        Self::new(Arguments::parse(), token)
    }

    fn new(arguments: Arguments, auth_token: Option<String>) -> anyhow::Result<Self> {
        arguments.refuse_what_is_not_offered()?;
        let port = arguments.port.unwrap_or(8000);
        let all = |ip: &str| if ip == "*" { String::new() } else { ip.to_owned() };
        let public = match &arguments.socket {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp { ip: all(&arguments.ip), port },
        };
        let api = match &arguments.api_socket {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp {
                ip: all(&arguments.api_ip),
                port: match arguments.api_port {
                    Some(port) => port,
                    None => port
                        .checked_add(1)
                        .context("--port 65535 leaves no port for the API: give --api-port")?,
                },
            },
        };
        let tls = tls_files(
            "ssl",
            arguments.ssl_key,
            arguments.ssl_cert,
            arguments.ssl_ca,
            arguments.ssl_request_cert,
            arguments.ssl_reject_unauthorized,
            &arguments.ssl_by_name,
        )?;
        let api_tls = tls_files(
            "api-ssl",
            arguments.api_ssl_key,
            arguments.api_ssl_cert,
            arguments.api_ssl_ca,
            arguments.api_ssl_request_cert,
            arguments.api_ssl_reject_unauthorized,
            &[],
        )?;
        let client_identity = match (arguments.client_ssl_key, arguments.client_ssl_cert) {
            (Some(key), Some(cert)) => Some((key, cert)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                bail!("--client-ssl-key and --client-ssl-cert need each other")
            }
        };
        ensure!(
            arguments.redirect_port.is_none() || tls.is_some(),
            "HTTPS redirection specified but certificates not provided: give --ssl-key and --ssl-cert"
        );
        let redirect = arguments.redirect_port.map(|from| {
            (Address::Tcp { ip: all(&arguments.ip), port: from }, arguments.redirect_to.unwrap_or(port))
        });
        let error_pages = match (arguments.error_target, arguments.error_path) {
            (Some(_), Some(_)) => bail!("Cannot specify both error-target and error-path. Pick one."),
            (Some(target), None) => {
                let slashed = if target.ends_with('/') { target.clone() } else { format!("{target}/") };
                ErrorPages::Target(
                    crate::upstream::Target::parse(&target).context("--error-target")?,
                    slashed,
                )
            }
            (None, Some(path)) => ErrorPages::Folder(path),
            (None, None) => ErrorPages::Builtin,
        };
        let custom_headers = arguments
            .custom_headers
            .iter()
            .map(|header| custom_header(header))
            .collect::<anyhow::Result<_>>()?;
        let millis = |value: Option<u64>| value.filter(|millis| *millis > 0).map(Duration::from_millis);
        Ok(Self {
            public,
            api,
            metrics: match (arguments.metrics_socket, arguments.metrics_port) {
                (Some(path), _) => Some(Address::Unix(path)),
                (None, port) => port.map(|port| Address::Tcp { ip: all(&arguments.metrics_ip), port }),
            },
            tls,
            api_tls,
            client_identity,
            client_ca: arguments.client_ssl_ca,
            insecure: arguments.insecure,
            auth_token,
            default_target: arguments.default_target,
            error_pages,
            redirect,
            pid_file: arguments.pid_file,
            x_forward: !arguments.no_x_forward,
            prepend_path: !arguments.no_prepend_path,
            include_prefix: !arguments.no_include_prefix,
            auto_rewrite: arguments.auto_rewrite,
            change_origin: arguments.change_origin,
            protocol_rewrite: arguments.protocol_rewrite.clone(),
            custom_headers,
            host_routing: arguments.host_routing,
            header_time_max: millis(arguments.keep_alive_timeout.max(arguments.timeout))
                .unwrap_or(HEADER_TIME_MAX),
            proxy_timeout: millis(arguments.proxy_timeout),
            hub_timeout: millis(Some(arguments.hub_timeout)),
            drain_max: Duration::from_millis(arguments.drain_timeout),
            connections_max: arguments.connections_max as usize,
            threads: arguments.threads.map_or_else(
                || std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX)),
                usize::from,
            ),
            client_time_max: Duration::from_millis(arguments.client_timeout),
            takes_plain: !arguments.no_include_prefix
                && !arguments.auto_rewrite
                && arguments.protocol_rewrite.is_none(),
            trusted: Trusted::parse(&arguments.trusted_proxies)?,
            log_level: arguments.log_level.to_lowercase(),
        })
    }

    /// Whether what this client says in `X-Forwarded-*` goes on to the target.
    pub(crate) fn trusts(&self, ip: Option<IpAddr>) -> bool {
        self.trusted.includes(ip)
    }

    /// How long the target of this route may take before it begins to answer.
    pub(crate) fn answer_time_max(&self, route: &Route) -> Option<Duration> {
        let hub_timeout = self.hub_timeout.filter(|_| route.is_hub());
        self.proxy_timeout.into_iter().chain(hub_timeout).min()
    }

    /// Whether every request gets this header from the command line.
    pub(crate) fn sets(&self, name: &str) -> bool {
        self.custom_headers.iter().any(|(set, _)| set.as_str().eq_ignore_ascii_case(name))
    }

    pub(crate) fn log_filter(&self) -> tracing_subscriber::EnvFilter {
        let own = format!("warn,nuna_proxy={}", self.log_level);
        tracing_subscriber::EnvFilter::try_from_env("NUNA_LOG").unwrap_or_else(|_| own.into())
    }
}

fn tls_files(
    name: &str,
    key: Option<PathBuf>,
    cert: Option<PathBuf>,
    ca: Option<PathBuf>,
    request_cert: bool,
    reject_unauthorized: bool,
    by_name: &[String],
) -> anyhow::Result<Option<TlsFiles>> {
    let by_name: Vec<_> =
        by_name.iter().map(|text| named_certificate(text)).collect::<anyhow::Result<_>>()?;
    match (key, cert) {
        (Some(key), Some(cert)) => {
            ensure!(
                !request_cert || ca.is_some(),
                "--{name}-request-cert needs --{name}-ca: whose certificates should be accepted?"
            );
            Ok(Some(TlsFiles { key, cert, ca, request_cert, reject_unauthorized, by_name }))
        }
        (None, None) => {
            ensure!(
                by_name.is_empty(),
                "--ssl-sni needs --ssl-key and --ssl-cert, for clients that name nothing"
            );
            Ok(None)
        }
        (Some(_), None) | (None, Some(_)) => bail!("--{name}-key and --{name}-cert need each other"),
    }
}

fn named_certificate(text: &str) -> anyhow::Result<NamedCertificate> {
    let parts = text.split_once('=').and_then(|(name, files)| Some((name, files.split_once(':')?)));
    let Some((name, (cert, key))) =
        parts.filter(|(name, (cert, key))| ![name, cert, key].iter().any(|part| part.is_empty()))
    else {
        bail!("--ssl-sni {text:?} is not NAME=CERT:KEY");
    };
    Ok(NamedCertificate { name: name.to_owned(), cert: cert.into(), key: key.into() })
}

fn custom_header(text: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let Some((name, value)) = text.split_once(':') else {
        bail!("A colon was expected in custom header: {text}");
    };
    let name: HeaderName =
        name.trim().parse().with_context(|| format!("--custom-header {text:?} has no valid name"))?;
    // What frames a request or belongs to one connection is not the administrator's to say.
    let own = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::EXPECT,
    ];
    ensure!(!own.contains(&name), "--custom-header {text:?}: the proxy itself sets {name}");
    let value =
        value.trim().parse().with_context(|| format!("--custom-header {text:?} has no valid value"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> anyhow::Result<Options> {
        let line = std::iter::once("configurable-http-proxy").chain(arguments.iter().copied());
        Options::new(Arguments::try_parse_from(line)?, Some("t".to_owned()))
    }

    #[test]
    fn jupyterhub_command_line_is_understood() {
        let options = options(&[
            "--ip",
            "",
            "--port",
            "8000",
            "--api-ip",
            "127.0.0.1",
            "--api-port",
            "8001",
            "--error-target",
            "http://127.0.0.1:8081/hub/error",
            "--log-level",
            "INFO",
            "--host-routing",
        ])
        .unwrap();
        assert_eq!(options.public, Address::Tcp { ip: String::new(), port: 8000 });
        assert_eq!(options.api, Address::Tcp { ip: "127.0.0.1".to_owned(), port: 8001 });
        assert!(options.host_routing);
        assert!(
            matches!(options.error_pages, ErrorPages::Target(_, url) if url == "http://127.0.0.1:8081/hub/error/")
        );
    }

    #[test]
    fn api_port_follows_the_public_port() {
        assert_eq!(
            options(&["--port", "9"]).unwrap().api,
            Address::Tcp { ip: "localhost".to_owned(), port: 10 }
        );
        assert!(options(&["--port", "65535"]).is_err());
    }

    #[test]
    fn what_is_not_offered_is_named() {
        for (arguments, word) in [
            (vec!["--storage-backend", "x"], "--storage-backend"),
            (vec!["--statsd-host", "x"], "--metrics-port"),
            (vec!["--ssl-ciphers", "x"], "TLS 1.2 and 1.3"),
            (vec!["--ssl-key", "x"], "--ssl-cert"),
            (vec!["--redirect-port", "80"], "certificates"),
            (vec!["--error-target", "http://x", "--error-path", "y"], "Pick one"),
            (vec!["--custom-header", "bad name: x"], "valid name"),
            (vec!["--custom-header", "invalid"], "colon was expected"),
            (vec!["--custom-header", "Content-Length: 5"], "the proxy itself"),
            (vec!["--custom-header", "X: a\r\nY: b"], "valid value"),
            (vec!["--trusted-proxy", "proxy"], "10.0.0.0/8"),
            (vec!["--ssl-sni", "hub=cert"], "NAME=CERT:KEY"),
            (vec!["--ssl-sni", "hub=c:k"], "--ssl-cert"),
            (vec!["--socket", "x", "--port", "1"], "cannot be used with"),
        ] {
            let message = options(&arguments).err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(message.contains(word), "{arguments:?} gave {message:?}");
        }
    }
}
