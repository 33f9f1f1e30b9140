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
        let mut block = Vec::with_capacity(stored::blocks_length(coding, fields.len()));
        stored::blocks(coding, fields, &mut block);
        let limit = stored::blocks_length(coding, fields.len() + data.len()).checked_sub(block.len())?;
        let compressed = compressor.compress(coding, data, limit)?;
        let id_start = block.len() - fields.len() + id_start;
        Some(Fragment::new(&[&block, compressed], id_start))
    }

    /// An event in blocks as it is.
    pub(super) fn stored(coding: Coding, event: &[u8]) -> Fragment {
        let mut blocks = Vec::with_capacity(stored::blocks_length(coding, event.len()));
        stored::blocks(coding, event, &mut blocks);
        Fragment::new(&[&blocks], 0)
    }

    fn new(pieces: &[&[u8]], id_start: usize) -> Fragment {
        let size_line = format!("{:x}\r\n", pieces.iter().map(|piece| piece.len()).sum::<usize>());
        let body_start = size_line.len();
        let bytes = [&[size_line.as_bytes()], pieces, &[b"\r\n"]].concat().concat().into_boxed_slice();
        Fragment {
            bytes,
            body_start: u8::try_from(body_start).expect("a size line has at most 18 bytes"),
            id_start: u32::try_from(body_start + id_start).expect("an id starts within the first 4 GB"),
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
