//! Cross-origin requests: listed origins only.

use crate::harness::*;

const LISTED: &str = "https://app.example";

fn hub() -> Hub {
    Hub::start(&["--anonymous", "--cors-origin", LISTED, "--cors-origin", "https://second.example"])
}

#[test]
fn listed_origins_may_read_streams_with_credentials() {
    let hub = hub();
    for origin in [LISTED, "https://second.example"] {
        let stream = hub.try_subscribe(&[("match", "urn:a")], &[("Origin", origin)]).expect("a stream");
        assert_allowed(&stream.head, origin);
    }
}

#[test]
fn other_origins_get_no_permission() {
    let hub = hub();
    for origin in [
        "https://evil.example",
        "https://app.example.evil.example",
        "http://app.example",
        "https://app.example:8443",
        "null",
        "https://APP.example/",
    ] {
        let stream = hub.try_subscribe(&[("match", "urn:a")], &[("Origin", origin)]).expect("a stream");
        assert_eq!(stream.head.header("access-control-allow-origin"), None, "{origin}");
        assert_eq!(stream.head.header("access-control-allow-credentials"), None, "{origin}");
        let preflight = preflight(&hub, origin);
        assert_eq!(preflight.header("access-control-allow-origin"), None, "{origin}");
    }
}

#[test]
fn a_preflight_lists_methods_and_headers() {
    let hub = hub();
    let answer = preflight(&hub, LISTED);
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_allowed(&answer, LISTED);
    let methods = answer.list("access-control-allow-methods");
    assert_eq!(methods, ["get", "head", "post", "query", "options"]);
    let headers = answer.list("access-control-allow-headers");
    for header in ["authorization", "cache-control", "last-event-id"] {
        assert!(headers.iter().any(|allowed| allowed == header), "{headers:?}");
    }
}

#[test]
fn errors_and_publish_answers_carry_the_permission_too() {
    let hub = hub();
    let refusal = hub.try_subscribe(&[("matcher", "x")], &[("Origin", LISTED)]).expect_err("400");
    assert_allowed(&refusal, LISTED);
    let unauthorized = hub.post_with(&[("Origin", LISTED)], &[("topic", "urn:a")]);
    assert_eq!(unauthorized.status, 401);
    assert_allowed(&unauthorized, LISTED);
    let token = format!("Bearer {}", publisher());
    let published = hub.post_with(&[("Origin", LISTED), ("Authorization", &token)], &[("topic", "urn:a")]);
    assert_eq!(published.status, 200);
    assert_allowed(&published, LISTED);
}

#[test]
fn the_cursor_of_the_answer_is_exposed() {
    let hub = hub();
    let stream = hub
        .try_subscribe(&[("match", "urn:a"), ("last_event_id", "earliest")], &[("Origin", LISTED)])
        .expect("a stream");
    let exposed = stream.head.list("access-control-expose-headers");
    assert!(exposed.iter().any(|header| header == "mercure-last-event-id"), "{exposed:?}");
}

#[test]
fn without_an_allowlist_nobody_is_allowed() {
    let hub = Hub::anonymous();
    let stream = hub.try_subscribe(&[("match", "urn:a")], &[("Origin", LISTED)]).expect("a stream");
    assert_eq!(stream.head.header("access-control-allow-origin"), None);
}

fn preflight(hub: &Hub, origin: &str) -> Response {
    hub.request(
        "OPTIONS",
        HUB,
        &[
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization"),
        ],
    )
}

fn assert_allowed(response: &Response, origin: &str) {
    assert_eq!(response.header("access-control-allow-origin"), Some(origin), "{response:?}");
    assert_eq!(response.header("access-control-allow-credentials"), Some("true"), "{response:?}");
    assert!(response.list("vary").iter().any(|name| name == "origin"), "{response:?}");
}
