//! Signs of life during long work: a line that rewrites itself in a terminal, one plain line a second elsewhere.

use std::io::{IsTerminal, Write};

use crate::sys;

const PLAIN_INTERVAL_NS: u64 = 1_000_000_000;
const TERMINAL_INTERVAL_NS: u64 = 100_000_000;

/// Where progress is shown.
pub(crate) struct Progress {
    terminal: bool,
    shown_ns: u64,
    dirty: bool,
    prefix: String,
}

impl Progress {
    /// Shows on standard error.
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown_ns: sys::now_ns(), dirty: false, prefix: String::new() }
    }

    /// Shows nothing: for what goes on beside something else.
    pub(crate) fn quiet() -> Self {
        Self { terminal: false, shown_ns: u64::MAX / 2, dirty: false, prefix: String::new() }
    }

    /// Names the part of the run that comes now.
    pub(crate) fn part(&mut self, name: impl Into<String>) {
        self.prefix = name.into();
    }

    /// Shows the state, not more often than makes sense.
    pub(crate) fn show(&mut self, state: impl FnOnce() -> String) {
        let interval = if self.terminal { TERMINAL_INTERVAL_NS } else { PLAIN_INTERVAL_NS };
        let now = sys::now_ns();
        if now.saturating_sub(self.shown_ns) < interval {
            return;
        }
        self.shown_ns = now;
        let (state, prefix) = (state(), &self.prefix);
        if self.terminal {
            eprint!("\r\x1b[K{prefix}: {state}");
            let _ = std::io::stderr().flush();
            self.dirty = true;
        } else {
            eprintln!("{prefix}: {state}");
        }
    }

    /// Waits while showing the time that is left.
    pub(crate) fn wait(&mut self, time: std::time::Duration, what: &str) {
        let end = sys::now_ns() + time.as_nanos() as u64;
        loop {
            let left = end.saturating_sub(sys::now_ns());
            if left == 0 {
                return;
            }
            self.show(|| format!("{what}, {:.0} s left", left as f64 / 1e9));
            std::thread::sleep(std::time::Duration::from_nanos(left.min(50_000_000)));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.dirty {
            eprint!("\r\x1b[K");
        }
    }
}
