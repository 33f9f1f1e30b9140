//! What was read of a connection and waits for its turn: requests often come several at a time.

/// Bytes that were read and not used yet.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// Those before are used: with many requests in the buffer the rest isn't moved for each.
    used: usize,
}

impl Input {
    pub(super) fn unused(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    pub(super) fn take(&mut self, count: usize) {
        self.used += count;
        if self.used == self.bytes.len() {
            self.bytes.clear();
            self.used = 0;
        }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.buffer().extend_from_slice(bytes);
    }

    /// What isn't used yet, in its buffer.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.used);
        self.used = 0;
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_goes_and_what_is_added_follows() {
        let mut input = Input::default();
        input.add(b"one two");
        input.take(4);
        assert_eq!(input.unused(), b"two");
        input.add(b" three");
        assert_eq!((input.unused(), input.used), (&b"two three"[..], 0));
        input.take(4);
        input.buffer().shrink_to(0);
        assert_eq!((input.unused(), input.bytes.capacity()), (&b"three"[..], 5), "of what is used nothing is kept");
        input.take(5);
        assert!(input.unused().is_empty() && input.bytes.is_empty());
    }
}
