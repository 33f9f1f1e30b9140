//! How many come a second, while they come: a window may be longer than that, for what is published meanwhile or waited for.

/// The stretches of a window in which a step has members connect.
#[derive(Debug, Default)]
pub(super) struct Connecting {
    /// Steps that do now.
    steps: usize,
    /// When the first of them began, and how many response heads there were.
    since: (u64, u64),
    /// Of the stretches that are over: nanoseconds, response heads.
    over: (u64, u64),
}

impl Connecting {
    /// A step begins to, when so many response heads have come.
    pub(super) fn begin(&mut self, now_ns: u64, opened: u64) {
        if self.steps == 0 {
            self.since = (now_ns, opened);
        }
        self.steps += 1;
    }

    /// A step's last has its response head.
    pub(super) fn end(&mut self, now_ns: u64, opened: u64) {
        self.steps -= 1;
        if self.steps == 0 {
            self.over.0 += now_ns - self.since.0;
            self.over.1 += opened - self.since.1;
        }
    }

    /// Response heads per second; nothing where no step had anybody connect.
    pub(super) fn per_second(&self) -> Option<f64> {
        (self.over.0 > 0).then(|| self.over.1 as f64 * 1e9 / self.over.0 as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_between_does_not_count() {
        let mut connecting = Connecting::default();
        assert_eq!(connecting.per_second(), None);
        connecting.begin(1_000_000_000, 50);
        connecting.end(2_000_000_000, 150);
        connecting.begin(9_000_000_000, 150);
        connecting.end(10_000_000_000, 350);
        assert_eq!(connecting.per_second(), Some(150.0));
    }

    #[test]
    fn two_at_a_time_are_one_stretch() {
        let mut connecting = Connecting::default();
        connecting.begin(0, 0);
        connecting.begin(1_000_000_000, 10);
        connecting.end(3_000_000_000, 50);
        connecting.end(4_000_000_000, 80);
        assert_eq!(connecting.per_second(), Some(20.0));
    }
}
