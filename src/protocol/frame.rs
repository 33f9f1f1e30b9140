//! Frames: an event encoded once, shared by every connection that gets it.
//!
//! Stored as `[chunk size line | event stream bytes | CRLF]`: HTTP/1.1 sends it whole, everybody else its middle. The
//! hub's own ids are known only when the event has its place in the log, so a frame is made in two steps.
//!
//! Streams with a content coding get a [`Fragment`] where one was made. Else they get the same bytes, with what a block of the
//! coding begins with sent before them, and what a block of gzip has to be followed by behind them. Those few bytes stand around every
//! frame, each as a chunk of its own: `[zstd | gzip | chunk size line | … | CRLF | behind gzip]`, so that the most common of these forms is
//! in one piece too. An event too long for one block has a copy in blocks instead.

mod fragment;

use std::ops::Range;

use super::coding::stored::{BLOCK_BYTES_MAX, GZIP_FLUSH, GZIP_HEADER_BYTES, flush, header, header_bytes};
use super::coding::{Coding, Codings, Compressor, Form};
use super::event_id::EVENT_ID_BYTES;
use super::event_stream;
use super::update::Update;
pub use fragment::Fragment;

/// A comment that keeps an idle stream alive, in each form (see [`heartbeat`]).
const HEARTBEATS: [&[u8]; Form::ALL.len()] = [
    b":\n",
    b"2\r\n:\n\r\n",
    b"\0\x02\0\xfd\xff:\n\0\0\0\xff\xff",
    b"c\r\n\0\x02\0\xfd\xff:\n\0\0\0\xff\xff\r\n",
    b"\x28\xb5\x2f\xfd\x20\x02\x11\0\0:\n",
    b"b\r\n\x28\xb5\x2f\xfd\x20\x02\x11\0\0:\n\r\n",
];
/// What ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What stands for the id until there is one. Never sent: [`FrameDraft::finish`] overwrites it.
const ID_PLACEHOLDER: &str = "urn:uuid:00000000-0000-0000-0000-000000000000";
const _: () = assert!(ID_PLACEHOLDER.len() == EVENT_ID_BYTES);

/// The size line of a chunk that holds what a block begins with: one digit. A line end follows the chunk.
const SHORT_SIZE_LINE_BYTES: usize = 3;
/// What gzip's block begins with, as a chunk.
const GZIP_CHUNK_BYTES: usize = SHORT_SIZE_LINE_BYTES + GZIP_HEADER_BYTES + 2;
/// What follows it, as a chunk.
const GZIP_FLUSH_CHUNK_BYTES: usize = SHORT_SIZE_LINE_BYTES + GZIP_FLUSH.len() + 2;

/// A comment that keeps an idle stream alive.
pub fn heartbeat(form: Form) -> &'static [u8] {
    HEARTBEATS[form.index()]
}

/// An encoded event, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Box<[u8]>,
    id_start: u32,
    id_length: u32,
    /// Where the size line begins; 0: the event is too long for one block.
    chunk_start: u8,
    body_start: u8,
    /// In the order of [`Coding::ALL`].
    fragments: Option<Box<[Option<Fragment>; Coding::ALL.len()]>>,
}

