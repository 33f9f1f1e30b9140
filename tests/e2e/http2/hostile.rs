//! Clients that mean harm: what they do is bounded, ends with their connection at worst, and nobody else notices.

use super::*;
use crate::admin::metric;

/// The setting with the number of streams that may be open at once (RFC 9113, section 6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 3;
const A: &[(&str, &str)] = &[("match", "urn:a")];

/// How many connections were closed for these reasons.
fn ends(hub: &Hub, reasons: &[&str]) -> f64 {
    reasons.iter().map(|reason| metric(hub, &format!("cinnabar_http2_ends_total{{reason=\"{reason}\"}}"))).sum()
}

/// Ten thousand streams that are given up as soon as they have begun.
fn rapid_resets(peer: &mut Peer, method: &str, path: &str, flags: u8) -> Option<Code> {
    peer.flood(10, |peer| {
        let pair = |peer: &mut Peer| {
            let stream = peer.fresh_stream();
            let fields = peer.fields(method, path, &[]);
            [headers(stream, &fields, flags).bytes(), reset(stream, Code::CANCEL).bytes()].concat()
        };
        (0..1_000).flat_map(|_| pair(peer)).collect()
    })
}

#[test]
fn ten_thousand_rapid_resets_are_answered_by_the_end_of_the_connection() {
    let sealed = Sealed::anonymous();
    let path = query(A);
    for (method, path, flags) in [("GET", path.as_str(), END_STREAM), ("POST", HUB, 0), ("GET", "/", END_STREAM)] {
        for mut peer in both(&sealed) {
            let code = rapid_resets(&mut peer, method, path, flags);
            assert_eq!(code, Some(Code::ENHANCE_YOUR_CALM), "{method} {path}");
        }
    }
    // The library has a bound of its own for those that it hasn't handed on yet.
    eventually("they are counted", || ends(&sealed.hub, &["resets", "excess"]) == 6.0);
    assert_serves(&sealed.hub);
    eventually("no stream is left", || metric(&sealed.hub, "cinnabar_http2_streams") == 0.0);
}

/// The other way round: streams that the hub has to reset, since the client breaks a rule on each.
#[test]
fn resets_that_a_client_provokes_end_its_connection_too() {
    let hub = Hub::anonymous();
    let mut peer = Peer::connect(&hub);
    let path = query(A);
    let code = peer.flood(10, |peer| {
        let broken = |peer: &mut Peer| {
            let stream = peer.fresh_stream();
            let fields = peer.fields("GET", &path, &[]);
            [headers(stream, &fields, END_STREAM).bytes(), window_update(stream, (1 << 31) - 1).bytes()].concat()
        };
        (0..1_000).flat_map(|_| broken(peer)).collect()
    });
    assert_eq!(code, Some(Code::ENHANCE_YOUR_CALM));
    eventually("it is counted", || ends(&hub, &["resets", "excess"]) == 1.0);
    assert_serves(&hub);
}

#[test]
fn a_field_block_without_end_is_cut_off() {
    let hub = Hub::anonymous();
    let before = hub.resident_bytes();
    let field = hpack::encode(&[("x-filler", &"x".repeat(1_000))]);
    for piece in [&field.repeat(10), &field[..], b""] {
        let mut peer = Peer::connect(&hub);
        let stream = peer.fresh_stream();
        let fields = peer.fields("GET", "/", &[]);
        let begun = Frame { flags: END_STREAM, ..headers(stream, &fields, END_STREAM) };
        peer.frame(&begun);
        let bytes = continuation(stream, piece, 0).bytes().repeat(16);
        let ended = (0..10_000).any(|_| peer.client().try_send(&bytes).is_err());
        assert!(ended, "{} B at a time are read for ever", piece.len());
        peer.until_closed();
    }
    let grown = hub.resident_bytes().saturating_sub(before);
    assert!(grown < 30_000_000, "{grown} B more");
    assert_serves(&hub);
}

