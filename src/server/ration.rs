//! How often a line that clients can cause is logged: the log must not grow as fast as they can ask.

use std::cell::Cell;

/// Lines of one kind that one shard logs in a second at most.
const LINES_PER_SECOND_MAX: u32 = 10;

/// The share of one kind of line in the log of one shard.
#[derive(Debug, Default)]
pub(crate) struct Ration {
    second: Cell<u64>,
    said: Cell<u32>,
    left_out: Cell<u64>,
}

impl Ration {
    /// Whether one more may be said now, and how many were left out since the last one (`None` for none): to be logged
    /// with it.
    pub(crate) fn take(&self, now_ms: u64) -> Option<Option<u64>> {
        let second = now_ms / 1000;
        if self.second.replace(second) != second {
            self.said.set(0);
        }
        if self.said.get() == LINES_PER_SECOND_MAX {
            self.left_out.set(self.left_out.get() + 1);
            return None;
        }
        self.said.set(self.said.get() + 1);
        Some(Some(self.left_out.take()).filter(|count| *count > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_one_counts_the_rest() {
        let ration = Ration::default();
        let said = (0..1000).filter(|_| ration.take(5_000) == Some(None)).count();
        assert_eq!(said, LINES_PER_SECOND_MAX as usize);
        assert_eq!(ration.take(5_999), None);
        assert_eq!(ration.take(6_000), Some(Some(1001 - u64::from(LINES_PER_SECOND_MAX))));
        assert_eq!(ration.take(6_001), Some(None), "counted once");
    }
}
