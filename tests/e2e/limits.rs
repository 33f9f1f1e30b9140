//! How much one client may have: of connections, of streams, of publishes; and that everything is given back.

mod memory;
mod proxies;

use crate::admin::{ask, metric};
use crate::harness::*;
use serde_json::json;

const A: &[(&str, &str)] = &[("match", "urn:a")];

/// A request for a stream, from an address.
fn stream_from(hub: &Hub, from: &str, headers: &[(&str, &str)]) -> Result<Stream, Response> {
    let mut client = Client::connect_from(from, hub.address());
    let mut request = format!("GET {}", query(A));
    request.push_str(" HTTP/1.1\r\nHost: hub.example\r\n");
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    // Who is refused at once is answered before it has asked, and may not get to.
    let _ = client.try_send(format!("{request}\r\n").as_bytes());
    client.stream()
}

fn token(key: &str, action: &str, subject: &str) -> String {
    Token::granting(&[action], &["*"]).claim("sub", json!(subject)).sign(key)
}

fn reader(subject: &str) -> String {
    token(SUBSCRIBER_KEY, "subscribe", subject)
}

fn try_read(hub: &Hub, subject: &str) -> Result<Stream, Response> {
    hub.try_subscribe(A, &[("Authorization", &format!("Bearer {}", reader(subject)))])
}

/// A configuration file without limits, but for those given.
fn configuration(limits: &str) -> String {
    format!(
        "{limits}\nresource = \"{RESOURCE}\"\nanonymous = true\n[[issuer]]\nid = \"{ISSUER}\"\n\
         publisher = {{ key = \"{PUBLISHER_KEY}\" }}\nsubscriber = {{ key = \"{SUBSCRIBER_KEY}\" }}\n"
    )
}

/// A hub whose limits [`reload`] changes.
fn reloadable() -> Hub {
    let launch = Launch::serve();
    let path = launch.file("hub.toml", &configuration(""));
    launch.args(&["--config", &path]).start()
}

/// These limits are those of a hub from now on.
fn reload(hub: &Hub, limits: &str) {
    hub.folder().write("hub.toml", &configuration(limits));
    assert_eq!(ask(hub, "POST", "/reload").status, 200);
}

/// Refused, with a time to come back and a sentence that says what to do.
fn assert_refused(response: &Response, status: u16, limit: &str) {
    assert_eq!(response.status, status, "{response:?}");
    let seconds: u32 = response.header("retry-after").expect("a Retry-After").parse().expect("seconds");
    assert!((1..=7200).contains(&seconds), "{seconds}");
    let problem = response.problem();
    assert_eq!(problem["limit"], limit);
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 40), "{problem}");
}

fn counted(hub: &Hub) -> [f64; 2] {
    [metric(hub, "cinnabar_counted_addresses"), metric(hub, "cinnabar_counted_subjects")]
}

#[test]
fn an_address_has_as_many_connections_as_it_may_over_all_shards_and_others_have_theirs() {
    let hub = Hub::start(&["--anonymous", "--max-connections-per-address", "5"]);
    let mut streams: Vec<Stream> = (0..5).map(|_| stream_from(&hub, "127.0.0.2", &[]).expect("within")).collect();
    for _ in 0..10 {
        assert_refused(&stream_from(&hub, "127.0.0.2", &[]).expect_err("beyond"), 429, "address");
    }
    let other = stream_from(&hub, "127.0.0.3", &[]);
    assert!(other.is_ok(), "another address");
    streams.pop();
    eventually("there is room for one again", || match stream_from(&hub, "127.0.0.2", &[]) {
        Ok(stream) => {
            streams.push(stream);
            true
        }
        Err(_) => false,
    });
    assert!(stream_from(&hub, "127.0.0.2", &[]).is_err(), "and for no other");
    hub.say("urn:a", "to all");
    assert!(streams.iter_mut().all(|stream| stream.data() == "to all"));
    eventually("the refusals are counted", || metric(&hub, "cinnabar_limit_refusals_total{limit=\"address\"}") >= 11.0);
    assert!(hub.log().contains("an address has too many connections"));
}

