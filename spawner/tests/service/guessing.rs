//! People who try what they should not: guesses, names that are filters, passwords that are none, and a log that they
//! would like to write themselves.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{Setup, World};
use crate::slapd::{ALICE, sign_in, slapd};

const SEARCH: &str = "servers = ['ldap://HOST:13890']\nuser_base = 'ou=people,dc=nuna,dc=local'\n\
     group_base = 'ou=groups,dc=nuna,dc=local'\n\
     lookup_dn = 'uid=reader,dc=nuna,dc=local'\nlookup_password_file = 'FOLDERreader'";
const TEMPLATE: &str = "servers = ['ldap://HOST:13890']\nuser_dn = 'uid={user},ou=people,dc=nuna,dc=local'";

const HOSTILE_NAMES: [&str; 22] = [
    "*",
    "a*",
    "alice*",
    "*)(uid=alice",
    "alice)(objectClass=*",
    "alice)(|(uid=*",
    "alice))(&(uid=alice",
    "al\\69ce",
    "\\2a",
    "alice\\00",
    "alice\0",
    "\0alice",
    "alice,ou=people",
    "alice+cn=Alice",
    "alice,ou=people,dc=nuna,dc=local",
    "uid=alice,ou=people,dc=nuna,dc=local",
    "alice\nsigned in user=root",
    "alice\r\nX-Header: 1",
    "#04056f6c696365",
    "alice;",
    "../alice",
    "%61lice",
];

#[tokio::test]
async fn no_name_is_a_filter_or_a_path_in_the_directory() {
    let slapd = slapd();
    for lines in [SEARCH, TEMPLATE] {
        let world = slapd.world(lines).await;
        let asked = |text: &str| {
            text.matches("SRCH base=\"ou=people").count() + text.matches("BIND dn=\"uid=a").count()
        };
        let before = asked(&slapd.log());
        let answers = futures::future::join_all(HOSTILE_NAMES.map(|name| sign_in(&world, name, ALICE))).await;
        for (name, (status, answer)) in HOSTILE_NAMES.iter().zip(answers) {
            assert_eq!((status, &answer["error"]["code"]), (401, &json!("wrong_password")), "{name:?}");
        }
        assert_eq!(asked(&slapd.log()), before, "the directory was not even asked");
        assert_eq!(sign_in(&world, "alice", ALICE).await.0, 200);
    }
}

#[tokio::test]
async fn a_password_that_is_none_is_never_sent() {
    let slapd = slapd();
    let long = "x".repeat(1025);
    for lines in [SEARCH, TEMPLATE] {
        let world = slapd.world(lines).await;
        let none = [
            "",
            " ",
            "\t\n",
            "\u{a0}",
            "\0",
            "\0\0\0",
            " \0",
            &format!("{ALICE}\0"),
            &format!("\0{ALICE}"),
            &long,
        ];
        let answers =
            futures::future::join_all(none.map(|password| sign_in(&world, "alice", password))).await;
        assert!(answers.iter().all(|(status, _)| *status == 401), "{answers:?}");
        assert!(!slapd.log().contains("BIND dn=\"uid=alice"), "{}", slapd.log());
    }
}

/// A name nobody has costs the directory nothing, a wrong password the work that makes guessing slow.
/// Too little to tell names apart over a network.
const UNSEEN: Duration = Duration::from_millis(60);

#[tokio::test]
async fn the_time_of_a_refusal_does_not_say_whether_the_name_exists() {
    let slapd = slapd();
    let limits = "wrong_passwords_per_minute = 1000".to_owned();
    for lines in [SEARCH, TEMPLATE] {
        let directory = lines.replace("HOST", &slapd.host).replace("FOLDER", &slapd.file(""));
        let world =
            World::with(Setup { directory: Some(directory), limits: limits.clone(), ..Setup::default() })
                .await;
        let (right, _) = sign_in(&world, "slow", "slow-password").await;
        assert_eq!(right, 200, "{}", world.log());
        // A machine that is busy takes its time over this and that: what tells names apart does so every time.
        let mut spread = Duration::MAX;
        for _ in 0..5 {
            spread = spread.min(spread_of_refusals(&world).await);
            if spread < UNSEEN {
                break;
            }
        }
        assert!(spread < UNSEEN, "{spread:?}");
    }
}

/// Between the medians of refusals for a wrong password, an unknown name and what is no name.
async fn spread_of_refusals(world: &World) -> Duration {
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..7 {
        for (name, times) in ["slow", "nobody", "no name"].into_iter().zip(&mut times) {
            let (begun, refused) = (Instant::now(), sign_in(world, name, "guess").await.0);
            // On a machine that is busy the work may take longer than the directory is waited for.
            if refused != 503 {
                assert_eq!(refused, 401);
                times.push(begun.elapsed());
            }
        }
    }
    assert!(times.iter().all(|times| times.len() > 3), "{times:?}");
    let medians = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    eprintln!("medians of refusals: wrong password, unknown name, no name: {medians:?}");
    assert!(medians.iter().all(|median| *median >= Duration::from_millis(500)), "{medians:?}");
    let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
    *most - *least
}

async fn guess_from(world: &World, user: &str, address: &str) -> (u16, String) {
    let body = json!({"username": user, "password": "guess", "address": address});
    let answer = world.post("/auth", body).await;
    (answer.status, answer.message())
}

