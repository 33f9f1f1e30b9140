//! What the engine does as long as nothing goes wrong.

use super::*;

const PLENTY: usize = 1 << 20;

#[test]
fn what_was_appended_is_there_after_another_start() {
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    assert_eq!((hub.newest.is_none(), hub.log.head()), (true, 0));
    let (mut events, result) = hub.commit(vec![draft(Some("mine"), 21), announcement(), draft(None, 100_000)], 5);
    result.unwrap();
    events.push(hub.publish(None, 6));
    let hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    assert_eq!(hub.log.head(), 4);
    assert_eq!(hub.newest.as_ref().map(|event| event.offset), Some(4));
    let read = hub.everything();
    assert_eq!(read.len(), 4);
    for (read, event) in read.iter().zip(&events) {
        assert_eq!((read.offset, read.published_ms, &read.topics), (event.offset, event.published_ms, &event.topics));
        assert_eq!(
            (read.private, read.announcement, read.id_given),
            (event.private, event.announcement, event.id_given)
        );
        assert_eq!(read.frame, event.frame);
    }
    assert_eq!(hub.range(0, false, false, 9), Ok(vec![1, 3, 4]));
    assert_eq!(hub.range(0, false, true, 2), Ok(vec![1, 2]));
    assert_eq!(hub.range(1, false, true, 9), Ok(vec![2, 3, 4]));
    assert_eq!(hub.range(4, false, true, 9), Ok(vec![]));
}

#[test]
fn ids_are_found_across_starts_and_segments() {
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    let mut ids = Vec::new();
    for start in 0..4 {
        for number in 0..60 {
            let given = (number % 3 == 0).then(|| format!("id-{start}-{number}"));
            let event = hub.publish(given.as_deref(), 0);
            ids.push((event.id().to_owned(), event.offset));
        }
        if start % 2 == 0 {
            hub.history.keep(0);
        }
        hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    }
    assert!(hub.history.updates.segments().sealed.len() > 5, "several segments");
    for (id, offset) in &ids {
        assert_eq!(hub.history.find(id, false), Found::At(*offset), "{id}");
    }
    let never = cipher();
    let id = |epoch, offset| String::from_utf8(never.encode(epoch, offset).to_vec()).unwrap();
    assert_eq!(hub.history.find("id-9-9", false), Found::Unknown);
    assert_eq!(hub.history.find(&id(hub.history.meta.epoch(), 999), false), Found::Unknown, "not given yet");
    assert_eq!(hub.history.find(&id(77, 1), false), Found::Earliest, "of an epoch nobody remembers");
    assert_eq!(hub.history.find("earliest", false), Found::Earliest);
    assert_eq!(hub.history.find("", false), Found::Unknown);
}

#[test]
fn an_id_used_twice_names_the_earliest_use_still_kept() {
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, options(100, PLENTY, None));
    let uses: Vec<u64> = (0..300)
        .map(|number| hub.publish((number % 40 == 0).then_some("again"), 0).offset)
        .filter(|offset| (offset - 1) % 40 == 0)
        .collect();
    let kept = |hub: &Hub| uses.iter().copied().find(|offset| *offset > hub.history.bounds().0 - 1);
    assert_eq!(hub.history.find("again", false), Found::At(kept(&hub).unwrap()));
    hub.history.keep(0);
    for _ in 0..50 {
        hub.publish(None, 0);
        assert_eq!(hub.history.find("again", false), Found::At(kept(&hub).unwrap()));
    }
    for _ in 0..100 {
        hub.publish(None, 0);
    }
    assert_eq!(hub.history.find("again", false), Found::Unknown);
}

#[test]
fn each_bound_lets_the_oldest_go_and_gives_the_space_back() {
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, options(50, PLENTY, None));
    for _ in 0..500 {
        hub.publish(None, 0);
    }
    assert_eq!(hub.range(0, true, false, 1), Ok(vec![451]), "exactly fifty, at once");
    assert_eq!(hub.history.counts(), [50, 0]);
    let before = folder.bytes();
    hub.history.keep(0);
    assert!(folder.bytes() < before / 4, "{} of {before}", folder.bytes());
    assert_eq!(hub.range(0, true, false, 99).unwrap(), (451..=500).collect::<Vec<_>>());
    // Opened with other bounds: by bytes.
    let mut hub = Hub::open(&folder, options(PLENTY, 32 << 10, None));
    for _ in 0..1000 {
        hub.publish(None, 0);
        hub.history.keep(0);
        assert!(hub.history.bytes()[0] <= 33 << 10);
    }
    assert!(hub.history.counts()[0] > 80 && hub.history.bytes()[0] > 24 << 10);
    // By age, to the batch, and down to nothing.
    let mut hub = Hub::open(&folder, options(PLENTY, PLENTY, Some(1_000)));
    let first = hub.log.head() + 1;
    for second in 1..=5 {
        hub.publish(None, second * 1_000);
    }
    hub.history.keep(4_999);
    assert_eq!(hub.history.bounds().0, first + 3, "published at second 4, a second may pass");
    hub.history.keep(9_000);
    assert_eq!((hub.history.counts()[0], hub.history.bounds().0), (0, first + 5));
    hub.writer.tidy().unwrap();
    hub.history.keep(9_000);
    assert!(hub.history.bytes()[0] < 100, "nothing is left but the head of a segment");
    assert_eq!(hub.publish(None, 9_000).offset, first + 5);
    assert_eq!(hub.range(0, true, false, 9), Ok(vec![first + 5]));
}

