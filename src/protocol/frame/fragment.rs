//! An event as a fragment of coded streams (see [`coding`](crate::protocol::coding)): made once, shared like the frame.

use crate::protocol::coding::stored::{self, BLOCK_BYTES_MAX};
use crate::protocol::coding::{Coding, Compressor};

/// What a fragment takes in memory besides its bytes.
const FRAGMENT_OVERHEAD_BYTES: usize = 48;

/// Stored as `[chunk size line | fragment | CRLF]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    bytes: Box<[u8]>,
    body_start: u8,
    /// Where the id stands, readable as it is.
    id_start: u32,
}

impl Fragment {
    /// The fields before the data in a block as they are, because an id is filled in later, and the data compressed. `None`
    /// if that isn't smaller than all of it as it is.
    pub(super) fn compressed(
        coding: Coding,
        fields: &[u8],
        id_start: usize,
        data: &[u8],
        compressor: &mut Compressor,
    ) -> Option<Fragment> {
        if fields.len() > BLOCK_BYTES_MAX {
            return None;
        }
        let block_bytes = stored::blocks_length(coding, fields.len());
        let limit = stored::blocks_length(coding, fields.len() + data.len()).checked_sub(block_bytes)?;
        let compressed = compressor.compress(coding, data, limit)?;
        let mut bytes = Fragment::begin(block_bytes + compressed.len());
        let body_start = bytes.len();
        stored::blocks(coding, fields, &mut bytes);
        let id_start = bytes.len() - fields.len() + id_start;
        bytes.extend_from_slice(compressed);
        Some(Fragment::end(bytes, body_start, id_start))
    }

    /// An event in blocks as it is. One of them begins with the id, so that it lies in one piece where it is filled in later.
    pub(super) fn stored(coding: Coding, event: &[u8], id_start: usize) -> Fragment {
        let (before, from_id) = event.split_at(id_start);
        let before_bytes = stored::blocks_length(coding, before.len());
        let from_id_bytes = stored::blocks_length(coding, from_id.len());
        let mut bytes = Fragment::begin(before_bytes + from_id_bytes + stored::flush(coding).len());
        let body_start = bytes.len();
        stored::blocks(coding, before, &mut bytes);
        let (first, others) = from_id.split_at(from_id.len().min(BLOCK_BYTES_MAX));
        stored::header(coding, first.len(), &mut bytes);
        let id_start = bytes.len();
        bytes.extend_from_slice(first);
        stored::blocks(coding, others, &mut bytes);
        bytes.extend_from_slice(stored::flush(coding));
        Fragment::end(bytes, body_start, id_start)
    }

    /// Room for a fragment of this length, up to where it begins.
    fn begin(length: usize) -> Vec<u8> {
        let size_line = format!("{length:x}\r\n");
        let mut bytes = Vec::with_capacity(size_line.len() + length + 2);
        bytes.extend_from_slice(size_line.as_bytes());
        bytes
    }

    fn end(mut bytes: Vec<u8>, body_start: usize, id_start: usize) -> Fragment {
        bytes.extend_from_slice(b"\r\n");
        Fragment {
            bytes: bytes.into_boxed_slice(),
            body_start: u8::try_from(body_start).expect("a size line has at most 18 bytes"),
            id_start: u32::try_from(id_start).expect("an id starts within the first 4 GB"),
        }
    }

    /// Fills in an id where the placeholder is.
    pub(super) fn set_id(&mut self, id: &[u8]) {
        let start = self.id_start as usize;
        self.bytes[start..start + id.len()].copy_from_slice(id);
    }

    pub(super) fn bytes(&self, chunked: bool) -> &[u8] {
        if chunked { &self.bytes } else { &self.bytes[usize::from(self.body_start)..self.bytes.len() - 2] }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        FRAGMENT_OVERHEAD_BYTES + self.bytes.len()
    }
}