/// Frames that ask for an answer, or for nothing, without end.
fn assert_calmed(reason: &str, batch: impl Fn(&mut Peer) -> Vec<u8>) {
    let hub = Hub::anonymous();
    let mut peer = Peer::connect(&hub);
    assert_eq!(peer.flood(200, batch), Some(Code::ENHANCE_YOUR_CALM), "{reason}");
    eventually("it is counted", || ends(&hub, &[reason]) == 1.0);
    assert_serves(&hub);
}

#[test]
fn a_flood_of_settings_ends_the_connection() {
    assert_calmed("settings", |_| settings(&[]).bytes().repeat(500));
}

#[test]
fn a_flood_of_pings_ends_the_connection() {
    assert_calmed("pings", |_| ping(*b"flooding").bytes().repeat(500));
}

#[test]
fn a_flood_of_window_updates_ends_the_connection() {
    assert_calmed("window-updates", |_| window_update(0, 1).bytes().repeat(500));
}

#[test]
fn a_flood_of_frames_that_nobody_knows_ends_the_connection() {
    let unknown = Frame { kind: 0xBE, flags: 0, stream: 0, payload: Vec::new() }.bytes();
    assert_calmed("frames", |_| unknown.repeat(500));
}

#[test]
fn a_flood_of_empty_data_ends_the_connection() {
    let hub = Hub::anonymous();
    let mut peer = Peer::connect(&hub);
    let token = bearer(&publisher());
    let begun = peer.begin_form("POST", &[("authorization", &token)]);
    let code = peer.flood(200, |_| data(begun, b"", 0).bytes().repeat(500));
    assert_eq!(code, Some(Code::ENHANCE_YOUR_CALM));
    assert_serves(&hub);
}

/// A client that asks for answers and reads none of them: what waits for it is bounded.
#[test]
fn answers_that_nobody_reads_do_not_pile_up() {
    let hub = Hub::anonymous();
    let before = hub.resident_bytes();
    for frame in [ping(*b"flooding"), settings(&[]), window_update(0, 1)] {
        let mut peer = Peer::connect(&hub);
        let bytes = frame.bytes().repeat(1_000);
        peer.client().give_up_writing_after_a_second();
        // Either the hub ends the connection or it stops reading.
        let ended = (0..10_000).any(|_| peer.client().try_send(&bytes).is_err());
        assert!(ended, "{frame:?} is read for ever");
    }
    let grown = hub.resident_bytes().saturating_sub(before);
    assert!(grown < 30_000_000, "{grown} B more");
    assert_serves(&hub);
}

#[test]
fn a_head_that_is_too_large_is_refused_and_others_are_not() {
    let sealed = Sealed::anonymous();
    let long = "x".repeat(40_000);
    let names: Vec<String> = (0..70).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    for mut peer in both(&sealed) {
        for extra in [&[("x-long", long.as_str())][..], &many] {
            let stream = peer.fresh_stream();
            let fields = peer.fields("GET", "/", extra);
            let block = hpack::encode(&fields);
            let mut pieces = block.chunks(16_384);
            let first = pieces.next().expect("a block");
            let rest: Vec<&[u8]> = pieces.collect();
            let end = |is_last: bool| if is_last { END_HEADERS } else { 0 };
            let head =
                Frame { flags: END_STREAM | end(rest.is_empty()), payload: first.to_vec(), ..headers(stream, &[], 0) };
            peer.frame(&head);
            for (n, piece) in rest.iter().enumerate() {
                peer.frame(&continuation(stream, piece, end(n + 1 == rest.len())));
            }
            let answer = peer.until_over(stream);
            let status = answer.fields.as_ref().map(|fields| fields[0].1.as_str());
            assert!(status == Some("431") || answer.reset.is_some(), "{answer:?}");
            assert_eq!(peer.ask("GET", "/", &[]).status, 200, "on the same connection");
        }
    }
}

