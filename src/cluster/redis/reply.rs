//! What scripts answer: a list, read from its front.

use std::collections::VecDeque;

use ::redis::Value;

use super::odd;
use crate::cluster::{EngineError, LogError};

/// What is left of an answer to be read.
pub(super) struct Reply(VecDeque<Value>);

impl Reply {
    /// Anything but a list is a list of one, and nothing is an empty list.
    pub(super) fn new(value: Value) -> Reply {
        match value {
            Value::Array(values) => Reply(values.into()),
            Value::Nil => Reply(VecDeque::new()),
            other => Reply(VecDeque::from([other])),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what scripts begin with: whether the log is the one it should be.
    pub(super) fn of_this_log(&mut self) -> Result<(), EngineError> {
        if self.number()? == 1 { Ok(()) } else { Err(LogError::Replaced.into()) }
    }

    pub(super) fn number(&mut self) -> Result<u64, EngineError> {
        match self.next() {
            Value::Int(number) if number >= 0 => Ok(number.unsigned_abs()),
            other => Err(odd(&other)),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, EngineError> {
        match self.next() {
            Value::BulkString(bytes) => Ok(bytes),
            other => Err(odd(&other)),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, EngineError> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes).map_err(|error| odd(&Value::BulkString(error.into_bytes())))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], EngineError> {
        let bytes = self.bytes()?;
        bytes.try_into().map_err(|bytes| odd(&Value::BulkString(bytes)))
    }

    fn list(&mut self) -> Result<Reply, EngineError> {
        match self.next() {
            Value::Array(values) => Ok(Reply(values.into())),
            other => Err(odd(&other)),
        }
    }

    /// Reads what XREAD gives of one stream: offsets and the first field of each.
    pub(super) fn stream_entries(mut self) -> Result<Vec<(u64, Vec<u8>)>, EngineError> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let mut stream = self.list()?;
        stream.bytes()?;
        let mut list = stream.list()?;
        let mut entries = Vec::with_capacity(list.0.len());
        while !list.is_empty() {
            let mut entry = list.list()?;
            let id = entry.text()?;
            let offset = id.split('-').next().and_then(|offset| offset.parse().ok());
            let offset = offset.ok_or_else(|| odd(&Value::Nil))?;
            let mut fields = entry.list()?;
            fields.bytes()?;
            entries.push((offset, fields.bytes()?));
        }
        Ok(entries)
    }

    fn next(&mut self) -> Value {
        self.0.pop_front().unwrap_or(Value::Nil)
    }
}
