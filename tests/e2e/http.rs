//! HTTP/1.1 as clients use it: connections that are kept, pipelined, chunked, old, slow and too large.

use crate::admin::metric;
use crate::harness::*;

/// A publish as bytes, with headers of the test's choice.
fn publish(extra: &str, data: &str) -> String {
    let body = form(&[("topic", "urn:a"), ("data", data)]);
    format!("{}Content-Length: {}\r\n{extra}\r\n{body}", publish_head(), body.len())
}

/// The head of a publish up to where the length of the body is told.
fn publish_head() -> String {
    format!(
        "POST {HUB} HTTP/1.1\r\nHost: hub.example\r\nAuthorization: Bearer {}\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        publisher()
    )
}

#[test]
fn a_connection_is_kept_for_many_requests() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let mut client = hub.connect();
    for n in 0..20 {
        client.send(publish("", &n.to_string()).as_bytes());
        assert_eq!(client.response("POST").status, 200);
        assert_eq!(stream.data(), n.to_string());
    }
    client.request("GET", "/nowhere", &[], None);
    assert_eq!(client.response("GET").status, 404);
    client.request("HEAD", &query(&[("match", "urn:a")]), &[], None);
    let head = client.head().expect("an answer");
    assert_eq!(head.status, 200);
}

#[test]
fn connection_close_is_honoured() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    client.send(publish("Connection: close\r\n", "x").as_bytes());
    let response = client.response("POST");
    assert_eq!(response.status, 200);
    assert_eq!(response.list("connection"), ["close"]);
    client.expect_closed();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let mut client = hub.connect();
    let mut bytes = String::new();
    for n in 0..10 {
        bytes.push_str(&publish("", &n.to_string()));
        bytes.push_str("OPTIONS /.well-known/mercure HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    bytes.push_str("GET /.well-known/mercure?match=urn:a HTTP/1.1\r\nHost: h\r\n\r\n");
    client.send(bytes.as_bytes());
    for n in 0..10 {
        let id = client.response("POST");
        assert_eq!(id.status, 200);
        let event = stream.next();
        assert_eq!((event.id, event.data), (id.text(), n.to_string()));
        assert_eq!(client.response("OPTIONS").status, 204);
    }
    let mut last = client.stream().expect("a stream at the end of the pipeline");
    hub.say("urn:a", "live");
    assert_eq!(last.data(), "live");
}

/// Seen: a client that pipelined without pause had all that lay in the hub's buffer answered in one turn of the loop, and
/// forty of them delayed everybody's updates by a second.
#[test]
fn a_pipeline_leaves_the_loop_its_turns() {
    const REQUESTS: usize = 2000;
    let mut hub = Hub::anonymous();
    let mut client = hub.connect();
    client.send("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".repeat(REQUESTS).as_bytes());
    for _ in 0..REQUESTS {
        assert_eq!(client.response("OPTIONS").status, 204);
    }
    hub.stop();
    let stopped = || hub.log().lines().filter(|line| line.contains("shard stopped")).count();
    eventually("both shards say what they did", || stopped() == 2);
    let log = hub.log();
    let turns: usize = log
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("turns="))
        .map(|turns| turns.parse::<usize>().expect("a number"))
        .sum();
    // A turn takes 64 KiB of them, and half a KiB counts for the work with each.
    assert!(turns >= REQUESTS / 128, "{turns} turns for {REQUESTS} requests");
}

/// Seen: a first read of 4 KiB cut every batch in two, with a commit and a write for each piece.
#[test]
fn what_is_sent_together_is_committed_together() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    let batch = publish("", "x").repeat(40);
    assert!(batch.len() > 2 * 4096 && batch.len() < 64 * 1024);
    let commits = || metric(&hub, "cinnabar_sequencer_batch_events_count");
    // Who is slow to send may be cut all the same, so one batch that is whole is enough.
    let whole = (0..20).any(|_| {
        let before = commits();
        client.send(batch.as_bytes());
        (0..40).for_each(|_| assert_eq!(client.response("POST").status, 200));
        commits() - before == 1.0
    });
    assert!(whole);
}

#[test]
fn pipelined_publishes_are_answered_in_order_also_where_one_is_refused() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let mut client = hub.connect();
    let refused = "POST /.well-known/mercure HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 0\r\n\r\n";
    let mut bytes = String::new();
    let mut middle = 0;
    for n in 0..300 {
        if n == 149 {
            middle = bytes.len() + 100;
        }
        bytes.push_str(&publish("", &n.to_string()));
        if n % 7 == 3 {
            bytes.push_str(refused);
        }
    }
    // Cut within a request: what was asked for whole is answered before the rest is there.
    let (first, rest) = bytes.split_at(middle);
    client.send(first.as_bytes());
    for n in 0..149 {
        let answer = client.response("POST");
        assert_eq!((n, answer.status), (n, 200));
        let event = stream.next();
        assert_eq!((event.id, event.data), (answer.text(), n.to_string()));
        if n % 7 == 3 {
            assert_eq!(client.response("POST").status, 401, "after {n}");
        }
    }
    client.send(rest.as_bytes());
    client.send(publish("Connection: close\r\n", "last").as_bytes());
    for n in 149..300 {
        let answer = client.response("POST");
        assert_eq!((n, answer.status), (n, 200));
        assert_eq!(stream.next().id, answer.text());
        if n % 7 == 3 {
            assert_eq!(client.response("POST").status, 401, "after {n}");
        }
    }
    assert_eq!(client.response("POST").list("connection"), ["close"]);
    assert_eq!(stream.data(), "last");
    client.expect_closed();
}

