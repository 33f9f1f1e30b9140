//! Requests and answers: the same as over HTTP/1.1.

use serde_json::json;

use super::*;

const A: &[(&str, &str)] = &[("match", "urn:a")];
const COOKIE: &str = "__Secure-mercure_access_token";

#[test]
fn what_is_published_over_one_version_arrives_over_the_other() {
    let sealed = Sealed::anonymous();
    let mut old = sealed.hub.subscribe(A);
    let mut peers = both(&sealed);
    let streams = peers.each_mut().map(|peer| peer.subscribe(A));
    for n in 0..20 {
        let publisher = &mut peers[n % 2];
        let answer = publisher.publish("urn:a", &n.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        let event = old.next();
        assert_eq!((event.data, event.id), (n.to_string(), answer.text()));
        for (peer, stream) in peers.iter_mut().zip(streams) {
            assert_eq!(peer.data(stream), n.to_string());
        }
    }
    sealed.hub.say("urn:a", "over HTTP/1.1");
    for (peer, stream) in peers.iter_mut().zip(streams) {
        assert_eq!(peer.data(stream), "over HTTP/1.1");
    }
}

#[test]
fn many_requests_share_a_connection_and_each_has_its_answer() {
    const PUBLISHES: usize = 60;
    let sealed = Sealed::anonymous();
    let mut old = sealed.hub.subscribe(A);
    for mut peer in both(&sealed) {
        let token = bearer(&publisher());
        let publish = |peer: &mut Peer, n: usize| {
            let body = form(&[("topic", "urn:a"), ("data", &n.to_string())]);
            peer.post(&[("authorization", &token)], body.as_bytes())
        };
        let streams: Vec<u32> = (0..PUBLISHES).map(|n| publish(&mut peer, n)).collect();
        let nowhere = peer.get("/nowhere", &[]);
        assert_eq!(peer.response(nowhere).status, 404);
        let mut answered: Vec<String> = streams.into_iter().map(|stream| peer.response(stream).text()).collect();
        let mut events: Vec<Event> = (0..PUBLISHES).map(|_| old.next()).collect();
        answered.sort();
        events.sort_by(|one, other| one.id.cmp(&other.id));
        assert_eq!(answered, events.iter().map(|event| event.id.clone()).collect::<Vec<_>>());
        let mut datas: Vec<usize> = events.iter().map(|event| event.data.parse().expect("a number")).collect();
        datas.sort_unstable();
        assert_eq!(datas, (0..PUBLISHES).collect::<Vec<_>>());
    }
}

#[test]
fn refusals_say_what_is_wrong_and_leave_the_connection_open() {
    let sealed = Sealed::start(&[]);
    for mut peer in both(&sealed) {
        let refused = peer.ask("GET", &query(A), &[]);
        assert_eq!((refused.status, refused.bearer_error()), (401, None));
        refused.problem();
        let refused = peer.ask("GET", &query(A), &[("authorization", "Bearer x.y.z")]);
        assert_eq!((refused.status, refused.bearer_error().as_deref()), (401, Some("invalid_token")));
        let token = bearer(&publisher_of(&["urn:other"]));
        let stream = peer.post(&[("authorization", &token)], form(&[("topic", "urn:a")]).as_bytes());
        let refused = peer.response(stream);
        assert_eq!((refused.status, refused.bearer_error().as_deref()), (403, Some("insufficient_scope")));
        refused.problem();
        let stream = peer.post(&[("authorization", &bearer(&publisher()))], b"data=without+a+topic");
        let refused = peer.response(stream);
        assert_eq!(refused.status, 400);
        assert!(refused.problem()["detail"].as_str().is_some_and(|detail| detail.contains("topic")), "{refused:?}");
        assert_eq!(peer.ask("GET", "/nowhere", &[]).status, 404);
        assert_eq!(peer.ask("DELETE", HUB, &[]).status, 405);
        let long = format!("{HUB}?match={}", "a".repeat(13_000));
        assert_eq!(peer.ask("GET", &long, &[]).status, 414);
        assert_eq!(peer.publish("urn:a", "x").status, 200, "on the same connection");
    }
}

#[test]
fn head_and_options_have_no_body() {
    let sealed = Sealed::anonymous();
    for mut peer in both(&sealed) {
        let head = peer.ask("HEAD", &query(A), &[]);
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
        assert_eq!(head.body, b"");
        let options = peer.ask("OPTIONS", HUB, &[]);
        assert_eq!((options.status, options.body.as_slice()), (204, &b""[..]));
        let asterisk = peer.ask("OPTIONS", "*", &[]);
        assert_eq!(asterisk.status, 204);
    }
}

#[test]
fn pages_of_listed_origins_are_let_in_and_others_are_not() {
    let sealed = Sealed::start(&["--anonymous", "--cors-origin", "https://app.example"]);
    for mut peer in both(&sealed) {
        for (origin, allowed) in [("https://app.example", true), ("https://evil.example", false)] {
            let asked = [("origin", origin), ("access-control-request-method", "POST")];
            let preflight = peer.ask("OPTIONS", HUB, &asked);
            assert_eq!(preflight.status, 204);
            let stream = peer.get(&query(A), &[("origin", origin)]);
            let begun = peer.head(stream);
            let refused = peer.ask("GET", HUB, &[("origin", origin)]);
            assert_eq!(refused.status, 400);
            for answer in [preflight, begun, refused] {
                let given = answer.header("access-control-allow-origin");
                assert_eq!(given, allowed.then_some(origin), "{answer:?}");
                assert_eq!(answer.header("access-control-allow-credentials").is_some(), allowed);
            }
        }
    }
}

/// RFC 9113, section 8.2.3: browsers send one field for each cookie.
#[test]
fn cookies_count_together_or_one_by_one() {
    let sealed = Sealed::start(&["--publish-origin", "https://app.example"]);
    let reader = format!("{COOKIE}={}", subscriber());
    let together = format!("theme=dark; {reader}; lang=en");
    let in_one = [("cookie", together.as_str())];
    let apart = [("cookie", "theme=dark"), ("cookie", reader.as_str()), ("cookie", "lang=en")];
    for mut peer in both(&sealed) {
        for fields in [&in_one[..], &apart[..]] {
            let stream = peer.get(&query(A), fields);
            assert_eq!(peer.head(stream).status, 200, "{fields:?}");
            sealed.hub.publish(&[("topic", "urn:a"), ("data", "secret"), ("private", "on")]);
            assert_eq!(peer.data(stream), "secret");
        }
        let writer = format!("{COOKIE}={}", publisher());
        for (origin, status) in [("https://app.example", 200), ("https://evil.example", 400)] {
            let fields = [("cookie", "theme=dark"), ("cookie", writer.as_str()), ("origin", origin)];
            let stream = peer.post(&fields, form(&[("topic", "urn:b")]).as_bytes());
            assert_eq!(peer.response(stream).status, status, "{origin}");
        }
    }
}

#[test]
fn the_authority_is_the_host() {
    let sealed = Sealed::start(&["--anonymous", "--public-url", "https://hub.example"]);
    let path = query(A);
    for mut peer in both(&sealed) {
        let mut ask = |authority: &[(&'static str, &'static str)]| {
            let fields = [&[(":method", "HEAD"), (":scheme", "https"), (":path", &path)][..], authority].concat();
            let stream = peer.fresh_stream();
            peer.frame(&headers(stream, &fields, END_STREAM));
            peer.response(stream).status
        };
        assert_eq!(ask(&[(":authority", "hub.example")]), 200);
        assert_eq!(ask(&[(":authority", "HUB.example:443")]), 200);
        assert_eq!(ask(&[(":authority", "evil.example")]), 421);
        // Section 8.3.1: a proxy that translates from HTTP/1.1 may leave the host where it was.
        assert_eq!(ask(&[("host", "hub.example")]), 200);
        assert_eq!(ask(&[("host", "evil.example")]), 421);
        // Section 8.3.1 again: one of both has to be there.
        assert_eq!(ask(&[]), 400);
        assert_eq!(ask(&[(":authority", "hub.example"), ("host", "hub.example")]), 200);
    }
}

#[test]
fn the_largest_body_is_taken_and_a_larger_one_is_refused_as_soon_as_it_is() {
    const BYTES_MAX: usize = 1 << 20;
    let sealed = Sealed::anonymous();
    let token = bearer(&publisher());
    for mut peer in both(&sealed) {
        let mut stream = sealed.hub.subscribe(A);
        let largest = format!("topic=urn:a&data={}", "x".repeat(BYTES_MAX - "topic=urn:a&data=".len()));
        let taken = peer.post(&[("authorization", &token)], largest.as_bytes());
        let answer = peer.response(taken);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(stream.data().len(), BYTES_MAX - "topic=urn:a&data=".len());
        let refused = peer.post(&[("authorization", &token)], format!("{largest}x").as_bytes());
        assert_eq!(peer.head(refused).status, 413);
        // Told beforehand, nobody needs to send it.
        let length = (BYTES_MAX + 1).to_string();
        let refused = peer.begin_form("POST", &[("authorization", &token), ("content-length", &length)]);
        assert_eq!(peer.head(refused).status, 413);
        assert_eq!(peer.publish("urn:a", "small").status, 200, "on the same connection");
        assert_eq!(stream.data(), "small");
    }
}

#[test]
fn a_body_may_come_in_pieces_of_any_size_with_padding_between() {
    let sealed = Sealed::anonymous();
    let token = bearer(&publisher());
    for mut peer in both(&sealed) {
        let mut stream = sealed.hub.subscribe(A);
        let begun = peer.begin_form("POST", &[("authorization", &token)]);
        let body = form(&[("topic", "urn:a"), ("data", "piece by piece")]);
        for byte in body.bytes() {
            const PADDED: u8 = 8;
            peer.frame(&data(begun, &[5, byte, 0, 0, 0, 0, 0], PADDED));
        }
        peer.frame(&data(begun, b"", END_STREAM));
        assert_eq!(peer.response(begun).status, 200);
        assert_eq!(stream.data(), "piece by piece");
    }
}

#[test]
fn a_subscription_may_come_by_query() {
    let sealed = Sealed::anonymous();
    for mut peer in both(&sealed) {
        let stream = peer.begin_form("QUERY", &[]);
        peer.body(stream, form(A).as_bytes());
        assert_eq!(peer.head(stream).status, 200);
        sealed.hub.say("urn:a", "1");
        assert_eq!(peer.data(stream), "1");
    }
}

#[test]
fn who_is_subscribed_over_http_2_is_listed_and_counted_one_by_one() {
    let sealed = Sealed::start(&["--anonymous", "--subscriptions"]);
    let details = json!([{
        "type": "https://mercure.rocks/authorization-detail",
        "actions": ["subscribe"],
        "topics": [{"match": "/.well-known/mercure/subscriptions*", "match_type": "urlpattern"}],
    }]);
    let token = bearer(&Token::with_details(details).sign(SUBSCRIBER_KEY));
    for mut peer in both(&sealed) {
        let streams: Vec<u32> = (0..10).map(|n| peer.subscribe(&[("match", &format!("urn:{n}"))])).collect();
        let count = |peer: &mut Peer| {
            let answer = peer.ask("GET", "/.well-known/mercure/subscriptions", &[("authorization", &token)]);
            assert_eq!(answer.status, 200, "{answer:?}");
            let listed: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            listed["subscriptions"].as_array().expect("an array").len()
        };
        eventually("all are there", || count(&mut peer) == 10);
        for (gone, stream) in streams.into_iter().enumerate() {
            peer.frame(&reset(stream, Code::CANCEL));
            eventually("one is gone", || count(&mut peer) == 9 - gone);
        }
    }
}
