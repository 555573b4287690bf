//! Sign-in against OpenLDAP's own server, which `cargo xtask setup` installs for tests.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use crate::common::{MANY_PASSWORD, PATIENCE, Setup, World};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use serde_json::json;

const SLAPD: &str = "/usr/sbin/slapd";
const LDIF: &str = "\
dn: dc=nuna,dc=local
objectClass: dcObject
objectClass: organization
dc: nuna
o: Nuna

dn: ou=people,dc=nuna,dc=local
objectClass: organizationalUnit
ou: people

dn: ou=guests,ou=people,dc=nuna,dc=local
objectClass: organizationalUnit
ou: guests

dn: ou=groups,dc=nuna,dc=local
objectClass: organizationalUnit
ou: groups

dn: uid=reader,dc=nuna,dc=local
objectClass: account
objectClass: simpleSecurityObject
uid: reader
userPassword: reader's secret

# Somewhere else, another server says.
dn: ou=elsewhere,dc=nuna,dc=local
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://127.0.0.1:9/ou=elsewhere,dc=other

dn: uid=alice,ou=people,dc=nuna,dc=local
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
userPassword: wonder \\ land*()
memberOf: cn=names,ou=groups,dc=nuna,dc=local

dn: uid=guest,ou=guests,ou=people,dc=nuna,dc=local
objectClass: inetOrgPerson
uid: guest
cn: Guest
sn: G
memberOf: cn=others,ou=groups,dc=nuna,dc=local
userPassword: guest-password

dn: uid=twice,ou=people,dc=nuna,dc=local
objectClass: inetOrgPerson
uid: twice
cn: T
sn: T
userPassword: twice-password

dn: uid=twice,ou=guests,ou=people,dc=nuna,dc=local
objectClass: inetOrgPerson
uid: twice
cn: T
sn: T
userPassword: twice-password

dn: uid=nopassword,ou=people,dc=nuna,dc=local
objectClass: inetOrgPerson
uid: nopassword
cn: N
sn: N

dn: uid=carl,ou=people,dc=nuna,dc=local
objectClass: inetOrgPerson
uid: carl
uid: carlos
cn: Carl
sn: C
mail: c.smith@nuna.local
userPassword: carl-password

dn: cn=Two Names,ou=people,dc=nuna,dc=local
objectClass: inetOrgPerson
uid: dora
uid: theodora
cn: Two Names
sn: D
userPassword: dora-password

dn: uid=expired,ou=people,dc=nuna,dc=local
objectClass: account
objectClass: shadowAccount
objectClass: simpleSecurityObject
uid: expired
shadowExpire: 10
userPassword: expired-password

dn: uid=slow,ou=people,dc=nuna,dc=local
objectClass: inetOrgPerson
uid: slow
cn: S
sn: S
userPassword: {CRYPT}SLOW

dn: cn=posix,ou=groups,dc=nuna,dc=local
objectClass: posixGroup
cn: posix
gidNumber: 5000
memberUid: alice
memberUid: guest

dn: cn=names,ou=groups,dc=nuna,dc=local
objectClass: groupOfNames
cn: names
member: uid=alice,ou=people,dc=nuna,dc=local
memberOf: cn=outer,ou=groups,dc=nuna,dc=local

dn: cn=outer,ou=groups,dc=nuna,dc=local
objectClass: groupOfNames
cn: outer
member: cn=names,ou=groups,dc=nuna,dc=local
member: cn=far,ou=groups,dc=nuna,dc=local
memberOf: cn=far,ou=groups,dc=nuna,dc=local

# A member of a group that is its own member.
dn: cn=far,ou=groups,dc=nuna,dc=local
objectClass: groupOfUniqueNames
cn: far
uniqueMember: cn=outer,ou=groups,dc=nuna,dc=local
memberOf: cn=OUTER, ou=groups,dc=nuna,dc=local
memberOf: cn=top,ou=groups,dc=nuna,dc=local

dn: cn=top,ou=groups,dc=nuna,dc=local
objectClass: groupOfNames
cn: top
member: cn=far,ou=groups,dc=nuna,dc=local

dn: cn=unique\\, names,ou=groups,dc=nuna,dc=local
objectClass: groupOfUniqueNames
cn: unique, names
uniqueMember: uid=alice,ou=people,dc=nuna,dc=local

