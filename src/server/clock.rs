//! The clock: the one place where time is read and turned into an argument.
#![allow(clippy::disallowed_methods, reason = "this is the room that reads the clock")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::hub::Now;
use crate::server::sys::{self, CoarseClock};

/// Monotonic time since the hub started, and Unix time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_coarse_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now(), start_coarse_ms: sys::coarse_ms(CoarseClock::Monotonic) }
    }

    /// As of the last tick of the kernel's timer, some milliseconds ago at most: asked for several times per request, and
    /// what hangs on it counts in seconds.
    pub(crate) fn now(&self) -> Now {
        Now { mono_ms: self.mono_ms(), wall_ms: self.wall_ms() }
    }

    /// The one half of [`Self::now`].
    pub(crate) fn mono_ms(&self) -> u64 {
        sys::coarse_ms(CoarseClock::Monotonic) - self.start_coarse_ms
    }

    /// The other half.
    pub(crate) fn wall_ms(&self) -> u64 {
        sys::coarse_ms(CoarseClock::Wall)
    }

    /// Microseconds since the hub started; never 0, which stands for a time nobody looked at.
    pub(crate) fn mono_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64 + 1
    }
}

/// Milliseconds of Unix time.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
