//! How connections and streams end, and what is waited for and for how long.

use std::collections::BTreeSet;

use super::*;
use crate::admin::metric;

const A: &[(&str, &str)] = &[("match", "urn:a")];

#[test]
fn sigterm_ends_streams_whole_says_so_and_exits_0() {
    let mut sealed = Sealed::anonymous();
    let mut peers = both(&sealed);
    let streams: Vec<Vec<u32>> = peers.iter_mut().map(|peer| (0..10).map(|_| peer.subscribe(A)).collect()).collect();
    sealed.hub.say("urn:a", "last words");
    let status = sealed.hub.stop();
    for (peer, streams) in peers.iter_mut().zip(streams) {
        for stream in streams {
            assert_eq!(peer.data(stream), "last words");
            assert!(peer.until_over(stream).ended, "with END_STREAM");
        }
        assert_eq!(peer.until_closed(), Some(Code::NO_ERROR));
    }
    assert_eq!(status.code(), Some(0), "{status:?}");
}

#[test]
fn streams_end_one_by_one_over_a_window_each_with_a_time_to_come_back() {
    let mut sealed = Sealed::start(&["--anonymous", "--drain-window", "10s", "--retry", "2s"]);
    let token = bearer(&publisher());
    let mut peers = both(&sealed);
    let streams: Vec<Vec<u32>> = peers.iter_mut().map(|peer| (0..100).map(|_| peer.subscribe(A)).collect()).collect();
    let begun = peers.each_mut().map(|peer| {
        let begun = peer.begin_form("POST", &[("authorization", &token)]);
        peer.frame(&data(begun, b"topic=urn:a&data=", 0));
        peer.settle();
        begun
    });
    signal(sealed.hub.pid(), "TERM");
    eventually("some have ended", || metric(&sealed.hub, "cinnabar_disconnects_total{reason=\"stopping\"}") >= 20.0);
    // Whoever was publishing finishes, and is heard by those that are still there.
    for (peer, &begun) in peers.iter_mut().zip(&begun) {
        peer.frame(&data(begun, b"late+news", END_STREAM));
        assert_eq!(peer.response(begun).status, 200);
    }
    let (mut received, mut retries) = (0, BTreeSet::new());
    for (peer, streams) in peers.iter_mut().zip(streams) {
        for stream in streams {
            let answer = peer.until_over(stream);
            assert!(answer.ended, "with END_STREAM: {answer:?}");
            let body = String::from_utf8(std::mem::take(&mut answer.body)).expect("events in UTF-8");
            received += body.matches("data: late news\n").count();
            let retry = body.rsplit("retry: ").next().and_then(|rest| rest.lines().next());
            let retry_ms: u32 = retry.and_then(|retry| retry.parse().ok()).expect("a time to come back");
            assert!((2_000..=12_000).contains(&retry_ms), "{retry_ms}");
            retries.insert(retry_ms);
        }
        assert_eq!(peer.until_closed(), Some(Code::NO_ERROR));
    }
    assert!((1..=360).contains(&received), "{received} of two times 200");
    assert!(retries.len() > 150, "{} different times", retries.len());
    assert_eq!(sealed.hub.exit_status().code(), Some(0));
}

#[test]
fn sigterm_finishes_a_publish_under_way() {
    let mut sealed = Sealed::anonymous();
    let token = bearer(&publisher());
    let mut stream = sealed.hub.subscribe(A);
    let mut peers = both(&sealed);
    let begun = peers.each_mut().map(|peer| {
        let begun = peer.begin_form("POST", &[("authorization", &token)]);
        peer.frame(&data(begun, b"topic=urn:", 0));
        // The hub has read it.
        peer.settle();
        begun
    });
    signal(sealed.hub.pid(), "TERM");
    for (peer, begun) in peers.iter_mut().zip(begun) {
        peer.frame(&data(begun, b"a&data=x", END_STREAM));
        let answer = peer.response(begun);
        assert!(matches!(answer.status, 200 | 503), "an answer in any case: {answer:?}");
        assert_eq!(peer.until_closed(), Some(Code::NO_ERROR));
    }
    stream.rest();
    assert_eq!(sealed.hub.exit_status().code(), Some(0));
}

#[test]
fn sigterm_does_not_wait_for_idle_connections_or_for_who_does_not_read() {
    let mut sealed = Sealed::anonymous();
    let mut idle = both(&sealed);
    idle.iter_mut().for_each(|peer| assert_eq!(peer.ask("GET", "/", &[]).status, 200));
    let mut shut = Peer::with(&sealed.hub, &[(INITIAL_WINDOW_SIZE, 0)]);
    shut.subscribe(&[("match", "urn:flood")]);
    flood(&mut sealed.hub.connect(), 0..1_000, &"x".repeat(1_000));
    assert_eq!(sealed.hub.stop().code(), Some(0));
    idle.iter_mut().for_each(|peer| assert_eq!(peer.until_closed(), Some(Code::NO_ERROR)));
    shut.until_closed();
}

