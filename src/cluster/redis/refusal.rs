//! What Redis' errors mean and what to do about them.

use ::redis::{ErrorKind, RedisError};

use crate::cluster::{Address, EngineError};

/// In our own words: what the server says may hold arguments, and those may be anybody's data.
pub(super) fn explain(address: &Address, error: &RedisError) -> EngineError {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return refused(address, "it doesn't accept the user and password; check them");
    }
    let detail = error.detail().unwrap_or_default();
    let why = match error.code().unwrap_or_default() {
        "NOAUTH" => "it wants a password; set one, and a user if it has several",
        "WRONGPASS" => "it doesn't accept the user and password; check them",
        "NOPERM" => {
            return refused(
                address,
                &format!(
                    "its user may not do what a hub has to ({}); allow the key pattern of the hub's name and +@all, or at least \
                          +@read +@write +@scripting +@connection +@transaction +info +config|get",
                    permission(detail)
                ),
            );
        }
        "MISCONF" => {
            "it accepts no writes because it couldn't save to its disk; look at its log, make room or repair the disk"
        }
        "OOM" => "its memory is full (maxmemory); raise the limit or have the hubs keep less",
        "READONLY" => "it is a replica and accepts no writes; name the primary",
        "NOREPLICAS" => "it accepts no writes because it has too few replicas (min-replicas-to-write)",
        "WRONGTYPE" => "something else is kept under the names of this log; use another name",
        "MOVED" | "ASK" | "CROSSSLOT" => {
            return refused(
                address,
                &format!(
                    "this node of a Redis Cluster doesn't keep the log ({}); name the one that does",
                    place(detail)
                ),
            );
        }
        "ERR" if detail.contains("equal or smaller than the target stream") => {
            "somebody else writes to the stream of this log; find out who, or use another name"
        }
        "ERR" if detail.contains("unknown command") => {
            "it lacks a command that hubs need; use Redis 6.2 or newer, or Valkey"
        }
        "ERR" if detail.contains("DB index is out of range") => {
            "it has no database of the number that follows the host"
        }
        "LOADING" => return unavailable(address, "it is still loading its data"),
        "BUSY" => return unavailable(address, "a script keeps it busy"),
        "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" => return unavailable(address, "its cluster isn't complete"),
        code if !code.is_empty() => {
            return refused(
                address,
                &format!("it answered {code}; its log or the command `redis-cli monitor` may say why"),
            );
        }
        // With TLS 1.3 a client learns only after its handshake that its certificate isn't wanted, or that it should have one.
        _ if error.to_string().contains("fatal alert") => {
            let why =
                format!("it ended the TLS connection ({error}); does it want a client certificate, or another one?");
            return refused(address, &why);
        }
        // Not the server's word: the connection's. Its details are those of a socket.
        _ => return unavailable(address, &error.to_string()),
    };
    refused(address, why)
}

/// Of a lacking permission: the command's name, not its arguments.
fn permission(detail: &str) -> String {
    detail.split('\'').nth(1).filter(|name| name.len() < 40).unwrap_or("a command or key").to_owned()
}

/// Of a slot elsewhere: the number and the address.
fn place(detail: &str) -> String {
    detail.split_whitespace().take(2).collect::<Vec<_>>().join(" at ")
}

fn refused(address: &Address, why: &str) -> EngineError {
    EngineError::Refused(format!("{address:?}: {why}"))
}

fn unavailable(address: &Address, why: &str) -> EngineError {
    EngineError::Unavailable(format!("{address:?}: {why}"))
}
