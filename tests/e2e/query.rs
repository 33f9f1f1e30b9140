//! Subscribing with QUERY: parameters in the body, joined with those of the query.

use crate::harness::*;
use std::process::Command;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

/// An event stream by QUERY, or the refusal of it.
fn try_query(hub: &Hub, target: &str, headers: &[(&str, &str)], body: &str) -> Result<Stream, Response> {
    let mut client = hub.connect();
    client.request("QUERY", target, headers, Some(body.as_bytes()));
    client.stream()
}

fn refusal(hub: &Hub, headers: &[(&str, &str)], body: &str) -> Response {
    try_query(hub, HUB, headers, body).expect_err("a refusal")
}

#[test]
fn the_matchers_may_stand_in_the_body() {
    let hub = Hub::anonymous();
    let body = form(&[("match", "urn:a b"), ("match_urlpattern", "https://e.example/:id"), ("match_exact", "c")]);
    let mut stream = try_query(&hub, HUB, &[FORM], &body).expect("a stream");
    assert_eq!(stream.head.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.head.header("link"), Some("</.well-known/mercure>; rel=\"mercure\""));
    for topic in ["urn:a b", "elsewhere", "https://e.example/1", "c"] {
        hub.say(topic, topic);
    }
    assert_eq!(stream.datas(3), ["urn:a b", "https://e.example/1", "c"]);
}

#[test]
fn curl_subscribes_with_query() {
    let hub = Hub::anonymous();
    let curl = Process::bash(&format!("curl -sN -D - -X QUERY -d match=urn:a '{}'", hub.url()));
    let status = curl.line();
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
    while !curl.line().trim().is_empty() {}
    hub.say("urn:a", "hello");
    eventually("the event", || curl.lines_so_far().iter().any(|line| line == "data: hello"));
}

#[test]
fn query_and_its_body_are_joined_and_the_query_s_cursor_wins() {
    let hub = Hub::anonymous();
    let first = hub.say("urn:q", "1");
    let second = hub.say("urn:b", "2");
    hub.say("urn:b", "3");
    let target = query(&[("match", "urn:q"), ("last_event_id", &first)]);
    let body = form(&[("match", "urn:b"), ("last_event_id", &second)]);
    let mut stream = try_query(&hub, &target, &[FORM], &body).expect("a stream");
    assert_eq!(stream.last_event_id(), Some(first.as_str()));
    assert_eq!(stream.datas(2), ["2", "3"]);
    hub.say("urn:q", "live");
    assert_eq!(stream.data(), "live");
    let stream = try_query(&hub, &query(&[("match", "urn:q")]), &[FORM], &body).expect("a stream");
    assert_eq!(stream.last_event_id(), Some(second.as_str()), "the body's, where the query has none");
    let header = ("Last-Event-ID", first.as_str());
    let stream = try_query(&hub, HUB, &[FORM, header], &body).expect("a stream");
    assert_eq!(stream.last_event_id(), Some(first.as_str()), "the header beats both");
}

#[test]
fn an_update_that_matches_query_and_body_is_sent_once() {
    let hub = Hub::anonymous();
    let target = query(&[("match", "urn:a")]);
    let mut stream = try_query(&hub, &target, &[FORM], "match=urn%3Aa&match_urlpattern=urn%3A*").expect("a stream");
    hub.say("urn:a", "1");
    hub.say("urn:a", "2");
    assert_eq!(stream.datas(2), ["1", "2"]);
}

#[test]
fn the_limit_of_matchers_counts_over_query_and_body() {
    let hub = Hub::anonymous();
    let target = query(&[("match", "urn:a"); 60]);
    let body = |count| form(&vec![("match", "urn:b"); count]);
    assert!(try_query(&hub, &target, &[FORM], &body(40)).is_ok());
    let refused = try_query(&hub, &target, &[FORM], &body(41)).expect_err("a refusal");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("100"), "{}", refused.text());
}