#[test]
fn a_subject_has_as_many_streams_as_it_may_whatever_its_tokens_and_addresses() {
    let hub = Hub::start(&["--anonymous", "--max-streams-per-subject", "3"]);
    let held: Vec<Stream> = (0..3).map(|_| try_read(&hub, "ann").expect("within")).collect();
    for _ in 0..8 {
        assert_refused(&try_read(&hub, "ann").expect_err("beyond"), 429, "subject");
    }
    let other_token = Token::granting(&["subscribe"], &["urn:x"]).claim("sub", json!("ann")).claim("jti", json!("t2"));
    let bearer = format!("Bearer {}", other_token.sign(SUBSCRIBER_KEY));
    assert_eq!(hub.subscribe_status(A, &[("Authorization", &bearer)]), 429, "her other token");
    let head = hub.request("HEAD", &query(A), &[("Authorization", &bearer)]);
    assert_eq!(head.status, 200, "HEAD has no stream");
    let (bob, nobody) = (try_read(&hub, "bob"), hub.try_subscribe(A, &[]));
    assert!(bob.is_ok() && nobody.is_ok(), "others, and those without a subject");
    drop(held);
    eventually("all of hers are given back", || try_read(&hub, "ann").is_ok());
}

#[test]
fn pages_can_read_why_they_are_refused() {
    let hub = Hub::start(&["--max-streams-per-subject", "1", "--cors-origin", "https://app.example"]);
    let _held = try_read(&hub, "ann").expect("within");
    let bearer = format!("Bearer {}", reader("ann"));
    let refused = hub.try_subscribe(A, &[("Authorization", &bearer), ("Origin", "https://app.example")]);
    let refused = refused.expect_err("beyond");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (429, Some("https://app.example")));
}

/// Seen with other hubs: a count that isn't given back on some way out locks a user out for ever.
#[test]
fn counts_come_back_however_a_connection_ends() {
    let limits = ["--max-connections-per-address", "50", "--max-streams-per-subject", "50"];
    let hub = Hub::start(&[&["--anonymous", "--head-timeout", "1s", "--write-timeout", "2s"], &limits[..]].concat());
    assert_eq!(counted(&hub), [0.0, 0.0]);

    // Clients that go: in order, by half, in the middle of a head, of a body, after a refusal.
    drop(try_read(&hub, "goes").expect("a stream"));
    let mut half = try_read(&hub, "closes half").expect("a stream");
    half.client().finish_sending();
    let mut in_head = hub.connect();
    in_head.send(b"GET / HT");
    let mut in_body = hub.connect();
    in_body.send(format!("POST {HUB} HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\ntop").as_bytes());
    drop((in_head, in_body));
    assert_eq!(hub.request("GET", "/nothing", &[]).status, 404);
    assert_eq!(hub.subscribe_status(&[], &[("Authorization", &format!("Bearer {}", reader("asks for nothing")))]), 400);

    // Ends that the hub makes: time, words, an administrator.
    let mut slow_head = hub.connect();
    slow_head.send(b"GET / HT");
    let brief = Token::granting(&["subscribe"], &["*"]).claim("exp", json!(now() + 2)).claim("sub", json!("expires"));
    let mut expires = hub.subscribe_as(&brief.sign(SUBSCRIBER_KEY), A);
    let mut talks = try_read(&hub, "talks").expect("a stream");
    let _ = talks.client().try_send(&[b'x'; 64 * 1024]);
    let mut kicked = try_read(&hub, "kicked").expect("a stream");
    assert_eq!(ask(&hub, "DELETE", "/connections?sub=kicked").status, 200);
    let stalls = hub.subscribe_as(&reader("stalls"), &[("match", "urn:flood")]);
    flood(&mut hub.connect(), 0..20_000, &"x".repeat(1000));
    expires.rest();
    kicked.rest();
    slow_head.read_to_end();

    eventually("nothing is counted any more", || counted(&hub) == [0.0, 0.0]);
    drop((stalls, half, talks));
    eventually("no connection is left", || metric(&hub, "cinnabar_connections") == 0.0);
    assert!(try_read(&hub, "goes").is_ok());
}

