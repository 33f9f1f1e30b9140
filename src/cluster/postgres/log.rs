//! The log in its table: appending, following, reading, finding.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Parts;
use super::failure::Failure;
use super::link::{Link, Parameter, Session};
use super::retention::Length;
use super::schema::Names;
use super::uuid::Uuid;
use crate::cluster::{Bounds, EngineError, Entry, Identity, LogError, Placed};
use crate::protocol::topic::Topic;
use crate::protocol::update::Update;

/// How long a wake-up that got lost holds up those who follow.
const POLL_MS: u64 = 1_000;
/// The last moment that is stored as it is, in the year 144,683: half way to PostgreSQL's own end.
const PUBLISHED_MS_MAX: u64 = 1 << 52;

/// The statements.
pub(super) struct Sql {
    append: String,
    read: String,
    state: String,
    find: String,
}

impl Sql {
    pub(super) fn new(names: &Names) -> Sql {
        Sql {
            append: names.fill("SELECT before, kept, kept_bytes, oldest_age_ms FROM {schema}.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"),
            // Rows are looked at by offset alone, `count` of them, so that none is read in vain once the bytes are reached.
            read: names.fill(
                "WITH start AS MATERIALIZED (
                    SELECT e.log_offset, e.bytes_upto - e.bytes AS before FROM {schema}.events e
                    WHERE (SELECT true FROM {schema}.meta m WHERE m.log = $1)
                        AND e.log_offset > greatest($2, (SELECT m.first_kept - 1 FROM {schema}.meta m))
                    ORDER BY e.log_offset LIMIT 1
                )
                SELECT e.log_offset, e.tag, e.published_at, e.topics, e.data, e.data_bytes, e.private, e.announcement, e.id, e.type, e.retry
                FROM {schema}.events e
                WHERE e.log_offset >= (SELECT s.log_offset FROM start s)
                    AND e.log_offset < (SELECT s.log_offset FROM start s) + $3
                    AND (e.bytes_upto <= (SELECT s.before FROM start s) + $4 OR e.log_offset = (SELECT s.log_offset FROM start s))
                ORDER BY e.log_offset LIMIT $3",
            ),
            state: names.fill(
                "SELECT greatest(m.last_deleted,
                        coalesce((SELECT e.log_offset FROM {schema}.events e ORDER BY e.log_offset DESC LIMIT 1), 0)),
                    (SELECT e.log_offset FROM {schema}.events e WHERE e.log_offset >= greatest(m.first_kept, $2)
                        ORDER BY e.log_offset LIMIT 1)
                FROM {schema}.meta m WHERE m.log = $1",
            ),
            // Two bounds where one would do keep the planner on the index of ids: with `=` it takes the order from the primary key.
            find: names.fill(
                "SELECT (
                    SELECT e.log_offset FROM {schema}.events e
                    WHERE hashtextextended(e.id, 0) >= hashtextextended($2, 0)
                        AND hashtextextended(e.id, 0) <= hashtextextended($2, 0) AND e.id = $2
                    ORDER BY hashtextextended(e.id, 0), e.log_offset LIMIT 1
                ) FROM {schema}.meta m WHERE m.log = $1",
            ),
        }
    }
}

/// What the log is, besides its events.
struct State {
    last: u64,
    /// The first one from the offset on that was asked for.
    next: Option<u64>,
}

impl Parts {
    /// The offset before the first one given.
    pub(super) async fn append(&self, log: &Identity, entries: &[Entry]) -> Result<u64, EngineError> {
        let texts = |entry: &Entry| Some(entry.update.data.clone()).filter(|data| !data.contains('\0'));
        let blobs = |entry: &Entry| entry.update.data.contains('\0').then(|| entry.update.data.clone().into_bytes());
        let stamps: Vec<_> = entries.iter().map(|entry| moment(entry.published_ms)).collect();
        let tags: Vec<_> = entries.iter().map(|entry| entry.tag.cast_signed()).collect();
        let topics: Vec<_> = entries.iter().map(|entry| topic_list(&entry.update.topics)).collect();
        let texts: Vec<_> = entries.iter().map(texts).collect();
        let blobs: Vec<_> = entries.iter().map(blobs).collect();
        let privates: Vec<_> = entries.iter().map(|entry| entry.update.private).collect();
        let announcements: Vec<_> = entries.iter().map(|entry| entry.announcement).collect();
        let ids: Vec<_> = entries.iter().map(|entry| entry.update.id.as_deref()).collect();
        let types: Vec<_> = entries.iter().map(|entry| entry.update.event_type.as_deref()).collect();
        let retries: Vec<_> = entries.iter().map(|entry| entry.update.retry.as_deref()).collect();
        let parameters: [Parameter<'_>; 11] = [
            (&Uuid(log.log), Type::UUID),
            (&stamps, Type::TIMESTAMPTZ_ARRAY),
            (&tags, Type::INT4_ARRAY),
            (&topics, Type::TEXT_ARRAY),
            (&texts, Type::TEXT_ARRAY),
            (&blobs, Type::BYTEA_ARRAY),
            (&privates, Type::BOOL_ARRAY),
            (&announcements, Type::BOOL_ARRAY),
            (&ids, Type::TEXT_ARRAY),
            (&types, Type::TEXT_ARRAY),
            (&retries, Type::TEXT_ARRAY),
        ];
        let rows = self.writer.ask(&self.log.append, &parameters).await.map_err(Failure::of_log)?;
        let row = rows.first().ok_or(LogError::Replaced)?;
        self.keeper.tidy(log, &Length::of(row, 1));
        Ok(offset(row.get(0)))
    }