#[test]
fn a_body_may_be_larger_than_any_target() {
    let hub = Hub::anonymous();
    let long = |n: usize| format!("urn:{n}:{}", "x".repeat(4000));
    let topics: Vec<String> = (0..100).map(long).collect();
    let body = form(&topics.iter().map(|topic| ("match", topic.as_str())).collect::<Vec<_>>());
    let mut stream = try_query(&hub, HUB, &[FORM], &body).expect("a stream");
    hub.say(&topics[99], "the last one");
    assert_eq!(stream.data(), "the last one");
}

#[test]
fn patterns_in_the_body_are_compiled_off_the_loop() {
    let hub = Hub::anonymous();
    let body = form(&[("match_urlpattern", "https://e.example/:id(\\d+)"), ("match", "urn:a")]);
    let mut stream = try_query(&hub, &query(&[("match", "urn:q")]), &[FORM], &body).expect("a stream");
    for topic in ["https://e.example/x", "https://e.example/42", "urn:q", "urn:a"] {
        hub.say(topic, topic);
    }
    assert_eq!(stream.datas(3), ["https://e.example/42", "urn:q", "urn:a"]);
}

#[test]
fn a_body_that_is_too_large_is_413() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    client.request("QUERY", HUB, &[FORM, ("Content-Length", "1048577")], None);
    assert_eq!(client.response("QUERY").status, 413, "before any byte of it");
    let mut client = hub.connect();
    client.request("QUERY", HUB, &[FORM, ("Transfer-Encoding", "chunked")], None);
    client.send(b"FFFFFFF\r\n");
    assert_eq!(client.response("QUERY").status, 413);
    let small = Hub::start(&["--anonymous", "--max-body-bytes", "1KiB"]);
    let body = form(&[("match", "a"), ("ignored", &"x".repeat(1024))]);
    assert_eq!(refusal(&small, &[FORM], &body).status, 413, "the limit of publishes holds too");
}

#[test]
fn only_forms_are_queries() {
    let hub = Hub::anonymous();
    let untyped = refusal(&hub, &[], "match=a");
    assert_eq!(untyped.status, 400);
    assert!(untyped.text().contains("Content-Type"), "{}", untyped.text());
    for media_type in ["application/json", "text/plain", "multipart/form-data; boundary=x"] {
        let refused = refusal(&hub, &[("Content-Type", media_type)], "match=a");
        assert_eq!(refused.status, 415, "{media_type}");
        assert_eq!(refused.header("accept-query"), Some("application/x-www-form-urlencoded"));
    }
    assert_eq!(refusal(&hub, &[FORM, ("Content-Encoding", "gzip")], "match=a").status, 415);
    let parameter = ("Content-Type", "Application/X-WWW-Form-Urlencoded; charset=utf-8");
    assert!(try_query(&hub, HUB, &[parameter], "match=a").is_ok());
    for (body, why) in
        [("", "no matcher"), ("last_event_id=1", "no matcher"), ("Match=a", "unknown"), ("match=%FF", "bytes")]
    {
        assert_eq!(refusal(&hub, &[FORM], body).status, 400, "{why}");
    }
    assert!(try_query(&hub, &query(&[("match", "a")]), &[FORM], "").is_ok(), "an empty form adds nothing");
}

#[test]
fn the_body_is_judged_before_the_token_and_the_token_before_the_matchers() {
    let hub = Hub::start(&[]);
    let bad = ("Authorization", "Bearer bad");
    assert_eq!(refusal(&hub, &[bad, ("Content-Type", "text/plain")], "match=a").status, 415);
    assert_eq!(refusal(&hub, &[bad, FORM], "matcher=a").status, 401);
    assert_eq!(refusal(&hub, &[FORM], "match=a").status, 401);
    let token = format!("Bearer {}", subscriber());
    let good = ("Authorization", token.as_str());
    assert_eq!(refusal(&hub, &[good, FORM], "matcher=a").status, 400);
    let mut stream = try_query(&hub, HUB, &[good, FORM], "match=a").expect("a stream");
    hub.publish(&[("topic", "a"), ("private", ""), ("data", "secret")]);
    assert_eq!(stream.data(), "secret");
    // On a hub that lets anybody in a bad token is refused all the same.
    assert_eq!(refusal(&Hub::anonymous(), &[bad, FORM], "match=a").status, 401);
}