#[tokio::test]
async fn guessing_is_slowed_down_for_the_address_it_comes_from() {
    let limits = "wrong_passwords_per_minute_per_address = 20".to_owned();
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let guesses = (0..20).map(|number| {
        let address = format!("2001:db8:1:1::{number:x}");
        let world = &world;
        async move { guess_from(world, &format!("user{number}"), &address).await }
    });
    let answers = futures::future::join_all(guesses).await;
    assert!(answers.iter().all(|(status, _)| *status == 401), "{answers:?}");
    // Another name and another address of the same network.
    let (status, message) = guess_from(&world, "alice", "2001:db8:1:1:ffff::1").await;
    assert_eq!(status, 429);
    assert!(message.contains("from this address"), "{message}");
    // What is no name counts as well, and the right password does not help.
    assert_eq!(guess_from(&world, "no name", "2001:db8:1:1::1").await.0, 429);
    let right =
        json!({"username": "alice", "password": world.password("alice"), "address": "2001:db8:1:1::1"});
    assert_eq!(world.post("/auth", right.clone()).await.status, 429);
    // Everybody else is not kept out.
    assert_eq!(guess_from(&world, "alice", "2001:db8:1:2::1").await.0, 401);
    world.sign_in("alice").await;
    let log = world.log();
    assert!(
        log.contains("address=\"2001:db8:1:1::1\"")
            && log.contains("too many wrong passwords from this address"),
        "{log}"
    );
}

/// An institute behind one address, where somebody guesses: those who have been here before are let in.
#[tokio::test]
async fn one_who_guesses_does_not_keep_an_institute_out() {
    let limits = "wrong_passwords_per_minute_per_address = 6\nwrong_passwords_per_minute = 4".to_owned();
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let right = async |user: &str| {
        let body = json!({"username": user, "password": world.password(user), "address": "192.0.2.7"});
        world.post("/auth", body).await.status
    };
    assert_eq!(right("alice").await, 200);
    for number in 0..6 {
        assert_eq!(guess_from(&world, &format!("user{number}"), "192.0.2.7").await.0, 401);
    }
    assert_eq!(guess_from(&world, "user7", "192.0.2.7").await.0, 429);
    assert_eq!(right("bob").await, 429, "who has never been here looks like one who guesses");
    assert_eq!(right("alice").await, 200);
    // Guesses at those who have been here are counted as well, for each and for all.
    for _ in 0..4 {
        assert_eq!(guess_from(&world, "alice", "192.0.2.7").await.0, 401);
    }
    let (status, message) = guess_from(&world, "alice", "192.0.2.7").await;
    assert!(status == 429 && message.contains("for this name"), "{status} {message}");
}

/// Whoever has an account cannot clear the counts of an address with it, nor those of another name.
#[tokio::test]
async fn signing_in_oneself_does_not_pay_for_guesses_at_others() {
    let limits = "wrong_passwords_per_minute_per_address = 6\nwrong_passwords_per_minute = 4".to_owned();
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let mut refused = 0;
    for _ in 0..8 {
        let own = json!({"username": "bob", "password": world.password("bob"), "address": "192.0.2.7"});
        if refused == 0 {
            assert_eq!(world.post("/auth", own).await.status, 200);
        }
        refused += usize::from(guess_from(&world, "alice", "192.0.2.7").await.0 == 429);
    }
    assert_eq!(refused, 4, "four guesses at alice, and no more");
}

#[tokio::test]
async fn each_sign_in_is_a_line_of_the_audit_log_that_nobody_else_can_write() {
    let world = World::new().await;
    let right = json!({"username": "alice", "password": world.password("alice"), "address": "192.0.2.7"});
    assert_eq!(world.post("/auth", right).await.status, 200);
    let forged = "2026-01-01T00:00:00Z  INFO audit: signed in user=root";
    let bodies = [
        json!({"username": format!("alice\n{forged}"), "password": "guess", "address": "192.0.2.8"}),
        json!({"username": "alice", "password": format!("x\n{forged}"), "address": "192.0.2.8"}),
        json!({"username": format!("alice\u{2028}{forged}\u{1b}[2J"), "password": "guess", "address": "192.0.2.8"}),
    ];
    for body in bodies {
        assert_eq!(world.post("/auth", body).await.status, 401);
    }
    // What is no address is no request.
    for address in ["192.0.2.8\nx", "192.0.2.8, 10.0.0.1", "localhost", ""] {
        let body = json!({"username": "alice", "password": "guess", "address": address});
        assert_eq!(world.post("/auth", body).await.status, 400, "{address:?}");
    }
    let get = world.get("/users/alice%0Aroot/standing").await;
    assert_eq!(get.code(), "no_such_user");
    let log = world.log();
    assert!(!log.contains("user=root") && !log.contains('\u{1b}'), "{log}");
    let audit: Vec<&str> = log.lines().filter(|line| line.contains("audit")).collect();
    let granted: Vec<_> = audit.iter().filter(|line| line.contains("signed in")).collect();
    assert_eq!(granted.len(), 1, "{audit:?}");
    for part in ["user=\"alice\"", "address=\"192.0.2.7\"", "groups=[\"ocean\", \"users\"]", "id=\""] {
        assert!(granted[0].contains(part), "{part} is not in {}", granted[0]);
    }
    let refused: Vec<_> = audit.iter().filter(|line| line.contains("sign-in refused")).collect();
    assert_eq!(refused.len(), 3, "{audit:?}");
    assert!(refused.iter().all(|line| line.contains("outcome=\"wrong_password\"")
        && line.contains("192.0.2.8")
        && line.contains("id=\"")));
}
