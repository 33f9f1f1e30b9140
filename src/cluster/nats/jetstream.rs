//! JetStream's questions and answers, which are JSON.

use async_nats::{Message, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;

use super::connections::Ask;
use super::{CALL_TIMEOUT, Nats, refusal};
use crate::cluster::EngineError;

/// What JetStream refuses, with its own number for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: u64,
    /// 503 and the like: it may be different in a moment.
    pub(super) status: u64,
    pub(super) text: String,
}

/// A message as a stream keeps it.
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) value: Vec<u8>,
}

pub(super) const STREAM_NOT_FOUND: u64 = 10_059;
pub(super) const NAME_IN_USE: u64 = 10_058;
const MESSAGE_NOT_FOUND: u64 = 10_037;
pub(super) const WRONG_LAST: u64 = 10_071;

/// Reads an answer; `None` if nobody was there to give one.
pub(super) fn read(answer: &Message) -> Result<Option<Result<Value, Fault>>, EngineError> {
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Ok(None);
    }
    let read: Value = serde_json::from_slice(&answer.payload).map_err(|_| {
        EngineError::Unavailable("NATS' answer is no JSON; does something else answer there?".to_owned())
    })?;
    let Some(error) = read.get("error") else { return Ok(Some(Ok(read))) };
    let number = |name: &str| error[name].as_u64().unwrap_or_default();
    let text = error["description"].as_str().unwrap_or_default().chars().take(200).collect();
    Ok(Some(Err(Fault { code: number("err_code"), status: number("code"), text })))
}

impl Nats {
    /// Asks JetStream's API.
    pub(super) async fn api(&self, what: &str, request: &Value) -> Result<Result<Value, Fault>, EngineError> {
        let ask = Ask { subject: format!("$JS.API.{what}"), expected: None, payload: text(request) };
        let answer = self.connections.ask(CALL_TIMEOUT, ask).await?;
        read(&answer)?.ok_or_else(|| refusal::no_leader(&self.connections))
    }

    /// What a stream is like; `None` if there is none.
    pub(super) async fn info(&self, stream: &str) -> Result<Option<Value>, EngineError> {
        match self.api(&format!("STREAM.INFO.{stream}"), &Value::Null).await? {
            Ok(info) => Ok(Some(info)),
            Err(Fault { code: STREAM_NOT_FOUND, .. }) => Ok(None),
            Err(fault) => Err(self.explained(&fault)),
        }
    }

    /// One message of a stream, asked of the server that stores first. `None` if there is none, or no such stream.
    pub(super) async fn message(&self, stream: &str, which: &Value) -> Result<Option<Stored>, EngineError> {
        self.found(self.api(&format!("STREAM.MSG.GET.{stream}"), which).await?)
    }

    /// What is said of a message that was asked for.
    pub(super) fn found(&self, answer: Result<Value, Fault>) -> Result<Option<Stored>, EngineError> {
        match answer {
            Ok(found) => {
                let message = &found["message"];
                let value = STANDARD.decode(message["data"].as_str().unwrap_or_default());
                let (Some(sequence), Ok(value)) = (message["seq"].as_u64(), value) else {
                    return Err(self.odd("a message"));
                };
                Ok(Some(Stored { sequence, value }))
            }
            Err(Fault { code: MESSAGE_NOT_FOUND | STREAM_NOT_FOUND, .. }) => Ok(None),
            Err(fault) => Err(self.explained(&fault)),
        }
    }

    /// The answers to many questions to JetStream's API, in their order.
    pub(super) async fn api_all(
        &self,
        what: &str,
        requests: impl Iterator<Item = Value>,
    ) -> Result<Vec<Result<Value, Fault>>, EngineError> {
        let subject = format!("$JS.API.{what}");
        let asks = requests.map(|request| Ask { subject: subject.clone(), expected: None, payload: text(&request) });
        let answers = self.connections.ask_all(CALL_TIMEOUT * 2, asks.collect()).await;
        let answers = answers.into_iter();
        answers.map(|answer| read(&answer?)?.ok_or_else(|| refusal::no_leader(&self.connections))).collect()
    }

    /// How many copies a new stream gets: three if there are servers for them.
    pub(super) async fn replicas(&self) -> Result<u64, EngineError> {
        Ok(if self.connections.servers().await? >= 3 { 3 } else { 1 })
    }

    pub(super) fn explained(&self, fault: &Fault) -> EngineError {
        refusal::fault(self.connections.address(), fault)
    }

    pub(super) fn odd(&self, what: &str) -> EngineError {
        EngineError::Unavailable(format!("{:?} gave {what} that isn't one", self.connections))
    }
}

pub(super) fn text(request: &Value) -> Bytes {
    if request.is_null() { Bytes::new() } else { request.to_string().into() }
}
