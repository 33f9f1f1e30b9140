//! A client's event stream that may break at any byte: what of it came whole is given, what didn't isn't.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::harness::Response;
use crate::record::{Seen, essence};

/// How long a hub may take to answer, or to say anything at all: it sends heartbeats.
const PATIENCE: Duration = Duration::from_secs(20);
const TURN: Duration = Duration::from_millis(50);

/// What came next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Event(Seen),
    /// Nothing whole for a moment.
    Nothing,
    End,
}

#[derive(Debug)]
pub(crate) struct EventStream {
    pub(crate) head: Response,
    socket: TcpStream,
    chunked: bool,
    /// As it came, as far as it isn't taken apart.
    raw: Vec<u8>,
    /// Bytes of the chunk that haven't come.
    rest_of_chunk: usize,
    /// Of the body, up to the last empty line.
    text: Vec<u8>,
    events: VecDeque<Seen>,
    ended: bool,
    heard: Instant,
    pub(crate) bytes: usize,
}

impl EventStream {
    /// Asks for a stream. None: the hub can't be reached or doesn't answer.
    pub(crate) fn ask(hub: SocketAddr, request: &str) -> Option<EventStream> {
        let mut socket = TcpStream::connect(hub).ok()?;
        socket.write_all(request.as_bytes()).ok()?;
        let (head, raw) = read_head(&mut socket)?;
        socket.set_read_timeout(Some(TURN)).expect("a valid timeout");
        Some(EventStream {
            chunked: head.is_chunked(),
            head,
            socket,
            raw,
            rest_of_chunk: 0,
            text: Vec::new(),
            events: VecDeque::new(),
            ended: false,
            heard: Instant::now(),
            bytes: 0,
        })
    }

    /// The next event that is whole; reads at most so many bytes at once.
    pub(crate) fn next(&mut self, at_once: usize) -> Came {
        loop {
            self.take_apart();
            if let Some(event) = self.events.pop_front() {
                return Came::Event(event);
            }
            if self.ended {
                return Came::End;
            }
            let mut buffer = vec![0; at_once];
            match self.socket.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.raw.extend_from_slice(&buffer[..count]);
                    self.bytes += count;
                    self.heard = Instant::now();
                }
                Err(error) if waits(&error) => {
                    // A connection that is dead without a word is left, as any client does.
                    self.ended = self.heard.elapsed() > PATIENCE;
                    return if self.ended { Came::End } else { Came::Nothing };
                }
                Err(_) => self.ended = true,
            }
        }
    }

    /// Leaves with a reset instead of an orderly end.
    pub(crate) fn slam(self) {
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    fn take_apart(&mut self) {
        if self.chunked {
            self.take_chunks_apart();
        } else {
            self.text.append(&mut self.raw);
        }
        while let Some(end) = memchr::memmem::find(&self.text, b"\n\n") {
            let block: Vec<u8> = self.text.drain(..end + 2).collect();
            let block = std::str::from_utf8(&block[..end]).expect("events in UTF-8");
            self.events.extend(event_of(block));
        }
    }

    fn take_chunks_apart(&mut self) {
        loop {
            let count = self.rest_of_chunk.min(self.raw.len());
            self.text.extend(self.raw.drain(..count));
            self.rest_of_chunk -= count;
            // Behind a chunk comes CRLF, and behind that the next one's size.
            let line_from = if self.raw.starts_with(b"\r\n") { 2 } else { 0 };
            let Some(line_end) = memchr::memmem::find(&self.raw[line_from..], b"\r\n") else {
                return;
            };
            if self.rest_of_chunk > 0 {
                return;
            }
            let line = std::str::from_utf8(&self.raw[line_from..line_from + line_end]).expect("a size in ASCII");
            let size = usize::from_str_radix(line, 16).unwrap_or_else(|_| panic!("not a chunk's size: {line:?}"));
            self.raw.drain(..line_from + line_end + 2);
            self.rest_of_chunk = size;
            if size == 0 {
                self.ended = true;
                return;
            }
        }
    }
}

/// An event of its lines; comments are none.
fn event_of(block: &str) -> Option<Seen> {
    let (mut id, mut data) = (None, Vec::new());
    for line in block.lines() {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("id", value) => id = Some(value.to_owned()),
            ("data", value) => data.push(value),
            ("event" | "retry", _) => {}
            _ => assert!(line.starts_with(':'), "an unknown line: {line:?}"),
        }
    }
    if data.is_empty() {
        return None;
    }
    let id = id.unwrap_or_else(|| panic!("an event without an id: {block:?}"));
    Some(Seen { id, essence: essence(&data.join("\n")) })
}

/// A request and its answer with a body of known length. None: there is no whole answer.
pub(crate) fn exchange(socket: &mut TcpStream, request: &[u8]) -> Option<Response> {
    socket.write_all(request).ok()?;
    let (mut head, mut body) = read_head(socket)?;
    let length: usize = head.header("content-length")?.parse().expect("a number");
    let deadline = Instant::now() + PATIENCE;
    while body.len() < length {
        if !read_some(socket, &mut body, deadline) {
            return None;
        }
    }
    assert_eq!(body.len(), length, "an answer and no more: {head:?}");
    head.body = body;
    Some(head)
}

fn read_head(socket: &mut TcpStream) -> Option<(Response, Vec<u8>)> {
    socket.set_nodelay(true).ok()?;
    socket.set_read_timeout(Some(TURN)).expect("a valid timeout");
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Some((Response::parse(&bytes[..end]), rest));
        }
        if !read_some(socket, &mut bytes, deadline) {
            return None;
        }
    }
}

fn read_some(socket: &mut TcpStream, bytes: &mut Vec<u8>, deadline: Instant) -> bool {
    let mut buffer = [0; 16 << 10];
    while Instant::now() < deadline {
        match socket.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                return true;
            }
            Err(error) if waits(&error) => {}
            Err(_) => return false,
        }
    }
    false
}

fn waits(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