/// What an event is made of, beside its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameFields {
    /// See [`Update::event_type`].
    pub event_type: Option<String>,
    /// See [`Update::retry`].
    pub retry: Option<String>,
    /// See [`Update::data`].
    pub data: String,
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

    /// A frame that gives up its place in the log, and with it an id made by the hub.
    pub fn withdrawn(frame: Frame, needs_id: bool) -> FrameDraft {
        FrameDraft { frame, needs_id }
    }

    /// Whether the publisher left the id to the hub.
    pub fn needs_id(&self) -> bool {
        self.needs_id
    }

    /// The id the publisher gave.
    pub fn id(&self) -> Option<&str> {
        (!self.needs_id).then(|| self.frame.id())
    }

    /// The event's fields, as [`FrameDraft::new`] took them, but for line ends in the data, which are LF now.
    pub fn fields(&self) -> FrameFields {
        self.frame.fields()
    }

    /// Bytes of the event, compressible or not, but for fields that stand before the data.
    pub fn data_bytes(&self) -> usize {
        self.frame.plain().len() - self.frame.id_line_end()
    }

    /// What the frame takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.frame.memory_bytes()
    }

    /// Compresses the data for streams of a coding. How many bytes smaller than the event that is; `None`: it wouldn't be.
    pub fn compress(&mut self, coding: Coding, compressor: &mut Compressor) -> Option<usize> {
        let id_start = self.frame.id_start_in_event();
        let (fields, data) = self.frame.plain().split_at(self.frame.id_line_end());
        let fragment = Fragment::compressed(coding, fields, id_start, data, compressor)?;
        let saved_bytes = self.frame.chunked().len().saturating_sub(fragment.bytes(true).len());
        self.frame.fragments.get_or_insert_default()[coding as usize] = Some(fragment);
        Some(saved_bytes)
    }

    /// Whether the event is too long for one block, so that streams under a content coding need [`FrameDraft::store`].
    pub fn is_long(&self) -> bool {
        self.frame.is_long()
    }

    /// Copies an event that is too long for one block into several, for streams of these codings, where it wasn't compressed.
    /// Costs about 1 ms for each MiB and coding.
    pub fn store(&mut self, codings: Codings) {
        if !self.is_long() {
            return;
        }
        let id_start = self.frame.id_start_in_event();
        for coding in codings.iter() {
            if self.frame.fragment(coding).is_none() {
                let fragment = Fragment::stored(coding, self.frame.plain(), id_start);
                self.frame.fragments.get_or_insert_default()[coding as usize] = Some(fragment);
            }
        }
    }

    /// Completes the frame in place, which costs the same however long it is. `hub_id` is used only if the publisher gave no id;
    /// it must be ASCII.
    pub fn finish(mut self, hub_id: &[u8; EVENT_ID_BYTES]) -> Frame {
        if self.needs_id {
            debug_assert!(hub_id.is_ascii(), "an id of the hub is ASCII");
            let place = self.frame.id_range();
            self.frame.bytes[place].copy_from_slice(hub_id);
            for fragment in self.frame.fragments.iter_mut().flat_map(|fragments| fragments.iter_mut().flatten()) {
                fragment.set_id(hub_id);
            }
        }
        self.frame
    }
}

fn hex_digits(number: usize) -> usize {
    (number | 1).ilog2() as usize / 4 + 1
}

/// Appends the line a chunk begins with: its size in hexadecimal digits.
fn push_size_line(size: usize, out: &mut Vec<u8>) {
    for digit in (0..hex_digits(size)).rev() {
        out.push(b"0123456789abcdef"[size >> (4 * digit) & 0xF]);
    }
    out.extend_from_slice(b"\r\n");
}

impl Frame {
    /// Encodes an event whose id is known.
    fn encode(event_type: Option<&str>, retry: Option<&str>, id: &str, data: &str) -> Frame {
        let length = event_stream::encoded_bytes(event_type, retry, id, data);
        // Type and retry stand before the id, each with its name, a space and a line end.
        let field = |name: &str, value: Option<&str>| value.map_or(0, |value| name.len() + value.len() + 1);
        let id_start = field("event: ", event_type) + field("retry: ", retry) + "id: ".len();
        Frame::around(length, id_start..id_start + id.len(), |bytes| {
            event_stream::encode(bytes, event_type, retry, id, data);
        })
    }

    /// The frame of an event that was encoded before, as history stores it: what [`Frame::plain`] gave, and where in it the id
    /// stands. Made for streams of these codings, too. `None`: no frame of ours, the id isn't there.
    pub fn stored(plain: &[u8], id: Range<usize>, codings: Codings) -> Option<Frame> {
        std::str::from_utf8(plain.get(id.clone())?).ok()?;
        let frame = Frame::around(plain.len(), id, |bytes| bytes.extend_from_slice(plain));
        let mut draft = FrameDraft { frame, needs_id: false };
        draft.store(codings);
        Some(draft.frame)
    }

    /// Puts around an event of `length` bytes, which `write` appends, what connections need of it.
    fn around(length: usize, id: Range<usize>, write: impl FnOnce(&mut Vec<u8>)) -> Frame {
        let is_long = length > BLOCK_BYTES_MAX;
        let headers = if is_long { &[] } else { &[Coding::Zstd, Coding::Gzip][..] };
        let headers_bytes: usize =
            headers.iter().map(|coding| SHORT_SIZE_LINE_BYTES + header_bytes(*coding, length) + 2).sum();
        let behind_bytes = if is_long { 0 } else { GZIP_FLUSH_CHUNK_BYTES };
        // All of it in one allocation that fits.
        let frame_bytes = headers_bytes + hex_digits(length) + 2 + length + 2 + behind_bytes;
        let mut bytes = Vec::with_capacity(frame_bytes);
        for coding in headers {
            push_size_line(header_bytes(*coding, length), &mut bytes);
            header(*coding, length, &mut bytes);
            bytes.extend_from_slice(b"\r\n");
        }
        let chunk_start = bytes.len();
        push_size_line(length, &mut bytes);
        let body_start = bytes.len();
        write(&mut bytes);
        bytes.extend_from_slice(b"\r\n");
        if !is_long {
            push_size_line(GZIP_FLUSH.len(), &mut bytes);
            bytes.extend_from_slice(&GZIP_FLUSH);
            bytes.extend_from_slice(b"\r\n");
        }
        debug_assert_eq!(bytes.len(), frame_bytes, "the length is known before");
        Frame {
            bytes: bytes.into_boxed_slice(),
            id_start: u32::try_from(body_start + id.start).expect("an id starts within the first 4 GB"),
            id_length: u32::try_from(id.len()).expect("an id has less than 4 GB"),
            chunk_start: u8::try_from(chunk_start).expect("two short chunks have at most 25 bytes"),
            body_start: u8::try_from(body_start).expect("a size line has at most 18 bytes"),
            fragments: None,
        }
    }

