//! Sign-in against LDAP servers, and what they say about somebody who has signed in: limits on every step, and the
//! next server when one does not answer. A password is sent in bind requests and kept nowhere.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use ldap3::{Scope, SearchEntry};
use nuna_pbs::UserName;
use tracing::debug;

use super::connection::{Connection, Trouble, misconfigured};
use super::servers::Servers;
use super::{Directory, DirectoryServer, Identity, SignInError, account, escape, groups};
use crate::config::{DirectorySettings, Fault, is_dn};
use crate::secret::Secret;

/// One server's turn at a question, in timeouts of one step.
const TURN: u32 = 3;
/// For all servers together. The hub waits longer.
const TURNS_MAX: Duration = Duration::from_secs(30);
const USER_LENGTH_MAX: usize = 64;
const PASSWORD_LENGTH_MAX: usize = 1024;
/// Holds for every entry.
const ANY: &str = "(objectClass=*)";

pub struct LdapDirectory {
    settings: DirectorySettings,
    /// What `user_name_attribute` says, or the search for users.
    name_attribute: Option<String>,
    servers: Arc<Servers>,
}

#[derive(Clone, Copy)]
enum Question<'a> {
    SignIn { user: &'a UserName, password: &'a Secret },
    LookUp { user: &'a UserName },
}

impl LdapDirectory {
    pub fn new(settings: &DirectorySettings) -> Result<Self, Vec<Fault>> {
        Ok(Self {
            servers: Arc::new(Servers::new(settings)?),
            name_attribute: settings.name_attribute(),
            settings: settings.clone(),
        })
    }

    /// The first base of the configuration that the account which looks up does not see.
    async fn unread_base(&self, index: usize) -> Option<(&'static str, &str)> {
        if !self.servers.connector.has_lookup_account() {
            return None;
        }
        let bases = [("user_base", &self.settings.user_base), ("group_base", &self.settings.group_base)];
        for (key, base) in bases.into_iter().filter_map(|(key, base)| Some((key, base.as_deref()?))) {
            let mut lent = self.servers.lend(index).await.ok()?;
            let outcome = lent.connection.read(base, ANY, vec!["1.1"]).await;
            if matches!(lent.back(outcome), Ok(None)) {
                return Some((key, base));
            }
        }
        None
    }

    /// Asks one server after the other until one settles it.
    async fn settle(&self, order: Vec<usize>, question: Question<'_>) -> Result<Identity, SignInError> {
        let begun = Instant::now();
        let mut tried = Vec::new();
        for index in order {
            let server = self.servers.url(index);
            // Each step has its limit; a server that is slow at all of them has used up its turn as well.
            let limit =
                (self.servers.connector.timeout() * TURN).min(TURNS_MAX.saturating_sub(begun.elapsed()));
            if limit.is_zero() {
                tried.push(format!("{server}: there was no time left to ask"));
                continue;
            }
            // The library gives up on bytes that are no LDAP by panicking.
            let answer = AssertUnwindSafe(self.answer(index, question)).catch_unwind();
            let asked = Instant::now();
            let answer = tokio::time::timeout(limit, answer).await;
            let is_settled = matches!(&answer, Ok(Ok(Ok(_) | Err(Trouble::Final(_) | Trouble::Referred(_)))));
            self.servers.count(index, asked.elapsed(), is_settled);
            let why = match answer {
                Ok(Ok(Ok(identity))) => {
                    self.servers.answered(index);
                    return Ok(identity);
                }
                // That there was no free connection says nothing about the server.
                Ok(Ok(Err(Trouble::Final(error @ SignInError::Unreachable { .. })))) => return Err(error),
                Ok(Ok(Err(Trouble::Final(error)))) => {
                    self.servers.answered(index);
                    return Err(error);
                }
                Ok(Ok(Err(Trouble::Referred(urls)))) => {
                    self.servers.answered(index);
                    return Err(refused(&urls));
                }
                Ok(Ok(Err(Trouble::Server(why) | Trouble::Stale(why)))) => why,
                Ok(Err(_)) => "it answered something that is not LDAP".to_owned(),
                Err(_) => format!("not done within {} s", limit.as_secs_f64()),
            };
            self.servers.failed(index, &why);
            tried.push(format!("{server}: {why}"));
        }
        Err(SignInError::Unreachable { tried })
    }

    /// Asks where a server refers to, if that is allowed, and no further.
    async fn answer(&self, index: usize, question: Question<'_>) -> Result<Identity, Trouble> {
        match self.answer_at(index, question).await {
            Err(Trouble::Referred(urls)) => match self.servers.referred(&urls) {
                Some(other) if other != index => {
                    debug!(server = %self.servers.url(other), "asked, as another server refers to it");
                    self.answer_at(other, question).await
                }
                Some(_) | None => Err(Trouble::Referred(urls)),
            },
            outcome => outcome,
        }
    }

