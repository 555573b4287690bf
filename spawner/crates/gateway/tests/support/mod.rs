//! A fake hub that does its side of the OAuth dance as JupyterHub does, a served gateway, and plain HTTP.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nuna_gateway::{Secret, Settings};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const PATIENCE: Duration = Duration::from_secs(60);
pub const SERVICE_TOKEN: &str = "service-api-token-0123456789";
pub const CLUSTER_TOKEN: &str = "cluster-token-0123456789abcdef0123456789abcdef";
pub const PREFIX: &str = "/services/nuna/";

/// What JupyterHub knows: tokens, and codes with the challenge they were asked for with.
#[derive(Default)]
pub struct HubState {
    /// Token to the model that `GET /user` answers.
    pub tokens: HashMap<String, serde_json::Value>,
    codes: HashMap<String, (String, String)>,
    /// Who is signed in at the hub in "the browser".
    pub browser: Option<String>,
    pub issued: usize,
    pub down: bool,
}

#[derive(Clone, Default)]
pub struct FakeHub(pub Arc<Mutex<HubState>>);

impl FakeHub {
    /// A token such as a user server has.
    pub fn add_server_token(&self, user: &str) -> String {
        let token = format!("server-token-of-{user}-{}", "x".repeat(20));
        self.add_token(&token, user, &[&format!("access:servers!server={user}/"), "users:activity"]);
        token
    }

    pub fn add_token(&self, token: &str, user: &str, scopes: &[&str]) {
        let model = serde_json::json!({"kind": "user", "name": user, "scopes": scopes, "groups": []});
        self.0.lock().unwrap().tokens.insert(token.to_owned(), model);
    }

    pub fn sign_in(&self, user: &str) {
        self.0.lock().unwrap().browser = Some(user.to_owned());
    }

    pub async fn serve(&self) -> SocketAddr {
        let router = Router::new()
            .route("/hub/api/user", get(user))
            .route("/hub/api/oauth2/authorize", get(authorize))
            .route("/hub/api/oauth2/token", post(token))
            .with_state(self.clone());
        serve(router).await
    }
}

async fn user(State(hub): State<FakeHub>, headers: HeaderMap) -> Response {
    let state = hub.0.lock().unwrap();
    if state.down {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let token = headers.get("authorization").unwrap().to_str().unwrap().strip_prefix("token ").unwrap();
    match state.tokens.get(token) {
        Some(model) => Json(model.clone()).into_response(),
        None => (StatusCode::FORBIDDEN, Json(serde_json::json!({"status": 403}))).into_response(),
    }
}

#[derive(serde::Deserialize)]
struct Authorize {
    client_id: String,
    redirect_uri: String,
    response_type: String,
    state: String,
    code_challenge: String,
    code_challenge_method: String,
}

async fn authorize(State(hub): State<FakeHub>, Query(query): Query<Authorize>) -> Response {
    let mut state = hub.0.lock().unwrap();
    // JupyterHub compares the address with the registered one as it stands.
    if query.client_id != "service-nuna"
        || query.redirect_uri != "/services/nuna/oauth_callback"
        || query.response_type != "code"
        || query.code_challenge_method != "S256"
    {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let Some(user) = state.browser.clone() else {
        return (StatusCode::FOUND, [("location", "/hub/login?next=...")]).into_response();
    };
    let code = format!("code-{}", state.codes.len());
    state.codes.insert(code.clone(), (user, query.code_challenge));
    let location = format!("{}?code={code}&state={}", query.redirect_uri, query.state);
    (StatusCode::FOUND, [("location", location)]).into_response()
}

async fn token(State(hub): State<FakeHub>, Form(form): Form<HashMap<String, String>>) -> Response {
    let mut state = hub.0.lock().unwrap();
    let refuse =
        || (StatusCode::BAD_REQUEST, Json(serde_json::json!({"error": "invalid_grant"}))).into_response();
    let is_client = form["client_id"] == "service-nuna" && form["client_secret"] == SERVICE_TOKEN;
    if !is_client
        || form["grant_type"] != "authorization_code"
        || form["redirect_uri"] != "/services/nuna/oauth_callback"
    {
        return refuse();
    }
    // A code is good once.
    let Some((user, challenge)) = state.codes.remove(&form["code"]) else { return refuse() };
    if URL_SAFE_NO_PAD.encode(Sha256::digest(form["code_verifier"].as_bytes())) != challenge {
        return refuse();
    }
    state.issued += 1;
    let token = format!("oauth-token-{}-of-{user}", state.issued);
    let scopes = ["access:services!service=nuna", &format!("read:users:name!user={user}")];
    let model = serde_json::json!({"kind": "user", "name": user, "scopes": scopes});
    state.tokens.insert(token.clone(), model);
    Json(serde_json::json!({"access_token": token, "token_type": "Bearer", "expires_in": 1209600}))
        .into_response()
}

pub async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).await.unwrap();
    });
    address
}

pub struct World {
    pub hub: FakeHub,
    pub hub_address: SocketAddr,
    pub gateway: SocketAddr,
}

