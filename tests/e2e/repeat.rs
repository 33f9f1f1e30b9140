//! A publisher that sends the same head again and again on one connection. The hub recognises it, and judges each request by
//! what holds then.

use crate::admin::{ask, metric};
use crate::harness::*;
use crate::reload;
use serde_json::json;

const CROSS_ORIGIN: &[&str] = &["--cors-origin", "https://app.example"];

/// A connection of a publisher that has been at it for a while.
struct Publisher {
    client: Client,
    headers: Vec<(String, String)>,
}

impl Publisher {
    fn new(hub: &Hub, token: &str) -> Publisher {
        Self::with(hub, &[("Authorization", &format!("Bearer {token}")), ("Origin", "https://app.example")])
    }

    fn with(hub: &Hub, headers: &[(&str, &str)]) -> Publisher {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut publisher = Publisher { client: hub.connect(), headers };
        for data in ["first", "again"] {
            assert_eq!(publisher.publish(data).status, 200);
        }
        publisher
    }

    fn post(&mut self, body: &str) -> Response {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        self.client.post(&headers, body.as_bytes());
        self.client.response("POST")
    }

    fn publish(&mut self, data: &str) -> Response {
        self.post(&form(&[("topic", "urn:a"), ("data", data)]))
    }
}

#[test]
fn bodies_of_any_length_follow_the_same_head() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let mut publisher = Publisher::new(&hub, &publisher());
    let datas = ["", "x", &"y".repeat(90), &"z".repeat(2_000), &"long".repeat(30_000)];
    for data in datas {
        let answer = publisher.publish(data);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    }
    assert_eq!(stream.datas(7), [&["first", "again"][..], &datas].concat());
}

/// Seen: had the hub recognised nothing any more, no other test here would have noticed.
#[test]
fn heads_that_come_again_are_recognised_and_others_are_not() {
    let hub = Hub::anonymous();
    let recognised = |count: f64| {
        eventually(&format!("{count} are counted"), || metric(&hub, "cinnabar_recognised_heads_total") == count);
    };
    let mut repeating = Publisher::new(&hub, &publisher());
    recognised(1.0);
    for _ in 0..3 {
        repeating.publish("x");
    }
    recognised(4.0);
    for n in 0..3 {
        repeating.headers.push(("X-Number".to_owned(), n.to_string()));
        assert_eq!(repeating.publish("other").status, 200);
    }
    repeating.publish("the same");
    recognised(5.0);
}

#[test]
fn what_comes_in_pieces_is_put_together() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let mut client = hub.connect();
    let token = publisher();
    let request = |data: &str| {
        let body = form(&[("topic", "urn:a"), ("data", data)]);
        format!(
            "POST {HUB} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let whole = request("0");
    client.send(whole.as_bytes());
    assert_eq!(client.response("POST").status, 200);
    // Cut at every tenth byte: within the part that is the same, the length, and the body.
    let cuts: Vec<usize> = (1..whole.len()).step_by(10).collect();
    for (n, &cut) in cuts.iter().enumerate() {
        let request = request(&((n + 1) % 10).to_string());
        client.send(&request.as_bytes()[..cut]);
        eventually("what was sent is taken", || unread_bytes(&hub) == 0);
        client.send(&request.as_bytes()[cut..]);
        assert_eq!(client.response("POST").status, 200, "cut at {cut}");
    }
    let expected: Vec<String> = (0..=cuts.len()).map(|n| (n % 10).to_string()).collect();
    assert_eq!(stream.datas(expected.len()), expected);
}

/// Bytes in the receive queues of the hub's connections.
fn unread_bytes(hub: &Hub) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("reads");
    let local = format!(":{:04X}", hub.address().port());
    let unread = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let connected = fields[3] == "01" && fields[1].ends_with(&local);
        let (_, received) = fields[4].split_once(':').expect("two queues");
        if connected { u64::from_str_radix(received, 16).expect("a number") } else { 0 }
    };
    table.lines().skip(1).map(unread).sum()
}

#[test]
fn a_token_expires_between_two_requests() {
    let hub = Hub::start(&[]);
    let token = Token::granting(&["publish"], &["*"]).claim("exp", json!(now() + 3)).sign(PUBLISHER_KEY);
    let mut publisher = Publisher::new(&hub, &token);
    eventually("the token expires", || publisher.publish("more").status == 401);
}

