//! What an event of a run carries, and how to find it again in a stream without parsing the stream.
//!
//! The data of an event is `n=<number> t=<nanoseconds> xxxx… e=<size>`: fields of fixed width, so that a request is
//! made by overwriting digits and every event of a size has the same length. `n` is the event's number, `t` the time
//! it was meant to be sent at, and `e` the length of the data: a receiver that counts other than that many bytes
//! between the two ends got a torn event.

use std::io::Write;

/// How many publishing connections a server may have, and how many topics may be published to: a number is
/// `(sequence * TOPICS_MAX + topic) * PUBLISHERS_MAX + publisher`.
pub(crate) const PUBLISHERS_MAX: u64 = 64;
/// See [`PUBLISHERS_MAX`]. Sixteen digits leave 2^27 sequence numbers to each topic of each connection.
pub(crate) const TOPICS_MAX: u64 = 1 << 20;
/// The shortest data that holds the three fields, in bytes.
pub(crate) const SIZE_BYTES_MIN: usize = 64;
const NUMBER_DIGITS: u8 = 16;
const TIME_DIGITS: u8 = 20;
const SIZE_DIGITS: u8 = 8;

/// An event's number: who published it, to which topic, and as which event of that publisher to that topic, counted
/// from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u64);

impl Number {
    /// The number of a publisher's event to the first topic.
    pub(crate) fn new(publisher: usize, sequence: u64) -> Self {
        Self::on(0, publisher, sequence)
    }

    /// The number of a publisher's event to a topic.
    pub(crate) fn on(topic: usize, publisher: usize, sequence: u64) -> Self {
        Self((sequence * TOPICS_MAX + topic as u64) * PUBLISHERS_MAX + publisher as u64)
    }

    /// The publisher's index.
    pub(crate) fn publisher(self) -> usize {
        (self.0 % PUBLISHERS_MAX) as usize
    }

    /// The topic's index.
    pub(crate) fn topic(self) -> usize {
        (self.0 / PUBLISHERS_MAX % TOPICS_MAX) as usize
    }

    /// The publisher's count of its events to the topic, from 1.
    pub(crate) fn sequence(self) -> u64 {
        self.0 / PUBLISHERS_MAX / TOPICS_MAX
    }
}

/// Bytes around one event's data, with the places of its digits known.
pub(crate) struct Template {
    bytes: Vec<u8>,
    number_at: usize,
    time_at: usize,
}

impl Template {
    /// Puts the data of an event of `size` bytes between two texts. `space` and `equals` are how the surroundings
    /// write these two characters: plainly in a stream, `+` and `%3D` in a form.
    pub(crate) fn new(before: &[u8], size: usize, after: &[u8], space: &str, equals: &str) -> Self {
        assert!(size >= SIZE_BYTES_MIN, "events are at least {SIZE_BYTES_MIN} bytes");
        let mut bytes = before.to_vec();
        let zeros = |bytes: &mut Vec<u8>, digits: u8| {
            let at = bytes.len();
            bytes.extend(std::iter::repeat_n(b'0', digits.into()));
            at
        };
        bytes.extend_from_slice(format!("n{equals}").as_bytes());
        let number_at = zeros(&mut bytes, NUMBER_DIGITS);
        bytes.extend_from_slice(format!("{space}t{equals}").as_bytes());
        let time_at = zeros(&mut bytes, TIME_DIGITS);
        bytes.extend_from_slice(space.as_bytes());
        let fixed = 3 * 2 + 3 + usize::from(NUMBER_DIGITS + TIME_DIGITS + SIZE_DIGITS);
        bytes.extend(std::iter::repeat_n(b'x', size - fixed));
        bytes.extend_from_slice(format!("{space}e{equals}{size:08}").as_bytes());
        bytes.extend_from_slice(after);
        Self { bytes, number_at, time_at }
    }

    /// The bytes for one event.
    pub(crate) fn fill(&mut self, number: Number, time_ns: u64) -> &[u8] {
        let mut digits = &mut self.bytes[self.number_at..];
        write!(digits, "{:016}", number.0).expect("room for 16 digits");
        let mut digits = &mut self.bytes[self.time_at..];
        write!(digits, "{time_ns:020}").expect("room for 20 digits");
        &self.bytes
    }
}

