//! A consumer: a place in a stream that the server keeps for a moment, from which messages are pulled as they are wanted.

use std::time::Duration;

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use serde_json::json;

use super::connections::{Ask, Connections};
use super::jetstream::{self, Fault};
use super::{CALL_TIMEOUT, Nats};
use crate::cluster::EngineError;

/// How long the server keeps the place of somebody who asks no more. A wait keeps it longer.
const IDLE: Duration = Duration::from_secs(30);

/// After how long the server says that there is nothing, if those messages have been deleted that it counted: without a limit it says nothing.
const AT_ONCE: Duration = Duration::from_millis(500);

/// What the server adds to a message when it counts bytes: subjects and headers.
const OVERHEAD_BYTES: usize = 256;

/// The status that says that the next message is larger than what was asked for, that a place is gone, and others.
const REFUSED: StatusCode = StatusCode::REQUEST_TERMINATED;

/// A place in a stream.
pub(super) struct Consumer {
    stream: String,
    name: String,
    /// Messages after this place, when last heard.
    pub(super) pending: u64,
}

impl Consumer {
    /// A place before the message of this number; `None` if there is no such stream.
    pub(super) async fn create(
        nats: &Nats,
        stream: &str,
        filter: &str,
        from: u64,
    ) -> Result<Option<Consumer>, EngineError> {
        let mut config = json!({
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": from,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": u64::try_from(IDLE.as_nanos()).unwrap_or(u64::MAX),
            "mem_storage": true,
            "num_replicas": 1,
        });
        if filter != ">" {
            config["filter_subject"] = filter.into();
        }
        let request = json!({ "stream_name": stream, "config": config });
        match nats.api(&format!("CONSUMER.CREATE.{stream}"), &request).await? {
            Ok(made) => {
                let (name, pending) = (made["name"].as_str(), made["num_pending"].as_u64());
                let (Some(name), Some(pending)) = (name, pending) else { return Err(nats.odd("a consumer")) };
                Ok(Some(Consumer { stream: stream.to_owned(), name: name.to_owned(), pending }))
            }
            Err(Fault { code: jetstream::STREAM_NOT_FOUND, .. }) => Ok(None),
            Err(fault) => Err(nats.explained(&fault)),
        }
    }

    /// The next messages with their numbers, at most `count` and about `bytes`; waits for one if told to. Empty if none came: which isn't
    /// to say that none are there. `None` if the place is lost.
    pub(super) async fn next(
        &mut self,
        connections: &Connections,
        count: usize,
        bytes: usize,
        wait: Option<Duration>,
    ) -> Result<Option<Vec<(u64, Bytes)>>, EngineError> {
        let mut count = count.max(1);
        if wait.is_none() {
            // No more than are known to be there: a question that is open still would be given what comes just then, when nobody
            // reads its answers any more.
            count = count.min(usize::try_from(self.pending).unwrap_or(usize::MAX).max(1));
        }
        let most = bytes.saturating_add(OVERHEAD_BYTES);
        match self.pull(connections, count, most, wait).await? {
            // Even the first one was too large: one at least was promised.
            Some(none) if none.is_empty() && self.pending > 0 => self.pull(connections, 1, usize::MAX, wait).await,
            other => Ok(other),
        }
    }

    async fn pull(
        &mut self,
        connections: &Connections,
        count: usize,
        bytes: usize,
        wait: Option<Duration>,
    ) -> Result<Option<Vec<(u64, Bytes)>>, EngineError> {
        let mut request = json!({ "batch": count });
        let bytes_max = i32::try_from(bytes).ok();
        if let Some(bytes_max) = bytes_max {
            request["max_bytes"] = bytes_max.into();
        }
        let expires = wait.unwrap_or(AT_ONCE);
        request["expires"] = u64::try_from(expires.as_nanos()).unwrap_or(u64::MAX).max(1_000_000).into();
        if wait.is_none() {
            request["no_wait"] = true.into();
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.name);
        let mut inbound = connections.pull(subject, jetstream::text(&request)).await?;
        let limit = expires + CALL_TIMEOUT;
        let mut messages = Vec::new();
        let mut taken_bytes = 0;
        // A request whose bytes are used up to the last one is over, and the server says nothing of it.
        while messages.len() < count && bytes_max.is_none_or(|_| taken_bytes < bytes) {
            let message = connections.pulled(&mut inbound, limit).await?;
            if let Some(status) = message.status {
                let too_large = message.description.as_deref().is_some_and(|text| text.contains("Exceeds"));
                let lost = status == StatusCode::NO_RESPONDERS || (status == REFUSED && !too_large);
                if lost && messages.is_empty() {
                    return Ok(None);
                }
                if status == StatusCode::NOT_FOUND || status == StatusCode::TIMEOUT {
                    // Of what was heard before nothing is left, or the server was too slow for it.
                    self.pending = 0;
                }
                break;
            }
            let Some((sequence, pending)) = place(&message) else { break };
            self.pending = pending;
            taken_bytes += message.length;
            messages.push((sequence, message.payload));
            if pending == 0 {
                break;
            }
        }
        Ok(Some(messages))
    }

    /// Gives the place back. If that fails, the server does it after a while.
    pub(super) async fn delete(self, connections: &Connections) {
        let subject = format!("$JS.API.CONSUMER.DELETE.{}.{}", self.stream, self.name);
        let _ = connections.ask(CALL_TIMEOUT, Ask { subject, expected: None, payload: Bytes::new() }).await;
    }
}

/// The number of a message in its stream and how many come after it: JetStream writes that into where acknowledgements would go.
fn place(message: &Message) -> Option<(u64, u64)> {
    let words: Vec<_> = message.reply.as_ref()?.split('.').collect();
    // Newer servers put the domain and the account's hash in front of the stream.
    let behind = match words.len() {
        9 => 2,
        11.. => 4,
        _ => return None,
    };
    Some((words[behind + 3].parse().ok()?, words[behind + 6].parse().ok()?))
}
