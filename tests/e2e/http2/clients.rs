//! Clients nobody here wrote: nghttp, h2load, curl.

use std::process::{Command, Output};

use super::bearer;
use crate::harness::*;
use crate::tls::Sealed;

/// What a command says that has to succeed.
fn run(line: &str) -> String {
    let Output { status, stdout, stderr } =
        Command::new("bash").args(["-c", &format!("timeout 120 {line}")]).output().expect("bash is there");
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{line}: {status}: {said}{}", String::from_utf8_lossy(&stderr));
    said
}

/// The hub's address over TLS and in the clear, and what tells curl to speak HTTP/2 there.
fn places(sealed: &Sealed) -> [(String, String); 2] {
    let ca = sealed.authority.text("ca.pem");
    [(sealed.url(), format!("--http2 --cacert {ca}")), (sealed.hub.url(), "--http2-prior-knowledge".to_owned())]
}

#[test]
fn curl_publishes_and_receives_event_by_event() {
    let sealed = Sealed::anonymous();
    for (url, options) in places(&sealed) {
        let curl = Process::bash(&format!("curl -sN {options} -D - '{url}?match=urn:a'"));
        assert_eq!(curl.line().trim(), "HTTP/2 200");
        let head: Vec<String> =
            std::iter::from_fn(|| Some(curl.line()).filter(|line| !line.trim().is_empty())).collect();
        assert!(head.iter().any(|line| line.trim() == "content-type: text/event-stream"), "{head:?}");
        for n in 0..5 {
            let token = bearer(&publisher());
            let id = run(&format!("curl -s {options} -H 'Authorization: {token}' -d topic=urn:a -d data={n} {url}"));
            assert!(id.starts_with("urn:uuid:"), "{id}");
            assert_eq!(curl.line(), format!("id: {id}"));
            assert_eq!(curl.line(), format!("data: {n}"));
            assert_eq!(curl.line(), "");
        }
    }
}

#[test]
fn curl_finds_its_way() {
    let sealed = Sealed::anonymous();
    for (url, options) in places(&sealed) {
        let head = run(&format!("curl -sI {options} '{url}?match=urn:a'"));
        assert!(head.starts_with("HTTP/2 200"), "{head}");
        assert!(head.contains("rel=\"mercure\""), "{head}");
        let refused = run(&format!("curl -s -D - {options} -d topic=urn:a {url}"));
        assert!(refused.starts_with("HTTP/2 401"), "{refused}");
        let metadata = refused.split("resource_metadata=\"").nth(1).expect("where to find out more");
        assert!(metadata.contains("/.well-known/oauth-protected-resource"), "{refused}");
        let path = "/.well-known/oauth-protected-resource/.well-known/mercure";
        let origin = url.strip_suffix(HUB).expect("the hub's path");
        let found = run(&format!("curl -s -f {options} {origin}{path}"));
        let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
        assert_eq!(found["resource"], RESOURCE);
    }
}

#[test]
fn curl_decodes_compressed_streams() {
    let sealed = Sealed::start(&["--anonymous", "--compression", "gzip"]);
    for (url, options) in places(&sealed) {
        let curl = Process::bash(&format!("curl -sN {options} --compressed -D - '{url}?match=urn:a'"));
        let head: Vec<String> =
            std::iter::from_fn(|| Some(curl.line()).filter(|line| !line.trim().is_empty())).collect();
        assert!(head.iter().any(|line| line.trim() == "content-encoding: gzip"), "{head:?}");
        let data = "a row of words ".repeat(200);
        let data = data.trim();
        sealed.hub.say("urn:a", data);
        assert!(curl.line().starts_with("id: "));
        assert_eq!(curl.line(), format!("data: {data}"));
    }
}

/// Without prior knowledge and without TLS a client speaks HTTP/1.1, and its offer to upgrade is left alone (RFC 9113, section 3.1).
#[test]
fn an_offer_to_upgrade_in_the_clear_is_answered_over_http_1_1() {
    let hub = Hub::anonymous();
    let head = run(&format!("curl -sI --http2 '{}?match=urn:a'", hub.url()));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[test]
fn clients_that_know_http_1_1_only_are_served_over_tls() {
    let sealed = Sealed::anonymous();
    let ca = sealed.authority.text("ca.pem");
    for option in ["--http1.1", "--no-alpn"] {
        let head = run(&format!("curl -sI {option} --cacert {ca} '{}?match=urn:a'", sealed.url()));
        assert!(head.starts_with("HTTP/1.1 200"), "{option}: {head}");
    }
}

#[test]
fn nghttp_asks_for_many_at_once_and_publishes() {
    let sealed = Sealed::anonymous();
    let mut stream = sealed.hub.subscribe(&[("match", "urn:a")]);
    let folder = Folder::new();
    let body = folder.write("body", &form(&[("topic", "urn:a"), ("data", "by nghttp")]));
    for (url, _) in places(&sealed) {
        let origin = url.strip_suffix(HUB).expect("the hub's path");
        let said = run(&format!("nghttp -n -s -m 20 --no-dep {origin}/ {origin}/robots.txt"));
        let answers: Vec<&str> =
            said.lines().filter(|line| line.ends_with(" /") || line.ends_with(" /robots.txt")).collect();
        assert_eq!(answers.len(), 40, "{said}");
        assert!(answers.iter().filter(|line| line.contains(" 200 ")).count() >= 20, "{said}");
        let form = "-H 'content-type: application/x-www-form-urlencoded'";
        let token = bearer(&publisher());
        let id = run(&format!("nghttp --no-dep {form} -H 'authorization: {token}' -d {body} {url}"));
        let event = stream.next();
        assert_eq!((event.data.as_str(), event.id), ("by nghttp", id));
    }
}

#[test]
fn h2load_is_answered_every_time() {
    let sealed = Sealed::anonymous();
    for (url, _) in places(&sealed) {
        let origin = url.strip_suffix(HUB).expect("the hub's path");
        let said = run(&format!("h2load -n 5000 -c 10 -m 20 {origin}/"));
        assert!(said.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
        assert!(said.contains("status codes: 5000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{said}");
        assert!(said.contains("Application protocol: h2"), "{said}");
    }
}

#[test]
fn h2load_publishes_on_many_streams_and_every_update_arrives() {
    const PUBLISHES: usize = 1_000;
    let sealed = Sealed::anonymous();
    let folder = Folder::new();
    let body = folder.write("body", &form(&[("topic", "urn:a"), ("data", "by h2load")]));
    for (url, _) in places(&sealed) {
        let mut stream = sealed.hub.subscribe(&[("match", "urn:a")]);
        let form = "-H 'content-type: application/x-www-form-urlencoded'";
        let token = bearer(&publisher());
        let said = run(&format!("h2load -n {PUBLISHES} -c 5 -m 10 -d {body} {form} -H 'authorization: {token}' {url}"));
        assert!(said.contains(&format!("status codes: {PUBLISHES} 2xx, 0 3xx, 0 4xx, 0 5xx")), "{said}");
        let mut ids: Vec<String> = (0..PUBLISHES).map(|_| stream.next().id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), PUBLISHES);
    }
}