/// One event of `size` bytes as a chunk of a chunked stream: what the floor sends, as long on the wire as what a
/// Mercure hub sends.
pub(crate) fn stream_chunk(size: usize) -> Template {
    let before = b"id: urn:uuid:00000000-0000-8000-8000-000000000000\ndata: ";
    let after = b"\n\n";
    let chunk = before.len() + size + after.len();
    let mut head = format!("{chunk:x}\r\n").into_bytes();
    head.extend_from_slice(before);
    Template::new(&head, size, b"\n\n\r\n", " ", "=")
}

/// What a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A whole event.
    Event {
        /// Its number.
        number: Number,
        /// When it was meant to be sent, on the monotonic clock.
        time_ns: u64,
    },
    /// An event whose end is missing or isn't as many bytes after its start as it says.
    Torn,
    /// So many comment lines, in a piece without an event: heartbeats, if they come while nothing is published.
    Comments(u64),
}

/// Finds events in the bytes of one stream, in pieces of any size.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scanner {
    value: u64,
    number: u64,
    time_ns: u64,
    /// Bytes seen after the equals sign of `n=`.
    since: u32,
    /// Which field's digits are being read.
    field: u8,
    digits_left: u8,
    /// The last byte of the piece before: a field's letter and its equals sign may be apart.
    previous: u8,
    inside: bool,
}

impl Scanner {
    /// Looks at the next piece of the stream and hands over each event at its last byte.
    pub(crate) fn scan(&mut self, whole: &[u8], mut found: impl FnMut(Found)) {
        let (mut piece, before) = (whole, self.previous);
        let mut any = self.inside;
        let mut event = |what| {
            any = true;
            found(what);
        };
        while !piece.is_empty() {
            let used = if self.digits_left > 0 { self.digits(piece, &mut event) } else { self.seek(piece, &mut event) };
            self.since = self.since.saturating_add(used as u32);
            if self.field == b'n' && self.digits_left == NUMBER_DIGITS {
                self.since = 0;
            }
            self.previous = piece[used - 1];
            piece = &piece[used..];
        }
        // Of pieces with events nobody asks this, and it would cost more than finding them.
        let comments = if any || self.inside { 0 } else { comment_lines(whole, before) };
        if comments > 0 {
            found(Found::Comments(comments));
        }
    }

    /// Reads the field's digits that are there. Answers the bytes passed.
    fn digits(&mut self, piece: &[u8], found: &mut impl FnMut(Found)) -> usize {
        // Local variables: this and the search for equals signs are all a delivery costs here.
        let mut value = self.value;
        let wanted = piece.len().min(self.digits_left.into());
        let mut read = 0;
        for &byte in &piece[..wanted] {
            if !byte.is_ascii_digit() {
                break;
            }
            value = value.wrapping_mul(10).wrapping_add((byte - b'0').into());
            read += 1;
        }
        self.value = value;
        if read < wanted {
            // Not one of our fields after all, or one that was cut.
            self.digits_left = 0;
            if self.inside {
                self.inside = false;
                found(Found::Torn);
            }
            return read + 1;
        }
        self.digits_left -= wanted as u8;
        if self.digits_left == 0 {
            match self.field {
                b'n' => self.number = value,
                b't' => self.time_ns = value,
                _ => self.end(wanted, found),
            }
        }
        wanted
    }

    /// The end of an event, whose last `fresh` bytes `since` lacks still; `n=` came before what it counts.
    fn end(&mut self, fresh: usize, found: &mut impl FnMut(Found)) {
        self.inside = false;
        let size = u64::from(self.since) + fresh as u64 + 2;
        found(if self.value == size {
            Found::Event { number: Number(self.number), time_ns: self.time_ns }
        } else {
            Found::Torn
        });
    }

