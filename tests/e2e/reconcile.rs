//! Coming back: what was missed is replayed, then the stream goes on live, without a gap or a repeat.

use crate::harness::*;

#[test]
fn everything_after_a_known_id_is_replayed_and_then_live_events_follow() {
    let hub = Hub::anonymous();
    let ids: Vec<String> = (0..5).map(|n| hub.say("urn:a", &n.to_string())).collect();
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &ids[1])]);
    assert_eq!(stream.last_event_id(), Some(ids[1].as_str()));
    hub.say("urn:a", "live");
    assert_eq!(stream.datas(4), ["2", "3", "4", "live"]);
}

#[test]
fn replayed_events_are_the_same_as_live_ones() {
    let hub = Hub::anonymous();
    let mut live = hub.subscribe(&[("match", "urn:a")]);
    hub.publish(&[("topic", "urn:a"), ("id", "x 1"), ("type", "t"), ("retry", "0"), ("data", " a\r\nb\n")]);
    let mut replayed = hub.subscribe(&[("match", "urn:a"), ("last_event_id", "earliest")]);
    assert_eq!(live.block(), replayed.block());
}

#[test]
fn the_header_beats_the_parameter_and_an_empty_header_lets_the_parameter_decide() {
    let hub = Hub::anonymous();
    let ids: Vec<String> = (0..3).map(|n| hub.say("urn:a", &n.to_string())).collect();
    let parameters = [("match", "urn:a"), ("last_event_id", ids[0].as_str())];
    let mut stream = hub.try_subscribe(&parameters, &[("last-event-id", &ids[1])]).expect("a stream");
    assert_eq!(stream.last_event_id(), Some(ids[1].as_str()));
    assert_eq!(stream.data(), "2");
    let mut stream = hub.try_subscribe(&parameters, &[("Last-Event-ID", "")]).expect("a stream");
    assert_eq!(stream.last_event_id(), Some(ids[0].as_str()));
    assert_eq!(stream.data(), "1");
}

#[test]
fn other_spellings_are_no_cursors() {
    let hub = Hub::anonymous();
    let id = hub.say("urn:a", "old");
    for name in ["Last-Event-ID", "Last-Event-Id", "lastEventID", "lastEventId", "last-event-id", "LAST_EVENT_ID"] {
        let mut stream = hub.subscribe(&[("match", "urn:a"), (name, "earliest")]);
        assert_eq!(stream.last_event_id(), None, "{name}");
        hub.say("urn:a", name);
        assert_eq!(stream.data(), name);
    }
    let mut stream = hub
        .try_subscribe(&[("match", "urn:a")], &[("Mercure-Last-Event-ID", &id), ("Last_Event_ID", &id)])
        .expect("a stream");
    assert_eq!(stream.last_event_id(), None);
    hub.say("urn:a", "live");
    assert_eq!(stream.data(), "live");
}

#[test]
fn the_answer_never_uses_the_name_of_the_request_header() {
    let hub = Hub::anonymous();
    let id = hub.say("urn:a", "x");
    let stream = hub.try_subscribe(&[("match", "urn:a")], &[("Last-Event-ID", &id)]).expect("a stream");
    assert_eq!(stream.head.header("last-event-id"), None);
}

#[test]
fn earliest_replays_everything_kept_that_matches() {
    let hub = Hub::anonymous();
    for n in 0..3 {
        hub.say("urn:a", &n.to_string());
        hub.say("urn:b", "other");
    }
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", "earliest")]);
    assert_eq!(stream.last_event_id(), Some("earliest"));
    hub.say("urn:a", "live");
    assert_eq!(stream.datas(4), ["0", "1", "2", "live"]);
}

#[test]
fn earliest_on_an_empty_history_is_said_and_live_events_follow() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", "earliest")]);
    assert_eq!(stream.last_event_id(), Some("earliest"));
    hub.say("urn:a", "live");
    assert_eq!(stream.data(), "live");
}

#[test]
fn a_cursor_never_seen_is_answered_earliest_and_replays_nothing() {
    let hub = Hub::anonymous();
    hub.say("urn:a", "old");
    for cursor in [
        "nobody-gave-this",
        "urn:uuid:00000000-0000-8000-8000-000000000000",
        "urn:uuid:not-a-uuid",
        "",
        "#x",
        "EARLIEST",
    ] {
        let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", cursor)]);
        assert_eq!(stream.last_event_id(), Some("earliest"), "{cursor:?}");
        hub.say("urn:a", cursor);
        assert_eq!(stream.data(), cursor);
    }
}

