//! Administrators: what they see, what they may do, and who isn't one.

use crate::harness::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

const ADMIN_TOKEN: &str = "a-token-for-administrators-0123456789abcdef";

/// An answer of a connection that ends with it.
fn answer(mut stream: impl Read + Write, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
    let mut request = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    if !fields.iter().any(|(name, _)| *name == "Host") {
        request.push_str("Host: localhost\r\n");
    }
    for (name, value) in fields {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).expect("the hub reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the hub answers and closes");
    let end = memchr::memmem::find(&bytes, b"\r\n\r\n").expect("a whole head");
    let mut response = Response::parse(&bytes[..end]);
    response.body = bytes.split_off(end + 4);
    response
}

pub(crate) fn ask(hub: &Hub, method: &str, target: &str) -> Response {
    ask_with(hub, method, target, &[])
}

fn ask_with(hub: &Hub, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
    let socket = hub.folder().path().join("data/admin.sock");
    answer(UnixStream::connect(socket).expect("the hub has a socket"), method, target, fields)
}

fn ask_at(port: u16, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    answer(TcpStream::connect(address).expect("the hub accepts"), method, target, fields)
}

fn json_of(response: Response) -> Value {
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_slice(&response.body).expect("JSON")
}

pub(crate) fn see(hub: &Hub, target: &str) -> Value {
    json_of(ask(hub, "GET", target))
}

/// A metric's value, labels included in the name.
pub(crate) fn metric(hub: &Hub, name: &str) -> f64 {
    let text = ask(hub, "GET", "/metrics").text();
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

fn token_of(key: &str, action: &str, subject: &str, id: &str) -> String {
    Token::granting(&[action], &["*"]).claim("sub", json!(subject)).claim("jti", json!(id)).sign(key)
}

fn reader(subject: &str, id: &str) -> String {
    token_of(SUBSCRIBER_KEY, "subscribe", subject, id)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The status of an attempt to subscribe with a token.
fn attempt(hub: &Hub, token: &str) -> u16 {
    hub.subscribe_status(&[("match", "urn:a")], &[("Authorization", &bearer(token))])
}

#[test]
fn the_socket_in_the_data_folder_is_for_its_owner_alone_and_goes_with_the_hub() {
    let mut hub = Hub::start(&[]);
    let socket = hub.folder().path().join("data/admin.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for path in ["/health/ready", "/health/live", "/mercure/health/ready", "/mercure/health/live"] {
        assert_eq!(see(&hub, path), json!({"status": "ok"}));
    }
    assert_eq!(ask(&hub, "POST", "/health/live").status, 405);
    assert!(ask(&hub, "HEAD", "/stats").body.is_empty());
    hub.stop();
    assert!(!socket.exists());
}

/// Seen: whoever asked for metrics again and again and read none of them kept everybody else out, probes too.
#[test]
fn clients_that_read_nothing_keep_nobody_out() {
    let port = free_port();
    let hub = Hub::start(&["--health-listen", &format!("127.0.0.1:{port}")]);
    let request = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").repeat(500);
    let greedy = |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the hub accepts");
        stream.set_nonblocking(true).expect("a socket");
        let _ = stream.write(request.as_bytes());
        stream
    };
    let _greedy: Vec<TcpStream> = (0..100).map(greedy).collect();
    assert_eq!(ask_at(port, "GET", "/health/live", &[]).status, 200);
    drop(hub);
}

/// Seen: a client that didn't wait for the answer left a denial without the end of the streams it was for.
#[test]
fn a_kick_is_done_though_nobody_waits_for_the_answer() {
    let hub = Hub::start(&[]);
    for n in 0..10 {
        let subject = format!("eve {n}");
        let mut stream = hub.subscribe_as(&reader(&subject, "t1"), &[("match", "urn:a")]);
        let request = format!("DELETE /connections?sub=eve%20{n}&deny=1h HTTP/1.1\r\nHost: h\r\n\r\n");
        // Whoever leaves before the hub has looked was never heard: then nothing is done.
        eventually("the request is heard", || {
            let socket = hub.folder().path().join("data/admin.sock");
            let mut asking = UnixStream::connect(socket).expect("the hub has a socket");
            asking.write_all(request.as_bytes()).expect("the hub reads");
            drop(asking);
            see(&hub, "/denied").to_string().contains(&format!("\"{subject}\""))
        });
        assert_eq!(stream.end(), End::LastChunk);
    }
}

#[test]
fn curl_reaches_the_socket() {
    let hub = Hub::start(&[]);
    let socket = hub.folder().path().join("data/admin.sock");
    let output = std::process::Command::new("curl")
        .args(["-s", "--unix-socket", socket.to_str().unwrap(), "http://localhost/health/ready"])
        .output()
        .expect("curl is installed");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"status\":\"ok\"}\n");
}

