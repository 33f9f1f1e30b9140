//! Going through a segment that is damaged, or not finished.

use super::super::walk::{Step, Walk};
use super::*;

/// A segment of batches of one event each, and where each of them begins.
fn segment(batches: u64) -> (Folder, Vec<usize>) {
    let (folder, mut bytes, mut places) = (Folder::default(), segment::head(0).to_vec(), Vec::new());
    for offset in 1..=batches {
        places.push(bytes.len());
        let event: Arc<Event> = Event::sample(offset, &["urn:a"], None, 50);
        batch::write(&[event], offset - 1, 1, 0, &mut bytes);
    }
    places.push(bytes.len());
    folder.create("s").unwrap().write_at(&bytes, 0).unwrap();
    (folder, places)
}

fn walk(folder: &Folder) -> Vec<String> {
    let file = folder.open("s").unwrap();
    let mut walk = Walk::new(&file, 0).unwrap();
    let mut steps = Vec::new();
    while let Some(step) = walk.step().unwrap() {
        steps.push(match step {
            Step::Batch { head, bytes, .. } => {
                assert!(head.holds(bytes));
                format!("{}", head.last)
            }
            Step::Damaged { at, through } => format!("damaged at {at} through {through}"),
            Step::End { at, bytes } => format!("{bytes} at {at}"),
        });
    }
    steps
}

#[test]
fn what_is_damaged_is_passed_wherever_it_is() {
    let (folder, places) = segment(4);
    assert_eq!(walk(&folder), ["1", "2", "3", "4"]);
    // In its head, in its length, in its events.
    for byte in [0, 5, 12, 60] {
        folder.spoil("s", places[1] + byte);
        let damaged = format!("damaged at {} through 2", places[1]);
        assert_eq!(walk(&folder), ["1", damaged.as_str(), "3", "4"], "{byte}");
        folder.spoil("s", places[1] + byte);
    }
}

#[test]
fn what_is_not_finished_is_at_the_end() {
    let (folder, places) = segment(3);
    folder.open("s").unwrap().cut(places[3] as u64 - 7).unwrap();
    let rest = format!("{} at {}", places[3] - 7 - places[2], places[2]);
    assert_eq!(walk(&folder), ["1", "2", rest.as_str()]);
}
