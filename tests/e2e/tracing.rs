//! Spans at a collector, with the feature `otel`.

use crate::harness::*;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

/// A collector that takes what it is given and hands on each span.
fn collector() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, spans) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            loop {
                let (mut length, mut line) = (0, String::new());
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
                assert!(line.starts_with("POST /v1/traces HTTP/1.1"), "{line}");
                while line != "\r\n" {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let batch: Value = serde_json::from_slice(&body).unwrap();
                for span in batch["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap() {
                    let _ = sender.send(span.clone());
                }
                reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
            }
        }
    });
    (url, spans)
}

fn attribute(span: &Value, key: &str) -> Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|attribute| attribute["key"] == key);
    found.map_or(Value::Null, |attribute| attribute["value"].clone())
}

#[test]
fn publishes_and_subscriptions_are_spans_without_data_and_tokens() {
    let (url, spans) = collector();
    let hub = Hub::start(&["--anonymous", "--otlp-endpoint", &url]);
    let mut stream =
        hub.try_subscribe(&[("match", "urn:a"), ("last_event_id", "urn:somewhere")], &[]).expect("a stream");
    let token = publisher();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = [("topic", "urn:a"), ("topic", "urn:b"), ("private", "on"), ("data", "a secret")];
    let headers = [("Authorization", format!("Bearer {token}")), ("traceparent", parent.to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let published = hub.post_with(&headers, &fields);
    assert_eq!(published.status, 200);
    assert_eq!(hub.post("not-a-token", &fields).status, 401);
    let unsampled = ("traceparent", "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-00");
    assert_eq!(hub.post_with(&[headers[0], unsampled], &fields).status, 200);
    hub.say("urn:a", "end");
    assert_eq!(stream.data(), "end");
    let found: Vec<Value> = (0..4).map(|_| spans.recv_timeout(PATIENCE).expect("a span")).collect();
    let text = format!("{found:?}");
    assert!(!text.contains("a secret") && !text.contains(&token) && !text.contains("80319d"), "{text}");
    let subscribe = found.iter().find(|span| span["name"] == "mercure.subscribe").expect("a subscription");
    assert_eq!(attribute(subscribe, "mercure.last_event_id.requested")["stringValue"], "urn:somewhere");
    assert_eq!(attribute(subscribe, "http.response.status_code")["intValue"], "200");
    let ours = found.iter().find(|span| span["parentSpanId"] == "b7ad6b7169203331").expect("the traced publish");
    assert_eq!(
        (&ours["name"], &ours["traceId"]),
        (&json!("mercure.publish"), &json!("0af7651916cd43dd8448eb211c80319c"))
    );
    let topics = json!([{"stringValue": "urn:a"}, {"stringValue": "urn:b"}]);
    assert_eq!(attribute(ours, "mercure.topics")["arrayValue"]["values"], topics);
    assert_eq!(attribute(ours, "mercure.private")["boolValue"], true);
    assert_eq!(attribute(ours, "mercure.update.id")["stringValue"], published.text());
    let refused = found.iter().filter(|span| attribute(span, "http.response.status_code")["intValue"] == "401");
    assert_eq!(refused.count(), 1);
}

#[test]
fn a_collector_that_is_not_there_holds_nobody_up() {
    let hub = Hub::start(&["--anonymous", "--otlp-endpoint", "http://127.0.0.1:9"]);
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    for n in 0..100 {
        hub.say("urn:a", &n.to_string());
    }
    assert_eq!(stream.datas(100).len(), 100);
}
