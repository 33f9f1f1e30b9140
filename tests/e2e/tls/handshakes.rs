//! How connections with TLS begin, and how they don't.

use std::sync::Arc;

use rustls::HandshakeKind;

use super::authority::suites;
use super::{Sealed, subscribe_on};
use crate::admin::metric;
use crate::harness::*;

fn failures(sealed: &Sealed, reason: &str) -> f64 {
    metric(&sealed.hub, &format!("cinnabar_tls_handshake_failures_total{{reason=\"{reason}\"}}"))
}

#[test]
fn plain_http_on_the_port_of_tls_is_told_so() {
    let sealed = Sealed::anonymous();
    let mut client = Client::connect(sealed.address);
    client.request("GET", HUB, &[], None);
    let answer = client.response("GET");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("this port speaks TLS"), "{answer:?}");
    client.expect_closed();
    eventually("it is counted", || failures(&sealed, "plain") == 1.0);
}

#[test]
fn what_is_no_handshake_is_closed_and_counted() {
    let sealed = Sealed::start(&["--anonymous", "--head-timeout", "300ms"]);
    for garbage in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x80\x2e\x01\x00\x02", &[0; 100]] {
        let mut client = Client::connect(sealed.address);
        client.send(garbage);
        client.read_to_end();
    }
    eventually("three of them", || failures(&sealed, "protocol") == 3.0);
    let mut slow = Client::connect(sealed.address);
    slow.send(b"\x16\x03\x01\x02\x00\x01");
    slow.expect_closed();
    eventually("it took too long", || failures(&sealed, "slow") == 1.0);
    drop(Client::connect(sealed.address));
    eventually("it went", || failures(&sealed, "gone") == 1.0);
}

/// Seen: a record that wasn't whole, and of another kind than the first of a handshake, was looked at again and again, and nothing
/// else was on that shard.
#[test]
fn the_rest_of_a_record_is_waited_for_and_others_are_served() {
    let sealed = Sealed::start(&["--anonymous", "--shards", "1", "--head-timeout", "1s"]);
    let slow =
        [&[23, 3, 3, 0, 64][..], &[21, 3, 3, 0, 2], &[20, 3, 3, 0, 1], &[22, 3, 1, 0, 9, 1, 0, 1], &[22, 3, 3, 0]];
    // A message that is too long, records of nothing, and very much of a message in very small ones.
    let small = [&[22, 3, 1, 0, 4, 1, 0, 0x7f, 0][..], &[22, 3, 1, 0, 1, 0].repeat(20_000)].concat();
    let nothing = [22, 3, 3, 0, 0].repeat(20_000);
    let hopeless = [&[22, 3, 1, 0, 9, 1, 0xff, 0xff, 0xff][..], &nothing, &small];
    for beginning in slow.into_iter().chain(hopeless) {
        let mut client = Client::connect(sealed.address);
        // It may be closed before it has said all that.
        let _ = client.try_send(beginning);
        client.read_to_end();
        let mut other = sealed.hub.connect();
        other.request("OPTIONS", HUB, &[], None);
        assert_eq!(other.response("OPTIONS").status, 204, "{:?}", &beginning[..9.min(beginning.len())]);
    }
    eventually("some took too long", || failures(&sealed, "slow") == slow.len() as f64);
    eventually("others were turned away", || failures(&sealed, "protocol") == hopeless.len() as f64);
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let sealed = Sealed::start(&["--anonymous", "--shards", "1"]);
    for suite in suites() {
        for count in [1, 7, 50] {
            let mut client = sealed.connect_with(suite);
            client.shake_hands_in_pieces(count);
            client.request("OPTIONS", HUB, &[], None);
            assert_eq!(client.response("OPTIONS").status, 204, "{suite:?} in pieces of {count} bytes");
        }
    }
}

#[test]
fn a_client_that_does_not_trust_the_certificate_is_counted() {
    let sealed = Sealed::anonymous();
    let other = super::Authority::new();
    let mut client = sealed.connect_by(other.client());
    assert!(client.try_send(b"GET / HTTP/1.1\r\n\r\n").is_err());
    eventually("it is counted", || failures(&sealed, "alert") == 1.0);
}

