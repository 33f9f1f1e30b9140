//! Key sets: keys that an issuer publishes, replaces and withdraws while the hub runs.

use crate::harness::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Instant;

fn publish(hub: &Hub, token: &str) -> u16 {
    hub.post(token, &[("topic", "urn:a"), ("data", "x")]).status
}

/// A hub whose issuer has its keys at this URL, for both roles.
fn launch(url: &str) -> Launch {
    Launch::serve().args(&["--resource", RESOURCE, "--issuer", ISSUER]).args(&[
        "--publisher-jwks-url",
        url,
        "--subscriber-jwks-url",
        url,
    ])
}

fn says(hub: &Hub, words: &str) {
    eventually(words, || hub.log().contains(words));
}

/// Reloads, and waits until that is done.
fn reload(hub: &Hub) {
    let done = |hub: &Hub| hub.log().matches("the configuration was reloaded").count();
    let before = done(hub);
    signal(hub.pid(), "HUP");
    eventually("a reload", || done(hub) > before);
}

#[test]
fn a_set_is_fetched_before_the_hub_is_ready_and_once_for_both_roles() {
    let key = IssuerKey::new("a");
    let server = KeyServer::start(&[&key]);
    let hub = launch(&server.url()).start();
    assert_eq!(server.requests(), 1);
    let mut stream = hub.subscribe_as(&key.token(), &[("match", "urn:a")]);
    assert_eq!(publish(&hub, &key.token()), 200);
    assert_eq!(stream.data(), "x");
}

#[test]
fn a_set_in_the_file_of_the_configuration_belongs_to_one_issuer_and_role() {
    let (a, b) = (IssuerKey::new("a"), IssuerKey::new("b"));
    let server = KeyServer::start(&[&a]);
    let launch = Launch::serve();
    let set = launch.file("keys.json", &key_set(&[&b]));
    let config = launch.file(
        "cinnabar.toml",
        &format!(
            "resource = \"{RESOURCE}\"\n[[issuer]]\nid = \"{ISSUER}\"\npublisher = {{ jwks_url = \"{}\" }}\n\
             [[issuer]]\nid = \"b\"\npublisher = {{ jwks_url = \"file://{set}\" }}\n",
            server.url()
        ),
    );
    let hub = launch.args(&["--config", &config]).start();
    let of_b = |key: &IssuerKey| key.sign(Token::granting(&["publish"], &["*"]).claim("iss", json!("b")));
    assert_eq!((publish(&hub, &a.token()), publish(&hub, &of_b(&b))), (200, 200));
    assert_eq!((publish(&hub, &b.token()), publish(&hub, &of_b(&a))), (401, 401), "the other issuer's key");
    let authorization = format!("Bearer {}", a.token());
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[("Authorization", &authorization)]), 401, "no such role");
}

#[test]
fn an_unknown_kid_has_the_set_fetched_again() {
    let (old, new) = (IssuerKey::new("old"), IssuerKey::new("new"));
    let server = KeyServer::start(&[&old]);
    let hub = launch(&server.url()).start();
    server.serve(&[&old, &new]);
    let mut stream = hub.subscribe_as(&old.token(), &[("match", "urn:a")]);
    assert_eq!(publish(&hub, &new.token()), 401, "nobody waits for a fetch");
    eventually("the new key is accepted", || publish(&hub, &new.token()) == 200);
    assert_eq!(publish(&hub, &old.token()), 200);
    assert_eq!(stream.data(), "x", "a key that stays keeps its streams");
    assert_eq!(server.requests(), 2);
}

#[test]
fn a_flood_of_unknown_kids_costs_one_fetch_in_thirty_seconds() {
    let key = IssuerKey::new("a");
    let server = KeyServer::start(&[&key]);
    let hub = launch(&server.url()).start();
    let begin = Instant::now();
    for number in 0..300 {
        assert_eq!(publish(&hub, &IssuerKey::new(&number.to_string()).token()), 401);
    }
    assert_eq!(publish(&hub, &key.token()), 200);
    let windows = 1 + usize::try_from(begin.elapsed().as_secs() / 30).expect("few");
    assert!(server.requests() <= 1 + windows, "{} fetches", server.requests());
}

#[test]
fn a_key_removed_from_a_file_stops_working_and_its_streams_end() {
    let (gone, stays) = (IssuerKey::new("gone"), IssuerKey::new("stays"));
    let launch = Launch::bare();
    let path = launch.file("keys.json", &key_set(&[&gone, &stays]));
    let url = format!("file://{path}");
    let hub = launch
        .args(&["serve", "--anonymous", "--resource", RESOURCE, "--issuer", ISSUER])
        .args(&["--publisher-jwks-url", &url, "--subscriber-jwks-url", &url])
        .start();
    let mut closed: Vec<_> = (0..5).map(|_| hub.subscribe_as(&gone.token(), &[("match", "urn:a")])).collect();
    let mut open = hub.subscribe_as(&stays.token(), &[("match", "urn:a")]);
    let mut anonymous = hub.subscribe(&[("match", "urn:a")]);
    hub.folder().write("keys.json", &key_set(&[&stays]));
    for stream in &mut closed {
        assert_eq!(stream.end(), End::LastChunk);
    }
    assert_eq!(publish(&hub, &gone.token()), 401);
    assert_eq!(publish(&hub, &stays.token()), 200);
    assert_eq!((open.data(), anonymous.data()), ("x".to_owned(), "x".to_owned()));
}

