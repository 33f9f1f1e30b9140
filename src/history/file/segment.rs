//! Segments: files of batches, named after the offset before their first event. A head of 32 bytes says what it is and guards
//! against a file that came from somewhere else; docs/history-format.md describes the bytes.

use std::io;

use super::batch::{self, HEAD_BYTES, Head};
use super::index::Index;
use super::storage::StorageFile;

/// Where the first batch stands.
pub(super) const START: u64 = 32;
/// The version of the format, of segments and of everything beside them.
pub(super) const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"CINNLOG\0";
/// Bytes read at once when a segment is gone through.
const SCAN_BYTES: usize = 1 << 20;

pub(super) fn name(log: &str, after: u64) -> String {
    format!("{log}-{after:020}.log")
}

pub(super) fn index_name(log: &str, after: u64) -> String {
    format!("{log}-{after:020}.index")
}

/// The offset in the name of a segment of this log, or of its index.
pub(super) fn parse_name(log: &str, name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_prefix(log)?.strip_prefix('-')?.strip_suffix(ending)?;
    if digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The head of a segment after this offset.
pub(super) fn head(after: u64) -> [u8; START as usize] {
    let mut head = [0; START as usize];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    head[16..24].copy_from_slice(&after.to_le_bytes());
    let crc = crc32fast::hash(&head[..28]);
    head[28..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// What the head of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headed {
    /// A segment as its name says.
    Segment,
    /// A segment of another version.
    Version(u32),
    /// No segment: its making was interrupted, or it was damaged.
    Nothing,
}

pub(super) fn read_head(file: &impl StorageFile, after: u64) -> io::Result<Headed> {
    let mut bytes = [0; START as usize];
    let read = file.read_at(&mut bytes, 0)?;
    let version = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
    Ok(match bytes {
        _ if read < bytes.len() => Headed::Nothing,
        _ if bytes == head(after) => Headed::Segment,
        _ if bytes[..8] == *MAGIC && version != FORMAT => Headed::Version(version),
        _ => Headed::Nothing,
    })
}

/// Goes through a segment from its first batch to the first that isn't whole: what is in it, and publishers' ids hashed.
pub(super) fn scan(file: &impl StorageFile, after: u64, hash: impl Fn(&str) -> u64) -> io::Result<Index> {
    let mut index = Index::new(after, START);
    let length = file.length()?;
    let mut bytes = Vec::new();
    // Where in the segment `bytes` begins.
    let mut start = START;
    while index.summary.end < length {
        let at = (index.summary.end - start) as usize;
        let head = bytes.get(at..at + HEAD_BYTES).map(|head| Head::read(head.try_into().expect("as long as a head")));
        let wanted = match head {
            Some(head) if !head.may_follow(index.summary.last) => break,
            // A length that leads beyond the end of the file is none.
            Some(head) if index.summary.end + head.bytes() > length => break,
            Some(head) => head.bytes() as usize,
            None => HEAD_BYTES,
        };
        let Some(batch) = bytes.get(at..at + wanted) else {
            if index.summary.end + wanted as u64 > length {
                break;
            }
            bytes.drain(..at);
            start += at as u64;
            let have = bytes.len();
            bytes.resize(wanted.max(SCAN_BYTES), 0);
            let read = file.read_at(&mut bytes[have..], start + have as u64)?;
            bytes.truncate(have + read);
            if bytes.len() < wanted {
                break;
            }
            continue;
        };
        let Some(head) = head else {
            continue;
        };
        if !head.holds(batch) {
            break;
        }
        let mut ids = Vec::new();
        for stored in batch::events(&head, batch) {
            let Some(stored) = stored else {
                return Ok(index);
            };
            if stored.id_given() {
                ids.extend(stored.id().map(|id| (hash(id), stored.offset)));
            }
        }
        index.add(&head, ids);
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_are() {
        assert_eq!(name("updates", 7), "updates-00000000000000000007.log");
        assert_eq!(parse_name("updates", &name("updates", 7), ".log"), Some(7));
        assert_eq!(parse_name("updates", &index_name("updates", 7), ".index"), Some(7));
        for other in ["updates-7.log", "updates-0000000000000000000x.log", "other-00000000000000000007.log", "lock"] {
            assert_eq!(parse_name("updates", other, ".log"), None, "{other}");
        }
    }
}