/// Seen: what was asked for on the same connection was looked up before the publish in front of it was in the log.
#[test]
fn what_is_asked_behind_a_publish_sees_it() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    let body = form(&[("topic", "urn:a"), ("data", "first"), ("id", "mine")]);
    let first = format!("{}Content-Length: {}\r\n\r\n{body}", publish_head(), body.len());
    let ask = "GET /.well-known/mercure?match=urn:a HTTP/1.1\r\nHost: h\r\nLast-Event-ID: mine\r\n\r\n";
    client.send(format!("{first}{}{ask}", publish("", "second")).as_bytes());
    assert_eq!(client.response("POST").text(), "mine");
    assert_eq!(client.response("POST").status, 200);
    assert_eq!(client.stream().expect("a stream").data(), "second");
}

#[test]
fn publishes_of_a_client_that_is_gone_are_counted_once() {
    let hub = Hub::anonymous();
    for round in 1..=10 {
        let mut client = hub.connect();
        let bytes: String = (0..10 * round).map(|n| publish("", &n.to_string())).collect();
        client.send(&bytes.as_bytes()[..bytes.len() - 3]);
        // It reads none of its answers, and the last of its publishes is cut.
        drop(client);
    }
    // Shards tell their numbers now and then: nothing more may come for as long as that takes several times.
    let (mut before, mut unchanged) = ((-1.0, -1.0), 0);
    eventually("all of them are counted", || {
        let now = (metric(&hub, "cinnabar_history_events"), metric(&hub, "cinnabar_publishes_total"));
        unchanged = if now == before { unchanged + 1 } else { 0 };
        before = now;
        unchanged >= 50 && now.0 > 0.0
    });
    assert_eq!(before.0, before.1, "events there are, publishes that were counted");
}

/// Large events are compressed on their way to the log when somebody reads them so; small ones aren't, and must not come first.
#[test]
fn pipelined_publishes_keep_their_order_whatever_their_size() {
    let hub = Hub::anonymous();
    let mut plain = hub.subscribe(&[("match", "urn:a")]);
    let mut coded = hub.connect();
    coded.request("GET", &query(&[("match", "urn:a")]), &[("Accept-Encoding", "gzip")], None);
    assert_eq!(coded.head().expect("an answer").list("content-encoding"), ["gzip"]);
    let mut client = hub.connect();
    let sizes: Vec<usize> = (0..200).map(|n| if n % 3 == 0 { 20_000 } else { 10 + n }).collect();
    let bytes: String = sizes.iter().map(|&size| publish("", &"x".repeat(size))).collect();
    client.send(bytes.as_bytes());
    for size in sizes {
        assert_eq!(client.response("POST").status, 200);
        assert_eq!(plain.data().len(), size);
    }
}

#[test]
fn requests_may_arrive_byte_by_byte() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    for byte in publish("", "x").as_bytes() {
        client.send(&[*byte]);
    }
    assert_eq!(client.response("POST").status, 200);
}

#[test]
fn chunked_bodies_are_read_however_they_are_cut() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let mut client = hub.connect();
    let pieces = ["3\r\nto", "p\r", "\n5\r\nic=ur\r\n000c\r\nn:a&data=abc\r", "\nA\r\ndefghijklm\r\n", "0\r", "\n\r\n"];
    client.send(format!("{}Transfer-Encoding: chunked\r\n\r\n", publish_head()).as_bytes());
    for piece in pieces {
        client.send(piece.as_bytes());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(client.response("POST").status, 200);
    assert_eq!(stream.data(), "abcdefghijklm");
    client.send(publish("", "the connection goes on").as_bytes());
    assert_eq!(client.response("POST").status, 200);
}

#[test]
fn a_client_that_expects_100_continue_is_told_to() {
    let hub = Hub::anonymous();
    let body = form(&[("topic", "urn:a"), ("data", "x")]);
    let mut client = hub.connect();
    client.send(format!("{}Content-Length: {}\r\nExpect: 100-continue\r\n\r\n", publish_head(), body.len()).as_bytes());
    assert_eq!(client.response("POST").status, 100);
    client.send(body.as_bytes());
    assert_eq!(client.response("POST").status, 200);
}

#[test]
fn a_client_that_expects_100_continue_may_be_refused_at_once() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    client.send(format!("{}Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n", publish_head()).as_bytes());
    assert_eq!(client.response("POST").status, 413);
}

