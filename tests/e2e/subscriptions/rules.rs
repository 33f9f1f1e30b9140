//! Rules of §9 that the stories don't come by.

use super::*;
use std::collections::BTreeSet;

const LISTED: &str = "https://app.example";

#[test]
fn the_subscriber_id_is_made_by_the_hub_for_each_connection() {
    let hub = hub();
    let mut observer = hub.subscribe_as(&observer(), &[EVERYBODY]);
    announced(&mut observer);
    // The same token, whose `sub` is "somebody", and the same wishes of the client.
    let wishes = [("match", "urn:a"), ("subscriber", "urn:mine"), ("id", "urn:mine")];
    let streams: Vec<Stream> = (0..3).map(|_| hub.subscribe_as(&subscriber(), &wishes)).collect();
    let ids: BTreeSet<String> =
        (0..3).map(|_| announced(&mut observer)["subscriber"].as_str().unwrap().into()).collect();
    assert_eq!(ids.len(), streams.len(), "{ids:?}");
    for id in ids {
        assert!(id.starts_with("urn:uuid:") && !id.contains("somebody") && !id.contains("mine"), "{id}");
    }
}

#[test]
fn the_address_of_a_subscription_is_its_topic_and_each_part_of_it_is_encoded_exactly_once() {
    let hub = hub();
    let mut everybody = hub.subscribe_as(&observer(), &[EVERYBODY]);
    announced(&mut everybody);
    for (text, encoded) in [
        ("a%2Fb", "a%252Fb"),
        ("a b+c/é?#&=", "a%20b%2Bc%2F%C3%A9%3F%23%26%3D"),
        ("~._-", "~._-"),
        ("*", "%2A"),
        ("(a;b)!'$,@[]", "%28a%3Bb%29%21%27%24%2C%40%5B%5D"),
        ("https://e.com/1", "https%3A%2F%2Fe.com%2F1"),
    ] {
        let stream = hub.subscribe(&[("match", text)]);
        let begun = announced(&mut everybody);
        let subscriber = begun["subscriber"].as_str().unwrap().replace(':', "%3A");
        let address = format!("{SUBSCRIPTIONS}/exact/{encoded}/{subscriber}");
        assert_eq!((&begun["id"], &begun["match"]), (&json!(address), &json!(text)));
        assert_eq!(listed(&hub, &address), begun);
        let mut follower = hub.subscribe_as(&subscriber_of(&[&address]), &[("match", &address)]);
        drop(stream);
        // The beginning may still be on its way to the shard of whoever comes now.
        let ended = (0..2).map(|_| announced(&mut follower)).find(|event| event["active"] == json!(false));
        assert_eq!(ended.map(|event| event["id"].clone()), Some(begun["id"].clone()), "its address is its topic");
        drop(follower);
        (0..3).for_each(|_| drop(announced(&mut everybody)));
    }
}

#[test]
fn the_payload_is_that_of_the_first_entry_that_covers_the_matcher() {
    let hub = hub();
    let mut observer = hub.subscribe_as(&observer(), &[EVERYBODY]);
    announced(&mut observer);
    let entry = |action: &str, topics: Value, number: u8| {
        json!({"type": "https://mercure.rocks/authorization-detail", "actions": [action], "topics": topics,
            "payload": {"n": number}})
    };
    let pattern = |text: &str| json!([{"match": text, "match_type": "urlpattern"}]);
    let mut entries = vec![
        entry("publish", json!([{"match": "*"}]), 0),
        entry("subscribe", json!([{"match": "urn:x"}, {"match": "urn:a"}]), 1),
        entry("subscribe", pattern("/r/:x"), 2),
        entry("subscribe", pattern("/q/(a|b)"), 3),
        entry("subscribe", json!([{"match": "urn:a"}, {"match": "/r/:x"}]), 4),
    ];
    let matchers = [
        ("match", "urn:a"),
        ("match_urlpattern", "/r/:x"),
        ("match", "/r/7"),
        ("match_urlpattern", "/q/(a|b)"),
        ("match", "urn:none"),
        ("match_urlpattern", "/:all"),
    ];
    let mut payloads = |entries: &[Value]| {
        let token = Token::with_details(json!(entries)).sign(SUBSCRIBER_KEY);
        let stream = hub.subscribe_as(&token, &matchers);
        let found = matchers.map(|_| announced(&mut observer).get("payload").map(|payload| payload["n"].clone()));
        drop(stream);
        matchers.iter().for_each(|_| drop(announced(&mut observer)));
        found
    };
    let [one, two, three, five] = [1, 2, 3, 5].map(|number| Some(json!(number)));
    assert_eq!(payloads(&entries), [one.clone(), two.clone(), two.clone(), three.clone(), None, None]);
    entries.push(entry("subscribe", json!([{"match": "*"}]), 5));
    assert_eq!(payloads(&entries), [one, two.clone(), two, three, five.clone(), five]);
}

