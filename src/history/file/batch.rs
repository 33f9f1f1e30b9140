//! Batches: what one commit wrote, whole or not at all. docs/history-format.md describes the bytes.
//!
//! A batch is a head of 40 bytes and its events, all numbers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | CRC-32 of everything after it |
//! | 4..8 | bytes after the head |
//! | 8..16 | the offset before the batch: that of the batch before it, if there is one |
//! | 16..24 | the offset of its last event |
//! | 24..32 | when it was committed, milliseconds of Unix time |
//! | 32..36 | epoch |
//! | 36..40 | how many events |
//!
//! and an event 20 bytes, the lengths of its topics (4 bytes each), their texts, and the event stream's bytes:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | length of the event stream's bytes |
//! | 4..8 | its offset, from the one before the batch, modulo 2^32; the events of a batch lie closer together than that |
//! | 8..12 | where the id stands in those bytes |
//! | 12..16 | how long it is |
//! | 16 | 1: private, 2: the publisher gave the id, 4: an announcement |
//! | 17 | 0 |
//! | 18..20 | how many topics |

use std::ops::Range;
use std::sync::Arc;

use crate::hub::Event;
use crate::protocol::coding::Codings;
use crate::protocol::frame::Frame;
use crate::protocol::topic::Topic;

/// Bytes of a batch's head.
pub(super) const HEAD_BYTES: usize = 40;
/// Bytes of an event before its topics.
const EVENT_HEAD_BYTES: usize = 20;

const PRIVATE: u8 = 1;
const ID_GIVEN: u8 = 2;
const ANNOUNCEMENT: u8 = 4;

/// The head of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    crc: u32,
    pub(super) body_bytes: u32,
    pub(super) after: u64,
    pub(super) last: u64,
    pub(super) committed_ms: u64,
    pub(super) epoch: u32,
    pub(super) events: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Head {
    /// Reads a head. Whether it is one only [`Head::holds`] can tell.
    pub(super) fn read(bytes: &[u8; HEAD_BYTES]) -> Head {
        Head {
            crc: u32_at(bytes, 0),
            body_bytes: u32_at(bytes, 4),
            after: u64_at(bytes, 8),
            last: u64_at(bytes, 16),
            committed_ms: u64_at(bytes, 24),
            epoch: u32_at(bytes, 32),
            events: u32_at(bytes, 36),
        }
    }

    /// Bytes of the whole batch.
    pub(super) fn bytes(&self) -> u64 {
        HEAD_BYTES as u64 + u64::from(self.body_bytes)
    }

    /// Whether this may be the batch after `after`. A head of zeros never is.
    pub(super) fn may_follow(&self, after: u64) -> bool {
        self.after == after && self.last > after && self.events > 0 && self.last - after >= u64::from(self.events)
    }

    /// Whether `batch`, with its head, is what was written.
    pub(super) fn holds(&self, batch: &[u8]) -> bool {
        batch.len() as u64 == self.bytes() && crc32fast::hash(&batch[4..]) == self.crc
    }
}

