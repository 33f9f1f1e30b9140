//! What is known about a segment without reading it: where its blocks begin, and where the ids are that publishers gave.
//!
//! The newest segments have it in memory. Of every other one it is a file beside the segment, of which nothing is read before it is
//! asked for. docs/history-format.md describes the bytes.

use std::collections::BTreeSet;
use std::io;

use super::batch;
use super::storage::StorageFile;

/// Bytes of batches from which on the next batch begins a new block: what is read at once, and shared by all that read there.
const BLOCK_BYTES: u64 = if cfg!(test) { 512 } else { 64 * 1024 };
/// What an index file begins with.
const MAGIC: &[u8; 8] = b"CINNIDX1";
const HEAD_BYTES: usize = 80;
/// A page of ids: their count, a CRC, and the ids.
const PAGE_BYTES: usize = 4096;
const PAGE_HEAD_BYTES: usize = 8;
const ID_BYTES: usize = 16;
const PAGE_IDS: usize = (PAGE_BYTES - PAGE_HEAD_BYTES) / ID_BYTES;
/// Bits of the filter for each id: one in sixty ids that aren't there passes.
const FILTER_BITS_PER_ID: usize = 10;
const FILTER_BLOCK_BYTES: usize = 64;
const FILTER_PROBES: u32 = 6;

/// Where a block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The offset before its first event.
    pub(super) after: u64,
    /// Its place in the segment, bytes.
    pub(super) at: u64,
}

/// A block: which events are in it, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The offset before its first event.
    pub(super) after: u64,
    /// The offset of its last.
    pub(super) last: u64,
    /// Where it begins in the segment, bytes.
    pub(super) at: u64,
    /// Where it ends.
    pub(super) end: u64,
}

/// What there is in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// The offset before it.
    pub(super) after: u64,
    /// Its newest offset; `after` while it is empty.
    pub(super) last: u64,
    pub(super) events: u64,
    /// Where its last batch ends, bytes.
    pub(super) end: u64,
    /// When its newest batch was committed, milliseconds of Unix time.
    pub(super) newest_ms: u64,
}

/// The index of a segment that is being written, or was until a moment ago.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) summary: Summary,
    pub(super) blocks: Vec<Block>,
    /// Publishers' ids: hash and offset.
    pub(super) ids: BTreeSet<(u64, u64)>,
}

impl Index {
    /// Of a segment after this offset whose batches begin at `start`.
    pub(super) fn new(after: u64, start: u64) -> Index {
        let summary = Summary { after, last: after, events: 0, end: start, newest_ms: 0 };
        Index { summary, blocks: Vec::new(), ids: BTreeSet::new() }
    }

    /// Notes a batch that stands at the end now, and the hashes of the ids given in it.
    pub(super) fn add(&mut self, head: &batch::Head, ids: impl IntoIterator<Item = (u64, u64)>) {
        let Summary { last, end, .. } = self.summary;
        debug_assert!(head.may_follow(last), "the log is in order");
        if self.blocks.last().is_none_or(|block| end - block.at >= BLOCK_BYTES) {
            self.blocks.push(Block { after: last, at: end });
        }
        self.ids.extend(ids);
        self.summary.last = head.last;
        self.summary.events += u64::from(head.events);
        self.summary.end += head.bytes();
        self.summary.newest_ms = self.summary.newest_ms.max(head.committed_ms);
    }

    /// The block with the first event after `offset`.
    pub(super) fn block_after(&self, offset: u64) -> Option<Extent> {
        block_after(&self.blocks, &self.summary, offset)
    }

    /// Offsets of events whose ids have this hash, ascending.
    pub(super) fn find(&self, hash: u64, after: u64) -> impl Iterator<Item = u64> {
        self.ids.range((hash, after + 1)..=(hash, u64::MAX)).map(|&(_, offset)| offset)
    }

