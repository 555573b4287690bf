//! `[directory]`: the LDAP servers, how a user's entry is found, and where group membership is read.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Faults, seconds};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectorySettings {
    /// `ldap://host:389` or `ldaps://host:636`; the next one is asked when one does not answer.
    pub servers: Vec<String>,
    /// Who signs in, with `{user}`: `uid={user},ou=people,dc=example,dc=org`, or `{user}@example.org` for Active
    /// Directory. Without it, the user's entry is searched below `user_base`.
    pub user_dn: Option<String>,
    pub user_base: Option<String>,
    /// Finds the user's entry below `user_base`.
    #[serde(default = "default_user_filter")]
    pub user_filter: String,
    /// Searches for users and groups; without it, users are searched anonymously and groups as the user.
    pub lookup_dn: Option<String>,
    pub lookup_password_file: Option<PathBuf>,
    /// Groups are searched below it…
    pub group_base: Option<String>,
    /// … by this filter with `{dn}` and `{user}` …
    #[serde(default = "default_group_filter")]
    pub group_filter: String,
    /// … and named by this attribute.
    #[serde(default = "default_group_attribute")]
    pub group_attribute: String,
    /// Or groups are the values of this attribute of the user's entry, such as `memberOf`.
    pub member_of: Option<String>,
    /// Members administer JupyterHub.
    #[serde(default)]
    pub admin_groups: Vec<String>,
    /// If given, only members of one of these may sign in.
    #[serde(default)]
    pub allowed_groups: Vec<String>,
    /// Switch ldap:// connections to TLS before anything is sent.
    #[serde(default)]
    pub start_tls: bool,
    /// Authority of the servers' certificates; the system's authorities without it.
    pub ca_file: Option<PathBuf>,
    /// Send passwords unencrypted to another machine.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// For connecting, and for each answer.
    #[serde(default = "default_timeout_seconds")]
    pub timeout_seconds: f64,
}

fn default_user_filter() -> String {
    "(uid={user})".to_owned()
}

fn default_group_filter() -> String {
    "(|(member={dn})(uniqueMember={dn})(memberUid={user}))".to_owned()
}

fn default_group_attribute() -> String {
    "cn".to_owned()
}

fn default_timeout_seconds() -> f64 {
    5.0
}

/// One of `servers`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    pub is_tls: bool,
    pub host: String,
    pub port: u16,
}

impl ServerUrl {
    pub fn parse(text: &str) -> Result<Self, String> {
        let url: http::Uri = text.parse().map_err(|error| format!("{text:?} is not a URL: {error}"))?;
        let (is_tls, port) = match url.scheme_str() {
            Some("ldap") => (false, 389),
            Some("ldaps") => (true, 636),
            Some(_) | None => return Err(format!("{text:?} is neither ldap:// nor ldaps://")),
        };
        let host = url.host().filter(|host| !host.is_empty()).ok_or(format!("{text:?} names no host"))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || text.contains('@') {
            return Err(format!("{text:?} has more than scheme, host and port"));
        }
        Ok(Self { is_tls, host: host.to_owned(), port: url.port_u16().unwrap_or(port) })
    }

    pub fn is_loopback(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl std::fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "ldaps" } else { "ldap" };
        write!(formatter, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl DirectorySettings {
    pub(super) fn check(&self, faults: &mut Faults) {
        if self.servers.is_empty() {
            faults.add(
                "directory.servers",
                "there is no server",
                "write servers = [\"ldaps://ldap.example.org\"]",
            );
        }
        for text in &self.servers {
            match ServerUrl::parse(text) {
                Err(wrong) => {
                    faults.add("directory.servers", wrong, "write ldaps://HOST or ldap://HOST:PORT")
                }
                Ok(url) if !url.is_tls && !self.start_tls && !self.allow_plaintext && !url.is_loopback() => {
                    faults.add(
                        "directory.servers",
                        format!("{text} would get passwords unencrypted over the network"),
                        "use ldaps://, or set start_tls = true (or, knowing what it means, allow_plaintext = true)",
                    );
                }
                Ok(_) => {}
            }
        }
        self.check_users(faults);
        self.check_groups(faults);
        if let Some(path) = &self.ca_file {
            faults.absolute("directory.ca_file", path);
        }
        faults.seconds("directory.timeout_seconds", self.timeout_seconds, 60.0);
    }

    fn check_users(&self, faults: &mut Faults) {
        match (&self.user_dn, &self.user_base) {
            (None, None) => faults.add(
                "directory.user_dn",
                "nothing says who signs in",
                "write user_dn = \"uid={user},ou=people,dc=example,dc=org\", or user_base to search for the entry",
            ),
            (Some(template), _) if template.matches("{user}").count() != 1 => faults.add(
                "directory.user_dn",
                format!("{template:?} does not have {{user}} once"),
                "put {user} where the name goes",
            ),
            (Some(template), None) if !is_dn(template) && self.needs_dn() => faults.add(
                "directory.user_base",
                format!("{template:?} is not a distinguished name, so the user's entry must be searched for groups"),
                "add user_base and user_filter, such as (sAMAccountName={user})",
            ),
            (Some(_), _) | (None, Some(_)) => {}
        }
        check_filter("directory.user_filter", &self.user_filter, &["{user}"], faults);
        match (&self.lookup_dn, &self.lookup_password_file) {
            (Some(_), Some(path)) => faults.absolute("directory.lookup_password_file", path),
            (None, None) => {}
            (Some(_), None) => faults.add(
                "directory.lookup_password_file",
                "lookup_dn has no password",
                "write it to a file of mode 0600 and name it here",
            ),
            (None, Some(_)) => {
                faults.add(
                    "directory.lookup_dn",
                    "there is a password and nobody to use it",
                    "name the account",
                );
            }
        }
    }

    fn check_groups(&self, faults: &mut Faults) {
        if self.group_base.is_some() && self.member_of.is_some() {
            faults.add(
                "directory.member_of",
                "groups are read in two ways",
                "keep either group_base (search) or member_of (attribute of the user)",
            );
        }
        if self.group_base.is_none()
            && self.member_of.is_none()
            && !(self.admin_groups.is_empty() && self.allowed_groups.is_empty())
        {
            faults.add(
                "directory.group_base",
                "admin_groups or allowed_groups name groups, and nothing says where groups are",
                "write group_base = \"ou=groups,dc=example,dc=org\" or member_of = \"memberOf\"",
            );
        }
        check_filter("directory.group_filter", &self.group_filter, &["{dn}", "{user}"], faults);
    }

    fn needs_dn(&self) -> bool {
        self.member_of.is_some() || (self.group_base.is_some() && self.group_filter.contains("{dn}"))
    }

    pub fn timeout(&self) -> Duration {
        seconds(self.timeout_seconds)
    }
}

/// Whether the sign-in name is an entry's name, whose parts are escaped as such.
pub fn is_dn(template: &str) -> bool {
    template.contains('=')
}

fn check_filter(key: &str, filter: &str, names: &[&str], faults: &mut Faults) {
    let open = filter.matches('(').count();
    let is_balanced = filter.starts_with('(') && filter.ends_with(')') && open == filter.matches(')').count();
    if !is_balanced {
        faults.add(
            key,
            format!("{filter:?} is not a filter"),
            "write it in parentheses, as many closed as opened",
        );
    }
    if !names.iter().any(|name| filter.contains(name)) {
        faults.add(
            key,
            format!("{filter:?} is the same for everybody"),
            format!("put {} into it", names.join(" or ")),
        );
    }
}
