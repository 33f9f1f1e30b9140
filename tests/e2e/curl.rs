//! curl as a subscriber: what people try first.

use crate::harness::*;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn curl_receives_event_by_event() {
    let hub = Hub::anonymous();
    let mut curl = Command::new("curl")
        .args(["-sN", "--max-time", "120", &format!("{}?match=urn:a", hub.url()), "-D", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let mut lines = BufReader::new(curl.stdout.take().expect("piped")).lines().map(|line| line.expect("UTF-8"));
    let status = lines.next().expect("a status line");
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
    for line in lines.by_ref() {
        if line.trim().is_empty() {
            break;
        }
    }
    for n in 0..5 {
        let id = hub.say("urn:a", &n.to_string());
        let mut event: Vec<String> = lines
            .by_ref()
            .skip_while(|line| line.is_empty() || line.starts_with(':'))
            .take_while(|line| !line.is_empty())
            .collect();
        event.sort();
        assert_eq!(event, [format!("data: {n}"), format!("id: {id}")]);
    }
    curl.kill().expect("running");
    curl.wait().expect("a child");
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
