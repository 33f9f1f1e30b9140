//! The stories, the same for every engine.

use std::collections::BTreeSet;
use std::time::Duration;

use cinnabar::cluster::{Engine, Member, Subscriber};

use super::{Backend, health, member};
use crate::admin::metric;
use crate::harness::*;
use crate::servers::PLENTY;
use crate::subscriptions::{EVERYBODY, count, documents, observer};

/// Short enough to be waited for, long enough for a hub that has little of a processor not to be taken for dead.
const LEASE: Duration = Duration::from_secs(5);

pub(super) fn what_is_published_on_one_hub_is_received_on_every_one(server: impl Backend) {
    let hubs = [0; 3].map(|_| member(&server).start());
    let mut streams: Vec<Stream> = hubs.iter().map(|hub| hub.subscribe(&[("match", "urn:a")])).collect();
    let mut ids = Vec::new();
    for n in 0..30 {
        let data = format!("{n}");
        ids.push(match n % 5 {
            0 => hubs[n % 3].publish(&[
                ("topic", "urn:a"),
                ("data", &data),
                ("id", &format!("given-{n}")),
                ("type", "t"),
            ]),
            _ => hubs[n % 3].say("urn:a", &data),
        });
    }
    let long = "long\n".repeat(40_000);
    ids.push(hubs[0].publish(&[("topic", "urn:a"), ("data", &long), ("retry", "7")]));
    let blocks: Vec<Vec<Vec<String>>> =
        streams.iter_mut().map(|stream| ids.iter().map(|_| stream.block()).collect()).collect();
    assert!(blocks[1] == blocks[0] && blocks[2] == blocks[0], "byte for byte, in the same order");
    let seen: Vec<String> = blocks[0]
        .iter()
        .map(|block| block.iter().find_map(|line| line.strip_prefix("id: ")).unwrap_or_default().to_owned())
        .collect();
    assert_eq!(seen, ids);
    assert_eq!(seen[5], "given-5");
    assert_eq!(blocks[0][30].iter().filter(|line| *line == "data: long").count(), 40_000);
    assert!(metric(&hubs[0], "cinnabar_cluster_followed_events_total") >= 31.0);
}

pub(super) fn an_id_of_one_hub_is_known_to_the_others(server: impl Backend) {
    let hubs = [0; 2].map(|_| member(&server).start());
    let mut ids = Vec::new();
    for n in 0..10 {
        let data = n.to_string();
        ids.push(match n {
            4 => hubs[0].publish(&[("topic", "urn:a"), ("data", &data), ("id", "four")]),
            _ => hubs[0].say("urn:a", &data),
        });
    }
    for (at, id) in ids.iter().enumerate().take(9) {
        for hub in &hubs {
            let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", id)]);
            assert_eq!(stream.last_event_id(), Some(id.as_str()));
            assert_eq!(stream.data(), (at + 1).to_string());
        }
    }
    // Who comes with the id of what was published just now is not behind another hub's reading.
    for n in 0..20 {
        let id = hubs[n % 2].say("urn:a", "before");
        let mut stream = hubs[(n + 1) % 2].subscribe(&[("match", "urn:a"), ("last_event_id", &id)]);
        assert_eq!(stream.last_event_id(), Some(id.as_str()));
        hubs[n % 2].say("urn:a", "after");
        assert_eq!(stream.data(), "after");
    }
    let made_up =
        hubs[1].subscribe(&[("match", "urn:a"), ("last_event_id", "urn:uuid:5f1b3c1e-0000-8000-8000-000000000000")]);
    assert_eq!(made_up.last_event_id(), Some("earliest"));
}

