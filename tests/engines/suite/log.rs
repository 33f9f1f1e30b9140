//! Appending, following, finding.

use std::sync::Arc;
use std::time::Duration;

use cinnabar::cluster::{Bounds, Engine, EngineError, Entry, LogError};
use cinnabar::protocol::topic::Topic;
use cinnabar::protocol::update::Update;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::{BYTES, PLENTY, append, data, event, named, read};
use crate::servers::Server;

pub(crate) async fn many_appenders_make_one_gap_free_order<S: Server>(server: S) {
    const APPENDERS: usize = 8;
    const BATCHES: usize = 10;
    const EACH: usize = 20;
    let engines: Vec<_> = (0..APPENDERS).map(|_| Arc::new(server.engine(PLENTY))).collect();
    let log = engines[0].open().await.expect("opened").identity;
    let followers: Vec<_> = engines[..3]
        .iter()
        .map(|engine| {
            let engine = engine.clone();
            tokio::spawn(async move { read(&*engine, &log, 0, APPENDERS * BATCHES * EACH).await })
        })
        .collect();
    let appenders: Vec<_> = engines
        .iter()
        .enumerate()
        .map(|(number, engine)| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let mut given = Vec::new();
                for batch in 0..BATCHES {
                    let texts: Vec<_> = (0..EACH).map(|each| format!("{number} {batch} {each}")).collect();
                    let offsets = append(&*engine, &log, texts.iter().map(|text| event(text)).collect()).await;
                    assert!(offsets.is_sorted(), "a batch keeps its order: {offsets:?}");
                    given.extend(offsets.into_iter().zip(texts));
                }
                given
            })
        })
        .collect();
    let mut given = Vec::new();
    for appender in appenders {
        given.extend(appender.await.expect("appended"));
    }
    given.sort_unstable();
    let offsets: Vec<_> = given.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (1..=(APPENDERS * BATCHES * EACH) as u64).collect::<Vec<_>>());
    for follower in followers {
        let seen = follower.await.expect("followed");
        let seen: Vec<_> = seen.into_iter().map(|placed| (placed.offset, placed.entry.update.data)).collect();
        assert!(seen == given, "a follower saw what the appenders were told");
    }
}

pub(crate) async fn a_batch_of_none_is_nothing<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    let opened = engine.open().await.expect("opened");
    assert_eq!(opened.bounds, Bounds { first: 1, last: 0 });
    assert!(!opened.server.is_empty() && !opened.durability.0.is_empty());
    assert_eq!(engine.append(&opened.identity, Vec::new()).await, Vec::new());
    assert_eq!(engine.bounds(&opened.identity).await, Ok(Bounds { first: 1, last: 0 }));
    assert_eq!(engine.range(&opened.identity, 0, 10, BYTES).await, Ok(Vec::new()));
    assert_eq!(engine.find(&opened.identity, "x").await, Ok(None));
}

pub(crate) async fn follow_waits_and_wakes<S: Server>(server: S) {
    let (engine, other) = (Arc::new(server.engine(PLENTY)), server.engine(PLENTY));
    let log = engine.open().await.expect("opened").identity;
    for round in 0..3 {
        let waiting = {
            let engine = engine.clone();
            tokio::spawn(async move { engine.follow(&log, round, 10, BYTES, Duration::from_secs(60)).await })
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
        append(&other, &log, vec![event("woken")]).await;
        let came = waiting.await.expect("no panic").expect("followed");
        assert_eq!((came.len(), came[0].offset), (1, round + 1));
    }
}

pub(crate) async fn follow_ends_empty_after_its_wait<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    let log = engine.open().await.expect("opened").identity;
    append(&engine, &log, vec![event("1")]).await;
    for wait in [0, 1, 200] {
        assert_eq!(engine.follow(&log, 1, 10, BYTES, Duration::from_millis(wait)).await, Ok(Vec::new()));
    }
    let ahead = engine.follow(&log, 2, 10, BYTES, Duration::from_millis(1)).await;
    assert_eq!(ahead, Err(EngineError::Log(LogError::Shorter { last: 1 })));
}

pub(crate) async fn waiting_holds_up_nobody<S: Server>(server: S) {
    let engine = Arc::new(server.engine(PLENTY));
    let log = engine.open().await.expect("opened").identity;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.follow(&log, 0, 10, BYTES, Duration::from_secs(60)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // One that is given up leaves nothing behind.
    waiting[0].abort();
    assert_eq!(engine.find(&log, "x").await, Ok(None));
    assert_eq!(append(&*engine, &log, vec![event("1")]).await, [1]);
    for waiting in waiting.into_iter().skip(1) {
        assert_eq!(data(&waiting.await.expect("no panic").expect("followed")), ["1"]);
    }
}

pub(crate) async fn follow_and_range_keep_to_count_and_bytes<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    let log = engine.open().await.expect("opened").identity;
    let long = "x".repeat(10_000);
    append(&engine, &log, (0..100).map(|_| event(&long)).collect()).await;
    let wait = Duration::from_millis(1);
    for (after, count, bytes, least, most) in
        [(0, 3, BYTES, 3, 3), (98, 10, BYTES, 2, 2), (0, 1_000, 50_000, 2, 30), (50, 1_000, 1, 1, 20), (99, 1, 0, 1, 1)]
    {
        let followed = engine.follow(&log, after, count, bytes, wait).await.expect("followed");
        let ranged = engine.range(&log, after, count, bytes).await.expect("read");
        for came in [followed, ranged] {
            assert!((least..=most).contains(&came.len()), "{} of {count} and {bytes} bytes", came.len());
            assert!(came.iter().zip(after + 1..).all(|(placed, offset)| placed.offset == offset));
        }
    }
}

