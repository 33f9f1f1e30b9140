//! The event stream encoding of the HTML standard, section 9.2: the writer, and a reader for clients.

use std::borrow::Cow;
use std::mem;

use thiserror::Error;

/// Appends one event.
///
/// The value always stands after one space, so that its own leading space survives. `data` is cut at CRLF, CR and LF,
/// one line per piece; empty data is one empty line, without which clients drop the event. `event_type`, `retry` and
/// `id` must not hold line ends: valid strings (see [`text`](super::text)) don't.
pub fn encode(out: &mut Vec<u8>, event_type: Option<&str>, retry: Option<&str>, id: &str, data: &str) {
    if let Some(event_type) = event_type {
        field(out, b"event", event_type.as_bytes());
    }
    if let Some(retry) = retry {
        field(out, b"retry", retry.as_bytes());
    }
    field(out, b"id", id.as_bytes());
    for line in lines(data.as_bytes()) {
        field(out, b"data", line);
    }
    out.push(b'\n');
}

/// How many bytes [`encode`] appends.
pub fn encoded_bytes(event_type: Option<&str>, retry: Option<&str>, id: &str, data: &str) -> usize {
    let field = |name: &str, value: usize| name.len() + 2 + value + 1;
    let optional = |name, value: Option<&str>| value.map_or(0, |value| field(name, value.len()));
    let lines: usize = lines(data.as_bytes()).map(|line| field("data", line.len())).sum();
    optional("event", event_type) + optional("retry", retry) + field("id", id.len()) + lines + 1
}

pub(super) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The pieces between line ends: one more than there are line ends.
fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr::memchr2(b'\r', b'\n', text) else {
            return rest.take();
        };
        let length = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&text[end + length..]);
        Some(&text[..end])
    })
}

/// An event as a client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The type; `None` stands for the standard's `message`.
    pub event_type: Option<String>,
    /// The lines, joined by LF.
    pub data: String,
    /// The last event id, this event's or an earlier one's; empty when none was set.
    pub id: String,
}

/// The stream holds an event or a line longer than the reader takes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the stream holds an event of more than {bytes_max} bytes")]
pub struct TooLong {
    /// The limit.
    pub bytes_max: usize,
}

/// Reads an event stream as its bytes arrive, cut anywhere.
#[derive(Clone, Debug)]
pub struct Decoder {
    bytes_max: usize,
    /// The unfinished line.
    line: Vec<u8>,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
    /// A byte order mark may only stand in the first line.
    at_start: bool,
    data: String,
    event_type: String,
    id: String,
    dispatched_id: String,
    retry_ms: Option<u64>,
    comments: u64,
}

impl Decoder {
    /// A reader that keeps at most `bytes_max` of an unfinished event, and of an unfinished line.
    pub fn new(bytes_max: usize) -> Decoder {
        Decoder {
            bytes_max,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            data: String::new(),
            event_type: String::new(),
            id: String::new(),
            dispatched_id: String::new(),
            retry_ms: None,
            comments: 0,
        }
    }

    /// Takes the next bytes and hands out every event they complete. After an error the reader is of no more use.
    pub fn push(&mut self, mut bytes: &[u8], on_event: &mut impl FnMut(Event)) -> Result<(), TooLong> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', bytes) {
            self.extend_line(&bytes[..end])?;
            self.end_line(on_event)?;
            let ended_by_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if ended_by_cr {
                self.after_cr = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.extend_line(bytes)
    }

    /// The id to reconnect with: that of the last event, empty when there was none.
    pub fn last_event_id(&self) -> &str {
        &self.dispatched_id
    }

    /// The reconnection time the stream asked for, in milliseconds.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// How many comment lines there were: heartbeats, as a rule.
    pub fn comments(&self) -> u64 {
        self.comments
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.check_room(self.line.len() + bytes.len())?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn check_room(&self, bytes: usize) -> Result<(), TooLong> {
        if bytes > self.bytes_max { Err(TooLong { bytes_max: self.bytes_max }) } else { Ok(()) }
    }

    fn end_line(&mut self, on_event: &mut impl FnMut(Event)) -> Result<(), TooLong> {
        let mut buffer = mem::take(&mut self.line);
        let mut line = &buffer[..];
        if mem::take(&mut self.at_start) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(on_event);
        } else if line[0] == b':' {
            self.comments += 1;
        } else {
            let colon = memchr::memchr(b':', line).unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            self.take_field(&line[..colon], &String::from_utf8_lossy(value))?;
        }
        // The allocation serves the next line.
        buffer.clear();
        self.line = buffer;
        Ok(())
    }