pub(super) fn the_past_is_read_from_the_engine(server: impl Backend) {
    let first = member(&server).start();
    let mut ids = Vec::new();
    let mut client = first.connect();
    let headers = [("Authorization", &*format!("Bearer {}", publisher()))];
    for n in 0..1_000 {
        let topic = if n % 2 == 0 { "urn:a" } else { "urn:b" };
        client.post(&headers, form(&[("topic", topic), ("data", &n.to_string())]).as_bytes());
        ids.push(client.response("POST").text());
    }
    // This one has nothing of it at hand.
    let hub = member(&server).start();
    let mut all = hub.subscribe(&[("match", "urn:a"), ("last_event_id", "earliest")]);
    let mut some = hub.subscribe(&[("match", "urn:a"), ("match", "urn:b"), ("last_event_id", &ids[333])]);
    first.say("urn:a", "live");
    let expected: Vec<String> = (0..1_000).step_by(2).map(|n| n.to_string()).chain(["live".to_owned()]).collect();
    assert_eq!(all.datas(501), expected);
    let expected: Vec<String> = (334..1_000).map(|n| n.to_string()).chain(["live".to_owned()]).collect();
    assert_eq!(some.datas(667), expected);
}

/// A hub that had just been started closed such streams with half an event written, and did it again each time they came back.
pub(super) fn who_stalls_in_an_event_of_the_past_gets_the_rest_of_it(server: impl Backend) {
    let first = member(&server).start();
    let long: Vec<String> = (0..4).map(|n| format!("{n}").repeat(400_000)).collect();
    for text in &long {
        first.say("urn:a", text);
    }
    let hub = member(&server).start();
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", "earliest")]);
    eventually("its socket is full", || metric(&hub, "cinnabar_subscribers{state=\"behind\"}") == 1.0);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(stream.datas(4) == long, "whole, and each once");
    first.say("urn:a", "live");
    assert_eq!(stream.data(), "live");
}

pub(super) fn what_is_private_stays_private(server: impl Backend) {
    let hubs = [0; 2].map(|_| member(&server).start());
    let mut open = hubs[1].subscribe(&[("match", "urn:a")]);
    let mut entitled = hubs[1].subscribe_as(&subscriber_of(&["urn:a"]), &[("match", "urn:a")]);
    hubs[0].publish(&[("topic", "urn:a"), ("private", "on"), ("data", "secret")]);
    hubs[0].say("urn:a", "for all");
    assert_eq!(open.data(), "for all");
    assert_eq!(entitled.datas(2), ["secret", "for all"]);
    let late = member(&server).start();
    let again = [("match", "urn:a"), ("last_event_id", "earliest")];
    assert_eq!(late.subscribe(&again).data(), "for all");
    assert_eq!(late.subscribe_as(&subscriber_of(&["urn:a"]), &again).datas(2), ["secret", "for all"]);
}

pub(super) fn a_hub_that_was_killed_comes_back_and_misses_nothing(server: impl Backend) {
    let (mut one, other) = (member(&server).start(), member(&server).start());
    let mut stream = one.subscribe(&[("match", "urn:a")]);
    one.say("urn:a", "0");
    let last = stream.next().id;
    one.kill();
    for n in 1..5 {
        other.say("urn:a", &n.to_string());
    }
    let one = member(&server).in_place_of(one.address().port(), one.folder()).start();
    let mut stream = one.subscribe(&[("match", "urn:a"), ("last_event_id", &last)]);
    other.say("urn:a", "5");
    assert_eq!(stream.datas(5), ["1", "2", "3", "4", "5"]);
}

