//! The bytes of a write's parts, where they lie.

use crate::hub::batch::Part;
use crate::hub::event::Event;
use crate::hub::subscriber::{Rest, Subscriber};
use crate::hub::tail::Tail;
use crate::protocol::frame;

/// The frame in a connection's own form.
pub(super) fn frame_bytes(event: &Event, chunked: bool) -> &[u8] {
    if chunked { event.frame.chunked() } else { event.frame.plain() }
}

pub(super) fn part_bytes<'a>(subscriber: &'a Subscriber, tail: &'a Tail, part: Part) -> &'a [u8] {
    let chunked = subscriber.chunked;
    match part {
        Part::Tail { offset } => {
            frame_bytes(tail.get(offset).expect("a batch outlives no turn: its events are in the tail"), chunked)
        }
        Part::Chunk { index } => {
            let backlog = subscriber.backlog.as_ref().expect("a chunk belongs to a backlog");
            frame_bytes(&backlog.chunk[index as usize], chunked)
        }
        Part::Rest => match subscriber.backlog.as_ref().and_then(|backlog| backlog.rest.as_ref()) {
            Some(Rest::Head(bytes, at)) => &bytes[*at as usize..],
            Some(Rest::Event(event, at)) => &frame_bytes(event, chunked)[*at as usize..],
            Some(Rest::Heartbeat(at)) => &heartbeat(chunked)[*at as usize..],
            Some(Rest::Stalled(..)) | None => &[],
        },
        Part::Heartbeat => heartbeat(chunked),
        Part::LastChunk => frame::LAST_CHUNK,
    }
}

fn heartbeat(chunked: bool) -> &'static [u8] {
    if chunked { frame::HEARTBEAT_CHUNK } else { frame::HEARTBEAT }
}
