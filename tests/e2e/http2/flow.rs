//! Windows: a stream that may not be written is a slow reader like any other.

use super::*;
use crate::admin::metric;

/// The largest window there is (RFC 9113, section 6.9.1).
const WINDOW_MAX: u32 = (1 << 31) - 1;
const FLOOD: &[(&str, &str)] = &[("match", "urn:flood")];

/// A connection whose streams may not be written until a window is given.
fn shut(hub: &Hub) -> Peer {
    let mut peer = Peer::with(hub, &[(INITIAL_WINDOW_SIZE, 0)]);
    peer.frame(&window_update(0, WINDOW_MAX - 65_535));
    peer.gives = [false, false];
    peer
}

#[test]
fn a_stream_without_a_window_costs_no_memory_and_nobody_else_anything() {
    const SILENT: usize = 50;
    const EVENTS: u32 = 20_000;
    let hub = Hub::start(&["--anonymous", "--tail-bytes", "1MiB", "--write-timeout", "10m"]);
    let mut peer = shut(&hub);
    let silent: Vec<u32> = (0..SILENT).map(|_| peer.subscribe(FLOOD)).collect();
    let healthy = peer.subscribe(FLOOD);
    peer.frame(&window_update(healthy, WINDOW_MAX));
    let filler = "x".repeat(1000);
    flood(&mut hub.connect(), 0..2_000, &filler);
    (0..2_000).for_each(|n| assert_eq!(peer.data(healthy), format!("{n} {filler}")));
    let before = hub.resident_bytes();
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&mut hub.connect(), 2_000..EVENTS, &filler));
        (2_000..EVENTS).for_each(|n| assert_eq!(peer.data(healthy), format!("{n} {filler}")));
    });
    // Kept for each of them it would be 900 MB.
    let grown = hub.resident_bytes().saturating_sub(before);
    assert!(grown < 60_000_000, "{grown} B more");
    for stream in silent {
        assert_eq!(peer.answer(stream).body, b"", "not a byte without a window");
    }
}

#[test]
fn a_stream_whose_window_opens_late_loses_nothing_and_gets_nothing_twice() {
    let hub = Hub::start(&["--anonymous", "--tail-bytes", "1MiB"]);
    let mut peer = shut(&hub);
    let streams = [peer.subscribe(FLOOD), peer.subscribe(FLOOD)];
    let filler = "x".repeat(700);
    flood(&mut hub.connect(), 0..6_000, &filler);
    for stream in streams {
        peer.frame(&window_update(stream, WINDOW_MAX));
        (0..6_000).for_each(|n| assert_eq!(peer.data(stream), format!("{n} {filler}")));
    }
    hub.say("urn:flood", "live");
    streams.into_iter().for_each(|stream| assert_eq!(peer.data(stream), "live"));
}

#[test]
fn a_stream_that_never_opens_its_window_is_ended_and_others_of_the_connection_are_not() {
    let hub = Hub::start(&["--anonymous", "--write-timeout", "2s"]);
    let mut peer = shut(&hub);
    let (silent, healthy) = (peer.subscribe(FLOOD), peer.subscribe(FLOOD));
    peer.frame(&window_update(healthy, WINDOW_MAX));
    flood(&mut hub.connect(), 0..10, "x");
    peer.until_over(silent);
    (0..10).for_each(|n| assert_eq!(peer.data(healthy), format!("{n} x")));
    eventually("it is counted", || metric(&hub, "cinnabar_disconnects_total{reason=\"stalled\"}") == 1.0);
    hub.say("urn:flood", "still here");
    assert_eq!(peer.data(healthy), "still here");
}

#[test]
fn a_window_of_one_byte_at_a_time_brings_the_right_bytes() {
    let hub = Hub::anonymous();
    let mut peer = shut(&hub);
    let stream = peer.subscribe(FLOOD);
    let ids: Vec<String> = (0..3).map(|n| hub.say("urn:flood", &n.to_string())).collect();
    let wanted: String = ids.iter().enumerate().map(|(n, id)| format!("id: {id}\ndata: {n}\n\n")).collect();
    for read in 1..=wanted.len() {
        peer.frame(&window_update(stream, 1));
        while peer.answer(stream).body.len() < read {
            peer.read().expect("the next byte");
        }
        assert_eq!(peer.answer(stream).body.len(), read, "one and no more");
    }
    assert_eq!(String::from_utf8_lossy(&peer.answer(stream).body), wanted);
}

