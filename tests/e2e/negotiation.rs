//! HEAD, OPTIONS, `Allow`, `Accept` and `Vary`: what every resource answers besides its content.

use crate::harness::*;

const LISTED: &str = "https://app.example";
const METADATA: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";

#[test]
fn head_is_get_without_a_body_everywhere() {
    let hub = Hub::start(&["--anonymous", "--cors-origin", LISTED]);
    let bad = ("Authorization", "Bearer bad");
    let accept = ("Accept", "text/html");
    let stream = query(&[("match", "urn:a")]);
    let cases = [
        ("/", None, 200),
        (METADATA, None, 200),
        ("/nowhere", None, 404),
        (stream.as_str(), Some(bad), 401),
        (stream.as_str(), Some(accept), 406),
        (HUB, None, 400),
        (HUB, Some(("Origin", LISTED)), 400),
    ];
    for (target, header, status) in cases {
        let headers: Vec<_> = header.into_iter().collect();
        let get = hub.request("GET", target, &headers);
        let mut client = hub.connect();
        client.request("HEAD", target, &[headers.as_slice(), &[("Connection", "close")]].concat(), None);
        let head = client.response("HEAD");
        client.expect_closed();
        assert_eq!((get.status, head.status), (status, status), "{target} {headers:?}");
        assert!(!get.body.is_empty(), "{target}");
        for name in ["content-type", "cache-control", "link", "www-authenticate", "access-control-allow-origin"] {
            assert_eq!(get.header(name), head.header(name), "{target} {headers:?}");
        }
        assert_eq!(get.list("vary"), head.list("vary"));
        // A reference in the body of a 401 is a new one each time, of the same length.
        assert_eq!(get.header("content-length"), head.header("content-length"), "{target}");
    }
}

#[test]
fn head_of_a_stream_ends_at_once_and_subscribes_nobody() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    client.request("HEAD", &query(&[("match", "urn:a"), ("last_event_id", "earliest")]), &[], None);
    let head = client.response("HEAD");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("mercure-last-event-id"), Some("earliest"));
    hub.say("urn:a", "nobody hears it");
    client.expect_closed();
}

#[test]
fn options_says_what_a_resource_can_do() {
    let hub = Hub::anonymous();
    let read = ["get", "head", "options"];
    let hubs = ["get", "head", "post", "query", "options"];
    for (target, methods) in [(HUB, hubs.as_slice()), ("*", &hubs), ("/", &read), (METADATA, &read)] {
        let answer = hub.request("OPTIONS", target, &[]);
        assert_eq!(
            (answer.status, answer.list("allow")),
            (204, methods.iter().map(|&name| name.to_owned()).collect()),
            "{target}"
        );
    }
    assert_eq!(hub.request("OPTIONS", "/nowhere", &[]).status, 404);
}

#[test]
fn a_preflight_is_answered_on_every_resource() {
    let hub = Hub::start(&["--cors-origin", LISTED]);
    let ask = |target: &str, origin: &str, method: &str| {
        hub.request("OPTIONS", target, &[("Origin", origin), ("Access-Control-Request-Method", method)])
    };
    for (target, method) in [(HUB, "QUERY"), (HUB, "POST"), (METADATA, "GET"), ("/", "GET")] {
        let answer = ask(target, LISTED, method);
        assert_eq!(answer.status, 204, "no token is needed: {target}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(LISTED), "{target}");
        assert_eq!(answer.list("access-control-allow-methods"), ["get", "head", "post", "query", "options"]);
        assert_eq!(answer.list("access-control-allow-headers"), ["authorization", "cache-control", "last-event-id"]);
        let foreign = ask(target, "https://evil.example", method);
        assert_eq!((foreign.status, foreign.header("access-control-allow-methods")), (204, None), "{target}");
    }
}

#[test]
fn a_method_a_resource_lacks_is_405_and_says_which_it_has() {
    let hub = Hub::anonymous();
    for (target, allow) in
        [(HUB, "GET, HEAD, POST, QUERY, OPTIONS"), ("/", "GET, HEAD, OPTIONS"), (METADATA, "GET, HEAD, OPTIONS")]
    {
        for method in ["PUT", "DELETE", "PATCH", "get"] {
            let answer = hub.request(method, target, &[]);
            assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {target}");
        }
    }
}

#[test]
fn a_client_that_takes_no_event_stream_is_told_so() {
    let hub = Hub::anonymous();
    let target = query(&[("match", "urn:a")]);
    for accept in ["application/json", "text/html", "text/event-stream;q=0", "text/event-stream;q=0, */*"] {
        for method in ["GET", "HEAD"] {
            assert_eq!(hub.request(method, &target, &[("Accept", accept)]).status, 406, "{method} {accept}");
        }
        let refused = hub.request("GET", &target, &[("Accept", accept)]);
        assert!(refused.problem()["detail"].as_str().expect("a sentence").contains("text/event-stream"), "{accept}");
        let mut client = hub.connect();
        let fields = [("Accept", accept), ("Content-Type", "application/x-www-form-urlencoded")];
        client.request("QUERY", HUB, &fields, Some(b"match=a"));
        assert_eq!(client.response("QUERY").status, 406, "QUERY {accept}");
    }
    for accept in
        ["text/event-stream", "*/*", "text/*", "text/html, */*;q=0.1", "", "application/json, text/event-stream"]
    {
        assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[("Accept", accept)]), 200, "{accept:?}");
    }
}

#[test]
fn no_cache_can_give_an_answer_to_somebody_it_is_not_for() {
    let hub = Hub::start(&["--anonymous", "--cors-origin", LISTED]);
    let vary = ["accept", "accept-encoding", "authorization", "cookie", "origin"];
    let stream = hub.subscribe(&[("match", "urn:a")]);
    assert_eq!(stream.head.list("vary"), vary);
    assert_eq!(stream.head.list("cache-control"), ["no-store", "no-transform"]);
    let target = query(&[("match", "urn:a")]);
    for (target, headers) in [
        (target.as_str(), ("Authorization", "Bearer bad")),
        (&target, ("Cookie", "__Secure-mercure_access_token=bad")),
        (&target, ("Accept", "text/html")),
        (HUB, ("Origin", LISTED)),
    ] {
        let refused = hub.request("GET", target, &[headers]);
        assert_eq!(refused.list("cache-control"), ["no-store"], "{headers:?}");
        assert_eq!(refused.list("vary"), vary, "{headers:?}");
    }
    for target in ["/", "/nowhere"] {
        let answer = hub.request("GET", target, &[("Origin", LISTED)]);
        assert_eq!(
            (answer.list("cache-control"), answer.list("vary")),
            (vec!["no-store".to_owned()], vec!["origin".to_owned()])
        );
        assert_eq!(answer.header("access-control-allow-origin"), Some(LISTED), "a page can read why: {target}");
    }
}
