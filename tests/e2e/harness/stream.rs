//! An event stream, read line by line as the HTML standard has it.

use super::response::read_chunk;
use super::{Client, Response};
use std::collections::VecDeque;

/// One dispatched event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) event: Option<String>,
    pub(crate) retry: Option<u64>,
    pub(crate) data: String,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With the last chunk, as a complete body ends.
    LastChunk,
    /// With the connection only.
    Connection,
}

/// A subscriber's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) head: Response,
    client: Client,
    unread: Vec<u8>,
    lines: VecDeque<String>,
    end: Option<End>,
    pub(crate) comments: usize,
    /// When to come back, as said last.
    pub(crate) retry: Option<u64>,
}

impl Stream {
    pub(crate) fn new(head: Response, client: Client) -> Self {
        Self { head, client, unread: Vec::new(), lines: VecDeque::new(), end: None, comments: 0, retry: None }
    }

    pub(crate) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// What the answer says about the cursor.
    pub(crate) fn last_event_id(&self) -> Option<&str> {
        self.head.header("mercure-last-event-id")
    }

    /// The next event; comments are counted and skipped.
    pub(crate) fn next(&mut self) -> Event {
        self.try_next().unwrap_or_else(|| panic!("the stream ended ({:?}) instead of an event", self.end))
    }

    /// The data of the next event.
    pub(crate) fn data(&mut self) -> String {
        self.next().data
    }

    /// The data of the next events.
    pub(crate) fn datas(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.data()).collect()
    }

    /// The next event or, at the end of the stream, nothing.
    pub(crate) fn try_next(&mut self) -> Option<Event> {
        loop {
            let block = self.try_block()?;
            let mut event = Event::default();
            let mut data: Vec<&str> = Vec::new();
            let mut id = None;
            for line in &block {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                match name {
                    "" => self.comments += 1,
                    "id" => id = Some(value.to_owned()),
                    "event" => event.event = Some(value.to_owned()),
                    "retry" => event.retry = Some(value.parse().expect("digits")),
                    "data" => data.push(value),
                    _ => panic!("an unknown field: {line:?}"),
                }
            }
            if data.is_empty() {
                assert!(
                    block.iter().all(|line| line.starts_with(':')),
                    "an event without data would not be dispatched: {block:?}"
                );
                continue;
            }
            event.id = id.unwrap_or_else(|| panic!("an event without an id: {block:?}"));
            event.data = data.join("\n");
            return Some(event);
        }
    }

    /// The lines up to the next empty one, as they are on the wire.
    pub(crate) fn block(&mut self) -> Vec<String> {
        loop {
            let mut block = self.try_block().expect("a block before the stream ends");
            block.retain(|line| !line.starts_with(':'));
            if !block.is_empty() {
                return block;
            }
        }
    }

    /// Waits for a comment; an event is a panic.
    pub(crate) fn comment(&mut self) {
        loop {
            let line = self.line().expect("a comment before the stream ends");
            if line.starts_with(':') {
                self.comments += 1;
                return;
            }
            assert_eq!(line, "", "an event instead of a comment");
        }
    }

    /// Waits for the end; an event is a panic.
    pub(crate) fn end(&mut self) -> End {
        let event = self.try_next();
        assert_eq!(event, None, "an event instead of the end");
        self.end.expect("it has ended")
    }

    /// Reads what is left, and says how it ended.
    pub(crate) fn rest(&mut self) -> (Vec<Event>, End) {
        let events = std::iter::from_fn(|| self.try_next()).collect();
        (events, self.end.expect("it has ended"))
    }

    /// Non-empty lines up to an empty one; what a cut leaves of a block is dropped, as clients do.
    fn try_block(&mut self) -> Option<Vec<String>> {
        let mut block = Vec::new();
        loop {
            let line = self.line()?;
            if !line.is_empty() {
                block.push(line);
            } else if !block.is_empty() {
                return Some(block);
            }
        }
    }

    /// The next line. The hub ends lines with LF; a CR anywhere would be a second line end and is a panic.
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            let bytes = self.bytes()?;
            self.unread.extend_from_slice(&bytes);
            while let Some(end) = memchr::memchr(b'\n', &self.unread) {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let line = String::from_utf8(line[..end].to_vec()).expect("events in UTF-8");
                assert!(!line.contains('\r'), "a carriage return in {line:?}");
                if let Some(digits) = line.strip_prefix("retry: ") {
                    self.retry = Some(digits.parse().expect("digits"));
                }
                self.lines.push_back(line);
            }
        }
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        if self.end.is_some() {
            return None;
        }
        if self.head.is_chunked() {
            match read_chunk(&mut self.client) {
                Some(Some(bytes)) => return Some(bytes),
                Some(None) => self.end = Some(End::LastChunk),
                None => self.end = Some(End::Connection),
            }
            return None;
        }
        let bytes = self.client.some();
        if bytes.is_empty() {
            self.end = Some(End::Connection);
            return None;
        }
        Some(bytes)
    }
}
