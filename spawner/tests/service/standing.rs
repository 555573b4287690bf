//! What the directory says about people: groups within groups, the one name of an account, locks, and what becomes of
//! somebody who has signed in; with servers that are away.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ldap3::Mod;
use serde_json::{Value, json};

use crate::common::{PATIENCE, World, until};
use crate::slapd::{ALICE, Slapd, sign_in, slapd};

const SEARCH: &str = "servers = ['ldap://HOST:13890']\nuser_base = 'ou=people,dc=nuna,dc=local'";
const TEMPLATE: &str = "servers = ['ldap://HOST:13890']\nuser_dn = 'uid={user},ou=people,dc=nuna,dc=local'";
const LOOKUP: &str = "lookup_dn = 'uid=reader,dc=nuna,dc=local'\nlookup_password_file = 'FOLDERreader'\nlookup_keep_seconds = 0.2";
const GROUPS: &str = "group_base = 'ou=groups,dc=nuna,dc=local'";

async fn standing(world: &World, user: &str) -> (u16, Value) {
    let answer = world.get(&format!("/users/{user}/standing")).await;
    (answer.status, answer.json())
}

/// The answer once it is not the remembered one any more.
async fn until_standing(world: &World, user: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
    until("the directory's new answer", async || {
        let (status, answer) = standing(world, user).await;
        wanted(status, &answer).then_some(answer)
    })
    .await
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or_default()
}

async fn groups(slapd: &Slapd, directory: &str) -> Value {
    let world = slapd.world(directory).await;
    let (status, answer) = sign_in(&world, "alice", ALICE).await;
    assert_eq!(status, 200, "{answer}\n{}", world.log());
    answer["groups"].clone()
}

#[tokio::test]
async fn groups_within_groups_are_followed_to_a_depth_and_circles_end() {
    let slapd = slapd();
    for (depth, expected) in [
        (0, json!(["names", "posix", "unique, names"])),
        (1, json!(["names", "outer", "posix", "unique, names"])),
        (2, json!(["far", "names", "outer", "posix", "unique, names"])),
        (3, json!(["far", "names", "outer", "posix", "top", "unique, names"])),
        (16, json!(["far", "names", "outer", "posix", "top", "unique, names"])),
    ] {
        let lines = format!("{TEMPLATE}\n{GROUPS}\nnested_groups = {depth}");
        assert_eq!(groups(&slapd, &lines).await, expected, "searched, depth {depth}");
    }
    for (depth, expected) in [
        (0, json!(["names"])),
        (1, json!(["names", "outer"])),
        (2, json!(["far", "names", "outer"])),
        // What a group's entry lists is followed even if it is written in another way.
        (16, json!(["OUTER", "far", "names", "outer", "top"])),
    ] {
        let lines = format!("{SEARCH}\n{LOOKUP}\nmember_of = 'memberOf'\nnested_groups = {depth}");
        assert_eq!(groups(&slapd, &lines).await, expected, "listed, depth {depth}");
    }
}

/// Rights that come with a group of groups.
#[tokio::test]
async fn nested_groups_count_for_rights() {
    let slapd = slapd();
    let rights = "allowed_groups = ['far']\nadmin_groups = ['top']";
    let world = slapd.world(&format!("{TEMPLATE}\n{GROUPS}\n{rights}\nnested_groups = 3")).await;
    let (status, alice) = sign_in(&world, "alice", ALICE).await;
    assert_eq!((status, &alice["admin"]), (200, &json!(true)), "{alice}");
    let world = slapd.world(&format!("{TEMPLATE}\n{GROUPS}\n{rights}\nnested_groups = 1")).await;
    assert_eq!(sign_in(&world, "alice", ALICE).await.0, 403);
}

