//! Keeping no more than is to be kept: whoever makes the log too long deletes a piece of it, one hub at a time; what is left over, or only
//! gets too old, is deleted by those that follow while nothing comes.
//!
//! A sixteenth more than necessary is deleted at once, so that a full log isn't trimmed with every publish: each deletion costs a
//! version of the row that says what was deleted.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Parts;
use super::link::Parameter;
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

/// What is to be kept.
pub(super) struct Keeping {
    sql: String,
    limits: Retention,
    /// When this hub looked without having appended.
    looked: Mutex<Option<Instant>>,
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
}

impl Keeping {
    pub(super) fn new(names: &Names, limits: Retention) -> Keeping {
        let sql = names.fill("SELECT {schema}.trim($1, $2, $3, $4::float8 * interval '1 millisecond', $5)");
        Keeping { sql, limits, looked: Mutex::new(None) }
    }

    fn is_too_much(&self, length: &Length) -> bool {
        let too_old = |age: u64| length.oldest_age_ms > age.saturating_add((age / 16).min(AGE_SLACK_MS_MAX));
        length.events > self.limits.events_max
            || length.bytes > self.limits.bytes_max
            || self.limits.age_max_ms.is_some_and(too_old)
    }
}

impl Parts {
    /// After something came: deletes a piece if there is too much.
    pub(super) async fn tidy(&self, log: &Identity, length: &Length) {
        if self.keeping.is_too_much(length) {
            let Retention { events_max, bytes_max, .. } = self.keeping.limits;
            self.trim(log, a_little_less(events_max), a_little_less(bytes_max)).await;
        }
    }

    /// While nothing comes: deletes a piece, every now and then.
    pub(super) async fn tidy_when_idle(&self, log: &Identity) {
        let now = Instant::now();
        {
            let mut looked = self.keeping.looked.lock().expect("nobody panics while holding it");
            if looked.is_some_and(|looked| now < looked + Duration::from_millis(IDLE_PAUSE_MS)) {
                return;
            }
            *looked = Some(now);
        }
        let Retention { events_max, bytes_max, .. } = self.keeping.limits;
        if self.trim(log, events_max, bytes_max).await == i64::from(PIECE_EVENTS_MAX) {
            *self.keeping.looked.lock().expect("nobody panics while holding it") = None;
        }
    }

    /// How many were deleted. A failure is told to whoever appends or follows next, not here.
    async fn trim(&self, log: &Identity, events_max: u64, bytes_max: u64) -> i64 {
        #[allow(clippy::cast_precision_loss, reason = "nobody minds a millisecond in a thousand years")]
        let age = self.keeping.limits.age_max_ms.map(|age| age.min(1 << 50) as f64);
        let parameters: [Parameter<'_>; 5] = [
            (&Uuid(log.log), Type::UUID),
            (&bigint(events_max), Type::INT8),
            (&bigint(bytes_max), Type::INT8),
            (&age, Type::FLOAT8),
            (&PIECE_EVENTS_MAX, Type::INT4),
        ];
        let rows = self.tidier.ask(&self.keeping.sql, &parameters).await;
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
        let keeping = Keeping::new(&Names::new("x"), limits);
        let too_much = |events, bytes, oldest_age_ms| keeping.is_too_much(&Length { events, bytes, oldest_age_ms });
        assert!(!too_much(10, 100, 1_700));
        assert!(too_much(11, 0, 0) && too_much(0, 101, 0) && too_much(0, 0, 1_701));
        let ageless = Keeping::new(&Names::new("x"), Retention { age_max_ms: None, ..limits });
        assert!(!ageless.is_too_much(&Length { events: 0, bytes: 0, oldest_age_ms: u64::MAX }));
    }
}
