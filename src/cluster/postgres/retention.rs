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
            let less = |max: u64| (max - (max / 16).max(1).min(max)).max(1);
            self.trim(log, less(events_max), less(bytes_max)).await;
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
