//! Sign-in against LDAP servers: a fresh connection for each, limits on every step, and the next server when one
//! does not answer. A password is sent in one bind request and kept nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions};
use nuna_pbs::UserName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tracing::{debug, warn};

use super::escape;
use super::{Directory, Identity, SignInError};
use crate::config::{DirectorySettings, Fault, ServerUrl, is_dn, read_secret};
use crate::secret::Secret;

/// Groups of one person.
const GROUPS_MAX: i32 = 2000;
/// One server's turn at a sign-in, in timeouts of one step.
const TURN: u32 = 3;
const USER_LENGTH_MAX: usize = 64;
const PASSWORD_LENGTH_MAX: usize = 1024;
/// Where Linux distributions keep the authorities everybody trusts.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// LDAP result codes (RFC 4511, appendix A).
mod code {
    pub(super) const TIME_LIMIT: u32 = 3;
    pub(super) const ADMIN_LIMIT: u32 = 11;
    /// Of a bind: password expired, account locked.
    pub(super) const CONSTRAINT_VIOLATION: u32 = 19;
    pub(super) const NO_SUCH_OBJECT: u32 = 32;
    pub(super) const INVALID_DN_SYNTAX: u32 = 34;
    pub(super) const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
    pub(super) const INVALID_CREDENTIALS: u32 = 49;
    pub(super) const BUSY: u32 = 51;
    pub(super) const UNAVAILABLE: u32 = 52;
    pub(super) const UNWILLING: u32 = 53;
}

pub struct LdapDirectory {
    settings: DirectorySettings,
    servers: Vec<ServerUrl>,
    lookup_password: Option<Secret>,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    /// The server that answered last is asked first.
    preferred: AtomicUsize,
}

/// Why one server could not settle a sign-in.
enum Trouble {
    /// The next server may do better.
    Server(String),
    /// It would say the same.
    Final(SignInError),
}

impl From<SignInError> for Trouble {
    fn from(error: SignInError) -> Self {
        Self::Final(error)
    }
}