#[test]
fn http_1_0_publishes_and_the_connection_ends() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    client.send(publish("", "x").replace("HTTP/1.1", "HTTP/1.0").as_bytes());
    let response = client.response("POST");
    assert_eq!(response.status, 200);
    assert!(!response.is_chunked());
    client.expect_closed();
}

#[test]
fn http_1_0_needs_no_host() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    client.send(b"GET /nowhere HTTP/1.0\r\n\r\n");
    assert_eq!(client.response("GET").status, 404);
}

#[test]
fn http_1_0_streams_are_not_chunked() {
    let hub = Hub::anonymous();
    let id = hub.say("urn:a", "replayed");
    hub.say("urn:a", "replayed too");
    let mut client = hub.connect();
    client.send(format!("GET {HUB}?match=urn:a HTTP/1.0\r\nLast-Event-ID: {id}\r\n\r\n").as_bytes());
    let mut stream = client.stream().expect("a stream");
    assert_eq!(stream.head.header("transfer-encoding"), None);
    assert_eq!(stream.last_event_id(), Some(id.as_str()));
    for n in 0..10 {
        hub.say("urn:a", &n.to_string());
    }
    assert_eq!(stream.data(), "replayed too");
    for n in 0..10 {
        assert_eq!(stream.data(), n.to_string());
    }
}

#[test]
fn a_head_that_never_ends_is_closed() {
    let hub = Hub::anonymous();
    for start in ["", "GET", "GET /.well-known/mercure?match=a HTTP/1.1\r\nHost: hub"] {
        let mut client = hub.connect();
        client.send(start.as_bytes());
        if let Some(response) = client.try_response("GET") {
            assert_eq!(response.status, 408, "{start:?}");
            client.expect_closed();
        }
    }
}

#[test]
fn a_body_that_never_ends_is_closed() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    client.send(format!("{}Content-Length: 100\r\n\r\ntopic=urn:a&data=", publish_head()).as_bytes());
    if let Some(response) = client.try_response("POST") {
        assert_eq!(response.status, 408);
        client.expect_closed();
    }
}

#[test]
fn a_body_that_is_cut_publishes_nothing() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    for framing in [
        "Content-Length: 100\r\n\r\ntopic=urn:a&data=cut",
        "Transfer-Encoding: chunked\r\n\r\n14\r\ntopic=urn:a&data=cut\r\n",
    ] {
        let mut client = hub.connect();
        client.send(format!("{}{framing}", publish_head()).as_bytes());
        client.finish_sending();
        if let Some(response) = client.try_response("POST") {
            assert!(matches!(response.status, 400 | 408), "{response:?}");
        }
    }
    hub.say("urn:a", "whole");
    assert_eq!(stream.data(), "whole");
}

/// Seen: without an answer if the body came a moment later.
#[test]
fn a_body_in_a_request_for_a_stream_is_refused_whenever_it_comes() {
    let hub = Hub::anonymous();
    let framed = |fields: &str| format!("GET {HUB}?match=urn:a HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
    for (fields, body) in [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")] {
        let mut client = hub.connect();
        client.send((framed(fields) + body).as_bytes());
        assert_eq!(client.response("GET").status, 400, "{fields}, with the head");
        let mut client = hub.connect();
        client.send(framed(fields).as_bytes());
        assert_eq!(client.response("GET").status, 400, "{fields}, before the body");
    }
    let mut client = hub.connect();
    client.send(framed("Content-Length: 0").as_bytes());
    assert!(client.stream().is_ok(), "no body is no body");
}

#[test]
fn heads_that_are_too_large_are_431() {
    let hub = Hub::anonymous();
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Long: {}\r\n\r\n", "x".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X-Many: x\r\n".repeat(2000));
    for (name, head) in [("one long header", long), ("many headers", many)] {
        let mut client = hub.connect();
        let _ = client.try_send(head.as_bytes());
        let response = client.response("GET");
        assert_eq!(response.status, 431, "{name}: {response:?}");
        client.expect_closed();
    }
}

#[test]
fn a_target_that_is_too_long_is_refused() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    let _ = client.try_send(format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(200_000)).as_bytes());
    let response = client.response("GET");
    assert!(matches!(response.status, 414 | 431), "{response:?}");
}

#[test]
fn what_a_subscriber_sends_after_its_request_is_ignored_within_limits() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    stream.client().send(b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n");
    hub.say("urn:a", "still there");
    assert_eq!(stream.data(), "still there");
    for _ in 0..64 {
        if stream.client().try_send(&[b'x'; 16_384]).is_err() {
            break;
        }
    }
    stream.rest();
}

#[test]
fn answers_other_than_streams_tell_their_length() {
    let hub = Hub::anonymous();
    for (method, target) in [("GET", "/"), ("GET", "/nowhere"), ("GET", HUB), ("PUT", HUB)] {
        let response = hub.request(method, target, &[]);
        assert!(response.header("content-length").is_some(), "{method} {target}: {response:?}");
    }
}
