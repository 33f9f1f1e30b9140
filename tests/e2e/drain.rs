//! A hub that stops while it is in use: probes hear of it first, nobody who waits is reset, and streams end one by one.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::admin::{ask, metric};
use crate::harness::*;

const ENDED: &str = "cinnabar_disconnects_total{reason=\"stopping\"}";

#[test]
fn readiness_goes_first_and_everything_is_served_for_as_long_as_was_asked_for() {
    let mut hub = Hub::start(&["--anonymous", "--drain-delay", "1h"]);
    let mut before = hub.subscribe(&[("match", "urn:a")]);
    signal(hub.pid(), "TERM");
    eventually("readiness says so", || ask(&hub, "GET", "/health/ready").status == 503);
    let said = ask(&hub, "GET", "/health/ready").text();
    assert!(said.contains("about to stop"), "{said}");
    assert_eq!((ask(&hub, "GET", "/health/live").status, metric(&hub, "cinnabar_draining")), (200, 1.0));
    let mut after = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "business as usual");
    assert_eq!([before.data(), after.data()], ["business as usual", "business as usual"]);
    signal(hub.pid(), "TERM");
    assert_eq!(hub.exit_status().code(), Some(143), "a second signal ends it at once");
}

#[test]
fn a_second_signal_ends_a_drain_at_once_and_the_exit_code_names_it() {
    for (second, code) in [("INT", 130), ("TERM", 143)] {
        let mut hub = Hub::start(&["--anonymous", "--drain-window", "1h"]);
        let mut stream = hub.subscribe(&[("match", "urn:a")]);
        signal(hub.pid(), "TERM");
        eventually("it drains", || ask(&hub, "GET", "/health/ready").text().contains("draining"));
        signal(hub.pid(), second);
        assert_eq!(hub.exit_status().code(), Some(code));
        stream.rest();
    }
}

#[test]
fn streams_end_one_by_one_and_those_still_there_get_what_is_published_meanwhile() {
    let mut hub = Hub::start(&["--anonymous", "--drain-window", "10s", "--retry", "2s"]);
    let streams: Vec<Stream> = (0..200).map(|_| hub.subscribe(&[("match", "urn:a")])).collect();
    let (mut publisher_s, mut subscriber_s) = (hub.connect(), hub.connect());
    for kept in [&mut publisher_s, &mut subscriber_s] {
        kept.request("OPTIONS", HUB, &[], None);
        assert_eq!(kept.response("OPTIONS").status, 204);
    }
    signal(hub.pid(), "TERM");
    eventually("some have ended", || metric(&hub, ENDED) >= 20.0);
    let authorization = format!("Bearer {}", publisher());
    let body = form(&[("topic", "urn:a"), ("data", "late news")]);
    publisher_s.post(&[("Authorization", &authorization)], body.as_bytes());
    let answer = publisher_s.response("POST");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{answer:?}");
    subscriber_s.request("GET", &query(&[("match", "urn:a")]), &[], None);
    let answer = subscriber_s.response("GET");
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")), "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    let (mut received, mut retries) = (0, BTreeSet::new());
    for mut stream in streams {
        let (events, end) = stream.rest();
        assert_eq!(end, End::LastChunk);
        received += events.len();
        let retry_ms = stream.retry.expect("each is told when to come back");
        assert!((2_000..=12_000).contains(&retry_ms), "{retry_ms}");
        retries.insert(retry_ms);
    }
    assert!((1..=180).contains(&received), "{received} of 200");
    assert!(retries.len() > 150, "{} different times", retries.len());
    assert_eq!(hub.exit_status().code(), Some(0));
    assert!(hub.log().contains("streams_left="), "{}", hub.log());
}

#[test]
fn sealed_streams_are_told_when_to_come_back_and_that_nothing_follows() {
    let mut sealed = crate::tls::Sealed::start(&["--anonymous", "--drain-window", "2s"]);
    let streams: Vec<Stream> = (0..20).map(|_| sealed.subscribe(&[("match", "urn:a")])).collect();
    assert_eq!(sealed.hub.stop().code(), Some(0));
    for mut stream in streams {
        assert_eq!(stream.end(), End::LastChunk);
        assert!(stream.retry.is_some_and(|retry_ms| (1_000..=3_000).contains(&retry_ms)), "{:?}", stream.retry);
        stream.client().read_to_end();
        assert!(stream.client().was_told_of_the_end());
    }
}

#[test]
fn who_waits_to_be_accepted_is_answered() {
    let mut hub = Hub::anonymous();
    // What comes now waits in the kernel.
    signal(hub.pid(), "STOP");
    eventually("the hub stands still", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", hub.pid())).expect("it is there");
        status.lines().any(|line| line.starts_with("State:") && line.contains('T'))
    });
    let authorization = format!("Bearer {}", publisher());
    let body = form(&[("topic", "urn:a"), ("data", "in time")]);
    let mut waiting: Vec<Client> = (0..60).map(|_| hub.connect()).collect();
    for client in &mut waiting {
        client.post(&[("Authorization", &authorization)], body.as_bytes());
    }
    signal(hub.pid(), "TERM");
    signal(hub.pid(), "CONT");
    for client in &mut waiting {
        let answer = client.response("POST");
        assert_eq!(answer.status, 200, "{answer:?}");
        client.expect_closed();
    }
    assert_eq!(hub.exit_status().code(), Some(0));
}

#[test]
fn a_hub_without_streams_does_not_wait_for_the_window() {
    let mut hub = Hub::start(&["--anonymous", "--drain-window", "1h"]);
    hub.say("urn:a", "to nobody");
    let mut idle = hub.connect();
    idle.request("OPTIONS", HUB, &[], None);
    assert_eq!(idle.response("OPTIONS").status, 204);
    assert_eq!(hub.stop().code(), Some(0));
    idle.expect_closed();
    assert!(std::net::TcpStream::connect_timeout(&hub.address(), Duration::from_secs(60)).is_err());
}
