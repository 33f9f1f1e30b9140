//! Slow readers: they lose nothing that is kept, cost nobody else anything, and are closed when they make no progress at all.

use crate::admin::metric;
use crate::harness::*;

/// Seen: each held a buffer of 64 KiB that nothing counted, whatever it had announced, and without a token.
#[test]
fn a_request_whose_body_is_awaited_costs_little() {
    const REQUESTS: usize = 1_000;
    let hub = Hub::anonymous();
    let before = hub.resident_bytes();
    let head = format!(
        "QUERY {HUB} HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 9000\r\n\r\n"
    );
    let waiting: Vec<Client> = (0..REQUESTS)
        .map(|_| {
            let mut client = hub.connect();
            client.send(head.as_bytes());
            client
        })
        .collect();
    eventually("all of them are there", || metric(&hub, "cinnabar_request_connections") >= REQUESTS as f64);
    let each = hub.resident_bytes().saturating_sub(before) / REQUESTS as u64;
    assert!(each < 32 * 1024, "{each} B each");
    drop(waiting);
}

/// Seen: on loopback, where segments may have 64 KiB, a reader that always read was sent one every 40 ms, since the send buffer
/// held one and a client acknowledges a single one late.
#[test]
fn several_segments_fit_into_the_send_buffer_on_loopback_too() {
    let hub = Hub::anonymous();
    let client = hub.connect();
    assert!(client.segment_bytes() <= 16 * 1024, "{}", client.segment_bytes());
}

#[test]
fn a_reader_that_pauses_receives_everything_in_order() {
    let hub = Hub::anonymous();
    let mut paused = hub.subscribe(&[("match", "urn:flood")]);
    let filler = "x".repeat(300);
    flood(&mut hub.connect(), 0..40_000, &filler);
    for n in 0..40_000 {
        assert_eq!(paused.data(), format!("{n} {filler}"));
    }
    hub.say("urn:flood", "live");
    assert_eq!(paused.data(), "live");
}

#[test]
fn a_reader_of_large_events_that_pauses_receives_them_whole() {
    let hub = Hub::anonymous();
    let mut paused = hub.subscribe(&[("match", "urn:flood")]);
    let filler = "x".repeat(200_000);
    flood(&mut hub.connect(), 0..60, &filler);
    for n in 0..60 {
        assert!(paused.data() == format!("{n} {filler}"), "event {n}");
    }
}

#[test]
fn a_paused_reader_whose_events_left_the_tail_reads_on_from_history() {
    let hub = Hub::start(&["--anonymous", "--tail-bytes", "1MiB"]);
    let mut paused = hub.subscribe(&[("match", "urn:flood")]);
    let filler = "x".repeat(1000);
    flood(&mut hub.connect(), 0..20_000, &filler);
    for n in 0..20_000 {
        assert_eq!(paused.data(), format!("{n} {filler}"));
    }
}

#[test]
fn a_paused_reader_whose_events_are_gone_is_closed_and_never_thinned() {
    let hub = Hub::start(&["--anonymous", "--tail-bytes", "1MiB", "--history-max-bytes", "1MiB"]);
    let mut paused = hub.subscribe(&[("match", "urn:flood")]);
    let filler = "x".repeat(1000);
    flood(&mut hub.connect(), 0..20_000, &filler);
    let (events, _) = paused.rest();
    assert!(!events.is_empty() && events.len() < 20_000, "{}", events.len());
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event.data, format!("{n} {filler}"), "nothing is left out");
    }
    let last = &events[events.len() - 1].id;
    let mut back = hub.subscribe(&[("match", "urn:flood"), ("last_event_id", last)]);
    assert_eq!(back.last_event_id(), Some("earliest"), "it is told of the gap");
    let first = number(&back.data());
    for n in first + 1..20_000 {
        assert_eq!(number(&back.data()), n, "what is kept is replayed");
    }
}

#[test]
fn a_subscriber_that_never_reads_is_closed_and_others_are_served() {
    let hub = Hub::start(&["--anonymous", "--write-timeout", "2s"]);
    let mut silent = hub.subscribe(&[("match", "urn:flood")]);
    let port = silent.client().local_port();
    let mut healthy = hub.subscribe(&[("match", "urn:flood")]);
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&mut hub.connect(), 0..20_000, &"x".repeat(1000)));
        for n in 0..20_000 {
            assert_eq!(number(&healthy.data()), n);
        }
    });
    eventually("the silent subscriber's connection is closed", || sockets_of(hub.address().port(), Some(port)) == 0);
    hub.say("urn:flood", "20000 live");
    assert_eq!(number(&healthy.data()), 20_000);
}

#[test]
fn a_slow_subscriber_that_makes_progress_is_not_closed() {
    let hub = Hub::start(&["--anonymous", "--write-timeout", "5s"]);
    let mut slow = hub.subscribe(&[("match", "urn:flood")]);
    let filler = "x".repeat(20_000);
    flood(&mut hub.connect(), 0..600, &filler);
    for n in 0..600 {
        assert_eq!(number(&slow.data()), n);
        std::thread::sleep(std::time::Duration::from_millis(15));
    }
}

#[test]
fn many_subscribers_that_never_read_do_not_hinder_others() {
    let hub = Hub::anonymous();
    let silent: Vec<Stream> = (0..200).map(|_| hub.subscribe(&[("match", "urn:flood")])).collect();
    let mut healthy: Vec<Stream> = (0..10).map(|_| hub.subscribe(&[("match", "urn:flood")])).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&mut hub.connect(), 0..5000, &"x".repeat(300)));
        for stream in &mut healthy {
            for n in 0..5000 {
                assert_eq!(number(&stream.data()), n);
            }
        }
    });
    drop(silent);
}

fn number(data: &str) -> u32 {
    data.split(' ').next().and_then(|word| word.parse().ok()).expect("a number first")
}

/// The hub's sockets on its port, to one client's port or to all, that carry a connection: established, or closed by the peer only.
pub(crate) fn sockets_of(hub_port: u16, client_port: Option<u16>) -> usize {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    table
        .lines()
        .skip(1)
        .filter(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let port = |address: &str| address.rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
            let (local, remote, state) = (port(words[1]), port(words[2]), words[3]);
            local == Some(hub_port)
                && client_port.is_none_or(|client| remote == Some(client))
                && (state == ESTABLISHED || state == CLOSE_WAIT)
        })
        .count()
}