#[test]
fn without_an_admin_listener_there_is_none() {
    let hub = Hub::start(&["--admin", "off"]);
    assert!(!hub.folder().path().join("data/admin.sock").exists());
    let hub = Launch::keyed().args(&["--admin", "unix:elsewhere.sock"]).start();
    let socket = UnixStream::connect(hub.folder().path().join("elsewhere.sock")).unwrap();
    assert_eq!(answer(socket, "GET", "/health/live", &[]).status, 200);
}

#[test]
fn pages_of_browsers_are_refused_whatever_their_origin() {
    let hub = Hub::start(&[]);
    for origin in ["https://evil.example", "http://localhost", "null"] {
        assert_eq!(ask_with(&hub, "GET", "/health/live", &[("Origin", origin)]).status, 403);
    }
}

#[test]
fn the_console_is_for_everybody_and_its_numbers_are_not() {
    let port = free_port();
    let _hub = Hub::start(&["--admin", &format!("127.0.0.1:{port}"), "--admin-token", ADMIN_TOKEN]);
    let page = ask_at(port, "GET", "/", &[]);
    let policy = page.header("content-security-policy").unwrap();
    assert!(page.status == 200 && policy.contains("connect-src 'self' https://hub.example;"), "{page:?}");
    assert_eq!(ask_at(port, "GET", "/console.js", &[("Origin", "http://localhost")]).status, 200);
    assert_eq!(ask_at(port, "GET", "/console.js", &[("Host", "evil.example")]).status, 421);
    assert!(ask_at(port, "HEAD", "/", &[]).body.is_empty());
    assert_eq!(ask_at(port, "GET", "/page.html", &[]).status, 401);
    assert_eq!(ask_at(port, "GET", "/stats", &[]).status, 401);
    let good = bearer(ADMIN_TOKEN);
    assert_eq!(ask_at(port, "GET", "/stats", &[("Authorization", &good), ("Origin", "http://localhost")]).status, 403);
}

#[test]
fn an_address_needs_a_token_or_the_hub_does_not_start() {
    let said = Launch::keyed().args(&["--admin", "127.0.0.1:0"]).refused();
    assert!(said.contains("--admin-token"), "{said}");
    let said = Launch::keyed().args(&["--admin", "127.0.0.1:0", "--admin-token", "too-short-a-secret"]).refused();
    assert!(said.contains("32 bytes") && !said.contains("too-short-a-secret"), "{said}");
}

#[test]
fn over_the_network_only_the_token_and_the_own_host_are_let_in() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let _hub = Hub::start(&["--admin", &address, "--admin-token", ADMIN_TOKEN]);
    let good = bearer(ADMIN_TOKEN);
    let status = |fields: &[(&str, &str)]| ask_at(port, "GET", "/stats", fields).status;
    assert_eq!(status(&[("Authorization", &good)]), 200);
    assert_eq!(status(&[("Authorization", &good), ("Host", &address)]), 200);
    assert_eq!(status(&[("Authorization", &good), ("Host", "evil.example")]), 421);
    assert_eq!(status(&[("Authorization", &good), ("Origin", "http://localhost")]), 403);
    assert_eq!(status(&[("Authorization", &good), ("Authorization", &good)]), 401);
    assert_eq!(status(&[("Authorization", &good[..good.len() - 1])]), 401);
    let refused = ask_at(port, "GET", "/health/live", &[]);
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(ask_at(port, "DELETE", "/connections?sub=somebody", &[]).status, 401);
}

