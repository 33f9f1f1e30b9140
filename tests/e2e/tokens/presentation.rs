//! How a token comes with a request, and the challenges.

use super::{good, publish_status};
use crate::harness::*;

const COOKIE: &str = "__Secure-mercure_access_token";
const APP: &str = "https://app.example";

#[test]
fn the_scheme_is_read_in_any_case() {
    let hub = Hub::start(&[]);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let header = format!("{scheme} {}", publisher());
        let response = hub.post_with(&[("Authorization", &header)], &[("topic", "urn:a")]);
        assert_eq!(response.status, 200, "{scheme}");
    }
}

#[test]
fn a_malformed_presentation_is_refused() {
    let hub = Hub::start(&["--anonymous"]);
    let token = publisher();
    let bearer = format!("Bearer {token}");
    let basic = "Basic dTpw".to_owned();
    let empty = "Bearer ".to_owned();
    let bare = "Bearer".to_owned();
    let raw = token.clone();
    let two_words = format!("{bearer} {token}");
    for headers in [
        vec![&basic],
        vec![&empty],
        vec![&bare],
        vec![&raw],
        vec![&two_words],
        vec![&bearer, &bearer],
        vec![&basic, &bearer],
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|value| ("Authorization", value.as_str())).collect();
        let published = hub.post_with(&headers, &[("topic", "urn:a")]);
        assert!(matches!(published.status, 400 | 401), "{headers:?}: {published:?}");
        published.bearer_error();
        let status = hub.subscribe_status(&[("match", "urn:a")], &headers);
        assert!(matches!(status, 400 | 401), "{headers:?}: {status}");
    }
}

#[test]
fn tokens_in_the_url_or_the_body_are_not_looked_at() {
    let hub = Hub::start(&[]);
    let token = subscriber();
    for name in ["access_token", "authorization", "Authorization"] {
        assert_eq!(hub.subscribe_status(&[("match", "urn:a"), (name, &token)], &[]), 401, "{name}");
    }
    let in_body = hub.post_with(&[], &[("topic", "urn:a"), ("access_token", &publisher())]);
    assert_eq!(in_body.status, 401);
}

#[test]
fn a_cookie_opens_a_stream_without_any_origin() {
    let hub = Hub::start(&[]);
    let cookie = format!("theme=dark; {COOKIE}={}; last=1", subscriber_of(&["urn:a"]));
    let mut stream = hub.try_subscribe(&[("match", "urn:a")], &[("Cookie", &cookie)]).expect("a stream");
    hub.publish(&[("topic", "urn:a"), ("private", "on"), ("data", "secret")]);
    assert_eq!(stream.data(), "secret");
}

#[test]
fn an_invalid_cookie_is_401_even_where_anonymous_access_is_on() {
    let hub = Hub::anonymous();
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[("Cookie", &format!("{COOKIE}=a.b.c"))]), 401);
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[("Cookie", "other=a.b.c")]), 200);
}

#[test]
fn with_a_header_the_cookie_is_ignored_even_if_the_header_is_bad() {
    let hub = Hub::start(&[]);
    let good_cookie = format!("{COOKIE}={}", subscriber());
    let bad_cookie = format!("{COOKIE}=a.b.c");
    let good_header = format!("Bearer {}", subscriber());
    let parameters = [("match", "urn:a")];
    assert_eq!(hub.subscribe_status(&parameters, &[("Cookie", &good_cookie), ("Authorization", "Bearer a.b.c")]), 401);
    let basic = hub.subscribe_status(&parameters, &[("Cookie", &good_cookie), ("Authorization", "Basic dTpw")]);
    assert!(matches!(basic, 400 | 401), "{basic}");
    assert_eq!(hub.subscribe_status(&parameters, &[("Cookie", &bad_cookie), ("Authorization", &good_header)]), 200);
}

