//! Frames: an event encoded once, shared by every connection that gets it.
//!
//! Stored as `[chunk size line | event stream bytes | CRLF]`: HTTP/1.1 sends it whole, everybody else its middle. The
//! hub's own ids are known only when the event has its place in the log, so a frame is made in two steps.

use std::ops::Range;

use super::event_id::EVENT_ID_BYTES;
use super::event_stream;
use super::update::Update;

/// A comment that keeps an idle stream alive.
pub const HEARTBEAT: &[u8] = b":\n";
/// The same as a chunk of HTTP/1.1.
pub const HEARTBEAT_CHUNK: &[u8] = b"2\r\n:\n\r\n";
/// What ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What stands for the id until there is one. Never sent: [`FrameDraft::finish`] overwrites it.
const ID_PLACEHOLDER: &str = "urn:uuid:00000000-0000-0000-0000-000000000000";
const _: () = assert!(ID_PLACEHOLDER.len() == EVENT_ID_BYTES);

/// An encoded event, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Box<[u8]>,
    id_start: u32,
    id_length: u32,
    body_start: u8,
}

/// A frame that may still lack its id.
#[derive(Debug)]
pub struct FrameDraft {
    frame: Frame,
    needs_id: bool,
}

impl FrameDraft {
    /// Encodes an update, with its own id or with room for one of the hub's.
    pub fn new(update: &Update) -> FrameDraft {
        let id = update.id.as_deref().unwrap_or(ID_PLACEHOLDER);
        let (event_type, retry) = (update.event_type.as_deref(), update.retry.as_deref());
        FrameDraft { frame: Frame::encode(event_type, retry, id, &update.data), needs_id: update.id.is_none() }
    }

    /// Whether the publisher left the id to the hub.
    pub fn needs_id(&self) -> bool {
        self.needs_id
    }

    /// The id the publisher gave.
    pub fn id(&self) -> Option<&str> {
        (!self.needs_id).then(|| self.frame.id())
    }

    /// The frame's final size in memory and on the wire, in bytes.
    pub fn wire_bytes(&self) -> usize {
        self.frame.bytes.len()
    }

    /// Completes the frame in place. `hub_id` is used only if the publisher gave no id; it must be ASCII.
    pub fn finish(mut self, hub_id: &[u8; EVENT_ID_BYTES]) -> Frame {
        if self.needs_id {
            debug_assert!(hub_id.is_ascii(), "an id of the hub is ASCII");
            let place = self.frame.id_range();
            self.frame.bytes[place].copy_from_slice(hub_id);
        }
        self.frame
    }
}

impl Frame {
    /// Encodes an event whose id is known.
    pub fn encode(event_type: Option<&str>, retry: Option<&str>, id: &str, data: &str) -> Frame {
        let mut body = Vec::with_capacity(64 + id.len() + data.len());
        event_stream::encode(&mut body, event_type, retry, id, data);
        let size_line = format!("{:x}\r\n", body.len());
        // Type and retry stand before the id, each with its name, a space and a line end.
        let field = |name: &str, value: Option<&str>| value.map_or(0, |value| name.len() + value.len() + 1);
        let id_start = size_line.len() + field("event: ", event_type) + field("retry: ", retry) + "id: ".len();
        let bytes = [size_line.as_bytes(), &body, b"\r\n"].concat().into_boxed_slice();
        Frame {
            bytes,
            id_start: u32::try_from(id_start).expect("an id starts within the first 4 GB"),
            id_length: u32::try_from(id.len()).expect("an id has less than 4 GB"),
            body_start: u8::try_from(size_line.len()).expect("a size line has at most 18 bytes"),
        }
    }

    /// The whole as one chunk of an HTTP/1.1 body.
    pub fn chunked(&self) -> &[u8] {
        &self.bytes
    }

    /// The event stream bytes alone.
    pub fn plain(&self) -> &[u8] {
        &self.bytes[usize::from(self.body_start)..self.bytes.len() - 2]
    }

    /// The event's id.
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.id_range()]).expect("an id is written from a str")
    }

    fn id_range(&self) -> Range<usize> {
        let start = self.id_start as usize;
        start..start + self.id_length as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::event_id::IdCipher;

    fn update(id: Option<&str>, event_type: Option<&str>, retry: Option<&str>, data: &str) -> Update {
        Update {
            topics: Vec::new(),
            data: data.into(),
            private: false,
            id: id.map(str::to_owned),
            event_type: event_type.map(str::to_owned),
            retry: retry.map(str::to_owned),
        }
    }

    fn hub_id() -> [u8; EVENT_ID_BYTES] {
        IdCipher::new([7; 32]).encode(1, 2)
    }

    #[test]
    fn a_frame_is_one_chunk_around_the_event() {
        let frame = FrameDraft::new(&update(Some("urn:x"), None, None, "hello")).finish(&hub_id());
        assert_eq!(frame.chunked(), b"17\r\nid: urn:x\ndata: hello\n\n\r\n");
        assert_eq!(frame.plain(), b"id: urn:x\ndata: hello\n\n");
        assert_eq!(frame.id(), "urn:x");
    }

    #[test]
    fn the_publishers_id_is_kept_and_a_missing_one_is_filled_in() {
        let draft = FrameDraft::new(&update(Some("mine"), Some("t"), Some("5"), ""));
        assert_eq!((draft.needs_id(), draft.id()), (false, Some("mine")));
        assert_eq!(draft.finish(&hub_id()).id(), "mine");

        let draft = FrameDraft::new(&update(None, Some("t"), Some("5"), ""));
        assert_eq!((draft.needs_id(), draft.id()), (true, None));
        let address = draft.frame.bytes.as_ptr();
        let frame = draft.finish(&hub_id());
        assert_eq!(frame.bytes.as_ptr(), address, "patched where it lies");
        assert_eq!(frame.id().as_bytes(), hub_id());
    }

    #[test]
    fn a_placeholder_in_the_data_is_data() {
        let frame = FrameDraft::new(&update(None, Some(ID_PLACEHOLDER), None, ID_PLACEHOLDER)).finish(&hub_id());
        let text = String::from_utf8(frame.plain().to_vec()).unwrap();
        let id = String::from_utf8(hub_id().to_vec()).unwrap();
        assert_eq!(text, format!("event: {ID_PLACEHOLDER}\nid: {id}\ndata: {ID_PLACEHOLDER}\n\n"));
    }

    #[test]
    fn constants_are_well_formed() {
        assert_eq!(HEARTBEAT_CHUNK, [b"2\r\n", HEARTBEAT, b"\r\n"].concat());
    }

    proptest! {
        #[test]
        fn a_frame_holds_exactly_the_encoded_event(
            id in proptest::option::of("[ -~é]{1,20}"),
            event_type in proptest::option::of("[ -~é]{1,20}"),
            retry in proptest::option::of("[0-9]{1,20}"),
            data in any::<String>(),
        ) {
            let update = update(id.as_deref(), event_type.as_deref(), retry.as_deref(), &data);
            let frame = FrameDraft::new(&update).finish(&hub_id());
            let hub_id = String::from_utf8(hub_id().to_vec()).unwrap();
            let id = id.unwrap_or(hub_id);
            let mut plain = Vec::new();
            event_stream::encode(&mut plain, event_type.as_deref(), retry.as_deref(), &id, &data);
            prop_assert_eq!(frame.id(), id);
            prop_assert_eq!(frame.plain(), &plain[..]);
            prop_assert_eq!(frame.chunked(), [format!("{:x}\r\n", plain.len()).as_bytes(), &plain[..], b"\r\n"].concat());
        }
    }
}