pub async fn world() -> World {
    world_with(|_| ()).await
}

pub async fn world_with(change: impl FnOnce(&mut Settings)) -> World {
    let hub = FakeHub::default();
    let hub_address = hub.serve().await;
    let api = format!("http://{hub_address}/hub/api");
    let mut settings = Settings::new(api, Secret::new(SERVICE_TOKEN), "service-nuna");
    settings.own_ports = vec![hub_address.port()];
    change(&mut settings);
    let gateway = serve(nuna_gateway::router(settings).unwrap()).await;
    World { hub, hub_address, gateway }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    pub fn headers<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.head.lines().filter_map(move |line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).expect(&self.body);
        body["error"]["code"].as_str().unwrap().to_owned()
    }
}

impl World {
    pub async fn get(&self, path: &str, headers: &str) -> Answer {
        self.send("GET", path, headers, "").await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        send(self.gateway, method, path, headers, body).await
    }

    /// The whole dance, as a browser does it; the Cookie header that it ends with.
    pub async fn sign_in(&self, user: &str) -> String {
        self.hub.sign_in(user);
        let (cookie, next) = self.dance("login").await;
        assert_eq!(next, PREFIX);
        cookie
    }

    pub async fn dance(&self, login: &str) -> (String, String) {
        let begun = self.get(&format!("{PREFIX}{login}"), "").await;
        assert_eq!(begun.status, 302, "{begun:?}");
        let state = begun.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let authorized = send(self.hub_address, "GET", begun.header("location").unwrap(), "", "").await;
        assert_eq!(authorized.status, 302, "{authorized:?}");
        let callback = authorized.header("location").unwrap();
        let done = self.get(callback, &format!("Cookie: {state}\r\n")).await;
        assert_eq!(done.status, 302, "{done:?}");
        let session = done.headers("set-cookie").find(|c| c.starts_with("service-nuna-session=")).unwrap();
        assert!(session.contains("; HttpOnly") && session.contains("; SameSite=Lax"), "{session}");
        assert!(session.contains("; Path=/services/nuna/"), "user servers never get it: {session}");
        let cookie = format!("Cookie: {}\r\n", session.split(';').next().unwrap());
        (cookie, done.header("location").unwrap().to_owned())
    }

    pub async fn register(&self, token: &str, dashboard: &str, extra: &str) -> Answer {
        self.register_as(token, "local-1", dashboard, CLUSTER_TOKEN, extra).await
    }

    pub async fn register_as(
        &self,
        hub_token: &str,
        name: &str,
        dashboard: &str,
        token: &str,
        extra: &str,
    ) -> Answer {
        let body = serde_json::json!({
            "name": name, "dashboard": dashboard, "token": token,
            "started": "2026-01-31T12:00:00Z", "origin": "kernel-7",
        });
        let headers =
            format!("Authorization: token {hub_token}\r\nContent-Type: application/json\r\n{extra}");
        self.send("POST", "/services/nuna/api/clusters", &headers, &body.to_string()).await
    }
}

pub async fn send(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}{length}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or("0").parse().unwrap();
    let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunk(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

fn unchunk(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 || size > rest.len() {
            break;
        }
        body.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
    }
    body
}

/// A dashboard that does whatever its owner wrote: it proves its identity, and its answers carry what must not
/// reach a browser.
pub async fn odd_dashboard(token: &'static str) -> (SocketAddr, Arc<Mutex<Vec<HeaderMap>>>) {
    let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let record = seen.clone();
    let router = Router::new()
        .route(
            "/api/identity",
            get(move |Query(query): Query<HashMap<String, String>>| async move {
                use hmac::{Hmac, Mac};
                let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(token.as_bytes()).unwrap();
                mac.update(&hex::decode(&query["nonce"]).unwrap());
                hex::encode(mac.finalize().into_bytes())
            }),
        )
        .route("/api/cluster", get(|| async { StatusCode::UNAUTHORIZED }))
        .route(
            "/api/failures",
            get(|| async { (StatusCode::FOUND, [("location", "https://evil.example/")]) }),
        )
        .route(
            "/api/tasks",
            get(|| async {
                // Many small pieces without an end.
                let pieces = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 1 << 20]));
                axum::body::Body::from_stream(pieces)
            }),
        )
        .route(
            "/",
            get(move |headers: HeaderMap| async move {
                record.lock().unwrap().push(headers);
                [
                    ("set-cookie", "jupyterhub-session-id=stolen; Path=/"),
                    ("content-type", "image/svg+xml"),
                    ("content-security-policy", "frame-ancestors *"),
                    ("access-control-allow-origin", "*"),
                    ("location", "https://evil.example/"),
                    ("x-odd", "1"),
                ]
                .into_response_with("hello")
            }),
        );
    (serve(router).await, seen)
}

trait WithBody {
    fn into_response_with(self, body: &'static str) -> Response;
}

impl<const N: usize> WithBody for [(&'static str, &'static str); N] {
    fn into_response_with(self, body: &'static str) -> Response {
        (self, body).into_response()
    }
}