pub(super) fn without_the_engine_publishers_wait_and_subscribers_stay(mut server: impl Backend) {
    let hubs = [0; 2].map(|_| member(&server).args(&["--heartbeat", "300ms"]).start());
    let mut streams: Vec<Stream> = hubs.iter().map(|hub| hub.subscribe(&[("match", "urn:a")])).collect();
    hubs[0].say("urn:a", "before");
    streams.iter_mut().for_each(|stream| assert_eq!(stream.data(), "before"));
    server.daemon().kill();
    for (hub, stream) in hubs.iter().zip(&mut streams) {
        eventually("the hub is unready and alive", || health(hub) == [503, 200]);
        let refused = hub.post(&publisher(), &[("topic", "urn:a"), ("data", "lost")]);
        assert_eq!(refused.status, 503);
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        stream.comment();
        let looked_for = [("match", "urn:a"), ("last_event_id", "whose")];
        let refused = hub.try_subscribe(&looked_for, &[]).expect_err("nobody knows whose id that is");
        assert!(refused.status == 503 && refused.header("retry-after").is_some(), "{refused:?}");
    }
    server.daemon().run();
    for hub in &hubs {
        eventually("the hub is ready again", || health(hub) == [200, 200]);
    }
    for n in 0..10 {
        hubs[n % 2].say("urn:a", &n.to_string());
    }
    let expected: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    streams.iter_mut().for_each(|stream| assert_eq!(stream.datas(10), expected));
    assert!(metric(&hubs[0], "cinnabar_cluster_reconnects_total") >= 1.0);
}

pub(super) fn a_server_that_stands_still_is_noticed(mut server: impl Backend) {
    let hub = member(&server).start();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "before");
    server.pause();
    eventually("the hub is unready and alive", || health(&hub) == [503, 200]);
    assert_eq!(hub.post(&publisher(), &[("topic", "urn:a"), ("data", "lost")]).status, 503);
    server.resume();
    eventually("the hub is ready again", || health(&hub) == [200, 200]);
    hub.say("urn:a", "after");
    assert_eq!(stream.datas(2), ["before", "after"]);
}

pub(super) fn a_log_that_is_another_one_ends_all_streams(mut server: impl Backend) {
    let hub = member(&server).start();
    let mut streams: Vec<Stream> = (0..20).map(|_| hub.subscribe(&[("match", "urn:a")])).collect();
    let id = hub.say("urn:a", "before");
    hub.say("urn:a", "another");
    streams.iter_mut().for_each(|stream| assert_eq!(stream.datas(2), ["before", "another"]));
    server.wipe();
    for stream in &mut streams {
        assert_eq!(stream.end(), End::LastChunk);
    }
    eventually("the hub is ready again", || health(&hub) == [200, 200]);
    eventually("they are counted", || metric(&hub, "cinnabar_disconnects_total{reason=\"log-lost\"}") == 20.0);
    assert_eq!(metric(&hub, "cinnabar_cluster_losses_total"), 1.0);
    assert!(hub.log().contains("are lost to this hub"), "{}", hub.log());
    // An id of the log that was is nobody's now.
    let mut back = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &id)]);
    assert_eq!(back.last_event_id(), Some("earliest"));
    hub.say("urn:a", "anew");
    assert_eq!(back.data(), "anew");
    // The next hub finds the same log.
    let other = member(&server).start();
    assert_eq!(other.subscribe(&[("match", "urn:a"), ("last_event_id", "earliest")]).data(), "anew");
}

pub(super) fn a_log_that_lost_its_newest_events_ends_all_streams(mut server: impl Backend) {
    let hubs = [0; 2].map(|_| member(&server).start());
    let mut streams: Vec<Stream> = hubs.iter().map(|hub| hub.subscribe(&[("match", "urn:a")])).collect();
    hubs[0].say("urn:a", "kept");
    streams.iter_mut().for_each(|stream| assert_eq!(stream.data(), "kept"));
    server.keep_copy();
    for hub in &hubs {
        eventually("the hub is ready again", || health(hub) == [200, 200]);
    }
    for n in 0..3 {
        hubs[0].say("urn:a", &n.to_string());
    }
    streams.iter_mut().for_each(|stream| assert_eq!(stream.datas(3), ["0", "1", "2"]));
    // The other one doesn't see it happen, and finds as many events afterwards as it has read.
    signal(hubs[1].pid(), "STOP");
    server.go_back();
    assert_eq!(streams[0].end(), End::LastChunk);
    eventually("the hub is ready again", || health(&hubs[0]) == [200, 200]);
    for n in 0..5 {
        hubs[0].say("urn:a", &format!("again {n}"));
    }
    // A client of an engine may come back to it without a word. What stands at the cursor is compared once a second.
    std::thread::sleep(Duration::from_millis(1_500));
    signal(hubs[1].pid(), "CONT");
    assert_eq!(streams[1].end(), End::LastChunk);
    for hub in &hubs {
        eventually("the hub is ready again", || health(hub) == [200, 200]);
        assert_eq!(metric(hub, "cinnabar_cluster_losses_total"), 1.0);
        let mut all = hub.subscribe(&[("match", "urn:a"), ("last_event_id", "earliest")]);
        assert_eq!(all.datas(6), ["kept", "again 0", "again 1", "again 2", "again 3", "again 4"]);
    }
}

