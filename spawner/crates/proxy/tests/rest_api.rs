//! The REST API, as JupyterHub's proxy class uses it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use common::{Proxy, echo, exchange};

#[test]
fn routes_are_added_listed_and_removed() {
    let proxy = Proxy::start(&["--default-target", "http://127.0.0.1:1"]);
    let body = r#"{"user": "alice", "server_name": "", "target": "http://127.0.0.1:9", "jupyterhub": true}"#;
    assert_eq!(proxy.api("POST", "/api/routes/user/al%20ice", body).status, 201);
    let routes = proxy.api("GET", "/api/routes", "").json();
    assert_eq!(routes["/"]["target"], "http://127.0.0.1:1");
    let route = &routes["/user/al ice"];
    assert_eq!((&route["user"], &route["jupyterhub"]), (&"alice".into(), &true.into()));
    let stamp = route["last_activity"].as_str().unwrap();
    assert!(stamp.len() == 24 && stamp.ends_with('Z'), "{stamp}");
    assert_eq!(proxy.api("GET", "/api/routes/user/al%20ice/", "").json()["user"], "alice");
    assert_eq!(proxy.api("GET", "/api/routes/user/bob", "").status, 404);
    assert_eq!(proxy.api("DELETE", "/api/routes/user/al%20ice", "").status, 204);
    assert_eq!(proxy.api("DELETE", "/api/routes/user/al%20ice", "").status, 404);
    assert_eq!(proxy.api("GET", "/api/routes/", "").json().as_object().unwrap().len(), 1);
}

#[test]
fn requests_without_the_token_are_refused() {
    let proxy = Proxy::start(&[]);
    for header in [
        "",
        "Authorization: token wrong\r\n",
        "Authorization: Bearer secret-token\r\n",
        "Authorization: token\r\n",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(proxy.api_as(method, "/api/routes", "{}", header).status, 403, "{method} {header}");
        }
    }
    assert_eq!(proxy.api("PUT", "/api/routes", "").status, 405);
    assert_eq!(proxy.api("GET", "/elsewhere", "").status, 404);
    // The API is not on the public side.
    assert_eq!(
        exchange(proxy.public, "GET /api/routes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").status,
        404
    );
}

#[test]
fn bad_bodies_are_explained() {
    let proxy = Proxy::start(&[]);
    for (body, words) in [
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        ("{}", "Must specify 'target' as string"),
        (r#"{"target": 7}"#, "Must specify 'target' as string"),
        (r#"{"target": "nonsense"}"#, "has no http://"),
    ] {
        let answer = proxy.api("POST", "/api/routes/x", body);
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains(words), "{body} gave {}", answer.body);
    }
}

#[test]
fn inactive_since_filters_by_activity() {
    let proxy = Proxy::start(&[]);
    let target = format!("http://{}", echo());
    proxy.route("/a", &target);
    let count = |stamp: &str| {
        proxy.api("GET", &format!("/api/routes?inactive_since={stamp}"), "").json().as_object().unwrap().len()
    };
    assert_eq!(count("2001-01-01T00:00:00Z"), 0);
    assert_eq!(count("2999-01-01T00:00:00.000Z"), 1);
    assert_eq!(proxy.api("GET", "/api/routes?inactive_since=never", "").status, 400);
}

#[test]
fn successful_requests_are_activity_and_failures_are_not() {
    let proxy = Proxy::start(&[]);
    proxy.route("/a", &format!("http://{}", echo()));
    let stamp = || proxy.api("GET", "/api/routes/a", "").json()["last_activity"].as_str().unwrap().to_owned();
    let before = stamp();
    // Stamps are milliseconds; wait until the clock shows another one.
    let started = std::time::Instant::now();
    while started.elapsed().as_millis() < 3 {
        std::thread::yield_now();
    }
    assert_eq!(proxy.get("/a/status/404").status, 404);
    assert_eq!(proxy.get("/a/redirect/x").status, 302);
    assert_eq!(stamp(), before);
    assert_eq!(proxy.get("/a/x").status, 200);
    assert!(stamp() > before);
}

#[test]
fn a_thousand_routes_lead_to_their_own_targets() {
    let proxy = Proxy::start(&[]);
    let target = echo();
    for index in 0..1000 {
        proxy.route(&format!("/user/u{index}"), &format!("http://{target}/t{index}"));
    }
    assert_eq!(proxy.api("GET", "/api/routes", "").json().as_object().unwrap().len(), 1000);
    for index in [0, 1, 10, 100, 999] {
        let answer = proxy.get(&format!("/user/u{index}/lab"));
        assert!(
            answer.body.starts_with(&format!("GET /t{index}/user/u{index}/lab HTTP/1.1\r\n")),
            "{}",
            answer.body
        );
    }
}
