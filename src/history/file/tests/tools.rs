//! Looking, checking, trimming and importing.

use super::super::cut::{Cut, TrimError, Trimmed, trim};
use super::*;

const PLENTY: usize = 1 << 20;
const START: u64 = segment::START;

fn hub(folder: &Folder) -> Hub {
    Hub::open(folder, options(PLENTY, PLENTY, None))
}

/// A folder with events in several segments, one second apart, all of them commits of their own.
fn filled(events: u64) -> (Folder, Hub) {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    for second in 1..=events {
        hub.publish((second % 3 == 0).then(|| format!("id-{second}")).as_deref(), second * 1_000);
    }
    hub.history.keep(0);
    (folder, hub)
}

fn look(folder: &Folder) -> Look<Folder> {
    Look::open(folder.clone(), cipher()).unwrap().expect("a history")
}

/// Offsets, and `!` where something is missing.
fn looked(look: &Look<Folder>, after: u64, announcements: bool) -> Vec<String> {
    let text = |event: Result<Arc<Event>, EventError>| match event {
        Ok(event) => event.offset.to_string(),
        Err(EventError::Damaged { after, through }) => format!("!{after}-{through}"),
        Err(error) => error.to_string(),
    };
    look.events(after, announcements).map(text).collect()
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Problems and remarks, each with its file.
fn checked(folder: &Folder) -> (Vec<String>, Checked) {
    let mut said = Vec::new();
    let checked = check(folder, Some(&cipher()), &mut |notice| match notice {
        Notice::Problem(file, problem) => said.push(format!("{file}: {problem}")),
        Notice::Remark(file, remark) => said.push(format!("({file}: {remark})")),
        Notice::Progress(done, all) => assert!(done <= all),
    });
    (said, checked.unwrap().expect("a history"))
}

#[test]
fn where_no_history_is_there_is_nothing_to_look_at() {
    let folder = Folder::default();
    assert!(Look::open(folder.clone(), cipher()).unwrap().is_none());
    assert_eq!(check(&folder, None, &mut |_| {}).unwrap(), None);
    assert_eq!(trim(folder.clone(), Cut::Keep(0), 0), Ok(None));
    assert_eq!(folder.changes(), 0);
}

#[test]
fn looking_changes_nothing_and_sees_what_is_there() {
    let (folder, mut hub) = filled(100);
    hub.commit(vec![announcement(), draft(None, 10), announcement()], 200_000).1.unwrap();
    let changes = folder.changes();
    let [look, later] = [(); 2].map(|()| look(&folder));
    assert_eq!(looked(&look, 0, false), [numbers(1..=100), numbers(102..=102)].concat());
    assert_eq!(looked(&look, 97, true), numbers(98..=103));
    assert_eq!(looked(&look, 500, true), [""; 0]);
    assert_eq!((look.last(), look.find("id-9"), look.find("id-8")), (103, Ok(Found::At(9)), Ok(Found::Unknown)));
    let summary = look.summary().unwrap();
    let LogSummary { events, first, last, oldest_ms, newest_ms, unfinished_bytes, .. } = summary.updates;
    assert_eq!((events, first, last, oldest_ms, newest_ms), (101, Some(1), 102, Some(1_000), Some(200_000)));
    assert!(summary.updates.segments > 3 && unfinished_bytes == 0 && summary.announcements.events == 2);
    assert!(summary.updates.bytes as usize > folder.bytes() * 8 / 10);
    assert_eq!(summary.epochs(), (1, hub.history.meta.epoch()));
    assert_eq!(folder.changes(), changes);
    // The hub goes on: what was there stays as it was seen, and what it drops isn't missing.
    for second in 300..400 {
        hub.publish(None, second * 1_000);
    }
    hub.history.keep(0);
    let other = Hub { history: FileHistory { options: options(20, PLENTY, None), ..hub.history }, ..hub };
    other.history.keep(0);
    let left = looked(&later, 0, false);
    assert!(left.len() < 101 && left.iter().all(|text| !text.starts_with('!')), "{left:?}");
}

#[test]
fn a_batch_that_is_being_written_is_not_finished_and_no_problem() {
    let (folder, mut hub) = filled(3);
    let name = segment::name(UPDATES, 0);
    let end = folder.length_of(&name);
    hub.publish(None, 4_000);
    let whole = folder.length_of(&name);
    folder.open(&name).unwrap().cut(whole as u64 - 5).unwrap();
    let look = look(&folder);
    assert_eq!(look.summary().unwrap().updates.unfinished_bytes, (whole - 5 - end) as u64);
    assert_eq!(looked(&look, 0, false), numbers(1..=3));
    let (said, checked) = checked(&folder);
    assert_eq!((checked.events, checked.problems, said.len()), (3, 0, 1));
    assert!(said[0].contains(&format!("the last {} bytes, from byte {end}", whole - 5 - end)), "{said:?}");
}

#[test]
fn a_sound_folder_has_no_problems() {
    let (folder, mut hub) = filled(100);
    hub.commit(vec![announcement(), draft(None, 100_000), announcement()], 200_000).1.unwrap();
    let changes = folder.changes();
    let (said, checked) = checked(&folder);
    assert_eq!(said, [""; 0]);
    assert_eq!((checked.batches, checked.events, checked.problems), (103, 103, 0));
    assert_eq!(folder.changes(), changes);
}

#[test]
fn what_is_damaged_is_named_with_its_file_and_left_out() {
    let (folder, hub) = filled(200);
    let sealed: Vec<_> = hub.history.updates.segments().sealed.iter().map(|sealed| sealed.summary).collect();
    let second = segment::name(UPDATES, sealed[1].after);
    folder.spoil(&second, 200);
    let (said, all) = checked(&folder);
    assert_eq!((said.len(), all.problems), (1, 1), "{said:?}");
    let place = format!("{second}: byte {START}: events after offset {} up to", sealed[1].after);
    assert!(said[0].starts_with(&place), "{said:?}");
    // All of the block is left out by those who read.
    let read = looked(&look(&folder), 0, false);
    let missing: Vec<&String> = read.iter().filter(|text| text.starts_with('!')).collect();
    assert!(missing.len() == 1 && missing[0].starts_with(&format!("!{}-", sealed[1].after)), "{missing:?}");
    assert!(read.len() > 180 && read[0] == "1" && read.last().unwrap() == "200", "{read:?}");
    // The end of a segment that isn't the newest; the head of another; an index.
    let third = segment::name(UPDATES, sealed[2].after);
    folder.spoil(&third, folder.length_of(&third) - 3);
    folder.spoil(&segment::name(UPDATES, sealed[3].after), 9);
    folder.spoil(&segment::index_name(UPDATES, sealed[0].after), 90);
    let (said, all) = checked(&folder);
    assert_eq!((said.len(), all.problems), (4, 4), "{said:#?}");
    assert!(said[0].contains(".index: the index doesn't fit its segment (byte 90 differs)"), "{said:#?}");
    assert!(said[2].starts_with(&third) && said[2].contains("bytes are damaged"), "{said:#?}");
    // What has another format is told from what is damaged.
    assert!(said[3].contains("it has format") || said[3].contains("its head is damaged"), "{said:#?}");
}

#[test]
fn what_the_next_start_would_cut_off_is_said() {
    let (folder, hub) = filled(3);
    drop(hub);
    folder.spoil(&segment::name(UPDATES, 0), START as usize + 45);
    let (said, all) = checked(&folder);
    assert_eq!((said.len(), all.problems, all.events), (1, 1, 2));
    assert!(said[0].contains("events after offset 0 up to 1 are damaged, in the newest segment"), "{said:?}");
}

#[test]
fn a_missing_segment_and_a_missing_description_are_problems_and_files_put_aside_are_not() {
    let (folder, hub) = filled(200);
    let sealed: Vec<_> = hub.history.updates.segments().sealed.iter().map(|sealed| sealed.summary).collect();
    folder.remove(&segment::name(UPDATES, sealed[2].after)).unwrap();
    folder.remove("history.json").unwrap();
    let (said, all) = checked(&folder);
    assert_eq!(all.problems, 2, "{said:#?}");
    assert!(said[0].starts_with("history.json: the description of the folder is missing"), "{said:#?}");
    let gap = format!("it follows offset {}, and the file before it ends with {}", sealed[3].after, sealed[1].last);
    assert!(said[1].contains(&gap), "{said:#?}");
    let (folder, hub) = filled(200);
    drop(hub);
    folder.remove(&segment::name(UPDATES, sealed[2].after)).unwrap();
    let hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    hub.history.keep(0);
    let (said, all) = checked(&folder);
    assert_eq!((all.problems, said.len()), (0, 2), "{said:#?}");
    assert_eq!(look(&folder).summary().unwrap().updates.aside.len(), 2);
}

#[test]
fn ids_of_another_key_are_noticed_once() {
    let (folder, _hub) = filled(9);
    let mut said = Vec::new();
    let other = IdCipher::new([8; 32]);
    check(&folder, Some(&other), &mut |notice| {
        if let Notice::Problem(_, problem) = notice {
            said.push(problem);
        }
    })
    .unwrap();
    assert_eq!(said, [Problem::Ids { events: 6, first: 1 }]);
}

#[test]
fn what_was_trimmed_stays_gone_and_its_bytes_are_given_back() {
    for (cut, first) in [
        (Cut::Before(1), 1),
        (Cut::Before(45), 45),
        (Cut::Keep(30), 71),
        (Cut::Keep(500), 1),
        (Cut::OlderThan(20_000), 81),
        (Cut::Before(100), 100),
        (Cut::Before(101), 101),
        (Cut::Before(u64::MAX), 101),
        (Cut::Keep(0), 101),
    ] {
        let (folder, hub) = filled(100);
        drop(hub);
        let before = folder.bytes();
        let trimmed = trim(folder.clone(), cut, 100_000).unwrap().expect("a history");
        let bytes = (before - folder.bytes()) as u64;
        let updates = first - 1;
        assert_eq!(trimmed, Trimmed { updates, announcements: 0, bytes, left: 100 - updates }, "{cut:?}");
        assert_eq!(checked(&folder).0, [""; 0], "{cut:?}");
        let share = (before as u64 * updates / 100) * 3 / 4;
        assert!(bytes >= share.saturating_sub(300), "{cut:?}: {bytes} of {before}");
        for _ in 0..2 {
            let mut hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
            let kept: Vec<u64> =
                hub.everything().iter().map(|event| event.offset).take_while(|at| *at <= 100).collect();
            assert_eq!(kept, (first..=100).collect::<Vec<_>>(), "{cut:?}");
            for offset in (3..=100).step_by(3) {
                let found = if offset >= first { Found::At(offset) } else { Found::Unknown };
                assert_eq!(hub.history.find(&format!("id-{offset}"), false), found, "{cut:?}");
            }
            let next = hub.publish(None, 200_000).offset;
            assert!(next > 100, "an offset is never given again");
            hub.history.keep(0);
        }
    }
}

#[test]
fn a_batch_is_trimmed_to_the_event_and_announcements_with_it() {
    let folder = Folder::default();
    let mut hub = hub(&folder);
    hub.commit((0..10).map(|_| draft(None, 10)).collect(), 7_000).1.unwrap();
    hub.commit(vec![announcement(), draft(Some("mine"), 10), announcement()], 8_000).1.unwrap();
    let ids: Vec<String> = hub.everything().iter().map(|event| event.id().to_owned()).collect();
    drop(hub);
    let trimmed = trim(folder.clone(), Cut::Keep(4), 0).unwrap().unwrap();
    assert_eq!((trimmed.updates, trimmed.announcements, trimmed.left), (7, 0, 4));
    let hub = Hub::open(&folder, options(PLENTY, PLENTY, None));
    let left = hub.everything();
    assert!(left.iter().map(|event| event.offset).eq(8..=13));
    assert!(left.iter().all(|event| ids.contains(&event.id().to_owned())));
    assert_eq!((left[0].published_ms, left[4].published_ms), (7_000, 8_000));
    assert_eq!(hub.history.find(&ids[6], false), Found::At(7), "nothing after it is gone");
    assert_eq!(hub.history.find(&ids[5], false), Found::Earliest);
    drop(hub);
    let trimmed = trim(folder.clone(), Cut::Before(12), 0).unwrap().unwrap();
    assert_eq!((trimmed.updates, trimmed.announcements, trimmed.left), (3, 1, 1));
    assert_eq!(looked(&look(&folder), 0, true), ["12", "13"]);
}

#[test]
fn trimming_that_is_interrupted_loses_nothing_that_should_stay() {
    let mut moments = 0;
    for cut in [Cut::Before(45), Cut::Keep(3), Cut::Keep(0)] {
        for end in 0.. {
            let (folder, hub) = filled(60);
            drop(hub);
            folder.end_after(end);
            let done = trim(folder.clone(), cut, 0).is_ok();
            for seed in 0..6 {
                let rebuilt = match seed {
                    0 => folder.after_kill(),
                    seed => folder.after_power_loss(&mut Random(seed ^ (end as u64) << 8)),
                };
                let (_, all) = checked(&rebuilt);
                assert_eq!(all.problems, 0, "{cut:?}, ended at change {end}: {:?}", checked(&rebuilt).0);
                let hub = Hub::open(&rebuilt, options(PLENTY, PLENTY, None));
                let left: Vec<u64> = hub.everything().iter().map(|event| event.offset).collect();
                let first = match cut {
                    Cut::Before(offset) => offset,
                    Cut::Keep(events) => 61 - events,
                    Cut::OlderThan(_) => unreachable!("not tried"),
                };
                let begins = left.first().copied().unwrap_or(61);
                assert!(left.iter().copied().eq(begins..=60), "{cut:?}, ended at change {end}: {left:?}");
                assert!(begins <= first && (!done || begins == first), "{cut:?}, ended at change {end}: {begins}");
                assert_eq!(hub.log.head(), 60);
                assert!(rebuilt.names().unwrap().iter().all(|name| !name.ends_with(".damaged")));
            }
            moments += 1;
            if done {
                break;
            }
        }
    }
    assert!(moments > 40, "{moments}");
}

#[test]
fn what_is_damaged_is_not_copied() {
    let (folder, hub) = filled(100);
    let sealed: Vec<_> = hub.history.updates.segments().sealed.iter().map(|sealed| sealed.summary).collect();
    drop(hub);
    let (name, next) = (segment::name(UPDATES, sealed[1].after), sealed[1].last + 1);
    folder.spoil(&name, folder.length_of(&name) - 3);
    let refused = trim(folder.clone(), Cut::Before(sealed[1].after + 2), 0);
    assert_eq!(refused, Err(TrimError::Damaged { segment: name, next }));
    assert_eq!(trim(folder.clone(), Cut::Before(next), 0).unwrap().unwrap().left, 101 - next);
    assert_eq!(looked(&look(&folder), 0, false), numbers(next..=100));
}

#[test]
fn imported_events_are_found_by_their_ids_and_keep_their_times() {
    let (_, hub) = filled(100);
    let events = hub.everything();
    let folder = Folder::default();
    let mut importer = Importer::open(folder.clone(), IdCipher::new([9; 32]), [4, 5, 6]).unwrap();
    for event in &events {
        let update = Update {
            topics: event.topics.to_vec(),
            data: "x".to_owned(),
            private: false,
            id: Some(event.id().to_owned()),
            event_type: None,
            retry: None,
        };
        importer.add(Draft::new(update), event.published_ms / 5_000 * 5_000).unwrap();
    }
    assert!(importer.appended < 100, "in batches");
    importer.finish().unwrap();
    assert_eq!(importer.appended, 100);
    drop(importer);
    // All of it is synced: a loss of power takes nothing.
    let folder = folder.after_power_loss(&mut Random(1));
    assert_eq!(checked(&folder).1.problems, 0);
    let hub = Hub::open(&folder, options(PLENTY, PLENTY, Some(30_000)));
    for event in &events {
        assert_eq!(hub.history.find(event.id(), false), Found::At(event.offset));
    }
    assert!(!hub.history.updates.segments().sealed.is_empty());
    assert_eq!(folder.after_kill().names().unwrap(), folder.names().unwrap());
    hub.history.keep(100_000);
    assert_eq!(hub.history.bounds(), (75, 100), "published before second 75");
}
