//! What is known of the engine, for everybody who wonders.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::admin::Clustering;
use crate::cluster::{Identity, LogError};

/// See the module.
#[derive(Debug)]
pub(crate) struct LinkState {
    down: AtomicBool,
    /// The same, to be waited for.
    up: watch::Sender<bool>,
    /// Why it is down.
    trouble: Mutex<Option<String>>,
    /// Of the log that is followed.
    identity: Mutex<Identity>,
    /// The offset up to which it has been followed.
    cursor: AtomicU64,
    reconnects: AtomicU64,
    appended: AtomicU64,
    followed: AtomicU64,
    losses: AtomicU64,
    /// How often the engine turned out to have forgotten something, to be waited for.
    setbacks: watch::Sender<u64>,
}

impl LinkState {
    /// Of a log that has been found in order.
    pub(super) fn new(identity: Identity, cursor: u64) -> LinkState {
        LinkState {
            down: AtomicBool::new(false),
            up: watch::Sender::new(true),
            trouble: Mutex::new(None),
            identity: Mutex::new(identity),
            cursor: AtomicU64::new(cursor),
            reconnects: AtomicU64::new(0),
            appended: AtomicU64::new(0),
            followed: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            setbacks: watch::Sender::new(0),
        }
    }

    /// Whether the engine is known not to answer.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Waits until it doesn't answer.
    pub(super) async fn until_down(&self) {
        // It can't end before `self` does.
        let _ = self.up.subscribe().wait_for(|up| !up).await;
    }

    /// Waits until it does.
    pub(super) async fn until_up(&self) {
        let _ = self.up.subscribe().wait_for(|up| *up).await;
    }

    /// It answers.
    pub(super) fn well(&self) {
        if !self.is_down() {
            return;
        }
        self.reconnects.fetch_add(1, Ordering::Relaxed);
        *locked(&self.trouble) = None;
        self.down.store(false, Ordering::Relaxed);
        self.up.send_replace(true);
        tracing::info!("the cluster's engine answers again");
    }

    /// It doesn't.
    pub(super) fn ill(&self, why: &str) {
        *locked(&self.trouble) = Some(why.to_owned());
        if self.down.swap(true, Ordering::Relaxed) {
            return;
        }
        self.up.send_replace(false);
        tracing::warn!(why, "the cluster's engine doesn't answer: publishers are told so, subscribers stay");
    }

    pub(super) fn identity(&self) -> Identity {
        *locked(&self.identity)
    }

    pub(super) fn cursor(&self) -> u64 {
        self.cursor.load(Ordering::Relaxed)
    }

    /// So many entries were read up to an offset.
    pub(super) fn read_on(&self, cursor: u64, entries: usize) {
        self.cursor.store(cursor, Ordering::Relaxed);
        self.followed.fetch_add(entries as u64, Ordering::Relaxed);
    }

    /// Another log is followed from now on, or this one from elsewhere.
    pub(super) fn lost(&self, why: LogError, identity: Identity, cursor: u64) {
        *locked(&self.identity) = identity;
        self.cursor.store(cursor, Ordering::Relaxed);
        self.losses.fetch_add(1, Ordering::Relaxed);
        // Who was only too slow was left behind by an engine that has all it ever had.
        if !matches!(why, LogError::Trimmed { .. }) {
            self.setbacks.send_modify(|setbacks| *setbacks += 1);
        }
    }

    /// How often it was opened again after it hadn't answered.
    pub(super) fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// How often the engine came back with another log, or a shorter one: what else it knows may be as old.
    pub(super) fn setbacks(&self) -> u64 {
        *self.setbacks.borrow()
    }

    /// Waits until there were more of them.
    pub(super) async fn until_set_back(&self, seen: u64) {
        // It can't end before `self` does.
        let _ = self.setbacks.subscribe().wait_for(|setbacks| *setbacks > seen).await;
    }

    pub(super) fn count_appended(&self, entries: usize) {
        self.appended.fetch_add(entries as u64, Ordering::Relaxed);
    }

    /// For those who look at the hub.
    pub(crate) fn clustering(&self) -> Clustering {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Clustering {
            trouble: locked(&self.trouble).clone(),
            reconnects: read(&self.reconnects),
            appended: read(&self.appended),
            followed: read(&self.followed),
            position: self.cursor(),
            losses: read(&self.losses),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
