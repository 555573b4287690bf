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
    /// Asked when one of `servers` refers to them; referrals to others are refused.
    #[serde(default)]
    pub referral_servers: Vec<String>,
    /// Who signs in, with `{user}`: `uid={user},ou=people,dc=example,dc=org`, or `{user}@example.org` for Active
    /// Directory. Without it, the user's entry is searched below `user_base`.
    pub user_dn: Option<String>,
    pub user_base: Option<String>,
    /// Finds the user's entry below `user_base`.
    #[serde(default = "default_user_filter")]
    pub user_filter: String,
    /// Attribute of the entry that names the Unix account; without it, the one that `user_filter` compares.
    pub user_name_attribute: Option<String>,
    /// Entries for which it holds are locked, with `{user}` and `{dn}`; beside the usual attributes.
    pub locked_filter: Option<String>,
    /// Looks up users and groups; without it, users are searched anonymously and groups as the user, and nobody is
    /// looked up after sign-in.
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
    /// Groups that are members of groups are followed to this depth; 0 is for groups that name the person.
    #[serde(default)]
    pub nested_groups: u32,
    /// Finds the groups that the group `{dn}` is a member of.
    #[serde(default = "default_nested_group_filter")]
    pub nested_group_filter: String,
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
    /// Connections that look up at the same time.
    #[serde(default = "default_lookup_connections_max")]
    pub lookup_connections_max: usize,
    /// One that has not been used for this long is closed.
    #[serde(default = "default_lookup_idle_seconds")]
    pub lookup_idle_seconds: f64,
    /// What was looked up about a person counts for this long.
    #[serde(default = "default_lookup_keep_seconds")]
    pub lookup_keep_seconds: f64,
}

fn default_user_filter() -> String {
    "(uid={user})".to_owned()
}

fn default_group_filter() -> String {
    "(|(member={dn})(uniqueMember={dn})(memberUid={user}))".to_owned()
}

fn default_nested_group_filter() -> String {
    "(|(member={dn})(uniqueMember={dn}))".to_owned()
}

fn default_group_attribute() -> String {
    "cn".to_owned()
}

fn default_timeout_seconds() -> f64 {
    5.0
}

fn default_lookup_connections_max() -> usize {
    8
}

fn default_lookup_idle_seconds() -> f64 {
    60.0
}

fn default_lookup_keep_seconds() -> f64 {
    15.0
}