    /// The bytes of the index file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Summary { after, last, events, end, newest_ms } = self.summary;
        let filter = self.filter();
        let mut bytes = vec![0; HEAD_BYTES];
        for Block { after, at } in &self.blocks {
            bytes.extend_from_slice(&after.to_le_bytes());
            bytes.extend_from_slice(&at.to_le_bytes());
        }
        bytes.extend_from_slice(&filter);
        let body_crc = crc32fast::hash(&bytes[HEAD_BYTES..]);
        let numbers =
            [after, last, events, end, newest_ms, self.blocks.len() as u64, filter.len() as u64, self.ids.len() as u64];
        bytes[..8].copy_from_slice(MAGIC);
        for (number, place) in numbers.iter().zip(bytes[8..].chunks_exact_mut(8)) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[72..76].copy_from_slice(&body_crc.to_le_bytes());
        let head_crc = crc32fast::hash(&bytes[..76]);
        bytes[76..80].copy_from_slice(&head_crc.to_le_bytes());
        let ids: Vec<(u64, u64)> = self.ids.iter().copied().collect();
        for page in ids.chunks(PAGE_IDS) {
            let start = bytes.len();
            bytes.resize(start + PAGE_BYTES, 0);
            bytes[start..start + 4].copy_from_slice(&(page.len() as u32).to_le_bytes());
            for ((hash, offset), place) in page.iter().zip(bytes[start + PAGE_HEAD_BYTES..].chunks_exact_mut(ID_BYTES))
            {
                place[..8].copy_from_slice(&hash.to_le_bytes());
                place[8..].copy_from_slice(&offset.to_le_bytes());
            }
            let crc = crc32fast::hash(&bytes[start + PAGE_HEAD_BYTES..start + PAGE_BYTES]);
            bytes[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        }
        bytes
    }

    fn filter(&self) -> Vec<u8> {
        let mut filter =
            vec![0; (self.ids.len() * FILTER_BITS_PER_ID).div_ceil(FILTER_BLOCK_BYTES * 8) * FILTER_BLOCK_BYTES];
        for &(hash, _) in &self.ids {
            for (byte, bit) in probes(hash, filter.len()) {
                filter[byte] |= bit;
            }
        }
        filter
    }
}

fn block_after(blocks: &[Block], summary: &Summary, offset: u64) -> Option<Extent> {
    let index = blocks.partition_point(|block| block.after <= offset).checked_sub(1)?;
    let Block { after, at } = blocks[index];
    let (last, end) = blocks.get(index + 1).map_or((summary.last, summary.end), |next| (next.after, next.at));
    Some(Extent { after, last, at, end })
}

/// The bits of a hash in a filter of so many bytes, all within one cache line of it.
fn probes(hash: u64, filter_bytes: usize) -> impl Iterator<Item = (usize, u8)> {
    let lines = (filter_bytes / FILTER_BLOCK_BYTES) as u128;
    let line = ((u128::from(hash) * lines) >> 64) as usize * FILTER_BLOCK_BYTES;
    // The low bits, which say little about the line.
    (0..FILTER_PROBES).map(move |probe| {
        let bit = (hash >> (9 * probe)) as usize % (FILTER_BLOCK_BYTES * 8);
        (line + bit / 8, 1 << (bit % 8))
    })
}

/// An index file that has been opened: its blocks and its filter, and the way to its ids.
#[derive(Debug)]
pub(super) struct IndexFile<F> {
    file: F,
    pub(super) summary: Summary,
    blocks: Vec<Block>,
    filter: Vec<u8>,
    ids_at: u64,
    ids: u64,
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the index is damaged: {what}"))
}

/// Reads what is in a segment from the head of its index.
///
/// # Errors
/// What the system says, or that it is no index.
pub(super) fn summary(file: &impl StorageFile) -> io::Result<Summary> {
    read_head(file).map(|(summary, ..)| summary)
}

fn read_head(file: &impl StorageFile) -> io::Result<(Summary, [u64; 3], u32)> {
    let mut head = [0; HEAD_BYTES];
    if file.read_at(&mut head, 0)? < HEAD_BYTES || head[..8] != *MAGIC {
        return Err(damaged("it has no head"));
    }
    let crc = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    if crc32fast::hash(&head[..76]) != crc(76) {
        return Err(damaged("its head has another checksum"));
    }
    let number = |index: usize| u64::from_le_bytes(head[8 + index * 8..][..8].try_into().expect("eight bytes"));
    let summary =
        Summary { after: number(0), last: number(1), events: number(2), end: number(3), newest_ms: number(4) };
    Ok((summary, [number(5), number(6), number(7)], crc(72)))
}