#[test]
fn every_answer_of_the_api_is_json_with_a_link_that_pages_may_read() {
    let hub = Hub::start(&["--anonymous", "--subscriptions", "--cors-origin", LISTED]);
    let mut witness = hub.subscribe_as(&observer(), &[EVERYBODY]);
    announced(&mut witness);
    let _stream = hub.subscribe(&[("match", "urn:a")]);
    // It is listed a moment before that: what is said next mustn't come in between.
    let id = announced(&mut witness)["id"].as_str().unwrap().to_owned();
    let last = hub.say("urn:b", "the last event");
    let link = format!(
        r#"</.well-known/mercure>; rel="mercure"; last-event-id="{last}"; type="mercure"; content-type="application/json""#
    );
    let bearer = format!("Bearer {}", observer());
    let headers = [("Authorization", bearer.as_str()), ("Origin", LISTED)];
    let mut targets = vec![id];
    for path in ["", "?count", "?limit=1", "/exact/urn%3Aa", "/exact/urn%3Anobody", "/urlpattern/%2F%3Aid"] {
        targets.push(format!("{SUBSCRIPTIONS}{path}"));
    }
    for target in &targets {
        for method in ["GET", "HEAD"] {
            let answer = hub.request(method, target, &headers);
            assert_eq!(answer.status, 200, "{method} {target}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {target}");
            assert!(answer.links().contains(&link), "{method} {target}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(LISTED), "{method} {target}");
            let exposed = answer.list("access-control-expose-headers");
            assert!(exposed.contains(&"link".to_owned()), "{method} {target}: {exposed:?}");
        }
    }
}

#[test]
fn only_those_who_may_read_a_subscription_learn_that_it_is_not_there() {
    let hub = hub();
    let nobody = format!("{SUBSCRIPTIONS}/exact/urn%3Aa/urn%3Auuid%3A9c0d2f7e-8f43-8b1e-9c55-0a6a31f7e9d2");
    let ask = |token: &str| hub.request("GET", &nobody, &[("Authorization", &format!("Bearer {token}"))]);
    let metadata = "https://hub.example/.well-known/oauth-protected-resource/.well-known/mercure";
    for (answer, status, error) in [
        (hub.request("GET", &nobody, &[]), 401, None),
        (ask("a.b.c"), 401, Some("invalid_token")),
        (ask(&subscriber_of(&["urn:a"])), 403, Some("insufficient_scope")),
    ] {
        assert_eq!((answer.status, answer.bearer_error().as_deref()), (status, error));
        assert!(answer.header("www-authenticate").unwrap().contains(&format!("resource_metadata=\"{metadata}\"")));
    }
    assert_eq!(ask(&subscriber_of(&[&nobody])).status, 404);
}

#[test]
fn head_announces_no_subscription() {
    let hub = hub();
    let mut everybody = hub.subscribe_as(&observer(), &[EVERYBODY]);
    announced(&mut everybody);
    for token in [None, Some(subscriber())] {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
        assert_eq!(hub.request("HEAD", &query(&[("match", "urn:head")]), &headers).status, 200);
    }
    drop(hub.subscribe(&[("match", "urn:get")]));
    for active in [true, false] {
        let seen = announced(&mut everybody);
        assert_eq!((&seen["match"], &seen["active"]), (&json!("urn:get"), &json!(active)));
    }
    let mut late = hub.subscribe_as(&observer(), &[EVERYBODY, ("last_event_id", "earliest")]);
    let mut told: Vec<Value> = (0..4).map(|_| announced(&mut late)["match"].clone()).collect();
    told.dedup();
    assert_eq!(told, [json!(EVERYBODY.1), json!("urn:get"), json!(EVERYBODY.1)], "history has no other");
}

#[test]
fn the_matchers_of_a_query_are_subscriptions_wherever_they_stand() {
    let hub = hub();
    let mut observer = hub.subscribe_as(&observer(), &[EVERYBODY]);
    announced(&mut observer);
    let mut client = hub.connect();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    client.request("QUERY", &query(&[("match", "urn:a")]), &form, Some(b"match_urlpattern=%2Fr%2F%3Aid"));
    let _stream = client.stream().expect("a stream");
    let begun = [announced(&mut observer), announced(&mut observer)];
    assert_eq!([&begun[0]["match"], &begun[1]["match"]], [&json!("urn:a"), &json!("/r/:id")]);
    assert_eq!(begun[0]["subscriber"], begun[1]["subscriber"]);
}