dn: cn=others,ou=groups,dc=nuna,dc=local
objectClass: groupOfNames
cn: others
member: uid=guest,ou=guests,ou=people,dc=nuna,dc=local
";

/// Of [`MANY_PASSWORD`].
const MANY_HASH: &str = "{SSHA}tlK6aORIRcfBc+MTKU1eWoPmMEdudW5hc2FsdA==";
/// People in a team of [`slapd_of_many`].
const TEAM: u64 = 50;

/// Of 100 000 rounds: a wrong password takes long, an unknown name does not.
const SLOW_PASSWORD: &str = "$6$rounds=100000$nunasalt$uG.Khzd1rjRLPuOO5BxgWbFRRzxmkov0VUVVf8xVXVZKTfdDauAvGY9Ygk.fSLZlGu4fu0bUbAFazieyZxCVB.";

pub struct Slapd {
    process: Child,
    folder: tempfile::TempDir,
    pub host: String,
    /// The same server under an address that its certificate does not name.
    other: String,
}

/// What the server shows to prove who it is.
#[derive(Clone, Copy, PartialEq)]
pub enum Certificate {
    Good,
    Expired,
    SelfSigned,
}

/// More than one server in one program of tests.
static SERVERS: AtomicU8 = AtomicU8::new(1);

impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn slapd() -> Slapd {
    slapd_with(Certificate::Good)
}

fn slapd_with(certificate: Certificate) -> Slapd {
    slapd_of(certificate, LDIF.replace("SLOW", SLOW_PASSWORD))
}

/// With so many people, `u0000` and so on, who all have [`MANY_PASSWORD`], in one large group and in teams.
pub fn slapd_of_many(count: u64) -> Slapd {
    let mut entries = LDIF.replace("SLOW", SLOW_PASSWORD);
    let name = |user: u64| format!("u{user:04}");
    for user in 0..count {
        let name = name(user);
        entries += &format!(
            "\ndn: uid={name},ou=people,dc=nuna,dc=local\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n\
             userPassword: {MANY_HASH}\n"
        );
    }
    entries +=
        "\ndn: cn=staff,ou=groups,dc=nuna,dc=local\nobjectClass: posixGroup\ncn: staff\ngidNumber: 6000\n";
    entries.extend((0..count).map(|user| format!("memberUid: {}\n", name(user))));
    for team in 0..count.div_ceil(TEAM) {
        entries += &format!(
            "\ndn: cn=team{team},ou=groups,dc=nuna,dc=local\nobjectClass: groupOfNames\ncn: team{team}\n"
        );
        let members = team * TEAM..count.min((team + 1) * TEAM);
        entries
            .extend(members.map(|user| format!("member: uid={},ou=people,dc=nuna,dc=local\n", name(user))));
    }
    let slapd = slapd_of(Certificate::Good, entries);
    assert_eq!(MANY_PASSWORD, "many-people-have-it", "MANY_HASH is that of another password");
    slapd
}