    async fn answer_at(&self, index: usize, question: Question<'_>) -> Result<Identity, Trouble> {
        let once = async || match question {
            Question::SignIn { user, password } => self.sign_in_at(index, user, password).await,
            Question::LookUp { user } => {
                let mut lent = self.servers.lend(index).await?;
                let outcome = self.look_up_at(&mut lent.connection, user).await;
                lent.back(outcome)
            }
        };
        match once().await {
            Err(Trouble::Stale(why)) => {
                debug!(server = %self.servers.url(index), "a kept connection failed: {why}");
                self.servers.drop_kept(index);
                once().await
            }
            outcome => outcome,
        }
    }

    fn attributes(&self) -> Vec<&str> {
        let more = [&self.name_attribute, &self.settings.member_of];
        account::STATE.into_iter().chain(more.into_iter().flatten().map(String::as_str)).collect()
    }

    /// The one entry of this user below `base`.
    async fn find(
        &self,
        connection: &mut Connection,
        base: &str,
        user: &UserName,
    ) -> Result<Option<SearchEntry>, Trouble> {
        let filter = escape::filter(&self.settings.user_filter, user.as_str(), "");
        let mut entries = connection.search(base, Scope::Subtree, &filter, self.attributes()).await?;
        match (entries.pop(), entries.is_empty()) {
            (Some(entry), true) if !entry.dn.is_empty() => Ok(Some(entry)),
            (Some(_), false) => Err(misconfigured(format!(
                "{filter} below {base} finds more than one entry; narrow directory.user_filter"
            ))),
            (Some(_) | None, _) => Ok(None),
        }
    }

    async fn sign_in_at(
        &self,
        index: usize,
        user: &UserName,
        password: &Secret,
    ) -> Result<Identity, Trouble> {
        let connector = &self.servers.connector;
        let wrong = |why: String| Trouble::Final(SignInError::WrongPassword { why });
        let base = self.settings.user_base.as_deref().unwrap_or_default();
        let server = self.servers.url(index);
        let (mut own, entry) = match &self.settings.user_dn {
            Some(template) if is_dn(template) => {
                let dn = escape::bind_name(template, user.as_str());
                let mut own = connector.open(server).await?;
                own.bind(&dn, password).await?.map_err(wrong)?;
                let entry = self.own_entry(index, &mut own, &dn).await?;
                (own, entry)
            }
            Some(template) => {
                let name = escape::bind_name(template, user.as_str());
                let mut own = connector.open(server).await?;
                own.bind(&name, password).await?.map_err(wrong)?;
                let found = if connector.has_lookup_account() {
                    self.find_as_lookup(index, base, user).await?
                } else {
                    self.find(&mut own, base, user).await?
                };
                let entry = found.ok_or_else(|| {
                    misconfigured(format!(
                        "{name} has signed in, and {base} has no entry for it; check directory.user_filter"
                    ))
                })?;
                // What was typed may be one person's sign-in name and another's account: the entry decides.
                own.bind(&entry.dn, password).await?.map_err(wrong)?;
                (own, entry)
            }
            None => {
                let found = self.find_as_lookup(index, base, user).await?;
                let entry = found.ok_or_else(|| wrong(format!("no entry below {base}")))?;
                let mut own = connector.open(server).await?;
                own.bind(&entry.dn, password).await?.map_err(wrong)?;
                (own, entry)
            }
        };
        if connector.has_lookup_account() {
            let mut lent = self.servers.lend(index).await?;
            let outcome = self.identify(&mut lent.connection, user, entry).await;
            lent.back(outcome)
        } else {
            self.identify(&mut own, user, entry).await
        }
    }

    async fn find_as_lookup(
        &self,
        index: usize,
        base: &str,
        user: &UserName,
    ) -> Result<Option<SearchEntry>, Trouble> {
        let mut lent = self.servers.lend(index).await?;
        let outcome = self.find(&mut lent.connection, base, user).await;
        lent.back(outcome)
    }

    /// The entry of who has just signed in on `own`.
    async fn own_entry(&self, index: usize, own: &mut Connection, dn: &str) -> Result<SearchEntry, Trouble> {
        let has_account = self.servers.connector.has_lookup_account();
        let entry = if has_account {
            let mut lent = self.servers.lend(index).await?;
            let outcome = lent.connection.read(dn, ANY, self.attributes()).await;
            lent.back(outcome)?
        } else {
            own.read(dn, ANY, self.attributes()).await?
        };
        match entry {
            Some(entry) => Ok(entry),
            None if has_account || self.name_attribute.is_some() || self.settings.member_of.is_some() => {
                Err(misconfigured(format!(
                    "{dn} has signed in, and its entry cannot be read; give the account of directory.lookup_dn, or                      people themselves, the right to"
                )))
            }
            // Who may not read their own entry has nothing in it that is needed.
            None => Ok(SearchEntry {
                dn: dn.to_owned(),
                attrs: HashMap::default(),
                bin_attrs: HashMap::default(),
            }),
        }
    }

