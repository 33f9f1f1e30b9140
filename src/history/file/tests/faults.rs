//! What the engine does when the disk doesn't: every fault has a defined outcome.

use std::io::ErrorKind;

use super::folder::Fault;
use super::*;

const PLENTY: usize = 1 << 20;

fn hub(folder: &Folder) -> Hub {
    Hub::open(folder, options(PLENTY, PLENTY, None))
}

/// Publishes and says what came of it.
fn publish(hub: &mut Hub) -> Result<u64, AppendError> {
    let (events, result) = hub.commit(vec![draft(None, 20)], 0);
    result.map(|()| events[0].offset)
}

#[test]
fn a_full_disk_takes_nothing_and_goes_on_when_there_is_room() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    assert_eq!(publish(&mut hub), Ok(1));
    folder.set_fault(Some(Fault::Write(ErrorKind::StorageFull)));
    for _ in 0..3 {
        assert!(matches!(publish(&mut hub), Err(AppendError::Full(_))));
        assert_eq!(hub.range(0, true, true, 9), Ok(vec![1]));
    }
    folder.set_fault(None);
    assert_eq!(publish(&mut hub), Ok(2), "its place is given again, since nobody saw it");
    let hub = Hub::open(&folder.after_kill(), options(PLENTY, PLENTY, None));
    assert_eq!(hub.range(0, true, true, 9), Ok(vec![1, 2]));
}

#[test]
fn a_disk_that_is_full_when_a_segment_is_due_takes_nothing_either() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    let mut offset = 0;
    while hub.history.updates.segments().sealed.len() < 2 {
        offset = publish(&mut hub).unwrap();
    }
    for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
        folder.set_fault(Some(Fault::Create(kind)));
        let refused = loop {
            match publish(&mut hub) {
                Ok(next) => offset = next,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, AppendError::Full(_)), "{refused}");
        // Indexes can't be written either; nothing is lost by that.
        hub.history.keep(0);
        assert_eq!(hub.history.last(), offset);
        folder.set_fault(None);
        assert_eq!(publish(&mut hub), Ok(offset + 1));
        offset += 1;
    }
    hub.history.keep(0);
    assert_eq!(hub.everything().len() as u64, offset);
    assert_eq!(Hub::open(&folder, options(PLENTY, PLENTY, None)).everything().len() as u64, offset);
}

#[test]
fn a_sync_that_fails_stops_the_engine() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    assert_eq!(publish(&mut hub), Ok(1));
    folder.set_fault(Some(Fault::Sync));
    assert!(matches!(publish(&mut hub), Err(AppendError::Stopped(_))));
    folder.set_fault(None);
    let Err(AppendError::Stopped(why)) = publish(&mut hub) else {
        panic!("a sync that succeeds says nothing about the one that failed")
    };
    assert_eq!(why, "a sync of history failed: the disk is broken");
    assert_eq!(hub.range(0, true, true, 9), Ok(vec![1]), "what was there can be read");
}

#[test]
fn a_write_that_cannot_be_taken_back_stops_the_engine() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    assert_eq!(publish(&mut hub), Ok(1));
    folder.set_fault(Some(Fault::WriteAndCut));
    assert!(matches!(publish(&mut hub), Err(AppendError::Stopped(_))));
    folder.set_fault(None);
    assert!(matches!(publish(&mut hub), Err(AppendError::Stopped(_))));
    let mut hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    assert_eq!(publish(&mut hub), Ok(2));
}

#[test]
fn another_error_of_a_write_is_that_of_one_commit() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    folder.set_fault(Some(Fault::Write(ErrorKind::Other)));
    assert!(matches!(publish(&mut hub), Err(AppendError::Failed(_))));
    folder.set_fault(None);
    assert_eq!(publish(&mut hub), Ok(1));
}

#[test]
fn of_a_commit_of_both_kinds_what_was_appended_stays() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    let drafts = vec![draft(None, 1), draft(None, 1), announcement(), draft(None, 1)];
    folder.end_after(3);
    let (events, result) = hub.commit(drafts, 0);
    // A write and a sync of two publishers' events, and the write of the announcement.
    assert_eq!(events.len(), 2);
    assert!(result.is_err() && hub.log.head() == 2);
}

