//! The built server, asked over TCP by an LDAP client that is not ours, and by `ldapsearch` if there is one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ldap3::{LdapConn, LdapConnSettings, LdapError, Scope, SearchEntry};

const SUFFIX: &str = "dc=nuna,dc=local";

struct Directory {
    process: Child,
    folder: tempfile::TempDir,
    address: String,
}

impl Directory {
    fn start() -> Self {
        Self::start_with(None)
    }

    fn start_with(users: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        if let Some(users) = users {
            std::fs::write(path("users.toml"), users).unwrap();
        }
        let mut process = Command::new(env!("CARGO_BIN_EXE_nuna-directory"))
            .args(["--listen", "127.0.0.1:0", "--demo", "--die-with-parent"])
            .arg("--users")
            .arg(path("users.toml"))
            .arg("--address-file")
            .arg(path("address"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = wait_for(&path("address"), &mut process);
        Self { process, folder, address }
    }

    fn connect(&self) -> LdapConn {
        let settings = LdapConnSettings::new().set_conn_timeout(Duration::from_secs(10));
        LdapConn::with_settings(settings, &format!("ldap://{}", self.address)).unwrap()
    }

    fn password(&self, user: &str) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("users.passwords.json")).unwrap();
        let map: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
        map[user].clone()
    }

