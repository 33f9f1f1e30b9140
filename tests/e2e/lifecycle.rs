//! How streams and the hub come to their ends, and what is sent while nothing happens.

use crate::harness::*;
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn sigterm_ends_streams_with_the_last_chunk_and_exits_0() {
    let mut hub = Hub::anonymous();
    let mut streams: Vec<Stream> =
        (0..10).map(|n| hub.subscribe(&[("match", &n.to_string()), ("match", "urn:a")])).collect();
    hub.say("urn:a", "last words");
    let status = hub.stop();
    for stream in &mut streams {
        assert_eq!(stream.data(), "last words");
        assert_eq!(stream.end(), End::LastChunk);
    }
    assert_eq!(status.code(), Some(0), "{status:?}");
}

/// Seen: a shard that ended its streams while an event it had taken in still waited for its slice.
#[test]
fn what_was_acknowledged_before_sigterm_is_delivered_before_streams_end() {
    let mut hub = Hub::anonymous();
    let streams: Vec<Stream> = (0..20).map(|_| hub.subscribe(&[("match", "urn:flood")])).collect();
    std::thread::scope(|scope| {
        let readers: Vec<_> = streams.into_iter().map(|mut stream| scope.spawn(move || stream.rest())).collect();
        flood(&mut hub.connect(), 0..1000, &"x".repeat(1000));
        let status = hub.stop();
        for reader in readers {
            let (events, end) = reader.join().expect("a reader");
            assert_eq!((events.len(), end), (1000, End::LastChunk));
        }
        assert_eq!(status.code(), Some(0), "{status:?}");
    });
}

/// Sends a publish but for the end of its body, which is answered.
fn begin_publish<'a>(hub: &Hub, body: &'a str) -> (Client, &'a str) {
    let (first, rest) = body.split_at(10);
    let mut client = hub.connect();
    client.send(
        format!(
            "POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            publisher(),
            body.len()
        )
        .as_bytes(),
    );
    // The hub has read the head: the publish is under way.
    assert_eq!(client.response("POST").status, 100);
    client.send(first.as_bytes());
    (client, rest)
}

#[test]
fn sigterm_finishes_publishes_under_way() {
    let mut hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let body = form(&[("topic", "urn:a"), ("data", "x")]);
    let (mut client, rest) = begin_publish(&hub, &body);
    signal(hub.pid(), "TERM");
    client.send(rest.as_bytes());
    let response = client.response("POST");
    assert_eq!(response.status, 200, "{response:?}");
    client.expect_closed();
    stream.rest();
    assert_eq!(hub.exit_status().code(), Some(0));
}

/// Seen: a publish whose body ended after the streams had been ended was answered 200 and reached nobody.
#[test]
fn a_publish_that_ends_after_the_streams_is_refused() {
    let mut hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let body = form(&[("topic", "urn:a"), ("data", "x")]);
    let (mut client, rest) = begin_publish(&hub, &body);
    signal(hub.pid(), "TERM");
    let (events, end) = stream.rest();
    assert_eq!((events.len(), end), (0, End::LastChunk));
    client.send(rest.as_bytes());
    let response = client.response("POST");
    assert_eq!(response.status, 503, "{response:?}");
    assert!(response.header("retry-after").is_some(), "{response:?}");
    assert_eq!(hub.exit_status().code(), Some(0));
}

#[test]
fn sigterm_does_not_wait_for_idle_connections_or_unfinished_requests() {
    let mut hub = Hub::anonymous();
    let mut idle = hub.connect();
    idle.request("GET", "/", &[], None);
    idle.response("GET");
    let mut unfinished = hub.connect();
    unfinished.send(b"GET / HTTP/1.1\r\nHo");
    let mut never_reading = hub.subscribe(&[("match", "urn:flood")]);
    flood(&mut hub.connect(), 0..3000, &"x".repeat(2000));
    assert_eq!(hub.stop().code(), Some(0));
    never_reading.rest();
}

#[test]
fn after_sigterm_nobody_is_accepted() {
    let mut hub = Hub::anonymous();
    let address = hub.address();
    hub.stop();
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_stream_ends_at_its_maximum_lifetime() {
    let hub = Hub::start(&["--anonymous", "--max-lifetime", "2s"]);
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "while it lasts");
    assert_eq!(stream.data(), "while it lasts");
    assert_eq!(stream.end(), End::LastChunk);
    let mut again = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "again");
    assert_eq!(again.data(), "again");
}