#[test]
fn a_token_in_the_body_is_no_token() {
    let hub = Hub::start(&[]);
    let body = form(&[("match", "a"), ("access_token", &subscriber())]);
    assert_eq!(refusal(&hub, &[FORM], &body).status, 401);
}

#[test]
fn a_body_may_come_in_chunks_and_late_and_what_follows_it_is_ignored() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    client.request("QUERY", HUB, &[FORM, ("Transfer-Encoding", "chunked"), ("Expect", "100-continue")], None);
    assert_eq!(client.response("QUERY").status, 100);
    client.send(b"6\r\nmatch=\r\n");
    client.send(b"5\r\nurn:a\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut stream = client.stream().expect("a stream");
    stream.client().send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    hub.say("urn:a", "still there");
    assert_eq!(stream.data(), "still there");
}

#[test]
fn queries_come_over_http_1_0_and_after_other_requests() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    let head = "Host: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 11\r\n\r\nmatch=urn:a";
    client.send(format!("QUERY {HUB} HTTP/1.0\r\n{head}").as_bytes());
    let mut old = client.stream().expect("a stream");
    assert!(!old.head.is_chunked());
    let mut client = hub.connect();
    client.send(format!("OPTIONS {HUB} HTTP/1.1\r\nHost: h\r\n\r\nQUERY {HUB} HTTP/1.1\r\n{head}").as_bytes());
    assert_eq!(client.response("OPTIONS").status, 204);
    let mut pipelined = client.stream().expect("a stream");
    hub.say("urn:a", "hello");
    assert_eq!((old.data(), pipelined.data()), ("hello".to_owned(), "hello".to_owned()));
}

/// Forms come without a token: were they to share the account of publishes, anybody could have those refused.
#[test]
fn unfinished_queries_take_no_room_from_publishes() {
    let hub = Hub::start(&[]);
    let half = vec![b'x'; 900_000];
    let clients: Vec<Client> = (0..120)
        .map(|_| {
            let mut client = hub.connect();
            client.request("QUERY", HUB, &[FORM, ("Content-Length", "1000000")], None);
            // Those that find no room are answered and closed meanwhile.
            let _ = client.try_send(&half);
            client
        })
        .collect();
    let large = "y".repeat(900_000);
    for _ in 0..8 {
        assert_eq!(hub.post(&publisher(), &[("topic", "urn:a"), ("data", &large)]).status, 200);
    }
    drop(clients);
}

#[test]
fn other_paths_have_no_query() {
    let hub = Hub::anonymous();
    let at = |target: &str| {
        let mut client = hub.connect();
        client.request("QUERY", target, &[FORM], Some(b"match=a"));
        client.response("QUERY")
    };
    assert_eq!(at("/nowhere").status, 404);
    let page = at("/");
    assert_eq!(
        (page.status, page.list("allow")),
        (405, vec!["get".to_owned(), "head".to_owned(), "options".to_owned()])
    );
}

#[test]
fn curl_is_told_what_a_query_may_hold() {
    let hub = Hub::anonymous();
    for arguments in [["-X", "OPTIONS", "-i"].as_slice(), ["-I"].as_slice()] {
        let url = format!("{}?match=a", hub.url());
        let output = Command::new("curl").arg("-s").args(arguments).arg(url).output().expect("curl is installed");
        let head = String::from_utf8_lossy(&output.stdout).to_lowercase();
        assert!(head.contains("accept-query: application/x-www-form-urlencoded\r\n"), "{arguments:?}: {head}");
    }
}
