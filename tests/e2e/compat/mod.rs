//! The protocol before version 1.0, which a hub speaks only when told to (`--compat`).

mod presentation;
mod selectors;
mod subscriptions;
mod tokens;

use crate::harness::*;
use serde_json::{Value, json};
use std::process::Command;

/// Keys for both roles and a resource; no issuer, as hubs of old were configured.
fn launch(version: &str) -> Launch {
    Launch::serve().args(&[
        "--compat",
        version,
        "--resource",
        RESOURCE,
        "--publisher-jwt-key",
        PUBLISHER_KEY,
        "--subscriber-jwt-key",
        SUBSCRIBER_KEY,
    ])
}

fn hub(version: &str) -> Hub {
    launch(version).args(&["--anonymous"]).start()
}

/// A token as hubs of old knew it: nothing but the claim.
fn old(claim: Value) -> Token {
    Token { header: json!({"alg": "HS256"}), claims: json!({"mercure": claim}) }
}

fn old_publisher(topics: &[&str]) -> String {
    old(json!({"publish": topics})).sign(PUBLISHER_KEY)
}

fn old_subscriber(topics: &[&str]) -> String {
    old(json!({"subscribe": topics})).sign(SUBSCRIBER_KEY)
}

/// Publishes with an old token for everything.
fn say(hub: &Hub, topic: &str, data: &str) -> String {
    let response = hub.post(&old_publisher(&["*"]), &[("topic", topic), ("data", data)]);
    assert_eq!(response.status, 200, "{response:?}");
    response.text()
}

#[test]
fn without_the_option_nothing_of_before_1_0_is_accepted() {
    let hub = Hub::start(&["--anonymous"]);
    let (publisher, subscriber) = (old_publisher(&["*"]), old_subscriber(&["*"]));
    let refused = hub.try_subscribe(&[("topic", "urn:a")], &[]).expect_err("a 1.0 hub");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("match="), "{refused:?}");
    assert_eq!(hub.post(&publisher, &[("topic", "urn:a")]).status, 401);
    assert_eq!(
        hub.post_with(&[("Cookie", &format!("mercureAuthorization={publisher}"))], &[("topic", "a")]).status,
        401
    );
    // A bad token that isn't looked at does no harm; nor does it grant anything.
    let private = [("match", "urn:a"), ("authorization", &*subscriber), ("Last-Event-ID", "earliest")];
    let mut stream = hub.try_subscribe(&private, &[("Cookie", "mercureAuthorization=a.b.c")]).expect("a stream");
    assert_eq!(stream.last_event_id(), None);
    hub.publish(&[("topic", "urn:a"), ("data", "secret"), ("private", "on")]);
    hub.say("urn:a", "public");
    assert_eq!(stream.data(), "public");
    assert_eq!(hub.post(&publisher_of(&["urn:b"]), &[("topic", "urn:a")]).status, 403);
    assert!(!hub.log().contains("loosens"), "{}", hub.log());
}

#[test]
fn the_start_up_log_says_what_is_loosened() {
    for version in ["7", "8"] {
        let log = hub(version).log();
        let lines: Vec<&str> =
            log.lines().filter(|line| line.contains(&format!("--compat {version} loosens"))).collect();
        assert!(lines.iter().all(|line| line.contains("WARN")), "{log}");
        for rule in [
            "typ",
            "aud",
            "exp",
            "issuer",
            "claim mercure",
            "parameter authorization",
            "mercureAuthorization",
            "topic=",
        ] {
            assert!(lines.iter().any(|line| line.contains(rule)), "{rule}: {log}");
        }
        for rule in ["any valid token may publish", "Last-Event-ID"] {
            assert_eq!(lines.iter().any(|line| line.contains(rule)), version == "7", "{rule}: {log}");
        }
    }
}

#[test]
fn keys_without_an_issuer_need_the_option() {
    let said = Launch::serve().args(&["--resource", RESOURCE, "--publisher-jwt-key", PUBLISHER_KEY]).refused();
    assert!(said.contains("--issuer"), "{said}");
    let said = launch("6").refused();
    assert!(said.contains("--compat") && said.contains("7 nor 8"), "{said}");
}

#[test]
fn the_current_protocol_stays_beside_it() {
    let hub = hub("8");
    let mut stream =
        hub.subscribe_as(&subscriber(), &[("match_urlpattern", "https://e.example/:x"), ("topic", "urn:a")]);
    hub.publish(&[("topic", "https://e.example/1"), ("data", "1"), ("private", "on")]);
    say(&hub, "urn:a", "2");
    assert_eq!(stream.datas(2), ["1", "2"]);
}

#[test]
fn curl_follows_and_publishes_as_of_old() {
    let hub = hub("8");
    let topic = "https://e.example/books/%7Bid%7D";
    let url =
        format!("{}?topic={topic}&authorization={}", hub.url(), old_subscriber(&["https://e.example/books/{id}"]));
    let curl = Process::bash(&format!("curl -sN -D - '{url}'"));
    assert!(curl.line().starts_with("HTTP/1.1 200"));
    while !curl.line().trim().is_empty() {}
    let output = Command::new("curl")
        .args(["-s", "-H", &format!("Authorization: Bearer {}", old_publisher(&["https://e.example/{+path}"]))])
        .args(["-d", "topic=https://e.example/books/1", "-d", "data=hello", "-d", "private=on", &hub.url()])
        .output()
        .expect("curl is installed");
    let id = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut event = Vec::new();
    while event.len() < 2 {
        let line = curl.line();
        if !line.is_empty() && !line.starts_with(':') {
            event.push(line);
        }
    }
    event.sort();
    assert_eq!(event, ["data: hello".to_owned(), format!("id: {id}")]);
}

#[test]
fn the_cursor_of_version_seven_is_read_by_it_alone() {
    for version in ["7", "8"] {
        let hub = hub(version);
        let first = say(&hub, "urn:a", "1");
        say(&hub, "urn:a", "2");
        let seven = version == "7";
        let stream = hub.subscribe(&[("topic", "urn:a"), ("Last-Event-ID", &first)]);
        assert_eq!(stream.last_event_id(), seven.then_some(first.as_str()));
        if seven {
            let mut stream = stream;
            assert_eq!(stream.data(), "2");
        }
        let mut stream = hub.subscribe(&[("topic", "urn:a"), ("Last-Event-ID", &first), ("last_event_id", "earliest")]);
        assert_eq!(stream.last_event_id(), Some("earliest"), "today's comes first");
        assert_eq!(stream.datas(2), ["1", "2"]);
        for name in ["lastEventID", "lastEventId", "Last-Event-Id"] {
            assert_eq!(hub.subscribe(&[("topic", "urn:a"), (name, &first)]).last_event_id(), None, "{name}");
        }
    }
}

#[test]
fn the_answer_names_its_cursor_as_today() {
    for version in ["7", "8"] {
        let hub = hub(version);
        let first = say(&hub, "urn:a", "1");
        let name = if version == "7" { "Last-Event-ID" } else { "last_event_id" };
        for (parameters, headers) in [
            ([("topic", "urn:a"), (name, first.as_str())], vec![]),
            ([("topic", "urn:a"), ("x", "")], vec![("Last-Event-ID", first.as_str())]),
        ] {
            let stream = hub.try_subscribe(&parameters, &headers).expect("a stream");
            assert_eq!(stream.head.header("mercure-last-event-id"), Some(first.as_str()));
            assert_eq!(stream.head.header("last-event-id"), None);
        }
    }
}
