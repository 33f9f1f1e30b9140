//! A connection that is made when it is needed, and again when it broke.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio::task::AbortHandle;
use tokio_postgres::error::Severity;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Row};

use super::access::Access;
use super::failure::Failure;

/// How long an answer may take.
const ANSWER_TIMEOUT_MS: u64 = 5_000;

/// A value for a statement, and what it is there.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// What every connection begins with. Names are written out in full everywhere, so that nobody can put another function in the way of
/// ours; the server gives up what takes longer than we wait, and a hub whose machine has vanished.
const HELLO: &str = "SET statement_timeout = 5000; SET search_path = pg_catalog; SET jit = off; SET client_min_messages = error; \
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = 20000;";

/// A connection, made when it is needed. Statements of several tasks may be on their way on it at once.
pub(super) struct Link {
    access: Arc<Access>,
    purpose: &'static str,
    hello: String,
    session: Mutex<Option<Arc<Session>>>,
}

/// A connection there is.
pub(super) struct Session {
    client: Client,
    /// Told of every notification, and of the end.
    woken: Arc<Notify>,
    driver: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        // What is still on its way would keep the connection, for as long as the server is silent.
        self.driver.abort();
    }
}

impl Session {
    /// Told of every notification, and of the end.
    pub(super) fn woken(&self) -> &Notify {
        &self.woken
    }
}

/// A connection nobody else has.
pub(super) struct Exclusive(Session);

impl Exclusive {
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.0.client
    }
}

impl Link {
    /// None yet. `hello` are statements every connection begins with.
    pub(super) fn new(access: Arc<Access>, purpose: &'static str, hello: &str) -> Link {
        Link { access, purpose, hello: format!("{HELLO} {hello}"), session: Mutex::new(None) }
    }

    /// The connection there is, or a new one.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Failure> {
        let answered = tokio::time::timeout(Duration::from_millis(ANSWER_TIMEOUT_MS), async {
            let mut held = self.session.lock().await;
            if let Some(session) = held.as_ref().filter(|session| !session.client.is_closed()) {
                return Ok(session.clone());
            }
            *held = None;
            let session = Arc::new(self.connect().await?);
            *held = Some(session.clone());
            Ok(session)
        });
        answered.await.unwrap_or_else(|_| Err(self.silent()))
    }

    /// A connection for one purpose that nobody else gets.
    pub(super) async fn exclusive(&self) -> Result<Exclusive, Failure> {
        self.connect().await.map(Exclusive)
    }

    /// Runs a statement and gives its rows.
    pub(super) async fn ask(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let session = self.session().await?;
        self.ask_of(&session, sql, parameters).await
    }

    /// The same, of a connection that [`Link::session`] gave.
    pub(super) async fn ask_of(
        &self,
        session: &Arc<Session>,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let limit = Duration::from_millis(ANSWER_TIMEOUT_MS);
        let failure = match tokio::time::timeout(limit, session.client.query_typed(sql, parameters)).await {
            Ok(Ok(rows)) => return Ok(rows),
            // The server has answered, and the connection goes on.
            Ok(Err(error)) if is_answer(&error) && !session.client.is_closed() => {
                return Err(Failure::of(self.access.place(), &error));
            }
            Ok(Err(error)) => Failure::of(self.access.place(), &error),
            Err(_) => self.silent(),
        };
        let mut held = self.session.lock().await;
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, session)) {
            *held = None;
        }
        Err(failure)
    }

    /// Work on a connection of one's own, for as long as an answer may take.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(Duration::from_millis(ANSWER_TIMEOUT_MS), work).await {
            Ok(done) => done.map_err(|error| Failure::of(self.access.place(), &error)),
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> Failure {
        Failure::unavailable(self.access.place(), &format!("no answer within {ANSWER_TIMEOUT_MS} milliseconds"))
    }

    async fn connect(&self) -> Result<Session, Failure> {
        let (client, mut connection) = self.access.connect(self.purpose).await?;
        let woken = Arc::new(Notify::new());
        let waker = woken.clone();
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(_) = message {
                    waker.notify_waiters();
                }
            }
            drop(connection);
            waker.notify_waiters();
        });
        let session = Session { client, woken, driver: driver.abort_handle() };
        let limit = Duration::from_millis(ANSWER_TIMEOUT_MS);
        match tokio::time::timeout(limit, session.client.batch_execute(&self.hello)).await {
            Ok(Ok(())) => Ok(session),
            Ok(Err(error)) => Err(Failure::of(self.access.place(), &error)),
            Err(_) => Err(self.silent()),
        }
    }
}

/// Whether the server said no, rather than goodbye.
fn is_answer(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|said| said.parsed_severity() == Some(Severity::Error))
}