fn slapd_of(certificate: Certificate, entries: String) -> Slapd {
    assert!(Path::new(SLAPD).exists(), "there is no {SLAPD}; `cargo xtask setup`, run as root, installs it");
    let folder = tempfile::Builder::new().prefix("nuna-slapd-").tempdir_in("/tmp").unwrap();
    let pid = std::process::id().to_be_bytes();
    // An address of this machine for each test, so that ports need no luck.
    let own = SERVERS.fetch_add(1, Ordering::Relaxed);
    let address = |second: u8| format!("127.{second}.{}.{}", pid[2] ^ pid[3], own.clamp(1, 254));
    let (host, other) = (address(pid[3] & 0x3f), address(pid[3] & 0x3f | 0x40));
    let path = |name: &str| folder.path().join(name).display().to_string();

    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate().unwrap();
    std::fs::write(path("ca.pem"), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let mut server = CertificateParams::new(Vec::<String>::new()).unwrap();
    server.subject_alt_names = vec![SanType::IpAddress(host.parse().unwrap())];
    if certificate == Certificate::Expired {
        server.not_before = rcgen::date_time_ymd(2020, 1, 1);
        server.not_after = rcgen::date_time_ymd(2021, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let signed = match certificate {
        Certificate::Good | Certificate::Expired => server.signed_by(&key, &issuer),
        Certificate::SelfSigned => server.self_signed(&key),
    };
    std::fs::write(path("server.pem"), signed.unwrap().pem()).unwrap();
    std::fs::write(path("server.key"), key.serialize_pem()).unwrap();
    let stranger = rcgen::generate_simple_self_signed(vec!["elsewhere".to_owned()]).unwrap();
    std::fs::write(path("other.pem"), stranger.cert.pem()).unwrap();

    std::fs::create_dir(path("data")).unwrap();
    let config = format!(
        "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
         include /etc/ldap/schema/inetorgperson.schema\ninclude /etc/ldap/schema/nis.schema\n\
         modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload memberof\nmoduleload ppolicy\n\
         TLSCACertificateFile {ca}\nTLSCertificateFile {cert}\nTLSCertificateKeyFile {key}\n\
         database mdb\nmaxsize 67108864\nindex uid,member,uniqueMember,memberUid eq\nsuffix \"dc=nuna,dc=local\"\nrootdn \"cn=root,dc=nuna,dc=local\"\nrootpw root-password\n\
         directory {data}\nsizelimit size.soft=500 size.hard=500 size.prtotal=1500\noverlay memberof\noverlay ppolicy\n\
         access to attrs=userPassword by anonymous auth by * none\n\
         access to * by users read by anonymous auth by * none\n",
        ca = path("ca.pem"),
        cert = path("server.pem"),
        key = path("server.key"),
        data = path("data"),
    );
    std::fs::write(path("slapd.conf"), config).unwrap();
    std::fs::write(path("entries.ldif"), entries).unwrap();
    let reader = path("reader");
    std::fs::write(&reader, "reader's secret\n").unwrap();
    std::fs::set_permissions(&reader, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let added = Command::new("/usr/sbin/slapadd")
        .args(["-f", &path("slapd.conf"), "-l", &path("entries.ldif")])
        .output()
        .unwrap();
    assert!(added.status.success(), "slapadd: {}", String::from_utf8_lossy(&added.stderr));
    let process = Slapd::spawn(folder.path(), &host, &other);
    let slapd = Slapd { process, folder, host, other };
    slapd.wait();
    slapd
}

impl Slapd {
    fn spawn(folder: &Path, host: &str, other: &str) -> Child {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(folder.join("slapd.log")).unwrap();
        let urls = format!("ldap://{host}:13890 ldaps://{host}:16360 ldaps://{other}:16360");
        nuna_testing::tied(SLAPD)
            // In the foreground, with statistics: binds and searches are in the log.
            .args(["-d", "256", "-f", &folder.join("slapd.conf").display().to_string(), "-h", &urls])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn wait(&self) {
        let started = Instant::now();
        while std::net::TcpStream::connect(format!("{}:16360", self.host)).is_err() {
            assert!(started.elapsed() < PATIENCE, "slapd did not start: {}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// As a machine that swaps: connections are accepted by the kernel, and nothing is answered.
    pub fn pause(&self, is_paused: bool) {
        let name = if is_paused { "-STOP" } else { "-CONT" };
        assert!(
            Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap().success()
        );
    }

    /// Everybody's connections break.
    pub fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = Self::spawn(self.folder.path(), &self.host, &self.other);
        self.wait();
    }

    /// As the directory's administrator.
    pub async fn as_root(&self) -> ldap3::Ldap {
        let (connection, mut root) =
            ldap3::LdapConnAsync::new(&format!("ldap://{}:13890", self.host)).await.unwrap();
        ldap3::drive!(connection);
        root.simple_bind("cn=root,dc=nuna,dc=local", "root-password").await.unwrap().success().unwrap();
        root
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("slapd.log")).unwrap()
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub async fn world(&self, directory: &str) -> World {
        let lines = directory
            .replace("HOST", &self.host)
            .replace("OTHER", &self.other)
            .replace("FOLDER", &self.file(""));
        World::with(Setup { directory: Some(lines), ..Setup::default() }).await
    }
}

const TEMPLATE: &str =
    "user_dn = 'uid={user},ou=people,dc=nuna,dc=local'\ngroup_base = 'ou=groups,dc=nuna,dc=local'";
pub const ALICE: &str = "wonder \\ land*()";

pub async fn sign_in(world: &World, user: &str, password: &str) -> (u16, serde_json::Value) {
    let answer = world.post("/auth", json!({"username": user, "password": password})).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn bind_by_template_over_tls_and_start_tls() {
    let slapd = slapd();
    for server in ["servers = ['ldaps://HOST:16360']", "servers = ['ldap://HOST:13890']\nstart_tls = true"] {
        let world = slapd
            .world(&format!("{server}\nca_file = 'FOLDERca.pem'\n{TEMPLATE}\nadmin_groups = ['names']"))
            .await;
        let groups = json!(["names", "posix", "unique, names"]);
        assert_eq!(
            sign_in(&world, "alice", ALICE).await,
            (200, json!({"name": "alice", "groups": groups, "admin": true}))
        );
        for (user, password) in [
            ("alice", "wrong"),
            ("alice", ""),
            ("alice", "wonder \\ land*"),
            ("nopassword", "x"),
            ("nopassword", ""),
            ("nobody", "x"),
        ] {
            let (status, answer) = sign_in(&world, user, password).await;
            assert_eq!(
                (status, &answer["error"]["code"]),
                (401, &json!("wrong_password")),
                "{user} {password:?}"
            );
        }
        assert!(!world.log().contains(ALICE));
    }
    assert!(slapd.log().contains("STARTTLS"));
}

/// The server gives 500 entries to a question, and 1500 page by page, as Active Directory does with numbers of its own.
#[tokio::test]
async fn groups_beyond_the_server_s_limit_are_read_page_by_page() {
    let mut entries = LDIF.replace("SLOW", SLOW_PASSWORD);
    for group in 0..1600 {
        let also = if group < 1200 { "memberUid: carl\n" } else { "" };
        entries += &format!(
            "\ndn: cn=g{group:04},ou=groups,dc=nuna,dc=local\nobjectClass: posixGroup\ncn: g{group:04}\n\
             gidNumber: {}\nmemberUid: slow\n{also}",
            7000 + group
        );
    }
    let slapd = slapd_of(Certificate::Good, entries);
    let lines = format!("servers = ['ldaps://HOST:16360']\nca_file = 'FOLDERca.pem'\n{TEMPLATE}");
    let world = slapd.world(&lines).await;
    let (status, answer) = sign_in(&world, "carl", "carl-password").await;
    assert_eq!(status, 200, "{}", world.log());
    let groups: Vec<String> = (0..1200).map(|group| format!("g{group:04}")).collect();
    assert_eq!(answer["groups"], json!(groups));
    // A part of the groups is not all of them.
    let (status, _) = sign_in(&world, "slow", "slow-password").await;
    assert_eq!(status, 500);
    assert!(world.log().contains("and has more, also page by page"), "{}", world.log());
}

/// Whoever cannot prove to be the directory does not get to see a password.
#[tokio::test]
async fn a_server_without_a_trusted_certificate_learns_no_password() {
    let ours = "servers = ['ldaps://HOST:16360']\nca_file = 'FOLDERca.pem'";
    let start_tls = "servers = ['ldap://HOST:13890']\nstart_tls = true\nca_file = 'FOLDERca.pem'";
    for (certificate, servers) in [
        (Certificate::Expired, vec![ours.to_owned(), start_tls.to_owned()]),
        (Certificate::SelfSigned, vec![ours.to_owned(), start_tls.to_owned()]),
        (
            Certificate::Good,
            vec![
                ours.replace("ca.pem", "other.pem"),
                start_tls.replace("ca.pem", "other.pem"),
                // The authority is right, the name is not.
                ours.replace("HOST", "OTHER"),
            ],
        ),
    ] {
        let slapd = slapd_with(certificate);
        for server in servers {
            let world = slapd.world(&format!("{server}\n{TEMPLATE}")).await;
            let (status, answer) = sign_in(&world, "alice", ALICE).await;
            assert_eq!(
                (status, &answer["error"]["code"]),
                (503, &json!("directory_unreachable")),
                "{server}"
            );
            assert!(world.log().contains("certificate"), "{}", world.log());
        }
        assert!(!slapd.log().contains("BIND"), "{}", slapd.log());
    }
}

#[tokio::test]
async fn search_then_bind_with_an_account_of_its_own() {
    let slapd = slapd();
    let lines = "servers = ['ldap://HOST:13890']\nuser_base = 'ou=people,dc=nuna,dc=local'\n\
                 lookup_dn = 'uid=reader,dc=nuna,dc=local'\nlookup_password_file = 'FOLDERreader'\nmember_of = 'memberOf'";
    let world = slapd.world(lines).await;
    let (status, alice) = sign_in(&world, "alice", ALICE).await;
    // memberOf is kept for groupOfNames alone.
    assert_eq!((status, &alice["groups"]), (200, &json!(["names"])), "{alice}");
    let (status, guest) = sign_in(&world, "guest", "guest-password").await;
    assert_eq!((status, &guest["groups"]), (200, &json!(["others"])), "found below another branch: {guest}");
    assert_eq!(sign_in(&world, "alice", "wrong").await.0, 401);
    assert_eq!(sign_in(&world, "nobody", "x").await.0, 401);
    for user in ["*", "a*", "alice)(uid=*", "ali\\63e"] {
        assert_eq!(sign_in(&world, user, ALICE).await.0, 401, "{user}");
    }
    // Two entries of one name: nobody can say who that is.
    let (status, answer) = sign_in(&world, "twice", "twice-password").await;
    assert_eq!((status, &answer["error"]["code"]), (500, &json!("internal")));
    assert!(world.log().contains("more than one entry"), "{}", world.log());
}

#[tokio::test]
async fn only_members_of_allowed_groups_may_in() {
    let slapd = slapd();
    let lines = format!("servers = ['ldap://HOST:13890']\n{TEMPLATE}\nallowed_groups = ['names']");
    let world = slapd.world(&lines).await;
    assert_eq!(sign_in(&world, "alice", ALICE).await.0, 200);
    let (status, answer) = sign_in(&world, "twice", "twice-password").await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("not_allowed")));
    assert_eq!(
        sign_in(&world, "twice", "wrong").await.0,
        401,
        "who does not know the password learns nothing"
    );
}

#[tokio::test]
async fn a_directory_set_up_wrong_is_the_administrator_s_matter() {
    let slapd = slapd();
    let lines = "servers = ['ldap://HOST:13890']\nuser_dn = 'uid={user},ou=people,dc=nuna,dc=local'\ngroup_base = 'ou=nowhere,dc=nuna,dc=local'";
    let world = slapd.world(lines).await;
    let (status, answer) = sign_in(&world, "alice", ALICE).await;
    assert_eq!((status, &answer["error"]["code"]), (500, &json!("internal")));
    assert!(world.log().contains("group_base"), "{}", world.log());
}

/// A server that stops in the middle: before its part of TLS, halfway through it, and after it.
#[tokio::test]
async fn a_server_that_falls_silent_in_or_after_the_handshake_is_not_waited_for() {
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let slapd = slapd();
    // Bytes of the server's that get through, after its answer to StartTLS; and pieces of the client's. Its hello is the
    // first, the end of its handshake the second.
    for (bytes, pieces, is_start_tls) in [
        (0, usize::MAX, false),
        (300, usize::MAX, false),
        (usize::MAX, 1, false),
        (usize::MAX, 2, false),
        (0, usize::MAX, true),
        (300, usize::MAX, true),
    ] {
        let listener = tokio::net::TcpListener::bind(format!("{}:0", slapd.host)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = format!("{}:{}", slapd.host, if is_start_tls { 13890 } else { 16360 });
        let before = slapd.log().matches("BIND dn=\"uid=alice").count();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = tokio::net::TcpStream::connect(&target).await.unwrap();
                tokio::spawn(async move {
                    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                        (client.into_split(), server.into_split());
                    let there = async {
                        let (mut piece, mut left) = ([0; 4096], pieces);
                        while let Ok(length @ 1..) = from_client.read(&mut piece).await {
                            if left > 0 {
                                left = left.saturating_sub(1);
                                let _ = to_server.write_all(&piece[..length]).await;
                            }
                        }
                    };
                    let back = async {
                        let (mut piece, mut left) = ([0; 4096], bytes);
                        let mut is_answer = is_start_tls;
                        while let Ok(length @ 1..) = from_server.read(&mut piece).await {
                            let said = if is_answer { length } else { length.min(left) };
                            left = if is_answer { left } else { left.saturating_sub(said) };
                            is_answer = false;
                            let _ = to_client.write_all(&piece[..said]).await;
                        }
                    };
                    tokio::join!(there, back)
                });
            }
        });
        let scheme = if is_start_tls { "ldap" } else { "ldaps" };
        let more = if is_start_tls { "\nstart_tls = true" } else { "" };
        let lines = format!("servers = ['{scheme}://{address}']\nca_file = 'FOLDERca.pem'\n{TEMPLATE}{more}");
        let world = slapd.world(&lines).await;
        let begun = Instant::now();
        let health = async {
            let mut slowest = Duration::ZERO;
            for _ in 0..20 {
                let asked = Instant::now();
                assert_eq!(world.get("/health").await.status, 200);
                slowest = slowest.max(asked.elapsed());
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            slowest
        };
        let ((status, answer), slowest) = tokio::join!(sign_in(&world, "alice", ALICE), health);
        let case = format!("{bytes} bytes, {pieces} pieces, StartTLS: {is_start_tls}: {answer}");
        assert_eq!((status, &answer["error"]["code"]), (503, &json!("directory_unreachable")), "{case}");
        assert!(begun.elapsed() < PATIENCE, "{case}: {:?}", begun.elapsed());
        assert!(slowest < Duration::from_secs(1), "{case}: {slowest:?}");
        assert_eq!(
            slapd.log().matches("BIND dn=\"uid=alice").count(),
            before,
            "{case}: the password came through"
        );
    }
}

#[tokio::test]
async fn check_looks_a_person_up_and_names_what_the_directory_lacks() {
    let slapd = slapd();
    let lines = "servers = ['ldap://HOST:13890']\nuser_base = 'ou=people,dc=nuna,dc=local'\n\
                 lookup_dn = 'uid=reader,dc=nuna,dc=local'\nlookup_password_file = 'FOLDERreader'\nmember_of = 'memberOf'";
    let world = slapd.world(lines).await;
    // Without the profile that PBS itself is to refuse.
    let config =
        std::fs::read_to_string(world.path("spawner.toml")).unwrap().replace("1:ncpus=4", "1:ncpus=2");
    let check = |from: &str, to: &str, user: &str| {
        assert!(config.contains(from), "{from}");
        std::fs::write(world.path("check.toml"), config.replace(from, to)).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_nuna-spawner"))
            .args(["check", "--user", user, "--config", world.path("check.toml").to_str().unwrap()])
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (is_good, text) = check("[state]", "[state]", "alice");
    assert!(is_good, "{text}");
    for line in [
        "good   --user: the directory has alice, in the groups [\"names\"]",
        "good   --user: alice may choose brief, closed, greedy, rich, small, ",
        "good   clock: ",
        "good   hub.api_token_file: ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    for (from, to, user, words) in [
        ("[state]", "[state]", "nobody", "WRONG  --user: nobody: the directory has no such user"),
        (
            "ou=people,dc=nuna",
            "ou=nowhere,dc=nuna",
            "alice",
            "ou=nowhere,dc=nuna,dc=local of directory.user_base",
        ),
        ("uid=reader", "uid=writer", "alice", "refused directory.lookup_dn uid=writer"),
        (
            "url = \"http://127",
            "url = \"http://nowhere.invalid:1/services/nuna\" #",
            "alice",
            "nodes.url: nowhere.invalid has no address",
        ),
        (
            "run_as = \"label\"",
            "run_as = [\"/bin/false\"]",
            "no-such-person",
            "there is no account no-such-person on this machine",
        ),
        ("run_as = \"label\"", "run_as = [\"/bin/false\"]", "alice", "a command in the name of alice failed"),
    ] {
        let (is_good, text) = check(from, to, user);
        assert!(!is_good && text.contains(words), "{words} in {text}");
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode;
    let (helper, bin) = (world.path("helper"), world.path("bin"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && exec echo 'helper 1'\ncommand=$2; shift 2; exec '{}'/$command \"$@\"\n",
        bin.display()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, mode(0o755)).unwrap();
    let line = format!("run_as = [\"{}\"]", helper.display());
    let (_, text) = check("run_as = \"label\"", &line, "alice");
    assert!(text.contains("good   --user: PBS runs in the name of alice"), "{text}");
    std::fs::set_permissions(world.path("service-token"), mode(0o640)).unwrap();
    std::fs::set_permissions(world.path("check.toml"), mode(0o666)).unwrap();
    let (is_good, text) = check("[state]", "[state]", "alice");
    assert!(
        !is_good && text.contains("WRONG  configuration: ") && text.contains("changed by everybody"),
        "{text}"
    );
    assert!(text.contains("notice hub.api_token_file: ") && text.contains("read by its group"), "{text}");
}
