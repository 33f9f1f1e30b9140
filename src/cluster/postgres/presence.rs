//! Which hubs live, and who is subscribed at them. Whether a lease has run out is decided by the server's clock alone.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Parts;
use super::failure::Failure;
use super::log::bigint;
use super::schema::Names;
use super::uuid::Uuid;
use crate::cluster::{EngineError, Member, NodeId, Subscriber};

/// The statements.
pub(super) struct Sql {
    arrive: String,
    renew: String,
    enter: String,
    leave: String,
    members: String,
    member: String,
    claim: String,
    left: String,
    bury: String,
}

impl Sql {
    pub(super) fn new(names: &Names) -> Sql {
        Sql {
            arrive: names.fill(
                "INSERT INTO {schema}.nodes AS n (id, lease_until)
                VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond')
                ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until WHERE n.claimed_by IS NULL",
            ),
            // Who was claimed stays dead, also when the time to end what it left is over.
            renew: names.fill(
                "UPDATE {schema}.nodes SET lease_until = clock_timestamp() + $2 * interval '1 millisecond'
                WHERE id = $1 AND claimed_by IS NULL RETURNING id",
            ),
            // Of a hub that isn't known, or is taken for dead, nothing is noted.
            enter: names.fill(
                "INSERT INTO {schema}.subscribers (node, id, document)
                SELECT DISTINCT ON (u.id) n.id, u.id, u.document FROM {schema}.nodes n,
                    unnest($2, $3) WITH ORDINALITY AS u (id, document, place)
                WHERE n.id = $1 AND n.claimed_by IS NULL ORDER BY u.id, u.place DESC
                ON CONFLICT (node, id) DO UPDATE SET document = excluded.document",
            ),
            leave: names.fill("DELETE FROM {schema}.subscribers s WHERE s.node = $1 AND s.id = ANY ($2)"),
            members: names.fill(
                "SELECT p.node, p.id, p.document FROM (
                    SELECT s.node, s.id, s.document,
                        sum(octet_length(s.document)) OVER (ORDER BY s.node, s.id) - octet_length(s.document) AS before
                    FROM {schema}.subscribers s JOIN {schema}.nodes n ON n.id = s.node
                    WHERE (s.node, s.id) > ($1, $2) AND n.claimed_by IS NULL ORDER BY s.node, s.id LIMIT $3
                ) p WHERE p.before = 0 OR p.before < $4 ORDER BY p.node, p.id",
            ),
            member: names.fill(
                "SELECT s.node, s.id, s.document FROM {schema}.subscribers s JOIN {schema}.nodes n ON n.id = s.node
                WHERE s.id = $1 AND n.claimed_by IS NULL LIMIT 1",
            ),
            claim: names.fill(
                "UPDATE {schema}.nodes SET claimed_by = $1, claimed_until = clock_timestamp() + $2 * interval '1 millisecond'
                WHERE id = (
                    SELECT n.id FROM {schema}.nodes n
                    WHERE n.lease_until < clock_timestamp()
                        AND (n.claimed_until IS NULL OR n.claimed_until < clock_timestamp() OR n.claimed_by = $1)
                        AND EXISTS (
                            SELECT FROM {schema}.nodes me
                            WHERE me.id = $1 AND me.claimed_by IS NULL AND me.lease_until >= clock_timestamp()
                        )
                    ORDER BY n.claimed_by IS NOT DISTINCT FROM $1 DESC, n.lease_until LIMIT 1 FOR UPDATE OF n SKIP LOCKED
                ) RETURNING id",
            ),
            left: names.fill(
                "SELECT p.node, p.id, p.document FROM (
                    SELECT s.node, s.id, s.document,
                        sum(octet_length(s.document)) OVER (ORDER BY s.id) - octet_length(s.document) AS before
                    FROM {schema}.subscribers s WHERE s.node = $1 ORDER BY s.id LIMIT $2
                ) p WHERE p.before = 0 OR p.before < $3",
            ),
            bury: names.fill(
                "DELETE FROM {schema}.nodes n WHERE n.id = $1 AND n.claimed_by IS NOT NULL
                    AND NOT EXISTS (SELECT FROM {schema}.subscribers s WHERE s.node = $1)",
            ),
        }
    }
}

impl Parts {
    pub(super) async fn arrive(&self, node: NodeId, lease: Duration) -> Result<(), EngineError> {
        let parameters = [(&Uuid(node.0) as _, Type::UUID), (&ms(lease) as _, Type::FLOAT8)];
        self.presence.ask(&self.members.arrive, &parameters).await.map(drop).map_err(Failure::of_log)
    }

    pub(super) async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, EngineError> {
        let parameters = [(&Uuid(node.0) as _, Type::UUID), (&ms(lease) as _, Type::FLOAT8)];
        let rows = self.presence.ask(&self.members.renew, &parameters).await.map_err(Failure::of_log)?;
        Ok(!rows.is_empty())
    }

