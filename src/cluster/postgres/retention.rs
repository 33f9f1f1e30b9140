//! Keeping no more than is to be kept: whoever makes the log too long deletes a piece of it, one hub at a time; what is left over, or only
//! gets too old, is deleted by those that follow while nothing comes.
//!
//! A sixteenth more than necessary is deleted at once, so that a full log isn't trimmed with every publish: each deletion costs a
//! version of the row that says what was deleted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::link::{Link, Parameter};
use super::log::bigint;
use super::schema::Names;
use super::uuid::Uuid;
use crate::cluster::{Identity, Retention};

/// How many events are deleted in one transaction.
const PIECE_EVENTS_MAX: i32 = 2_000;
/// How often those that follow look whether there is too much.
const IDLE_PAUSE_MS: u64 = 10_000;
/// How much too old the oldest event gets, at most, before those that append trim: a sixteenth, and no more than this.
const AGE_SLACK_MS_MAX: u64 = 60_000;

/// What is to be kept, and who sees to it: on a task of its own, so that nobody who appends or follows waits.
pub(super) struct Keeper {
    link: Link,
    sql: String,
    limits: Retention,
    /// When this hub looked without having appended.
    looked: Mutex<Option<Instant>>,
    /// Something is being deleted.
    at_work: AtomicBool,
}

/// How long a log is.
pub(super) struct Length {
    events: u64,
    bytes: u64,
    oldest_age_ms: u64,
}

impl Length {
    /// From three columns, beginning with this one.
    pub(super) fn of(row: &Row, column: usize) -> Length {
        let number = |column| row.get::<_, Option<i64>>(column).unwrap_or_default().max(0).cast_unsigned();
        Length { events: number(column), bytes: number(column + 1), oldest_age_ms: number(column + 2) }
    }

    fn exceeds(&self, limits: &Retention) -> bool {
        let too_old = |age: u64| self.oldest_age_ms > age.saturating_add((age / 16).min(AGE_SLACK_MS_MAX));
        self.events > limits.events_max || self.bytes > limits.bytes_max || limits.age_max_ms.is_some_and(too_old)
    }
}

impl Keeper {
    pub(super) fn new(link: Link, names: &Names, limits: Retention) -> Keeper {
        let sql = names.fill("SELECT {schema}.trim($1, $2, $3, $4::float8 * interval '1 millisecond', $5)");
        Keeper { link, sql, limits, looked: Mutex::new(None), at_work: AtomicBool::new(false) }
    }

    /// After something came: deletes what is too much.
    pub(super) fn tidy(self: &Arc<Self>, log: &Identity, length: &Length) {
        if length.exceeds(&self.limits) {
            let Retention { events_max, bytes_max, .. } = self.limits;
            self.delete(*log, a_little_less(events_max), a_little_less(bytes_max));
        }
    }

    /// While nothing comes: deletes what is too much, every now and then.
    pub(super) fn tidy_when_idle(self: &Arc<Self>, log: &Identity) {
        let now = Instant::now();
        let mut looked = self.looked.lock().expect("nobody panics while holding it");
        if looked.is_none_or(|looked| now >= looked + Duration::from_millis(IDLE_PAUSE_MS)) {
            *looked = Some(now);
            let Retention { events_max, bytes_max, .. } = self.limits;
            self.delete(*log, events_max, bytes_max);
        }
    }

    /// Deletes piece after piece, if nobody here does already.
    fn delete(self: &Arc<Self>, log: Identity, events_max: u64, bytes_max: u64) {
        if self.at_work.swap(true, Ordering::Relaxed) {
            return;
        }
        let keeper = self.clone();
        tokio::spawn(async move {
            while keeper.trim(&log, events_max, bytes_max).await == i64::from(PIECE_EVENTS_MAX) {}
            keeper.at_work.store(false, Ordering::Relaxed);
        });
    }

    /// How many were deleted of a piece. A failure is told to whoever appends or follows next, not here.
    async fn trim(&self, log: &Identity, events_max: u64, bytes_max: u64) -> i64 {
        #[allow(clippy::cast_precision_loss, reason = "nobody minds a millisecond in a thousand years")]
        let age = self.limits.age_max_ms.map(|age| age.min(1 << 50) as f64);
        let parameters: [Parameter<'_>; 5] = [
            (&Uuid(log.log), Type::UUID),
            (&bigint(events_max), Type::INT8),
            (&bigint(bytes_max), Type::INT8),
            (&age, Type::FLOAT8),
            (&PIECE_EVENTS_MAX, Type::INT4),
        ];
        let rows = self.link.ask(&self.sql, &parameters).await;
        rows.ok().and_then(|rows| rows.first().map(|row| row.get(0))).unwrap_or_default()
    }
}

/// What is left of a full log.
fn a_little_less(max: u64) -> u64 {
    max.saturating_sub((max / 16).max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_trimmed_below_its_limit_but_never_to_nothing() {
        assert_eq!([0, 1, 2, 10, 1_600].map(a_little_less), [1, 1, 1, 9, 1_500]);
    }

    #[test]
    fn what_exceeds_one_of_the_limits_is_too_much() {
        let limits = Retention { events_max: 10, bytes_max: 100, age_max_ms: Some(1_600) };
        let too_much = |events, bytes, oldest_age_ms| Length { events, bytes, oldest_age_ms }.exceeds(&limits);
        assert!(!too_much(10, 100, 1_700));
        assert!(too_much(11, 0, 0) && too_much(0, 101, 0) && too_much(0, 0, 1_701));
        let ageless = Retention { age_max_ms: None, ..limits };
        assert!(!Length { events: 0, bytes: 0, oldest_age_ms: u64::MAX }.exceeds(&ageless));
    }
}
