//! What readers keep of what they have read: decoded blocks, which several of them share, and open files.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::index::IndexFile;
use crate::hub::Event;
use crate::protocol::topic::Topic;

/// Bytes of decoded blocks that are kept for whoever reads there next.
const BLOCKS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Segments whose files are kept open.
const OPEN_SEGMENTS_MAX: usize = 64;
/// Bytes of their indexes in memory, above which fewer are kept open.
const OPEN_INDEX_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The events of a block.
pub(super) type Decoded = Arc<[Arc<Event>]>;

/// Which block, as it was when it was read: the last one of a log grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) segment: u64,
    pub(super) at: u64,
    pub(super) end: u64,
}

/// Blocks that were read a short time ago.
#[derive(Debug, Default)]
pub(super) struct SharedBlocks {
    blocks: HashMap<Key, Entry>,
    bytes: usize,
    clock: u64,
    /// Blocks that were found here, and that had to be read.
    pub(super) hits: u64,
    pub(super) misses: u64,
}

#[derive(Debug)]
struct Entry {
    decoded: Decoded,
    bytes: usize,
    used: u64,
}

impl SharedBlocks {
    pub(super) fn get(&mut self, key: &Key) -> Option<Decoded> {
        self.clock += 1;
        let found = self.blocks.get_mut(key).map(|entry| {
            entry.used = self.clock;
            entry.decoded.clone()
        });
        *if found.is_some() { &mut self.hits } else { &mut self.misses } += 1;
        found
    }

    /// Keeps a block, in place of those that were used least lately.
    pub(super) fn put(&mut self, key: Key, decoded: Decoded) {
        let bytes = decoded.iter().map(|event| event.cost_bytes()).sum();
        if bytes > BLOCKS_BYTES_MAX / 2 {
            return;
        }
        self.clock += 1;
        if let Some(old) = self.blocks.insert(key, Entry { decoded, bytes, used: self.clock }) {
            self.bytes -= old.bytes;
        }
        self.bytes += bytes;
        while self.bytes > BLOCKS_BYTES_MAX {
            let oldest = self.blocks.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            let oldest = oldest.and_then(|key| self.blocks.remove(&key)).expect("blocks have bytes");
            self.bytes -= oldest.bytes;
        }
    }
}

/// The files of a sealed segment, opened.
#[derive(Debug)]
pub(super) struct OpenSegment<F> {
    pub(super) file: Arc<F>,
    pub(super) index: IndexFile<F>,
}

/// Segments whose files are open.
#[derive(Debug)]
pub(super) struct OpenSegments<F> {
    /// The one used last comes last.
    open: Vec<(u64, Arc<OpenSegment<F>>)>,
}

impl<F> Default for OpenSegments<F> {
    fn default() -> OpenSegments<F> {
        OpenSegments { open: Vec::new() }
    }
}

impl<F: super::storage::StorageFile> OpenSegments<F> {
    /// The files of the segment after this offset, opened if they aren't.
    pub(super) fn get(
        &mut self,
        after: u64,
        open: impl FnOnce() -> io::Result<OpenSegment<F>>,
    ) -> io::Result<Arc<OpenSegment<F>>> {
        let found = self.remove(after);
        let opened = match found {
            Some(found) => found,
            None => Arc::new(open()?),
        };
        self.open.push((after, opened.clone()));
        let bytes =
            |open: &[(u64, Arc<OpenSegment<F>>)]| open.iter().map(|one| one.1.index.memory_bytes()).sum::<usize>();
        while self.open.len() > OPEN_SEGMENTS_MAX || self.open.len() > 1 && bytes(&self.open) > OPEN_INDEX_BYTES_MAX {
            self.open.remove(0);
        }
        Ok(opened)
    }

    /// Closes the files of a segment.
    pub(super) fn remove(&mut self, after: u64) -> Option<Arc<OpenSegment<F>>> {
        let index = self.open.iter().position(|(of, _)| *of == after)?;
        Some(self.open.remove(index).1)
    }
}

/// Topics met while a block is decoded: events that name the same one share its text.
#[derive(Debug, Default)]
pub(super) struct Topics(HashSet<Topic>);

impl Topics {
    pub(super) fn share(&mut self, text: &str) -> Topic {
        if let Some(topic) = self.0.get(text) {
            return topic.clone();
        }
        let topic = Topic::of_hub(text);
        self.0.insert(topic.clone());
        topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_nobody_used_lately_make_room() {
        let mut blocks = SharedBlocks::default();
        let key = |at| Key { segment: 0, at, end: at + 1 };
        let block = || Decoded::from([Event::sample(1, &["urn:a"], None, 1 << 20)]);
        for at in 0..15 {
            blocks.put(key(at), block());
        }
        assert!(blocks.get(&key(0)).is_some());
        // Sixteen, with what stands around them, are more than fit.
        blocks.put(key(15), block());
        assert!(blocks.get(&key(0)).is_some() && blocks.get(&key(1)).is_none());
        assert!(blocks.bytes <= BLOCKS_BYTES_MAX);
        blocks.put(key(16), Decoded::from([Event::sample(1, &["urn:a"], None, 9 << 20)]));
        assert!(blocks.get(&key(16)).is_none() && blocks.get(&key(15)).is_some(), "too large to stay");
    }

    #[test]
    fn events_of_a_topic_share_its_text() {
        let mut topics = Topics::default();
        let (one, other) = (topics.share("urn:a"), topics.share("urn:a"));
        assert!(std::ptr::eq(one.as_str(), other.as_str()));
    }
}
