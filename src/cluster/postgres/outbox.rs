//! The outbox: what applications insert into a table in their own transactions is published once they commit.
//!
//! One hub at a time relays, the one whose connection holds a lock; the others wait for it to die. The lock only saves work. That a row is
//! published once, and whole, is because it leaves the outbox and enters the log in one statement, which looks again whether it
//! is the row that was judged.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Parts;
use super::failure::Failure;
use super::link::Session;
use super::log::bigint;
use super::retention::Length;
use super::schema::Names;
use super::uuid::Uuid;
use crate::cluster::{EngineError, Identity, LogError};
use crate::protocol::known_topics::KnownTopics;
use crate::protocol::topic::HubUrl;
use crate::protocol::update::{Update, UpdateLimits};

/// Rows judged and moved together.
const BATCH_ROWS_MAX: i64 = 500;
/// Bytes of their texts, but for a first one that is longer.
const BATCH_BYTES_MAX: i64 = 4 << 20;
/// How long a wake-up that got lost holds up the outbox, and how often a hub that doesn't relay looks whether it should.
const POLL_MS: u64 = 1_000;

/// What rows of the outbox have to keep to: the rules of a publish.
#[derive(Clone, Debug)]
pub struct OutboxRules {
    /// The hub's own URL, whose namespace is reserved.
    pub hub: HubUrl,
    /// Of topics, ids and types.
    pub limits: UpdateLimits,
    /// Bytes of a payload.
    pub data_bytes_max: usize,
}

/// What one look at the outbox came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Rows that are in the log now.
    pub published: u64,
    /// Rows that break a rule: they are in the table `outbox_refused` now, with the reason.
    pub refused: u64,
    /// Another hub relays.
    pub elsewhere: bool,
}

/// The statements, and whether it is us who relays.
pub(super) struct Relay {
    lock: String,
    look: String,
    take: String,
    /// The connection that holds the lock.
    holder: Mutex<Weak<Session>>,
}

impl Relay {
    pub(super) fn new(names: &Names) -> Relay {
        Relay {
            lock: names.fill("SELECT pg_try_advisory_lock(hashtextextended({text}, 3))"),
            // No more of a row than shows that it is too long.
            look: names.fill(
                "SELECT r.id, r.version,
                    ARRAY(SELECT left(u.topic, $3 + 1) FROM unnest(r.topics) WITH ORDINALITY AS u (topic, place)
                        ORDER BY u.place LIMIT $2 + 1),
                    left(r.event_id, $4 + 1), left(r.event_type, $5 + 1), r.retry::text, coalesce(octet_length(r.data), 0)
                FROM (
                    SELECT o.*, row_number() OVER (ORDER BY o.id) AS place, sum(o.size) OVER (ORDER BY o.id) AS size_upto
                    FROM (
                        SELECT i.*, i.xmin::text AS version,
                            coalesce(octet_length(i.data), 0)::bigint + octet_length(i.topics::text) AS size
                        FROM {schema}.outbox i ORDER BY i.id LIMIT $1 FOR UPDATE SKIP LOCKED
                    ) o
                ) r
                WHERE r.place = 1 OR r.size_upto <= $6 ORDER BY r.id",
            ),
            take: names.fill("SELECT published, refused, kept, kept_bytes, oldest_age_ms FROM {schema}.relay($1, $2, $3, $4, $5, $6)"),
            holder: Mutex::new(Weak::new()),
        }
    }

    /// What every connection of the relay begins with: to be woken, and to be given up by the server if this hub stands still, for a
    /// connection that waits keeps the lock from everybody. Servers before PostgreSQL 14 don't know how.
    pub(super) fn hello(names: &Names) -> String {
        names.fill(
            "LISTEN {outbox_channel}; SELECT set_config(name, '30000', false) FROM pg_settings WHERE name = 'idle_session_timeout';",
        )
    }
}

/// Rows that were looked at, with the versions they had.
#[derive(Default)]
struct Judged {
    good: Vec<i64>,
    good_versions: Vec<String>,
    bad: Vec<i64>,
    bad_versions: Vec<String>,
    reasons: Vec<String>,
}

impl Parts {
    /// Publishes what is in the outbox, a batch of it; waits up to `wait` for something to be there.
    pub(super) async fn relay(
        &self,
        log: &Identity,
        rules: &OutboxRules,
        wait: Duration,
    ) -> Result<Relayed, EngineError> {
        let until = Instant::now() + wait;
        let mut topics = KnownTopics::new(rules.hub.clone());
        loop {
            let session = self.relayer.session().await.map_err(Failure::of_log)?;
            let mut woken = std::pin::pin!(session.woken().notified());
            woken.as_mut().enable();
            let holds = self.holds_lock(&session).await?;
            let mut relayed = Relayed { elsewhere: !holds, ..Relayed::default() };
            if holds {
                let judged = self.look(&session, rules, &mut topics).await?;
                if !(judged.good.is_empty() && judged.bad.is_empty()) {
                    relayed = self.take(&session, log, &judged).await?;
                }
            }
            let now = Instant::now();
            if relayed.published + relayed.refused > 0 || now >= until {
                return Ok(relayed);
            }
            let until = until.min(now + Duration::from_millis(POLL_MS));
            if holds {
                let _ = tokio::time::timeout_at(until, woken).await;
            } else {
                tokio::time::sleep_until(until).await;
            }
        }
    }

    async fn holds_lock(&self, session: &Arc<Session>) -> Result<bool, EngineError> {
        let holder = self.outbox.holder.lock().expect("nobody panics while holding it").clone();
        if std::ptr::eq(holder.as_ptr(), Arc::as_ptr(session)) {
            return Ok(true);
        }
        // A connection that has it gets it again, and it ends with the connection however often it was given.
        let rows = self.relayer.ask_of(session, &self.outbox.lock, &[]).await.map_err(Failure::of_log)?;
        let holds = rows.first().is_some_and(|row| row.get(0));
        if holds {
            *self.outbox.holder.lock().expect("nobody panics while holding it") = Arc::downgrade(session);
        }
        Ok(holds)
    }