const LISTS: &str = "/.well-known/mercure/subscriptions";

/// A hub that tells who is subscribed, and is taken for dead soon.
fn telling(server: &impl Backend) -> Launch {
    member(server).args(&["--subscriptions", "--cluster-lease", &format!("{}s", LEASE.as_secs())])
}

/// The subscriber and whether it is there, of the next announcement of a subscription to a topic: those who look are announced as well.
fn announced(stream: &mut Stream) -> (String, bool) {
    loop {
        let document: serde_json::Value = serde_json::from_str(&stream.data()).expect("JSON");
        if document["match"].as_str().is_some_and(|text| text.starts_with("urn:")) {
            return (document["subscriber"].as_str().expect("a text").to_owned(), document["active"] == true);
        }
    }
}

pub(super) fn subscribers_of_a_hub_that_died_are_ended_once_by_another(server: impl Backend) {
    let (mut dying, others) = (telling(&server).start(), [0; 2].map(|_| telling(&server).start()));
    let mut observers: Vec<Stream> = others.iter().map(|hub| hub.subscribe_as(&observer(), &[EVERYBODY])).collect();
    let _streams: Vec<Stream> = (0..10).map(|_| dying.subscribe(&[("match", "urn:a"), ("match", "urn:b")])).collect();
    let staying = others[0].subscribe(&[("match", "urn:stays")]);
    for observer in &mut observers {
        assert!((0..21).all(|_| announced(observer).1));
    }
    dying.kill();
    let ended: Vec<(String, bool)> = (0..20).map(|_| announced(&mut observers[1])).collect();
    assert!(ended.iter().all(|(_, active)| !active), "{ended:?}");
    let mut names: Vec<&str> = ended.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 10, "each of two subscriptions");
    // Nobody announces them a second time: what comes next is what happens next.
    std::thread::sleep(LEASE + LEASE / 2);
    let last = others[1].subscribe(&[("match", "urn:c")]);
    assert!(announced(&mut observers[1]).1);
    drop((last, staying));
}

/// The engine is brought into the state in which a claimer leaves it that dies after it has announced the ends, before it has forgotten
/// whose they were.
pub(super) fn ends_that_were_announced_before_a_claimer_died_are_not_announced_again(server: impl Backend) {
    let (mut dying, other) = (telling(&server).start(), telling(&server).start());
    let mut watching = other.subscribe_as(&observer(), &[EVERYBODY]);
    let _streams: Vec<Stream> = (0..5).map(|_| dying.subscribe(&[("match", "urn:a"), ("match", "urn:b")])).collect();
    assert!((0..10).all(|_| announced(&mut watching).1));
    // A new client for each question: one left alone for a while would answer nothing.
    let engine = || server.engine(PLENTY);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let everybody =
        || runtime.block_on(async { engine().members("", 100, 1 << 20).await }).expect("the engine is there").0;
    let there = everybody();
    let of_dying = |member: &&Member| member.subscriber.document.contains("urn%3Ab");
    let node = there.iter().find(of_dying).expect("it is entered").node;
    let left: Vec<Subscriber> =
        there.into_iter().filter(|member| member.node == node).map(|member| member.subscriber).collect();
    dying.kill();
    assert!((0..10).all(|_| !announced(&mut watching).1));
    eventually("it is buried", || other.log().contains("ended what a hub that died left open"));
    let entered = async {
        let engine = engine();
        engine.arrive(node, LEASE).await?;
        engine.enter(node, left).await
    };
    runtime.block_on(entered).expect("the engine is there");
    eventually("they are forgotten again", || everybody().iter().all(|member| member.node != node));
    let last = other.subscribe(&[("match", "urn:c")]);
    assert!(announced(&mut watching).1, "what comes next is what happens next");
    drop(last);
}