#[test]
fn a_damaged_block_counts_as_dropped_and_what_follows_is_there() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    for _ in 0..100 {
        publish(&mut hub).unwrap();
    }
    hub.history.keep(0);
    let second = hub.history.updates.segments().sealed[1].summary;
    folder.spoil(&segment::name(UPDATES, second.after), 200);
    let hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    assert_eq!(hub.range(0, true, false, 2), Ok(vec![1, 2]), "nobody has come to it yet");
    let mut after = 0;
    let told = loop {
        match hub.range(after, false, false, 9) {
            Ok(events) => after = *events.last().unwrap(),
            Err(error) => break error,
        }
    };
    assert_eq!((told, after), (HistoryError::Trimmed, second.after));
    let rest = hub.range(0, true, false, 99).unwrap();
    assert!(rest[0] > second.after && rest[0] <= second.last && rest.last() == Some(&100), "{rest:?}");
}

#[test]
fn a_damaged_index_is_made_anew() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    for number in 0..150 {
        hub.publish(Some(&format!("id-{number}")), 0);
    }
    hub.history.keep(0);
    let segments: Vec<u64> = hub.history.updates.segments().sealed.iter().map(|sealed| sealed.summary.after).collect();
    // The head, the blocks, the ids.
    for (after, at) in segments.iter().zip([20, 90, 4000]) {
        let name = segment::index_name(UPDATES, *after);
        folder.spoil(&name, at.min(folder.length_of(&name) - 1));
    }
    folder.remove(&segment::index_name(UPDATES, segments[3])).unwrap();
    let hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    assert_eq!(hub.everything().len(), 150);
    for number in 0..150 {
        assert_eq!(hub.history.find(&format!("id-{number}"), false), Found::At(number + 1), "{number}");
    }
}

#[test]
fn a_segment_that_is_missing_leaves_no_hole() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    for _ in 0..100 {
        publish(&mut hub).unwrap();
    }
    hub.history.keep(0);
    let third = hub.history.updates.segments().sealed[2].summary;
    folder.remove(&segment::name(UPDATES, third.after)).unwrap();
    let hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    assert_eq!(hub.range(5, false, false, 9), Err(HistoryError::Trimmed));
    assert_eq!(hub.range(0, true, false, 99).unwrap(), (third.last + 1..=100).collect::<Vec<_>>());
    assert!(folder.names().unwrap().iter().any(|name| name.ends_with(".damaged")), "nothing is thrown away");
}

#[test]
fn a_disk_that_cannot_be_read_is_no_reason_to_forget() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    for _ in 0..10 {
        publish(&mut hub).unwrap();
    }
    folder.set_fault(Some(Fault::Read));
    assert_eq!(hub.range(0, true, false, 9), Err(HistoryError::Unreadable));
    folder.set_fault(None);
    assert_eq!(hub.range(0, true, false, 99).unwrap().len(), 10);
}

#[test]
fn a_folder_of_another_version_is_not_touched() {
    let folder = Folder::default();
    drop(hub(&folder));
    let name = "history.json";
    let text = "{\"format\": 2}";
    folder.create(name).unwrap().write_at(text.as_bytes(), 0).unwrap();
    let changes = folder.changes();
    let refused = Hub::try_open(&folder, options(PLENTY, PLENTY, None)).err();
    assert_eq!((refused, folder.changes()), (Some(OpenError::Version { found: 2 }), changes));
    folder.create(name).unwrap().write_at(b"{", 0).unwrap();
    assert!(matches!(Hub::try_open(&folder, options(PLENTY, PLENTY, None)), Err(OpenError::Damaged { .. })));
}

/// Seen: the other log went on, and gave offsets again that the stopped one has on the disk.
#[test]
fn a_sync_that_fails_stops_both_logs() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    publish(&mut hub).unwrap();
    folder.set_fault(Some(Fault::Sync));
    assert!(publish(&mut hub).is_err());
    folder.set_fault(None);
    let (events, result) = hub.commit(vec![announcement()], 0);
    assert!(events.is_empty() && matches!(result, Err(AppendError::Stopped(_))));
    assert_eq!(hub.writer.tidy(), Ok(()));
}

