//! The hub's own namespace: nobody publishes into it, in whatever disguise.

use crate::harness::*;

#[test]
fn the_reserved_namespace_is_refused_in_every_disguise() {
    let hub = Hub::anonymous();
    for topic in [
        "/.well-known/mercure",
        "/.well-known/mercure/",
        "/.well-known/mercure/x",
        "/.well-known/mercure/subscriptions/exact/a/b",
        "/.well-known/mercure?x",
        "/.well-known/mercure#x",
        "https://hub.example/.well-known/mercure",
        "https://any.example/.well-known/mercure/x",
        "http://any.example:8080/.well-known/mercure",
        "HTTPS://ANY.example/.well-known/mercure",
        "https://any.example/.well-known/%6Dercure",
        "https://any.example/.well-known/%6dercure",
        "/%2Ewell-known/mercure",
        "/%2ewell%2Dknown/mercur%65",
        "/x/../.well-known/mercure",
        "/x/%2e%2e/.well-known/mercure",
        "/x/.%2E/.well-known/./mercure",
        "//any.example/.well-known/mercure",
        "\\.well-known\\mercure",
        "ftp://h/.well-known/mercure?x",
        "mercure",
        "mercure/x",
        "./mercure/s",
        "../.well-known/mercure",
        "",
        "?x",
        "#x",
    ] {
        let fields = [("topic", topic), ("data", "x")];
        assert_eq!(hub.post(&publisher(), &fields).status, 400, "{topic:?}");
        let alternate = [("topic", "urn:a"), ("topic", topic)];
        assert_eq!(hub.post(&publisher(), &alternate).status, 400, "{topic:?} as an alternate");
    }
}

#[test]
fn look_alikes_of_the_reserved_namespace_are_ordinary_topics() {
    let hub = Hub::anonymous();
    for topic in [
        "/.well-known/mercurex",
        "/.well-known/Mercure",
        "/.well-known/%256Dercure",
        "/.well-known/mercure%2Fx",
        "/x/.well-known/mercure",
        "urn:x/.well-known/mercure",
        "https://[bad/.well-known/mercure",
        "/",
        "Mercure",
        "xmercure",
    ] {
        let response = hub.post(&publisher(), &[("topic", topic), ("data", "x")]);
        assert_eq!(response.status, 200, "{topic:?}: {response:?}");
    }
}

#[test]
fn a_reserved_topic_is_400_even_without_a_grant_for_it() {
    let hub = Hub::anonymous();
    let token = publisher_of(&["urn:a"]);
    for topic in ["/.well-known/mercure/x", "*"] {
        assert_eq!(hub.post(&token, &[("topic", topic)]).status, 400, "{topic}");
    }
}
