//! Ends of all kinds, and what is there afterwards.

use std::collections::HashMap;
use std::time::Duration;

use super::{again, everything};
use crate::harness::*;

#[test]
fn events_and_their_ids_survive_a_stop_in_order() {
    let mut hub = Hub::anonymous();
    let ids: Vec<String> = (0..5).map(|n| hub.say("urn:a", &n.to_string())).collect();
    hub.publish(&[("topic", "urn:a"), ("id", "mine"), ("type", "t"), ("retry", "7"), ("data", "x\ny")]);
    let mut before = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &ids[4])]).block();
    assert!(hub.stop().success());
    let hub = again(&hub).start();
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &ids[2])]);
    assert_eq!(stream.last_event_id(), Some(ids[2].as_str()));
    assert_eq!(stream.datas(2), ["3", "4"]);
    assert_eq!(std::mem::take(&mut before), stream.block(), "byte for byte");
    let mut after_given = hub.subscribe(&[("match", "urn:a"), ("last_event_id", "mine")]);
    let next = hub.say("urn:a", "next");
    assert_eq!((after_given.data(), stream.data()), ("next".to_owned(), "next".to_owned()));
    assert!(!ids.contains(&next));
    // What a stream begins with names the newest event of the runs before, too.
    let live = hub.subscribe(&[("match", "urn:a")]);
    assert_eq!(live.last_event_id(), None);
}

#[test]
fn what_was_acknowledged_survives_kill_9_under_load() {
    for durability in ["fsync", "written"] {
        let start = |launch: Launch| launch.args(&["--history-durability", durability]).start();
        let mut hub = start(Launch::keyed().args(&["--anonymous"]));
        let (mut acknowledged, mut unanswered): (HashMap<String, String>, Vec<String>) = Default::default();
        for round in 0..4 {
            let address = hub.address();
            let publish = |publisher_at: usize| {
                let (mut answers, mut number) = (Vec::new(), 0);
                let mut client = Client::connect(address);
                loop {
                    let data = format!("{round}-{publisher_at}-{number}");
                    number += 1;
                    let headers = [("Authorization", &*format!("Bearer {}", publisher()))];
                    let sent = client.try_post(&headers, form(&[("topic", "urn:a"), ("data", &data)]).as_bytes());
                    let Some(response) = sent.ok().and_then(|()| client.try_response("POST")) else {
                        return (answers, data);
                    };
                    assert_eq!(response.status, 200, "{response:?}");
                    answers.push((data, response.text()));
                }
            };
            std::thread::scope(|scope| {
                let publishing: Vec<_> = (0..8).map(|at| scope.spawn(move || publish(at))).collect();
                std::thread::sleep(Duration::from_millis(150 + 70 * round));
                hub.kill();
                for publisher in publishing {
                    let (answers, last) = publisher.join().expect("a publisher");
                    acknowledged.extend(answers);
                    unanswered.push(last);
                }
            });
            hub = start(again(&hub));
        }
        hub.say("urn:a", "end");
        let found = everything(&hub, "urn:a", "end");
        let mut seen: HashMap<&str, usize> = HashMap::new();
        found.iter().for_each(|data| *seen.entry(data).or_default() += 1);
        assert!(seen.values().all(|times| *times == 1), "{durability}: something is there twice");
        for data in acknowledged.keys() {
            assert!(seen.contains_key(data.as_str()), "{durability}: {data} was acknowledged and is lost");
        }
        for data in found.iter().filter(|data| *data != "end") {
            assert!(
                acknowledged.contains_key(data) || unanswered.contains(data),
                "{durability}: nobody published {data}"
            );
        }
        assert!(acknowledged.len() > 100, "{durability}: {} acknowledged", acknowledged.len());
        // Every id leads to its place.
        for (data, id) in acknowledged.iter().take(20) {
            let at = found.iter().position(|found| found == data).expect("just seen");
            assert_eq!(hub.subscribe(&[("match", "urn:a"), ("last_event_id", id)]).data(), found[at + 1]);
        }
    }
}

#[test]
fn a_subscriber_that_comes_back_to_another_run_misses_nothing() {
    let mut hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    for n in 0..10 {
        hub.say("urn:a", &n.to_string());
    }
    let mut last = String::new();
    for _ in 0..6 {
        last = stream.next().id;
    }
    hub.kill();
    let hub = again(&hub).start();
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &last)]);
    hub.say("urn:a", "live");
    assert_eq!(stream.datas(5), ["6", "7", "8", "9", "live"]);
}

#[test]
fn private_events_are_private_after_another_start_too() {
    let mut hub = Hub::anonymous();
    hub.publish(&[("topic", "urn:a"), ("private", "on"), ("data", "secret")]);
    hub.say("urn:a", "open");
    hub.kill();
    let hub = again(&hub).start();
    assert_eq!(everything(&hub, "urn:a", "open"), ["open"]);
    let mut entitled =
        hub.subscribe_as(&subscriber_of(&["urn:a"]), &[("match", "urn:a"), ("last_event_id", "earliest")]);
    assert_eq!(entitled.datas(2), ["secret", "open"]);
}

#[test]
fn a_long_replay_comes_from_the_disk_whole_and_in_order() {
    let args = ["--anonymous", "--tail-bytes", "64KiB", "--max-body-bytes", "32KiB"];
    let hub = Hub::start(&args);
    let mut client = hub.connect();
    let headers = [("Authorization", &*format!("Bearer {}", publisher()))];
    for n in 0..3_000 {
        client.post(&headers, form(&[("topic", "urn:a"), ("data", &format!("{n} {}", "x".repeat(500)))]).as_bytes());
        assert_eq!(client.response("POST").status, 200);
    }
    let mut streams: Vec<Stream> =
        (0..4).map(|_| hub.subscribe(&[("match", "urn:a"), ("last_event_id", "earliest")])).collect();
    for n in 0..3_000 {
        for stream in &mut streams {
            assert!(stream.data().starts_with(&format!("{n} ")), "{n}");
        }
    }
}