#[test]
fn a_stream_ends_when_its_token_expires() {
    let hub = Hub::anonymous();
    let exp = now() + 8;
    let token = Token::granting(&["subscribe"], &["*"]).claim("exp", json!(exp)).sign(SUBSCRIBER_KEY);
    let mut expiring = hub.subscribe_as(&token, &[("match", "urn:a")]);
    let mut other = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "while it is valid");
    assert_eq!(expiring.data(), "while it is valid");
    assert_eq!(expiring.end(), End::LastChunk);
    hub.say("urn:a", "later");
    assert_eq!(other.datas(2), ["while it is valid", "later"], "other streams go on");
    eventually("the token is refused", || {
        let refused = hub.try_subscribe(&[("match", "urn:a")], &[("Authorization", &format!("Bearer {token}"))]);
        refused.is_err_and(|refusal| refusal.status == 401)
    });
}

/// Seen: a connection closed without a byte of an answer when the token had less than a tick to live.
#[test]
fn a_request_with_a_token_about_to_expire_is_answered_all_the_same() {
    let hub = Hub::anonymous();
    for step in 0..60 {
        let exp = std::time::SystemTime::now() + Duration::from_millis(step * 5);
        let exp = exp.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let token = Token::granting(&["subscribe"], &["*"]).claim("exp", json!(exp)).sign(SUBSCRIBER_KEY);
        match hub.try_subscribe(&[("match", "urn:a")], &[("Authorization", &format!("Bearer {token}"))]) {
            Ok(mut stream) => assert_eq!(stream.end(), End::LastChunk),
            Err(refusal) => assert_eq!(refusal.status, 401, "{refusal:?}"),
        }
    }
}

#[test]
fn nothing_private_is_delivered_after_the_token_has_expired() {
    let hub = Hub::anonymous();
    let exp = now() + 6;
    let token = Token::granting(&["subscribe"], &["*"]).claim("exp", json!(exp)).sign(SUBSCRIBER_KEY);
    let mut stream = hub.subscribe_as(&token, &[("match", "urn:a")]);
    let deadline = exp + 2;
    let mut published = 0;
    while now() < deadline {
        hub.publish(&[("topic", "urn:a"), ("private", "on"), ("data", &now().to_string())]);
        published += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let (events, _) = stream.rest();
    assert!(!events.is_empty() && events.len() < published, "{} of {published}", events.len());
    for event in events {
        let second: u64 = event.data.parse().expect("a number");
        assert!(second < exp, "an update of second {second} after exp {exp}");
    }
}

#[test]
fn an_idle_stream_gets_heartbeats() {
    let hub = Hub::start(&["--anonymous", "--heartbeat", "1s"]);
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    for _ in 0..3 {
        stream.comment();
    }
    hub.say("urn:a", "and goes on");
    assert_eq!(stream.data(), "and goes on");
}

#[test]
fn a_busy_stream_gets_no_heartbeats() {
    let hub = Hub::start(&["--anonymous", "--heartbeat", "4s"]);
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "first");
    stream.data();
    let before = stream.comments;
    let started = Instant::now();
    let mut longest_pause = Duration::ZERO;
    while started.elapsed() < Duration::from_secs(9) {
        let sent = Instant::now();
        hub.say("urn:a", "busy");
        stream.data();
        std::thread::sleep(Duration::from_millis(50));
        longest_pause = longest_pause.max(sent.elapsed());
    }
    // On a machine that stalls for seconds the stream was idle, and a heartbeat is right.
    if longest_pause < Duration::from_secs(2) {
        assert_eq!(stream.comments, before);
    }
}

#[test]
fn a_client_that_goes_away_is_forgotten_and_others_go_on() {
    let hub = Hub::anonymous();
    let mut stays = hub.subscribe(&[("match", "urn:a")]);
    for n in 0..200 {
        let mut goes = hub.subscribe(&[("match", "urn:a"), ("match", &format!("urn:{n}"))]);
        if n % 2 == 0 {
            goes.client().finish_sending();
        }
        drop(goes);
    }
    eventually("the hub closes what its clients have closed", || connections(&hub) <= 1);
    hub.say("urn:a", "still there");
    assert_eq!(stays.data(), "still there");
}

#[test]
fn a_half_closed_stream_counts_as_gone() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    stream.client().finish_sending();
    stream.rest();
}

/// Connections the hub holds, as the kernel lists them: established ones and those its peer has closed.
fn connections(hub: &Hub) -> usize {
    crate::slow::sockets_of(hub.address().port(), None)
}