#[test]
fn a_batch_is_dropped_event_by_event() {
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, options(4, PLENTY, None));
    let (_, result) = hub.commit((0..10).map(|_| draft(None, 10)).collect(), 0);
    result.unwrap();
    assert_eq!(hub.range(0, true, false, 9), Ok(vec![7, 8, 9, 10]));
    assert_eq!(hub.range(5, false, false, 9), Err(HistoryError::Trimmed));
    assert_eq!(hub.range(6, false, false, 9), Ok(vec![7, 8, 9, 10]));
    hub.publish(None, 0);
    assert_eq!(hub.range(0, true, false, 9), Ok(vec![8, 9, 10, 11]));
    // With announcements in between, offsets are no count.
    let drafts = (0..12).map(|number| if number % 2 == 0 { draft(None, 10) } else { announcement() }).collect();
    hub.commit(drafts, 0).1.unwrap();
    assert_eq!(hub.range(0, true, false, 9), Ok(vec![16, 18, 20, 22]));
    // After another start the same is gone.
    let hub = Hub::open(&folder, options(4, PLENTY, None));
    assert_eq!(hub.range(0, true, false, 9), Ok(vec![16, 18, 20, 22]));
}

#[test]
fn announcements_have_a_fifth_and_push_out_nothing_else() {
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, options(20, PLENTY, None));
    for _ in 0..3 {
        hub.publish(None, 0);
    }
    for _ in 0..100 {
        hub.commit(vec![announcement()], 0).1.unwrap();
    }
    hub.publish(None, 0);
    assert_eq!(hub.range(0, true, true, 99).unwrap(), [1, 2, 3, 100, 101, 102, 103, 104]);
    let id = |offset| String::from_utf8(cipher().encode(hub.history.meta.epoch(), offset).to_vec()).unwrap();
    assert_eq!(hub.history.find(&id(98), false), Found::At(98));
    assert_eq!(hub.history.find(&id(98), true), Found::Earliest);
    assert_eq!(hub.history.find(&id(100), true), Found::At(100));
    assert_eq!(hub.range(98, false, true, 9), Err(HistoryError::Trimmed));
    assert_eq!(hub.range(98, false, false, 9), Ok(vec![104]));
}

#[test]
fn a_block_is_read_once_for_all_who_read_there() {
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    for _ in 0..200 {
        hub.publish(None, 0);
    }
    for _ in 0..10 {
        assert_eq!(hub.everything().len(), 200);
    }
    let blocks = hub.history.updates.blocks.lock().unwrap();
    assert!(blocks.misses < 100 && blocks.hits > 5 * blocks.misses, "{} {}", blocks.hits, blocks.misses);
}

#[test]
fn a_commit_costs_one_sync() {
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, options(PLENTY, 1 << 30, None));
    let before = folder.syncs();
    hub.commit((0..64).map(|_| draft(None, 10)).collect(), 0).1.unwrap();
    assert_eq!(folder.syncs(), before + 1);
    let written = FileOptions { durability: Durability::Written, ..options(PLENTY, 1 << 30, None) };
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, written);
    let before = folder.syncs();
    hub.commit((0..64).map(|_| draft(None, 10)).collect(), 0).1.unwrap();
    assert_eq!(folder.syncs(), before);
}

#[test]
fn answers_are_bounded_in_bytes_too() {
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, options(PLENTY, 1 << 30, None));
    for _ in 0..6 {
        hub.commit(vec![draft(None, 400_000), announcement()], 0).1.unwrap();
    }
    let first = hub.range(0, true, true, 99).unwrap();
    assert!(first.len() < 12 && !first.is_empty(), "{first:?}");
    assert!(hub.everything().iter().map(|event| event.offset).eq(1..=12));
}

/// Seen: an update that came while the announcements were read was passed over by their reader.
#[test]
fn what_comes_between_two_reads_waits_for_the_next() {
    let piece = |offsets: &[u64], through| Piece {
        events: offsets.iter().map(|offset| Event::sample(*offset, &["urn:a"], None, 1)).collect(),
        through,
    };
    let merged =
        |updates, others, last| merge(updates, others, last, 99).iter().map(|event| event.offset).collect::<Vec<_>>();
    // Both were at their ends when they were read, at different moments.
    assert_eq!(merged(piece(&[99, 100], u64::MAX), piece(&[102], u64::MAX), 100), [99, 100]);
    assert_eq!(merged(piece(&[99, 100, 101], u64::MAX), piece(&[102], u64::MAX), 102), [99, 100, 101, 102]);
    // One was cut short.
    assert_eq!(merged(piece(&[1, 2], 2), piece(&[3, 250], u64::MAX), 300), [1, 2]);
}
