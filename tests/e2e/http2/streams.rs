//! Event streams over HTTP/2: the same promises, many to a connection.

use serde_json::json;

use super::*;
use crate::admin::{ask, metric};
use crate::compression::Decoder;

const A: &[(&str, &str)] = &[("match", "urn:a")];

#[test]
fn a_hundred_streams_of_a_connection_each_get_what_is_theirs() {
    const STREAMS: usize = 100;
    let sealed = Sealed::anonymous();
    for mut peer in both(&sealed) {
        let own = |n: usize| format!("urn:{n}");
        let streams: Vec<u32> =
            (0..STREAMS).map(|n| peer.subscribe(&[("match", &own(n)), ("match", "urn:all")])).collect();
        for n in 0..STREAMS {
            sealed.hub.say(&own(n), &format!("for {n}"));
        }
        sealed.hub.say("urn:all", "for all");
        for (n, &stream) in streams.iter().enumerate() {
            assert_eq!([peer.data(stream), peer.data(stream)], [format!("for {n}"), "for all".to_owned()]);
        }
        assert_eq!(peer.ask("GET", "/", &[]).status, 200, "and requests go on beside them");
    }
}

#[test]
fn who_comes_back_gets_what_it_missed() {
    let sealed = Sealed::anonymous();
    for mut peer in both(&sealed) {
        let stream = peer.subscribe(A);
        sealed.hub.say("urn:a", "1");
        let seen = peer.next(stream).id;
        peer.frame(&reset(stream, Code::CANCEL));
        for n in 2..200 {
            sealed.hub.say("urn:a", &n.to_string());
        }
        for by_query in [false, true] {
            let parameters = [A[0], ("last_event_id", seen.as_str())];
            let field = [("last-event-id", seen.as_str())];
            let again = if by_query { peer.subscribe(&parameters) } else { peer.get(&query(A), &field) };
            assert_eq!(peer.head(again).header("mercure-last-event-id"), Some(seen.as_str()));
            for n in 2..200 {
                assert_eq!(peer.data(again), n.to_string());
            }
        }
    }
}

#[test]
fn compressed_streams_arrive_event_by_event() {
    let sealed = Sealed::start(&["--anonymous", "--compression", "gzip", "--compression", "zstd"]);
    for coding in ["gzip", "zstd"] {
        for mut peer in both(&sealed) {
            let stream = peer.get(&query(A), &[("accept-encoding", coding)]);
            assert_eq!(peer.head(stream).header("content-encoding"), Some(coding));
            let (mut decoder, mut decoded) = (Decoder::new(coding), 0);
            for data in ["tiny", &"a row of words ".repeat(500), "", &"0123456789".repeat(10_000)] {
                let id = sealed.hub.say("urn:a", data);
                let wanted = format!("id: {id}\ndata: {data}\n\n");
                let mut text = Vec::new();
                while text.len() < wanted.len() {
                    while peer.answer(stream).body.len() == decoded {
                        peer.read().expect("more of the stream");
                    }
                    text.extend(decoder.push(&peer.answer(stream).body[decoded..]));
                    decoded = peer.answer(stream).body.len();
                }
                assert!(text == wanted.as_bytes(), "{coding}: {:?}", String::from_utf8_lossy(&text));
            }
            assert!(decoded < 20_000, "{decoded} B");
        }
    }
}

#[test]
fn private_updates_reach_those_who_may_read_them_and_nobody_else_of_the_connection() {
    let sealed = Sealed::anonymous();
    for mut peer in both(&sealed) {
        let mut follow = |token: Option<String>| {
            let token = token.map(|token| bearer(&token));
            let fields: Vec<(&str, &str)> = token.iter().map(|token| ("authorization", token.as_str())).collect();
            let stream = peer.get(&query(A), &fields);
            assert_eq!(peer.head(stream).status, 200);
            stream
        };
        let entitled = [follow(Some(subscriber())), follow(Some(subscriber_of(&["urn:a"])))];
        let others = [follow(None), follow(Some(subscriber_of(&["urn:b"])))];
        sealed.hub.publish(&[("topic", "urn:a"), ("data", "secret"), ("private", "on")]);
        sealed.hub.say("urn:a", "public");
        for stream in entitled {
            assert_eq!([peer.data(stream), peer.data(stream)], ["secret", "public"]);
        }
        for stream in others {
            assert_eq!(peer.data(stream), "public");
        }
    }
}

#[test]
fn streams_begin_with_padding_and_a_retry_time_and_silent_ones_get_heartbeats() {
    let sealed = Sealed::start(&["--anonymous", "--padding", "2KiB", "--retry", "1500ms", "--heartbeat", "1s"]);
    let beginning = format!(":{}\nretry: 1500\n\n", " ".repeat(2046));
    for mut peer in both(&sealed) {
        let stream = peer.subscribe(A);
        let beaten = |body: &[u8]| body.windows(3).filter(|line| line == b"\n:\n").count() >= 2;
        while !beaten(&peer.answer(stream).body) {
            peer.read().expect("more of the stream");
        }
        let body = String::from_utf8(peer.answer(stream).body.clone()).expect("UTF-8");
        assert!(body.starts_with(beginning.trim_end()), "{body:?}");
    }
}

#[test]
fn a_stream_that_has_lasted_its_time_ends_whole_and_its_connection_goes_on() {
    let sealed = Sealed::start(&["--anonymous", "--max-lifetime", "2s"]);
    for mut peer in both(&sealed) {
        let stream = peer.subscribe(A);
        sealed.hub.say("urn:a", "while it lasts");
        assert_eq!(peer.data(stream), "while it lasts");
        peer.response(stream);
        let again = peer.subscribe(A);
        sealed.hub.say("urn:a", "again");
        assert_eq!(peer.data(again), "again");
    }
}