impl LdapDirectory {
    pub fn new(settings: &DirectorySettings) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let servers: Vec<ServerUrl> =
            settings.servers.iter().filter_map(|text| ServerUrl::parse(text).ok()).collect();
        let lookup_password = settings
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
        Ok(Self {
            timeout: settings.timeout(),
            settings: settings.clone(),
            servers,
            lookup_password,
            tls,
            preferred: AtomicUsize::new(0),
        })
    }

    async fn connect(&self, server: &ServerUrl) -> Result<Ldap, String> {
        let mut settings =
            LdapConnSettings::new().set_conn_timeout(self.timeout).set_starttls(self.settings.start_tls);
        if let Some(tls) = &self.tls {
            settings = settings.set_config(tls.clone());
        }
        let (connection, ldap) = LdapConnAsync::with_settings(settings, &server.to_string())
            .await
            .map_err(|error| self.describe(&error))?;
        tokio::spawn(async move {
            // Ends when the handle is dropped. What goes wrong shows in the operation under way.
            if let Err(error) = connection.drive().await {
                debug!("LDAP connection: {error}");
            }
        });
        Ok(ldap)
    }

    fn describe(&self, error: &LdapError) -> String {
        match error {
            LdapError::Timeout { .. } => format!("no answer within {} s", self.timeout.as_secs_f64()),
            LdapError::LdapResult { result } => format!("LDAP result {}: {}", result.rc, result.text),
            other => other.to_string(),
        }
    }

    /// A bind that is refused because of the name or password is `Ok(Err(why))`.
    async fn bind(&self, ldap: &mut Ldap, dn: &str, password: &str) -> Result<Result<(), String>, Trouble> {
        let result = ldap
            .with_timeout(self.timeout)
            .simple_bind(dn, password)
            .await
            .map_err(|error| Trouble::Server(self.describe(&error)))?;
        match result.rc {
            0 => Ok(Ok(())),
            code::INVALID_CREDENTIALS
            | code::NO_SUCH_OBJECT
            | code::INVALID_DN_SYNTAX
            | code::INAPPROPRIATE_AUTHENTICATION
            | code::CONSTRAINT_VIOLATION
            | code::UNWILLING => Ok(Err(format!("LDAP result {} {}", result.rc, result.text))),
            code::BUSY | code::UNAVAILABLE | code::TIME_LIMIT | code::ADMIN_LIMIT => {
                Err(Trouble::Server(format!("LDAP result {}: {}", result.rc, result.text)))
            }
            other => {
                Err(Trouble::Server(format!("unexpected LDAP result {other} to a bind: {}", result.text)))
            }
        }
    }

    async fn search(
        &self,
        ldap: &mut Ldap,
        base: &str,
        scope: Scope,
        filter: &str,
        attributes: Vec<&str>,
    ) -> Result<Vec<SearchEntry>, Trouble> {
        let options = SearchOptions::new().sizelimit(GROUPS_MAX);
        let result = ldap
            .with_search_options(options)
            .with_timeout(self.timeout)
            .search(base, scope, filter, attributes)
            .await
            .map_err(|error| Trouble::Server(self.describe(&error)))?;
        match result.1.rc {
            0 => Ok(result.0.into_iter().map(SearchEntry::construct).collect()),
            code::BUSY | code::UNAVAILABLE | code::TIME_LIMIT | code::ADMIN_LIMIT => {
                Err(Trouble::Server(format!("LDAP result {} to a search below {base}", result.1.rc)))
            }
            other => {
                let text = &result.1.text;
                let message = format!(
                    "the directory answered LDAP result {other} ({text}) to the search {filter} below {base}; \
                     check directory.user_base, group_base and the rights of the account that searches"
                );
                Err(SignInError::Misconfigured { message }.into())
            }
        }
    }

    async fn bind_lookup(&self, ldap: &mut Ldap) -> Result<(), Trouble> {
        let (Some(dn), Some(password)) = (&self.settings.lookup_dn, &self.lookup_password) else {
            return Ok(());
        };
        self.bind(ldap, dn, password.reveal()).await?.map_err(|why| {
            let message = format!("the directory refused directory.lookup_dn {dn}: {why}");
            Trouble::Final(SignInError::Misconfigured { message })
        })
    }

    /// The one entry of this user below `user_base`.
    async fn find(&self, ldap: &mut Ldap, base: &str, user: &UserName) -> Result<Option<String>, Trouble> {
        let filter = escape::filter(&self.settings.user_filter, user.as_str(), "");
        let mut entries = self.search(ldap, base, Scope::Subtree, &filter, vec!["1.1"]).await?;
        match (entries.pop(), entries.is_empty()) {
            (Some(entry), true) if !entry.dn.is_empty() => Ok(Some(entry.dn)),
            (Some(_), false) => {
                let message =
                    format!("{filter} below {base} finds more than one entry; narrow directory.user_filter");
                Err(SignInError::Misconfigured { message }.into())
            }
            (Some(_) | None, _) => Ok(None),
        }
    }

    async fn sign_in_at(
        &self,
        server: &ServerUrl,
        user: &UserName,
        password: &Secret,
    ) -> Result<Identity, Trouble> {
        let mut ldap = self.connect(server).await.map_err(Trouble::Server)?;
        let wrong = |why: String| Trouble::Final(SignInError::WrongPassword { why });
        let dn = match (&self.settings.user_dn, &self.settings.user_base) {
            (Some(template), base) => {
                let name = escape::bind_name(template, user.as_str());
                self.bind(&mut ldap, &name, password.reveal()).await?.map_err(wrong)?;
                match base {
                    _ if is_dn(template) => Some(name),
                    Some(base) => self.find(&mut ldap, base, user).await?,
                    None => None,
                }
            }
            (None, base) => {
                self.bind_lookup(&mut ldap).await?;
                let base = base.as_deref().unwrap_or_default();
                let dn = self
                    .find(&mut ldap, base, user)
                    .await?
                    .ok_or_else(|| wrong(format!("no entry below {base}")))?;
                self.bind(&mut ldap, &dn, password.reveal()).await?.map_err(wrong)?;
                Some(dn)
            }
        };
        let groups = self.groups(&mut ldap, user, dn.as_deref()).await?;
        let is_member = |names: &[String]| names.iter().any(|name| groups.contains(name));
        if !self.settings.allowed_groups.is_empty() && !is_member(&self.settings.allowed_groups) {
            return Err(SignInError::NotAllowed.into());
        }
        let admin = is_member(&self.settings.admin_groups);
        Ok(Identity { name: user.clone(), groups, admin })
    }

    async fn groups(
        &self,
        ldap: &mut Ldap,
        user: &UserName,
        dn: Option<&str>,
    ) -> Result<Vec<String>, Trouble> {
        let settings = &self.settings;
        if settings.group_base.is_none() && settings.member_of.is_none() {
            return Ok(Vec::new());
        }
        self.bind_lookup(ldap).await?;
        let mut groups: Vec<String> = match (&settings.group_base, &settings.member_of, dn) {
            (Some(base), _, dn) => {
                let filter = escape::filter(&settings.group_filter, user.as_str(), dn.unwrap_or_default());
                let attribute = settings.group_attribute.as_str();
                let entries = self.search(ldap, base, Scope::Subtree, &filter, vec![attribute]).await?;
                entries.into_iter().flat_map(|entry| values(entry, attribute)).collect()
            }
            (None, Some(attribute), Some(dn)) => {
                let entries =
                    self.search(ldap, dn, Scope::Base, "(objectClass=*)", vec![attribute.as_str()]).await?;
                let values = entries.into_iter().flat_map(|entry| values(entry, attribute));
                values.filter_map(|dn| escape::first_value(&dn)).collect()
            }
            (None, Some(_) | None, _) => Vec::new(),
        };
        groups.sort();
        groups.dedup();
        Ok(groups)
    }
}