#[test]
fn the_window_of_the_connection_holds_for_all_its_streams_together() {
    let hub = Hub::start(&["--anonymous", "--max-body-bytes", "4MiB"]);
    let mut peer = Peer::with(&hub, &[(INITIAL_WINDOW_SIZE, WINDOW_MAX)]);
    peer.gives = [false, false];
    let streams: Vec<u32> = (0..4).map(|_| peer.subscribe(FLOOD)).collect();
    let filler = "x".repeat(100_000);
    flood(&mut hub.connect(), 0..1, &filler);
    let received = |peer: &mut Peer| -> usize { streams.iter().map(|&stream| peer.answer(stream).body.len()).sum() };
    while received(&mut peer) < 65_535 {
        peer.read().expect("more");
    }
    // Whatever else it would send is behind this.
    peer.settle();
    assert_eq!(received(&mut peer), 65_535);
    peer.frame(&window_update(0, WINDOW_MAX - 65_535));
    for &stream in &streams {
        assert_eq!(peer.data(stream), format!("0 {filler}"));
    }
}

#[test]
fn windows_that_shrink_below_nothing_are_kept_to() {
    let hub = Hub::anonymous();
    let mut peer = Peer::connect(&hub);
    peer.frame(&window_update(0, WINDOW_MAX - 65_535));
    peer.gives = [false, false];
    let stream = peer.subscribe(FLOOD);
    flood(&mut hub.connect(), 0..1, &"x".repeat(1_000));
    peer.data(stream);
    let read = peer.answer(stream).body.len();
    // What was read already is owed now (section 6.9.2).
    peer.frame(&settings(&[(INITIAL_WINDOW_SIZE, 0)]));
    peer.settle();
    let id = hub.say("urn:flood", "late");
    peer.frame(&window_update(stream, read as u32 + 5));
    while peer.answer(stream).body.len() < read + 5 {
        peer.read().expect("five bytes");
    }
    peer.settle();
    assert_eq!(peer.answer(stream).body.len(), read + 5);
    peer.frame(&settings(&[(INITIAL_WINDOW_SIZE, 65_535)]));
    assert_eq!(peer.next(stream).id, id);
}

#[test]
fn a_window_beyond_the_largest_is_an_error_of_its_stream_or_connection() {
    let hub = Hub::anonymous();
    let mut peer = Peer::connect(&hub);
    let (stream, other) = (peer.subscribe(FLOOD), peer.subscribe(FLOOD));
    peer.frame(&window_update(stream, WINDOW_MAX));
    assert_eq!(peer.reset_of(stream), Some(Code::FLOW_CONTROL_ERROR));
    hub.say("urn:flood", "still here");
    assert_eq!(peer.data(other), "still here");
    peer.frame(&window_update(0, WINDOW_MAX));
    assert_eq!(peer.until_closed(), Some(Code::FLOW_CONTROL_ERROR));

    // FLOW_CONTROL_ERROR by section 6.5.2; the library takes it for a breach of the protocol as others are.
    let mut peer = Peer::connect(&hub);
    peer.frame(&settings(&[(INITIAL_WINDOW_SIZE, WINDOW_MAX + 1)]));
    let code = peer.until_closed();
    assert!([Code::FLOW_CONTROL_ERROR, Code::PROTOCOL_ERROR].map(Some).contains(&code), "{code:?}");

    // A stream's window that grows with the setting beyond it is one of the connection (section 6.9.2).
    let mut peer = Peer::connect(&hub);
    let stream = peer.subscribe(FLOOD);
    peer.frame(&window_update(stream, 1_000_000));
    peer.frame(&settings(&[(INITIAL_WINDOW_SIZE, WINDOW_MAX)]));
    assert_eq!(peer.until_closed(), Some(Code::FLOW_CONTROL_ERROR));
    assert_serves(&hub);
}

/// A request for an event stream whose body doesn't end: nobody reads it, and it goes no further than its window.
#[test]
fn what_a_client_says_on_an_event_stream_is_bounded() {
    let hub = Hub::anonymous();
    let mut peer = Peer::connect(&hub);
    let stream = peer.fresh_stream();
    let target = query(FLOOD);
    let fields = peer.fields("GET", &target, &[]);
    peer.frame(&headers(stream, &fields, 0));
    let piece = data(stream, &[b'x'; 16_384], 0).bytes();
    let _ = (0..100).try_for_each(|_| peer.client().try_send(&piece));
    while !peer.answer(stream).is_over() && peer.read().is_some() {}
    let (reset, goaway) = (peer.answer(stream).reset, peer.goaway);
    if let Some(code) = reset.or(goaway.map(|(_, code)| code)) {
        assert!([Code::FLOW_CONTROL_ERROR, Code::ENHANCE_YOUR_CALM, Code::NO_ERROR].contains(&code), "{code:?}");
    }
    assert_serves(&hub);
}
