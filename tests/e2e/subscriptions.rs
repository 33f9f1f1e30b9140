//! Active subscriptions (protocol §9): who comes and goes is announced to those who may know, and listed.

mod rules;

use crate::harness::*;
use serde_json::{Value, json};

const SUBSCRIPTIONS: &str = "/.well-known/mercure/subscriptions";
/// A pattern for every announcement.
pub(crate) const EVERYBODY: (&str, &str) =
    ("match_urlpattern", "/.well-known/mercure/subscriptions/:type/:match/:subscriber");

fn hub() -> Hub {
    Hub::start(&["--anonymous", "--subscriptions"])
}

/// A token for everything under the hub's own path.
pub(crate) fn observer() -> String {
    let details = json!([{
        "type": "https://mercure.rocks/authorization-detail",
        "actions": ["subscribe"],
        "topics": [{"match": format!("{SUBSCRIPTIONS}*"), "match_type": "urlpattern"}],
    }]);
    Token::with_details(details).sign(SUBSCRIBER_KEY)
}

fn get(hub: &Hub, path: &str) -> Response {
    get_with(hub, path, &[])
}

fn get_with(hub: &Hub, path: &str, headers: &[(&str, &str)]) -> Response {
    let bearer = format!("Bearer {}", observer());
    let mut all = vec![("Authorization", bearer.as_str())];
    all.extend_from_slice(headers);
    hub.request("GET", path, &all)
}