/// Attribute names are the same in any case.
fn values(entry: SearchEntry, attribute: &str) -> Vec<String> {
    entry
        .attrs
        .into_iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(attribute))
        .flat_map(|(_, values)| values)
        .collect()
}

#[async_trait::async_trait]
impl Directory for LdapDirectory {
    async fn sign_in(&self, user: &str, password: &Secret) -> Result<Identity, SignInError> {
        let wrong = |why: &str| SignInError::WrongPassword { why: why.to_owned() };
        // A bind without a password succeeds as nobody (RFC 4513, 5.1.2).
        if password.reveal().is_empty() {
            return Err(wrong("the password is empty"));
        }
        if password.reveal().len() > PASSWORD_LENGTH_MAX || user.len() > USER_LENGTH_MAX {
            return Err(wrong("name or password is longer than any"));
        }
        // Directories take either case; accounts have one.
        let user: UserName = user.trim().to_lowercase().parse().map_err(|_| wrong("not a user name"))?;
        let first = self.preferred.load(Ordering::Relaxed);
        let count = self.servers.len();
        let mut tried = Vec::new();
        for index in (0..count).map(|step| (first + step) % count) {
            let server = &self.servers[index];
            // Each step has its limit; a server that is slow at all of them has used up its turn as well.
            let limit = self.timeout * TURN;
            let outcome = tokio::time::timeout(limit, self.sign_in_at(server, &user, password)).await;
            match outcome.unwrap_or_else(|_| {
                Err(Trouble::Server(format!("not done within {} s", limit.as_secs_f64())))
            }) {
                Ok(identity) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(identity);
                }
                Err(Trouble::Final(error)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Err(error);
                }
                Err(Trouble::Server(why)) => {
                    warn!(%server, "the directory server did not settle a sign-in: {why}");
                    tried.push(format!("{server}: {why}"));
                }
            }
        }
        Err(SignInError::Unreachable { tried })
    }

    async fn probe(&self) -> Vec<Result<String, String>> {
        let mut lines = Vec::new();
        for server in &self.servers {
            let outcome = async {
                let mut ldap = self.connect(server).await?;
                match self.bind_lookup(&mut ldap).await {
                    Ok(()) => {}
                    Err(Trouble::Server(why)) => return Err(why),
                    Err(Trouble::Final(error)) => return Err(error.to_string()),
                }
                // Everybody may read the root entry; an empty answer will do.
                ldap.with_timeout(self.timeout)
                    .search("", Scope::Base, "(objectClass=*)", vec!["supportedLDAPVersion"])
                    .await
                    .map_err(|error| self.describe(&error))?;
                Ok(())
            }
            .await;
            lines.push(match outcome {
                Ok(()) => Ok(format!("{server} answers")),
                Err(why) => Err(format!("{server}: {why}")),
            });
        }
        lines
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