#[test]
fn each_publisher_has_a_rate_of_its_own_over_all_shards() {
    let hub = Hub::start(&["--anonymous", "--publish-rate", "1/h", "--publish-burst", "4"]);
    let mut stream = hub.subscribe(A);
    let (ann, bob) = (token(PUBLISHER_KEY, "publish", "ann"), token(PUBLISHER_KEY, "publish", "bob"));
    let publish = |token: &str, data: &str| hub.post(token, &[("topic", "urn:a"), ("data", data)]);
    for n in 0..4 {
        assert_eq!(publish(&ann, &n.to_string()).status, 200);
    }
    for _ in 0..6 {
        let refused = publish(&ann, "too many");
        assert_refused(&refused, 429, "publish_rate");
        let wait: u32 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
        assert!(wait > 3000, "when there is one again: {wait}");
    }
    assert_eq!(publish(&bob, "bob's").status, 200, "another publisher");
    assert_eq!(stream.datas(5), ["0", "1", "2", "3", "bob's"]);
    eventually("the refusals are counted", || {
        metric(&hub, "cinnabar_limit_refusals_total{limit=\"publish_rate\"}") == 6.0
    });
    assert!(hub.log().contains("a publisher is too fast") && hub.log().contains("subject=\"ann\""), "{}", hub.log());
}

#[test]
fn who_is_accepted_too_fast_waits_and_is_served() {
    let hub = Hub::start(&["--anonymous", "--max-accept-rate", "40"]);
    let mut clients: Vec<Client> = (0..60).map(|_| hub.connect()).collect();
    clients.iter_mut().for_each(|client| client.request("GET", &query(A), &[], None));
    let mut streams: Vec<Stream> =
        clients.into_iter().map(|client| client.stream().expect("nobody is refused")).collect();
    assert!(metric(&hub, "cinnabar_accept_pauses_total") > 0.0);
    hub.say("urn:a", "x");
    assert!(streams.iter_mut().all(|stream| stream.data() == "x"));
}

#[test]
fn as_many_connections_as_there_may_be_and_the_next_one_is_told_when_to_come_back() {
    let hub = Hub::start(&["--anonymous", "--max-connections", "4"]);
    let _held: Vec<Stream> = (0..4).map(|_| hub.subscribe(A)).collect();
    let mut times = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let refused = stream_from(&hub, "127.0.0.1", &[]).expect_err("one too many");
        assert_refused(&refused, 503, "connections");
        times.insert(refused.header("retry-after").map(str::to_owned));
    }
    assert!(times.len() > 1, "they don't all come back together: {times:?}");
}

#[test]
fn a_reload_sets_changes_and_lifts_limits() {
    let hub = reloadable();
    let reload = |more: &str| reload(&hub, more);
    let before = try_read(&hub, "ann").expect("a stream");
    reload("max_streams_per_subject = 2\nmax_connections_per_address = 100");
    let after: Vec<Stream> =
        (0..2).map(|_| try_read(&hub, "ann").expect("the one from before isn't counted")).collect();
    assert_refused(&try_read(&hub, "ann").expect_err("beyond"), 429, "subject");
    reload("max_streams_per_subject = 3");
    let third = try_read(&hub, "ann").expect("raised");
    reload("max_streams_per_subject = 1");
    assert_eq!(try_read(&hub, "ann").expect_err("lowered").status, 429);
    drop((before, after));
    eventually("only the third counts", || counted(&hub)[1] == 1.0);
    assert_eq!(try_read(&hub, "ann").expect_err("as many as there may be").status, 429);
    reload("");
    assert!((0..5).all(|_| try_read(&hub, "ann").is_ok()), "lifted");
    drop(third);
    eventually("all is given back", || counted(&hub) == [0.0, 0.0]);
}