#[test]
fn what_is_too_large_is_refused() {
    let hub = Hub::start(&[]);
    let long = "x".repeat(100_000);
    // It may be refused before it has been read to its end, which then resets the connection.
    let socket = UnixStream::connect(hub.folder().path().join("data/admin.sock")).unwrap();
    let mut answered = Vec::new();
    let request = format!("GET /stats HTTP/1.1\r\nHost: localhost\r\nX-Token: {long}\r\n\r\n");
    if (&socket).write_all(request.as_bytes()).is_ok() {
        let _ = (&socket).read_to_end(&mut answered);
    }
    assert!(answered.is_empty() || answered.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answered));
    assert_eq!(ask_with(&hub, "POST", "/stats", &[("Content-Length", "100000")]).status, 413);
    assert_eq!(ask(&hub, "GET", "/slow?limit=1000000").status, 400);
    assert_eq!(ask(&hub, "GET", "http://evil.example/stats").status, 400);
}

#[test]
fn health_and_metrics_alone_are_open_on_an_address_of_their_own() {
    let port = free_port();
    let _hub = Hub::start(&["--health-listen", &format!("127.0.0.1:{port}")]);
    let status = |method, target| ask_at(port, method, target, &[]).status;
    for target in ["/health/ready", "/health/live", "/metrics"] {
        assert_eq!(status("GET", target), 200, "{target}");
    }
    for target in ["/stats", "/connections", "/topics", "/slow", "/denied", "/explain?action=publish"] {
        assert_eq!(status("GET", target), 403, "{target}");
    }
    assert_eq!(status("DELETE", "/connections?sub=a"), 403);
    assert_eq!(ask_at(port, "GET", "/metrics", &[("Host", "evil.example")]).status, 421, "loopback has few names");
}

#[test]
fn a_stopping_hub_is_alive_and_not_ready() {
    let mut hub = Hub::start(&[]);
    // A publish under way holds the stop up for a while.
    let mut publish = hub.connect();
    publish.send(
        format!(
            "POST {HUB} HTTP/1.1\r\nHost: hub.example\r\nAuthorization: {}\r\nContent-Length: 30\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\ntopic=urn:a&",
            bearer(&publisher())
        )
        .as_bytes(),
    );
    eventually("the publish is being read", || see(&hub, "/stats")["totals"]["request_connections"] == 1);
    signal(hub.pid(), "TERM");
    eventually("the hub says that it drains, then that it stops", || {
        let ready = ask(&hub, "GET", "/health/ready");
        ready.status == 503 && ready.text().contains("the hub is stopping")
    });
    assert_eq!(see(&hub, "/health/live"), json!({"status": "ok"}));
    publish.send(b"data=12345&x=12345");
    assert_eq!(publish.response("POST").status, 200);
    hub.exit_status();
}

