//! What a stream begins with: padding for proxies that hold back the first bytes, and the default `retry:`.

use crate::harness::*;

const PATH: &str = "/.well-known/mercure?match=urn:a";

/// The first bytes of a stream's body as they are on the wire.
fn first_bytes(hub: &Hub, version: &str, count: usize) -> String {
    let mut client = hub.connect();
    client.send(format!("GET {PATH} {version}\r\nHost: h\r\n\r\n").as_bytes());
    assert_eq!(client.head().expect("an answer").status, 200);
    String::from_utf8(client.exactly(count).expect("the beginning of the stream")).expect("UTF-8")
}

#[test]
fn padding_is_one_comment_of_so_many_bytes_before_everything_else() {
    let hub = Hub::start(&["--anonymous", "--padding", "2KiB"]);
    let comment = format!(":{}\n", " ".repeat(2046));
    assert_eq!(first_bytes(&hub, "HTTP/1.0", 2048), comment);
    assert_eq!(first_bytes(&hub, "HTTP/1.1", 5 + 2048 + 2), format!("800\r\n{comment}\r\n"));
    let id = hub.say("urn:a", "1");
    hub.say("urn:a", "2");
    let mut replaying = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &id)]);
    hub.say("urn:a", "3");
    assert_eq!(replaying.datas(2), ["2", "3"]);
    assert_eq!(replaying.comments, 1, "once");
}

#[test]
fn the_default_retry_is_said_once_and_is_no_event() {
    let hub = Hub::start(&["--anonymous", "--retry", "1500ms"]);
    assert_eq!(first_bytes(&hub, "HTTP/1.1", 16), "c\r\nretry: 1500\n\r\n"[..16]);
    assert_eq!(first_bytes(&hub, "HTTP/1.0", 12), "retry: 1500\n");
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "1");
    hub.publish(&[("topic", "urn:a"), ("data", "2"), ("retry", "7")]);
    hub.say("urn:a", "3");
    let retries: Vec<_> = (0..3).map(|_| stream.next()).map(|event| (event.data, event.retry)).collect();
    assert_eq!(retries, [("1".to_owned(), Some(1500)), ("2".to_owned(), Some(7)), ("3".to_owned(), None)]);
}

#[test]
fn padding_comes_before_the_retry_and_an_ended_stream_ends_whole() {
    let mut hub = Hub::start(&["--anonymous", "--retry", "2s", "--padding", "16KiB"]);
    let beginning = first_bytes(&hub, "HTTP/1.0", 16_384 + 12);
    assert!(beginning.starts_with(":  ") && beginning.ends_with("  \nretry: 2000\n"));
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "1");
    assert_eq!(stream.data(), "1");
    hub.stop();
    assert_eq!(stream.end(), End::LastChunk);
}

#[test]
fn without_them_a_stream_begins_with_its_first_event() {
    for args in [["--anonymous"].as_slice(), &["--anonymous", "--retry", "0", "--padding", "0"]] {
        let hub = Hub::start(args);
        let mut client = hub.connect();
        client.send(format!("GET {PATH} HTTP/1.0\r\n\r\n").as_bytes());
        assert_eq!(client.head().expect("an answer").status, 200);
        let id = hub.say("urn:a", "x");
        let expected = format!("id: {id}\ndata: x\n\n");
        let bytes = client.exactly(expected.len()).expect("an event");
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }
}

#[test]
fn head_has_no_body_to_pad() {
    let hub = Hub::start(&["--anonymous", "--padding", "2KiB", "--retry", "1s"]);
    let mut client = hub.connect();
    client.request("HEAD", PATH, &[], None);
    assert_eq!(client.response("HEAD").status, 200);
    client.expect_closed();
}

#[test]
fn amounts_that_make_no_sense_are_refused() {
    for (flag, value) in [("--padding", "1"), ("--padding", "17KiB"), ("--retry", "1ms"), ("--retry", "25d")] {
        let said = Launch::keyed().args(&[flag, value]).refused();
        assert!(said.contains(&format!("`{flag}` is `{value}`")), "{said}");
    }
}
