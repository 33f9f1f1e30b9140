//! The cookie and the query parameter a token came in.

use super::*;

const COOKIE: &str = "__Secure-mercure_access_token";
const APP: &str = "https://app.example";

#[test]
fn the_cookie_of_old_opens_a_stream_when_todays_is_absent() {
    let hub = hub("8");
    let old_cookie = format!("mercureAuthorization={}", old_subscriber(&["*"]));
    let publish = |data: &str| {
        let fields = [("topic", "urn:a"), ("data", data), ("private", "on")];
        assert_eq!(hub.post(&old_publisher(&["*"]), &fields).status, 200);
    };
    let mut stream = hub.try_subscribe(&[("topic", "urn:a")], &[("Cookie", &old_cookie)]).expect("a stream");
    let both = format!("{old_cookie}; {COOKIE}={}", old_subscriber(&["urn:else"]));
    let mut todays = hub.try_subscribe(&[("topic", "urn:a")], &[("Cookie", &both)]).expect("a stream");
    publish("private");
    say(&hub, "urn:a", "public");
    assert_eq!(stream.datas(2), ["private", "public"]);
    assert_eq!(todays.data(), "public");
    assert_eq!(hub.subscribe_status(&[("topic", "urn:a")], &[("Cookie", "mercureAuthorization=a.b.c")]), 401);
}

#[test]
fn a_publish_with_the_cookie_of_old_comes_from_a_listed_origin() {
    let hub = launch("8").args(&["--publish-origin", APP]).start();
    let cookie = format!("mercureAuthorization={}", old_publisher(&["*"]));
    let status = |headers: &[(&str, &str)]| {
        let mut all = vec![("Cookie", cookie.as_str())];
        all.extend_from_slice(headers);
        hub.post_with(&all, &[("topic", "urn:a")]).status
    };
    assert_eq!(status(&[("Origin", APP)]), 200);
    assert_eq!(status(&[("Referer", &format!("{APP}/page"))]), 200);
    assert_eq!(status(&[("Origin", "https://elsewhere.example")]), 400);
    assert_eq!(status(&[]), 400);
}

#[test]
fn the_query_carries_a_token_on_any_method_without_a_check_of_the_origin() {
    let hub = launch("8").start();
    let mut stream = hub.subscribe(&[("topic", "urn:a"), ("authorization", &old_subscriber(&["*"]))]);
    let target = query(&[("authorization", &old_publisher(&["*"]))]);
    let body = form(&[("topic", "urn:a"), ("data", "secret"), ("private", "on")]);
    let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Origin", "https://elsewhere.example")];
    let mut client = hub.connect();
    client.request("POST", &target, &headers, Some(body.as_bytes()));
    assert_eq!(client.response("POST").status, 200);
    assert_eq!(stream.data(), "secret");
    let head = query(&[("topic", "urn:a"), ("authorization", &old_subscriber(&["*"]))]);
    assert_eq!(hub.request("HEAD", &head, &[]).status, 200);
    // Not from the body.
    let in_body = [("topic", "urn:a"), ("authorization", &*old_publisher(&["*"]))];
    assert_eq!(hub.post_with(&[], &in_body).status, 401);
}

#[test]
fn the_header_beats_the_query_and_the_query_the_cookies() {
    let hub = launch("8").start();
    let good = old_subscriber(&["*"]);
    let bad = format!("{}x", "a.b.".repeat(20));
    let bearer = |token: &str| format!("Bearer {token}");
    let cookie = |token: &str| format!("{COOKIE}={token}; mercureAuthorization={token}");
    let status = |query: &str, headers: &[(&str, &str)]| {
        hub.subscribe_status(&[("topic", "urn:a"), ("authorization", query)], headers)
    };
    assert_eq!(status(&bad, &[("Authorization", &bearer(&good)), ("Cookie", &cookie(&bad))]), 200);
    assert_eq!(status(&good, &[("Authorization", &bearer(&bad))]), 401);
    assert_eq!(status(&good, &[("Cookie", &cookie(&bad))]), 200);
    assert_eq!(status(&bad, &[("Cookie", &cookie(&good))]), 401);
}