#[test]
fn a_trimmed_cursor_is_answered_earliest_and_replays_everything_kept() {
    let hub = Hub::start(&["--anonymous", "--history-max-events", "5", "--tail-bytes", "1MiB"]);
    // Large enough that the tail has dropped it as well.
    let filler = "x".repeat(300_000);
    let first = hub.say("urn:a", "0");
    for n in 1..20 {
        hub.say("urn:a", &format!("{n} {filler}"));
    }
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &first)]);
    assert_eq!(stream.last_event_id(), Some("earliest"));
    for n in 15..20 {
        assert!(stream.data() == format!("{n} {filler}"), "event {n} of the five kept");
    }
    hub.say("urn:a", "live");
    assert_eq!(stream.data(), "live");
}

#[test]
fn without_a_cursor_nothing_is_replayed_and_nothing_is_said() {
    let hub = Hub::anonymous();
    hub.say("urn:a", "old");
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    assert_eq!(stream.last_event_id(), None);
    hub.say("urn:a", "live");
    assert_eq!(stream.data(), "live");
}

/// Seen: an event acknowledged by one shard reached another after a subscriber had registered there, as if it were live.
#[test]
fn a_subscription_without_a_cursor_begins_after_everything_acknowledged_before_it() {
    let hub = Hub::anonymous();
    for n in 0..300 {
        hub.say("urn:a", "acknowledged before");
        let mut stream = hub.subscribe(&[("match", "urn:a")]);
        let live = n.to_string();
        hub.say("urn:a", &live);
        assert_eq!(stream.data(), live);
    }
}

#[test]
fn a_cursor_may_name_an_event_the_subscriber_neither_follows_nor_may_read() {
    let hub = Hub::anonymous();
    hub.say("urn:a", "before");
    let other = hub.say("urn:b", "other topic");
    hub.say("urn:a", "between");
    let private = hub.publish(&[("topic", "urn:c"), ("private", "on"), ("data", "secret")]);
    hub.say("urn:a", "after");
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &other)]);
    assert_eq!(stream.last_event_id(), Some(other.as_str()));
    assert_eq!(stream.datas(2), ["between", "after"]);
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &private)]);
    assert_eq!(stream.last_event_id(), Some(private.as_str()));
    assert_eq!(stream.data(), "after");
}

#[test]
fn of_two_events_with_the_same_id_the_earliest_is_the_cursor() {
    let hub = Hub::anonymous();
    for data in ["first", "second", "third"] {
        hub.publish(&[("topic", "urn:a"), ("id", "twice"), ("data", data)]);
    }
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", "twice")]);
    assert_eq!(stream.last_event_id(), Some("twice"));
    assert_eq!(stream.datas(2), ["second", "third"]);
}

#[test]
fn when_the_first_of_two_with_the_same_id_is_trimmed_the_second_is_the_cursor() {
    let hub = Hub::start(&["--anonymous", "--history-max-events", "4", "--tail-bytes", "1MiB"]);
    let filler = "x".repeat(400_000);
    for (id, n) in [("twice", 0), ("a", 1), ("twice", 2), ("b", 3), ("c", 4), ("d", 5)] {
        hub.publish(&[("topic", "urn:a"), ("id", id), ("data", &format!("{n} {filler}"))]);
    }
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", "twice")]);
    assert_eq!(stream.last_event_id(), Some("twice"));
    let events: Vec<Event> = (0..3).map(|_| stream.next()).collect();
    assert_eq!(events.iter().map(|event| &event.id).collect::<Vec<_>>(), ["b", "c", "d"]);
}

#[test]
fn cursors_are_utf8_in_header_and_parameter() {
    let hub = Hub::anonymous();
    let id = "é 🦀\"\\";
    hub.publish(&[("topic", "urn:a"), ("id", id), ("data", "cursor")]);
    hub.say("urn:a", "after");
    let by_header = hub.try_subscribe(&[("match", "urn:a")], &[("Last-Event-ID", id)]).expect("a stream");
    let by_parameter = hub.subscribe(&[("match", "urn:a"), ("last_event_id", id)]);
    for mut stream in [by_header, by_parameter] {
        assert_eq!(stream.last_event_id(), Some(id));
        assert_eq!(stream.data(), "after");
    }
}