    /// The bytes for a connection, in up to three pieces: what stands before the event, it, and what follows it.
    pub fn pieces(&self, form: Form) -> [&[u8]; 3] {
        let Form { chunked, coding } = form;
        let Some(coding) = coding else {
            return [&[], if chunked { self.chunked() } else { self.plain() }, &[]];
        };
        if let Some(fragment) = self.fragment(coding) {
            return [&[], fragment.bytes(chunked), &[]];
        }
        let chunk_start = usize::from(self.chunk_start);
        let Some(gzip_start) = chunk_start.checked_sub(GZIP_CHUNK_BYTES) else {
            debug_assert!(false, "complete: a long event was stored for the codings there are");
            return self.pieces(Form { chunked, coding: None });
        };
        let block = match coding {
            Coding::Gzip => gzip_start..chunk_start,
            Coding::Zstd => 0..gzip_start,
        };
        match (chunked, coding) {
            (true, Coding::Gzip) => [&[], &self.bytes[gzip_start..], &[]],
            (true, Coding::Zstd) => [&self.bytes[block], self.chunked(), &[]],
            (false, _) => {
                [&self.bytes[block.start + SHORT_SIZE_LINE_BYTES..block.end - 2], self.plain(), flush(coding)]
            }
        }
    }

    /// How many pieces with something in them there are, at most.
    pub fn pieces_max(form: Form) -> usize {
        match (form.coding, form.chunked) {
            (None, _) | (Some(Coding::Gzip), true) => 1,
            (Some(Coding::Zstd), _) => 2,
            (Some(Coding::Gzip), false) => 3,
        }
    }

    /// How many bytes [`Frame::pieces`] has.
    pub fn length(&self, form: Form) -> usize {
        self.pieces(form).iter().map(|piece| piece.len()).sum()
    }

    /// The whole as one chunk of an HTTP/1.1 body.
    pub fn chunked(&self) -> &[u8] {
        &self.bytes[usize::from(self.chunk_start)..self.chunk_end()]
    }

    /// Where the CRLF behind the event ends.
    fn chunk_end(&self) -> usize {
        self.bytes.len() - if self.is_long() { 0 } else { GZIP_FLUSH_CHUNK_BYTES }
    }

    /// Whether it is too long for one block of a coding.
    fn is_long(&self) -> bool {
        self.chunk_start == 0
    }

    /// The event stream bytes alone.
    pub fn plain(&self) -> &[u8] {
        &self.bytes[usize::from(self.body_start)..self.chunk_end() - 2]
    }

