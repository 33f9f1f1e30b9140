//! The last event id of a stream, as a browser would keep it: an `id` line counts once the blank line that ends its event
//! has come.

/// Longer ids aren't kept: such a subscriber returns with the id before.
const ID_BYTES_MAX: usize = 256;

/// An event that is coming in.
#[derive(Clone, Debug, Default)]
struct Partial {
    /// The line that is coming in, as far as it can matter.
    line: Vec<u8>,
    /// The event's id.
    id: Option<Box<[u8]>>,
}

/// The last id of a stream. Small while nothing is coming in: most subscribers are idle most of the time.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastId {
    partial: Option<Box<Partial>>,
    last: Option<Box<[u8]>>,
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
        if !rest.is_empty() {
            self.keep(rest);
        }
    }

    /// Lines other than `id` need no more than their first bytes.
    fn keep(&mut self, part: &[u8]) {
        let line = &mut self.partial.get_or_insert_default().line;
        for part in [&part[..part.len().min(3)], &part[part.len().min(3)..]] {
            let is_id = line.len() < 3 || line.starts_with(b"id:");
            // One byte more than may be, to know a longer one by.
            let room = if is_id { b"id: ".len() + ID_BYTES_MAX + 1 } else { b"id:".len() };
            line.extend_from_slice(&part[..part.len().min(room.saturating_sub(line.len()))]);
        }
    }

    fn end_line(&mut self) {
        let Some(partial) = &mut self.partial else {
            return;
        };
        let line = partial.line.strip_suffix(b"\r").unwrap_or(&partial.line);
        if line.is_empty() {
            let id = partial.id.take();
            self.partial = None;
            self.last = id.or(self.last.take());
            return;
        }
        if let Some(id) = line.strip_prefix(b"id:") {
            let id = id.strip_prefix(b" ").unwrap_or(id);
            if id.len() <= ID_BYTES_MAX {
                partial.id = Some(id.into());
            }
        }
        partial.line.clear();
    }

    /// The stream ended here. Answers whether an event was cut.
    pub(crate) fn cut(&mut self) -> bool {
        self.partial.take().is_some()
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
