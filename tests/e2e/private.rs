//! Private updates: routing and permission are judged each over all topics of the update.

use crate::harness::*;

#[test]
fn a_private_update_reaches_only_those_with_a_grant() {
    let hub = Hub::anonymous();
    let mut granted = hub.subscribe_as(&subscriber_of(&["urn:a"]), &[("match", "urn:a")]);
    let mut other = hub.subscribe_as(&subscriber_of(&["urn:b"]), &[("match", "urn:a")]);
    let mut nothing =
        hub.subscribe_as(&Token::with_details(serde_json::json!([])).sign(SUBSCRIBER_KEY), &[("match", "urn:a")]);
    let mut anonymous = hub.subscribe(&[("match", "urn:a")]);
    secret(&hub, &["urn:a"]);
    hub.say("urn:a", "public");
    assert_eq!(granted.datas(2), ["secret", "public"]);
    for stream in [&mut other, &mut nothing, &mut anonymous] {
        assert_eq!(stream.data(), "public");
    }
}

#[test]
fn the_grant_may_be_on_another_topic_than_the_one_followed() {
    let hub = Hub::anonymous();
    let token = subscriber_of(&["urn:alternate"]);
    let mut stream = hub.subscribe_as(&token, &[("match", "urn:canonical")]);
    secret(&hub, &["urn:canonical", "urn:alternate"]);
    secret(&hub, &["urn:canonical"]);
    hub.say("urn:canonical", "public");
    assert_eq!(stream.datas(2), ["secret", "public"]);
}

#[test]
fn a_grant_alone_does_not_subscribe() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe_as(&subscriber(), &[("match", "urn:b")]);
    secret(&hub, &["urn:a"]);
    hub.say("urn:b", "followed");
    assert_eq!(stream.data(), "followed");
}

#[test]
fn a_publish_grant_is_no_subscribe_grant() {
    let hub = Hub::anonymous();
    let token = Token::granting(&["publish"], &["*"]).sign(SUBSCRIBER_KEY);
    let mut stream = hub.subscribe_as(&token, &[("match", "urn:a")]);
    secret(&hub, &["urn:a"]);
    hub.say("urn:a", "public");
    assert_eq!(stream.data(), "public");
}

#[test]
fn grants_by_pattern_and_by_star_count() {
    let hub = Hub::anonymous();
    let details = serde_json::json!([{
        "type": "https://mercure.rocks/authorization-detail",
        "actions": ["subscribe", "dance"],
        "topics": [{"match": "https://e.example/r/:id", "match_type": "urlpattern"}, {"match": "urn:x", "match_type": "exact"}],
        "payload": {"name": "Zoe"},
        "locations": ["https://elsewhere.example"]
    }]);
    let mut by_pattern = hub.subscribe_as(&Token::with_details(details).sign(SUBSCRIBER_KEY), &[("match", "*")]);
    let mut by_star = hub.subscribe_as(&subscriber(), &[("match", "*")]);
    for topic in ["https://e.example/r/1", "https://e.example/s/1", "urn:x", "urn:y"] {
        hub.publish(&[("topic", topic), ("private", ""), ("data", topic)]);
    }
    hub.say("urn:end", "end");
    assert_eq!(by_pattern.datas(3), ["https://e.example/r/1", "urn:x", "end"]);
    assert_eq!(by_star.datas(5)[4], "end");
}

#[test]
fn a_private_update_needs_a_publish_grant_on_every_topic_too() {
    let hub = Hub::anonymous();
    let response = hub.post(&publisher_of(&["urn:a"]), &[("topic", "urn:a"), ("topic", "urn:b"), ("private", "on")]);
    assert_eq!(response.status, 403);
}

fn secret(hub: &Hub, topics: &[&str]) {
    let mut fields: Vec<(&str, &str)> = topics.iter().map(|&topic| ("topic", topic)).collect();
    fields.extend([("private", "on"), ("data", "secret")]);
    hub.publish(&fields);
}
