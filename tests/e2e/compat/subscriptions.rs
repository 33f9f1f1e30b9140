//! Who is subscribed, as it was asked before version 1.0: addresses, documents and payloads.

use super::*;

const SUBSCRIPTIONS: &str = "/.well-known/mercure/subscriptions";

fn hub() -> Hub {
    launch("8").args(&["--anonymous", "--subscriptions"]).start()
}

fn ask(hub: &Hub, token: &str, path: &str) -> Response {
    hub.request("GET", &format!("{SUBSCRIPTIONS}{path}"), &[("Authorization", &format!("Bearer {token}"))])
}

fn documents(hub: &Hub, path: &str) -> Vec<Value> {
    let answer = ask(hub, &old_subscriber(&["*"]), path);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{path}: {answer:?}");
    let list: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((&list["id"], &list["type"]), (&json!(format!("{SUBSCRIPTIONS}{path}")), &json!("subscriptions")));
    list["subscriptions"].as_array().expect("an array").clone()
}

#[test]
fn the_payload_is_that_of_the_first_matching_entry_or_that_of_the_claim() {
    let hub = hub();
    let payload = |claim: &Value, topic: &str| {
        let stream = hub.subscribe_as(&old(claim.clone()).sign(SUBSCRIBER_KEY), &[("topic", topic)]);
        let mut found = Vec::new();
        eventually("it is announced", || {
            found = documents(&hub, "");
            found.len() == 1
        });
        drop(stream);
        eventually("it has ended", || documents(&hub, "").is_empty());
        found[0].get("payload").cloned()
    };
    let entries = json!(["urn:without", {"match": "urn:a", "payload": {"n": 1}}, {"match": "urn:a", "payload": {"n": 2}},
        {"match": "/r/:id", "match_type": "urlpattern", "payload": {"n": 3}}]);
    let (some, all) = (json!({"subscribe": entries}), json!({"subscribe": entries, "payload": {"n": 0}}));
    for (topic, without, with) in [
        ("urn:a", Some(1), 1),
        ("/r/7", Some(3), 3),
        ("urn:without", None, 0),
        ("urn:ungranted", None, 0),
        ("urn:{template}", None, 0),
    ] {
        assert_eq!(payload(&some, topic), without.map(|n| json!({"n": n})), "{topic}");
        assert_eq!(payload(&all, topic), Some(json!({"n": with})), "{topic}");
    }
}

#[test]
fn topics_are_listed_by_one_segment_and_types_by_two() {
    let hub = hub();
    let _streams = [
        hub.subscribe(&[("topic", "exact")]),
        hub.subscribe(&[("topic", "urn:a"), ("topic", "/books/{id}")]),
        hub.subscribe(&[("match", "urn:a")]),
    ];
    eventually("all are announced", || documents(&hub, "").len() == 4);
    let topics = |path: &str| documents(&hub, path).iter().map(|one| one["topic"].clone()).collect::<Vec<_>>();
    assert_eq!(topics("/exact"), [json!("exact")]);
    assert_eq!(topics("/urn%3Aa"), [json!("urn:a")]);
    assert_eq!(topics("/%2Fbooks%2F%7Bid%7D"), [json!("/books/{id}")]);
    let of_today = documents(&hub, "/exact/urn%3Aa");
    assert_eq!(of_today.len(), 1);
    assert_eq!([&of_today[0]["match_type"], &of_today[0]["match"]], [&json!("exact"), &json!("urn:a")]);
    // The one of a topic that is called like a type: its address reads as a collection of today.
    let named = documents(&hub, "/exact")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(documents(&hub, named.strip_prefix(SUBSCRIPTIONS).unwrap()), [Value::Null; 0]);
    let address = documents(&hub, "/urn%3Aa")[0]["id"].as_str().unwrap().to_owned();
    let one = ask(&hub, &old_subscriber(&["*"]), address.strip_prefix(SUBSCRIPTIONS).unwrap());
    let one: Value = serde_json::from_slice(&one.body).unwrap();
    assert_eq!([&one["id"], &one["topic"], &one["type"]], [&json!(address), &json!("urn:a"), &json!("subscription")]);
    assert!(one.get("match").is_none() && one.get("match_type").is_none(), "{one}");
}

#[test]
fn a_grant_selects_addresses_by_text_and_by_template() {
    let hub = hub();
    let paths = ["", "/urn%3Aa", "/urn%3Aa/urn%3Anobody", "/exact/urn%3Aa", "/exact/urn%3Aa/urn%3Anobody"];
    let statuses = |grant: &str| {
        let token = old_subscriber(&[&format!("{SUBSCRIPTIONS}{grant}")]);
        paths.map(|path| ask(&hub, &token, path).status)
    };
    assert_eq!(statuses("{/topic}{/subscriber}"), [200, 200, 404, 200, 403]);
    assert_eq!(statuses("/{topic}"), [403, 200, 403, 403, 403]);
    assert_eq!(statuses("/urn%3Aa"), [403, 200, 403, 403, 403]);
    assert_eq!(statuses("/urn:a"), [403; 5]);
    assert_eq!(statuses("{/parts*}"), [200, 200, 404, 200, 404]);
}
