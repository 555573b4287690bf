//! One connection to one LDAP server: TLS as configured, binds, searches with limits, and what each answer means.
//!
//! A password or a question goes to the servers of the configuration and nowhere else: a referral is an answer, and only
//! the caller knows whether where it points is allowed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope, SearchEntry, SearchOptions,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tracing::debug;

use super::SignInError;
use crate::config::{DirectorySettings, Fault, ServerUrl, read_secret};
use crate::secret::Secret;

/// Entries of one search.
const ENTRIES_MAX: i32 = 2000;
/// Entries that are asked for at once (RFC 2696). Active Directory gives 1000 and no more without that, OpenLDAP 500. A
/// server that knows no pages gives all it would have given.
const PAGE: i32 = 500;
/// Of a server's own words about a failure.
const WORDS_MAX: usize = 200;
/// An idle connection is tried before it is used again…
const TRIED_AFTER: Duration = Duration::from_secs(5);
/// … and has this long to answer.
const TRIAL: Duration = Duration::from_secs(1);
/// Where Linux distributions keep the authorities everybody trusts.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// LDAP result codes (RFC 4511, appendix A).
mod code {
    pub(super) const TIME_LIMIT: u32 = 3;
    pub(super) const SIZE_LIMIT: u32 = 4;
    pub(super) const REFERRAL: u32 = 10;
    pub(super) const ADMIN_LIMIT: u32 = 11;
    /// Of a bind: password expired, account locked.
    pub(super) const CONSTRAINT_VIOLATION: u32 = 19;
    pub(super) const NO_SUCH_OBJECT: u32 = 32;
    pub(super) const INVALID_DN_SYNTAX: u32 = 34;
    pub(super) const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
    pub(super) const INVALID_CREDENTIALS: u32 = 49;
    pub(super) const INSUFFICIENT_ACCESS: u32 = 50;
    pub(super) const BUSY: u32 = 51;
    pub(super) const UNAVAILABLE: u32 = 52;
    pub(super) const UNWILLING: u32 = 53;
}

/// Why one server could not settle a question.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The next server may do better.
    Server(String),
    /// A connection that was kept failed, maybe because the server closed it meanwhile: a new one may do.
    Stale(String),
    /// Another directory has the entries, the server says: at one of these URLs.
    Referred(Vec<String>),
    /// It would say the same.
    Final(SignInError),
}

impl From<SignInError> for Trouble {
    fn from(error: SignInError) -> Self {
        Self::Final(error)
    }
}

pub(super) fn misconfigured(message: impl Into<String>) -> Trouble {
    Trouble::Final(SignInError::Misconfigured { message: message.into() })
}

/// How connections are opened, and who asks on those that look up.
pub(super) struct Connector {
    start_tls: bool,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    lookup: Option<(String, Secret)>,
}

impl Connector {
    pub(super) fn new(settings: &DirectorySettings, servers: &[ServerUrl]) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let password = settings
            .lookup_password_file
            .as_deref()
            .map(|path| read_secret("directory.lookup_password_file", path))
            .transpose()
            .map_err(|fault| faults.push(fault))
            .unwrap_or_default();
        let needs_tls = settings.start_tls || servers.iter().any(|server| server.is_tls);
        let tls =
            if needs_tls { client_config(settings).map_err(|fault| faults.push(fault)).ok() } else { None };
        if !faults.is_empty() {
            return Err(faults);
        }
        let lookup = settings.lookup_dn.clone().zip(password);
        Ok(Self { start_tls: settings.start_tls, tls, timeout: settings.timeout(), lookup })
    }

    /// Whether questions are asked by an account of their own.
    pub(super) fn has_lookup_account(&self) -> bool {
        self.lookup.is_some()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Nobody has bound on it yet.
    pub(super) async fn open(&self, server: &ServerUrl) -> Result<Connection, Trouble> {
        let mut settings =
            LdapConnSettings::new().set_conn_timeout(self.timeout).set_starttls(self.start_tls);
        if let Some(tls) = &self.tls {
            settings = settings.set_config(tls.clone());
        }
        let (connection, ldap) = LdapConnAsync::with_settings(settings, &server.to_string())
            .await
            .map_err(|error| Trouble::Server(describe(&error, self.timeout)))?;
        tokio::spawn(async move {
            // Ends when the handle is dropped. What goes wrong shows in the operation under way.
            if let Err(error) = connection.drive().await {
                debug!("LDAP connection: {error}");
            }
        });
        Ok(Connection { ldap, timeout: self.timeout, used: Instant::now() })
    }

    /// Bound as the account that looks up, or as nobody if there is none.
    pub(super) async fn open_lookup(&self, server: &ServerUrl) -> Result<Connection, Trouble> {
        let mut connection = self.open(server).await?;
        if let Some((dn, password)) = &self.lookup {
            connection.bind(dn, password).await?.map_err(|why| {
                misconfigured(format!("the directory refused directory.lookup_dn {dn}: {why}"))
            })?;
        }
        Ok(connection)
    }
}