pub(crate) fn listed(hub: &Hub, path: &str) -> Value {
    let response = get(hub, path);
    assert_eq!(response.status, 200, "{path}: {response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    serde_json::from_slice(&response.body).expect("JSON")
}

pub(crate) fn documents(hub: &Hub, path: &str) -> Vec<Value> {
    listed(hub, path)["subscriptions"].as_array().expect("an array").clone()
}

fn announced(stream: &mut Stream) -> Value {
    let event = stream.next();
    assert_eq!(event.event.as_deref(), Some("mercure"), "{event:?}");
    serde_json::from_str(&event.data).expect("JSON")
}

pub(crate) fn count(hub: &Hub, path: &str) -> u64 {
    listed(hub, &format!("{path}?count"))["count"].as_u64().expect("a number")
}

#[test]
fn a_subscription_that_begins_or_ends_is_announced() {
    let hub = hub();
    let mut observer = hub.subscribe_as(&observer(), &[EVERYBODY]);
    // It may see itself come: it was there when that was announced.
    let own = announced(&mut observer);
    assert_eq!(own["match"], EVERYBODY.1);
    let payload = json!([{"type": "https://mercure.rocks/authorization-detail", "actions": ["subscribe"],
        "topics": [{"match": "https://e.com/:id", "match_type": "urlpattern"}], "payload": {"name": "Zoe"}}]);
    let token = Token::with_details(payload).sign(SUBSCRIBER_KEY);
    let stream = hub.subscribe_as(&token, &[("match_urlpattern", "https://e.com/:id")]);
    let begun = announced(&mut observer);
    let subscriber = begun["subscriber"].as_str().unwrap().to_owned();
    assert!(subscriber.starts_with("urn:uuid:") && subscriber != own["subscriber"]);
    let encoded = subscriber.replace(':', "%3A");
    let id = format!("{SUBSCRIPTIONS}/urlpattern/https%3A%2F%2Fe.com%2F%3Aid/{encoded}");
    let mut document = json!({"id": id, "type": "subscription", "match_type": "urlpattern", "match": "https://e.com/:id",
        "subscriber": subscriber, "active": true, "payload": {"name": "Zoe"}});
    assert_eq!(begun, document);
    drop(stream);
    document["active"] = json!(false);
    assert_eq!(announced(&mut observer), document);
}

#[test]
fn the_matchers_of_a_connection_are_subscriptions_of_one_subscriber() {
    let hub = hub();
    let mut observer = hub.subscribe_as(&observer(), &[EVERYBODY]);
    announced(&mut observer);
    let stream = hub.subscribe(&[("match", "a"), ("match", "*"), ("match_urlpattern", "*"), ("match", "a")]);
    let begun: Vec<Value> = (0..3).map(|_| announced(&mut observer)).collect();
    let told: Vec<[&str; 2]> =
        begun.iter().map(|one| [one["match_type"].as_str().unwrap(), one["match"].as_str().unwrap()]).collect();
    assert_eq!(told, [["exact", "a"], ["exact", "*"], ["urlpattern", "*"]]);
    assert!(begun.iter().all(|one| one["subscriber"] == begun[0]["subscriber"]));
    drop(stream);
    let ended: Vec<Value> = (0..3).map(|_| announced(&mut observer)).collect();
    assert!(ended.iter().zip(&begun).all(|(end, begin)| end["id"] == begin["id"] && end["active"] == json!(false)));
}

#[test]
fn announcements_are_private() {
    let hub = hub();
    let mut observer = hub.subscribe_as(&observer(), &[EVERYBODY, ("match", "urn:a")]);
    let mut anonymous = hub.subscribe(&[("match", "*")]);
    let mut ungranted = hub.subscribe_as(&subscriber_of(&["urn:a"]), &[("match", "*")]);
    (0..4).for_each(|_| drop(announced(&mut observer)));
    hub.say("urn:a", "public");
    for stream in [&mut anonymous, &mut ungranted, &mut observer] {
        assert_eq!(stream.data(), "public");
    }
}

#[test]
fn nobody_but_the_hub_publishes_announcements() {
    let hub = hub();
    let topic = format!("{SUBSCRIPTIONS}/exact/a/b");
    assert_eq!(hub.post(&publisher(), &[("topic", &topic), ("data", "{}")]).status, 400);
    assert_eq!(hub.post(&publisher(), &[("topic", "urn:a"), ("type", "mercure")]).status, 400);
}

#[test]
fn who_is_subscribed_is_listed_by_all_by_matcher_and_one_by_one() {
    let hub = hub();
    let _streams = [
        hub.subscribe(&[("match", "urn:a"), ("match_urlpattern", "/r/:id")]),
        hub.subscribe(&[("match", "urn:a")]),
        hub.subscribe(&[("match", "urn:b/é?")]),
    ];
    eventually("all are announced", || documents(&hub, SUBSCRIPTIONS).len() == 4);
    let all = listed(&hub, SUBSCRIPTIONS);
    assert_eq!((&all["id"], &all["type"]), (&json!(SUBSCRIPTIONS), &json!("subscriptions")));
    for (path, expected) in
        [("exact/urn%3Aa", 2), ("exact/urn:a", 2), ("urlpattern/%2Fr%2F%3Aid", 1), ("exact/urn%3Ab%2F%C3%A9%3F", 1)]
    {
        let path = format!("{SUBSCRIPTIONS}/{path}");
        let found = listed(&hub, &path);
        assert_eq!(found["id"], json!(path));
        assert_eq!(found["subscriptions"].as_array().unwrap().len(), expected, "{path}");
        assert_eq!(count(&hub, &path), expected as u64);
    }
    assert_eq!(count(&hub, SUBSCRIPTIONS), 4);
    for document in documents(&hub, SUBSCRIPTIONS) {
        assert_eq!(listed(&hub, document["id"].as_str().unwrap()), document);
    }
}

#[test]
fn what_nobody_subscribes_to_is_an_empty_list_and_an_unknown_subscription_404() {
    let hub = hub();
    let stream = hub.subscribe(&[("match", "urn:a")]);
    eventually("it is announced", || documents(&hub, SUBSCRIPTIONS).len() == 1);
    let id = documents(&hub, SUBSCRIPTIONS)[0]["id"].as_str().unwrap().to_owned();
    for path in ["exact/urn%3Ab", "urlpattern/urn%3Aa", "exact/%00", "urlpattern/%28"] {
        assert_eq!(documents(&hub, &format!("{SUBSCRIPTIONS}/{path}")), [Value::Null; 0], "{path}");
    }
    let other = id.replace("urn%3Aa", "urn%3Ab");
    for path in [other, format!("{SUBSCRIPTIONS}/exact/urn%3Aa/urn%3Auuid%3A9c0d2f7e-8f43-8b1e-9c55-0a6a31f7e9d2")] {
        assert_eq!(get(&hub, &path).status, 404, "{path}");
    }
    assert_eq!(get(&hub, &id).status, 200);
    drop(stream);
    eventually("an ended subscription is gone", || get(&hub, &id).status == 404);
    assert!(documents(&hub, SUBSCRIPTIONS).is_empty());
}

#[test]
fn unknown_types_and_bad_escapes_are_400_and_other_paths_404() {
    let hub = hub();
    for path in ["Exact/a", "topic/a", "exact/%", "exact/%zz", "exact/%FF", "exact/a/%4"] {
        assert_eq!(get(&hub, &format!("{SUBSCRIPTIONS}/{path}")).status, 400, "{path}");
    }
    for path in ["/", "/exact", "/exact/a/b/c", "x"] {
        assert_eq!(get(&hub, &format!("{SUBSCRIPTIONS}{path}")).status, 404, "{path}");
    }
    assert_eq!(
        hub.request("GET", &format!("{SUBSCRIPTIONS}/exact/%"), &[]).status,
        400,
        "the shape comes before the token"
    );
}

#[test]
fn the_list_needs_a_token_that_grants_its_path() {
    let hub = hub();
    let _stream = hub.subscribe(&[("match", "urn:a")]);
    let missing = hub.request("GET", SUBSCRIPTIONS, &[]);
    assert_eq!(missing.status, 401);
    assert!(missing.header("www-authenticate").unwrap().starts_with("Bearer"));
    let as_bearer =
        |token: &str, path: &str| hub.request("GET", path, &[("Authorization", &format!("Bearer {token}"))]).status;
    let of_one = format!("{SUBSCRIPTIONS}/exact/urn%3Aa");
    let token = subscriber_of(&[&of_one]);
    assert_eq!([as_bearer(&token, SUBSCRIPTIONS), as_bearer(&token, &of_one)], [403, 200]);
    // The query is no part of what is granted; the spelling of the path is.
    assert_eq!(as_bearer(&token, &format!("{of_one}?count")), 200);
    assert_eq!(as_bearer(&token, &format!("{SUBSCRIPTIONS}/exact/urn:a")), 403);
    assert_eq!(as_bearer(&publisher(), SUBSCRIPTIONS), 401, "a publisher's key is no subscriber's");
    let publishes = Token::granting(&["publish"], &["*"]).sign(SUBSCRIBER_KEY);
    assert_eq!(as_bearer(&publishes, SUBSCRIPTIONS), 403);
}

#[test]
fn without_the_option_there_is_nothing() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe_as(&subscriber(), &[("match", "*")]);
    assert_eq!(get(&hub, SUBSCRIPTIONS).status, 404);
    assert_eq!(get(&hub, &format!("{SUBSCRIPTIONS}/exact/a")).status, 404);
    hub.say("urn:a", "only this");
    assert_eq!(stream.data(), "only this");
}

