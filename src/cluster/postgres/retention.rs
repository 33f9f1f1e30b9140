//! Keeping no more than is to be kept. Hubs that append delete what is too much, a piece at a time and one hub at a time; what only gets
//! too old is deleted by those that follow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::types::Type;

use super::Parts;
use super::link::Parameter;
use super::log::bigint;
use super::schema::Names;
use super::uuid::Uuid;
use crate::cluster::Identity;

/// How many events are deleted in one transaction.
const PIECE_EVENTS_MAX: i32 = 2_000;
/// How long a hub leaves the log alone after it looked: every deletion costs a version of the row that says what was deleted.
const PAUSE_MS: u64 = 1_000;
/// How often those that follow look for what has got too old.
const IDLE_PAUSE_MS: u64 = 10_000;

/// What is to be kept, and who is at it.
pub(super) struct Keeping {
    sql: String,
    limits: crate::cluster::Retention,
    wanted: AtomicBool,
    at_it: AtomicBool,
    looked: Mutex<Option<Instant>>,
}

impl Keeping {
    pub(super) fn new(names: &Names, limits: crate::cluster::Retention) -> Keeping {
        Keeping {
            sql: names.fill("SELECT {schema}.trim($1, $2, $3, $4::float8 * interval '1 millisecond', $5)"),
            limits,
            wanted: AtomicBool::new(false),
            at_it: AtomicBool::new(false),
            looked: Mutex::new(None),
        }
    }
}

impl Parts {
    /// Has what is too much deleted, some time soon, by a task of its own.
    pub(super) fn tidy(self: &Arc<Parts>, log: &Identity) {
        self.keeping.wanted.store(true, Ordering::SeqCst);
        if self.keeping.at_it.swap(true, Ordering::SeqCst) {
            return;
        }
        let (parts, log) = (Arc::downgrade(self), *log);
        tokio::spawn(async move {
            while let Some(parts) = parts.upgrade() {
                if !parts.keeping.wanted.swap(false, Ordering::SeqCst) {
                    parts.keeping.at_it.store(false, Ordering::SeqCst);
                    // Who has asked meanwhile has seen that somebody is at it.
                    if !parts.keeping.wanted.load(Ordering::SeqCst) || parts.keeping.at_it.swap(true, Ordering::SeqCst)
                    {
                        return;
                    }
                    continue;
                }
                parts.trim(&log).await;
                drop(parts);
                tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
            }
        });
    }

    /// The same, every now and then, for what gets too old although nobody appends.
    pub(super) fn tidy_when_idle(&self, log: &Identity) {
        if self.keeping.limits.age_max_ms.is_none() {
            return;
        }
        let now = Instant::now();
        let mut looked = self.keeping.looked.lock().expect("nobody panics while holding it");
        if looked.is_some_and(|looked| now < looked + Duration::from_millis(IDLE_PAUSE_MS)) {
            return;
        }
        *looked = Some(now);
        drop(looked);
        if let Some(parts) = self.myself.upgrade() {
            parts.tidy(log);
        }
    }

    /// Piece by piece, to the end. A failure is told to whoever appends or follows next, not here.
    async fn trim(&self, log: &Identity) {
        let limits = &self.keeping.limits;
        let (events, bytes) = (bigint(limits.events_max.max(1)), bigint(limits.bytes_max));
        #[allow(
            clippy::cast_precision_loss,
            reason = "an age in milliseconds is far below 2^53, and nobody minds one of them"
        )]
        let age = limits.age_max_ms.map(|age| age.min(bigint(u64::MAX).cast_unsigned() >> 12) as f64);
        let parameters: [Parameter<'_>; 5] = [
            (&Uuid(log.log), Type::UUID),
            (&events, Type::INT8),
            (&bytes, Type::INT8),
            (&age, Type::FLOAT8),
            (&PIECE_EVENTS_MAX, Type::INT4),
        ];
        loop {
            let Ok(rows) = self.tidier.ask(&self.keeping.sql, &parameters).await else { return };
            match rows.first().map_or(0, |row| row.get::<_, i64>(0)) {
                0 => return,
                // Another hub is at it, which may have looked before what is too much now was there.
                -1 => {
                    self.keeping.wanted.store(true, Ordering::SeqCst);
                    return;
                }
                _ => {}
            }
        }
    }
}
