//! What the sequencer has counted, and why it could not store anything, for those who look at the hub.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::admin::Sequencing;
use crate::hub::Sizes;
use crate::server::commit::NotStored;

/// What the sequencer has counted.
#[derive(Debug, Default)]
pub(crate) struct SequencerCounters {
    /// Events committed.
    events: AtomicU64,
    /// Commits they went in.
    commits: AtomicU64,
    /// Events per commit.
    batches: Mutex<Sizes>,
    /// When it was last done with something, milliseconds of monotonic time. Shards send something every second.
    at_ms: AtomicU64,
    /// Why the last commit could not be made.
    trouble: Mutex<Option<Arc<NotStored>>>,
    /// Commits that could not be made.
    failures: AtomicU64,
}

impl SequencerCounters {
    /// The sequencer is at work, at this time.
    pub(super) fn at_work(&self, mono_ms: u64) {
        self.at_ms.store(mono_ms, Ordering::Relaxed);
    }

    /// A commit of so many events was made.
    pub(super) fn committed(&self, events: usize) {
        self.events.fetch_add(events as u64, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.batches.lock().expect("nobody panics with this lock").record(events as u64);
    }

    /// All that was to be stored is.
    pub(super) fn well(&self) {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut trouble = self.trouble.lock().expect("nobody panics with this lock");
        if let Some(why) = trouble.take() {
            tracing::info!(before = why.why(), "updates are stored again");
        }
    }

    /// A commit could not be made.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A commit could not be made, and this is why.
    pub(super) fn ill(&self, why: &Arc<NotStored>) {
        self.failed();
        let mut trouble = self.trouble.lock().expect("nobody panics with this lock");
        if trouble.as_ref().is_none_or(|before| before.why() != why.why()) {
            tracing::error!(why = why.why(), "updates can't be stored: publishers are told so, subscribers stay");
        }
        *trouble = Some(why.clone());
    }

    /// Events and commits so far.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.events.load(Ordering::Relaxed), self.commits.load(Ordering::Relaxed))
    }

    /// For those who look at the hub.
    pub(crate) fn sequencing(&self, queued_bytes: usize) -> Sequencing {
        Sequencing {
            at_ms: self.at_ms.load(Ordering::Relaxed),
            events: self.totals().0,
            batches: *self.batches.lock().expect("nobody panics with this lock"),
            trouble: self
                .trouble
                .lock()
                .expect("nobody panics with this lock")
                .as_ref()
                .map(|why| why.why().to_owned()),
            failures: self.failures.load(Ordering::Relaxed),
            queued_bytes: queued_bytes as u64,
        }
    }
}