#[test]
fn the_last_good_set_holds_when_a_fetch_fails() {
    let key = IssuerKey::new("a");
    let server = KeyServer::start(&[&key]);
    let hub = launch(&server.url()).start();
    let mut stream = hub.subscribe_as(&key.token(), &[("match", "urn:a")]);
    for (status, body, why) in [
        ("500 Internal Server Error", String::new(), "the answer is 500"),
        ("200 OK", "<html>an error".to_owned(), "it isn't JSON"),
        ("200 OK", "{}".to_owned(), "it isn't a JSON Web Key Set"),
        ("200 OK", " ".repeat(256 * 1024 + 1), "it has more than 262144 bytes"),
    ] {
        server.answer(status, "", &body);
        reload(&hub);
        says(&hub, why);
        assert_eq!(publish(&hub, &key.token()), 200, "{why}");
        assert_eq!(stream.data(), "x", "{why}");
        server.serve(&[&key]);
        reload(&hub);
    }
    says(&hub, "a key set can be fetched again");
    server.answer("200 OK", "", r#"{"keys": []}"#);
    reload(&hub);
    assert_eq!(stream.end(), End::LastChunk, "a set without keys is taken at its word");
    assert_eq!(publish(&hub, &key.token()), 503);
}

#[test]
fn redirects_are_followed_within_the_origin_only() {
    let key = IssuerKey::new("a");
    let (server, other) = (KeyServer::start(&[&key]), KeyServer::start(&[&key]));
    server.answer("302 Found", &format!("Location: {}\r\n", other.url()), "");
    let hub = launch(&server.url()).start();
    says(&hub, "redirects");
    assert_eq!(publish(&hub, &key.token()), 503);
    assert_eq!(other.requests(), 0);
}

#[test]
fn a_hub_starts_without_a_set_that_cannot_be_fetched_and_takes_it_when_it_can() {
    let key = IssuerKey::new("a");
    let server = KeyServer::start(&[]);
    server.answer("503 Service Unavailable", "", "");
    let hub = launch(&server.url()).start();
    says(&hub, "a key set can't be fetched");
    let refused = || hub.post(&key.token(), &[("topic", "urn:a")]);
    let wait = |refused: &Response| refused.header("retry-after").and_then(|text| text.parse::<u32>().ok());
    let waits: BTreeSet<u32> = (0..20).map(|_| wait(&refused()).expect("seconds")).collect();
    assert!(waits.len() > 1, "they don't all come back together: {waits:?}");
    assert!(waits.iter().all(|seconds| (5..=25).contains(seconds)), "{waits:?}");
    assert_eq!(refused().status, 503);
    server.serve(&[&key]);
    eventually("the key is accepted", || publish(&hub, &key.token()) == 200);
}

#[test]
fn a_set_gives_no_secrets_and_none_of_its_public_keys_is_one() {
    let key = IssuerKey::new("a");
    let secret = "a-secret-that-was-published-0123456789abcdef";
    let oct = json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": base64url(secret.as_bytes())});
    let server = KeyServer::start(&[]);
    server.answer("200 OK", "", &json!({"keys": [oct, key.jwk()]}).to_string());
    let hub = launch(&server.url()).start();
    says(&hub, "it is a shared secret");
    let token = Token::granting(&["publish"], &["*"]);
    for kid in [json!("s"), json!("a"), json!(null)] {
        let token = token.clone().header("kid", kid);
        assert_eq!(publish(&hub, &token.sign(secret)), 401);
        assert_eq!(publish(&hub, &token.sign(&key.jwk().to_string())), 401);
    }
    assert_eq!(publish(&hub, &key.token()), 200);
}

#[test]
fn urls_that_could_not_be_trusted_are_refused_at_start() {
    let refused = |url: &str| launch(url).refused();
    assert!(refused("http://login.example/keys").contains("--jwks-allow-http"));
    assert!(refused("https://169.254.169.254/latest").contains("link-local"));
    assert!(refused("file:keys.json").contains("absolute path"));
}

#[test]
fn the_command_that_explains_tokens_fetches_sets_too() {
    let (key, other) = (IssuerKey::new("a"), IssuerKey::new("b"));
    let server = KeyServer::start(&[&key]);
    let explain = |token: &str| {
        Launch::bare()
            .args(&["token", "explain", token, "--resource", RESOURCE, "--issuer", ISSUER])
            .args(&["--publisher-jwks-url", &server.url(), "--action", "publish"])
            .output("")
    };
    let good = explain(&key.token());
    assert!(good.status.success(), "{good:?}");
    let unknown = explain(&other.token());
    assert!(
        !unknown.status.success() && String::from_utf8_lossy(&unknown.stdout).contains("kid is \"b\""),
        "{unknown:?}"
    );
    server.answer("500 Internal Server Error", "", "");
    assert!(String::from_utf8_lossy(&explain(&key.token()).stderr).contains("the answer is 500"));
}