#[test]
fn the_metrics_served_are_those_of_the_documentation() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "x");
    stream.next();
    let served = ask(&hub, "GET", "/metrics");
    assert_eq!(served.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = served.text();
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let Some((stem, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let ending = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let name = format!("{stem}{ending}");
        // This hub has no certificate to speak of.
        let has_value = text.lines().any(|line| line.starts_with(&name));
        let of_certificates =
            name == "cinnabar_tls_certificate_expires_seconds" || name.starts_with("cinnabar_acme_") && kind == "gauge";
        assert!(has_value || of_certificates, "{name} has no value");
        found.insert((name, kind.to_owned()));
    }
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let documented: BTreeSet<(String, String)> = rows
        .map(|row| {
            let mut cells = row.split(" | ");
            let name = cells.next().unwrap().trim_end_matches('`').to_owned();
            (name, cells.next().unwrap().to_owned())
        })
        .collect();
    assert_eq!(found, documented);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn what_happens_is_counted() {
    let hub = Hub::anonymous();
    let mut streams = [hub.subscribe(&[("match", "urn:a")]), hub.subscribe(&[("match", "*")])];
    for n in 0..5 {
        hub.say("urn:a", &n.to_string());
    }
    hub.say("urn:nobody-but-the-second", "x");
    assert_eq!(streams[0].datas(5).len() + streams[1].datas(6).len(), 11);
    assert_eq!(hub.post(&publisher_of(&["urn:b"]), &[("topic", "urn:a")]).status, 403);
    assert_eq!(hub.post("not-a-token", &[("topic", "urn:a")]).status, 401);
    assert_eq!(hub.subscribe_status(&[("nothing", "")], &[]), 400);
    eventually("the numbers come", || metric(&hub, "cinnabar_deliveries_total") == 11.0);
    for (name, value) in [
        ("cinnabar_publishes_total", 6.0),
        ("cinnabar_publish_refusals_total{status=\"4xx\"}", 2.0),
        ("cinnabar_publish_refusals_total{status=\"5xx\"}", 0.0),
        ("cinnabar_subscription_refusals_total{status=\"4xx\"}", 1.0),
        ("cinnabar_subscriptions_total", 2.0),
        ("cinnabar_subscribers{state=\"current\"}", 2.0),
        ("cinnabar_subscribers{state=\"behind\"}", 0.0),
        ("cinnabar_sequencer_batch_events_sum", 6.0),
        ("cinnabar_history_events", 6.0),
        ("cinnabar_token_refusals_total", 1.0),
        ("cinnabar_shards", 2.0),
    ] {
        eventually(name, || metric(&hub, name) == value);
    }
    // An event counts once on each shard that has readers of it.
    for name in ["cinnabar_publish_first_byte_seconds_count", "cinnabar_publish_last_byte_seconds_count"] {
        let count = metric(&hub, name);
        assert!((6.0..=12.0).contains(&count), "{name} is {count}");
    }
    assert!(metric(&hub, "cinnabar_sent_bytes_total") > 0.0 && metric(&hub, "cinnabar_verdict_cache_hits_total") > 0.0);
    drop(streams);
    eventually("both have gone", || metric(&hub, "cinnabar_disconnects_total{reason=\"gone\"}") == 2.0);
    eventually("nobody is left", || metric(&hub, "cinnabar_subscribers{state=\"current\"}") == 0.0);
    let stats = see(&hub, "/stats");
    assert_eq!((&stats["totals"]["publishes"], &stats["totals"]["disconnects"]["gone"]), (&json!(6), &json!(2)));
    assert_eq!(stats["shards"].as_array().unwrap().len(), 2);
}

#[test]
fn connections_and_audiences_are_listed() {
    let hub = Hub::anonymous();
    let eve = reader("eve", "t-eve");
    let _eve = hub.subscribe_as(&eve, &[("match", "urn:a"), ("match_urlpattern", "https://e.example/:id")]);
    let _others: Vec<Stream> = (0..3).map(|_| hub.subscribe(&[("match", "urn:a")])).collect();
    let all = see(&hub, "/connections?limit=3");
    assert_eq!((&all["matched"], all["connections"].as_array().unwrap().len()), (&json!(4), 3));
    for filter in ["sub=eve", "jti=t-eve", "topic=https://e.example/1"] {
        let found = see(&hub, &format!("/connections?{filter}"));
        let row = &found["connections"][0];
        assert_eq!(found["matched"], 1, "{filter}");
        assert_eq!((&row["sub"], &row["jti"], &row["iss"]), (&json!("eve"), &json!("t-eve"), &json!(ISSUER)));
        assert_eq!((&row["address"], &row["state"]), (&json!("127.0.0.1"), &json!("current")));
        assert_eq!(row["matchers"][1], json!({"match": "https://e.example/:id", "match_type": "urlpattern"}));
    }
    assert_eq!(see(&hub, "/connections?sub=nobody")["matched"], 0);
    let topics = see(&hub, "/topics?limit=1");
    assert_eq!(topics, json!({"topics": [{"match": "urn:a", "match_type": "exact", "subscribers": 4}]}));
}

#[test]
fn a_reader_that_takes_nothing_is_among_the_slowest() {
    let hub = Hub::anonymous();
    let _stuck = hub.subscribe(&[("match", "urn:a")]);
    let mut quick = hub.subscribe(&[("match", "urn:a")]);
    let data = "x".repeat(200_000);
    let mut published = 0;
    eventually("its socket is full", || {
        hub.say("urn:a", &data);
        quick.next();
        published += 1;
        see(&hub, "/slow")["slow"].as_array().unwrap().len() == 1
    });
    hub.say("urn:a", &data);
    quick.next();
    let mut slow = Value::Null;
    eventually("the quick one is up to date", || {
        slow = see(&hub, "/slow?limit=5")["slow"].clone();
        slow.as_array().unwrap().len() == 1
    });
    assert_eq!(slow[0]["state"], "slow");
    assert!(slow[0]["bytes_behind"].as_u64().unwrap() > 100_000, "{slow}");
    let events = slow[0]["events_behind"].as_u64().unwrap();
    assert!((1..=published + 1).contains(&events), "{slow}");
    eventually("it is counted", || metric(&hub, "cinnabar_slow_readers") == 1.0);
}

#[test]
fn a_kick_ends_the_streams_of_a_subject_and_of_nobody_else() {
    let hub = Hub::anonymous();
    let mut eves: Vec<Stream> =
        (0..4).map(|n| hub.subscribe_as(&reader("eve", &format!("t{n}")), &[("match", "urn:a")])).collect();
    let mut ann = hub.subscribe_as(&reader("ann", "t9"), &[("match", "urn:a")]);
    let mut anonymous = hub.subscribe(&[("match", "urn:a")]);
    let kicked = json_of(ask(&hub, "DELETE", "/connections?sub=eve"));
    assert_eq!(kicked, json!({"closed": 4, "denied_until_ms": null}));
    for stream in &mut eves {
        assert_eq!(stream.end(), End::LastChunk);
    }
    hub.say("urn:a", "still here");
    assert_eq!((ann.data(), anonymous.data()), ("still here".to_owned(), "still here".to_owned()));
    assert_eq!(attempt(&hub, &reader("eve", "t0")), 200, "who isn't denied may come back");
    eventually("it is counted", || metric(&hub, "cinnabar_disconnects_total{reason=\"kicked\"}") == 4.0);
}

#[test]
fn a_kick_by_token_id_leaves_the_subjects_other_tokens_alone() {
    let hub = Hub::anonymous();
    let mut one = hub.subscribe_as(&reader("eve", "one"), &[("match", "urn:a")]);
    let mut two = hub.subscribe_as(&reader("eve", "two"), &[("match", "urn:a")]);
    assert_eq!(json_of(ask(&hub, "DELETE", "/connections?jti=one&deny=1h"))["closed"], 1);
    one.end();
    hub.say("urn:a", "on");
    assert_eq!(two.data(), "on");
    assert_eq!((attempt(&hub, &reader("eve", "one")), attempt(&hub, &reader("eve", "two"))), (204, 200));
}

#[test]
fn a_kick_by_topic_ends_the_streams_one_of_whose_matchers_matches_it() {
    let hub = Hub::anonymous();
    let mut kicked = [
        hub.subscribe(&[("match", "https://e.example/1")]),
        hub.subscribe(&[("match", "urn:x"), ("match_urlpattern", "https://e.example/:id")]),
        hub.subscribe(&[("match", "*")]),
    ];
    let mut stays = hub.subscribe(&[("match", "https://e.example/2")]);
    let answer = json_of(ask(&hub, "DELETE", "/connections?topic=https://e.example/1&deny=1h"));
    assert_eq!(answer["closed"], 3);
    for stream in &mut kicked {
        stream.end();
    }
    hub.say("https://e.example/2", "on");
    assert_eq!(stays.data(), "on");
    assert_eq!(hub.subscribe_status(&[("match_urlpattern", "https://e.example/*")], &[]), 204);
    assert_eq!(hub.subscribe_status(&[("match", "https://e.example/2")], &[]), 200);
    let publish = |topic| hub.post(&publisher(), &[("topic", topic), ("data", "x")]).status;
    assert_eq!((publish("https://e.example/1"), publish("https://e.example/2")), (403, 200));
}

#[test]
fn who_is_denied_gets_no_stream_with_204_and_publishes_nothing_until_let_in_again() {
    let hub = Hub::start(&["--anonymous", "--cors-origin", "https://app.example"]);
    let eve = reader("eve", "t1");
    let publishing = token_of(PUBLISHER_KEY, "publish", "eve", "t2");
    let mut stream = hub.subscribe_as(&eve, &[("match", "urn:a")]);
    assert_eq!(hub.post(&publishing, &[("topic", "urn:a"), ("data", "before")]).status, 200);
    assert_eq!(stream.data(), "before");
    let kicked = json_of(ask(&hub, "DELETE", "/connections?sub=eve&deny=10m"));
    let until_ms = kicked["denied_until_ms"].as_u64().unwrap();
    assert!(until_ms > (now() + 500) * 1000, "{kicked}");
    stream.end();
    // Both tokens were found valid before: that is remembered, and doesn't help.
    let headers = [("Authorization", bearer(&eve)), ("Origin", "https://app.example".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let refused = hub.try_subscribe(&[("match", "urn:a")], &headers).unwrap_err();
    assert_eq!(refused.status, 204);
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://app.example"));
    let refused = hub.post(&publishing, &[("topic", "urn:a"), ("data", "x")]);
    assert_eq!(refused.status, 403);
    assert!(refused.problem()["detail"].as_str().unwrap().contains("denied"));
    assert_eq!(attempt(&hub, &reader("ann", "t3")), 200);
    assert_eq!(see(&hub, "/denied"), json!({"denied": [{"sub": "eve", "until_ms": until_ms}]}));
    eventually("it is counted", || metric(&hub, "cinnabar_denied_requests_total") == 2.0);
    assert_eq!(json_of(ask(&hub, "DELETE", "/denied?sub=eve")), json!({"denied": []}));
    assert_eq!(attempt(&hub, &eve), 200);
}

#[test]
fn a_denial_ends_by_itself() {
    let hub = Hub::start(&[]);
    assert_eq!(json_of(ask(&hub, "DELETE", "/connections?sub=eve&deny=1s"))["closed"], 0);
    eventually("eve is let in again", || attempt(&hub, &reader("eve", "t1")) == 200);
    assert_eq!(see(&hub, "/denied"), json!({"denied": []}));
}

#[test]
fn the_deny_list_survives_a_restart() {
    let mut hub = Hub::start(&[]);
    json_of(ask(&hub, "DELETE", "/connections?sub=eve&deny=1h"));
    let (port, folder) = (hub.address().port(), hub.folder());
    hub.kill();
    let file = folder.path().join("data/denied.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let mut hub = Launch::keyed().in_place_of(port, folder).start();
    assert_eq!((attempt(&hub, &reader("eve", "t1")), attempt(&hub, &reader("ann", "t2"))), (204, 200));
    let (port, folder) = (hub.address().port(), hub.folder());
    hub.stop();
    std::fs::write(&file, "{").unwrap();
    let said = Launch::keyed().in_place_of(port, folder).refused();
    assert!(said.contains("denied.json") && said.contains("delete it"), "{said}");
}

#[test]
fn a_token_is_explained_rule_by_rule() {
    let hub = Hub::start(&[]);
    let token = publisher_of(&["urn:a"]);
    let explain = |token: &str, query: &str| {
        json_of(ask_with(&hub, "GET", &format!("/explain?action=publish{query}"), &[("X-Token", token)]))
    };
    let good = explain(&token, "&topic=urn:a");
    assert_eq!((&good["valid"], &good["allowed"]), (&json!(true), &json!(true)), "{good}");
    let more = explain(&token, "&topic=urn:a&topic=urn:b");
    assert_eq!((&more["valid"], &more["allowed"]), (&json!(true), &json!(false)));
    assert_eq!(more["topics"][1]["why"], "no grant of the token covers it");
    let forged = explain(&Token::granting(&["publish"], &["*"]).sign("another-secret-0123456789abcdef0123"), "");
    let failed: Vec<&Value> =
        forged["rules"].as_array().unwrap().iter().filter(|rule| rule["outcome"] == "fail").collect();
    assert_eq!((failed.len(), &failed[0]["rule"], &forged["allowed"]), (1, &json!("signature"), &json!(false)));
    assert_eq!(ask(&hub, "GET", "/explain?action=publish").status, 400);
}

#[test]
fn the_configuration_is_read_again_when_an_administrator_asks() {
    let launch = Launch::serve();
    let text = |anonymous| {
        format!(
            "resource = {RESOURCE:?}\nissuer = [{ISSUER:?}]\nsubscriber_jwt_key = {SUBSCRIBER_KEY:?}\nanonymous = {anonymous}\n"
        )
    };
    let path = launch.file("hub.toml", &text(false));
    let hub = launch.args(&["--config", &path]).start();
    let status = || hub.subscribe_status(&[("match", "urn:a")], &[]);
    assert_eq!(status(), 401);
    hub.folder().write("hub.toml", &format!("{}tail_bytes = \"1MiB\"\n", text(true)));
    let reloaded = json_of(ask(&hub, "POST", "/reload"));
    assert_eq!(reloaded, json!({"status": "ok", "waiting_for_restart": ["tail-bytes"]}));
    eventually("it holds", || status() == 200);
    hub.folder().write("hub.toml", "anonymous = 7\n");
    let refused = ask(&hub, "POST", "/reload");
    assert_eq!(refused.status, 422);
    assert!(refused.problem()["detail"].as_str().unwrap().contains("anonymous"));
    assert_eq!(status(), 200, "the old one holds");
}