/// Seen: an index that found no room kept the segments from being given back that would have made it.
#[test]
fn space_is_given_back_on_a_full_disk() {
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, options(PLENTY, PLENTY, Some(1_000)));
    while hub.history.updates.segments().sealed.len() < 3 {
        hub.publish(Some("x"), 0);
    }
    folder.set_fault(Some(Fault::Write(ErrorKind::StorageFull)));
    let before = folder.bytes();
    hub.history.keep(0);
    assert!(folder.names().unwrap().iter().all(|name| !name.ends_with(".draft")), "half an index takes no room");
    hub.history.keep(5_000);
    assert!(hub.history.updates.segments().sealed.is_empty() && folder.bytes() < before / 2);
}

/// Seen: a segment that could not be removed was forgotten, and stood before a gap at the next start.
#[test]
fn a_segment_that_cannot_be_removed_is_tried_again() {
    let folder = Folder::default();
    let mut hub = Hub::open(&folder, options(5, PLENTY, None));
    while hub.history.updates.segments().sealed.len() < 3 {
        publish(&mut hub).unwrap();
    }
    folder.end_after(0);
    hub.history.keep(0);
    let ended = folder.after_kill();
    assert!(!hub.history.updates.segments().sealed.is_empty(), "it stays in the list");
    let hub = Hub::open(&ended, options(5, PLENTY, None));
    hub.history.keep(0);
    assert!(ended.names().unwrap().iter().all(|name| !name.ends_with(".damaged")));
    assert!(hub.history.updates.segments().sealed.len() <= 1);
}

/// Seen: a segment that could neither be finished nor removed looked at the next start as if everything before it were missing.
#[test]
fn a_segment_that_was_only_begun_costs_nothing() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    for _ in 0..3 {
        publish(&mut hub).unwrap();
    }
    writer::create(&folder, &segment::name(UPDATES, 3), 3, Durability::Fsync).unwrap();
    for _ in 0..3 {
        publish(&mut hub).unwrap();
    }
    for _ in 0..2 {
        let hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
        assert_eq!(hub.range(0, true, false, 9), Ok(vec![1, 2, 3, 4, 5, 6]));
        assert!(folder.names().unwrap().iter().all(|name| !name.ends_with(".damaged")));
    }
}

/// Seen: what one log couldn't give was passed over because of what the other one had behind it.
#[test]
fn what_cannot_be_read_is_not_passed_over() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    for _ in 0..60 {
        publish(&mut hub).unwrap();
    }
    hub.commit(vec![announcement()], 0).1.unwrap();
    let from_start = hub.range(0, false, true, 99).unwrap();
    assert_eq!(from_start.len(), 61);
    // Blocks that nobody has read yet are read from the disk.
    let Hub { history, .. } = Hub::open(&folder, options(PLENTY, PLENTY, None));
    let range = |after| Range { after, forgiven: Gone::default(), announcements: true, count: 99 };
    assert_eq!(history.range(Range { count: 2, ..range(0) }).unwrap().len(), 2);
    folder.set_fault(Some(Fault::Read));
    let events = history.range(range(0)).unwrap_or_default();
    let offsets: Vec<u64> = events.iter().map(|event| event.offset).collect();
    assert!(offsets.iter().copied().eq(1..=offsets.len() as u64), "{offsets:?}");
}

/// Seen: one page of ids said that it had fewer of them, and the others were unknown.
#[test]
fn a_page_of_ids_has_as_many_as_its_index_says() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    for number in 0..60 {
        hub.publish(Some(&format!("id-{number}")), 0);
    }
    hub.history.keep(0);
    let name = segment::index_name(UPDATES, 0);
    folder.spoil(&name, folder.length_of(&name) - 4096);
    let hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    for number in 0..60 {
        assert_eq!(hub.history.find(&format!("id-{number}"), false), Found::At(number + 1));
    }
}

/// Seen: a client with an id it had was told that nobody knows it when the disk failed for a moment.
#[test]
fn a_look_up_that_fails_replays_rather_too_much() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    for number in 0..150 {
        hub.publish(Some(&format!("id-{number}")), 0);
    }
    hub.history.keep(0);
    let hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    folder.set_fault(Some(Fault::Read));
    assert_eq!(hub.history.find("id-1", false), Found::Earliest);
    folder.set_fault(None);
    assert_eq!(hub.history.find("id-1", false), Found::At(2));
}
