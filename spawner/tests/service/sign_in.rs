//! Who may sign in, and what people and programs are told when they may not.

use std::time::{Duration, Instant};

use crate::common::{Setup, World};
use serde_json::json;

#[tokio::test]
async fn the_right_password_gives_name_groups_and_rank() {
    let world = World::new().await;
    assert_eq!(
        world.sign_in("alice").await,
        json!({"name": "alice", "groups": ["ocean", "users"], "admin": false})
    );
    assert_eq!(world.sign_in("carol").await["admin"], true);
    let loud = world.post("/auth", json!({"username": " Alice ", "password": world.password("alice")})).await;
    assert_eq!(loud.json()["name"], "alice", "accounts have lower-case names");
}

#[tokio::test]
async fn everything_wrong_about_a_password_sounds_the_same() {
    let world = World::new().await;
    let password = world.password("alice");
    let long = "x".repeat(5000);
    let mut answers = Vec::new();
    for (user, password) in [
        ("alice", "guess"),
        ("nobody", "guess"),
        // A bind without a password would succeed, as nobody.
        ("alice", ""),
        ("", ""),
        ("*", &*password),
        ("alice)(uid=*", &*password),
        ("alice,ou=people", &*password),
        ("uid=alice,ou=people,dc=nuna,dc=local", &*password),
        ("alice\0", &*password),
        ("alice", &*long),
        (&*long, &*password),
    ] {
        let answer = world.post("/auth", json!({"username": user, "password": password})).await;
        assert_eq!(
            (answer.status, answer.code()),
            (401, "wrong_password".to_owned()),
            "{user:?}: {}",
            answer.text
        );
        answers.push(answer.message());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let log = world.log();
    assert!(log.contains("sign-in refused") && !log.contains("guess") && !log.contains(&password), "{log}");
}

#[tokio::test]
async fn guessing_is_slowed_down_for_the_name_that_is_guessed() {
    let world = World::new().await;
    let guess = async |user: &str| world.post("/auth", json!({"username": user, "password": "guess"})).await;
    for _ in 0..10 {
        assert_eq!(guess("alice").await.code(), "wrong_password");
    }
    let refused = guess("Alice ").await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "too_many_attempts"), "{}", refused.text);
    // Who does not know the password learns nothing more from the right one.
    let right = world.post("/auth", json!({"username": "alice", "password": world.password("alice")})).await;
    assert_eq!(right.code(), "too_many_attempts");
    world.sign_in("bob").await;
}

#[tokio::test]
async fn a_request_that_is_no_sign_in_is_said_to_be_none() {
    let world = World::new().await;
    let answer = world.post("/auth", json!({"username": "alice"})).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_request"));
    let answer = world.post("/auth", json!({"username": "alice", "password": {"x": "hidden"}})).await;
    assert_eq!(answer.status, 400);
    assert!(!answer.text.contains("hidden"));
    let huge = world.post_large("/auth", json!({"username": "alice", "password": "x".repeat(2 << 20)})).await;
    assert!(huge.is_none_or(|answer| answer.status == 413));
    assert_eq!(world.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_directory_that_is_down_is_not_a_wrong_password() {
    let mut world = World::new().await;
    world.kill("directory");
    let answer = world.post("/auth", json!({"username": "alice", "password": "x"})).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "directory_unreachable"));
    assert!(
        answer.json()["error"]["request"].as_str().is_some_and(|id| world.log().contains(id)),
        "{}",
        answer.text
    );
}

/// Servers that are down, that accept and say nothing, and that go away in the middle: the next one is asked.
#[tokio::test]
async fn the_next_server_is_asked_when_one_does_not_answer() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silent_at, closing_at) = (silent.local_addr().unwrap(), closing.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            drop(closing.accept().await);
        }
    });
    let mut world = World::new().await;
    let real = std::fs::read_to_string(world.path("directory.address")).unwrap();
    let config = world.path("spawner.toml");
    let replace = |servers: &str| {
        let text = std::fs::read_to_string(&config).unwrap();
        let lines = text.lines().map(|line| if line.starts_with("servers = ") { servers } else { line });
        std::fs::write(&config, lines.collect::<Vec<_>>().join("\n")).unwrap();
    };
    replace(&format!(
        "servers = [\"ldap://127.0.0.1:9\", \"ldap://{closing_at}\", \"ldap://{silent_at}\", \"ldap://{}\"]",
        real.trim()
    ));
    world.kill("service");
    world.start_service().await;
    world.sign_in("alice").await;
    let warnings = || world.log().matches("did not settle a question").count();
    assert_eq!(warnings(), 3);
    world.sign_in("alice").await;
    assert_eq!(warnings(), 3, "the one that answered is asked first from now on");

    replace(&format!("servers = [\"ldap://{silent_at}\"]"));
    world.kill("service");
    world.start_service().await;
    let begun = Instant::now();
    let answer = world.post("/auth", json!({"username": "alice", "password": "x"})).await;
    assert_eq!(answer.code(), "directory_unreachable");
    // Its timeout is 1 s; a hub that hangs for a minute is what this prevents.
    assert!(begun.elapsed() < Duration::from_secs(45));
}

/// A slow directory holds up those who sign in, and nobody else.
#[tokio::test]
async fn a_paused_directory_does_not_hold_up_the_service() {
    let world = World::new().await;
    world.pause("directory", true);
    let (sign_in, health) = tokio::join!(
        world.post("/auth", json!({"username": "alice", "password": "x"})),
        world.get("/health"),
    );
    assert_eq!((sign_in.code().as_str(), health.status), ("directory_unreachable", 200));
    world.pause("directory", false);
    world.sign_in("alice").await;
}

#[tokio::test]
async fn plain_passwords_over_the_network_are_refused_before_anything_listens() {
    let world = World::new().await;
    let text = std::fs::read_to_string(world.path("spawner.toml")).unwrap();
    let lines = text
        .lines()
        .map(|line| if line.starts_with("servers") { "servers = [\"ldap://192.0.2.1\"]" } else { line });
    let path = world.path("other.toml");
    std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nuna-spawner"))
        .args(["serve", "--config", path.to_str().unwrap()])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && words.contains("unencrypted"), "{words}");
}

#[tokio::test]
async fn other_accounts_are_refused_on_the_socket() {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: another account cannot be tried here");
        return;
    }
    let world = World::with(Setup::default()).await;
    let socket = world.path("spawner.sock");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Even if the file's mode let them in.
    std::fs::set_permissions(world.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    let ask = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.settimeout(30)\ns.connect(sys.argv[1])\n\
               try:\n s.sendall(b'GET /health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n print(s.recv(100))\nexcept OSError: print(b'')\n";
    let as_nobody = |uid: &str| {
        let arguments = [
            "--reuid",
            uid,
            "--regid",
            uid,
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
            ask,
            socket.to_str().unwrap(),
        ];
        let output = std::process::Command::new("setpriv").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(as_nobody("65534"), "b''");
    assert!(as_nobody("0").contains("200 OK"));
    assert!(world.log().contains("uid=65534"), "{}", world.log());
}
