//! What NATS' errors mean and what to do about them.

use async_nats::{ConnectError, ConnectErrorKind};

use super::connections::Connections;
use super::jetstream::Fault;
use crate::cluster::{Address, EngineError};

/// Why there is no connection.
pub(super) fn connecting(address: &Address, error: &ConnectError) -> EngineError {
    let why = match error.kind() {
        ConnectErrorKind::AuthorizationViolation => {
            "it doesn't accept who we are; check user and password, token or credentials file".to_owned()
        }
        ConnectErrorKind::Authentication => {
            "the credentials can't be used to sign; check the credentials file".to_owned()
        }
        ConnectErrorKind::ServerParse => {
            "that is no address of a NATS server; write it as in nats://host:4222".to_owned()
        }
        ConnectErrorKind::Tls => format!("it doesn't speak TLS there, or not as it should ({})", source(error)),
        _ => {
            // A certificate that isn't accepted is an error of its socket too.
            let source = source(error);
            if source.contains("certificate") || source.contains("alert") {
                format!("the TLS connection wasn't made ({source}); check the certificates both sides know")
            } else {
                return EngineError::Unavailable(format!("{address:?}: {error}"));
            }
        }
    };
    EngineError::Refused(format!("{address:?}: {why}"))
}

fn source(error: &ConnectError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// What JetStream says.
pub(super) fn fault(address: &Address, fault: &Fault) -> EngineError {
    match fault.code {
        10_039 | 10_076 => EngineError::Refused(format!(
            "{address:?}: JetStream isn't switched on there, or not for our account; start the server with --jetstream"
        )),
        10_008 | 10_009 => EngineError::Unavailable(format!("{address:?}: JetStream isn't ready ({})", fault.text)),
        _ if fault.status == 503 && !fault.text.contains("resource") => {
            EngineError::Unavailable(format!("{address:?}: JetStream isn't ready ({})", fault.text))
        }
        10_023 | 10_028 | 10_047 | 10_077 => EngineError::Refused(format!(
            "{address:?}: JetStream has no room ({}); give it more storage, or have the hubs keep less",
            fault.text
        )),
        code => EngineError::Refused(format!("{address:?}: JetStream refuses: {} ({code})", fault.text)),
    }
}

/// Nobody answers for JetStream.
pub(super) fn no_leader(connections: &Connections) -> EngineError {
    EngineError::Unavailable(format!(
        "{connections:?}: nobody answers for JetStream; is it switched on (--jetstream), and are enough servers of the cluster up?"
    ))
}

/// What is counted doesn't come.
pub(super) fn withheld(connections: &Connections) -> EngineError {
    EngineError::Unavailable(format!("{connections:?} is too slow to send what it has"))
}

/// What the server says of a forbidden subject is the subject, and nothing of the message.
pub(super) fn forbidden(address: &Address, text: &str) -> EngineError {
    let (text, name): (String, _) = (text.chars().take(200).collect(), &address.name);
    EngineError::Refused(format!(
        "{address:?}: {text}; allow the hubs' user to publish to $JS.API.>, {name}.log.> and, of {name}_members, {name}_leases and \
         {name}_claims, $KV.….>, and to subscribe to _INBOX.>"
    ))
}

/// The server takes no messages of this size.
pub(super) fn too_large(address: &Address, bytes: usize, bytes_max: usize) -> EngineError {
    EngineError::Refused(format!(
        "{address:?}: this event has {bytes} bytes, and the server takes messages of {bytes_max} at most; raise max_payload there"
    ))
}
