//! The last event id of a stream, as a browser would keep it: an `id` line counts once the blank line that ends its event
//! has come.

/// Longer ids aren't kept: such a subscriber returns with the id before.
const ID_BYTES_MAX: usize = 256;

/// Where a stream is in its lines, and its last id.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastId {
    /// The line that is coming in, as far as it can matter.
    line: Vec<u8>,
    /// An id whose event isn't complete.
    pending: Option<Box<[u8]>>,
    last: Option<Box<[u8]>>,
    /// Lines since the last blank one.
    unfinished: bool,
}

impl LastId {
    /// Looks at the next piece of the stream.
    pub(crate) fn scan(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.keep(&rest[..end]);
            self.end_line();
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    /// Lines other than `id` need no more than their first bytes.
    fn keep(&mut self, part: &[u8]) {
        let is_id = self.line.len() < 3 || self.line.starts_with(b"id:");
        // One byte more than may be, to know a longer one by.
        let room = if is_id { b"id: ".len() + ID_BYTES_MAX + 1 } else { b"id:".len() };
        let fits = part.len().min(room.saturating_sub(self.line.len()));
        self.line.extend_from_slice(&part[..fits]);
    }

    fn end_line(&mut self) {
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        if self.line.is_empty() {
            if let Some(id) = self.pending.take() {
                self.last = Some(id);
            }
            self.unfinished = false;
            // Given back, not kept for the next event: most subscribers are idle most of the time.
            self.line = Vec::new();
            return;
        }
        self.unfinished = true;
        if let Some(id) = self.line.strip_prefix(b"id:") {
            let id = id.strip_prefix(b" ").unwrap_or(id);
            if id.len() <= ID_BYTES_MAX {
                self.pending = Some(id.into());
            }
        }
        self.line.clear();
    }

    /// The stream ended here. Answers whether an event was cut.
    pub(crate) fn cut(&mut self) -> bool {
        let cut = self.unfinished || !self.line.is_empty();
        // Buffers go too: who is away needs only the id.
        *self = Self { last: self.last.take(), ..Self::default() };
        cut
    }

    /// The last id.
    pub(crate) fn get(&self) -> Option<&[u8]> {
        self.last.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_counts_with_the_blank_line_however_the_stream_is_cut() {
        let stream = b":\n\nid: one\ndata: id: no\n\nid:two\r\ndata: x\r\n\r\ndata: no id\n\nid: three\ndata: y\n";
        for size in 1..=stream.len() {
            let mut last = LastId::default();
            for piece in stream.chunks(size) {
                last.scan(piece);
            }
            assert_eq!(last.get(), Some(&b"two"[..]), "pieces of {size}");
            assert!(last.clone().cut());
            last.scan(b"\n");
            assert_eq!(last.get(), Some(&b"three"[..]), "pieces of {size}");
            assert!(!last.cut());
        }
    }

    #[test]
    fn too_long_an_id_is_not_kept() {
        let mut last = LastId::default();
        last.scan(b"id: short\n\n");
        last.scan(&[b"id: ".as_slice(), &[b'x'; 300], b"\n\n"].concat());
        assert_eq!(last.get(), Some(&b"short"[..]));
    }
}
