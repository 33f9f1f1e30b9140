//! curl as a subscriber: what people try first.

use crate::harness::*;
use std::process::Command;

#[test]
fn curl_receives_event_by_event() {
    let hub = Hub::anonymous();
    let curl = Process::bash(&format!("curl -sN -D - '{}?match=urn:a'", hub.url()));
    let status = curl.line();
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
    while !curl.line().trim().is_empty() {}
    for n in 0..5 {
        let id = hub.say("urn:a", &n.to_string());
        let mut event = Vec::new();
        while event.len() < 2 {
            let line = curl.line();
            if !line.is_empty() && !line.starts_with(':') {
                event.push(line);
            }
        }
        event.sort();
        assert_eq!(event, [format!("data: {n}"), format!("id: {id}")]);
    }
}

#[test]
fn curl_publishes_a_form() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "https://e.example/books/1")]);
    let output = Command::new("curl")
        .args(["-s", "-H", &format!("Authorization: Bearer {}", publisher())])
        .args(["-d", "topic=https://e.example/books/1", "--data-urlencode", "data={\"title\": \"a & b\"}", &hub.url()])
        .output()
        .expect("curl is installed");
    let event = stream.next();
    assert_eq!(event.data, "{\"title\": \"a & b\"}");
    assert_eq!(event.id, String::from_utf8_lossy(&output.stdout));
}