#[test]
fn a_stream_ends_with_its_token_and_others_of_the_connection_do_not() {
    let sealed = Sealed::anonymous();
    for mut peer in both(&sealed) {
        let other = peer.subscribe(A);
        let brief = Token::granting(&["subscribe"], &["*"]).claim("exp", json!(now() + 2)).sign(SUBSCRIBER_KEY);
        let stream = peer.get(&query(A), &[("authorization", &bearer(&brief))]);
        assert_eq!(peer.response(stream).status, 200);
        sealed.hub.say("urn:a", "still here");
        assert_eq!(peer.data(other), "still here");
    }
}

#[test]
fn an_administrator_ends_one_stream_of_a_connection() {
    let sealed = Sealed::anonymous();
    for (n, mut peer) in both(&sealed).into_iter().enumerate() {
        let other = peer.subscribe(A);
        let subject = format!("ann{n}");
        let token = Token::granting(&["subscribe"], &["*"]).claim("sub", json!(subject)).sign(SUBSCRIBER_KEY);
        let stream = peer.get(&query(A), &[("authorization", &bearer(&token))]);
        assert_eq!(peer.head(stream).status, 200);
        assert_eq!(ask(&sealed.hub, "DELETE", &format!("/connections?sub={subject}&deny=1h")).status, 200);
        peer.until_over(stream);
        sealed.hub.say("urn:a", "still here");
        assert_eq!(peer.data(other), "still here");
        assert_eq!(
            peer.ask("GET", &query(A), &[("authorization", &bearer(&token))]).status,
            204,
            "kept out for a while"
        );
    }
}

#[test]
fn a_subject_has_as_many_streams_as_it_may_on_one_connection_or_several() {
    let sealed = Sealed::start(&["--max-streams-per-subject", "3"]);
    let token = bearer(&subscriber());
    let fields = [("authorization", token.as_str())];
    let mut peers = both(&sealed);
    let mut held = Vec::new();
    for n in 0..3 {
        let stream = peers[n % 2].get(&query(A), &fields);
        assert_eq!(peers[n % 2].head(stream).status, 200);
        held.push((n % 2, stream));
    }
    for peer in &mut peers {
        assert_eq!(peer.ask("GET", &query(A), &fields).status, 429);
    }
    let (of, stream) = held[0];
    peers[of].frame(&reset(stream, Code::CANCEL));
    eventually("there is room for one again", || {
        let stream = peers[1].get(&query(A), &fields);
        peers[1].head(stream).status == 200
    });
    assert_eq!(peers[0].ask("GET", &query(A), &fields).status, 429);
}

#[test]
fn streams_are_counted_one_by_one_and_their_connection_once() {
    let hub = Hub::anonymous();
    let mut peer = Peer::connect(&hub);
    let streams: Vec<u32> = (0..20).map(|_| peer.subscribe(A)).collect();
    eventually("the streams are counted", || metric(&hub, "cinnabar_streams{encoding=\"identity\"}") == 20.0);
    eventually("their connection is, once", || metric(&hub, "cinnabar_connections") == 1.0);
    eventually("and what was asked for", || metric(&hub, "cinnabar_subscriptions_total") == 20.0);
    for stream in streams {
        peer.frame(&reset(stream, Code::CANCEL));
    }
    eventually("all are gone", || metric(&hub, "cinnabar_streams{encoding=\"identity\"}") == 0.0);
    eventually("because their client went", || metric(&hub, "cinnabar_disconnects_total{reason=\"gone\"}") == 20.0);
    assert_eq!(metric(&hub, "cinnabar_connections"), 1.0);
    drop(peer);
    eventually("so is the connection", || metric(&hub, "cinnabar_connections") == 0.0);
}

/// Memory of a connection with one idle stream, and of each further one on it: generous, since so few say it roughly.
#[test]
fn idle_streams_cost_little() {
    const CONNECTIONS: usize = 300;
    const FURTHER: usize = 30;
    let grown = |hub: &Hub, before: u64| hub.resident_bytes().saturating_sub(before);
    for tls in [false, true] {
        let sealed = Sealed::anonymous();
        let connect = || if tls { Peer::sealed(&sealed) } else { Peer::connect(&sealed.hub) };
        let one = || {
            let mut peer = connect();
            let stream = peer.subscribe(A);
            (peer, vec![stream])
        };
        // What the hub needs for its first ones isn't theirs.
        let mut peers: Vec<(Peer, Vec<u32>)> = (0..100).map(|_| one()).collect();
        let before = sealed.hub.resident_bytes();
        peers.extend((0..CONNECTIONS).map(|_| one()));
        let first = grown(&sealed.hub, before) / CONNECTIONS as u64;
        let before = sealed.hub.resident_bytes();
        for (peer, streams) in &mut peers {
            streams.extend((0..FURTHER).map(|_| peer.subscribe(A)));
        }
        let further = grown(&sealed.hub, before) / (peers.len() * FURTHER) as u64;
        println!("TLS {tls}: {first} B for a connection with a stream, {further} B for each further one");
        assert!(first < 80_000 && further < 4_500, "TLS {tls}: {first} B, {further} B");
        sealed.hub.say("urn:a", "for all");
        for (peer, streams) in &mut peers {
            streams.iter().for_each(|&stream| assert_eq!(peer.data(stream), "for all"));
        }
    }
}