/// A few bytes that name a long field of the dynamic table again and again.
#[test]
fn a_field_list_that_is_large_only_when_unpacked_is_refused() {
    let hub = Hub::anonymous();
    let before = hub.resident_bytes();
    let mut peer = Peer::connect(&hub);
    // Kept in the table: a literal with incremental indexing.
    let mut kept = hpack::encode(&[("x-long", &"x".repeat(3_900))]);
    kept[0] = 0x40;
    let stream = peer.fresh_stream();
    let mut block = hpack::encode(&peer.fields("GET", "/", &[]));
    block.extend(kept);
    peer.frame(&Frame { payload: block, ..headers(stream, &[], END_STREAM) });
    peer.until_over(stream);
    for _ in 0..50 {
        let stream = peer.fresh_stream();
        let mut block = hpack::encode(&peer.fields("GET", "/", &[]));
        // Index 62: the newest entry.
        block.extend([0xBE; 15_000]);
        let bytes = Frame { payload: block, ..headers(stream, &[], END_STREAM) }.bytes();
        if peer.client().try_send(&bytes).is_err() {
            break;
        }
        while peer.answer(stream).reset.is_none() && peer.answer(stream).fields.is_none() && peer.read().is_some() {}
        let answer = peer.answer(stream);
        let status = answer.fields.as_ref().map(|fields| fields[0].1.clone());
        assert!(status.is_none_or(|status| status == "431"));
    }
    let grown = hub.resident_bytes().saturating_sub(before);
    assert!(grown < 30_000_000, "{grown} B more");
    assert_serves(&hub);
}

#[test]
fn more_streams_than_may_be_open_are_refused_and_there_is_room_again_when_one_ends() {
    let sealed = Sealed::anonymous();
    for mut peer in both(&sealed) {
        let most = peer.hub_setting(MAX_CONCURRENT_STREAMS).expect("a limit is announced");
        assert!((100..=10_000).contains(&most), "{most}");
        let streams: Vec<u32> = (0..most).map(|_| peer.subscribe(A)).collect();
        for _ in 0..5 {
            let beyond = peer.get(&query(A), &[]);
            assert_eq!(peer.reset_of(beyond), Some(Code::REFUSED_STREAM));
        }
        peer.frame(&reset(streams[0], Code::CANCEL));
        let again = peer.subscribe(A);
        sealed.hub.say("urn:a", "for all");
        for stream in streams.into_iter().skip(1).chain([again]) {
            assert_eq!(peer.data(stream), "for all");
        }
    }
}

#[test]
fn frames_that_are_none_end_the_connection() {
    let hub = Hub::anonymous();
    let of_stream_0 = Frame { stream: 0, ..headers(1, &[(":method", "GET")], END_STREAM) };
    let even = headers(2, &[(":method", "GET"), (":scheme", "http"), (":path", "/")], END_STREAM);
    let too_long = [0x40, 0, 1, DATA, 0, 0, 0, 0, 1].to_vec();
    let odd_settings = Frame { payload: vec![0; 5], ..settings(&[]) };
    let push = Frame { kind: 5, ..headers(1, &[(":method", "GET")], 0) };
    for bytes in [
        of_stream_0.bytes(),
        even.bytes(),
        too_long,
        odd_settings.bytes(),
        push.bytes(),
        data(1, b"on an idle stream", 0).bytes(),
        reset(1, Code::CANCEL).bytes(),
        continuation(1, b"", END_HEADERS).bytes(),
        Frame { payload: vec![0; 7], ..ping([0; 8]) }.bytes(),
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
    ] {
        let mut peer = Peer::connect(&hub);
        peer.send(&bytes);
        let code = peer.until_closed();
        assert!(code.is_some_and(|code| code != Code::NO_ERROR), "{bytes:?}: {code:?}");
    }
    assert_serves(&hub);
}