#[test]
fn the_handshake_and_the_first_head_have_one_time_together() {
    let sealed = Sealed::start(&["--anonymous", "--head-timeout", "500ms"]);
    let mut client = sealed.connect();
    client.send(b"GET / HTTP/1.1\r\n");
    assert_eq!(client.response("GET").status, 408);
    client.expect_closed();
    assert!(client.was_told_of_the_end());
}

#[test]
fn tickets_resume_wherever_a_client_comes_back() {
    let sealed = Sealed::anonymous();
    for suite in suites() {
        // Eight connections in a row: one of two shards has some of them.
        let config = Arc::new(sealed.authority.client_with(suite));
        for n in 0..8 {
            let mut client = Client::connect_tls(sealed.address, config.clone(), "localhost");
            client.request("OPTIONS", HUB, &[], None);
            assert_eq!(client.response("OPTIONS").status, 204);
            let kind = client.tls().handshake_kind();
            assert_eq!(kind == Some(HandshakeKind::Resumed), n > 0, "{suite:?}, connection {n}: {kind:?}");
        }
    }
    eventually("they are counted", || {
        metric(&sealed.hub, "cinnabar_tls_handshakes_total{kind=\"resumed\"}") == 7.0 * suites().len() as f64
    });
}

#[test]
fn a_ticket_comes_with_the_first_answer_and_not_before() {
    let sealed = Sealed::anonymous();
    let config = Arc::new(sealed.authority.client());
    let connect = |shaken: f64| {
        let mut client = Client::connect_tls(sealed.address, config.clone(), "localhost");
        // A handshake and nothing more.
        client.send(&[]);
        let done = |kind: &str| metric(&sealed.hub, &format!("cinnabar_tls_handshakes_total{{kind=\"{kind}\"}}"));
        eventually("the hub has done its part", || done("full") + done("resumed") == shaken);
        assert!(!client.has_unread(), "nothing was sent since");
        client
    };
    let mut stream = subscribe_on(connect(1.0), &[("match", "urn:a")]);
    assert_eq!(stream.client().tls().tls13_tickets_received(), 1);
    let mut client = connect(2.0);
    assert_eq!(client.tls().handshake_kind(), Some(HandshakeKind::Resumed), "it was a good one");
    client.request("OPTIONS", HUB, &[], None);
    assert_eq!(client.response("OPTIONS").status, 204);
    assert_eq!(client.tls().tls13_tickets_received(), 1);
}

#[test]
fn a_proxy_introduces_its_client_before_the_handshake() {
    let args = ["--anonymous", "--trusted-proxy", "127.0.0.9", "--proxy-protocol"];
    let sealed = Sealed::start(&args);
    let mut client = Client::connect_from("127.0.0.9", sealed.address);
    client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    client.begin_tls(Arc::new(sealed.authority.client()), "localhost");
    let mut stream = subscribe_on(client, &[("match", "urn:a")]);
    sealed.hub.say("urn:a", "1");
    assert_eq!(stream.data(), "1");
}

#[test]
fn connections_one_too_many_are_turned_away_without_a_handshake() {
    let sealed = Sealed::start(&["--anonymous", "--max-connections", "1"]);
    let _one = sealed.subscribe(&[("match", "urn:a")]);
    let mut other = Client::connect(sealed.address);
    assert_eq!(other.read_to_end(), [21, 3, 3, 0, 2, 2, 80], "an alert");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let sealed = Sealed::anonymous();
    for suite in suites() {
        let mut client = sealed.connect_with(suite);
        let body = form(&[("topic", "urn:a"), ("data", "x")]);
        let publish = format!(
            "POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            publisher(),
            body.len()
        );
        let options = format!("OPTIONS {HUB} HTTP/1.1\r\nHost: h\r\n\r\n");
        client.send(format!("{}{options}{publish}", publish.repeat(300)).as_bytes());
        for n in 0..302 {
            let (method, status) = if n == 300 { ("OPTIONS", 204) } else { ("POST", 200) };
            assert_eq!(client.response(method).status, status, "{suite:?}, request {n}");
        }
    }
}
