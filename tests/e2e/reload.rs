//! Changing the configuration on SIGHUP, without dropping a connection.

use crate::harness::*;
use serde_json::json;

const OTHER_KEY: &str = "the-key-that-comes-later-0123456789abcdef";

/// A file with keys for publishers and subscribers, and more.
fn config(publisher: &str, subscriber: &str, more: &str) -> String {
    format!(
        "resource = \"{RESOURCE}\"\n{more}\n[[issuer]]\nid = \"{ISSUER}\"\n\
         publisher = {{ key = \"{publisher}\" }}\nsubscriber = {{ key = \"{subscriber}\" }}\n"
    )
}

pub(crate) fn start(text: &str) -> Hub {
    let launch = Launch::serve();
    let path = launch.file("hub.toml", text);
    launch.args(&["--config", &path]).start()
}

/// Writes the file anew and sends SIGHUP; waits for these words in the log.
pub(crate) fn reload(hub: &Hub, text: &str, words: &str) {
    hub.folder().write("hub.toml", text);
    let said = |hub: &Hub| hub.log().matches(words).count();
    let before = said(hub);
    signal(hub.pid(), "HUP");
    eventually(words, || said(hub) > before);
}

fn publish(hub: &Hub, token: &str, data: &str) -> u16 {
    hub.post(token, &[("topic", "urn:a"), ("data", data)]).status
}

#[test]
fn a_reload_changes_keys_and_rules_and_streams_survive() {
    let hub = start(&config(PUBLISHER_KEY, SUBSCRIBER_KEY, ""));
    let mut stream = hub.subscribe_as(&subscriber(), &[("match", "urn:a")]);
    let mut kept_alive = hub.connect();
    kept_alive.request("OPTIONS", HUB, &[], None);
    assert_eq!(kept_alive.response("OPTIONS").status, 204);
    let later = Token::granting(&["publish"], &["*"]).sign(OTHER_KEY);
    assert_eq!((publish(&hub, &publisher(), "1"), publish(&hub, &later, "no")), (200, 401));
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[]), 401);

    let more =
        "anonymous = true\ncookie_name = \"token\"\ncors_origin = [\"https://app.example\"]\nmax_body_bytes = \"2KiB\"";
    reload(&hub, &config(OTHER_KEY, SUBSCRIBER_KEY, more), "the configuration was reloaded");
    assert_eq!((publish(&hub, &publisher(), "no"), publish(&hub, &later, "2")), (401, 200));
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[]), 200, "anonymous now");
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[("Cookie", &format!("token={}", publisher()))]), 401);
    assert_eq!(publish(&hub, &later, &"x".repeat(3000)), 413);
    kept_alive.request("OPTIONS", HUB, &[("Origin", "https://app.example")], None);
    let answer = kept_alive.response("OPTIONS");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(stream.datas(2), ["1", "2"]);
}

#[test]
fn a_key_removed_by_a_reload_ends_its_streams_and_no_others() {
    let more = "[[issuer]]\nid = \"b\"\nsubscriber = { key = \"the-key-of-the-second-issuer-0123456789\" }";
    let both = config(PUBLISHER_KEY, SUBSCRIBER_KEY, "anonymous = true") + more;
    let hub = start(&both);
    let of_b = Token::granting(&["subscribe"], &["*"]).claim("iss", json!("b"));
    let mut gone = hub.subscribe_as(&of_b.sign("the-key-of-the-second-issuer-0123456789"), &[("match", "urn:a")]);
    let mut stays = hub.subscribe_as(&subscriber(), &[("match", "urn:a")]);
    let mut anonymous = hub.subscribe(&[("match", "urn:a")]);
    reload(&hub, &config(PUBLISHER_KEY, SUBSCRIBER_KEY, ""), "the configuration was reloaded");
    assert_eq!(gone.end(), End::LastChunk);
    hub.say("urn:a", "after");
    assert_eq!((stays.data(), anonymous.data()), ("after".to_owned(), "after".to_owned()));
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[]), 401, "anonymous no more, for those who come");
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let hub = start(&config(PUBLISHER_KEY, SUBSCRIBER_KEY, ""));
    let mut stream = hub.subscribe_as(&subscriber(), &[("match", "urn:a")]);
    let kept = "was not reloaded, the old one holds";
    for (text, why) in [
        ("resource =".to_owned(), "isn't valid TOML"),
        (config(OTHER_KEY, SUBSCRIBER_KEY, "hartbeat = '1s'"), "did you mean `heartbeat`?"),
        (config("short", SUBSCRIBER_KEY, "anonymous = true"), "can't be used"),
        (config(OTHER_KEY, SUBSCRIBER_KEY, "dev = true"), "development mode can't be switched"),
    ] {
        reload(&hub, &text, kept);
        assert!(hub.log().contains(why), "{why}");
        assert_eq!(publish(&hub, &publisher(), "x"), 200, "{why}");
        assert_eq!(stream.data(), "x", "{why}");
    }
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[]), 401);
    std::fs::remove_file(hub.folder().path().join("hub.toml")).expect("it is there");
    signal(hub.pid(), "HUP");
    eventually("the missing file is named", || hub.log().contains("can't be read"));
    assert_eq!(publish(&hub, &publisher(), "x"), 200);
}