/// Every update that publishers can make, and some more.
fn entries() -> impl Strategy<Value = Entry> {
    let text = "[ -~äöü€😀]{1,60}";
    let optional = || proptest::option::of(text);
    let payload = prop_oneof![Just(String::new()), any::<String>(), "[\\x00-\\x1f]{1,50}"];
    let texts =
        (proptest::collection::vec(text, 1..5), payload, optional(), optional(), proptest::option::of("[0-9]{1,20}"));
    let numbers = (any::<bool>(), any::<bool>(), 0..1u64 << 50, 0..1u32 << 22);
    (texts, numbers).prop_map(|((topics, data, id, event_type, retry), (private, announcement, published_ms, tag))| {
        let topics = topics.iter().map(|topic| Topic::of_hub(topic)).collect();
        Entry { update: Update { topics, data, private, id, event_type, retry }, announcement, published_ms, tag }
    })
}

pub(crate) async fn entries_come_back_byte_by_byte<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    let log = engine.open().await.expect("opened").identity;
    let mut runner = TestRunner::default();
    let mut sent: Vec<_> = (0..200).map(|_| entries().new_tree(&mut runner).expect("a value").current()).collect();
    sent.push(event(&"\0\r\n\u{2028}'\"\\ $1 %s é".repeat(100)));
    sent.push(event(&"a".repeat(1 << 20)));
    let mut many = event("");
    many.update.topics = (0..1_000).map(|topic| Topic::of_hub(&format!("https://example.com/{topic}"))).collect();
    sent.push(many);
    let offsets = append(&engine, &log, sent.clone()).await;
    assert_eq!(offsets, (1..=sent.len() as u64).collect::<Vec<_>>());
    let followed = read(&engine, &log, 0, sent.len()).await;
    let ranged = engine.range(&log, 0, 1_000, BYTES).await.expect("read");
    for came in [followed, ranged] {
        assert_eq!(came.len(), sent.len());
        for (placed, sent) in came.iter().zip(&sent) {
            assert_eq!(placed.entry, *sent);
        }
    }
}

pub(crate) async fn ids_of_every_kind_are_found<S: Server>(server: S) {
    let engine = server.engine(PLENTY);
    let log = engine.open().await.expect("opened").identity;
    let mut ids: Vec<_> = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~aäß€😀\u{2028}0"
        .chars()
        .flat_map(|odd| [odd.to_string(), format!("a{odd}"), format!("{odd} {odd}")])
        .chain([
            "urn:uuid:0".to_owned(),
            "x".repeat(4 << 10),
            "x".repeat((4 << 10) - 1),
            "*".to_owned(),
            ">".to_owned(),
        ])
        .collect();
    ids.sort_unstable();
    ids.dedup();
    append(&engine, &log, ids.iter().map(|id| named(id)).collect()).await;
    append(&engine, &log, ids.iter().map(|id| named(id)).collect()).await;
    for (id, offset) in ids.iter().zip(1..) {
        assert_eq!(engine.find(&log, id).await, Ok(Some(offset)), "{id}");
    }
    for unknown in ["unknown", "", "urn:uuid:", "urn:uuid:00", "xx"] {
        assert_eq!(engine.find(&log, unknown).await, Ok(None), "{unknown}");
    }
}

pub(crate) async fn two_opens_at_once_make_one_log<S: Server>(server: S) {
    let engines: Vec<_> = (0..8).map(|_| Arc::new(server.engine(PLENTY))).collect();
    let opens: Vec<_> = engines
        .iter()
        .map(|engine| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.open().await })
        })
        .collect();
    let mut identities = Vec::new();
    for open in opens {
        identities.push(open.await.expect("no panic").expect("opened").identity);
    }
    assert!(identities.windows(2).all(|pair| pair[0] == pair[1]), "{identities:?}");
    assert_ne!(identities[0].id_key, [0; 32]);
    for (engine, offset) in engines.iter().zip(1..) {
        assert_eq!(append(&**engine, &identities[0], vec![event("1")]).await, [offset]);
    }
}

pub(crate) async fn a_log_is_found_again<S: Server>(server: S) {
    let first = server.engine(PLENTY).open().await.expect("opened");
    let engine = server.engine(PLENTY);
    append(&engine, &first.identity, vec![event("1"), event("2")]).await;
    let again = server.engine(PLENTY).open().await.expect("opened");
    assert_eq!((again.identity, again.bounds), (first.identity, Bounds { first: 1, last: 2 }));
}
