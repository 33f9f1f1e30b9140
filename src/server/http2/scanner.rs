//! Where frames begin, without reading what is in them: enough to count them (RFC 9113 §4.1).

use super::PREFACE;

/// Bytes of a frame's head.
const HEAD_BYTES: usize = 9;

/// Types of frames (§6).
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// Flags (§6).
pub(super) mod flag {
    pub(in super::super) const END_STREAM: u8 = 1;
    pub(in super::super) const ACK: u8 = 1;
    pub(in super::super) const END_HEADERS: u8 = 4;
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHead {
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Goes along with the bytes of one direction of a connection, however they are cut.
#[derive(Debug)]
pub(super) struct Scanner {
    /// Bytes that are no head yet: of the preface, or of the frame under way.
    skip: usize,
    head: [u8; HEAD_BYTES],
    have: usize,
    last: u8,
    /// There has been a frame, or none has to come.
    begun: bool,
}

impl Scanner {
    /// For what the client sends.
    pub(super) fn of_input() -> Scanner {
        Scanner { skip: PREFACE.len(), begun: false, ..Scanner::of_output() }
    }

    /// For what it is sent.
    pub(super) fn of_output() -> Scanner {
        Scanner { skip: 0, head: [0; HEAD_BYTES], have: 0, last: kind::DATA, begun: true }
    }

    /// Tells of every frame whose head is whole with these bytes.
    pub(super) fn scan(&mut self, mut bytes: &[u8], mut each: impl FnMut(FrameHead)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (HEAD_BYTES - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEAD_BYTES {
                let [a, b, c, kind, flags, d, e, f, g] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]);
                // The highest bit is reserved.
                let stream = u32::from_be_bytes([d & 0x7F, e, f, g]);
                (self.have, self.skip, self.last, self.begun) = (0, length as usize, kind, true);
                each(FrameHead { length, kind, flags, stream });
            }
        }
    }

    /// Whether a frame has begun that isn't all there, and has no body in it. The first one of a client's is due from the beginning.
    pub(super) fn is_within_frame(&self) -> bool {
        !self.begun || self.have > 0 || self.skip > 0 && self.last != kind::DATA
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(head: FrameHead) -> Vec<u8> {
        let mut bytes = head.length.to_be_bytes()[1..].to_vec();
        bytes.extend([head.kind, head.flags]);
        bytes.extend(head.stream.to_be_bytes());
        bytes.resize(bytes.len() + head.length as usize, 0xFF);
        bytes
    }

    fn heads() -> impl Strategy<Value = Vec<FrameHead>> {
        let head = (0..40_u32, 0..12_u8, any::<u8>(), 0..1_u32 << 31);
        let head = head.prop_map(|(length, kind, flags, stream)| FrameHead { length, kind, flags, stream });
        prop::collection::vec(head, 0..8)
    }

    proptest! {
        #[test]
        fn every_frame_is_found_however_the_bytes_are_cut(heads in heads(), cuts in prop::collection::vec(1_usize..30, 1..40)) {
            let mut bytes = PREFACE.to_vec();
            bytes.extend(heads.iter().copied().flat_map(frame));
            let (mut scanner, mut found, mut rest) = (Scanner::of_input(), Vec::new(), &bytes[..]);
            for cut in cuts.into_iter().cycle() {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                scanner.scan(piece, |head| found.push(head));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(scanner.is_within_frame(), heads.is_empty());
            prop_assert_eq!(found, heads);
        }
    }

    #[test]
    fn a_frame_is_under_way_until_its_last_byte_but_for_bodies() {
        let ping = frame(FrameHead { length: 8, kind: kind::PING, flags: 0, stream: 0 });
        let data = frame(FrameHead { length: 8, kind: kind::DATA, flags: 0, stream: 1 });
        let mut scanner = Scanner::of_output();
        for (bytes, within) in [(&ping[..3], true), (&ping[3..16], true), (&ping[16..], false), (&data[..12], false)] {
            scanner.scan(bytes, |_| ());
            assert_eq!(scanner.is_within_frame(), within);
        }
    }
}
