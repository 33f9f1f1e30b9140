//! An update with its place in the log.

use crate::protocol::coding::{Coding, Codings, Compressor};
use crate::protocol::event_id::EVENT_ID_BYTES;
use crate::protocol::frame::{Frame, FrameDraft, FrameFields};
use crate::protocol::topic::Topic;
use crate::protocol::update::Update;

/// Bytes an event costs besides its frame and the text of its topics: reference counts, vectors, index entries.
const EVENT_OVERHEAD_BYTES: usize = 160;

/// An update on its way to the log: encoded, but without a place and, unless the publisher gave one, without an id.
#[derive(Debug)]
pub struct Draft {
    topics: Box<[Topic]>,
    private: bool,
    announcement: bool,
    given_id: Option<Box<str>>,
    frame: FrameDraft,
    received_us: u64,
}

impl Draft {
    /// Encodes an update once, for everybody who will ever receive it.
    pub fn new(update: Update) -> Draft {
        let frame = FrameDraft::new(&update);
        Draft {
            private: update.private,
            announcement: false,
            given_id: update.id.map(String::into_boxed_str),
            topics: update.topics.into_boxed_slice(),
            frame,
            received_us: 0,
        }
    }

    /// Encodes the hub's own word about a subscription, which has its own share of history.
    pub fn announcement(update: Update) -> Draft {
        Draft { announcement: true, ..Draft::new(update) }
    }

    /// Notes when it was taken, microseconds of the server's monotonic time: what latencies are counted from.
    pub fn received(mut self, mono_us: u64) -> Draft {
        self.received_us = mono_us;
        self
    }

    /// Bytes this draft holds in memory, as bounded by the queue to the sequencer.
    pub fn cost_bytes(&self) -> usize {
        cost(&self.topics, self.frame.memory_bytes())
    }

    /// Bytes of its data, as encoded.
    pub fn data_bytes(&self) -> usize {
        self.frame.data_bytes()
    }

    /// Compresses the data for streams of a coding; from then on it costs more. How many bytes smaller than the event that is;
    /// `None`: it wouldn't be.
    pub fn compress(&mut self, coding: Coding, compressor: &mut Compressor) -> Option<usize> {
        self.frame.compress(coding, compressor)
    }

    /// The update it was made of, but for line ends in its data, which are LF now, and whether it is an announcement.
    pub fn into_update(self) -> (Update, bool) {
        let FrameFields { event_type, retry, data } = self.frame.fields();
        let Draft { topics, private, announcement, given_id, .. } = self;
        let id = given_id.map(String::from);
        (Update { topics: topics.into_vec(), data, private, id, event_type, retry }, announcement)
    }

    /// Whether it is too long for one block of a content coding, so that streams under one need [`Draft::store`].
    pub fn is_long(&self) -> bool {
        self.frame.is_long()
    }

    /// Makes what streams of these codings need of a long event that wasn't compressed; from then on it costs more. To be done
    /// before it gets its place, and not by a shard: it takes about 1 ms for each MiB and coding.
    pub fn store(&mut self, codings: Codings) {
        self.frame.store(codings);
    }

    pub(super) fn place(self, offset: u64, published_ms: u64, hub_id: &[u8; EVENT_ID_BYTES]) -> Event {
        let id_given = self.given_id.is_some();
        Event {
            offset,
            published_ms,
            received_us: self.received_us,
            private: self.private,
            announcement: self.announcement,
            id_given,
            topics: self.topics,
            frame: self.frame.finish(hub_id),
        }
    }
}

/// One entry of the log. Shared by everything that holds it; never changed.
#[derive(Debug)]
pub struct Event {
    /// Place in the log: strictly increasing, gap-free per node, from 1.
    pub offset: u64,
    /// When it was appended, milliseconds of Unix time. Retention by age goes by it.
    pub published_ms: u64,
    /// When it was taken, microseconds of monotonic time of the run that took it; 0: not known.
    pub received_us: u64,
    /// Readable only with a `subscribe` grant on one of the topics.
    pub private: bool,
    /// The hub's own word about a subscription, not a publisher's.
    pub announcement: bool,
    /// Whether the publisher chose the id, so that it has to be indexed to be found.
    pub id_given: bool,
    /// Canonical topic first, then the alternates.
    pub topics: Box<[Topic]>,
    /// The bytes every connection is sent.
    pub frame: Frame,
}

impl Event {
    /// The id subscribers see and come back with.
    pub fn id(&self) -> &str {
        self.frame.id()
    }

    /// Bytes this event is counted with against a limit.
    pub fn cost_bytes(&self) -> usize {
        cost(&self.topics, self.frame.memory_bytes())
    }

    /// Gives the place in the log back: what nobody has seen and no engine has can be placed again.
    pub fn withdraw(self) -> Draft {
        Draft {
            given_id: self.id_given.then(|| self.frame.id().into()),
            frame: FrameDraft::withdrawn(self.frame, !self.id_given),
            topics: self.topics,
            private: self.private,
            announcement: self.announcement,
            received_us: self.received_us,
        }
    }
}

fn cost(topics: &[Topic], frame_bytes: usize) -> usize {
    let text: usize = topics.iter().map(|topic| topic.as_str().len() + 32).sum();
    EVENT_OVERHEAD_BYTES + text + frame_bytes
}

#[cfg(test)]
impl Event {
    /// An event for tests: public, with these topics and so many bytes of data.
    pub(crate) fn sample(offset: u64, topics: &[&str], id: Option<&str>, data_bytes: usize) -> std::sync::Arc<Event> {
        let draft = Draft::new(Update {
            topics: topics.iter().map(|text| Topic::of_hub(text)).collect(),
            data: "x".repeat(data_bytes),
            private: false,
            id: id.map(str::to_owned),
            event_type: None,
            retry: None,
        });
        let hub_id = crate::protocol::event_id::IdCipher::new([7; 32]).encode(1, offset);
        std::sync::Arc::new(draft.place(offset, offset * 1_000, &hub_id))
    }

    /// The same event as a disk has it: by itself, and not compressed.
    pub(crate) fn read_again(&self) -> std::sync::Arc<Event> {
        let codings = crate::protocol::coding::Codings::new(&Coding::ALL);
        let frame = Frame::stored(self.frame.plain(), self.frame.id_in_event(), codings).expect("a frame of ours");
        std::sync::Arc::new(Event { topics: self.topics.clone(), frame, ..*self })
    }

    /// An announcement of a subscription under this topic.
    pub(crate) fn sample_announcement(offset: u64, topic: &str) -> std::sync::Arc<Event> {
        let draft = Draft::announcement(crate::protocol::subscription::announcement(topic, "{}".to_owned()));
        let hub_id = crate::protocol::event_id::IdCipher::new([7; 32]).encode(1, offset);
        std::sync::Arc::new(draft.place(offset, offset * 1_000, &hub_id))
    }
}
