//! PostgreSQL, and what only it has: tables that can be read and written by others, roles, an outbox.

mod outbox;
mod server;
mod tables;

use crate::suite::conformance;

use self::server::PostgresServer;

conformance!(PostgresServer);