#[tokio::test]
async fn one_person_is_one_user_however_the_name_is_typed() {
    let slapd = slapd();
    let filter = "user_filter = '(|(uid={user})(mail={user}@nuna.local))'\nuser_name_attribute = 'uid'";
    let world = slapd.world(&format!("{SEARCH}\n{LOOKUP}\n{filter}")).await;
    for typed in ["carl", "CARL", " Carl ", "carlos", "Carlos", "c.smith"] {
        let (status, answer) = sign_in(&world, typed, "carl-password").await;
        assert_eq!((status, &answer["name"]), (200, &json!("carl")), "{typed}: {answer}");
    }
    // A user of the hub that is another name of the same person is none.
    assert_eq!(standing(&world, "carl").await.0, 200);
    assert_eq!(code(&standing(&world, "carlos").await.1), "no_such_user");
    // Letters that fold to others: a Kelvin sign is a k to some, and the answer is still the account's own name.
    for typed in ["ｃarl", "ca\u{200b}rl", "carl\u{0}", "car\u{ad}l"] {
        assert_eq!(sign_in(&world, typed, "carl-password").await.0, 401, "{typed:?}");
    }
    // Two names, neither of which the entry is named by.
    let (status, answer) = sign_in(&world, "dora", "dora-password").await;
    assert_eq!((status, code(&answer)), (500, "internal"));
    assert!(world.log().contains("several values of uid"), "{}", world.log());
}

#[tokio::test]
async fn locked_and_expired_accounts_stay_out_with_the_right_password() {
    let slapd = slapd();
    for lines in [format!("{TEMPLATE}\n{LOOKUP}"), format!("{SEARCH}\n{LOOKUP}"), TEMPLATE.to_owned()] {
        let world = slapd.world(&lines).await;
        let (status, answer) = sign_in(&world, "expired", "expired-password").await;
        assert_eq!((status, code(&answer)), (403, "account_locked"), "{lines}");
        assert_eq!(code(&sign_in(&world, "expired", "wrong").await.1), "wrong_password");
        assert!(world.log().contains("shadowExpire"));
    }
    // What no attribute that is known says.
    let world = slapd.world(&format!("{TEMPLATE}\nlocked_filter = '(&(mail=*)(uid={{user}}))'")).await;
    assert_eq!(code(&sign_in(&world, "carl", "carl-password").await.1), "account_locked");
    assert_eq!(sign_in(&world, "alice", ALICE).await.0, 200);
}

#[tokio::test]
async fn access_follows_the_directory_after_sign_in() {
    let slapd = slapd();
    for lines in [format!("{TEMPLATE}\n{LOOKUP}\n{GROUPS}"), format!("{SEARCH}\n{LOOKUP}\n{GROUPS}")] {
        let world = slapd.world(&format!("{lines}\nallowed_groups = ['names', 'ocean']")).await;
        let mut root = slapd.as_root().await;
        let (alice, ocean) = ("uid=alice,ou=people,dc=nuna,dc=local", "cn=ocean,ou=groups,dc=nuna,dc=local");
        assert_eq!(sign_in(&world, "alice", ALICE).await.0, 200);
        let (status, answer) = standing(&world, "alice").await;
        assert_eq!((status, &answer["groups"]), (200, &json!(["names", "posix", "unique, names"])));
        assert!(!world.get("/form?user=alice").await.text.contains("Ocean"));

        // A group of hers is new: so are its profiles.
        let members = [
            ("objectClass", HashSet::from(["groupOfNames"])),
            ("cn", HashSet::from(["ocean"])),
            ("member", HashSet::from([alice])),
        ];
        root.add(ocean, members.to_vec()).await.unwrap().success().unwrap();
        let answer = until_standing(&world, "alice", |_, answer| answer["groups"][1] == "ocean").await;
        assert_eq!(answer["name"], "alice");
        assert!(world.get("/form?user=alice").await.text.contains("Ocean"));

        // Locked by an administrator, and free again.
        let lock = |time: &'static str| Mod::Replace("pwdAccountLockedTime", HashSet::from([time]));
        root.modify(alice, vec![lock("000001010000Z")]).await.unwrap().success().unwrap();
        until_standing(&world, "alice", |status, answer| (status, code(answer)) == (403, "account_locked"))
            .await;
        assert!(!world.get("/form?user=alice").await.text.contains("Ocean"), "no groups are left");
        assert_eq!(code(&sign_in(&world, "alice", ALICE).await.1), "account_locked");
        // Others' guesses must not end her session: such a lock is the directory's own matter.
        root.modify(alice, vec![lock("20260101000000Z")]).await.unwrap().success().unwrap();
        until_standing(&world, "alice", |status, _| status == 200).await;
        root.modify(alice, vec![Mod::Delete("pwdAccountLockedTime", HashSet::from([]))]).await.unwrap();

        // Out of all groups that may sign in.
        root.delete(ocean).await.unwrap().success().unwrap();
        let names = "cn=names,ou=groups,dc=nuna,dc=local";
        let member = |who| Mod::Replace("member", HashSet::from([who]));
        root.modify(names, vec![member("uid=twice,ou=people,dc=nuna,dc=local")])
            .await
            .unwrap()
            .success()
            .unwrap();
        until_standing(&world, "alice", |status, answer| (status, code(answer)) == (403, "not_allowed"))
            .await;
        root.modify(names, vec![member(alice)]).await.unwrap().success().unwrap();

        // Removed, which ends her access; what the service cannot see any more does not.
        until_standing(&world, "alice", |status, _| status == 200).await;
        let gone = "uid=alice,ou=groups,dc=nuna,dc=local";
        root.modifydn(alice, "uid=alice", true, Some("ou=groups,dc=nuna,dc=local"))
            .await
            .unwrap()
            .success()
            .unwrap();
        until_standing(&world, "alice", |status, answer| (status, code(answer)) == (403, "no_such_user"))
            .await;
        assert!(world.log().contains("access ended"));
        root.modifydn(gone, "uid=alice", true, Some("ou=people,dc=nuna,dc=local"))
            .await
            .unwrap()
            .success()
            .unwrap();
    }
    let world = slapd.world(TEMPLATE).await;
    assert_eq!(code(&standing(&world, "alice").await.1), "not_looked_up");
    assert_eq!(code(&standing(&world, "Alice%0a").await.1), "no_such_user");
}