pub(super) fn a_hub_that_was_taken_for_dead_announces_its_subscribers_again(server: impl Backend) {
    let (halted, other) = (telling(&server).start(), telling(&server).start());
    let mut watching = other.subscribe_as(&observer(), &[EVERYBODY]);
    let mut stream = halted.subscribe(&[("match", "urn:a")]);
    let (name, _) = announced(&mut watching);
    signal(halted.pid(), "STOP");
    assert_eq!(announced(&mut watching), (name.clone(), false));
    signal(halted.pid(), "CONT");
    assert_eq!(announced(&mut watching), (name, true));
    other.say("urn:a", "it has stayed");
    assert_eq!(stream.data(), "it has stayed");
}

/// Seen: after an outage longer than the lease every hub announced all its subscribers again.
pub(super) fn an_engine_that_was_away_for_longer_than_a_lease_changes_nothing(mut server: impl Backend) {
    let hubs = [0; 2].map(|_| telling(&server).start());
    let mut watching = hubs[1].subscribe_as(&observer(), &[EVERYBODY]);
    let mut streams: Vec<Stream> = (0..20).map(|n| hubs[n % 2].subscribe(&[("match", "urn:a")])).collect();
    let names: BTreeSet<String> = (0..20).map(|_| announced(&mut watching).0).collect();
    server.daemon().kill();
    hubs.iter().for_each(|hub| eventually("the hub is unready", || health(hub) == [503, 200]));
    std::thread::sleep(LEASE + LEASE / 2);
    server.daemon().run();
    hubs.iter().for_each(|hub| eventually("the hub is ready again", || health(hub) == [200, 200]));
    // Time for somebody to be taken for dead.
    std::thread::sleep(LEASE * 2);
    for hub in &hubs {
        assert_eq!(documents(hub, &format!("{LISTS}/exact/urn%3Aa")).len(), 20);
        assert_eq!(count(hub, LISTS), 21);
        assert!(!hub.log().contains("announced again"), "{}", hub.log());
    }
    drop(streams.pop());
    let (name, active) = announced(&mut watching);
    assert!(!active && names.contains(&name), "nobody who has stayed is announced");
    let last = hubs[0].subscribe(&[("match", "urn:a")]);
    let (name, active) = announced(&mut watching);
    assert!(active && !names.contains(&name));
    assert_eq!(documents(&hubs[1], &format!("{LISTS}/exact/urn%3Aa")).len(), 20);
    drop(last);
}

pub(super) fn thousands_of_subscribers_of_a_hub_that_died_are_ended_once_each(server: impl Backend) {
    const SUBSCRIBERS: usize = 2_000;
    let (mut dying, others) = (telling(&server).start(), [0; 2].map(|_| telling(&server).start()));
    let mut watching = others[0].subscribe_as(&observer(), &[EVERYBODY]);
    let streams: Vec<Stream> = (0..SUBSCRIBERS).map(|_| dying.subscribe(&[("match", "urn:a")])).collect();
    let begun: BTreeSet<String> = (0..SUBSCRIBERS).map(|_| announced(&mut watching).0).collect();
    assert_eq!(begun.len(), SUBSCRIBERS);
    dying.kill();
    let ended: BTreeSet<String> = (0..SUBSCRIBERS)
        .map(|_| {
            let (name, active) = announced(&mut watching);
            assert!(!active);
            name
        })
        .collect();
    assert!(ended == begun, "each of them");
    // And nobody a second time: what comes next is what happens next.
    std::thread::sleep(LEASE + LEASE / 2);
    let last = others[1].subscribe(&[("match", "urn:a")]);
    assert!(announced(&mut watching).1);
    drop((last, streams));
}

