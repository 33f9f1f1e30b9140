//! What went wrong between a hub and PostgreSQL, in words that say what to do.

use std::error::Error;

use tokio_postgres::error::SqlState;

use crate::cluster::{EngineError, LogError};

/// Why a statement, or the connection it needs, failed.
#[derive(Debug)]
pub(super) struct Failure {
    state: Option<SqlState>,
    error: EngineError,
}

impl Failure {
    /// Nothing that PostgreSQL said.
    pub(super) fn new(error: EngineError) -> Failure {
        Failure { state: None, error }
    }

    pub(super) fn unavailable(place: &str, what: &str) -> Failure {
        Failure::new(EngineError::Unavailable(format!("{place}: {what}")))
    }

    /// What the client's library reports. `place` says where PostgreSQL is.
    pub(super) fn of(place: &str, error: &tokio_postgres::Error) -> Failure {
        let Some(said) = error.as_db_error() else {
            return Failure::new(not_said(place, error));
        };
        let state = said.code().clone();
        Failure { error: said_by_server(place, &state, said.message()), state: Some(state) }
    }

    /// Whether tables or functions aren't there: the log isn't.
    pub(super) fn is_missing(&self) -> bool {
        let gone = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME, SqlState::UNDEFINED_FUNCTION];
        self.state.as_ref().is_some_and(|state| gone.contains(state))
    }

    /// Whether a row that is referred to stays, or one that is referred to isn't there.
    pub(super) fn is_reference(&self) -> bool {
        self.state.as_ref() == Some(&SqlState::FOREIGN_KEY_VIOLATION)
    }

    /// What it is to whoever expects a log there.
    pub(super) fn of_log(self) -> EngineError {
        let no_database = self.state == Some(SqlState::INVALID_CATALOG_NAME);
        if no_database || self.is_missing() { LogError::Replaced.into() } else { self.error }
    }

    /// What it is to whoever expects nothing.
    pub(super) fn plain(self) -> EngineError {
        self.error
    }
}

/// Errors that aren't an answer: the connection broke, the handshake failed, the password is missing.
fn not_said(place: &str, error: &tokio_postgres::Error) -> EngineError {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // A certificate that isn't accepted won't be the next time either.
        if let Some(why) = inner.downcast_ref::<std::io::Error>().and_then(tls_error).or_else(|| inner.downcast_ref()) {
            return refused_handshake(place, why);
        }
        let inner_words = inner.to_string();
        if !words.contains(&inner_words) {
            words = format!("{words}: {inner_words}");
        }
        cause = inner.source();
    }
    if words.contains("server does not support TLS") {
        return EngineError::Refused(format!(
            "{place}: the server offers no TLS; turn its ssl on, or add sslmode=disable to the URL if nobody else can read that network"
        ));
    }
    if words.contains("password missing") {
        return EngineError::Refused(format!("{place}: the server asks for a password, and none is configured"));
    }
    if words.contains("authentication error") {
        return EngineError::Refused(format!("{place}: {words}"));
    }
    EngineError::Unavailable(format!("{place}: {words}"))
}

fn tls_error(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn refused_handshake(place: &str, why: &rustls::Error) -> EngineError {
    let hint = match why {
        rustls::Error::InvalidCertificate(_) => {
            "name the file of the certificates it is to be judged by, and the host as its certificate does"
        }
        rustls::Error::AlertReceived(_) => "does it want a client certificate, or another one?",
        _ => "does it speak TLS as of 1.2?",
    };
    EngineError::Refused(format!("{place}: the TLS handshake failed ({why}); {hint}"))
}

fn said_by_server(place: &str, state: &SqlState, message: &str) -> EngineError {
    let code = state.code();
    let refused = |words: String| EngineError::Refused(format!("{place}: {words}"));
    match *state {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            refused(format!("{message}; check user, password and the server's pg_hba.conf"))
        }
        SqlState::INVALID_CATALOG_NAME => refused(format!("{message}; create it, or name another one in the URL")),
        SqlState::INSUFFICIENT_PRIVILEGE => {
            refused(format!("{message}; docs/postgres.md lists the rights a hub's role needs"))
        }
        SqlState::DISK_FULL => refused(format!("{message}; make room on the server's disk")),
        SqlState::TOO_MANY_CONNECTIONS => {
            refused(format!("{message}; a hub needs six connections: raise max_connections or the role's limit"))
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => refused(format!(
            "{message}; it is a standby, or default_transaction_read_only is on: name the server that writes"
        )),
        SqlState::QUERY_CANCELED => EngineError::Unavailable(format!("{place}: no answer in time ({message})")),
        _ => match &code[..2] {
            // Connections, aborted transactions, the operator's doing, the system's, bugs: may be over the next time.
            "08" | "40" | "55" | "57" | "58" | "F0" | "XX" => {
                EngineError::Unavailable(format!("{place}: {message} ({code})"))
            }
            // May quote what was sent, and payloads are in no log.
            "22" | "23" => refused(format!("error {code}")),
            _ => refused(format!("{message} ({code})")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(state: SqlState) -> EngineError {
        said_by_server("db:5432", &state, "words")
    }

    #[test]
    fn what_may_be_over_soon_is_unavailable_and_what_needs_somebody_is_refused() {
        for state in
            [SqlState::ADMIN_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW, SqlState::QUERY_CANCELED, SqlState::IO_ERROR]
        {
            assert!(matches!(said(state.clone()), EngineError::Unavailable(_)), "{state:?}");
        }
        for state in [SqlState::INVALID_PASSWORD, SqlState::DISK_FULL, SqlState::INSUFFICIENT_PRIVILEGE] {
            assert!(matches!(said(state.clone()), EngineError::Refused(_)), "{state:?}");
        }
    }

    #[test]
    fn errors_about_values_quote_none() {
        assert_eq!(
            said(SqlState::INVALID_TEXT_REPRESENTATION),
            EngineError::Refused("db:5432: error 22P02".to_owned())
        );
    }

    #[test]
    fn a_log_without_its_tables_is_no_log() {
        let failure = Failure { state: Some(SqlState::UNDEFINED_TABLE), error: said(SqlState::UNDEFINED_TABLE) };
        assert_eq!(failure.of_log(), EngineError::Log(LogError::Replaced));
    }
}