/// A depth beyond which nobody means what they have.
const NESTED_MAX: u32 = 16;
const LOOKUP_CONNECTIONS_MAX: usize = 256;

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
        // What is no port must not become the usual one.
        if url.port_u16().is_none() && url.authority().is_some_and(|authority| authority.as_str() != host) {
            return Err(format!("{text:?} has no port that can be"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || text.contains('@') {
            return Err(format!("{text:?} has more than scheme, host and port"));
        }
        Ok(Self { is_tls, host: host.to_owned(), port: url.port_u16().unwrap_or(port) })
    }

    /// Where a referral points: scheme, host and port. What it says about names and filters is left aside, since the
    /// question stays the same.
    pub fn of_referral(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.split(['/', '?']).next()?;
        Self::parse(&format!("{}://{}", scheme.to_ascii_lowercase(), authority.to_ascii_lowercase())).ok()
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
        let all = self.servers.iter().map(|text| ("directory.servers", text));
        let all = all.chain(self.referral_servers.iter().map(|text| ("directory.referral_servers", text)));
        for (key, text) in all {
            match ServerUrl::parse(text) {
                Err(wrong) => faults.add(key, wrong, "write ldaps://HOST or ldap://HOST:PORT"),
                Ok(url) if !url.is_tls && !self.start_tls && !self.allow_plaintext && !url.is_loopback() => {
                    faults.add(
                        key,
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
        faults.seconds("directory.lookup_idle_seconds", self.lookup_idle_seconds, 3600.0);
        faults.seconds("directory.lookup_keep_seconds", self.lookup_keep_seconds, 3600.0);
        if !(1..=LOOKUP_CONNECTIONS_MAX).contains(&self.lookup_connections_max) {
            faults.add(
                "directory.lookup_connections_max",
                format!("{} is not between 1 and {LOOKUP_CONNECTIONS_MAX}", self.lookup_connections_max),
                "leave it out for the default",
            );
        }
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
            (Some(template), None) if !is_dn(template) => faults.add(
                "directory.user_base",
                format!("{template:?} is not a distinguished name, so the entry must be searched that says whose account it is"),
                "add user_base and user_filter, such as (sAMAccountName={user})",
            ),
            (Some(_), _) | (None, Some(_)) => {}
        }
        check_filter("directory.user_filter", &self.user_filter, &["{user}"], faults);
        if let Some(filter) = &self.locked_filter {
            check_filter("directory.locked_filter", filter, &[], faults);
        }
        if self.is_searched() && self.name_attribute().is_none() {
            faults.add(
                "directory.user_name_attribute",
                "user_filter does not compare {user} with exactly one attribute, so nothing names the account",
                "write the attribute that does, such as uid",
            );
        }
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
        check_filter("directory.nested_group_filter", &self.nested_group_filter, &["{dn}"], faults);
        if self.nested_groups > NESTED_MAX {
            faults.add(
                "directory.nested_groups",
                format!("{} is more than {NESTED_MAX}", self.nested_groups),
                "give the depth that your groups have",
            );
        }
    }

    /// Whether entries are found by a search, and not by their name.
    fn is_searched(&self) -> bool {
        !self.user_dn.as_deref().is_some_and(is_dn)
    }

    /// The attribute that names the account: the one given, or that of `user_filter` if entries are searched.
    pub fn name_attribute(&self) -> Option<String> {
        if self.user_name_attribute.is_some() || !self.is_searched() {
            return self.user_name_attribute.clone();
        }
        let mut compared = self.user_filter.match_indices("={user}").map(|(at, _)| {
            let before = &self.user_filter[..at];
            &before[before.rfind('(').map_or(0, |open| open + 1)..]
        });
        let is_name = |name: &&str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        };
        let once = self.user_filter.matches("{user}").count() == 1;
        compared.next().filter(is_name).filter(|_| once).map(str::to_owned)
    }

    pub fn lookup_idle(&self) -> Duration {
        seconds(self.lookup_idle_seconds)
    }

    pub fn lookup_keep(&self) -> Duration {
        seconds(self.lookup_keep_seconds)
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
    // Filled with what is a value in every syntax.
    let filled = filter.replace("{user}", "x").replace("{dn}", "x");
    if !filled.starts_with('(') || ldap3::parse_filter(&filled).is_err() {
        faults.add(
            key,
            format!("{filter:?} is not a filter"),
            "write it in parentheses, as many closed as opened, such as (uid={user})",
        );
    }
    if !names.is_empty() && !names.iter().any(|name| filter.contains(name)) {
        faults.add(
            key,
            format!("{filter:?} is the same for everybody"),
            format!("put {} into it", names.join(" or ")),
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever stands in the file is told, not a fault of the program.
        #[test]
        fn any_settings_are_checked(
            server in prop_oneof!["ldaps?://[a-z0-9.:@/?\\[\\]-]{0,20}", any::<String>()],
            text in prop_oneof!["[(){}&|!=*\\\\a-z]{0,30}", "\\(&\\(a=\\{user\\}\\)[(){}a=*~<>:]{0,10}\\)"],
            number in any::<f64>(),
            count in any::<u32>(),
        ) {
            let mut table = toml::Table::new();
            table.insert("servers".to_owned(), vec![server].into());
            for key in ["user_dn", "user_base", "user_filter", "locked_filter", "group_filter", "nested_group_filter"] {
                table.insert(key.to_owned(), text.clone().into());
            }
            for key in ["timeout_seconds", "lookup_idle_seconds", "lookup_keep_seconds"] {
                table.insert(key.to_owned(), number.into());
            }
            table.insert("nested_groups".to_owned(), i64::from(count).into());
            let settings: DirectorySettings = toml::from_str(&table.to_string()).unwrap();
            settings.check(&mut Faults::default());
            let _ = (settings.name_attribute(), settings.timeout(), settings.lookup_idle(), settings.lookup_keep());
        }
    }

    fn faults(lines: &str) -> Vec<String> {
        let text = format!("servers = ['ldaps://ldap.example.org']\n{lines}");
        let settings: DirectorySettings = toml::from_str(&text).unwrap();
        let mut faults = Faults::default();
        settings.check(&mut faults);
        faults.0.into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn what_cannot_work_is_named() {
        let user = "user_dn = 'uid={user},ou=people,dc=x'";
        assert!(faults(user).is_empty());
        for (lines, key) in [
            ("", "user_dn"),
            ("user_dn = '{user}@example.org'", "user_base"),
            ("user_base = 'dc=x'\nuser_filter = '(|(uid={user})(mail={user}))'", "user_name_attribute"),
            ("user_base = 'dc=x'\nuser_filter = '(mail={user}@x)(uid=x)'", "user_filter"),
            ("user_base = 'dc=x'\nuser_filter = '(uid=*)'", "user_filter"),
            ("user_dn = 'uid={user},dc=x'\nlocked_filter = 'locked'", "locked_filter"),
            ("user_dn = 'uid={user},dc=x'\nnested_groups = 17", "nested_groups"),
            ("user_dn = 'uid={user},dc=x'\nnested_group_filter = '(member={user})'", "nested_group_filter"),
            ("user_dn = 'uid={user},dc=x'\nlookup_connections_max = 0", "lookup_connections_max"),
            ("user_dn = 'uid={user},dc=x'\nlookup_keep_seconds = -1", "lookup_keep_seconds"),
        ] {
            let found = faults(lines);
            assert!(found.contains(&format!("directory.{key}")), "{lines}: {found:?}");
        }
        // Active Directory's rule for groups within groups.
        assert!(
            faults(&format!(
                "{user}\ngroup_base = 'dc=x'\ngroup_filter = '(member:1.2.840.113556.1.4.1941:={{dn}})'"
            ))
            .is_empty()
        );
    }

    #[test]
    fn referrals_point_to_servers() {
        let target = |text: &str| ServerUrl::of_referral(text).map(|url| url.to_string());
        assert_eq!(
            target("ldap://Other.example.org/ou=a,dc=b??sub").as_deref(),
            Some("ldap://other.example.org:389")
        );
        assert_eq!(target("LDAPS://h:1636/dc=%zz?x@y").as_deref(), Some("ldaps://h:1636"));
        for bad in ["", "ldap:///dc=x", "http://h/", "ldap://user@h/", "ldapi://%2frun", "ldap://h:99999/"] {
            assert_eq!(target(bad), None, "{bad}");
        }
        assert!(
            faults("user_base = 'dc=x'\nreferral_servers = ['ldap://ldap2.example.org']")
                .contains(&"directory.referral_servers".to_owned())
        );
    }

    #[test]
    fn the_account_s_name_is_what_users_are_searched_by() {
        let named = |lines: &str| {
            let text = format!("servers = []\n{lines}");
            toml::from_str::<DirectorySettings>(&text).unwrap().name_attribute()
        };
        assert_eq!(named("user_base = 'dc=x'").as_deref(), Some("uid"));
        let filter = "user_filter = '(&(objectClass=person)(sAMAccountName={user})(!(x=y)))'";
        assert_eq!(named(filter).as_deref(), Some("sAMAccountName"));
        assert_eq!(named("user_filter = '(|(uid={user})(mail={user}@x))'"), None);
        assert_eq!(named("user_filter = '(uid>={user})'"), None);
        assert_eq!(named("user_dn = 'uid={user},dc=x'"), None);
        assert_eq!(named("user_dn = 'uid={user},dc=x'\nuser_name_attribute = 'uid'").as_deref(), Some("uid"));
    }
}