    /// The event's id.
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.id_range()]).expect("an id is written from a str")
    }

    /// Takes the event apart again.
    fn fields(&self) -> FrameFields {
        let text = std::str::from_utf8(self.plain()).expect("an event is written from texts");
        let id = self.id_in_event();
        let mut fields = FrameFields::default();
        for line in text[..id.start].split_inclusive('\n') {
            let value =
                |name: &str| line.strip_prefix(name).and_then(|value| value.strip_suffix('\n')).map(str::to_owned);
            fields.event_type = fields.event_type.take().or_else(|| value("event: "));
            fields.retry = fields.retry.take().or_else(|| value("retry: "));
        }
        let lines = &text[id.end + 1..text.len() - 1];
        fields.data.reserve(lines.len());
        for (index, line) in lines.split_terminator('\n').enumerate() {
            if index > 0 {
                fields.data.push('\n');
            }
            fields.data.push_str(line.strip_prefix("data: ").unwrap_or_default());
        }
        fields
    }

    /// What it takes in memory, everything made for codings included.
    pub fn memory_bytes(&self) -> usize {
        let fragments = self.fragments.iter().flat_map(|fragments| fragments.iter().flatten());
        self.bytes.len() + fragments.map(Fragment::memory_bytes).sum::<usize>()
    }

    fn fragment(&self, coding: Coding) -> Option<&Fragment> {
        self.fragments.as_ref()?[coding as usize].as_ref()
    }

    /// Where in the event the line with the id ends, and the data begins.
    fn id_line_end(&self) -> usize {
        self.id_range().end + 1 - usize::from(self.body_start)
    }

    /// Where the id stands in [`Frame::plain`].
    pub fn id_in_event(&self) -> Range<usize> {
        let start = self.id_start_in_event();
        start..start + self.id_length as usize
    }

    fn id_start_in_event(&self) -> usize {
        self.id_start as usize - usize::from(self.body_start)
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
    use crate::protocol::coding::decoder::Decoder;
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

    proptest! {
        #[test]
        fn what_a_frame_is_made_of_is_found_again(
            id in proptest::option::of("[a-z :]{1,8}"),
            event_type in proptest::option::of("[ -~é]{1,8}"),
            retry in proptest::option::of("[0-9]{1,20}"),
            data in "([ a:é\r\n\u{0}]|\r\n|data: |id: ){0,12}",
        ) {
            let draft = FrameDraft::new(&update(id.as_deref(), event_type.as_deref(), retry.as_deref(), &data));
            let data = event_stream::normalise_line_ends(&data).into_owned();
            prop_assert_eq!(draft.fields(), FrameFields { event_type, retry, data });
        }
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
    fn a_stored_frame_is_the_frame_it_was() {
        let codings = Codings::new(&Coding::ALL);
        for (id, data) in [(Some("mine"), "a\nb"), (None, ""), (None, &*"x".repeat(100_000))] {
            let mut draft = FrameDraft::new(&update(id, Some("t"), Some("5"), data));
            draft.store(codings);
            let frame = draft.finish(&hub_id());
            assert_eq!(Frame::stored(frame.plain(), frame.id_in_event(), codings), Some(frame));
        }
        assert_eq!(Frame::stored(b"data", 2..9, codings), None);
        assert_eq!(Frame::stored(b"id: \xff", 4..5, codings), None);
    }

    #[test]
    fn a_withdrawn_frame_gets_another_id() {
        let update = update(None, None, None, "x");
        let frame = FrameDraft::new(&update).finish(&IdCipher::new([7; 32]).encode(1, 1));
        assert_eq!(FrameDraft::withdrawn(frame, true).finish(&hub_id()), FrameDraft::new(&update).finish(&hub_id()));
    }

    #[test]
    fn a_placeholder_in_the_data_is_data() {
        let frame = FrameDraft::new(&update(None, Some(ID_PLACEHOLDER), None, ID_PLACEHOLDER)).finish(&hub_id());
        let text = String::from_utf8(frame.plain().to_vec()).unwrap();
        let id = String::from_utf8(hub_id().to_vec()).unwrap();
        assert_eq!(text, format!("event: {ID_PLACEHOLDER}\nid: {id}\ndata: {ID_PLACEHOLDER}\n\n"));
    }

    fn decoded(form: Form, frames: &[&Frame]) -> Vec<u8> {
        let Some(coding) = form.coding else {
            return frames.iter().flat_map(|frame| frame.plain().to_vec()).collect();
        };
        let mut decoder = Decoder::new(coding);
        decoder.push(coding.header()).unwrap();
        let decode = |frame: &&Frame| {
            let pieces = frame.pieces(form);
            assert!(pieces.iter().filter(|piece| !piece.is_empty()).count() <= Frame::pieces_max(form));
            let bytes = pieces.concat();
            assert_eq!(bytes.len(), frame.length(form));
            let bytes = if form.chunked { unchunked(&bytes) } else { bytes };
            assert_flushed(form, &bytes);
            // Whole as soon as it is there.
            decoder.push(&bytes).unwrap()
        };
        frames.iter().flat_map(decode).collect()
    }

    /// Some decoders of gzip give out what they have only then.
    fn assert_flushed(form: Form, bytes: &[u8]) {
        assert!(form.coding != Some(Coding::Gzip) || bytes.ends_with(&[0, 0, 0xff, 0xff]), "{form:?}");
    }

    fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let line = bytes.windows(2).position(|two| two == b"\r\n").unwrap();
            let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).unwrap();
            assert!(size > 0, "the end of the body");
            out.extend_from_slice(&bytes[line + 2..][..size]);
            assert_eq!(&bytes[line + 2 + size..][..2], b"\r\n");
            bytes = &bytes[line + size + 4..];
        }
        out
    }

    #[test]
    fn heartbeats_are_the_same_comment_in_every_form() {
        for form in Form::ALL {
            let bytes = if form.chunked { unchunked(heartbeat(form)) } else { heartbeat(form).to_vec() };
            assert_flushed(form, &bytes);
            let comment = match form.coding {
                None => bytes,
                Some(coding) => {
                    Decoder::new(coding).push(&[coding.header(), &bytes].concat()).expect("a heartbeat decodes")
                }
            };
            assert_eq!(comment, b":\n", "{form:?}");
        }
    }

    #[test]
    fn an_id_is_filled_in_where_the_data_is_compressed_already() {
        let data = "a row of words, a row of words ".repeat(30);
        let mut compressor = Compressor::default();
        for (event_type, retry, lengths) in [(None, None, 1), (Some("change"), Some("500"), 155), (Some("x"), None, 2)]
        {
            let data = data[..data.len() / lengths].to_owned();
            let plain = FrameDraft::new(&update(None, event_type, retry, &data)).finish(&hub_id());
            let mut draft = FrameDraft::new(&update(None, event_type, retry, &data));
            for coding in Coding::ALL {
                assert_eq!(
                    draft.compress(coding, &mut compressor).is_some(),
                    lengths < 100,
                    "{coding:?}: only if it gets smaller"
                );
            }
            let frame = draft.finish(&hub_id());
            for form in Form::ALL {
                assert_eq!(decoded(form, &[&frame]), plain.plain(), "{form:?}");
            }
            assert_eq!(frame.memory_bytes() > plain.memory_bytes(), lengths < 100);
            assert_eq!(frame.chunked(), plain.chunked());
        }
    }

    #[test]
    fn an_event_too_long_for_one_block_is_copied_for_the_codings_there_are() {
        let codings = Codings::new(&Coding::ALL);
        for bytes in [BLOCK_BYTES_MAX - 80, BLOCK_BYTES_MAX, 200_000] {
            let data: String = (0..bytes).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
            for (id, event_type) in [(None, None), (None, Some("x")), (Some("mine"), Some("x")), (None, Some(&*data))] {
                let draft = || FrameDraft::new(&update(id, event_type, None, &data));
                let mut stored = draft();
                stored.store(codings);
                let long = stored.is_long();
                assert_eq!(long, bytes >= BLOCK_BYTES_MAX || event_type == Some(&data), "{bytes}");
                assert_eq!(stored.memory_bytes() > 3 * bytes, long, "{bytes}");
                let made_bytes = stored.memory_bytes();
                let frame = stored.finish(&hub_id());
                assert_eq!(frame.memory_bytes(), made_bytes, "nothing is left to be made when it gets its place");
                assert_eq!(frame.plain(), draft().finish(&hub_id()).plain());
                for form in Form::ALL {
                    assert_eq!(decoded(form, &[&frame]), frame.plain(), "{form:?} {bytes}");
                }
                let mut unread = draft();
                unread.store(Codings::default());
                assert!(unread.finish(&hub_id()).fragments.is_none(), "nobody needs them");
            }
            let mut compressed = FrameDraft::new(&update(None, None, None, &data));
            assert!(compressed.compress(Coding::Gzip, &mut Compressor::default()).is_some());
            compressed.store(codings);
            let compressed = compressed.finish(&hub_id());
            assert!(compressed.fragment(Coding::Gzip).unwrap().memory_bytes() < bytes / 10, "what is there stays");
            for form in Form::ALL {
                assert_eq!(decoded(form, &[&compressed]), compressed.plain(), "{form:?} {bytes}");
            }
        }
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

        #[test]
        fn events_sent_in_any_form_decode_to_the_same_stream(
            datas in proptest::collection::vec(("[a-d ]{0,700}", any::<bool>()), 1..6),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 1..10),
        ) {
            let mut compressor = Compressor::default();
            let frames: Vec<Frame> = datas
                .iter()
                .map(|(data, compress)| {
                    let mut draft = FrameDraft::new(&update(None, None, None, data));
                    for coding in Coding::ALL.into_iter().filter(|_| *compress) {
                        draft.compress(coding, &mut compressor);
                    }
                    draft.finish(&hub_id())
                })
                .collect();
            let frames: Vec<&Frame> = order.iter().map(|index| &frames[index.index(datas.len())]).collect();
            let plain = decoded(Form { chunked: false, coding: None }, &frames);
            for form in Form::ALL {
                prop_assert_eq!(decoded(form, &frames), &plain[..]);
            }
        }
    }
}