    /// See [`Engine::follow`](crate::cluster::Engine::follow).
    pub(super) async fn follow(
        &self,
        log: &Identity,
        after: u64,
        count: usize,
        bytes: usize,
        wait: Duration,
    ) -> Result<Vec<Placed>, EngineError> {
        let until = Instant::now() + wait;
        loop {
            let session = self.follower.session().await.map_err(Failure::of_log)?;
            // Before looking, so that what is appended in between wakes too.
            let mut woken = std::pin::pin!(session.woken().notified());
            woken.as_mut().enable();
            let placed = self.read(&self.follower, &session, log, after, count, bytes).await?;
            if let Some(first) = placed.first() {
                return if first.offset == after + 1 {
                    Ok(up_to_hole(placed))
                } else {
                    Err(LogError::Trimmed { first: first.offset }.into())
                };
            }
            let state = self.state(&self.follower, &session, log, after + 1).await?;
            match state.next {
                _ if state.last < after => return Err(LogError::Shorter { last: state.last }.into()),
                Some(next) if next > after + 1 => return Err(LogError::Trimmed { first: next }.into()),
                // It has come just now.
                Some(_) if count > 0 => continue,
                None if state.last > after => return Err(LogError::Trimmed { first: state.last + 1 }.into()),
                _ => {}
            }
            let now = Instant::now();
            if now >= until {
                return Ok(Vec::new());
            }
            self.keeper.tidy_when_idle(log);
            let _ = tokio::time::timeout_at(until.min(now + Duration::from_millis(POLL_MS)), woken).await;
        }
    }

