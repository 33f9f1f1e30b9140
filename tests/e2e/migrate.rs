//! docs/migrate-from-mercure.md: what it says works.

use crate::harness::*;
use serde_json::json;

const PAGE: &str = include_str!("../../docs/migrate-from-mercure.md");
/// The public half of the key of RFC 8037's example.
const LOGIN_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
const METADATA: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";

/// The one fenced block of this language.
fn block(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let mut parts = PAGE.split(fence.as_str());
    let block = parts.nth(1).unwrap_or_else(|| panic!("no block of {language}"));
    assert!(parts.next().is_none(), "two blocks of {language}");
    block.split("```").next().expect("what stands before the end of the block")
}

fn token(actions: &[&str], key: &str) -> String {
    Token::granting(actions, &["*"]).claim("iss", json!("https://app.example")).sign(key)
}

/// Publishes and receives a private update.
fn works(hub: &Hub, publisher_key: &str, subscriber_key: &str) {
    let mut stream = hub.subscribe_as(&token(&["subscribe"], subscriber_key), &[("match", "urn:a")]);
    let published =
        hub.post(&token(&["publish"], publisher_key), &[("topic", "urn:a"), ("private", ""), ("data", "x")]);
    assert_eq!(published.status, 200, "{published:?}");
    assert_eq!(stream.data(), "x");
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[]), 200, "anonymous");
    let preflight = hub.request("OPTIONS", HUB, &[("Origin", "https://admin.example")]);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://admin.example"));
}

#[test]
fn the_file_of_the_migration_page_starts_a_hub() {
    let launch = Launch::serve();
    launch.file("publisher.secret", PUBLISHER_KEY);
    launch.file("subscriber.secret", SUBSCRIBER_KEY);
    launch.file("login.pem", LOGIN_PEM);
    let config = launch.file("hub.toml", block("toml"));
    let hub = launch.args(&["--config", &config]).start();
    works(&hub, PUBLISHER_KEY, SUBSCRIBER_KEY);
    let metadata = hub.request("GET", METADATA, &[]);
    let document: serde_json::Value = serde_json::from_slice(&metadata.body).expect("JSON");
    assert_eq!(document["authorization_servers"], json!(["https://login.example"]));
    assert_eq!(hub.request("GET", "/", &[("Host", "elsewhere.example")]).status, 421);
}

#[test]
fn the_environment_of_the_migration_page_starts_a_hub() {
    let mut launch = Launch::serve();
    let mut key = "";
    for line in block("env").lines() {
        let (name, value) = line.split_once('=').expect("NAME=VALUE");
        match name {
            // Every test has a port of its own.
            "CINNABAR_LISTEN" => continue,
            "MERCURE_PUBLISHER_JWT_KEY" => key = value,
            _ => {}
        }
        launch = launch.env(name, value);
    }
    works(&launch.start(), key, key);
}

#[test]
fn the_migration_page_has_every_directive_and_variable_of_the_reference() {
    for name in [
        "issuer",
        "publisher",
        "subscriber",
        "jwt",
        "jwks_uri",
        "authorization_server",
        "resource_identifier",
        "public_urls",
        "anonymous",
        "subscriptions",
        "publish_origins",
        "cors_origins",
        "cookie_name",
        "heartbeat",
        "write_timeout",
        "dispatch_timeout",
        "max_request_body_size",
        "transport bolt",
        "path",
        "bucket_name",
        "size",
        "cleanup_frequency",
        "transport local",
        "topic_matcher_cache",
        "subscriber_list_cache_size",
        "name",
        "debugger",
        "playground",
        "protocol_version_compatibility",
        "publisher_jwt",
        "subscriber_jwt",
        "publisher_jwks_url",
        "subscriber_jwks_url",
        "SERVER_NAME",
        "MERCURE_PUBLISHER_JWT_KEY",
        "MERCURE_PUBLISHER_JWT_ALG",
        "MERCURE_SUBSCRIBER_JWT_KEY",
        "MERCURE_SUBSCRIBER_JWT_ALG",
        "MERCURE_TRUSTED_ISSUERS",
        "MERCURE_EXTRA_DIRECTIVES",
        "GLOBAL_OPTIONS",
        "CADDY_EXTRA_CONFIG",
        "CADDY_SERVER_EXTRA_DIRECTIVES",
        "MERCURE_LICENSE",
        "MERCURE_TRANSPORT_URL",
    ] {
        let in_a_table = PAGE.lines().filter_map(|line| line.strip_prefix("| ")).any(|row| {
            let first = row.split(" | ").next().expect("a cell");
            first.split(['`', '{', '}', '<', ' ']).any(|word| word.trim_end_matches(',') == name)
                || first.contains(&format!("`{name}"))
        });
        assert!(in_a_table, "{name}");
    }
}

#[test]
fn the_migration_page_names_settings_that_exist() {
    let help = Launch::bare().args(&["serve", "--help"]).output("").stdout;
    let help = String::from_utf8(help).expect("help in UTF-8");
    let known: Vec<&str> = help.split_whitespace().map(|word| word.split(['[', '=']).next().unwrap_or(word)).collect();
    let mut named = 0;
    for span in PAGE.split('`').skip(1).step_by(2).filter(|span| span.starts_with("--")) {
        let flag = span.split_whitespace().next().expect("a word");
        assert!(known.contains(&flag), "{flag}");
        named += 1;
    }
    assert!(named > 20, "only {named} were found");
}