/// Dropping it closes it.
pub(super) struct Connection {
    ldap: Ldap,
    timeout: Duration,
    used: Instant,
}

impl Connection {
    pub(super) fn idle(&self) -> Duration {
        self.used.elapsed()
    }

    pub(super) fn used_now(&mut self) {
        self.used = Instant::now();
    }

    /// Whether one that lay idle still answers.
    pub(super) async fn is_alive(&mut self) -> bool {
        !self.ldap.is_closed()
            && (self.idle() < TRIED_AFTER || self.answers(TRIAL.min(self.timeout)).await.is_ok())
    }

    /// Everybody may read the root entry; an empty answer will do.
    pub(super) async fn answers(&mut self, limit: Duration) -> Result<(), String> {
        self.ldap
            .with_timeout(limit)
            .search("", Scope::Base, "(objectClass=*)", vec!["supportedLDAPVersion"])
            .await
            .map(|_| ())
            .map_err(|error| describe(&error, limit))
    }

    /// A bind that is refused because of the name or password is `Ok(Err(why))`.
    pub(super) async fn bind(&mut self, dn: &str, password: &Secret) -> Result<Result<(), String>, Trouble> {
        let result = self
            .ldap
            .with_timeout(self.timeout)
            .simple_bind(dn, password.reveal())
            .await
            .map_err(|error| Trouble::Server(describe(&error, self.timeout)))?;
        match result.rc {
            0 => Ok(Ok(())),
            code::INVALID_CREDENTIALS
            | code::NO_SUCH_OBJECT
            | code::INVALID_DN_SYNTAX
            | code::INAPPROPRIATE_AUTHENTICATION
            | code::CONSTRAINT_VIOLATION
            | code::UNWILLING => Ok(Err(words(&result))),
            code::REFERRAL => Err(Trouble::Referred(result.refs)),
            code::BUSY | code::UNAVAILABLE | code::TIME_LIMIT | code::ADMIN_LIMIT => {
                Err(Trouble::Server(words(&result)))
            }
            _ => Err(Trouble::Server(format!("unexpected answer to a bind: {}", words(&result)))),
        }
    }

    async fn ask(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: Vec<&str>,
    ) -> Result<(Vec<SearchEntry>, LdapResult), Trouble> {
        let server = |error: LdapError| Trouble::Server(describe(&error, self.timeout));
        let mut adapters: Vec<Box<dyn Adapter<'_, _, _>>> = vec![Box::new(EntriesOnly::new())];
        if scope != Scope::Base {
            adapters.push(Box::new(PagedResults::new(PAGE)));
        }
        let mut stream = self
            .ldap
            .with_search_options(SearchOptions::new().sizelimit(ENTRIES_MAX))
            .with_timeout(self.timeout)
            .streaming_search_with(adapters, base, scope, filter, attributes)
            .await
            .map_err(server)?;
        let mut entries = Vec::new();
        // The server was told the limit; it may not keep to it.
        while let Some(entry) = stream.next().await.map_err(server)? {
            if entries.len() >= ENTRIES_MAX as usize {
                return Err(Trouble::Server(format!("more than {ENTRIES_MAX} entries below {base}")));
            }
            entries.push(SearchEntry::construct(entry));
        }
        let result = stream.finish().await;
        if !result.refs.is_empty() && result.rc == 0 {
            debug!(refs = ?result.refs, "references to other directories are not followed");
        }
        match result.rc {
            code::REFERRAL => Err(Trouble::Referred(result.refs)),
            code::BUSY | code::UNAVAILABLE | code::TIME_LIMIT | code::ADMIN_LIMIT => {
                Err(Trouble::Server(format!("{} to a search below {base}", words(&result))))
            }
            _ => Ok((entries, result)),
        }
    }

