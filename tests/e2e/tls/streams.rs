//! Event streams over TLS: the same promises as without.

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use serde_json::json;

use super::authority::suites;
use super::{Sealed, subscribe_on};
use crate::admin::metric;
use crate::harness::*;
use crate::slow::sockets_of;

#[test]
fn what_is_published_over_tls_arrives_over_tls_and_without() {
    let sealed = Sealed::anonymous();
    let mut plain = sealed.hub.subscribe(&[("match", "urn:a")]);
    let mut streams: Vec<Stream> =
        suites().into_iter().map(|suite| subscribe_on(sealed.connect_with(suite), &[("match", "urn:a")])).collect();
    let mut publisher_of_tls = sealed.connect();
    let bearer = format!("Bearer {}", publisher());
    for n in 0..20 {
        let body = form(&[("topic", "urn:a"), ("data", &n.to_string())]);
        publisher_of_tls.post(&[("Authorization", &bearer)], body.as_bytes());
        assert_eq!(publisher_of_tls.response("POST").status, 200);
        for stream in streams.iter_mut().chain([&mut plain]) {
            assert_eq!(stream.data(), n.to_string());
        }
    }
}

#[test]
fn large_events_arrive_whole() {
    let sealed = Sealed::start(&["--anonymous", "--max-body-bytes", "4MiB"]);
    for suite in suites() {
        let mut stream = subscribe_on(sealed.connect_with(suite), &[("match", "urn:flood")]);
        let filler = "x".repeat(1 << 20);
        flood(&mut sealed.connect(), 0..3, &filler);
        for n in 0..3 {
            assert!(stream.data() == format!("{n} {filler}"), "{suite:?}, event {n}");
        }
    }
}

#[test]
fn a_reader_that_pauses_loses_nothing_and_gets_nothing_twice() {
    let sealed = Sealed::start(&["--anonymous", "--tail-bytes", "1MiB"]);
    let mut paused: Vec<Stream> =
        suites().into_iter().map(|suite| subscribe_on(sealed.connect_with(suite), &[("match", "urn:flood")])).collect();
    let filler = "x".repeat(700);
    flood(&mut sealed.hub.connect(), 0..8_000, &filler);
    for stream in &mut paused {
        for n in 0..8_000 {
            assert_eq!(stream.data(), format!("{n} {filler}"));
        }
    }
    sealed.hub.say("urn:flood", "live");
    paused.iter_mut().for_each(|stream| assert_eq!(stream.data(), "live"));
}

#[test]
fn a_reader_that_never_reads_is_closed_and_others_are_served() {
    let sealed = Sealed::start(&["--anonymous", "--write-timeout", "2s"]);
    let mut silent: Vec<Stream> =
        suites().into_iter().map(|suite| subscribe_on(sealed.connect_with(suite), &[("match", "urn:flood")])).collect();
    let mut healthy = sealed.subscribe(&[("match", "urn:flood")]);
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&mut sealed.hub.connect(), 0..5_000, &"x".repeat(1000)));
        for n in 0..5_000 {
            assert!(healthy.data().starts_with(&format!("{n} ")));
        }
    });
    for stream in &mut silent {
        let port = stream.client().local_port();
        eventually("a silent one is closed", || sockets_of(sealed.address.port(), Some(port)) == 0);
    }
}

#[test]
fn silent_streams_get_heartbeats() {
    let sealed = Sealed::start(&["--anonymous", "--heartbeat", "1s"]);
    for suite in suites() {
        let mut stream = subscribe_on(sealed.connect_with(suite), &[("match", "urn:a")]);
        stream.comment();
        stream.comment();
    }
}

