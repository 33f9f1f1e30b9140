//! Going through a segment batch by batch, also past what is damaged: for those who check, and those who copy.

use std::io;

use super::batch::{HEAD_BYTES, Head};
use super::segment::START;
use super::storage::StorageFile;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// Behind something damaged the next batch is looked for by its checksum. Bytes that may be summed for that in a segment: whoever publishes
/// can write what looks like the beginning of a batch.
const SEARCH_BYTES_MAX: u64 = 256 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Walk<'a, F> {
    file: &'a F,
    /// Where the file ended when the walk began: somebody may be writing to it.
    pub(super) length: u64,
    /// Where the next batch stands.
    at: u64,
    /// The offset before it.
    pub(super) last: u64,
    window: Vec<u8>,
    window_at: u64,
    search_bytes: u64,
}

/// What was found next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A batch that is whole and follows the one before it; its bytes with its head.
    Batch { at: u64, head: Head, bytes: &'a [u8] },
    /// Bytes that are no batch, and batches again behind them, the first of which follows the offset `through`.
    Damaged { at: u64, through: u64 },
    /// Bytes that are no batch, up to the end.
    End { at: u64, bytes: u64 },
}

impl<'a, F: StorageFile> Walk<'a, F> {
    /// Through the segment after this offset.
    pub(super) fn new(file: &'a F, after: u64) -> io::Result<Walk<'a, F>> {
        let length = file.length()?;
        Ok(Walk { file, length, at: START, last: after, window: Vec::new(), window_at: 0, search_bytes: 0 })
    }

    /// The next step; `None`: the segment ends here.
    pub(super) fn step(&mut self) -> io::Result<Option<Step<'_>>> {
        let (at, last) = (self.at, self.last);
        if at >= self.length {
            return Ok(None);
        }
        if let Some(head) = self.batch_at(at, |head| head.may_follow(last))? {
            (self.at, self.last) = (at + head.bytes(), head.last);
            let bytes = self.bytes(at, head.bytes())?.expect("it was just there");
            return Ok(Some(Step::Batch { at, head, bytes }));
        }
        for place in at + 1..self.length {
            // Of the batches in between nothing is known but that their offsets are higher.
            if let Some(head) = self.batch_at(place, |head| head.after > last && head.may_follow(head.after))? {
                (self.at, self.last) = (place, head.after);
                return Ok(Some(Step::Damaged { at, through: head.after }));
            }
        }
        self.at = self.length;
        Ok(Some(Step::End { at, bytes: self.length - at }))
    }

    /// The head of the batch at a place, if it is one, and whole.
    fn batch_at(&mut self, at: u64, fits: impl Fn(&Head) -> bool) -> io::Result<Option<Head>> {
        let searches = at != self.at;
        let Some(head) = self.bytes(at, HEAD_BYTES as u64)? else {
            return Ok(None);
        };
        let head = Head::read(head.first_chunk().expect("as long as a head"));
        if !fits(&head) || at + head.bytes() > self.length {
            return Ok(None);
        }
        if searches {
            self.search_bytes += head.bytes();
            if self.search_bytes > SEARCH_BYTES_MAX {
                return Ok(None);
            }
        }
        Ok(self.bytes(at, head.bytes())?.filter(|batch| head.holds(batch)).map(|_| head))
    }

    /// Bytes of the file; `None` where it ends before.
    fn bytes(&mut self, at: u64, count: u64) -> io::Result<Option<&[u8]>> {
        if at + count > self.length {
            return Ok(None);
        }
        let wanted = count as usize;
        let have = self.window_at..self.window_at + self.window.len() as u64;
        if !(have.contains(&at) && at + count <= have.end) {
            self.window.clear();
            self.window.resize(wanted.max(WINDOW_BYTES).min((self.length - at) as usize), 0);
            let read = self.file.read_at(&mut self.window, at)?;
            self.window.truncate(read);
            self.window_at = at;
        }
        let start = (at - self.window_at) as usize;
        Ok(self.window.get(start..start + wanted))
    }
}