    /// Name, groups and rank that go with an entry, unless it is locked or in no group that may sign in.
    async fn identify(
        &self,
        connection: &mut Connection,
        typed: &UserName,
        entry: SearchEntry,
    ) -> Result<Identity, Trouble> {
        let name = match &self.name_attribute {
            Some(attribute) => account::name(&entry, attribute)?,
            None => typed.clone(),
        };
        if name != *typed {
            debug!(%name, "the entry names another account than was typed");
        }
        if let Some(why) = account::locked(&entry, now()) {
            return Err(SignInError::Locked { why }.into());
        }
        if let Some(template) = &self.settings.locked_filter {
            let filter = escape::filter(template, name.as_str(), &entry.dn);
            if connection.read(&entry.dn, &filter, vec!["1.1"]).await?.is_some() {
                return Err(SignInError::Locked { why: "directory.locked_filter".to_owned() }.into());
            }
        }
        let groups = groups::of(connection, &self.settings, &name, &entry).await?;
        let is_member = |names: &[String]| names.iter().any(|name| groups.contains(name));
        if !self.settings.allowed_groups.is_empty() && !is_member(&self.settings.allowed_groups) {
            return Err(SignInError::NotAllowed.into());
        }
        let admin = is_member(&self.settings.admin_groups);
        Ok(Identity { name, groups, admin })
    }

    async fn look_up_at(&self, connection: &mut Connection, user: &UserName) -> Result<Identity, Trouble> {
        let (found, base) = match (&self.settings.user_dn, &self.settings.user_base) {
            (Some(template), _) if is_dn(template) => {
                let dn = escape::bind_name(template, user.as_str());
                let base = dn.split_once(',').map(|(_, base)| base.to_owned()).unwrap_or_default();
                (connection.read(&dn, ANY, self.attributes()).await?, base)
            }
            (_, base) => {
                let base = base.clone().unwrap_or_default();
                (self.find(connection, &base, user).await?, base)
            }
        };
        let Some(entry) = found else {
            // An account that has lost its rights sees nobody, which must not end everybody's sessions.
            return match connection.read(&base, ANY, vec!["1.1"]).await? {
                Some(_) => Err(SignInError::Gone.into()),
                None => Err(misconfigured(format!(
                    "{base} cannot be read any more, so nobody can say whether {user} exists; check the rights of \
                     directory.lookup_dn"
                ))),
            };
        };
        let identity = self.identify(connection, user, entry).await?;
        // Another name of the same person: such a user is not.
        if identity.name == *user { Ok(identity) } else { Err(SignInError::Gone.into()) }
    }
}

#[async_trait::async_trait]
impl Directory for LdapDirectory {
    async fn sign_in(&self, user: &str, password: &Secret) -> Result<Identity, SignInError> {
        let wrong = |why: &str| SignInError::WrongPassword { why: why.to_owned() };
        // A bind without a password succeeds as nobody (RFC 4513, 5.1.2), and some servers read no further than a
        // NUL, or cut off blanks.
        if password.reveal().trim().is_empty() || password.reveal().contains('\0') {
            return Err(wrong("the password is empty, or holds a NUL"));
        }
        if password.reveal().len() > PASSWORD_LENGTH_MAX || user.len() > USER_LENGTH_MAX {
            return Err(wrong("name or password is longer than any"));
        }
        // Directories take either case; accounts have one.
        let user: UserName = user.trim().to_lowercase().parse().map_err(|_| wrong("not a user name"))?;
        let (order, _) = self.servers.order();
        self.settle(order, Question::SignIn { user: &user, password }).await
    }

    async fn look_up(&self, user: &UserName) -> Result<Identity, SignInError> {
        if !self.servers.connector.has_lookup_account() {
            return Err(SignInError::NoLookup);
        }
        let (order, any) = self.servers.order();
        if !any {
            // Nobody waits at the keyboard for this answer: it can come later.
            return Err(SignInError::Unreachable { tried: vec!["no server has answered lately".to_owned()] });
        }
        self.settle(order, Question::LookUp { user }).await
    }

    async fn probe(&self) -> Vec<Result<String, String>> {
        let mut lines = Vec::new();
        for index in self.servers.indices() {
            let server = self.servers.url(index);
            let asked = Instant::now();
            let found = self.servers.probe(index).await;
            self.servers.count(index, asked.elapsed(), found.is_ok());
            lines.push(match found {
                Ok(()) => match self.unread_base(index).await {
                    Some((key, base)) => Err(format!(
                        "{server} answers, and {base} of directory.{key} is not there or cannot be read by \
                         directory.lookup_dn; mend the name or the account's rights"
                    )),
                    None => Ok(format!("{server} answers")),
                },
                Err(why) => {
                    self.servers.failed(index, &why);
                    Err(format!("{server}: {why}"))
                }
            });
        }
        lines
    }

    fn servers(&self) -> Vec<DirectoryServer> {
        self.servers.report()
    }
}

fn refused(urls: &[String]) -> SignInError {
    let urls: String = urls.join(" ").chars().take(200).collect();
    let message = format!(
        "the directory refers to another one ({}), which directory.referral_servers does not allow; name the server \
         that has the entries in directory.servers, or allow it",
        urls.escape_debug()
    );
    SignInError::Misconfigured { message }
}

/// Seconds after 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
