//! What a client has sent of a handshake, before it is worth looking at: each look costs, so bytes that come one by one don't get one each.

use super::record::{APPLICATION_DATA, HANDSHAKE, HEADER_BYTES, RECORD_BYTES_MAX};

/// Bytes of a message of a handshake, or of a record, that may be in memory before it is whole.
pub(super) const INCOMING_BYTES_MAX: usize = 32 * 1024;

/// What can be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// More has to come.
    Partial,
    /// There is something to be made something of.
    Whole,
    /// It can't become anything, or only something longer than a handshake has.
    Broken,
}

/// The first message, which may be spread over many records, and is looked at anew whenever some more has come.
#[derive(Debug, Default)]
pub(crate) struct FirstMessage {
    /// Where the record begins that wasn't whole.
    at: usize,
    /// Bytes of the message before it, and the first four of them: its kind and length.
    bytes: usize,
    prefix: Vec<u8>,
}

impl FirstMessage {
    /// `incoming`: all that has come so far. What isn't the first message of a handshake is for the library to judge.
    pub(crate) fn look(&mut self, incoming: &[u8]) -> Look {
        if incoming.len() > INCOMING_BYTES_MAX {
            return Look::Broken;
        }
        while let Some((header, body)) = incoming[self.at..].split_first_chunk::<HEADER_BYTES>() {
            let length = length(header);
            if header[0] != HANDSHAKE || length == 0 || length > RECORD_BYTES_MAX {
                return Look::Whole;
            }
            let body = &body[..length.min(body.len())];
            let prefix: Vec<u8> = self.prefix.iter().chain(body).take(4).copied().collect();
            if let [_, a, b, c] = prefix[..] {
                let wanted = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
                if wanted > INCOMING_BYTES_MAX {
                    return Look::Broken;
                }
                if self.bytes + body.len() >= wanted {
                    return Look::Whole;
                }
            }
            if body.len() < length {
                break;
            }
            (self.prefix, self.bytes, self.at) = (prefix, self.bytes + length, self.at + HEADER_BYTES + length);
        }
        Look::Partial
    }
}

/// The record that bytes begin with, later in a handshake, where none is empty.
pub(crate) fn next_record(bytes: &[u8]) -> Look {
    match bytes.split_first_chunk::<HEADER_BYTES>() {
        None => Look::Partial,
        Some((header, body)) => match length(header) {
            0 => Look::Broken,
            length if length > RECORD_BYTES_MAX || body.len() >= length => Look::Whole,
            _ => Look::Partial,
        },
    }
}

/// How many of these bytes are whole records.
pub(crate) fn whole_records(bytes: &[u8]) -> usize {
    records(bytes).map(|(_, length)| HEADER_BYTES + length).sum()
}

/// How many records of data there are, under TLS 1.3 all that follow the handshake, whatever they are.
pub(super) fn sealed_records(bytes: &[u8]) -> usize {
    records(bytes).filter(|&(kind, _)| kind == APPLICATION_DATA).count()
}

/// The kinds and lengths of whole records.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    std::iter::from_fn(move || {
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let length = length(header);
        bytes = body.get(length..)?;
        Some((header[0], length))
    })
}

fn length(header: &[u8; HEADER_BYTES]) -> usize {
    usize::from(u16::from_be_bytes([header[3], header[4]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Look {
        FirstMessage::default().look(bytes)
    }

    /// A record of a handshake.
    fn record(body: &[u8]) -> Vec<u8> {
        [&[HANDSHAKE, 3, 1, 0, body.len() as u8], body].concat()
    }

    #[test]
    fn the_first_message_is_looked_at_when_it_is_whole() {
        let message: Vec<u8> = [&[1, 0, 0, 60][..], &[7; 60]].concat();
        for piece in [1, 3, 5, 64] {
            let whole: Vec<u8> = message.chunks(piece).flat_map(record).collect();
            let mut all_at_once = FirstMessage::default();
            for end in 0..whole.len() {
                assert_eq!((first(&whole[..end]), all_at_once.look(&whole[..end])), (Look::Partial, Look::Partial));
            }
            assert_eq!((first(&whole), all_at_once.look(&whole)), (Look::Whole, Look::Whole), "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_first_message_is_judged_at_once_and_what_is_too_long_is_not_waited_for() {
        for other in [&[22, 3, 1, 0xff, 0xff][..], &[23, 3, 3, 0, 64], &[22, 3, 3, 0, 0], b"GET /"] {
            assert_eq!(first(other), Look::Whole, "{other:?}");
        }
        assert_eq!(first(&record(&[1, 0, 0x80, 0])), Look::Broken);
        let mut endless = FirstMessage::default();
        let looks = (0..).map(|n| record(&[1, 0, 0x7f, 0]).repeat(n)).map(|bytes| endless.look(&bytes));
        assert!(looks.take(INCOMING_BYTES_MAX).any(|look| look != Look::Partial), "not for ever");
    }

    #[test]
    fn later_records_are_looked_at_when_they_are_whole() {
        for kind in [20, 21, 22, 23] {
            let record = [kind, 3, 3, 0, 2, 1, 1];
            for end in 0..record.len() {
                assert_eq!(next_record(&record[..end]), Look::Partial);
                assert_eq!(whole_records(&[&record, &record[..end]].concat()), record.len());
            }
            assert_eq!((next_record(&record), whole_records(&record)), (Look::Whole, record.len()));
            assert_eq!(next_record(&[kind, 3, 3, 0, 0]), Look::Broken);
            assert_eq!(next_record(&[kind, 3, 3, 0xff, 0xff]), Look::Whole, "the library refuses it");
        }
        assert_eq!(sealed_records(&[20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 1, 9, 23, 3, 3, 0, 2, 9]), 1);
    }
}