#[test]
fn a_connection_that_is_cut_ends_all_its_subscribers() {
    let sealed = Sealed::anonymous();
    let hub = &sealed.hub;
    let subscribers = || metric(hub, "cinnabar_subscribers{state=\"current\"}");
    let mut peers = both(&sealed);
    for peer in &mut peers {
        for _ in 0..50 {
            peer.subscribe(A);
        }
    }
    eventually("all are there", || subscribers() == 100.0);
    for (cut, peer) in peers.into_iter().enumerate() {
        drop(peer);
        let left = 1 - cut;
        eventually("its own have ended", || subscribers() == 50.0 * left as f64);
        eventually("and the connection", || metric(hub, "cinnabar_connections") == left as f64);
    }
    eventually("all are counted", || metric(hub, "cinnabar_disconnects_total{reason=\"gone\"}") == 100.0);
}

#[test]
fn a_client_that_says_goodbye_keeps_its_streams_until_they_end() {
    let sealed = Sealed::anonymous();
    for mut peer in both(&sealed) {
        let stream = peer.subscribe(A);
        let goodbye = Frame { kind: GOAWAY, flags: 0, stream: 0, payload: vec![0; 8] };
        peer.frame(&goodbye);
        peer.settle();
        sealed.hub.say("urn:a", "still here");
        assert_eq!(peer.data(stream), "still here");
        peer.frame(&reset(stream, Code::CANCEL));
        peer.until_closed();
    }
}

#[test]
fn who_does_not_finish_what_it_began_is_closed() {
    let hub = Hub::start(&["--anonymous", "--head-timeout", "1s"]);
    let whole = [PREFACE, &settings(&[]).bytes()].concat();
    let fields = hpack::encode(&[(":method", "GET"), (":scheme", "http")]);
    let half_a_head = Frame { payload: fields, flags: END_STREAM, ..headers(1, &[], 0) }.bytes();
    let cut_frame = headers(1, &[(":method", "GET")], 0).bytes();
    for bytes in [
        PREFACE[..1].to_vec(),
        PREFACE[..10].to_vec(),
        PREFACE[..PREFACE.len() - 1].to_vec(),
        PREFACE.to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [whole.clone(), half_a_head].concat(),
        [&whole, &cut_frame[..cut_frame.len() - 3]].concat(),
    ] {
        let mut client = hub.connect();
        client.send(&bytes);
        client.read_to_end();
    }
    eventually("no connection is left", || metric(&hub, "cinnabar_connections") == 0.0);
    assert_serves(&hub);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for_and_its_neighbours_live_on() {
    let sealed = Sealed::start(&["--anonymous", "--body-timeout", "1s"]);
    let token = bearer(&publisher());
    for mut peer in both(&sealed) {
        let stream = peer.subscribe(A);
        let begun = peer.begin_form("POST", &[("authorization", &token)]);
        peer.frame(&data(begun, b"topic=urn:a&data=never+finished", 0));
        let answer = peer.until_over(begun);
        let status = answer.fields.as_ref().map(|fields| fields[0].1.as_str());
        assert!(status == Some("408") || (status.is_none() && answer.reset.is_some()), "{answer:?}");
        assert_eq!(peer.publish("urn:a", "whole").status, 200);
        assert_eq!(peer.data(stream), "whole");
    }
}

/// As slowly as can be, each byte on its own, a preface and a request are what they are.
#[test]
fn a_connection_may_begin_byte_by_byte() {
    let hub = Hub::anonymous();
    let mut peer = Peer::silent(hub.connect());
    let fields = peer.fields("GET", "/", &[]);
    let stream = peer.fresh_stream();
    for byte in [PREFACE, &settings(&[]).bytes(), &headers(stream, &fields, END_STREAM).bytes()].concat() {
        peer.send(&[byte]);
    }
    assert_eq!(peer.response(stream).status, 200);
}

#[test]
fn a_preface_with_requests_behind_it_is_one_flight() {
    let hub = Hub::anonymous();
    let mut peer = Peer::silent(hub.connect());
    let mut flight = [PREFACE, &settings(&[]).bytes()].concat();
    let streams: Vec<u32> = (0..20).map(|_| peer.fresh_stream()).collect();
    for &stream in &streams {
        flight.extend(headers(stream, &peer.fields("GET", "/", &[]), END_STREAM).bytes());
    }
    peer.send(&flight);
    streams.into_iter().for_each(|stream| assert_eq!(peer.response(stream).status, 200));
}

#[test]
fn http_1_1_is_spoken_on_the_same_ports() {
    let sealed = Sealed::anonymous();
    let mut client = sealed.hub.connect();
    client.request("GET", "/", &[], None);
    assert_eq!(client.response("GET").status, 200);
    // Something like a preface, after the first request, is a request with a mistake.
    client.send(PREFACE);
    assert!(matches!(client.response("PRI").status, 400 | 405 | 505));
    let mut config = sealed.authority.client();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut client = Client::connect_tls(sealed.address, std::sync::Arc::new(config), "localhost");
    client.request("GET", "/", &[], None);
    assert_eq!(client.response("GET").status, 200);
    assert_eq!(client.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
    // Nothing in common is nothing (RFC 7301, section 3.2).
    let mut config = sealed.authority.client();
    config.alpn_protocols = vec![b"spdy/3".to_vec()];
    let mut client = Client::connect_tls(sealed.address, std::sync::Arc::new(config), "localhost");
    let refused = client.try_send(b"GET / HTTP/1.1\r\n\r\n").map(|()| client.read_to_end());
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.is_empty()), "no application data");
}