    pub(super) async fn enter(&self, node: NodeId, subscribers: &[Subscriber]) -> Result<(), EngineError> {
        let ids: Vec<_> = subscribers.iter().map(|subscriber| subscriber.id.as_str()).collect();
        let documents: Vec<_> = subscribers.iter().map(|subscriber| subscriber.document.as_str()).collect();
        let parameters =
            [(&Uuid(node.0) as _, Type::UUID), (&ids as _, Type::TEXT_ARRAY), (&documents as _, Type::TEXT_ARRAY)];
        match self.presence.ask(&self.members.enter, &parameters).await {
            // Buried just now: as if it had not been known before.
            Err(failure) if failure.is_reference() => Ok(()),
            result => result.map(drop).map_err(Failure::of_log),
        }
    }

    pub(super) async fn leave(&self, node: NodeId, subscribers: &[String]) -> Result<(), EngineError> {
        let parameters = [(&Uuid(node.0) as _, Type::UUID), (&subscribers as _, Type::TEXT_ARRAY)];
        self.presence.ask(&self.members.leave, &parameters).await.map(drop).map_err(Failure::of_log)
    }

    pub(super) async fn members(
        &self,
        cursor: &str,
        count: usize,
        bytes: usize,
    ) -> Result<(Vec<Member>, String), EngineError> {
        let Some((node, id)) = read_cursor(cursor) else {
            return Err(EngineError::Refused("this cursor is not one of this engine's".to_owned()));
        };
        let count = bigint(count as u64);
        let parameters = [
            (&node as _, Type::UUID),
            (&id as _, Type::TEXT),
            (&(count + 1) as _, Type::INT8),
            (&bigint(bytes as u64) as _, Type::INT8),
        ];
        let rows = self.presence.ask(&self.members.members, &parameters).await.map_err(Failure::of_log)?;
        let mut members: Vec<_> = rows.iter().map(member).collect();
        // Where it ended because of its bytes there may be more, or not.
        let size: usize = members.iter().map(|member| member.subscriber.document.len()).sum();
        let more = bigint(members.len() as u64) > count || size >= bytes;
        members.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        let next = members.last().filter(|_| more).map(write_cursor).unwrap_or_default();
        Ok((members, next))
    }

    pub(super) async fn member(&self, id: &str) -> Result<Option<Member>, EngineError> {
        if id.contains('\0') {
            return Ok(None);
        }
        let rows = self.presence.ask(&self.members.member, &[(&id, Type::TEXT)]).await.map_err(Failure::of_log)?;
        Ok(rows.first().map(member))
    }

    pub(super) async fn claim(&self, node: NodeId, lease: Duration) -> Result<Option<NodeId>, EngineError> {
        let parameters = [(&Uuid(node.0) as _, Type::UUID), (&ms(lease) as _, Type::FLOAT8)];
        let rows = self.presence.ask(&self.members.claim, &parameters).await.map_err(Failure::of_log)?;
        Ok(rows.first().map(|row| NodeId(row.get::<_, Uuid>(0).0)))
    }

    pub(super) async fn left(&self, dead: NodeId, count: usize, bytes: usize) -> Result<Vec<Subscriber>, EngineError> {
        let (count, bytes) = (bigint(count as u64), bigint(bytes as u64));
        let parameters = [(&Uuid(dead.0) as _, Type::UUID), (&count as _, Type::INT8), (&bytes as _, Type::INT8)];
        let rows = self.presence.ask(&self.members.left, &parameters).await.map_err(Failure::of_log)?;
        Ok(rows.iter().map(|row| member(row).subscriber).collect())
    }

    pub(super) async fn bury(&self, dead: NodeId) -> Result<(), EngineError> {
        match self.presence.ask(&self.members.bury, &[(&Uuid(dead.0), Type::UUID)]).await {
            // Somebody was noted there just now.
            Err(failure) if failure.is_reference() => Ok(()),
            result => result.map(drop).map_err(Failure::of_log),
        }
    }
}

fn member(row: &Row) -> Member {
    Member { node: NodeId(row.get::<_, Uuid>(0).0), subscriber: Subscriber { id: row.get(1), document: row.get(2) } }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// A cursor is the last one given: 32 digits of its hub, then its id.
fn write_cursor(member: &Member) -> String {
    format!("{:032x}{}", u128::from_be_bytes(member.node.0), member.subscriber.id)
}

fn read_cursor(cursor: &str) -> Option<(Uuid, &str)> {
    if cursor.is_empty() {
        return Some((Uuid([0; 16]), ""));
    }
    let (node, id) = cursor.split_at_checked(32)?;
    let node = u128::from_str_radix(node, 16).ok()?;
    (!id.contains('\0')).then_some((Uuid(node.to_be_bytes()), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_the_last_one_given() {
        let member = Member {
            node: NodeId([7; 16]),
            subscriber: Subscriber { id: "urn:uuid:é".to_owned(), document: String::new() },
        };
        assert_eq!(read_cursor(&write_cursor(&member)), Some((Uuid([7; 16]), "urn:uuid:é")));
        assert_eq!(read_cursor(""), Some((Uuid([0; 16]), "")));
        assert_eq!(read_cursor("x"), None);
        assert_eq!(read_cursor(&"é".repeat(17)), None);
    }
}