    /// See [`Engine::range`](crate::cluster::Engine::range).
    pub(super) async fn range(
        &self,
        log: &Identity,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> Result<Vec<Placed>, EngineError> {
        let session = self.reader.session().await.map_err(Failure::of_log)?;
        let placed = self.read(&self.reader, &session, log, after, count, bytes).await?;
        match placed.first() {
            Some(first) if after > 0 && first.offset > after + 1 => {
                Err(LogError::Trimmed { first: first.offset }.into())
            }
            Some(_) => Ok(placed),
            None => {
                let state = self.state(&self.reader, &session, log, after + 1).await?;
                let trimmed = after > 0 && state.next.is_none() && state.last > after;
                if trimmed { Err(LogError::Trimmed { first: state.last + 1 }.into()) } else { Ok(placed) }
            }
        }
    }

    /// See [`Engine::find`](crate::cluster::Engine::find).
    pub(super) async fn find(&self, log: &Identity, id: &str) -> Result<Option<u64>, EngineError> {
        if id.contains('\0') {
            // No text of PostgreSQL's has one, and no id either.
            return Ok(None);
        }
        let rows = self.reader.ask(&self.log.find, &[(&Uuid(log.log), Type::UUID), (&id, Type::TEXT)]).await;
        let rows = rows.map_err(Failure::of_log)?;
        let row = rows.first().ok_or(LogError::Replaced)?;
        Ok(row.get::<_, Option<i64>>(0).map(offset))
    }

    /// See [`Engine::bounds`](crate::cluster::Engine::bounds).
    pub(super) async fn bounds(&self, log: &Identity) -> Result<Bounds, EngineError> {
        let session = self.reader.session().await.map_err(Failure::of_log)?;
        let state = self.state(&self.reader, &session, log, 0).await?;
        Ok(Bounds { first: state.next.unwrap_or(state.last + 1), last: state.last })
    }

    async fn read(
        &self,
        link: &Link,
        session: &Arc<Session>,
        log: &Identity,
        after: u64,
        count: usize,
        bytes: usize,
    ) -> Result<Vec<Placed>, EngineError> {
        let (after, count, bytes) = (bigint(after), bigint(count as u64), bigint(bytes as u64));
        let parameters = [
            (&Uuid(log.log) as _, Type::UUID),
            (&after as _, Type::INT8),
            (&count as _, Type::INT8),
            (&bytes as _, Type::INT8),
        ];
        let rows = link.ask_of(session, &self.log.read, &parameters).await.map_err(Failure::of_log)?;
        rows.iter().map(placed).collect()
    }

    async fn state(
        &self,
        link: &Link,
        session: &Arc<Session>,
        log: &Identity,
        from: u64,
    ) -> Result<State, EngineError> {
        let parameters = [(&Uuid(log.log) as _, Type::UUID), (&bigint(from) as _, Type::INT8)];
        let rows = link.ask_of(session, &self.log.state, &parameters).await.map_err(Failure::of_log)?;
        let row = rows.first().ok_or(LogError::Replaced)?;
        Ok(State { last: offset(row.get(0)), next: row.get::<_, Option<i64>>(1).map(offset) })
    }
}

fn placed(row: &Row) -> Result<Placed, EngineError> {
    // Nobody but hubs writes there, and what another one wrote can be read.
    read_row(row).ok_or_else(|| EngineError::Refused("the table events holds a row that no hub wrote".to_owned()))
}

fn read_row(row: &Row) -> Option<Placed> {
    let topics: Vec<String> = row.try_get(3).ok()?;
    let data = match row.try_get(4).ok()? {
        Some(data) => data,
        None => String::from_utf8(row.try_get(5).ok()?).ok()?,
    };
    let update = Update {
        topics: topics.iter().map(|topic| Topic::of_hub(topic)).collect(),
        data,
        private: row.try_get(6).ok()?,
        id: row.try_get(8).ok()?,
        event_type: row.try_get(9).ok()?,
        retry: row.try_get(10).ok()?,
    };
    let published = row.try_get::<_, SystemTime>(2).ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let entry = Entry {
        update,
        announcement: row.try_get(7).ok()?,
        published_ms: u64::try_from(published.as_millis()).unwrap_or(u64::MAX),
        tag: row.try_get::<_, i32>(1).ok()?.cast_unsigned(),
    };
    Some(Placed { offset: offset(row.try_get(0).ok()?), entry })
}

/// What follows without a hole: events somebody has deleted in the middle are found missing by the next look.
fn up_to_hole(mut placed: Vec<Placed>) -> Vec<Placed> {
    let whole = placed.windows(2).take_while(|pair| pair[1].offset == pair[0].offset + 1).count() + 1;
    placed.truncate(whole);
    placed
}

/// Topics as PostgreSQL writes an array of texts: one value per event, whatever their number.
fn topic_list(topics: &[Topic]) -> String {
    let mut list = String::from("{");
    for (place, topic) in topics.iter().enumerate() {
        if place > 0 {
            list.push(',');
        }
        list.push('"');
        for c in topic.as_str().chars() {
            if matches!(c, '"' | '\\') {
                list.push('\\');
            }
            list.push(c);
        }
        list.push('"');
    }
    list.push('}');
    list
}

fn moment(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms.min(PUBLISHED_MS_MAX))
}

fn offset(bigint: i64) -> u64 {
    u64::try_from(bigint).unwrap_or_default()
}

/// As PostgreSQL counts: no log gets that long.
pub(super) fn bigint(number: u64) -> i64 {
    // Half of what there is, so that sums of two don't overflow there.
    i64::try_from(number).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_quoted() {
        let topics = ["a", "b,{c}", "\"\\", "null", " "].map(Topic::of_hub);
        assert_eq!(topic_list(&topics), r#"{"a","b,{c}","\"\\","null"," "}"#);
    }

    #[test]
    fn a_hole_ends_what_is_given() {
        let at = |offset| {
            let update = Update {
                topics: vec![Topic::of_hub("a")],
                data: String::new(),
                private: false,
                id: None,
                event_type: None,
                retry: None,
            };
            Placed { offset, entry: Entry { update, announcement: false, published_ms: 0, tag: 0 } }
        };
        let offsets = |placed: Vec<Placed>| placed.iter().map(|placed| placed.offset).collect::<Vec<_>>();
        assert_eq!(offsets(up_to_hole([3, 4, 6, 7].map(at).to_vec())), [3, 4]);
        assert_eq!(offsets(up_to_hole([3, 4].map(at).to_vec())), [3, 4]);
    }
}
