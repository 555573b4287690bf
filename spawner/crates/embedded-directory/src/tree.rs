//! The entries: suffix, people, groups, services, each with attributes; built once from the settings.

use std::collections::BTreeMap;

use anyhow::Context;

use crate::dn::{Dn, escape, normal};
use crate::settings::Settings;

/// How values of an attribute are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    Text,
    ExactText,
    Number,
    Name,
}

/// Attributes this directory knows: name as printed, syntax, and whether it must be asked for by name.
const ATTRIBUTES: [(&str, Syntax, bool); 23] = [
    ("objectClass", Syntax::Text, false),
    ("uid", Syntax::Text, false),
    ("cn", Syntax::Text, false),
    ("sn", Syntax::Text, false),
    ("givenName", Syntax::Text, false),
    ("displayName", Syntax::Text, false),
    ("mail", Syntax::Text, false),
    ("uidNumber", Syntax::Number, false),
    ("gidNumber", Syntax::Number, false),
    ("homeDirectory", Syntax::ExactText, false),
    ("loginShell", Syntax::ExactText, false),
    ("member", Syntax::Name, false),
    ("memberUid", Syntax::ExactText, false),
    ("memberOf", Syntax::Name, true),
    ("ou", Syntax::Text, false),
    ("o", Syntax::Text, false),
    ("dc", Syntax::Text, false),
    ("entryDN", Syntax::Name, true),
    ("namingContexts", Syntax::Name, true),
    ("supportedLDAPVersion", Syntax::Number, true),
    ("supportedExtension", Syntax::Text, true),
    ("vendorName", Syntax::Text, true),
    ("vendorVersion", Syntax::Text, true),
];

