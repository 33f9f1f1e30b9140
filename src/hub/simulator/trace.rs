//! The last things that happened, kept only when a seed that failed is run a second time.

use std::cell::RefCell;
use std::collections::VecDeque;

const LINES_MAX: usize = 60;

thread_local! {
    static LINES: RefCell<Option<VecDeque<String>>> = const { RefCell::new(None) };
}

/// From here on [`note`] writes down what it is told.
pub(super) fn start() {
    LINES.set(Some(VecDeque::new()));
}

/// The last lines noted.
pub(super) fn finish() -> String {
    let lines = LINES.take().unwrap_or_default();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

/// Remembers a line, if anybody asked for it.
pub(super) fn note(line: impl FnOnce() -> String) {
    LINES.with_borrow_mut(|lines| {
        if let Some(lines) = lines {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(line());
        }
    });
}