#[test]
fn a_denial_counts_at_once_and_only_as_long_as_it_lasts() {
    let hub = Hub::start(CROSS_ORIGIN);
    let token = Token::granting(&["publish"], &["*"]).claim("sub", json!("eve")).sign(PUBLISHER_KEY);
    let mut publisher = Publisher::new(&hub, &token);
    assert_eq!(ask(&hub, "DELETE", "/connections?sub=eve&deny=10m").status, 200);
    let refused = publisher.publish("no");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, Some("https://app.example")));
    eventually("it is counted once", || metric(&hub, "cinnabar_denied_requests_total") == 1.0);
    assert_eq!(ask(&hub, "DELETE", "/denied?sub=eve").status, 200);
    assert_eq!(publisher.publish("again").status, 200);
}

/// Seen: whoever had sent the head of a request before the denial could publish with it after.
#[test]
fn a_denial_counts_for_a_body_that_is_still_to_come() {
    let hub = Hub::start(&[]);
    let token = Token::granting(&["publish"], &["*"]).claim("sub", json!("eve")).sign(PUBLISHER_KEY);
    for head_known in [false, true] {
        let mut client = if head_known {
            Publisher::with(&hub, &[("Authorization", &format!("Bearer {token}"))]).client
        } else {
            hub.connect()
        };
        let body = form(&[("topic", "urn:a"), ("data", "too late")]);
        let head = format!(
            "POST {HUB} HTTP/1.1\r\nHost: hub.example\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.send(format!("{head}{}", &body[..5]).as_bytes());
        eventually("the head is judged", || unread_bytes(&hub) == 0);
        assert_eq!(ask(&hub, "DELETE", "/connections?sub=eve&deny=10m").status, 200);
        client.send(&body.as_bytes()[5..]);
        assert_eq!(client.response("POST").status, 403, "known: {head_known}");
        assert_eq!(ask(&hub, "DELETE", "/denied?sub=eve").status, 200);
    }
}

#[test]
fn a_reload_counts_at_once() {
    let config = |key: &str, more: &str| {
        format!(
            "resource = \"{RESOURCE}\"\n{more}\n[[issuer]]\nid = \"{ISSUER}\"\n\
             publisher = {{ key = \"{key}\" }}\nsubscriber = {{ key = \"{SUBSCRIBER_KEY}\" }}\n"
        )
    };
    let hub = reload::start(&config(PUBLISHER_KEY, ""));
    let mut publisher = Publisher::new(&hub, &publisher());
    assert_eq!(publisher.publish("x").header("access-control-allow-origin"), None);
    let origin = "cors_origin = [\"https://app.example\"]";
    reload::reload(&hub, &config(PUBLISHER_KEY, origin), "the configuration was reloaded");
    // Its shard may be a moment behind the log.
    eventually("the origin may read it", || {
        publisher.publish("x").header("access-control-allow-origin") == Some("https://app.example")
    });
    reload::reload(
        &hub,
        &config(PUBLISHER_KEY, "public_url = [\"https://other.example\"]"),
        "the configuration was reloaded",
    );
    eventually("the hub has another name", || publisher.publish("x").status == 421);
    reload::reload(&hub, &config("another-key-of-publishers-0123456789", ""), "the configuration was reloaded");
    eventually("the key isn't trusted any more", || publisher.publish("x").status == 401);
}

#[test]
fn grants_and_topics_are_judged_each_time() {
    let hub = Hub::start(CROSS_ORIGIN);
    let mut publisher = Publisher::new(&hub, &publisher_of(&["urn:a"]));
    for (body, status) in
        [("topic=urn:b&data=x", 403), ("topic=*", 400), ("data=x", 400), ("", 400), ("topic=urn:a", 200)]
    {
        let answer = publisher.post(body);
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"), "{body}");
    }
}

#[test]
fn a_body_that_is_too_large_is_refused_under_a_known_head() {
    let hub = Hub::start(&["--max-body-bytes", "4KiB", "--cors-origin", "https://app.example"]);
    let mut publisher = Publisher::new(&hub, &publisher());
    let refused = publisher.publish(&"x".repeat(5_000));
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (413, Some("https://app.example")));
    publisher.client.expect_closed();
}

#[test]
fn a_publisher_that_is_too_fast_is_told_so_under_a_known_head() {
    let hub = Hub::start(&["--publish-rate", "1/h", "--publish-burst", "2"]);
    let mut publisher = Publisher::new(&hub, &publisher());
    let refused = publisher.publish("one too many");
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (429, true));
}

#[test]
fn answers_are_counted_under_a_known_head() {
    let hub = Hub::start(&[]);
    let mut publisher = Publisher::new(&hub, &publisher());
    publisher.post("data=x");
    let counted = |name: &str| metric(&hub, name);
    eventually("they are counted", || counted("cinnabar_publishes_total") == 2.0);
    eventually("so is the refusal", || counted("cinnabar_publish_refusals_total{status=\"4xx\"}") == 1.0);
}
