//! Folders that aren't as a hub left them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use super::{again, everything};
use crate::harness::*;

/// The newest segment.
fn newest_segment(hub: &Hub) -> PathBuf {
    let files = fs::read_dir(hub.folder().path().join("data/history")).expect("a folder").flatten();
    let mut segments: Vec<PathBuf> = files
        .map(|file| file.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("updates-") && name.ends_with(".log")
        })
        .collect();
    segments.sort();
    segments.pop().expect("there is one")
}

#[test]
fn a_torn_last_write_is_cut_off_and_nothing_else() {
    let mut hub = Hub::anonymous();
    for n in 0..3 {
        hub.say("urn:a", &n.to_string());
    }
    hub.kill();
    let segment = newest_segment(&hub);
    let whole = fs::read(&segment).expect("it can be read");
    // Half of another batch, and then zeros, as a disk may have them.
    let mut file = OpenOptions::new().append(true).open(&segment).expect("it can be written");
    file.write_all(&whole[whole.len() - 60..]).and_then(|()| file.write_all(&[0; 500])).expect("it is written");
    let hub = again(&hub).start();
    assert!(hub.log().contains("cut off what the run before had not finished writing"), "{}", hub.log());
    hub.say("urn:a", "3");
    assert_eq!(everything(&hub, "urn:a", "3"), ["0", "1", "2", "3"]);
}

#[test]
fn two_hubs_on_one_folder_are_one_too_many() {
    let hub = Hub::anonymous();
    let said = Launch::keyed().in_place_of(free_port(), hub.folder()).refused();
    assert!(said.contains("another hub has the history in") && said.contains("--data"), "{said}");
    hub.say("urn:a", "the first one goes on");
}

#[test]
fn a_folder_of_another_version_is_refused_and_left_alone() {
    let mut hub = Hub::anonymous();
    hub.say("urn:a", "x");
    hub.kill();
    let about = hub.folder().path().join("data/history/history.json");
    let text = fs::read_to_string(&about).expect("it is there").replace("\"format\": 1", "\"format\": 2");
    fs::write(&about, &text).expect("it can be written");
    let said = again(&hub).refused();
    assert!(said.contains("has format 2, and this version reads format 1"), "{said}");
    assert!(said.contains("cinnabar history export"), "{said}");
    assert_eq!(fs::read_to_string(&about).expect("it is there"), text);
}

#[test]
fn a_spoilt_event_is_dropped_with_what_came_before_and_its_readers_are_told() {
    let mut hub = Hub::anonymous();
    // Each is a block of its own, and only the newest is read at the start.
    let ids: Vec<String> = (0..3).map(|n| hub.say("urn:a", &format!("{n} {}", "x".repeat(100_000)))).collect();
    hub.kill();
    let segment = newest_segment(&hub);
    let length = fs::metadata(&segment).expect("it is there").len();
    let mut hub = again(&hub).start();
    // It was sound when the hub began.
    let mut bytes = fs::read(&segment).expect("it can be read");
    bytes[length as usize / 2] ^= 0xFF;
    fs::write(&segment, &bytes).expect("it can be written");
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &ids[0])]);
    let (events, _) = stream.rest();
    assert!(events.is_empty(), "it is told by the end of its stream");
    eventually("the damage is said", || hub.log().contains("history is damaged"));
    let mut stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &ids[0])]);
    assert_eq!(stream.last_event_id(), Some("earliest"));
    assert!(stream.data().starts_with("2 "));
    hub.say("urn:a", "after");
    assert_eq!(stream.data(), "after");
    assert!(hub.stop().success());
}

#[test]
fn history_in_memory_is_there_for_whoever_wants_it() {
    let mut hub = Hub::start(&["--anonymous", "--history", "memory", "--data", "none"]);
    let id = hub.say("urn:a", "x");
    assert!(hub.stop().success());
    assert!(!hub.folder().path().join("data").exists(), "nothing is kept");
    let hub = Launch::keyed()
        .args(&["--anonymous", "--history", "memory"])
        .in_place_of(hub.address().port(), hub.folder())
        .start();
    hub.say("urn:a", "y");
    let stream = hub.subscribe(&[("match", "urn:a"), ("last_event_id", &id)]);
    assert_eq!(stream.last_event_id(), Some("earliest"));
}
