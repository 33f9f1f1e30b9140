//! The work of one slice, as a budget that what is done draws on.

/// What is left of a bounded piece of work, in nanoseconds of an ordinary machine. Nothing is measured: each kind of work
/// has its price, so that the same inputs always make the same slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    left_ns: u64,
}

impl Budget {
    pub(crate) fn new(ns: u64) -> Budget {
        Budget { left_ns: ns }
    }

    /// Draws on it. What was begun is finished: the last piece may cost more than there is.
    pub(crate) fn spend(&mut self, ns: u64) {
        self.left_ns = self.left_ns.saturating_sub(ns);
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.left_ns == 0
    }

    /// Sets a part aside, of which [`Budget::put_back`] returns the rest.
    pub(crate) fn set_aside(&mut self, ns: u64) -> Budget {
        let part = ns.min(self.left_ns);
        self.left_ns -= part;
        Budget { left_ns: part }
    }

    pub(crate) fn put_back(&mut self, rest: Budget) {
        self.left_ns += rest.left_ns;
    }
}