/// A lookup account that has lost its rights sees nobody; that does not mean that nobody is left.
#[tokio::test]
async fn a_directory_that_hides_people_has_not_removed_them() {
    let slapd = slapd();
    let world = slapd.world(&format!("{SEARCH}\n{LOOKUP}\n{GROUPS}")).await;
    assert_eq!(sign_in(&world, "alice", ALICE).await.0, 200);
    let mut root = slapd.as_root().await;
    let reader = "uid=reader,dc=nuna,dc=local";
    let password = Mod::Replace("userPassword", HashSet::from(["another"]));
    root.modify(reader, vec![password]).await.unwrap().success().unwrap();
    let config = world.path("spawner.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("'ou=people,", "'ou=nobody,ou=people,")).unwrap();
    let mut world = world;
    world.kill("service");
    world.start_service().await;
    let (status, answer) = standing(&world, "alice").await;
    assert_eq!((status, code(&answer)), (500, "internal"), "the account's password is wrong");
    let password = Mod::Replace("userPassword", HashSet::from(["reader's secret"]));
    root.modify(reader, vec![password]).await.unwrap().success().unwrap();
    let answer = until_standing(&world, "alice", |_, _| world.log().contains("ou=nobody")).await;
    assert_eq!(code(&answer), "internal", "the base is not there");
    assert!(world.get("/form?user=alice").await.text.contains("Small"));
}

#[tokio::test]
async fn many_requests_cost_one_query_and_one_connection() {
    let mut slapd = slapd();
    let lines = format!("{SEARCH}\n{LOOKUP}\n{GROUPS}")
        .replace("lookup_keep_seconds = 0.2", "lookup_keep_seconds = 600");
    let world = slapd.world(&lines).await;
    let asked = |slapd: &Slapd| slapd.log().matches("SRCH base=\"ou=people").count();
    let answers = futures::future::join_all((0..50).map(|_| standing(&world, "alice"))).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    assert_eq!(asked(&slapd), 1, "{}", slapd.log());
    for user in ["carl", "guest", "nopassword", "slow", "carl"] {
        assert_eq!(standing(&world, user).await.0, 200, "{user}");
    }
    assert_eq!(asked(&slapd), 5);
    // The readiness probe of this test and its neighbours bind as nobody: only the reader's binds count.
    let binds = |slapd: &Slapd| slapd.log().matches("BIND dn=\"uid=reader,dc=nuna,dc=local\" method").count();
    assert_eq!(binds(&slapd), 1, "{}", slapd.log());
    // A kept connection that the server closed costs nobody an error.
    slapd.restart();
    assert_eq!(standing(&world, "twice").await.0, 500, "two entries, as ever");
    assert_eq!(standing(&world, "expired").await.0, 403);
    assert_eq!(binds(&slapd), 2);
    assert_eq!(sign_in(&world, "alice", ALICE).await.0, 200);
}

#[tokio::test]
async fn a_lookup_connection_that_is_not_used_is_closed() {
    let slapd = slapd();
    let world = slapd.world(&format!("{SEARCH}\n{LOOKUP}\nlookup_idle_seconds = 0.5")).await;
    assert_eq!(standing(&world, "alice").await.0, 200);
    until("the idle connection to be closed", async || {
        let log = slapd.log();
        let of_reader = log.lines().find(|line| line.contains("BIND dn=\"uid=reader"))?;
        let connection = of_reader.split_whitespace().find(|word| word.starts_with("conn="))?.to_owned();
        log.lines()
            .any(|line| line.contains(&format!("{connection} ")) && line.contains("closed"))
            .then_some(())
    })
    .await;
    assert_eq!(standing(&world, "carl").await.0, 200);
}

/// The first server says nothing: whoever comes first waits for it, and nobody after that.
#[tokio::test]
async fn a_silent_first_server_costs_one_person_its_timeout() {
    let (first, second) = (slapd(), slapd());
    let lines = format!("{TEMPLATE}\n{LOOKUP}\n{GROUPS}").replace(
        "servers = ['ldap://HOST:13890']",
        &format!("servers = ['ldap://{}:13890', 'ldap://HOST:13890']", first.host),
    );
    let world = second.world(&lines).await;
    first.pause(true);
    let signs_in = async || {
        assert_eq!(sign_in(&world, "alice", ALICE).await.0, 200, "{}", world.log());
    };
    // How many questions of people the first server was asked, in vain.
    let waited_for = async || {
        let text = world.get("/metrics").await.text;
        let name = format!("nuna_directory_seconds_count{{server=\"ldap://{}:13890\"}} ", first.host);
        let count = text.lines().find_map(|line| line.strip_prefix(name.as_str()));
        count.unwrap_or("0").parse::<u32>().unwrap()
    };
    signs_in().await;
    assert_eq!(waited_for().await, 1);
    for _ in 0..5 {
        // Its rest ends meanwhile, and it is tried in the background.
        tokio::time::sleep(Duration::from_millis(500)).await;
        signs_in().await;
    }
    assert_eq!(waited_for().await, 1);
    let before = first.log().matches("BIND dn=\"uid=alice").count();
    first.pause(false);
    // It is asked first again once it answers.
    until("the first server to be asked again", async || {
        signs_in().await;
        (first.log().matches("BIND dn=\"uid=alice").count() > before).then_some(())
    })
    .await;
}

/// Nobody answers: signing in says so in bounded time, what is known stays, and the service's health is at once.
#[tokio::test]
async fn with_all_servers_silent_nobody_is_removed_and_nothing_hangs() {
    let slapd = slapd();
    let world = slapd.world(&format!("{TEMPLATE}\n{LOOKUP}\n{GROUPS}\nallowed_groups = ['names']")).await;
    assert_eq!(sign_in(&world, "alice", ALICE).await.0, 200);
    slapd.pause(true);
    tokio::time::sleep(Duration::from_millis(250)).await;
    let begun = Instant::now();
    let health = async {
        let mut slowest = Duration::ZERO;
        while begun.elapsed() < Duration::from_secs(3) {
            let asked = Instant::now();
            assert_eq!(world.get("/health").await.status, 200);
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slowest
    };
    let many = futures::future::join_all((0..8).map(|_| sign_in(&world, "alice", ALICE)));
    let (slowest, many, (status, answer)) = tokio::join!(health, many, standing(&world, "alice"));
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!((status, code(&answer)), (503, "directory_unreachable"));
    assert!(many.iter().all(|(status, _)| *status == 503), "{many:?}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!(standing(&world, "carl").await.0, 503);
    assert!(world.get("/form?user=alice").await.text.contains("Small"));
    slapd.pause(false);
    assert_eq!(sign_in(&world, "alice", ALICE).await.0, 200, "who signs in is no worse off than before");
    until_standing(&world, "alice", |status, _| status == 200).await;
}

#[tokio::test]
async fn referrals_are_refused_and_say_so() {
    let slapd = slapd();
    let lines = "servers = ['ldap://HOST:13890']\nuser_base = 'ou=elsewhere,dc=nuna,dc=local'";
    let world = slapd.world(&format!("{lines}\n{LOOKUP}")).await;
    let (status, answer) = sign_in(&world, "alice", ALICE).await;
    assert_eq!((status, code(&answer)), (500, "internal"));
    assert!(world.log().contains("directory.referral_servers does not allow"), "{}", world.log());
    // A reference among what is found is left aside: what is here is found.
    let world = slapd
        .world(&format!("servers = ['ldap://HOST:13890']\nuser_base = 'dc=nuna,dc=local'\n{LOOKUP}"))
        .await;
    assert_eq!(sign_in(&world, "alice", ALICE).await.0, 200);
}

/// Two servers, each with a part of the directory.
#[tokio::test]
async fn an_allowed_referral_is_followed_once_and_gets_the_password_then_only() {
    let (here, there) = (slapd(), slapd());
    let elsewhere = "ou=elsewhere,dc=nuna,dc=local";
    let point = async |at: &Slapd, to: &Slapd| {
        let url = format!("ldap://{}:13890/{elsewhere}", to.host);
        let mut root = at.as_root().await;
        let change = vec![Mod::Replace("ref", HashSet::from([url.as_str()]))];
        let control = ldap3::controls::ManageDsaIt;
        root.with_controls(ldap3::controls::RawControl::from(control))
            .modify(elsewhere, change)
            .await
            .unwrap()
            .success()
            .unwrap();
    };
    point(&here, &there).await;
    let mut root = there.as_root().await;
    let control = ldap3::controls::RawControl::from(ldap3::controls::ManageDsaIt);
    root.with_controls(control).delete(elsewhere).await.unwrap().success().unwrap();
    let unit =
        vec![("objectClass", HashSet::from(["organizationalUnit"])), ("ou", HashSet::from(["elsewhere"]))];
    root.add(elsewhere, unit).await.unwrap().success().unwrap();
    let erin = [
        ("objectClass", "inetOrgPerson"),
        ("uid", "erin"),
        ("cn", "E"),
        ("sn", "E"),
        ("userPassword", "erin-password"),
    ];
    let erin = erin.map(|(name, value)| (name, HashSet::from([value]))).to_vec();
    root.add(&format!("uid=erin,{elsewhere}"), erin).await.unwrap().success().unwrap();

    let lines = format!("servers = ['ldap://HOST:13890']\nuser_base = '{elsewhere}'\n{LOOKUP}");
    let world = here.world(&lines).await;
    assert_eq!(sign_in(&world, "erin", "erin-password").await.0, 500);
    let world = here.world(&format!("{lines}\nreferral_servers = ['ldap://127.0.0.1:9']")).await;
    assert_eq!(sign_in(&world, "erin", "erin-password").await.0, 500, "another one is allowed");
    assert!(!there.log().contains("BIND dn=\"uid="), "{}", there.log());

    let allowed = format!("{lines}\nreferral_servers = ['ldap://{}:13890']", there.host);
    let world = here.world(&allowed).await;
    let (status, answer) = sign_in(&world, "erin", "erin-password").await;
    assert_eq!((status, &answer["name"]), (200, &json!("erin")), "{answer}\n{}", world.log());
    assert_eq!(sign_in(&world, "erin", "wrong").await.0, 401);
    assert_eq!(standing(&world, "erin").await.0, 200);
    assert_eq!(code(&standing(&world, "alice").await.1), "no_such_user");
    assert!(
        !here.log().contains("BIND dn=\"uid=erin"),
        "the password went where the entry is, and nowhere else"
    );
}

/// What is no LDAP at all, before and after TLS would begin.
#[tokio::test]
async fn a_server_that_talks_nonsense_is_a_server_that_does_not_answer() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let answers: [&[u8]; 6] = [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            // A message whose operation is no sequence; one of no known kind; a length without an end.
            b"\x30\x05\x02\x01\x01\x61\x00",
            b"\x30\x05\x02\x01\x01\x7f\x00",
            b"\x30\x84\xff\xff\xff\xff\x02\x01\x01",
            b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x7f",
            b"\x04\x00\x04\x00",
        ];
        for answer in answers.into_iter().cycle() {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer).await;
                let _ = stream.read(&mut [0; 1024]).await;
            });
        }
    });
    let slapd = slapd();
    let lines = TEMPLATE.replace("'ldap://HOST:13890'", &format!("'ldap://{address}'"));
    let world = slapd.world(&lines).await;
    for _ in 0..6 {
        let (status, answer) = sign_in(&world, "alice", ALICE).await;
        assert_eq!((status, code(&answer)), (503, "directory_unreachable"), "{answer}");
    }
    assert_eq!(world.get("/health").await.status, 200);
}
