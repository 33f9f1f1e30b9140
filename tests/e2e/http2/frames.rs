//! Frames (RFC 9113, section 4), written and read byte by byte.

use super::hpack;

/// What every client says first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// Settings of section 6.5.2.
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;

/// Why a stream or a connection ended (section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Code(pub(super) u32);

impl Code {
    pub(super) const NO_ERROR: Code = Code(0);
    pub(super) const PROTOCOL_ERROR: Code = Code(1);
    pub(super) const FLOW_CONTROL_ERROR: Code = Code(3);
    pub(super) const REFUSED_STREAM: Code = Code(7);
    pub(super) const CANCEL: Code = Code(8);
    pub(super) const ENHANCE_YOUR_CALM: Code = Code(11);
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// Its bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("short").to_be_bytes();
        assert_eq!(length[0], 0, "a length has 24 bits");
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The kind, flags and stream of a frame, and the length of its payload.
    pub(super) fn parse(head: &[u8]) -> (Frame, usize) {
        let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let frame = Frame { kind: head[3], flags: head[4], stream: number(&head[5..9]), payload: Vec::new() };
        (frame, number(&head[..3]) as usize)
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The number of four bytes at a place of the payload.
    pub(super) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

pub(super) fn headers(stream: u32, fields: &[(&str, &str)], flags: u8) -> Frame {
    Frame { kind: HEADERS, flags: flags | END_HEADERS, stream, payload: hpack::encode(fields) }
}

pub(super) fn data(stream: u32, payload: &[u8], flags: u8) -> Frame {
    Frame { kind: DATA, flags, stream, payload: payload.to_vec() }
}

pub(super) fn reset(stream: u32, code: Code) -> Frame {
    Frame { kind: RST_STREAM, flags: 0, stream, payload: code.0.to_be_bytes().to_vec() }
}

pub(super) fn settings(values: &[(u16, u32)]) -> Frame {
    let payload =
        values.iter().flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
    Frame { kind: SETTINGS, flags: 0, stream: 0, payload }
}

pub(super) fn ping(word: [u8; 8]) -> Frame {
    Frame { kind: PING, flags: 0, stream: 0, payload: word.to_vec() }
}

pub(super) fn window_update(stream: u32, bytes: u32) -> Frame {
    Frame { kind: WINDOW_UPDATE, flags: 0, stream, payload: bytes.to_be_bytes().to_vec() }
}

pub(super) fn continuation(stream: u32, payload: &[u8], flags: u8) -> Frame {
    Frame { kind: CONTINUATION, flags, stream, payload: payload.to_vec() }
}
