//! The bytes of a write's parts, where they lie.

use crate::hub::batch::Part;
use crate::hub::subscriber::{Rest, Subscriber};
use crate::hub::tail::Tail;
use crate::protocol::frame::{LAST_CHUNK, heartbeat};

/// How many bytes a part has.
pub(super) fn part_length(subscriber: &Subscriber, tail: &Tail, part: Part) -> usize {
    part_pieces(subscriber, tail, part).iter().map(|piece| piece.len()).sum()
}

/// The bytes of a part, in the connection's own form: what a content coding needs before an event, the event, and what the coding needs
/// behind it. Pieces may be empty.
pub(super) fn part_pieces<'a>(subscriber: &'a Subscriber, tail: &'a Tail, part: Part) -> [&'a [u8]; 3] {
    let form = subscriber.form();
    match part {
        Part::Tail { offset } => {
            tail.get(offset).expect("a batch outlives no turn: its events are in the tail").frame.pieces(form)
        }
        Part::Chunk { index } => {
            let backlog = subscriber.backlog.as_ref().expect("a chunk belongs to a backlog");
            backlog.chunk[index as usize].frame.pieces(form)
        }
        Part::Rest => match subscriber.backlog.as_ref().and_then(|backlog| backlog.rest.as_ref()) {
            Some(Rest::Head(bytes, at)) => one(&bytes[*at as usize..]),
            Some(Rest::Event(event, at)) => after(event.frame.pieces(form), *at as usize),
            Some(Rest::Heartbeat(at)) => one(&heartbeat(form)[*at as usize..]),
            Some(Rest::LastChunk(at)) => one(&LAST_CHUNK[*at as usize..]),
            Some(Rest::Stalled { .. }) | None => one(&[]),
        },
        Part::Heartbeat => one(heartbeat(form)),
        Part::LastChunk => one(LAST_CHUNK),
    }
}

/// What is left after the first `at` bytes.
fn after(pieces: [&[u8]; 3], mut at: usize) -> [&[u8]; 3] {
    pieces.map(|piece| {
        let skipped = at.min(piece.len());
        at -= skipped;
        &piece[skipped..]
    })
}

fn one(bytes: &[u8]) -> [&[u8]; 3] {
    [&[], bytes, &[]]
}
