//! An entry as bytes, for engines that store bytes.
//!
//! ```text
//! version 1 │ flags 1 │ stamp of the log 8 │ published_ms 8 │ tag 4 │ topics: number, then each │ id? │ type? │ retry? │ data
//! ```
//!
//! Numbers are big-endian; the number of topics has 4 bytes, texts have their length in 4 bytes before them, but for the data, which is
//! the rest. The stamp is the beginning of the log's identity: who reads an entry sees of which log it is, without asking for anything else.

use thiserror::Error;

use super::{Entry, Identity};
use crate::protocol::topic::Topic;
use crate::protocol::update::Update;

/// What the first byte is.
const VERSION: u8 = 1;

/// Bytes of the stamp.
const STAMP_BYTES: usize = 8;

const ANNOUNCEMENT: u8 = 1;
const PRIVATE: u8 = 2;
const ID: u8 = 4;
const TYPE: u8 = 8;
const RETRY: u8 = 16;

/// Why bytes are no entry of this log.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// Another log's.
    #[error("an entry of another log")]
    OtherLog,
    /// A version of the format this hub doesn't know.
    #[error("it has the format {0}, which this version doesn't know; upgrade this hub")]
    Version(u8),
    /// Not written by a hub.
    #[error("no hub has written it")]
    Malformed,
}

/// The bytes of an entry of this log.
pub(super) fn encode(log: &Identity, entry: &Entry) -> Vec<u8> {
    let update = &entry.update;
    let flags = [
        (entry.announcement, ANNOUNCEMENT),
        (update.private, PRIVATE),
        (update.id.is_some(), ID),
        (update.event_type.is_some(), TYPE),
        (update.retry.is_some(), RETRY),
    ];
    let topics: usize = update.topics.iter().map(|topic| topic.as_str().len() + 4).sum();
    let mut bytes = Vec::with_capacity(64 + topics + update.data.len() + update.id.as_ref().map_or(0, String::len));
    bytes.push(VERSION);
    bytes.push(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
    bytes.extend_from_slice(&log.log[..STAMP_BYTES]);
    bytes.extend_from_slice(&entry.published_ms.to_be_bytes());
    bytes.extend_from_slice(&entry.tag.to_be_bytes());
    put_number(&mut bytes, update.topics.len());
    for topic in &update.topics {
        put_text(&mut bytes, topic.as_str());
    }
    for text in [&update.id, &update.event_type, &update.retry].into_iter().flatten() {
        put_text(&mut bytes, text);
    }
    bytes.extend_from_slice(update.data.as_bytes());
    bytes
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

fn put_number(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend_from_slice(&u32::try_from(number).expect("no field of an update has 4 GiB").to_be_bytes());
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(log: &Identity, bytes: &[u8]) -> Result<Entry, DecodeError> {
    let mut rest = Rest(bytes);
    match rest.number::<1>()?[0] {
        VERSION => {}
        other => return Err(DecodeError::Version(other)),
    }
    let [flags] = rest.number::<1>()?;
    if rest.number::<STAMP_BYTES>()? != log.log[..STAMP_BYTES] {
        return Err(DecodeError::OtherLog);
    }
    let published_ms = u64::from_be_bytes(rest.number()?);
    let tag = u32::from_be_bytes(rest.number()?);
    let count = rest.length()?;
    let mut topics = Vec::new();
    for _ in 0..count {
        topics.push(Topic::of_hub(rest.text()?));
    }
    let mut optional = |flag| if flags & flag == 0 { Ok(None) } else { rest.text().map(|text| Some(text.to_owned())) };
    let (id, event_type, retry) = (optional(ID)?, optional(TYPE)?, optional(RETRY)?);
    let data = utf8(rest.0)?.to_owned();
    let update = Update { topics, data, private: flags & PRIVATE != 0, id, event_type, retry };
    Ok(Entry { update, announcement: flags & ANNOUNCEMENT != 0, published_ms, tag })
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn number<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(DecodeError::Malformed)?;
        self.0 = rest;
        Ok(*number)
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        Ok(u32::from_be_bytes(self.number()?) as usize)
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Malformed)?;
        self.0 = rest;
        utf8(text)
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOG: Identity = Identity { log: *b"0123456789abcdef", id_key: [7; 32] };

    fn entries() -> impl Strategy<Value = Entry> {
        let text = ".{0,20}";
        let optional = || proptest::option::of(".{1,20}");
        let update =
            (proptest::collection::vec(text, 1..5), any::<String>(), any::<bool>(), optional(), optional(), optional());
        (update, any::<bool>(), any::<u64>(), 0..1u32 << 22).prop_map(|(update, announcement, published_ms, tag)| {
            let (topics, data, private, id, event_type, retry) = update;
            let topics = topics.iter().map(|topic| Topic::of_hub(topic)).collect();
            let update = Update { topics, data, private, id, event_type, retry };
            Entry { update, announcement, published_ms, tag }
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(entry in entries()) {
            prop_assert_eq!(decode(&LOG, &encode(&LOG, &entry)), Ok(entry));
        }

        #[test]
        fn a_cut_entry_is_never_another_one_but_for_its_data(entry in entries(), cut in 1usize..64) {
            let bytes = encode(&LOG, &entry);
            let cut = bytes.len().saturating_sub(cut);
            if let Ok(short) = decode(&LOG, &bytes[..cut]) {
                prop_assert_eq!(short.update.topics, entry.update.topics);
                prop_assert!(entry.update.data.starts_with(&short.update.data));
            }
        }

        #[test]
        fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&LOG, &bytes);
            let _ = decode(&LOG, &[&[VERSION, 31], &LOG.log[..STAMP_BYTES], &bytes].concat());
        }
    }

    #[test]
    fn an_entry_of_another_log_is_told_apart() {
        let update = Update {
            topics: vec![Topic::of_hub("a")],
            data: String::new(),
            private: false,
            id: None,
            event_type: None,
            retry: None,
        };
        let mut bytes = encode(&LOG, &Entry { update, announcement: false, published_ms: 1, tag: 2 });
        let other = Identity { log: [1; 16], ..LOG };
        assert_eq!(decode(&other, &bytes), Err(DecodeError::OtherLog));
        bytes[0] = 2;
        assert_eq!(decode(&LOG, &bytes), Err(DecodeError::Version(2)));
    }
}
