//! The tables: what they are called, and who makes them.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::failure::Failure;
use super::link::Link;
use super::uuid::Uuid;
use crate::cluster::{EngineError, Identity, fresh};

/// The steps from nothing to the tables this program knows. Steps that were released are never changed, only followed by others.
const STEPS: [&str; 1] = [include_str!("schema.sql")];
/// The tables this program knows.
const VERSION: usize = STEPS.len();

/// What tables, locks and channels of a log are called.
pub(super) struct Names {
    name: String,
}

impl Names {
    pub(super) fn new(name: &str) -> Names {
        Names { name: name.to_owned() }
    }

    /// Puts the names into statements: `{schema}` (its channel's name too), `{outbox_channel}`, and as texts `{text}` and `{outbox_text}`.
    pub(super) fn fill(&self, sql: &str) -> String {
        let text = |name: String| format!("'{}'", name.replace('\'', "''"));
        sql.replace("{schema}", &format!("\"{}\"", self.name.replace('"', "\"\"")))
            .replace("{outbox_channel}", &format!("\"{}_outbox\"", self.name.replace('"', "\"\"")))
            .replace("{text}", &text(self.name.clone()))
            .replace("{outbox_text}", &text(format!("{}_outbox", self.name)))
    }
}

/// Finds the log, or makes it; of several hubs that try at once one does.
pub(super) async fn open(link: &Link, names: &Names) -> Result<Identity, EngineError> {
    let sql = names.fill("SELECT version, log, id_key FROM {schema}.meta");
    let found = match link.ask(&sql, &[]).await {
        Ok(rows) => rows,
        Err(failure) if failure.is_missing() => Vec::new(),
        Err(failure) => return Err(failure.plain()),
    };
    match found.first() {
        Some(row) if version(row.try_get(0).ok(), names)? == VERSION => identity(row, names),
        _ => make(link, names).await,
    }
}

/// Which tables there are: how many of the steps were taken.
fn version(found: Option<i32>, names: &Names) -> Result<usize, EngineError> {
    let name = &names.name;
    let Some(found) = found else { return Err(foreign(names)) };
    usize::try_from(found).ok().filter(|&found| found <= VERSION).ok_or_else(|| {
        EngineError::Refused(format!(
            "the tables in the schema {name} have version {found}, and this program knows them up to {VERSION}; use a newer cinnabar, or another \
             name for the cluster"
        ))
    })
}

fn identity(row: &Row, names: &Names) -> Result<Identity, EngineError> {
    let (log, id_key) = (row.try_get::<_, Uuid>(1), row.try_get::<_, &[u8]>(2));
    let (Ok(log), Some(id_key)) = (log, id_key.ok().and_then(|key| key.try_into().ok())) else {
        return Err(foreign(names));
    };
    Ok(Identity { log: log.0, id_key })
}

fn foreign(names: &Names) -> EngineError {
    EngineError::Refused(format!(
        "the schema {} has a table meta that isn't cinnabar's; use another name for the cluster",
        names.name
    ))
}

async fn make(link: &Link, names: &Names) -> Result<Identity, EngineError> {
    let mut connection = link.exclusive().await.map_err(Failure::plain)?;
    let work = async {
        let transaction = connection.client().transaction().await?;
        transaction.batch_execute(&names.fill("SELECT pg_advisory_xact_lock(hashtextextended({text}, 0))")).await?;
        // Asking for rights to create what is there already would keep out those who have none.
        let there =
            names.fill("SELECT to_regnamespace({schema_text}) IS NOT NULL, to_regclass({meta_text}) IS NOT NULL");
        let there = there
            .replace("{schema_text}", &literal(&names.fill("{schema}")))
            .replace("{meta_text}", &literal(&names.fill("{schema}.meta")));
        let row = transaction.query_typed_one(&there, &[]).await?;
        let (schema, meta): (bool, bool) = (row.get(0), row.get(1));
        let mut taken = 0;
        if meta {
            let row = transaction.query_typed_opt(&names.fill("SELECT version FROM {schema}.meta"), &[]).await?;
            // Tables without the row: somebody has emptied them. It is another log then.
            taken = match row.map(|row| version(row.try_get(0).ok(), names)).transpose() {
                Ok(taken) => taken.unwrap_or(VERSION),
                Err(refused) => return Ok(Err(refused)),
            };
        }
        if !schema {
            transaction.batch_execute(&names.fill("CREATE SCHEMA {schema}")).await?;
        }
        for step in &STEPS[taken..] {
            transaction.batch_execute(&names.fill(step)).await?;
        }
        let fresh = match fresh::identity() {
            Ok(fresh) => fresh,
            Err(error) => return Ok(Err(error)),
        };
        let sql = names.fill(
            "INSERT INTO {schema}.meta AS m (version, log, id_key) VALUES ($1, $2, $3)
             ON CONFLICT (only_row) DO UPDATE SET version = excluded.version RETURNING m.version, m.log, m.id_key",
        );
        let version = i32::try_from(VERSION).expect("the steps can be counted");
        let row = transaction
            .query_typed_one(
                &sql,
                &[(&version, Type::INT4), (&Uuid(fresh.log), Type::UUID), (&fresh.id_key.as_slice(), Type::BYTEA)],
            )
            .await?;
        let found = identity(&row, names);
        transaction.commit().await?;
        Ok(found)
    };
    link.in_time(work).await.map_err(Failure::plain)?
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_not_break_out() {
        let names = Names::new("a\"b'c");
        assert_eq!(names.fill("{schema}.x {text} {outbox_text}"), "\"a\"\"b'c\".x 'a\"b''c' 'a\"b''c_outbox'");
    }

    #[test]
    fn tables_of_a_newer_program_are_refused() {
        let names = Names::new("cinnabar");
        assert_eq!(version(Some(1), &names), Ok(1));
        assert!(matches!(version(Some(2), &names), Err(EngineError::Refused(_))));
        assert!(matches!(version(Some(-1), &names), Err(EngineError::Refused(_))));
    }
}
