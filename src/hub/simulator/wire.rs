//! What a client reads: a response head, then an event stream, chunked if it speaks HTTP/1.1, and under a content coding if
//! it asked for one. Taken apart strictly, byte by byte as the hub writes them.

use crate::protocol::coding::{Coding, decoder};
use crate::protocol::event_stream::{Decoder, Event};

const EVENT_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// So many bytes of the empty line that ends the head have been seen.
    Head(usize),
    /// A body without chunks.
    Plain,
    /// The digits of a chunk's size and how many there were.
    Size(usize, usize),
    SizeEnd(usize),
    Data(usize),
    /// So many bytes of the line end after a chunk are still to come.
    DataEnd(usize),
    /// The same after the last chunk.
    LastEnd(usize),
    Over,
}

/// One connection's bytes.
#[derive(Debug)]
pub(super) struct Wire {
    stage: Stage,
    chunked: bool,
    coded: Option<decoder::Decoder>,
    decoder: Decoder,
}

impl Wire {
    pub(super) fn new(chunked: bool, coding: Option<Coding>) -> Wire {
        let coded = coding.map(decoder::Decoder::new);
        Wire { stage: Stage::Head(0), chunked, coded, decoder: Decoder::new(EVENT_BYTES_MAX) }
    }

    /// Takes the next bytes. An error is broken framing.
    pub(super) fn push(&mut self, mut bytes: &[u8], on_event: &mut impl FnMut(Event)) -> Result<(), String> {
        while let Some(&first) = bytes.first() {
            let mut taken = 1;
            self.stage = match self.stage {
                Stage::Head(seen) if first == b"\r\n\r\n"[seen] => match (seen, self.chunked) {
                    (3, true) => Stage::Size(0, 0),
                    (3, false) => Stage::Plain,
                    _ => Stage::Head(seen + 1),
                },
                Stage::Head(_) => Stage::Head(usize::from(first == b'\r')),
                Stage::Plain => {
                    taken = bytes.len();
                    self.decode(bytes, on_event)?;
                    Stage::Plain
                }
                Stage::Size(size, digits) => match (char::from(first).to_digit(16), first) {
                    (Some(digit), _) if digits < 8 => Stage::Size(size * 16 + digit as usize, digits + 1),
                    (None, b'\r') if digits > 0 => Stage::SizeEnd(size),
                    _ => return Err(format!("{first:#x} in a chunk's size")),
                },
                Stage::SizeEnd(0) if first == b'\n' => Stage::LastEnd(2),
                Stage::SizeEnd(size) if first == b'\n' => Stage::Data(size),
                Stage::Data(left) => {
                    taken = left.min(bytes.len());
                    self.decode(&bytes[..taken], on_event)?;
                    match left - taken {
                        0 => Stage::DataEnd(2),
                        left => Stage::Data(left),
                    }
                }
                Stage::DataEnd(2) if first == b'\r' => Stage::DataEnd(1),
                Stage::DataEnd(1) if first == b'\n' => Stage::Size(0, 0),
                Stage::LastEnd(2) if first == b'\r' => Stage::LastEnd(1),
                Stage::LastEnd(1) if first == b'\n' => Stage::Over,
                stage => return Err(format!("{first:#x} while expecting {stage:?}")),
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn decode(&mut self, bytes: &[u8], on_event: &mut impl FnMut(Event)) -> Result<(), String> {
        let decoded = self.coded.as_mut().map(|coded| coded.push(bytes)).transpose()?;
        self.decoder.push(decoded.as_deref().unwrap_or(bytes), on_event).map_err(|error| error.to_string())
    }

    /// The last chunk was received.
    pub(super) fn over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// The response head was received.
    pub(super) fn begun(&self) -> bool {
        !matches!(self.stage, Stage::Head(_))
    }

    /// No chunk is cut.
    pub(super) fn between_chunks(&self) -> bool {
        matches!(self.stage, Stage::Size(0, 0) | Stage::Over)
    }

    /// All of an event has arrived but the end of its chunk.
    pub(super) fn at_end_of_chunk(&self) -> bool {
        matches!(self.stage, Stage::DataEnd(_))
    }

    pub(super) fn comments(&self) -> u64 {
        self.decoder.comments()
    }
}
