//! How others find the hub and learn how to get in: `Link`, the protected-resource metadata (RFC 9728), challenges.

use crate::harness::*;
use serde_json::json;

const METADATA: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";
const METADATA_URL: &str = "https://hub.example/.well-known/oauth-protected-resource/.well-known/mercure";
const LINK: &str = "</.well-known/mercure>; rel=\"mercure\"";
const LISTED: &str = "https://app.example";

fn document(hub: &Hub) -> serde_json::Value {
    let answer = hub.request("GET", METADATA, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[test]
fn the_hubs_own_answers_link_to_the_hub() {
    let hub = Hub::anonymous();
    assert_eq!(hub.subscribe(&[("match", "urn:a")]).head.header("link"), Some(LINK));
    assert_eq!(hub.post(&publisher(), &[("topic", "urn:a")]).header("link"), Some(LINK));
    assert_eq!(hub.post("bad", &[("topic", "urn:a")]).header("link"), Some(LINK), "a refusal");
    for (method, target) in [("HEAD", query(&[("match", "urn:a")])), ("GET", HUB.to_owned()), ("PUT", HUB.to_owned())] {
        assert_eq!(hub.request(method, &target, &[]).header("link"), Some(LINK), "{method} {target}");
    }
    for method in ["GET", "HEAD"] {
        assert_eq!(hub.request(method, "/", &[]).header("link"), Some(LINK), "{method} /");
    }
    assert_eq!(hub.request("GET", "/nowhere", &[]).header("link"), None);
}

#[test]
fn the_metadata_says_how_to_get_in() {
    let expected = json!({
        "resource": RESOURCE,
        "bearer_methods_supported": ["header"],
        "authorization_details_types_supported": ["https://mercure.rocks/authorization-detail"],
        "mercure_cookie": "__Secure-mercure_access_token",
    });
    assert_eq!(document(&Hub::start(&[])), expected);
    let named = document(&Hub::start(&["--authorization-server", "--cookie-name", "own"]));
    assert_eq!(named["authorization_servers"], json!([ISSUER]));
    assert_eq!(named["mercure_cookie"], json!("own"));
    assert_eq!(named.get("mercure_subscriptions"), None, "off");
    assert_eq!(document(&Hub::start(&["--subscriptions"]))["mercure_subscriptions"], json!(true));
}

#[test]
fn only_the_issuers_that_want_it_are_named_as_authorization_servers() {
    let launch = Launch::serve();
    let table = |id: &str, more: &str| {
        format!("[[issuer]]\nid = \"{id}\"\n{more}publisher = {{ key = \"{PUBLISHER_KEY}\" }}\n")
    };
    let text = format!(
        "resource = \"{RESOURCE}\"\n{}{}{}",
        table("https://a.example", ""),
        table("https://b.example", "authorization_server = true\n"),
        table("https://c.example", "authorization_server = false\n"),
    );
    let config = launch.file("cinnabar.toml", &text);
    assert_eq!(
        document(&launch.args(&["--config", &config]).start())["authorization_servers"],
        json!(["https://b.example"])
    );
    let launch = Launch::serve();
    let config = launch.file("cinnabar.toml", &text);
    let said = launch.args(&["--config", &config, "--authorization-server"]).refused();
    assert!(said.contains("authorization_server = true"), "{said}");
}

#[test]
fn the_metadata_needs_no_token_and_may_be_kept() {
    let hub = Hub::start(&["--cors-origin", LISTED]);
    let get = hub.request("GET", METADATA, &[("Origin", LISTED)]);
    assert_eq!(get.status, 200);
    assert_eq!(get.header("cache-control"), Some("public, max-age=3600"));
    assert_eq!(get.header("access-control-allow-origin"), Some(LISTED));
    assert_eq!(get.list("vary"), ["origin"], "a cache must not give it to another origin");
    let foreign = hub.request("GET", METADATA, &[("Origin", "https://evil.example")]);
    assert_eq!(foreign.header("access-control-allow-origin"), None);
    assert_eq!(foreign.list("vary"), ["origin"]);
    let head = hub.request("HEAD", METADATA, &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));
    let options = hub.request("OPTIONS", METADATA, &[("Origin", LISTED), ("Access-Control-Request-Method", "GET")]);
    assert_eq!(options.status, 204);
    assert_eq!(options.list("allow"), ["get", "head", "options"]);
    assert_eq!(options.header("access-control-allow-origin"), Some(LISTED));
    let refused = hub.request("POST", METADATA, &[]);
    assert_eq!((refused.status, refused.list("allow")), (405, options.list("allow")));
    assert_eq!(hub.request("GET", METADATA, &[("Authorization", "Bearer bad")]).status, 200, "no token is looked at");
}

#[test]
fn a_hub_without_tokens_has_no_metadata() {
    let hub = Launch::serve().args(&["--anonymous", "--resource", RESOURCE]).start();
    assert_eq!(hub.request("GET", METADATA, &[]).status, 404);
    let refused = hub.post_with(&[], &[("topic", "urn:a")]);
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
}

#[test]
fn every_challenge_names_the_metadata() {
    let hub = Hub::start(&[]);
    let by_cookie = [("Cookie", "__Secure-mercure_access_token=x")];
    let cases = [
        ("nothing presented", hub.post_with(&[], &[("topic", "urn:a")]), 401, None),
        ("subscribing, too", hub.request("GET", &query(&[("match", "a")]), &[]), 401, None),
        ("asking for a head", hub.request("HEAD", &query(&[("match", "a")]), &[]), 401, None),
        ("a bad token", hub.post("bad", &[("topic", "urn:a")]), 401, Some("invalid_token")),
        ("a grant is missing", hub.post(&publisher_of(&["b"]), &[("topic", "a")]), 403, Some("insufficient_scope")),
        ("malformed", hub.post_with(&[("Authorization", "Basic x")], &[("topic", "a")]), 400, Some("invalid_request")),
        ("a bad cookie", hub.post_with(&by_cookie, &[("topic", "a")]), 401, Some("invalid_token")),
    ];
    for (name, answer, status, error) in cases {
        assert_eq!(answer.status, status, "{name}");
        let error = error.map(|error| format!("error=\"{error}\", ")).unwrap_or_default();
        let expected = format!("Bearer {error}resource_metadata=\"{METADATA_URL}\"");
        assert_eq!(answer.header("www-authenticate"), Some(expected.as_str()), "{name}");
    }
    let bad = hub.request("GET", HUB, &[("Authorization", &format!("Bearer {}", subscriber()))]);
    assert_eq!((bad.status, bad.header("www-authenticate")), (400, None), "a token would not help");
}

#[test]
fn everything_follows_the_path_of_the_resource() {
    let resource = "https://hub.example/live/events";
    let hub = Launch::serve()
        .args(&["--resource", resource, "--issuer", ISSUER, "--publisher-jwt-key", PUBLISHER_KEY, "--anonymous"])
        .start();
    assert_eq!(hub.request("GET", METADATA, &[]).status, 404);
    let metadata = hub.request("GET", "/.well-known/oauth-protected-resource/live/events", &[]);
    let document: serde_json::Value = serde_json::from_slice(&metadata.body).expect("JSON");
    assert_eq!(document["resource"], json!(resource));
    assert_eq!(hub.request("GET", "/", &[]).header("link"), Some("</live/events>; rel=\"mercure\""));
    let token = Token::granting(&["publish"], &["*"]).claim("aud", json!(resource)).sign(PUBLISHER_KEY);
    let publish = |topic: &str| {
        let mut client = hub.connect();
        let fields =
            [("Authorization", &*format!("Bearer {token}")), ("Content-Type", "application/x-www-form-urlencoded")];
        client.request("POST", "/live/events", &fields, Some(form(&[("topic", topic)]).as_bytes()));
        client.response("POST")
    };
    for (topic, status) in
        [("/live/events/x", 400), ("https://any/live/events", 400), ("/.well-known/mercure/x", 200), ("/live/x", 200)]
    {
        assert_eq!(publish(topic).status, status, "{topic}");
    }
    let challenge = hub.request("POST", "/live/events", &[]);
    assert_eq!(
        challenge.header("www-authenticate"),
        Some("Bearer resource_metadata=\"https://hub.example/.well-known/oauth-protected-resource/live/events\"")
    );
}