/// The attribute's printed name, syntax, and whether it is operational; options such as `;lang-en` do not count.
pub(crate) fn attribute(name: &str) -> Option<(&'static str, Syntax, bool)> {
    let base = name.split(';').next().unwrap_or(name);
    ATTRIBUTES.into_iter().find(|(known, _, _)| known.eq_ignore_ascii_case(base))
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// As printed.
    pub(crate) dn: String,
    pub(crate) key: Dn,
    pub(crate) attributes: Vec<(&'static str, Vec<String>)>,
    pub(crate) password_hash: Option<String>,
}

impl Entry {
    fn new(dn: String) -> anyhow::Result<Self> {
        let key = Dn::parse(&dn)?;
        let mut entry = Self { dn: dn.clone(), key, attributes: Vec::new(), password_hash: None };
        entry.set("entryDN", &[&dn]);
        Ok(entry)
    }

    fn set(&mut self, name: &'static str, values: &[&str]) {
        debug_assert!(attribute(name).is_some());
        if !values.is_empty() {
            self.attributes.push((name, values.iter().map(|value| (*value).to_owned()).collect()));
        }
    }

    pub(crate) fn values(&self, name: &str) -> &[String] {
        self.attributes.iter().find(|(known, _)| *known == name).map_or(&[], |(_, values)| values)
    }
}

/// Values as compared under `syntax`; `None` if `text` is not of that syntax.
pub(crate) fn comparable(syntax: Syntax, text: &str) -> Option<String> {
    match syntax {
        Syntax::Text => Some(normal(text)),
        Syntax::ExactText => Some(text.to_owned()),
        Syntax::Number => text.trim().parse::<i64>().ok().map(|number| number.to_string()),
        Syntax::Name => Dn::parse(text).ok().map(|dn| format!("{dn:?}")),
    }
}

pub(crate) struct Tree {
    pub(crate) root: Entry,
    pub(crate) suffix: Dn,
    entries: BTreeMap<Dn, Entry>,
    /// Printing order: the file's.
    order: Vec<Dn>,
    pub(crate) anonymous_search: bool,
    pub(crate) size_limit: usize,
}

impl Tree {
    pub(crate) fn build(settings: &Settings, hashes: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let suffix = &settings.suffix;
        let mut root = Entry::new(String::new())?;
        root.attributes.clear();
        root.set("objectClass", &["top"]);
        root.set("namingContexts", &[suffix]);
        root.set("supportedLDAPVersion", &["3"]);
        root.set("supportedExtension", &["1.3.6.1.4.1.4203.1.11.3"]);
        root.set("vendorName", &["Nuna"]);
        root.set("vendorVersion", &[env!("CARGO_PKG_VERSION")]);
        let mut tree = Self {
            root,
            suffix: Dn::parse(suffix)?,
            entries: BTreeMap::new(),
            order: Vec::new(),
            anonymous_search: settings.anonymous_search,
            size_limit: settings.size_limit,
        };
        let mut top = Entry::new(suffix.clone())?;
        let (first_name, first_value) = suffix
            .split(',')
            .next()
            .and_then(|part| part.split_once('='))
            .context("the suffix has no first part")?;
        top.set("objectClass", &["top", "dcObject", "organization"]);
        top.set("o", &[first_value.trim()]);
        if first_name.trim().eq_ignore_ascii_case("dc") {
            top.set("dc", &[first_value.trim()]);
        }
        tree.add(top);
        for unit in ["people", "groups", "services"] {
            let mut entry = Entry::new(format!("ou={unit},{suffix}"))?;
            entry.set("objectClass", &["top", "organizationalUnit"]);
            entry.set("ou", &[unit]);
            tree.add(entry);
        }
        let user_dn = |uid: &str| format!("uid={},ou=people,{suffix}", escape(uid));
        let group_dn = |cn: &str| format!("cn={},ou=groups,{suffix}", escape(cn));
        for user in &settings.users {
            let mut entry = Entry::new(user_dn(&user.uid))?;
            let family = user.cn.split_whitespace().next_back().unwrap_or(&user.cn);
            let home = user.home_directory.clone().unwrap_or_else(|| format!("/home/{}", user.uid));
            entry.set(
                "objectClass",
                &["top", "person", "organizationalPerson", "inetOrgPerson", "posixAccount"],
            );
            entry.set("uid", &[&user.uid]);
            entry.set("cn", &[&user.cn]);
            entry.set("sn", &[user.sn.as_deref().unwrap_or(family)]);
            entry.set("displayName", &[&user.cn]);
            entry.set("mail", &user.mail.as_deref().into_iter().collect::<Vec<_>>());
            entry.set("uidNumber", &[&user.uid_number.to_string()]);
            entry.set("gidNumber", &[&user.gid_number.to_string()]);
            entry.set("homeDirectory", &[&home]);
            entry.set("loginShell", &[&user.login_shell]);
            let groups: Vec<String> = settings
                .groups
                .iter()
                .filter(|group| group.members.contains(&user.uid))
                .map(|group| group_dn(&group.cn))
                .collect();
            entry.set("memberOf", &groups.iter().map(String::as_str).collect::<Vec<_>>());
            entry.password_hash = hashes.get(&user.uid).cloned();
            tree.add(entry);
        }
        for group in &settings.groups {
            let mut entry = Entry::new(group_dn(&group.cn))?;
            let members: Vec<String> = group.members.iter().map(|uid| user_dn(uid)).collect();
            entry.set("objectClass", &["top", "posixGroup", "groupOfNames"]);
            entry.set("cn", &[&group.cn]);
            entry.set("gidNumber", &[&group.gid_number.to_string()]);
            entry.set("member", &members.iter().map(String::as_str).collect::<Vec<_>>());
            entry.set("memberUid", &group.members.iter().map(String::as_str).collect::<Vec<_>>());
            tree.add(entry);
        }
        for service in &settings.services {
            let mut entry = Entry::new(format!("cn={},ou=services,{suffix}", escape(&service.cn)))?;
            entry.set("objectClass", &["top", "applicationProcess"]);
            entry.set("cn", &[&service.cn]);
            entry.password_hash = hashes.get(&service.cn).cloned();
            tree.add(entry);
        }
        Ok(tree)
    }

    fn add(&mut self, entry: Entry) {
        self.order.push(entry.key.clone());
        self.entries.insert(entry.key.clone(), entry);
    }

    pub(crate) fn get(&self, dn: &Dn) -> Option<&Entry> {
        self.entries.get(dn)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.order.iter().filter_map(|dn| self.entries.get(dn))
    }

    /// The closest existing entry above a name that does not exist, as an LDAP error reports it.
    pub(crate) fn closest(&self, dn: &Dn) -> String {
        std::iter::successors(dn.parent(), Dn::parent)
            .find_map(|dn| self.get(&dn))
            .map(|entry| entry.dn.clone())
            .unwrap_or_default()
    }
}