#[test]
fn a_short_or_repeated_token_in_the_query_is_ignored() {
    let hub = hub("8");
    let good = old_subscriber(&["*"]);
    let short = "a".repeat(40);
    let long = "a".repeat(41);
    let status = |tokens: &[&str]| {
        let mut parameters = vec![("topic", "urn:a")];
        parameters.extend(tokens.iter().map(|token| ("authorization", *token)));
        hub.subscribe_status(&parameters, &[])
    };
    assert_eq!(status(&[&short]), 200, "anonymous");
    assert_eq!(status(&[&long]), 401);
    assert_eq!(status(&[&long, &long]), 200, "anonymous");
    let mut anonymous = hub.subscribe(&[("topic", "urn:a"), ("authorization", &good), ("authorization", &good)]);
    let fields = [("topic", "urn:a"), ("data", "private"), ("private", "on")];
    assert_eq!(hub.post(&old_publisher(&["*"]), &fields).status, 200);
    say(&hub, "urn:a", "public");
    assert_eq!(anonymous.data(), "public");
}

#[test]
fn a_token_in_the_query_is_neither_logged_nor_answered() {
    let mut hub = launch("7").args(&["--log", "trace"]).start();
    let secrets = [
        old_subscriber(&["*"]),
        old_publisher(&["*"]),
        old(json!({"subscribe": [1]})).sign(SUBSCRIBER_KEY),
        old(json!({"subscribe": ["*"]})).sign("a-key-nobody-has-configured-0123456789"),
        format!("{}.not-a-token", "z".repeat(60)),
    ];
    let mut answers = Vec::new();
    for secret in &secrets {
        for (method, more) in [
            ("GET", ("topic", "a\n")),
            ("GET", ("matcher", "x")),
            ("GET", ("topic", "{a:9999}")),
            ("GET", ("x", "y")),
            ("HEAD", ("topic", "{a}/{b}")),
            ("POST", ("topic", "urn:a")),
            ("OPTIONS", ("topic", "urn:a")),
            ("QUERY", ("topic", "urn:a")),
            ("DELETE", ("topic", "urn:a")),
        ] {
            answers.push(hub.request(method, &query(&[more, ("authorization", secret)]), &[]));
        }
        for path in ["/", "/elsewhere", "/.well-known/mercure/subscriptions"] {
            answers.push(hub.request("GET", &format!("{path}?authorization={secret}"), &[]));
        }
        // Heads that are refused before anybody looks at them.
        for raw in [
            format!("GET {HUB}?authorization={secret}\u{7F} HTTP/1.1\r\nHost: e\r\n\r\n"),
            format!("GET {HUB}?authorization={secret} HTTP/1.1\r\nHost: e\r\nHost: f\r\n\r\n"),
            format!("GET {HUB}?authorization={secret}{} HTTP/1.1\r\nHost: e\r\n\r\n", "x".repeat(13_000)),
        ] {
            let mut client = hub.connect();
            client.send(raw.as_bytes());
            answers.push(client.response("GET"));
        }
        let stream = hub.try_subscribe(&[("topic", "urn:a"), ("authorization", secret)], &[]);
        answers.push(stream.map_or_else(|refusal| refusal, |stream| stream.head));
    }
    hub.stop();
    let log = hub.log();
    for secret in &secrets {
        // No part of it that could be used: header and claims may be the same in many tokens.
        let signature = secret.rsplit('.').next().expect("a part");
        for part in [secret.as_str(), signature] {
            assert!(!log.contains(part), "{part} in the log:\n{log}");
            for answer in &answers {
                assert!(!format!("{answer:?}").contains(part), "{part} in {answer:?}");
                assert!(!String::from_utf8_lossy(&answer.body).contains(part), "{part} in {answer:?}");
            }
        }
    }
    assert!(log.contains("an access token was refused"), "{log}");
}
