//! History in files: what was acknowledged survives, whatever ends the hub, and what goes wrong with the disk is said.

mod crashes;
mod disks;
mod folders;

use crate::harness::*;

/// A hub on the folder and port of one that has ended.
fn again(hub: &Hub) -> Launch {
    Launch::keyed().args(&["--anonymous"]).in_place_of(hub.address().port(), hub.folder())
}

/// Everything kept of a topic, once `last` has come.
fn everything(hub: &Hub, topic: &str, last: &str) -> Vec<String> {
    let mut stream = hub.subscribe(&[("match", topic), ("last_event_id", "earliest")]);
    let mut datas = vec![stream.data()];
    while datas.last().is_some_and(|data| data != last) {
        datas.push(stream.data());
    }
    datas
}