#[test]
fn replay_is_judged_by_the_token_of_now() {
    let hub = Hub::anonymous();
    let start = hub.say("urn:a", "start");
    for (topic, private) in [("urn:a", true), ("urn:a", false), ("urn:b", true), ("urn:b", false)] {
        let data = format!("{topic} {}", if private { "private" } else { "public" });
        let mut fields = vec![("topic", topic), ("data", data.as_str())];
        if private {
            fields.push(("private", "on"));
        }
        hub.publish(&fields);
    }
    let parameters = [("match", "*"), ("last_event_id", start.as_str())];
    let mut anonymous = hub.subscribe(&parameters);
    assert_eq!(anonymous.datas(2), ["urn:a public", "urn:b public"]);
    let mut granted = hub.subscribe_as(&subscriber_of(&["urn:b"]), &parameters);
    assert_eq!(granted.datas(3), ["urn:a public", "urn:b private", "urn:b public"]);
    let mut all = hub.subscribe_as(&subscriber(), &parameters);
    assert_eq!(all.datas(4).len(), 4);
}

#[test]
fn a_replay_of_thousands_is_not_cut() {
    let hub = Hub::anonymous();
    let mut client = hub.connect();
    flood(&mut client, 0..5000, "");
    let mut stream = hub.subscribe(&[("match", "urn:flood"), ("last_event_id", "earliest")]);
    hub.say("urn:flood", "live");
    for n in 0..5000 {
        assert_eq!(stream.data(), format!("{n} "));
    }
    assert_eq!(stream.data(), "live");
}

#[test]
fn what_the_tail_no_longer_holds_comes_from_history() {
    let hub = Hub::start(&["--anonymous", "--tail-bytes", "1MiB"]);
    let mut client = hub.connect();
    let filler = "x".repeat(1000);
    flood(&mut client, 0..5000, &filler);
    let mut stream = hub.subscribe(&[("match", "urn:flood"), ("last_event_id", "earliest")]);
    for n in 0..5000 {
        assert_eq!(stream.data(), format!("{n} {filler}"));
    }
}

#[test]
fn between_replay_and_live_nothing_is_lost_or_repeated() {
    let hub = Hub::anonymous();
    let cursor = hub.say("urn:flood", "start");
    std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut client = hub.connect();
            for batch in 0..40 {
                flood(&mut client, batch * 50..(batch + 1) * 50, "");
            }
        });
        let reading: Vec<_> = (0..10)
            .map(|_| {
                let mut stream = hub.subscribe(&[("match", "urn:flood"), ("last_event_id", &cursor)]);
                scope.spawn(move || {
                    for n in 0..2000 {
                        assert_eq!(stream.data(), format!("{n} "));
                    }
                })
            })
            .collect();
        publishing.join().expect("publishes");
        for reader in reading {
            reader.join().expect("every event once, in order");
        }
    });
}

#[test]
fn dropping_and_coming_back_again_and_again_misses_nothing() {
    let hub = Hub::anonymous();
    let mut cursor = hub.say("urn:flood", "start");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = hub.connect();
            for batch in 0..40 {
                flood(&mut client, batch * 25..(batch + 1) * 25, "");
            }
        });
        let mut seen = 0;
        while seen < 1000 {
            let mut stream = hub.subscribe(&[("match", "urn:flood"), ("last_event_id", &cursor)]);
            assert_eq!(stream.last_event_id(), Some(cursor.as_str()));
            for _ in 0..(1000 - seen).min(37) {
                let event = stream.next();
                assert_eq!(event.data, format!("{seen} "));
                cursor = event.id;
                seen += 1;
            }
        }
    });
}

/// Seen: a field there twice, or not UTF-8, let the parameter decide, as if it were empty.
#[test]
fn an_unusable_field_is_an_unknown_cursor_whatever_the_parameter_says() {
    let hub = Hub::anonymous();
    let id = hub.say("urn:a", "kept");
    let fields =
        [b"Last-Event-ID: \xff\r\n".to_vec(), format!("Last-Event-ID: {id}\r\nLast-Event-ID: {id}\r\n").into()];
    for field in fields {
        let mut client = hub.connect();
        let target = query(&[("match", "urn:a"), ("last_event_id", "earliest")]);
        client.send(&[format!("GET {target} HTTP/1.1\r\nHost: h\r\n").as_bytes(), &field, b"\r\n"].concat());
        let mut stream = client.stream().expect("a stream");
        assert_eq!(stream.last_event_id(), Some("earliest"));
        hub.say("urn:a", "live");
        assert_eq!(stream.data(), "live", "nothing is replayed");
    }
}
