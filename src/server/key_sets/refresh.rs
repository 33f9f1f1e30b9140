//! When a key set is fetched again. Time is an argument.

use std::time::Duration;

/// How long a fetched set holds if its server doesn't say, and the bounds of what it may say, milliseconds.
const HOLDS_MS: u64 = 15 * 60 * 1000;
const HOLDS_MS_MIN: u64 = 60 * 1000;
const HOLDS_MS_MAX: u64 = 60 * 60 * 1000;
/// How often a file is looked at, milliseconds.
const FILE_MS: u64 = 5 * 1000;
/// Time between two fetches that tokens ask for, milliseconds: whoever sends such tokens can't cause more.
const WISH_MS: u64 = 30 * 1000;
/// Time after a failure, which doubles with each further one, milliseconds.
const RETRY_MS: u64 = 5 * 1000;
const RETRY_MS_MAX: u64 = 5 * 60 * 1000;

/// The plan for one set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refresh {
    is_file: bool,
    due_ms: u64,
    /// Failures since it was last fetched.
    failures: u32,
    /// The next fetch that a token may cause.
    wish_from_ms: u64,
}

impl Refresh {
    /// A set to be fetched now.
    pub(super) fn new(is_file: bool, now_ms: u64) -> Refresh {
        Refresh { is_file, due_ms: now_ms, failures: 0, wish_from_ms: now_ms }
    }

    /// When the next fetch is due.
    pub(super) fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// A token asks for a newer set than this one.
    pub(super) fn wished(&mut self, now_ms: u64) {
        self.due_ms = self.due_ms.min(self.wish_from_ms.max(now_ms));
    }

    /// A fetch begins; whether it is for a token.
    pub(super) fn begun(&mut self, for_wish: bool, now_ms: u64) {
        if for_wish {
            self.wish_from_ms = now_ms + WISH_MS;
        }
    }

    /// A set was fetched that holds for so long.
    pub(super) fn succeeded(&mut self, max_age: Option<Duration>, now_ms: u64) {
        self.failures = 0;
        let said = max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let holds_ms = said.unwrap_or(HOLDS_MS).clamp(HOLDS_MS_MIN, HOLDS_MS_MAX);
        self.due_ms = now_ms + if self.is_file { FILE_MS } else { holds_ms };
    }

    /// A fetch failed. Whether that is worth a line in the log: the first time, and then ever more rarely.
    pub(super) fn failed(&mut self, now_ms: u64) -> bool {
        let wait_ms = match self.is_file {
            // Looking costs next to nothing, and whoever mends a file waits for it.
            true => FILE_MS,
            false => RETRY_MS.saturating_mul(1 << self.failures.min(16)).min(RETRY_MS_MAX),
        };
        self.failures = self.failures.saturating_add(1);
        self.due_ms = now_ms + wait_ms;
        self.failures.is_power_of_two()
    }

    /// Fetches that have failed since the last good one.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(max_age_s: Option<u64>) -> u64 {
        let mut refresh = Refresh::new(false, 0);
        refresh.succeeded(max_age_s.map(Duration::from_secs), 1000);
        refresh.due_ms() - 1000
    }

    #[test]
    fn a_set_holds_for_as_long_as_its_server_says_within_bounds() {
        assert_eq!(fetched(None), HOLDS_MS);
        assert_eq!(fetched(Some(600)), 600_000);
        assert_eq!(fetched(Some(0)), HOLDS_MS_MIN);
        assert_eq!(fetched(Some(u64::MAX)), HOLDS_MS_MAX);
        let mut file = Refresh::new(true, 0);
        file.succeeded(None, 1000);
        assert_eq!(file.due_ms(), 1000 + FILE_MS);
    }

    #[test]
    fn failures_are_tried_again_more_and_more_rarely_and_said_as_rarely() {
        let mut refresh = Refresh::new(false, 0);
        let waits: Vec<_> = (0..9).map(|_| (refresh.failed(0), refresh.due_ms() / 1000)).collect();
        let said = waits.iter().map(|(said, _)| *said);
        assert!(said.eq([true, true, false, true, false, false, false, true, false]));
        assert!(waits.iter().map(|(_, wait)| *wait).eq([5, 10, 20, 40, 80, 160, 300, 300, 300]));
        refresh.succeeded(None, 0);
        assert_eq!((refresh.failures(), refresh.failed(0), refresh.due_ms()), (0, true, RETRY_MS));
    }

    #[test]
    fn a_file_is_looked_at_as_often_when_it_cannot_be_read() {
        let mut refresh = Refresh::new(true, 0);
        let said = (0..4).map(|_| refresh.failed(0)).collect::<Vec<_>>();
        assert_eq!((said, refresh.due_ms()), (vec![true, true, false, true], FILE_MS));
    }

    #[test]
    fn a_flood_of_wishes_makes_one_fetch_in_thirty_seconds() {
        let mut refresh = Refresh::new(false, 0);
        refresh.begun(false, 0);
        refresh.succeeded(None, 0);
        let mut fetches = Vec::new();
        for now_ms in (0..100_000).step_by(10) {
            refresh.wished(now_ms);
            if refresh.due_ms() <= now_ms {
                fetches.push(now_ms);
                refresh.begun(true, now_ms);
                refresh.succeeded(None, now_ms);
            }
        }
        assert_eq!(fetches, [0, 30_000, 60_000, 90_000]);
    }

    #[test]
    fn a_wish_does_not_delay_what_is_due_anyway() {
        let mut refresh = Refresh::new(false, 0);
        refresh.begun(true, 0);
        refresh.failed(0);
        refresh.wished(100);
        assert_eq!(refresh.due_ms(), RETRY_MS);
    }
}