#[test]
fn a_cookie_publishes_only_from_a_listed_origin() {
    let hub = Hub::start(&[
        "--publish-origin",
        APP,
        "--publish-origin",
        "https://second.example",
        "--cors-origin",
        "https://reader.example",
    ]);
    let cookie = format!("{COOKIE}={}", publisher());
    let status = |headers: &[(&str, &str)]| {
        let mut all = vec![("Cookie", cookie.as_str())];
        all.extend_from_slice(headers);
        let response = hub.post_with(&all, &[("topic", "urn:a")]);
        if response.status != 200 {
            assert!(matches!(response.status, 400 | 401 | 403), "{response:?}");
        }
        response.status
    };
    assert_eq!(status(&[("Origin", APP)]), 200);
    assert_eq!(status(&[("Origin", "https://second.example")]), 200);
    assert_eq!(status(&[("Referer", "https://app.example/page?x=y")]), 200);
    assert_ne!(status(&[]), 200, "neither header");
    assert_ne!(status(&[("Origin", "https://evil.example")]), 200);
    assert_ne!(status(&[("Origin", "https://reader.example")]), 200, "allowed to read is not allowed to publish");
    assert_ne!(status(&[("Origin", "null")]), 200);
    assert_ne!(status(&[("Origin", "http://app.example")]), 200);
    assert_ne!(status(&[("Referer", "https://evil.example/https://app.example")]), 200);
    assert_ne!(status(&[("Referer", "https://app.example.evil.example/")]), 200);
    assert_ne!(status(&[("Referer", "nonsense")]), 200);
    assert_ne!(
        status(&[("Origin", "https://evil.example"), ("Referer", "https://app.example/")]),
        200,
        "Origin beats Referer"
    );
    assert_eq!(status(&[("Origin", APP), ("Referer", "https://evil.example/")]), 200, "Origin beats Referer");
}

/// Seen: a page without an origin was told to list `null`, which no list takes.
#[test]
fn a_page_without_an_origin_is_told_what_else_to_do() {
    let hub = Hub::start(&["--publish-origin", APP]);
    let cookie = format!("{COOKIE}={}", publisher());
    let refusal = hub.post_with(&[("Cookie", &cookie), ("Origin", "null")], &[("topic", "urn:a")]);
    assert_eq!(refusal.status, 400, "{refusal:?}");
    let text = refusal.text();
    assert!(text.contains("Authorization") && !text.contains("--publish-origin"), "{text}");
}

#[test]
fn a_header_publishes_from_any_origin() {
    let hub = Hub::start(&["--publish-origin", APP]);
    let header = format!("Bearer {}", publisher());
    for origin in [APP, "https://evil.example"] {
        let response = hub.post_with(&[("Authorization", &header), ("Origin", origin)], &[("topic", "urn:a")]);
        assert_eq!(response.status, 200, "{origin}");
    }
}

#[test]
fn the_cookie_can_have_another_name() {
    let hub = Hub::start(&["--cookie-name", "hub_token"]);
    let token = subscriber();
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[("Cookie", &format!("hub_token={token}"))]), 200);
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[("Cookie", &format!("{COOKIE}={token}"))]), 401);
}

#[test]
fn the_four_situations_have_their_challenges() {
    let hub = Hub::start(&[]);
    let none = hub.post_with(&[], &[("topic", "urn:a")]);
    assert_eq!((none.status, none.bearer_error()), (401, None));
    let invalid = hub.post("a.b.c", &[("topic", "urn:a")]);
    assert_eq!((invalid.status, invalid.bearer_error().as_deref()), (401, Some("invalid_token")));
    let scope = hub.post(&publisher_of(&["urn:b"]), &[("topic", "urn:a")]);
    assert_eq!((scope.status, scope.bearer_error().as_deref()), (403, Some("insufficient_scope")));
    let presentation =
        hub.post_with(&[("Authorization", "Bearer a"), ("Authorization", "Bearer b")], &[("topic", "urn:a")]);
    assert!(matches!(presentation.status, 400 | 401));
    assert_eq!(
        presentation.bearer_error().as_deref(),
        Some(if presentation.status == 400 { "invalid_request" } else { "invalid_token" })
    );
    let malformed = hub.post(&publisher(), &[("topic", "*")]);
    assert_eq!((malformed.status, malformed.header("www-authenticate")), (400, None));
    for answer in [none, invalid, scope, presentation] {
        let challenge = answer.header("www-authenticate").expect("a challenge").to_owned();
        assert!(!challenge.contains("error_description") || answer.status != 401, "{challenge}");
        answer.problem();
    }
}

#[test]
fn a_token_is_checked_before_the_fields() {
    let hub = Hub::start(&[]);
    assert_eq!(publish_status(&hub, &good().sign("another-secret-0123456789abcdef0123456789")), 401);
    assert_eq!(hub.post("a.b.c", &[("topic", "*")]).status, 401);
    assert_eq!(hub.subscribe_status(&[("matcher", "x")], &[("Authorization", "Bearer a.b.c")]), 401);
}
