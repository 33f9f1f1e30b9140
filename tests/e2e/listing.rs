//! Lists of subscriptions (protocol §9) under pressure: large documents, slow readers, a hub that stops.

use crate::harness::*;
use serde_json::{Value, json};

const SUBSCRIPTIONS: &str = "/.well-known/mercure/subscriptions";
/// Bytes of the payload that every subscription shows.
const PAYLOAD: usize = 4_000;
/// Matchers of a subscriber.
const MATCHERS: usize = 100;

fn token(topic: &str) -> String {
    let details = json!([{
        "type": "https://mercure.rocks/authorization-detail",
        "actions": ["subscribe"],
        "topics": [{"match": topic}],
        "payload": {"text": "p".repeat(PAYLOAD)},
    }]);
    Token::with_details(details).sign(SUBSCRIBER_KEY)
}

/// Subscribers with as much to say as there may be, all of them listed.
fn crowd(hub: &Hub, subscribers: usize) -> Vec<Stream> {
    let token = token("*");
    let topics: Vec<String> = (0..MATCHERS).map(|n| format!("urn:{n}")).collect();
    let parameters: Vec<_> = topics.iter().map(|topic| ("match", topic.as_str())).collect();
    let crowd = (0..subscribers).map(|_| hub.subscribe_as(&token, &parameters)).collect();
    eventually("everybody is listed", || {
        documents(&get(hub, SUBSCRIPTIONS).response("GET")).len() == subscribers * MATCHERS
    });
    crowd
}

fn get(hub: &Hub, target: &str) -> Client {
    let mut client = hub.connect();
    let bearer = format!("Bearer {}", token(SUBSCRIPTIONS));
    client.request("GET", target, &[("Authorization", &bearer)], None);
    client
}

fn documents(response: &Response) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&response.body).expect("JSON");
    body["subscriptions"].as_array().expect("an array").clone()
}

/// Seen: what 64 subscribers had to show was made in one go, megabytes of it. Forty such lists that nobody read took
/// hundreds of megabytes, and no publish was answered while they were made.
#[test]
fn a_list_is_made_in_small_pieces_however_much_a_subscriber_shows() {
    let hub = Hub::start(&["--subscriptions"]);
    let _crowd = crowd(&hub, 10);
    let mut list = get(&hub, SUBSCRIPTIONS);
    assert!(list.head().expect("an answer").is_chunked());
    let mut body = Vec::new();
    while let Some(piece) = read_chunk(&mut list).expect("a whole list") {
        assert!(piece.len() < 64 * 1024, "a piece has {} bytes", piece.len());
        body.extend(piece);
    }
    let list: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(list["subscriptions"].as_array().expect("an array").len(), 10 * MATCHERS);
}

#[test]
fn a_page_has_fewer_documents_when_they_are_large() {
    let hub = Hub::start(&["--subscriptions"]);
    let _crowd = crowd(&hub, 4);
    let (mut found, mut next) = (Vec::new(), Some(format!("{SUBSCRIPTIONS}?limit=1000")));
    while let Some(page) = next {
        let response = get(&hub, &page).response("GET");
        assert!(response.body.len() < 640 * 1024, "a page has {} bytes", response.body.len());
        found.extend(documents(&response).iter().map(|document| document["id"].to_string()));
        let links = response.links();
        let link = links.iter().find(|link| link.contains("rel=\"next\""));
        next = link.map(|link| link[1..link.find('>').expect("a link")].to_owned());
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 4 * MATCHERS);
}

/// Seen: a list that was read slowly kept all streams from ending, and asked a shard that had ended already, for ever.
#[test]
fn a_list_that_is_read_slowly_is_cut_when_the_hub_stops() {
    let mut hub = Hub::start(&["--subscriptions"]);
    let mut crowd = crowd(&hub, 30);
    let mut list = get(&hub, SUBSCRIPTIONS);
    assert!(list.head().expect("an answer").is_chunked());
    assert!(hub.stop().success());
    assert!(!hub.log().contains("did not end in time"), "{}", hub.log());
    for stream in &mut crowd {
        assert_eq!(stream.rest().1, End::LastChunk);
    }
    while let Some(piece) = read_chunk(&mut list) {
        assert!(piece.is_some(), "a list that was cut has no proper end");
    }
}