/// Seen: subscribers whose end had been announced were in lists, and nothing said any more that they were gone.
pub(super) fn nobody_whose_end_was_announced_is_listed(server: impl Backend) {
    let (mut one, other) = (telling(&server).start(), telling(&server).start());
    let mut watching = other.subscribe_as(&observer(), &[EVERYBODY]);
    for _ in 0..20 {
        let stream = one.subscribe(&[("match", "urn:a")]);
        assert!(announced(&mut watching).1);
        drop(stream);
        assert!(!announced(&mut watching).1);
        assert!(documents(&other, &format!("{LISTS}/exact/urn%3Aa")).is_empty());
    }
    let _streams: Vec<Stream> = (0..100).map(|_| one.subscribe(&[("match", "urn:a")])).collect();
    assert!((0..100).all(|_| announced(&mut watching).1));
    one.kill();
    assert!(!announced(&mut watching).1);
    assert!(documents(&other, &format!("{LISTS}/exact/urn%3Aa")).is_empty(), "as soon as the first is ended");
}

pub(super) fn who_is_subscribed_is_listed_by_every_hub(server: impl Backend) {
    let (mut one, other) = (telling(&server).start(), telling(&server).start());
    let mut watching = other.subscribe_as(&observer(), &[EVERYBODY]);
    let _here: Vec<Stream> = (0..50).map(|_| one.subscribe(&[("match", "urn:a"), ("match", "urn:b")])).collect();
    let _there: Vec<Stream> = (0..50).map(|_| other.subscribe(&[("match", "urn:a")])).collect();
    (0..150).for_each(|_| assert!(announced(&mut watching).1));
    let of = |hub: &Hub, list: &str| -> Vec<serde_json::Value> { documents(hub, &format!("{LISTS}{list}")) };
    let ids = |all: &[serde_json::Value]| -> BTreeSet<String> {
        all.iter().map(|one| one["id"].as_str().expect("a text").to_owned()).collect()
    };
    for (list, number) in [("", 151), ("/exact/urn%3Aa", 100), ("/exact/urn%3Ab", 50), ("/exact/urn%3Ac", 0)] {
        let (at_one, at_other) = (of(&one, list), of(&other, list));
        assert_eq!((at_one.len(), ids(&at_one).len()), (number, number), "{list}");
        assert_eq!(ids(&at_one), ids(&at_other), "{list}");
        assert!(at_one.iter().all(|one| one["active"] == true));
        for hub in [&one, &other] {
            assert_eq!(count(hub, &format!("{LISTS}{list}")), number as u64, "{list}");
        }
    }
    // One of another hub's, by its own address.
    let all = of(&one, "/exact/urn%3Aa");
    for document in [&all[0], &all[99]] {
        let address = document["id"].as_str().expect("a text");
        for hub in [&one, &other] {
            assert_eq!(&crate::subscriptions::listed(hub, address), document);
        }
    }
    // Pages come to the same.
    let mut next = Some(format!("{LISTS}?limit=7"));
    let mut seen = Vec::new();
    while let Some(page) = next.take() {
        let response = one.request("GET", &page, &[("Authorization", &format!("Bearer {}", observer()))]);
        let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        seen.extend(body["subscriptions"].as_array().expect("an array").clone());
        let links = response.links();
        next = links.iter().find_map(|link| Some(link.strip_suffix(">; rel=\"next\"")?.strip_prefix('<')?.to_owned()));
    }
    assert_eq!((seen.len(), ids(&seen)), (151, ids(&of(&one, ""))));
    one.kill();
    eventually("who was there has gone", || of(&other, "").len() == 51);
}