#[test]
fn what_cannot_change_is_named_and_keeps_its_value() {
    let hub = start(&config(PUBLISHER_KEY, SUBSCRIBER_KEY, ""));
    let more = "tail_bytes = '1MiB'\nhistory_max_events = 5\nheartbeat = '1s'";
    reload(&hub, &config(PUBLISHER_KEY, SUBSCRIBER_KEY, more), "changed by a restart only");
    assert!(hub.log().contains("history-max-events, tail-bytes"), "{}", hub.log());
    let mut stream = hub.subscribe_as(&subscriber(), &[("match", "urn:a")]);
    stream.comment();
}

#[test]
fn a_new_key_set_that_cannot_be_fetched_changes_nothing() {
    let hub = start(&config(PUBLISHER_KEY, SUBSCRIBER_KEY, ""));
    let text = format!(
        "resource = \"{RESOURCE}\"\n[[issuer]]\nid = \"{ISSUER}\"\npublisher = {{ jwks_url = \"file:///nowhere/keys.json\" }}\n"
    );
    reload(&hub, &text, "was not reloaded, the old one holds");
    assert!(hub.log().contains("the key set file:///nowhere/keys.json can't be used"), "{}", hub.log());
    assert_eq!(publish(&hub, &publisher(), "x"), 200);
    let key = IssuerKey::new("a");
    let server = KeyServer::start(&[&key]);
    reload(&hub, &text.replace("file:///nowhere/keys.json", &server.url()), "the configuration was reloaded");
    assert_eq!((publish(&hub, &publisher(), "x"), publish(&hub, &key.token(), "x")), (401, 200));
}

/// An identity provider that was down since the start kept every reload from happening.
#[test]
fn a_key_set_that_was_never_there_holds_no_reload_up() {
    let issuer = "[[issuer]]\nid = \"b\"\nsubscriber = { jwks_url = \"file:///nowhere/keys.json\" }\n";
    let hub = start(&(config(PUBLISHER_KEY, SUBSCRIBER_KEY, "") + issuer));
    let changed = config(PUBLISHER_KEY, SUBSCRIBER_KEY, "anonymous = true") + issuer;
    reload(&hub, &changed, "the configuration was reloaded");
    hub.subscribe(&[("match", "urn:a")]);
}

#[test]
fn development_tokens_survive_a_reload() {
    let hub = Launch::serve().args(&["--dev"]).start();
    let mut token = None;
    eventually("the banner", || {
        let log = hub.log();
        token = log.lines().find_map(|line| line.strip_prefix("publisher token ")).map(|token| token.trim().to_owned());
        token.is_some()
    });
    let authorization = format!("Bearer {}", token.expect("just seen"));
    let publish =
        || hub.post_with(&[("Host", "localhost"), ("Authorization", &authorization)], &[("topic", "urn:a")]).status;
    assert_eq!(publish(), 200);
    signal(hub.pid(), "HUP");
    eventually("the reload", || hub.log().contains("the configuration was reloaded"));
    assert_eq!(publish(), 200);
}

#[test]
fn limits_on_connections_and_timeouts_change_too() {
    let hub = start(&config(PUBLISHER_KEY, SUBSCRIBER_KEY, "max_connections = 3"));
    let mut streams: Vec<_> = (0..3).map(|_| hub.subscribe_as(&subscriber(), &[("match", "urn:a")])).collect();
    assert_eq!(hub.connect().response("GET").status, 503, "one too many");
    reload(&hub, &config(PUBLISHER_KEY, SUBSCRIBER_KEY, "max_connections = 9"), "the configuration was reloaded");
    // A shard accepts who is there before it looks at its messages.
    eventually("there is room for more", || {
        let bearer = format!("Bearer {}", subscriber());
        let more = hub.try_subscribe(&[("match", "urn:a")], &[("Authorization", &bearer)]);
        more.is_ok_and(|stream| {
            streams.push(stream);
            streams.len() == 5
        })
    });
    hub.say("urn:a", "all");
    assert!(streams.iter_mut().all(|stream| stream.data() == "all"));

    reload(&hub, &config(PUBLISHER_KEY, SUBSCRIBER_KEY, "head_timeout = '100ms'"), "the configuration was reloaded");
    let mut slow = hub.connect();
    slow.send(b"GET / HTTP/1.1\r\n");
    assert_eq!(slow.response("GET").status, 408);
}