    pub(super) async fn search(
        &mut self,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: Vec<&str>,
    ) -> Result<Vec<SearchEntry>, Trouble> {
        let (entries, result) = self.ask(base, scope, filter, attributes).await?;
        if result.rc == 0 {
            return Ok(entries);
        }
        if result.rc == code::SIZE_LIMIT {
            return Err(misconfigured(format!(
                "the directory gives {} entries for the search {filter} below {base} and has more, also page by page; raise \
                 its limit for the account that searches, or narrow the filter",
                entries.len()
            )));
        }
        Err(misconfigured(format!(
            "the directory answered {} to the search {filter} below {base}; check directory.user_base, \
             group_base and the rights of the account that searches",
            words(&result)
        )))
    }

    /// One entry by its name if `filter` holds for it; nothing if it is not there, or not for who asks.
    pub(super) async fn read(
        &mut self,
        dn: &str,
        filter: &str,
        attributes: Vec<&str>,
    ) -> Result<Option<SearchEntry>, Trouble> {
        let (mut entries, result) = self.ask(dn, Scope::Base, filter, attributes).await?;
        match result.rc {
            0 => Ok(entries.pop()),
            code::NO_SUCH_OBJECT | code::INSUFFICIENT_ACCESS | code::INVALID_DN_SYNTAX => Ok(None),
            _ => Err(misconfigured(format!("the directory answered {} when {dn} was read", words(&result)))),
        }
    }
}

/// Values of an attribute, whose name is the same in any case. Those that are no text are left out.
pub(super) fn values<'a>(entry: &'a SearchEntry, attribute: &str) -> &'a [String] {
    let found = entry.attrs.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
    found.map(|(_, values)| values.as_slice()).unwrap_or_default()
}

/// The server's own words, in one line of the log whatever they are.
fn words(result: &LdapResult) -> String {
    let text: String = result.text.chars().take(WORDS_MAX).collect();
    format!("LDAP result {} {}", result.rc, text.escape_debug())
}

fn describe(error: &LdapError, limit: Duration) -> String {
    match error {
        LdapError::Timeout { .. } => format!("no answer within {} s", limit.as_secs_f64()),
        LdapError::LdapResult { result } => words(result),
        other => other.to_string(),
    }
}

fn client_config(settings: &DirectorySettings) -> Result<Arc<ClientConfig>, Fault> {
    let key = "directory.ca_file";
    let fault = |wrong: String, remedy: &str| Fault { key: key.to_owned(), wrong, remedy: remedy.to_owned() };
    let system = || SYSTEM_AUTHORITIES.iter().map(std::path::PathBuf::from).find(|path| path.exists());
    let path = settings.ca_file.clone().or_else(system).ok_or_else(|| {
        fault(
            "this machine has no list of authorities".to_owned(),
            "install ca-certificates, or name a PEM file",
        )
    })?;
    let pem = "name a PEM file with the certificate of the servers' authority";
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&path)
        .and_then(Iterator::collect)
        .map_err(|error| fault(format!("{} cannot be read: {error}", path.display()), pem))?;
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(fault(format!("{} holds no usable authority", path.display()), pem));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(format!("TLS cannot be set up: {error}"), pem))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