    fn take_field(&mut self, name: &[u8], value: &str) -> Result<(), TooLong> {
        match name {
            b"data" => {
                self.check_room(self.data.len() + value.len() + 1)?;
                self.data.push_str(value);
                self.data.push('\n');
            }
            b"event" => value.clone_into(&mut self.event_type),
            b"id" if !value.contains('\0') => value.clone_into(&mut self.id),
            b"retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                // Digits only, so the one way to fail is to be beyond any clock.
                self.retry_ms = Some(value.parse().unwrap_or(u64::MAX));
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, on_event: &mut impl FnMut(Event)) {
        self.id.clone_into(&mut self.dispatched_id);
        let event_type = mem::take(&mut self.event_type);
        if self.data.is_empty() {
            return;
        }
        let mut data = mem::take(&mut self.data);
        data.pop();
        let event_type = Some(event_type).filter(|name| !name.is_empty());
        on_event(Event { event_type, data, id: self.id.clone() });
    }
}

/// The data as a client sees it: every line end an LF.
pub fn normalise_line_ends(data: &str) -> Cow<'_, str> {
    if data.contains('\r') { Cow::Owned(data.replace("\r\n", "\n").replace('\r', "\n")) } else { Cow::Borrowed(data) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 1 << 16;

    fn encoded(event_type: Option<&str>, retry: Option<&str>, id: &str, data: &str) -> String {
        let mut out = Vec::new();
        encode(&mut out, event_type, retry, id, data);
        String::from_utf8(out).unwrap()
    }

    fn decode(stream: &[u8]) -> (Vec<Event>, Decoder) {
        let (mut decoder, mut events) = (Decoder::new(BYTES_MAX), Vec::new());
        decoder.push(stream, &mut |event| events.push(event)).unwrap();
        (events, decoder)
    }

    fn event(event_type: Option<&str>, data: &str, id: &str) -> Event {
        Event { event_type: event_type.map(str::to_owned), data: data.into(), id: id.into() }
    }

    #[test]
    fn fields_stand_in_their_order_and_a_blank_line_ends_the_event() {
        assert_eq!(
            encoded(Some("price"), Some("1500"), "urn:uuid:5f1b", "first line\nsecond line"),
            "event: price\nretry: 1500\nid: urn:uuid:5f1b\ndata: first line\ndata: second line\n\n"
        );
        assert_eq!(encoded(None, Some("0"), "1", "x"), "retry: 0\nid: 1\ndata: x\n\n");
    }

    #[test]
    fn data_is_cut_at_crlf_cr_and_lf_only() {
        let lines = |data: &str| encoded(None, None, "1", data);
        assert_eq!(lines("a\r\nb\rc\nd"), "id: 1\ndata: a\ndata: b\ndata: c\ndata: d\n\n");
        assert_eq!(lines("\n\r\r\n"), "id: 1\ndata: \ndata: \ndata: \ndata: \n\n");
        assert_eq!(lines("a\u{2028}b\u{85}c\u{B}d\u{C}e"), "id: 1\ndata: a\u{2028}b\u{85}c\u{B}d\u{C}e\n\n");
    }

    #[test]
    fn empty_data_is_one_empty_line() {
        assert_eq!(encoded(None, None, "1", ""), "id: 1\ndata: \n\n");
        assert_eq!(decode(b"id: 1\ndata: \n\n").0, [event(None, "", "1")]);
    }

    #[test]
    fn leading_spaces_survive() {
        let stream = encoded(Some(" mercure"), None, " 1", " x\n  y");
        assert_eq!(decode(stream.as_bytes()).0, [event(Some(" mercure"), " x\n  y", " 1")]);
    }

    #[test]
    fn the_examples_of_the_html_standard_are_read_as_it_says() {
        let (events, _) = decode(b"data: YHOO\ndata: +2\ndata: 10\n\n");
        assert_eq!(events, [event(None, "YHOO\n+2\n10", "")]);
        let (events, decoder) =
            decode(b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n");
        assert_eq!(
            events,
            [event(None, "first event", "1"), event(None, "second event", ""), event(None, " third event", "")]
        );
        assert_eq!(decoder.comments(), 1);
        assert_eq!(decode(b"data\n\ndata\ndata\n\ndata:").0, [event(None, "", ""), event(None, "\n", "")]);
        assert_eq!(decode(b"data:test\n\ndata: test\n\n").0, [event(None, "test", ""), event(None, "test", "")]);
    }

    #[test]
    fn an_id_outlives_its_event_and_one_with_nul_is_ignored() {
        let (events, decoder) = decode(b"id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\nid: 3\n\nid: 4\n");
        assert_eq!(events, [event(None, "a", "1"), event(None, "b", "1"), event(None, "c", "1")]);
        assert_eq!(decoder.last_event_id(), "3");
    }

    #[test]
    fn a_type_without_data_is_forgotten() {
        assert_eq!(decode(b"event: x\n\ndata: a\n\n").0, [event(None, "a", "")]);
    }

    #[test]
    fn retry_is_taken_from_digits_only() {
        assert_eq!(decode(b"retry: 1500\n").1.retry_ms(), Some(1500));
        for other in ["retry: 1.5\n", "retry\n", "retry: -1\n", "retry:  1\n", "Retry: 1\n"] {
            assert_eq!(decode(other.as_bytes()).1.retry_ms(), None, "{other}");
        }
    }

    #[test]
    fn a_byte_order_mark_counts_in_the_first_line_only() {
        assert_eq!(decode(b"\xEF\xBB\xBFdata: a\n\n").0, [event(None, "a", "")]);
        assert_eq!(decode(b"\n\xEF\xBB\xBFdata: a\n\n").0, []);
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(decode(b"data: a\xFFb\n\n").0, [event(None, "a\u{FFFD}b", "")]);
    }

    #[test]
    fn an_endless_line_and_an_endless_event_are_errors() {
        let mut decoder = Decoder::new(10);
        assert_eq!(decoder.push(b"data: 78910", &mut |_| {}), Err(TooLong { bytes_max: 10 }));
        let mut decoder = Decoder::new(10);
        assert_eq!(decoder.push(&b"data:a\n".repeat(5), &mut |_| {}), Ok(()));
        assert_eq!(decoder.push(b"data:a\n", &mut |_| {}), Err(TooLong { bytes_max: 10 }));
    }

    fn name() -> impl Strategy<Value = String> {
        "[ -~é漢]{1,8}"
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_however_the_bytes_are_cut(
            originals in proptest::collection::vec(
                (proptest::option::of(name()), name(), "([ a:é\r\n\0]|\r\n|\u{FEFF}){0,12}"), 0..4),
            chunk in 1_usize..9,
            bom in any::<bool>(),
        ) {
            let mut stream = if bom { b"\xEF\xBB\xBF".to_vec() } else { Vec::new() };
            for (event_type, id, data) in &originals {
                encode(&mut stream, event_type.as_deref(), None, id, data);
                stream.extend_from_slice(b":\n");
            }
            let (mut decoder, mut events) = (Decoder::new(BYTES_MAX), Vec::new());
            for bytes in stream.chunks(chunk) {
                decoder.push(bytes, &mut |event| events.push(event)).unwrap();
            }
            let expected: Vec<_> = originals
                .iter()
                .map(|(event_type, id, data)| event(event_type.as_deref(), &normalise_line_ends(data), id))
                .collect();
            prop_assert_eq!(events, expected);
            prop_assert_eq!(decoder.comments(), originals.len() as u64);
        }

        #[test]
        fn any_stream_means_the_same_however_it_is_cut(
            stream in "([ a:\r\n\0]|data: |id:|event:|\r\n|\u{FEFF}){0,40}",
            chunk in 1_usize..6,
        ) {
            let (mut decoder, mut events) = (Decoder::new(BYTES_MAX), Vec::new());
            for bytes in stream.as_bytes().chunks(chunk) {
                decoder.push(bytes, &mut |event| events.push(event)).unwrap();
            }
            prop_assert_eq!(events, decode(stream.as_bytes()).0);
        }
    }
}
