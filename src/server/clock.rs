//! The clock: the one place where time is read and turned into an argument.
#![allow(clippy::disallowed_methods, reason = "this is the room that reads the clock")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::hub::Now;

/// Monotonic time since the hub started, and Unix time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono_ms: self.start.elapsed().as_millis() as u64, wall_ms: wall_ms() }
    }
}

/// Milliseconds of Unix time.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
