//! Rules of the protocol that no other story comes by: docs/conformance.md names the test of each.

use crate::harness::*;
use serde_json::json;

const COOKIE: &str = "__Secure-mercure_access_token";

#[test]
fn data_may_hold_every_character_and_is_not_changed() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    for data in [
        "\u{0}\u{1}\t\u{7f}\u{9f}",
        "\u{ad}\u{200b}\u{202e}\u{feff}\u{e0001}",
        "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.BBBB.CCCC",
    ] {
        hub.say("urn:a", data);
        assert_eq!(stream.data(), data);
    }
}

#[test]
fn an_event_has_an_id_and_only_the_fields_its_update_has() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let id = hub.publish(&[("topic", "urn:a"), ("data", "x")]);
    let mut block = stream.block();
    block.sort();
    assert_eq!(block, ["data: x".to_owned(), format!("id: {id}")]);
    hub.publish(&[("topic", "urn:a"), ("data", " x"), ("id", "i"), ("type", " t"), ("retry", "0")]);
    let mut block = stream.block();
    block.sort();
    assert_eq!(block, ["data:  x", "event:  t", "id: i", "retry: 0"]);
}

#[test]
fn exact_values_are_not_resolved_against_the_hub() {
    let hub = Hub::anonymous();
    let mut relative = hub.subscribe(&[("match", "/a")]);
    let mut absolute = hub.subscribe(&[("match", "https://hub.example/a")]);
    hub.say("https://hub.example/a", "absolute");
    hub.say("/a", "relative");
    assert_eq!(relative.data(), "relative");
    hub.say("https://hub.example/a", "absolute again");
    assert_eq!(absolute.datas(2), ["absolute", "absolute again"]);
}

#[test]
fn a_topic_that_is_no_url_is_matched_by_no_pattern() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match_urlpattern", "*://*/*"), ("match_urlpattern", "/*")]);
    hub.say("https://[unparsable", "no URL");
    hub.say("https://e.example/a", "a URL");
    assert_eq!(stream.data(), "a URL");
}

#[test]
fn components_after_the_last_written_one_match_anything() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match_urlpattern", "https://e.example/b/:id")]);
    hub.say("https://e.example/b/1/2", "another path");
    let topics = ["https://e.example/b/1?x", "https://e.example/b/1#y", "https://u:p@e.example/b/1?x#y"];
    for topic in topics {
        hub.say(topic, topic);
    }
    assert_eq!(stream.datas(3), topics);
}

#[test]
fn letters_of_another_case_do_not_match_a_pattern() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match_urlpattern", "https://e.example/Books/:id")]);
    hub.say("https://e.example/books/1", "another case");
    hub.say("https://E.EXAMPLE/Books/1", "hosts have no case");
    assert_eq!(stream.data(), "hosts have no case");
}

#[test]
fn a_pattern_that_would_cost_too_much_does_not_match_and_hinders_nobody() {
    let hub = Hub::anonymous();
    let names: String = (0..300).map(|n| format!(":n{n}-")).collect();
    let pattern = format!("https://e.example/{names}");
    let mut costly = hub.subscribe(&[("match_urlpattern", &pattern), ("match", "urn:end")]);
    let mut other = hub.subscribe(&[("match_urlpattern", "https://e.example/*")]);
    let topic = format!("https://e.example/{}", "a-".repeat(300));
    hub.say(&topic, "costly");
    hub.say("urn:end", "end");
    assert_eq!(other.data(), "costly");
    assert_eq!(costly.data(), "end");
}

#[test]
fn one_matcher_or_one_byte_of_a_pattern_too_many_is_400() {
    let hub = Hub::anonymous();
    let names: Vec<String> = (0..=100).map(|n| n.to_string()).collect();
    let matchers: Vec<(&str, &str)> = names.iter().map(|name| ("match", name.as_str())).collect();
    assert_eq!(hub.subscribe_status(&matchers[..100], &[]), 200);
    assert_eq!(hub.subscribe_status(&matchers, &[]), 400);
    let longest = format!("/{}", "a".repeat(4095));
    assert_eq!(hub.subscribe_status(&[("match_urlpattern", &longest)], &[]), 200);
    assert_eq!(hub.subscribe_status(&[("match_urlpattern", &format!("{longest}a"))], &[]), 400);
}

#[test]
fn one_topic_or_one_byte_of_the_body_too_many_is_413() {
    let hub = Hub::start(&["--anonymous", "--max-body-bytes", "64KiB"]);
    let names: Vec<String> = (0..=1000).map(|n| n.to_string()).collect();
    let topics: Vec<(&str, &str)> = names.iter().map(|name| ("topic", name.as_str())).collect();
    assert_eq!(hub.post(&publisher(), &topics[..1000]).status, 200);
    assert_eq!(hub.post(&publisher(), &topics).status, 413);
    let data = "x".repeat((64 << 10) - "topic=urn%3Aa&data=".len());
    assert_eq!(hub.post(&publisher(), &[("topic", "urn:a"), ("data", &data)]).status, 200);
    assert_eq!(hub.post(&publisher(), &[("topic", "urn:a"), ("data", &(data + "x"))]).status, 413);
}