    /// Goes to the next equals sign that belongs to a field, or to the end. Answers the bytes passed.
    fn seek(&mut self, piece: &[u8], found: &mut impl FnMut(Found)) -> usize {
        let Some(at) = memchr::memchr(b'=', piece) else {
            return piece.len();
        };
        let letter = if at == 0 { self.previous } else { piece[at - 1] };
        let digits = match letter {
            b'n' => NUMBER_DIGITS,
            b't' if self.inside => TIME_DIGITS,
            b'e' if self.inside => SIZE_DIGITS,
            _ => return at + 1,
        };
        if letter == b'n' {
            if self.inside {
                found(Found::Torn);
            }
            self.inside = true;
        }
        self.field = letter;
        self.digits_left = digits;
        self.value = 0;
        at + 1
    }
}

/// Lines that begin with a colon. `before` is the byte before the text, 0 for none.
fn comment_lines(text: &[u8], before: u8) -> u64 {
    let begins = |at: usize| matches!(if at == 0 { before } else { text[at - 1] }, 0 | b'\r' | b'\n');
    memchr::memchr_iter(b':', text).filter(|at| begins(*at)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan_in_pieces(bytes: &[u8], piece: usize) -> Vec<Found> {
        let mut scanner = Scanner::default();
        let mut all = Vec::new();
        for part in bytes.chunks(piece) {
            scanner.scan(part, |found| all.push(found));
        }
        all.retain(|found| !matches!(found, Found::Comments(_)));
        all
    }

    fn event(publisher: usize, sequence: u64, time_ns: u64) -> Found {
        Found::Event { number: Number::new(publisher, sequence), time_ns }
    }

    #[test]
    fn events_are_found_however_the_stream_is_cut() {
        let mut stream = b":\n\nid: a=b\n".to_vec();
        for (size, sequence) in [(64, 1), (300, 2), (4096, 3)] {
            let mut template = Template::new(b"id: urn:x\ndata: ", size, b"\n\n", " ", "=");
            stream.extend_from_slice(template.fill(Number::new(5, sequence), 77 + sequence));
            stream.extend_from_slice(b":\n");
        }
        let expected = [event(5, 1, 78), event(5, 2, 79), event(5, 3, 80)];
        for piece in (1..100).chain([5000]) {
            assert_eq!(scan_in_pieces(&stream, piece), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn bytes_lost_doubled_or_a_lost_end_are_seen() {
        let mut template = Template::new(b"data: ", 300, b"\n\n", " ", "=");
        let whole = template.fill(Number::new(0, 1), 1).to_vec();
        assert_eq!(whole.len(), 6 + 300 + 2);
        let lost = [&whole[..100], &whole[101..]].concat();
        let doubled = [&whole[..100], &whole[99..]].concat();
        let cut = [&whole[..200], &whole[..]].concat();
        for piece in [1, 7, 1000] {
            assert_eq!(scan_in_pieces(&lost, piece), [Found::Torn]);
            assert_eq!(scan_in_pieces(&doubled, piece), [Found::Torn]);
            assert_eq!(scan_in_pieces(&cut, piece), [Found::Torn, event(0, 1, 1)]);
            assert_eq!(scan_in_pieces(&whole[..40], piece), []);
        }
    }

    #[test]
    fn comment_lines_are_counted_where_nothing_else_comes() {
        let count = |pieces: &[&[u8]]| {
            let mut scanner = Scanner::default();
            let mut all = Vec::new();
            pieces.iter().for_each(|piece| scanner.scan(piece, |found| all.push(found)));
            all
        };
        assert_eq!(count(&[b":\n", b":ping\r\n\r\n", b": a:b\n:\n"]), [1, 1, 2].map(Found::Comments));
        assert_eq!(count(&[b"data", b":x\n", b"id: a\n", b"\n\n"]), [], "fields are no comments");
        let mut event = Template::new(b":\nid: urn:x\ndata: ", 300, b"\n\n", " ", "=");
        let event = event.fill(Number::new(0, 1), 1);
        assert_eq!(count(&[event, b":\n"])[1..], [Found::Comments(1)]);
        assert_eq!(count(&[&event[..100], b":\n"]), [], "that is in the middle of an event");
    }

    #[test]
    fn a_number_keeps_its_three_parts() {
        let number = Number::on(1_048_575, 63, 12_345);
        assert_eq!((number.topic(), number.publisher(), number.sequence()), (1_048_575, 63, 12_345));
        assert!(Number::on(0, 0, 1 << 27).0 < 10_u64.pow(NUMBER_DIGITS.into()));
    }
}