/// Appends a batch of events, in log order, to `out`.
///
/// # Panics
/// When there is no event, or more than 4 GB of them.
pub(super) fn write(events: &[Arc<Event>], after: u64, epoch: u32, committed_ms: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + HEAD_BYTES, 0);
    for event in events {
        write_event(event, after, out);
    }
    let last = events.last().expect("a batch has an event").offset;
    let body_bytes = u32::try_from(out.len() - start - HEAD_BYTES).expect("a commit has less than 4 GB");
    let head = &mut out[start..start + HEAD_BYTES];
    head[4..8].copy_from_slice(&body_bytes.to_le_bytes());
    head[8..16].copy_from_slice(&after.to_le_bytes());
    head[16..24].copy_from_slice(&last.to_le_bytes());
    head[24..32].copy_from_slice(&committed_ms.to_le_bytes());
    head[32..36].copy_from_slice(&epoch.to_le_bytes());
    head[36..40].copy_from_slice(&u32::try_from(events.len()).expect("a commit has few events").to_le_bytes());
    let crc = crc32fast::hash(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

fn write_event(event: &Event, after: u64, out: &mut Vec<u8>) {
    let word = |number: usize| u32::try_from(number).expect("an event has less than 4 GB").to_le_bytes();
    let id = event.frame.id_in_event();
    out.extend_from_slice(&word(event.frame.plain().len()));
    // Far apart only where a log had no event for very long: the offset of the batch's last event tells the rest.
    out.extend_from_slice(&((event.offset - after) as u32).to_le_bytes());
    out.extend_from_slice(&word(id.start));
    out.extend_from_slice(&word(id.len()));
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let flags = flag(event.private, PRIVATE) | flag(event.id_given, ID_GIVEN) | flag(event.announcement, ANNOUNCEMENT);
    out.extend_from_slice(&[flags, 0]);
    out.extend_from_slice(&u16::try_from(event.topics.len()).expect("an update has few topics").to_le_bytes());
    for topic in &event.topics {
        out.extend_from_slice(&word(topic.as_str().len()));
    }
    for topic in &event.topics {
        out.extend_from_slice(topic.as_str().as_bytes());
    }
    out.extend_from_slice(event.frame.plain());
}

/// One event as it lies in a batch.
#[derive(Clone, Debug)]
pub(super) struct Stored<'a> {
    pub(super) offset: u64,
    pub(super) flags: u8,
    pub(super) topics: Vec<&'a str>,
    pub(super) plain: &'a [u8],
    id: Range<usize>,
}

impl Stored<'_> {
    pub(super) fn id_given(&self) -> bool {
        self.flags & ID_GIVEN != 0
    }

    pub(super) fn id(&self) -> Option<&str> {
        std::str::from_utf8(self.plain.get(self.id.clone())?).ok()
    }

    /// The event, as those that get it know it. `None`: it can't be one.
    pub(super) fn event(&self, head: &Head, codings: Codings, topic: &mut impl FnMut(&str) -> Topic) -> Option<Event> {
        Some(Event {
            offset: self.offset,
            published_ms: head.committed_ms,
            received_us: 0,
            private: self.flags & PRIVATE != 0,
            announcement: self.flags & ANNOUNCEMENT != 0,
            id_given: self.id_given(),
            topics: self.topics.iter().map(|text| topic(text)).collect(),
            frame: Frame::stored(self.plain, self.id.clone(), codings)?,
        })
    }
}

/// The events of a batch whose CRC held; the batch with its head. An item is `None` where the bytes make no sense, which then is
/// the last.
pub(super) fn events<'a>(head: &Head, batch: &'a [u8]) -> impl Iterator<Item = Option<Stored<'a>>> {
    let (after, last, mut left, mut rest) = (head.after, head.last, head.events, &batch[HEAD_BYTES..]);
    let mut before = after;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        left -= 1;
        let mut stored =
            take_event(&mut rest, after, last).filter(|stored| stored.offset > before && stored.offset <= last);
        if left == 0 && (stored.as_ref().is_some_and(|stored| stored.offset != last) || !rest.is_empty()) {
            stored = None;
        }
        match &stored {
            Some(stored) => before = stored.offset,
            None => left = 0,
        }
        Some(stored)
    })
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(bytes)?;
    *rest = left;
    Some(taken)
}

