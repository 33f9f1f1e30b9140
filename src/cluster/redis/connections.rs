//! Connections to Redis: one that all calls share, and some that wait.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, ServerErrorKind, Value};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::durability::Settings;
use super::script::Script;
use super::{locked, refusal};
use crate::cluster::{Address, EngineError, tls};

const PORT: u16 = 6379;

/// Connections kept for the next wait.
const IDLE_MAX: usize = 4;

/// How to reach a Redis, and what reaches it now.
pub(super) struct Connections {
    address: Address,
    shared: tokio::sync::Mutex<Option<Arc<Link>>>,
    /// Between two waits. Who waits takes one away, so that a wait that was given up takes its connection with it.
    idle: Mutex<Vec<Link>>,
}

/// One connection; the task that drives it ends with it.
struct Link {
    connection: MultiplexedConnection,
    driver: AbortHandle,
    /// Something went wrong on it: nobody begins anything on it any more.
    given_up: AtomicBool,
}

impl Link {
    fn usable(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed) && !self.driver.is_finished()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

impl Connections {
    pub(super) fn new(address: Address) -> Connections {
        Connections { address, shared: tokio::sync::Mutex::new(None), idle: Mutex::new(Vec::new()) }
    }

    /// Has a script run, by its name and, should Redis not know that, by its text.
    pub(super) async fn run(
        &self,
        script: &Script,
        limit: Duration,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<Value, EngineError> {
        let command = |how: &str, which: &str| {
            let mut command = Cmd::new();
            command.arg(how).arg(which).arg(keys.len()).arg(keys);
            arguments.iter().for_each(|argument| {
                command.arg(argument);
            });
            command
        };
        self.in_time(limit, async |connection| {
            let answer = connection.send_packed_command(&command("EVALSHA", script.name())).await;
            match answer.and_then(Value::extract_error) {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    connection.send_packed_command(&command("EVAL", script.text)).await
                }
                answer => answer,
            }
        })
        .await
    }

    /// Asks what a log has to know of the server.
    pub(super) async fn settings(&self, limit: Duration) -> Result<Settings, EngineError> {
        let mut info = String::new();
        for section in ["server", "persistence", "replication"] {
            let mut command = Cmd::new();
            command.arg("INFO").arg(section);
            // Where it is forbidden the log works all the same.
            match self.in_time(limit, async |connection| connection.send_packed_command(&command).await).await {
                Ok(Value::BulkString(text)) => info.push_str(&String::from_utf8_lossy(&text)),
                Ok(_) | Err(EngineError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut config = Vec::new();
        for name in ["appendonly", "appendfsync", "maxmemory", "maxmemory-policy"] {
            let mut command = Cmd::new();
            command.arg("CONFIG").arg("GET").arg(name);
            match self.in_time(limit, async |connection| connection.send_packed_command(&command).await).await {
                Ok(Value::Array(pair)) => config.extend(pair),
                Ok(_) | Err(EngineError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Settings::new(&info, config))
    }

    /// Sends a command that makes Redis wait, on a connection nobody else is on.
    pub(super) async fn block(&self, command: &Cmd, limit: Duration) -> Result<Value, EngineError> {
        let waited = timeout(limit, async {
            let kept = locked(&self.idle).pop().filter(Link::usable);
            let mut link = match kept {
                Some(link) => link,
                None => timeout(super::CALL_TIMEOUT, self.connect())
                    .await
                    .map_err(|_| self.silent(super::CALL_TIMEOUT))??,
            };
            let answer = link.connection.send_packed_command(command).await.and_then(Value::extract_error);
            answer.map(|answer| (link, answer)).map_err(|error| self.explained(&error))
        });
        let (link, answer) = waited.await.unwrap_or_else(|_| Err(self.silent(limit)))?;
        let mut idle = locked(&self.idle);
        if idle.len() < IDLE_MAX {
            idle.push(link);
        }
        Ok(answer)
    }

    /// Does something on the shared connection, and gives that up if it failed.
    async fn in_time(
        &self,
        limit: Duration,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<Value, RedisError>,
    ) -> Result<Value, EngineError> {
        let (mut used, mut demoted) = (None, false);
        let asked = async {
            let link = self.shared().await?;
            let mut connection = used.insert(link).connection.clone();
            let answer = ask(&mut connection).await.and_then(Value::extract_error);
            answer.map_err(|error| {
                demoted = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
                self.explained(&error)
            })
        };
        let answer = timeout(limit, pin!(asked)).await.unwrap_or_else(|_| Err(self.silent(limit)));
        // Behind the same name there may be another primary by now.
        let of_no_use = demoted || matches!(answer, Err(EngineError::Unavailable(_)));
        if let Some(link) = used.filter(|_| of_no_use) {
            link.given_up.store(true, Ordering::Relaxed);
            // Those that wait go to the same server.
            locked(&self.idle).clear();
        }
        answer
    }

    async fn shared(&self) -> Result<Arc<Link>, EngineError> {
        let mut shared = self.shared.lock().await;
        if let Some(link) = shared.as_ref().filter(|link| link.usable()) {
            return Ok(link.clone());
        }
        // Before the next one is made, which can fail: those still at work on this one keep it.
        *shared = None;
        let link = Arc::new(self.connect().await?);
        *shared = Some(link.clone());
        Ok(link)
    }

    async fn connect(&self) -> Result<Link, EngineError> {
        let (host, port) = (self.address.host(), self.address.url.port().unwrap_or(PORT));
        let unreachable = |error: std::io::Error| EngineError::Unavailable(format!("{:?}: {error}", self.address));
        let socket = TcpStream::connect((&*host, port)).await.map_err(unreachable)?;
        socket.set_nodelay(true).map_err(unreachable)?;
        // What was given up isn't delivered by the kernel some time later.
        socket.set_zero_linger().map_err(unreachable)?;
        if self.address.url.scheme() != "rediss" {
            return self.greet(socket).await;
        }
        let name = ServerName::try_from(host).map_err(|_| {
            EngineError::Refused(format!("{:?} names no host that can have a certificate", self.address))
        })?;
        let connector = TlsConnector::from(Arc::new(tls::client_config(&self.address)?));
        let sealed = connector.connect(name, socket).await.map_err(|error| tls::failed(&self.address, error))?;
        self.greet(sealed).await
    }

    async fn greet<S>(&self, stream: S) -> Result<Link, EngineError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(user) = self.address.login() {
            // Users without a password log in too, with any.
            login = login.set_username(user).set_password("");
        }
        if let Some(password) = &self.address.password {
            login = login.set_password(password);
        }
        let database = self.address.url.path().trim_matches('/');
        if !database.is_empty() {
            let number = database.parse().map_err(|_| {
                EngineError::Refused(format!(
                    "{:?}: what follows the host is the number of a database, as in /0",
                    self.address
                ))
            })?;
            login = login.set_db(number);
        }
        // Time is kept here: the client's own limits would end waits.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let greeted = MultiplexedConnection::new_with_config(&login, stream, config).await;
        let (connection, driver) = greeted.map_err(|error| self.explained(&error))?;
        Ok(Link { connection, driver: tokio::spawn(driver).abort_handle(), given_up: AtomicBool::new(false) })
    }

    fn explained(&self, error: &RedisError) -> EngineError {
        refusal::explain(&self.address, error)
    }

    fn silent(&self, limit: Duration) -> EngineError {
        EngineError::Unavailable(format!("{:?} has not answered within {} s", self.address, limit.as_secs()))
    }
}
