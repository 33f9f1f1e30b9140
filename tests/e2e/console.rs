//! The console on the public listener: who gets what of it. What people see of it is tested in a browser (tests/node).

use crate::harness::*;

const ADMIN_TOKEN: &str = "a-token-for-administrators-0123456789abcdef";

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn without_being_asked_for_there_is_no_console() {
    let hub = Hub::start(&["--admin-token", ADMIN_TOKEN]);
    for path in ["/console", "/console/", "/console/console.js", "/console/api/stats"] {
        assert_eq!(hub.request("GET", path, &[("Authorization", &bearer(ADMIN_TOKEN))]).status, 404, "{path}");
    }
}

#[test]
fn the_page_is_for_everybody_under_a_strict_policy() {
    let hub = Hub::start(&["--console"]);
    let moved = hub.request("GET", "/console", &[]);
    assert_eq!((moved.status, moved.header("location")), (308, Some("/console/")));
    for (path, content_type) in [
        ("/console/", "text/html; charset=utf-8"),
        ("/console/console.css", "text/css; charset=utf-8"),
        ("/console/console.js", "text/javascript; charset=utf-8"),
    ] {
        let file = hub.request("GET", path, &[]);
        assert_eq!((file.status, file.header("content-type")), (200, Some(content_type)), "{path}");
        let policy = file.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(file.header("access-control-allow-origin"), None);
    }
    assert!(!hub.request("GET", "/", &[]).text().contains("/console/"), "only development leads there");
    assert!(hub.request("HEAD", "/console/", &[]).body.is_empty());
    assert_eq!(hub.request("GET", "/console/page.html", &[]).status, 404);
    assert_eq!(hub.request("POST", "/console/", &[]).status, 405);
}

#[test]
fn its_numbers_are_for_administrators() {
    let hub = Hub::start(&["--console", "--admin-token", ADMIN_TOKEN]);
    let good = bearer(ADMIN_TOKEN);
    let status = |path: &str, fields: &[(&str, &str)]| hub.request("GET", path, fields).status;
    for path in ["stats", "connections", "topics", "slow", "explain?action=publish"] {
        let path = format!("/console/api/{path}");
        let fields = [("Authorization", good.as_str()), ("X-Token", "a.b.c")];
        assert_eq!(status(&path, &fields), 200, "{path}");
        assert_eq!(status(&path, &fields[1..]), 401, "{path} without a token");
        assert_eq!(status(&path, &[("Authorization", &good[..good.len() - 1])]), 401, "{path} with another token");
    }
    let subscriber = bearer(&Token::granting(&["subscribe"], &["*"]).sign(SUBSCRIBER_KEY));
    assert_eq!(status("/console/api/stats", &[("Authorization", &subscriber)]), 401);
    for path in ["/console/api/denied", "/console/api/metrics", "/console/api/reload", "/console/api/", "/console/api"]
    {
        assert_eq!(status(path, &[("Authorization", &good)]), 404, "{path}");
    }
}

#[test]
fn it_changes_nothing() {
    let hub = Hub::start(&["--console", "--admin-token", ADMIN_TOKEN]);
    let fields = [("Authorization", bearer(ADMIN_TOKEN))];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(hub.request("DELETE", "/console/api/connections?sub=somebody", &fields).status, 405);
    assert_eq!(hub.request("POST", "/console/api/stats", &fields).status, 405);
}

#[test]
fn without_an_admin_token_nobody_is_an_administrator() {
    let hub = Hub::start(&["--console"]);
    for fields in [&[][..], &[("Authorization", "Bearer ")], &[("Authorization", "Bearer none")]] {
        let refused = hub.request("GET", "/console/api/stats", fields);
        assert_eq!(refused.status, 403);
        assert!(refused.text().contains("--admin-token"), "{refused:?}");
    }
}

#[test]
fn in_development_mode_this_machine_alone_sees_the_numbers_and_no_other_page() {
    let hub = Launch::serve().args(&["--dev"]).start();
    let host = ("Host", "localhost");
    let get = |fields: &[(&str, &str)]| hub.request("GET", "/console/api/stats", fields);
    let numbers = get(&[host]);
    assert_eq!((numbers.status, numbers.header("access-control-allow-origin")), (200, None));
    assert_eq!(get(&[host, ("Sec-Fetch-Site", "same-origin")]).status, 200);
    assert_eq!(get(&[host, ("Sec-Fetch-Site", "cross-site")]).status, 403);
    assert_eq!(get(&[host, ("Origin", "http://localhost:5173")]).status, 403);
    assert_eq!(get(&[("Host", "evil.example")]).status, 421);
    assert!(hub.request("GET", "/", &[host]).text().contains("href=\"/console/\""));
    let off = Launch::serve().args(&["--dev", "--console=false"]).start();
    assert_eq!(off.request("GET", "/console/", &[host]).status, 404);
    assert!(!off.request("GET", "/", &[host]).text().contains("/console/"));
}

#[test]
fn the_hub_s_own_path_comes_first() {
    let hub = Launch::serve().args(&["--dev", "--resource", "https://hub.example/console"]).start();
    let mut client = hub.connect();
    client.request("GET", "/console?match=urn:a", &[("Host", "localhost")], None);
    assert!(client.stream().is_ok());
    let args = ["--anonymous", "--console", "--resource", "https://hub.example/console/hub"];
    let said = Launch::serve().args(&args).refused();
    assert!(said.contains("--resource"), "{said}");
}