fn take_event<'a>(rest: &mut &'a [u8], after: u64, last: u64) -> Option<Stored<'a>> {
    let head = take(rest, EVENT_HEAD_BYTES)?;
    let (plain_bytes, id_start, id_bytes) = (u32_at(head, 0) as usize, u32_at(head, 8) as usize, u32_at(head, 12));
    let topics = usize::from(u16::from_le_bytes([head[18], head[19]]));
    let lengths = take(rest, topics * 4)?;
    let texts = lengths.chunks_exact(4).map(|length| std::str::from_utf8(take(rest, u32_at(length, 0) as usize)?).ok());
    let topics = texts.collect::<Option<Vec<&str>>>()?;
    let plain = take(rest, plain_bytes)?;
    let id = id_start..id_start.checked_add(id_bytes as usize)?;
    let back = ((last.wrapping_sub(after)) as u32).wrapping_sub(u32_at(head, 4));
    Some(Stored { offset: last.checked_sub(u64::from(back))?, flags: head[16], topics, plain, id })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(events: &[Arc<Event>], after: u64) -> (Head, Vec<u8>) {
        let mut bytes = Vec::new();
        write(events, after, 9, 77, &mut bytes);
        (Head::read(bytes[..HEAD_BYTES].try_into().unwrap()), bytes)
    }

    fn sample() -> Vec<Arc<Event>> {
        vec![
            Event::sample(11, &["urn:a", "https://example.com/b?c"], Some("mine"), 10),
            Event::sample_announcement(14, "/.well-known/mercure/subscriptions/x/y"),
            Event::sample(15, &["ü"], None, 100_000),
        ]
    }

    #[test]
    fn events_come_back_as_they_were() {
        let events = sample();
        let (head, bytes) = batch(&events, 10);
        assert!(head.holds(&bytes) && head.may_follow(10) && !head.may_follow(9));
        assert_eq!((head.after, head.last, head.committed_ms, head.epoch, head.events), (10, 15, 77, 9, 3));
        let read = super::events(&head, &bytes)
            .map(|stored| stored.unwrap().event(&head, Codings::default(), &mut |text| Topic::of_hub(text)).unwrap());
        for (read, event) in read.zip(&events) {
            assert_eq!(
                (read.offset, read.private, read.announcement),
                (event.offset, event.private, event.announcement)
            );
            assert_eq!((read.id_given, &read.topics, &read.frame), (event.id_given, &event.topics, &event.frame));
        }
    }

    /// A log whose first event for years it is: offsets count the events of the other log, too.
    #[test]
    fn a_batch_may_come_long_after_the_one_before() {
        let far = 9 << 32;
        let events = [far + 7, far + 9].map(|offset| Event::sample(offset, &["urn:a"], None, 1));
        let (head, bytes) = batch(&events, 3);
        assert!(head.holds(&bytes) && head.may_follow(3));
        let offsets: Vec<u64> = super::events(&head, &bytes).map(|stored| stored.unwrap().offset).collect();
        assert_eq!(offsets, [far + 7, far + 9]);
    }

    #[test]
    fn nothing_is_a_batch_that_was_not_written() {
        let (head, bytes) = batch(&sample(), 10);
        for at in [0, 5, 12, 39, 40, 41, 300, bytes.len() - 1] {
            let mut torn = bytes.clone();
            torn[at] ^= 0x10;
            let head = Head::read(torn[..HEAD_BYTES].try_into().unwrap());
            assert!(!head.holds(&torn), "{at}");
        }
        assert!(!head.holds(&bytes[..bytes.len() - 1]));
        let zeros = Head::read(&[0; HEAD_BYTES]);
        assert!(!zeros.may_follow(0) && !zeros.holds(&[0; HEAD_BYTES]));
    }

    proptest! {
        /// A CRC can hold by chance, and whoever can write the file can make it hold.
        #[test]
        fn bytes_that_make_no_sense_are_told(at in 40_usize..200, byte in any::<u8>()) {
            let (head, mut bytes) = batch(&sample(), 10);
            bytes[at] = byte;
            let events: Vec<_> = super::events(&head, &bytes).collect();
            prop_assert!(events.len() <= 3);
            for stored in events.into_iter().flatten() {
                let _ = stored.event(&head, Codings::default(), &mut |text| Topic::of_hub(text));
            }
        }
    }
}