#[test]
fn only_get_head_and_options_are_answered() {
    let hub = hub();
    let bearer = format!("Bearer {}", observer());
    for method in ["POST", "PUT", "DELETE", "QUERY"] {
        let response = hub.request(method, SUBSCRIPTIONS, &[("Authorization", &bearer)]);
        assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD, OPTIONS")), "{method}");
    }
    assert_eq!(hub.request("OPTIONS", SUBSCRIPTIONS, &[]).status, 204);
    let head = hub.request("HEAD", SUBSCRIPTIONS, &[("Authorization", &bearer)]);
    assert_eq!(head.status, 200);
    let length = get(&hub, SUBSCRIPTIONS).body.len().to_string();
    assert_eq!(head.header("content-length"), Some(length.as_str()));
}

#[test]
fn the_answer_says_after_which_event_it_has_to_be_followed() {
    let hub = hub();
    let link = |response: &Response| response.header("link").unwrap().to_owned();
    let rest = r#"type="mercure"; content-type="application/json""#;
    assert_eq!(
        link(&get(&hub, SUBSCRIPTIONS)),
        format!(r#"</.well-known/mercure>; rel="mercure"; last-event-id="earliest"; {rest}"#)
    );
    hub.publish(&[("topic", "urn:a"), ("id", r#"a"b\c"#)]);
    let response = get(&hub, SUBSCRIPTIONS);
    assert_eq!(link(&response), format!(r#"</.well-known/mercure>; rel="mercure"; last-event-id="a\"b\\c"; {rest}"#));
    // From there on the announcements lead to what is true.
    let stream = hub.subscribe(&[("match", "urn:late")]);
    let mut observer = hub.subscribe_as(&observer(), &[EVERYBODY, ("last_event_id", r#"a"b\c"#)]);
    let seen = std::iter::from_fn(|| Some(announced(&mut observer))).find(|one| one["match"] == "urn:late");
    assert_eq!(seen.unwrap()["active"], json!(true));
    drop(stream);
}

#[test]
fn an_unchanged_hub_answers_304_to_those_who_have_its_answer() {
    let hub = hub();
    hub.say("urn:a", "x");
    let response = get(&hub, SUBSCRIPTIONS);
    let tag = response.header("etag").unwrap().to_owned();
    assert_eq!(response.header("cache-control"), Some("private, must-revalidate"));
    assert!(response.list("vary").contains(&"authorization".to_owned()));
    for tags in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let again = get_with(&hub, SUBSCRIPTIONS, &[("If-None-Match", &tags)]);
        assert_eq!((again.status, again.header("etag")), (304, Some(tag.as_str())));
    }
    hub.say("urn:a", "y");
    assert_eq!(get_with(&hub, SUBSCRIPTIONS, &[("If-None-Match", &tag)]).status, 200);
    // What isn't there has no answer to be unchanged.
    let nobody = format!("{SUBSCRIPTIONS}/exact/urn%3Aa/urn%3Auuid%3A9c0d2f7e-8f43-8b1e-9c55-0a6a31f7e9d2");
    assert_eq!(get_with(&hub, &nobody, &[("If-None-Match", "*")]).status, 404);
}

#[test]
fn pages_hold_everything_once() {
    let hub = hub();
    let streams: Vec<Stream> = (0..40)
        .map(|n| hub.subscribe(&[("match", &format!("urn:{n}")), ("match", "urn:all"), ("match", "urn:b")]))
        .collect();
    eventually("all are announced", || documents(&hub, SUBSCRIPTIONS).len() == 120);
    for (path, expected) in [(SUBSCRIPTIONS.to_owned(), 120), (format!("{SUBSCRIPTIONS}/exact/urn%3Aall"), 40)] {
        let mut next = Some(format!("{path}?limit=7"));
        let mut found = Vec::new();
        while let Some(page) = next {
            let response = get(&hub, &page);
            assert_eq!(response.status, 200, "{response:?}");
            let body: Value = serde_json::from_slice(&response.body).unwrap();
            let page = body["subscriptions"].as_array().unwrap().clone();
            assert!(page.len() <= 7);
            found.extend(page.iter().map(|document| document["id"].as_str().unwrap().to_owned()));
            next = response
                .links()
                .into_iter()
                .find(|link| link.contains("rel=\"next\""))
                .map(|link| link[1..link.find('>').unwrap()].to_owned());
        }
        assert_eq!(found.len(), expected);
        found.sort();
        found.dedup();
        assert_eq!(found.len(), expected, "nothing twice");
    }
    for query in
        ["limit=0", "limit=1001", "limit=x", "after=x", "after=urn:uuid:9c0d2f7e-8f43-8b1e-9c55-0a6a31f7e9d2.0"]
    {
        assert_eq!(get(&hub, &format!("{SUBSCRIPTIONS}?{query}")).status, 400, "{query}");
    }
    drop(streams);
}

#[test]
fn a_large_list_is_streamed() {
    let hub = hub();
    let matchers: Vec<String> = (0..60).map(|n| format!("urn:{n}")).collect();
    let matchers: Vec<(&str, &str)> = matchers.iter().map(|text| ("match", text.as_str())).collect();
    let _streams: Vec<Stream> = (0..300).map(|_| hub.subscribe(&matchers)).collect();
    eventually("all are announced", || {
        count(&hub, SUBSCRIPTIONS) == 18_000 && documents(&hub, SUBSCRIPTIONS).len() == 18_000
    });
    let response = get(&hub, SUBSCRIPTIONS);
    assert!(response.is_chunked());
    let ids: std::collections::HashSet<String> =
        documents(&hub, SUBSCRIPTIONS).iter().map(|document| document["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 18_000);
    let bearer = format!("Bearer {}", observer());
    let head = hub.request("HEAD", SUBSCRIPTIONS, &[("Authorization", &bearer)]);
    assert_eq!((head.status, head.is_chunked()), (200, true));
    // A client of HTTP/1.0 reads to the end of the connection.
    let mut old = hub.connect();
    old.send(format!("GET {SUBSCRIPTIONS} HTTP/1.0\r\nHost: h\r\nAuthorization: {bearer}\r\n\r\n").as_bytes());
    let whole: Value = serde_json::from_slice(&old.response("GET").body).unwrap();
    assert_eq!(whole["subscriptions"].as_array().unwrap().len(), 18_000);
}

#[test]
fn the_list_follows_the_configured_path() {
    let hub = Launch::serve()
        .args(&[
            "--resource",
            "https://hub.example/live/hub",
            "--issuer",
            ISSUER,
            "--subscriber-jwt-key",
            SUBSCRIBER_KEY,
        ])
        .args(&["--anonymous", "--subscriptions"])
        .start();
    let mut client = hub.connect();
    client.request("GET", "/live/hub?match=urn:a", &[], None);
    let _stream = client.stream().unwrap();
    let token = Token::granting(&["subscribe"], &["*"]).claim("aud", json!("https://hub.example/live/hub"));
    let bearer = format!("Bearer {}", token.sign(SUBSCRIBER_KEY));
    let list = || hub.request("GET", "/live/hub/subscriptions", &[("Authorization", &bearer)]);
    eventually("it is announced", || list().text().contains("/live/hub/subscriptions/exact/urn%3Aa/"));
    assert!(list().header("link").unwrap().starts_with("</live/hub>;"));
}

#[test]
fn selectors_of_before_1_0_are_announced_and_listed_under_their_old_addresses() {
    let hub = Hub::start(&["--anonymous", "--subscriptions", "--compat", "8"]);
    let claim =
        json!({"subscribe": ["/.well-known/mercure/subscriptions{/topic}{/subscriber}"], "payload": {"who": "me"}});
    let token = Token::granting(&["subscribe"], &[]).without_claim("authorization_details").claim("mercure", claim);
    let token = token.sign(SUBSCRIBER_KEY);
    let mut observer =
        hub.subscribe_as(&token, &[("topic", "/.well-known/mercure/subscriptions{/topic}{/subscriber}")]);
    let own = announced(&mut observer);
    assert_eq!(own["payload"], json!({"who": "me"}));
    let stream = hub.subscribe(&[("topic", "/books/{id}")]);
    let begun = announced(&mut observer);
    let subscriber = begun["subscriber"].as_str().unwrap().replace(':', "%3A");
    let address = format!("{SUBSCRIPTIONS}/%2Fbooks%2F%7Bid%7D/{subscriber}");
    assert_eq!(
        begun,
        json!({"id": address, "type": "subscription", "topic": "/books/{id}", "subscriber": begun["subscriber"], "active": true})
    );
    let bearer = format!("Bearer {token}");
    let get = |path: &str| hub.request("GET", path, &[("Authorization", &bearer)]);
    assert_eq!(serde_json::from_slice::<Value>(&get(&address).body).unwrap(), begun);
    let list: Value = serde_json::from_slice(&get(&format!("{SUBSCRIPTIONS}/%2Fbooks%2F%7Bid%7D")).body).unwrap();
    assert_eq!(list["subscriptions"], json!([begun]));
    drop(stream);
    assert_eq!(announced(&mut observer)["active"], json!(false));
}

#[test]
fn after_kill_minus_9_no_ghost_remains() {
    let mut hub = hub();
    let mut observer_stream = hub.subscribe_as(&observer(), &[EVERYBODY]);
    announced(&mut observer_stream);
    let gone = hub.subscribe(&[("match", "urn:gone")]);
    let gone_id = announced(&mut observer_stream)["id"].clone();
    drop(gone);
    assert_eq!(announced(&mut observer_stream)["active"], json!(false));
    let _left: Vec<Stream> = (0..3).map(|_| hub.subscribe(&[("match", "urn:left"), ("match", "urn:too")])).collect();
    let mut left: Vec<Value> = (0..6).map(|_| announced(&mut observer_stream)["id"].clone()).collect();
    let last_id = hub.say("urn:x", "after them");
    let (port, folder) = (hub.address().port(), hub.folder());
    hub.kill();
    let restart =
        || Launch::keyed().args(&["--anonymous", "--subscriptions"]).in_place_of(port, folder.clone()).start();
    let mut hub = restart();
    // Whoever comes back with the id it had is told of each of them, once.
    let mut stream = hub.subscribe_as(&observer(), &[EVERYBODY, ("last_event_id", &last_id)]);
    assert_eq!(stream.last_event_id(), Some(last_id.as_str()));
    let mut ended: Vec<Value> = Vec::new();
    loop {
        let event = announced(&mut stream);
        if event["active"] == json!(true) {
            break;
        }
        ended.push(event["id"].clone());
    }
    // The observer's own subscription was open, too.
    left.push(ended.iter().find(|id| id.as_str().unwrap().contains("urlpattern")).expect("the observer").clone());
    ended.sort_by_key(ToString::to_string);
    left.sort_by_key(ToString::to_string);
    assert_eq!(ended, left);
    assert!(!ended.contains(&gone_id));
    assert_eq!(documents(&hub, SUBSCRIPTIONS).len(), 1, "the new one alone");
    // They are not ended a second time.
    drop(stream);
    eventually("it has gone", || documents(&hub, SUBSCRIPTIONS).is_empty());
    assert!(hub.stop().success());
    let hub = restart();
    let mut stream = hub.subscribe_as(&observer(), &[EVERYBODY, ("last_event_id", "earliest")]);
    assert_eq!(announced(&mut stream)["active"], json!(true), "itself comes first");
}

#[test]
fn a_storm_of_subscribers_pushes_out_nothing_that_was_published() {
    let hub = Hub::start(&["--anonymous", "--subscriptions", "--history-max-events", "50"]);
    let first = hub.say("urn:a", "first");
    for _ in 0..20 {
        drop((0..20).map(|_| hub.subscribe(&[("match", "urn:a"), ("match", "urn:b")])).collect::<Vec<Stream>>());
    }
    eventually("the storm is over", || count(&hub, SUBSCRIPTIONS) == 0);
    let last = hub.say("urn:a", "last");
    let mut stream = hub.subscribe_as(&subscriber_of(&["urn:a"]), &[("match", "urn:a"), ("last_event_id", &first)]);
    assert_eq!(stream.last_event_id(), Some(first.as_str()));
    assert_eq!(stream.next().id, last);
    // An observer, for whom some announcements are gone, is told so.
    let observer = hub.subscribe_as(&observer(), &[EVERYBODY, ("last_event_id", &first)]);
    assert_eq!(observer.last_event_id(), Some("earliest"));
}