    fn signed_in(&self, user: &str) -> LdapConn {
        let mut ldap = self.connect();
        ldap.simple_bind(&dn(user), &self.password(user)).unwrap().success().unwrap();
        ldap
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wait_for(path: &PathBuf, process: &mut Child) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Ok(text) = std::fs::read_to_string(path) {
            return text;
        }
        assert!(process.try_wait().unwrap().is_none(), "the directory ended early");
        assert!(Instant::now() < deadline, "the directory did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn dn(user: &str) -> String {
    format!("uid={user},ou=people,{SUFFIX}")
}

fn code(error: LdapError) -> u32 {
    match error {
        LdapError::LdapResult { result } => result.rc,
        other => panic!("not an LDAP result: {other}"),
    }
}

fn names(ldap: &mut LdapConn, base: &str, scope: Scope, filter: &str) -> Result<Vec<String>, LdapError> {
    let (entries, _) = ldap.search(base, scope, filter, vec!["uid", "cn"])?.success()?;
    Ok(entries.into_iter().map(|entry| SearchEntry::construct(entry).dn).collect())
}

#[test]
fn right_password_signs_in_and_wrong_ones_do_not() {
    let directory = Directory::start();
    let mut ldap = directory.connect();
    let password = directory.password("alice");
    ldap.simple_bind(&dn("alice"), &password).unwrap().success().unwrap();
    ldap.simple_bind(&dn("ALICE"), &password).unwrap().success().unwrap();
    for (user, tried, expected) in [
        (dn("alice"), "wrong", 49),
        (dn("bob"), password.as_str(), 49),
        (dn("nobody"), "x", 49),
        (format!("ou=people,{SUFFIX}"), "x", 49),
        (dn("alice"), "", 53),
        ("alice".to_owned(), "x", 34),
    ] {
        let error = ldap.simple_bind(&user, tried).unwrap().success().unwrap_err();
        assert_eq!(code(error), expected, "{user} with {tried:?}");
    }
}

#[test]
fn failed_bind_forgets_the_earlier_identity() {
    let directory = Directory::start();
    let mut ldap = directory.signed_in("alice");
    assert_eq!(names(&mut ldap, SUFFIX, Scope::Subtree, "(uid=bob)").unwrap(), [dn("bob")]);
    let _ = ldap.simple_bind(&dn("alice"), "wrong").unwrap();
    assert_eq!(code(names(&mut ldap, SUFFIX, Scope::Subtree, "(uid=bob)").unwrap_err()), 50);
}

#[test]
fn scopes_and_missing_bases_behave_as_ldap_says() {
    let directory = Directory::start();
    let mut ldap = directory.signed_in("bob");
    let people = format!("ou=people,{SUFFIX}");
    assert_eq!(
        names(&mut ldap, &people, Scope::Base, "(objectClass=*)").unwrap(),
        std::slice::from_ref(&people)
    );
    assert_eq!(names(&mut ldap, &people, Scope::OneLevel, "(objectClass=*)").unwrap().len(), 3);
    assert_eq!(names(&mut ldap, &people, Scope::Subtree, "(objectClass=*)").unwrap().len(), 4);
    let missing = ldap.search(&dn("x"), Scope::Base, "(objectClass=*)", vec!["cn"]).unwrap();
    assert_eq!((missing.1.rc, missing.1.matched.as_str()), (32, people.as_str()));
}

#[test]
fn groups_are_found_in_both_directions() {
    let directory = Directory::start();
    let mut ldap = directory.signed_in("carol");
    let groups = names(&mut ldap, SUFFIX, Scope::Subtree, &format!("(member={})", dn("carol"))).unwrap();
    assert_eq!(groups.len(), 3);
    let (entries, _) = ldap
        .search(&dn("carol"), Scope::Base, "(uid=*)", vec!["memberOf", "uidNumber"])
        .unwrap()
        .success()
        .unwrap();
    let entry = SearchEntry::construct(entries[0].clone());
    assert_eq!(entry.attrs["memberOf"].len(), 3);
    assert_eq!(entry.attrs["uidNumber"], ["2003"]);
    let (entries, _) =
        ldap.search(&dn("carol"), Scope::Base, "(uid=*)", vec!["*"]).unwrap().success().unwrap();
    let entry = SearchEntry::construct(entries[0].clone());
    assert!(!entry.attrs.contains_key("memberOf") && !entry.attrs.contains_key("userPassword"));
}

#[test]
fn anonymous_clients_see_the_root_and_nothing_else() {
    let directory = Directory::start();
    let mut ldap = directory.connect();
    let (entries, _) = ldap.search("", Scope::Base, "(objectClass=*)", vec!["+"]).unwrap().success().unwrap();
    assert_eq!(SearchEntry::construct(entries[0].clone()).attrs["namingContexts"], [SUFFIX]);
    assert_eq!(code(names(&mut ldap, SUFFIX, Scope::Subtree, "(uid=*)").unwrap_err()), 50);
}

#[test]
fn configuration_can_open_searching_and_limits_its_size() {
    let directory = Directory::start_with(Some(
        "anonymous_search = true\nsize_limit = 2\n\
         [[users]]\nuid='a'\ncn='A'\nuid_number=1\ngid_number=1\n\
         [[users]]\nuid='b'\ncn='B'\nuid_number=2\ngid_number=1\n\
         [[users]]\nuid='c'\ncn='C'\nuid_number=3\ngid_number=1\n",
    ));
    let mut ldap = directory.connect();
    assert_eq!(names(&mut ldap, SUFFIX, Scope::Subtree, "(uid=a)").unwrap().len(), 1);
    let outcome = ldap.search(SUFFIX, Scope::Subtree, "(uid=*)", vec!["cn"]).unwrap();
    assert_eq!((outcome.0.len(), outcome.1.rc), (2, 4));
}

#[test]
fn whoami_names_the_bound_user_and_writing_is_refused() {
    let directory = Directory::start();
    let mut ldap = directory.signed_in("alice");
    let (answer, _) = ldap.extended(ldap3::exop::WhoAmI).unwrap().success().unwrap();
    assert_eq!(answer.parse::<ldap3::exop::WhoAmIResp>().authzid, format!("dn:{}", dn("alice")));
    let error = ldap.delete(&dn("bob")).unwrap().success().unwrap_err();
    assert_eq!(code(error), 53);
}

#[test]
fn garbage_and_oversized_messages_end_only_their_connection() {
    use std::io::{Read, Write};
    let directory = Directory::start();
    for bytes in
        [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], vec![0x41; 300_000]]
    {
        let mut stream = std::net::TcpStream::connect(&directory.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(&bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{} bytes came back", rest.len());
    }
    directory.signed_in("alice");
}

#[test]
fn ldapsearch_agrees() {
    if !Path::new("/usr/bin/ldapsearch").exists() {
        eprintln!("ldapsearch is not installed; the other client has shown the same");
        return;
    }
    let directory = Directory::start();
    let output = Command::new("/usr/bin/ldapsearch")
        .args(["-x", "-LLL", "-H", &format!("ldap://{}", directory.address), "-b", SUFFIX])
        .args(["-D", &dn("alice"), "-w", &directory.password("alice"), "(uid=bob)", "mail", "uidNumber"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.trim(), format!("dn: {}\nmail: bob@nuna.local\nuidNumber: 2002", dn("bob")));
}

#[test]
fn remote_address_is_refused_unless_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_nuna-directory"))
        .args(["--listen", "0.0.0.0:0", "--demo", "--users"])
        .arg(folder.path().join("users.toml"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--allow-remote"));
}