    async fn look(
        &self,
        session: &Arc<Session>,
        rules: &OutboxRules,
        topics: &mut KnownTopics,
    ) -> Result<Judged, EngineError> {
        let length = |max: usize| i32::try_from(max).unwrap_or(i32::MAX - 1).min(i32::MAX - 1);
        let limits = &rules.limits;
        let parameters = [
            (&BATCH_ROWS_MAX as _, Type::INT8),
            (&bigint(limits.topics_max as u64) as _, Type::INT8),
            (&length(limits.topic_bytes_max) as _, Type::INT4),
            (&length(limits.id_bytes_max) as _, Type::INT4),
            (&length(limits.type_bytes_max) as _, Type::INT4),
            (&BATCH_BYTES_MAX as _, Type::INT8),
        ];
        let rows = self.relayer.ask_of(session, &self.outbox.look, &parameters).await.map_err(Failure::of_log)?;
        let mut judged = Judged::default();
        for row in &rows {
            let (id, version) = (row.get(0), row.get(1));
            match Candidate::of(row).judge(rules, topics) {
                Ok(()) => {
                    judged.good.push(id);
                    judged.good_versions.push(version);
                }
                Err(reason) => {
                    judged.bad.push(id);
                    judged.bad_versions.push(version);
                    judged.reasons.push(reason);
                }
            }
        }
        Ok(judged)
    }

    async fn take(&self, session: &Arc<Session>, log: &Identity, judged: &Judged) -> Result<Relayed, EngineError> {
        let parameters = [
            (&Uuid(log.log) as _, Type::UUID),
            (&judged.good as _, Type::INT8_ARRAY),
            (&judged.good_versions as _, Type::TEXT_ARRAY),
            (&judged.bad as _, Type::INT8_ARRAY),
            (&judged.bad_versions as _, Type::TEXT_ARRAY),
            (&judged.reasons as _, Type::TEXT_ARRAY),
        ];
        let rows = self.relayer.ask_of(session, &self.outbox.take, &parameters).await.map_err(Failure::of_log)?;
        let row = rows.first().ok_or(LogError::Replaced)?;
        let count = |column| row.get::<_, i64>(column).max(0).cast_unsigned();
        self.keeper.tidy(log, &Length::of(row, 2));
        Ok(Relayed { published: count(0), refused: count(1), elsewhere: false })
    }
}

/// A row as far as the rules are about it.
struct Candidate {
    topics: Vec<Option<String>>,
    id: Option<String>,
    event_type: Option<String>,
    retry: Option<String>,
    data_bytes: usize,
}

impl Candidate {
    fn of(row: &Row) -> Candidate {
        Candidate {
            topics: row.get(2),
            id: row.get(3),
            event_type: row.get(4),
            retry: row.get(5),
            data_bytes: usize::try_from(row.get::<_, i32>(6)).unwrap_or_default(),
        }
    }

    /// The rules of a publish, read from the form it would have come in.
    fn judge(&self, rules: &OutboxRules, topics: &mut KnownTopics) -> Result<(), String> {
        if self.data_bytes > rules.data_bytes_max {
            return Err(format!(
                "the payload has {} bytes; at most {} are accepted",
                self.data_bytes, rules.data_bytes_max
            ));
        }
        let mut form = form_urlencoded::Serializer::new(String::new());
        for topic in &self.topics {
            form.append_pair("topic", topic.as_deref().ok_or("a topic is NULL; leave it out")?);
        }
        for (field, value) in [("id", &self.id), ("type", &self.event_type), ("retry", &self.retry)] {
            if let Some(value) = value {
                form.append_pair(field, value);
            }
        }
        Update::from_form(form.finish().as_bytes(), topics, &rules.limits).map(drop).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(candidate: &Candidate) -> Result<(), String> {
        let hub = HubUrl::parse("https://hub.example/.well-known/mercure").unwrap();
        let mut topics = KnownTopics::new(hub.clone());
        candidate.judge(&OutboxRules { hub, limits: UpdateLimits::default(), data_bytes_max: 10 }, &mut topics)
    }

    fn row() -> Candidate {
        Candidate { topics: vec![Some("a&b=c".to_owned())], id: None, event_type: None, retry: None, data_bytes: 10 }
    }

    #[test]
    fn rows_keep_to_the_rules_of_a_publish() {
        assert_eq!(judge(&row()), Ok(()));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(judge(&Candidate { id: text(""), event_type: text("t"), retry: text("007"), ..row() }), Ok(()));
        for (broken, word) in [
            (Candidate { topics: vec![], ..row() }, "no topic"),
            (Candidate { topics: vec![None], ..row() }, "NULL"),
            (Candidate { topics: vec![text("*")], ..row() }, "\"*\""),
            (Candidate { topics: vec![text("/.well-known/mercure/x")], ..row() }, "kept for the hub"),
            (Candidate { topics: vec![text("a\u{200B}")], ..row() }, "U+200B"),
            (Candidate { topics: vec![text(&"x".repeat(4097))], ..row() }, "4097"),
            (Candidate { topics: vec![text("x"); 1001], ..row() }, "1000"),
            (Candidate { id: text("#1"), ..row() }, "\"#\""),
            (Candidate { event_type: text("mercure"), ..row() }, "mercure"),
            (Candidate { retry: text("-1"), ..row() }, "digits"),
            (Candidate { data_bytes: 11, ..row() }, "11 bytes"),
        ] {
            let reason = judge(&broken).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
    }
}