#[test]
fn one_topic_of_a_token_too_many_is_401() {
    let hub = Hub::start(&[]);
    let status = |entries: &[usize]| {
        let entry = |&topics: &usize| {
            let topics: Vec<_> = (0..topics).map(|n| json!({"match": format!("urn:{n}")})).collect();
            json!({"type": "https://mercure.rocks/authorization-detail", "actions": ["publish"], "topics": topics})
        };
        let token = Token::with_details(entries.iter().map(entry).collect()).sign(PUBLISHER_KEY);
        hub.post(&token, &[("topic", "urn:0")]).status
    };
    assert_eq!(status(&[100]), 200);
    assert_eq!(status(&[101]), 401);
    assert_eq!(status(&[50, 50]), 200);
    assert_eq!(status(&[51, 50]), 401, "topics are counted over all entries");
}

#[test]
fn the_head_of_a_stream_is_sent_before_any_event() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    client.request("GET", &query(&[("match", "urn:nothing-happens-here")]), &[], None);
    assert_eq!(client.head().expect("a head").status, 200);
}

#[test]
fn requests_that_only_read_need_no_origin_with_a_cookie() {
    let hub = Hub::start(&["--publish-origin", "https://app.example"]);
    let cookie = format!("{COOKIE}={}", subscriber());
    for headers in [
        vec![("Cookie", cookie.as_str())],
        vec![("Cookie", cookie.as_str()), ("Origin", "https://evil.example")],
        vec![("Cookie", cookie.as_str()), ("Referer", "https://evil.example/")],
    ] {
        assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &headers), 200);
        assert_eq!(hub.request("HEAD", &query(&[("match", "urn:a")]), &headers).status, 200);
    }
}

#[test]
fn a_star_in_the_list_of_origins_allows_every_page_without_credentials() {
    let hub = Hub::start(&["--anonymous", "--cors-origin", "*"]);
    let stream = hub.try_subscribe(&[("match", "urn:a")], &[("Origin", "https://any.example")]).expect("a stream");
    assert_eq!(stream.head.header("access-control-allow-origin"), Some("*"));
    assert_eq!(stream.head.header("access-control-allow-credentials"), None);
}

#[test]
fn keys_that_a_token_brings_along_are_never_used() {
    let hub = Hub::start(&[]);
    let own = "a-secret-of-the-attacker-0123456789abcdef";
    let key = json!({"kty": "oct", "k": base64url(own.as_bytes()), "alg": "HS256", "kid": "own"});
    for (name, value) in [
        ("jwk", key),
        ("jku", json!("https://attacker.example/keys.json")),
        ("x5u", json!("https://attacker.example/certificate.pem")),
        ("x5c", json!(["MIIB"])),
        ("kid", json!("own")),
    ] {
        let token = Token::granting(&["publish"], &["*"]).header(name, value);
        assert_eq!(hub.post(&token.sign(own), &[("topic", "urn:a")]).status, 401, "{name}");
        assert_eq!(hub.post(&token.sign(PUBLISHER_KEY), &[("topic", "urn:a")]).status, 200, "{name} is a hint at most");
    }
}

#[test]
fn an_update_is_private_for_every_subscriber_it_reaches_by_whatever_topic() {
    let hub = Hub::anonymous();
    let mut canonical = hub.subscribe_as(&subscriber_of(&["urn:b"]), &[("match", "urn:a")]);
    let mut alternate = hub.subscribe_as(&subscriber_of(&["urn:c"]), &[("match", "urn:b")]);
    hub.publish(&[("topic", "urn:a"), ("topic", "urn:b"), ("private", "on"), ("data", "secret")]);
    hub.publish(&[("topic", "urn:a"), ("topic", "urn:b"), ("data", "public")]);
    assert_eq!(canonical.datas(2), ["secret", "public"]);
    assert_eq!(alternate.data(), "public");
}

#[test]
fn an_update_without_data_reaches_its_subscribers() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let id = hub.publish(&[("topic", "urn:a")]);
    let event = stream.next();
    assert_eq!((event.id, event.data), (id, String::new()));
}

#[test]
fn what_administrators_ask_for_is_not_on_the_public_address() {
    let hub = Hub::anonymous();
    for path in
        ["/healthz", "/health/ready", "/health/live", "/mercure/health/ready", "/mercure/health/live", "/metrics"]
    {
        assert_eq!(hub.request("GET", path, &[]).status, 404, "{path}");
    }
}

#[test]
fn the_log_has_no_data_and_no_tokens_however_much_is_logged() {
    let mut hub = Hub::start(&["--anonymous", "--log", "trace"]);
    let (reader, writer, denied) = (subscriber(), publisher(), publisher_of(&["urn:else"]));
    let cookie = format!("{COOKIE}={reader}");
    let mut stream = hub.subscribe_as(&reader, &[("match", "urn:a")]);
    let mut by_cookie = hub.try_subscribe(&[("match", "urn:a")], &[("Cookie", &cookie)]).expect("a stream");
    let update = |private: bool| {
        let mut fields = vec![("topic", "urn:a"), ("data", "what-only-subscribers-may-read")];
        fields.extend(private.then_some(("private", "on")));
        fields
    };
    for private in [false, true] {
        assert_eq!(hub.post(&writer, &update(private)).status, 200);
    }
    assert_eq!(hub.post(&denied, &update(true)).status, 403);
    assert_eq!(hub.post(&format!("{writer}x"), &update(true)).status, 401);
    assert_eq!((stream.datas(2).len(), by_cookie.datas(2).len()), (2, 2));
    hub.stop();
    let log = hub.log();
    assert!(log.contains("an access token was refused"), "{log}");
    for secret in ["what-only-subscribers-may-read", &reader, &writer, &denied] {
        let signature = secret.rsplit('.').next().expect("a part");
        assert!(!log.contains(signature), "{signature} in the log:\n{log}");
    }
}