impl<F: StorageFile> IndexFile<F> {
    /// Reads all of it but the ids.
    ///
    /// # Errors
    /// What the system says, or that it is damaged.
    pub(super) fn open(file: F, segment: &Summary) -> io::Result<IndexFile<F>> {
        let (summary, [blocks, filter_bytes, ids], crc) = read_head(&file)?;
        if summary != *segment {
            return Err(damaged("it isn't that of its segment"));
        }
        if ids > 0 && filter_bytes < FILTER_BLOCK_BYTES as u64 {
            return Err(damaged("it has no filter"));
        }
        let body_bytes = blocks.checked_mul(16).and_then(|bytes| bytes.checked_add(filter_bytes));
        let Some(body_bytes) = body_bytes.filter(|bytes| file.length().is_ok_and(|length| *bytes <= length)) else {
            return Err(damaged("it is too short"));
        };
        let mut body = vec![0; body_bytes as usize];
        if file.read_at(&mut body, HEAD_BYTES as u64)? < body.len() || crc32fast::hash(&body) != crc {
            return Err(damaged("its blocks have another checksum"));
        }
        let filter = body.split_off(blocks as usize * 16);
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let blocks: Vec<Block> =
            body.chunks_exact(16).map(|block| Block { after: number(&block[..8]), at: number(&block[8..]) }).collect();
        let ascending = blocks.windows(2).all(|two| two[0].after < two[1].after && two[0].at < two[1].at);
        let inside = blocks.last().is_none_or(|last| last.after < summary.last && last.at < summary.end);
        if !ascending || !inside || blocks.first().is_none_or(|first| first.after != summary.after) {
            return Err(damaged("its blocks are in disorder"));
        }
        Ok(IndexFile { file, summary, blocks, filter, ids_at: HEAD_BYTES as u64 + body_bytes, ids })
    }

    /// Bytes it takes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.blocks.len() * size_of::<Block>() + self.filter.len()
    }

    /// See [`Index::block_after`].
    pub(super) fn block_after(&self, offset: u64) -> Option<Extent> {
        block_after(&self.blocks, &self.summary, offset)
    }

    /// See [`Index::find`].
    ///
    /// # Errors
    /// What the system says, or that it is damaged.
    pub(super) fn find(&self, hash: u64, after: u64) -> io::Result<Vec<u64>> {
        if self.ids == 0 || probes(hash, self.filter.len()).any(|(byte, bit)| self.filter[byte] & bit == 0) {
            return Ok(Vec::new());
        }
        let pages = self.ids.div_ceil(PAGE_IDS as u64);
        let wanted = (hash, after + 1);
        // Hashes are spread evenly, so the page can be guessed, and is the next one or the one before when it isn't.
        let mut page = ((u128::from(hash) * u128::from(pages)) >> 64) as u64;
        let mut ids = self.page(page)?;
        while page > 0 && ids.first().is_some_and(|first| *first >= wanted) {
            page -= 1;
            ids = self.page(page)?;
        }
        let mut found = Vec::new();
        loop {
            found.extend(ids.iter().filter(|id| **id >= wanted && id.0 == hash).map(|id| id.1));
            page += 1;
            if page >= pages || ids.last().is_some_and(|last| last.0 > hash) {
                return Ok(found);
            }
            ids = self.page(page)?;
        }
    }

    fn page(&self, page: u64) -> io::Result<Vec<(u64, u64)>> {
        let mut bytes = [0; PAGE_BYTES];
        let read = self.file.read_at(&mut bytes, self.ids_at + page * PAGE_BYTES as u64)?;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let count = (self.ids - page * PAGE_IDS as u64).min(PAGE_IDS as u64);
        if read < PAGE_BYTES || u64::from(word(0)) != count || crc32fast::hash(&bytes[PAGE_HEAD_BYTES..]) != word(4) {
            return Err(damaged("a page of ids has another checksum"));
        }
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let ids = bytes[PAGE_HEAD_BYTES..].chunks_exact(ID_BYTES).take(count as usize);
        Ok(ids.map(|id| (number(&id[..8]), number(&id[8..]))).collect())
    }
}