#[test]
fn a_stream_ends_with_its_token_and_the_client_is_told() {
    let sealed = Sealed::start(&[]);
    for suite in suites() {
        let token = Token::granting(&["subscribe"], &["*"]).claim("exp", json!(now() + 2)).sign(SUBSCRIBER_KEY);
        let mut client = sealed.connect_with(suite);
        client.request("GET", &query(&[("match", "urn:a")]), &[("Authorization", &format!("Bearer {token}"))], None);
        let mut stream = client.stream().expect("a stream");
        assert_eq!(stream.end(), End::LastChunk, "{suite:?}");
        stream.client().expect_closed();
        assert!(stream.client().was_told_of_the_end(), "{suite:?}");
    }
}

#[test]
fn a_stop_ends_streams_over_tls_in_order() {
    let mut sealed = Sealed::anonymous();
    let mut streams: Vec<Stream> =
        suites().into_iter().map(|suite| subscribe_on(sealed.connect_with(suite), &[("match", "urn:a")])).collect();
    sealed.hub.stop();
    for stream in &mut streams {
        assert_eq!(stream.end(), End::LastChunk);
        stream.client().expect_closed();
        assert!(stream.client().was_told_of_the_end());
    }
}

#[test]
fn what_a_client_says_on_a_stream_is_thrown_away_but_not_without_end() {
    let sealed = Sealed::anonymous();
    for suite in suites() {
        let mut stream = subscribe_on(sealed.connect_with(suite), &[("match", "urn:a")]);
        stream.client().send(b"hello?");
        sealed.hub.say("urn:a", "1");
        assert_eq!(stream.data(), "1", "{suite:?}");
        let _ = stream.client().try_send(&[b'x'; 40_000]);
        stream.rest();
    }
    eventually("they count as talkative", || {
        metric(&sealed.hub, "cinnabar_disconnects_total{reason=\"talkative\"}") == suites().len() as f64
    });
}

#[test]
fn a_client_that_wants_other_keys_comes_back_for_them() {
    let sealed = Sealed::anonymous();
    let mut stream = subscribe_on(sealed.connect_with(TLS13_AES_128_GCM_SHA256), &[("match", "urn:a")]);
    stream.client().tls().refresh_traffic_keys().expect("TLS 1.3");
    stream.client().send(b"x");
    stream.rest();
    eventually("it is counted", || metric(&sealed.hub, "cinnabar_tls_stream_ends_total{reason=\"key-update\"}") == 1.0);
}

#[test]
fn a_client_that_closes_is_gone() {
    let sealed = Sealed::anonymous();
    for suite in suites() {
        let mut stream = subscribe_on(sealed.connect_with(suite), &[("match", "urn:a")]);
        stream.client().tls().send_close_notify();
        stream.client().send(b"");
        stream.rest();
    }
    eventually("all are gone", || {
        metric(&sealed.hub, "cinnabar_disconnects_total{reason=\"gone\"}") == suites().len() as f64
    });
}

/// Memory per idle subscriber: little more than keys where TLS 1.3 is spoken, a session of the library's elsewhere.
#[test]
fn idle_streams_cost_little() {
    const STREAMS: usize = 1_000;
    for (suite, bytes_max) in suites().into_iter().skip(2).zip([4_000, 12_000]) {
        let sealed = Sealed::anonymous();
        let config = std::sync::Arc::new(sealed.authority.client_with(suite));
        let connect = || Client::connect_tls(sealed.address, config.clone(), "localhost");
        // What the hub needs for its first ones isn't theirs.
        let mut streams: Vec<Stream> = (0..200).map(|_| subscribe_on(connect(), &[("match", "urn:a")])).collect();
        let before = sealed.hub.resident_bytes();
        streams.extend((0..STREAMS).map(|_| subscribe_on(connect(), &[("match", "urn:a")])));
        let each = sealed.hub.resident_bytes().saturating_sub(before) / STREAMS as u64;
        println!("{suite:?}: {each} B each");
        assert!(each < bytes_max, "{suite:?}: {each} B each");
        sealed.hub.say("urn:a", "all");
        assert!(streams.iter_mut().all(|stream| stream.data() == "all"));
    }
}
