//! The floor that serves. A POST is answered with one fixed answer as soon as the last byte of its body is there; a GET
//! with the fixed head of an event stream, after which, if it says `Last-Event-ID`, come the frames it was told to store,
//! as many bytes at a time as the socket takes. Nothing is looked at but where a request ends. Its threads sleep in epoll.
//!
//! An order: `store COUNT` makes so many frames and answers `done COUNT`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context;

use super::{Port, RESPONSE_HEAD, not_mine, obey};
use crate::payload::{Number, stream_chunk};
use crate::sys::{self, Epoll, Ready};

/// As long as a hub's answer to a publish: a status, an id.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n\
    Content-Length: 45\r\n\r\nurn:uuid:00000000-0000-8000-8000-000000000000";
/// Answers written at once at most.
const ANSWERS_MAX: usize = 256;
const READ_BUFFER_BYTES: usize = 256 * 1024;
const READY_MAX: usize = 1024;
const LISTENER: usize = usize::MAX;
/// How long a thread sleeps at most.
const SLEEP_MS: i32 = 1000;

struct Shared {
    port: Port,
    stored: RwLock<Arc<[u8]>>,
}

/// Runs until standard input ends.
pub(super) fn run(threads: usize, size: usize, address: IpAddr) -> anyhow::Result<()> {
    let shared: &'static Shared =
        Box::leak(Box::new(Shared { port: Port::new(address, threads), stored: RwLock::default() }));
    for index in 0..threads {
        Port::spawn(index, move || Server::start(shared, index)?.run())?;
    }
    shared.port.announce("http");
    obey(|what, count| {
        if what != "store" {
            return not_mine(what);
        }
        let mut chunk = stream_chunk(size);
        let mut frames = Vec::new();
        for sequence in 1..=count {
            frames.extend_from_slice(chunk.fill(Number::new(0, sequence), sys::now_ns()));
        }
        *shared.stored.write().unwrap_or_else(PoisonError::into_inner) = frames.into();
        println!("done {count}");
        Ok(())
    })
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a request.
    input: Vec<u8>,
    /// What is still to be written of the stored frames.
    replay: Option<(Arc<[u8]>, usize)>,
}

/// One serving thread.
struct Server {
    shared: &'static Shared,
    listener: TcpListener,
    epoll: Epoll,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    answers: Vec<u8>,
}

impl Server {
    fn start(shared: &'static Shared, index: usize) -> anyhow::Result<Self> {
        let listener = shared.port.settle(index)?;
        let epoll = Epoll::new()?;
        epoll.add(&listener, LISTENER)?;
        let answers = ANSWER.repeat(ANSWERS_MAX);
        Ok(Self { shared, listener, epoll, connections: Vec::new(), free: Vec::new(), answers })
    }

    fn run(mut self) -> anyhow::Result<()> {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut room = [Ready::EMPTY; READY_MAX];
        let Self { shared, listener, epoll, connections, free, answers } = &mut self;
        loop {
            for ready in epoll.wait(&mut room, SLEEP_MS)? {
                if ready.token() == LISTENER {
                    accept(listener, epoll, connections, free)?;
                    continue;
                }
                let place = &mut connections[ready.token()];
                if let Some(connection) = place
                    && !connection.visit(&mut buffer, answers, shared)
                {
                    *place = None;
                    free.push(ready.token());
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<Connection>>,
    free: &mut Vec<usize>,
) -> anyhow::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let place = free.pop().unwrap_or_else(|| {
                    connections.push(None);
                    connections.len() - 1
                });
                epoll.add(&stream, place)?;
                connections[place] = Some(Connection { stream, input: Vec::new(), replay: None });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error).context("accept"),
        }
    }
}

impl Connection {
    /// Does what the socket allows. Answers false when the connection is over.
    fn visit(&mut self, buffer: &mut [u8], answers: &[u8], shared: &Shared) -> bool {
        if !self.write_stored() {
            return false;
        }
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return false,
            };
            let alive = if self.input.is_empty() {
                self.requests(&buffer[..read], answers, shared)
            } else {
                let mut input = std::mem::take(&mut self.input);
                input.extend_from_slice(&buffer[..read]);
                self.requests(&input, answers, shared)
            };
            if !alive {
                return false;
            }
            // A short read emptied the socket; being edge-triggered, the next byte will be reported.
            if read < buffer.len() {
                return true;
            }
        }
    }

    /// Answers the requests that are complete and keeps the beginning of the next.
    fn requests(&mut self, mut input: &[u8], answers: &[u8], shared: &Shared) -> bool {
        let mut publishes = 0;
        while let Some(head) = memchr::memmem::find(input, b"\r\n\r\n") {
            let end = head + 4;
            if input.starts_with(b"GET ") {
                let wanted = memchr::memmem::find(&input[..end], b"\r\nLast-Event-ID: ").is_some();
                input = &input[end..];
                if !self.stream.write(RESPONSE_HEAD).is_ok_and(|written| written == RESPONSE_HEAD.len()) {
                    return false;
                }
                if wanted {
                    self.replay = Some((shared.stored.read().unwrap_or_else(PoisonError::into_inner).clone(), 0));
                    if !self.write_stored() {
                        return false;
                    }
                }
                continue;
            }
            let end = end + content_length(&input[..end]);
            if input.len() < end {
                break;
            }
            input = &input[end..];
            publishes += 1;
        }
        self.input.extend_from_slice(input);
        while publishes > 0 {
            let some = publishes.min(ANSWERS_MAX);
            publishes -= some;
            let bytes = &answers[..some * ANSWER.len()];
            // A client that doesn't read its answers is none of ours.
            if !self.stream.write(bytes).is_ok_and(|written| written == bytes.len()) {
                return false;
            }
        }
        true
    }

    /// Writes stored frames until the socket is full.
    fn write_stored(&mut self) -> bool {
        while let Some((frames, sent)) = &mut self.replay {
            match self.stream.write(&frames[*sent..]) {
                Ok(written) => *sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            if *sent == frames.len() {
                self.replay = None;
            }
        }
        true
    }
}

fn content_length(head: &[u8]) -> usize {
    let name = b"Content-Length: ";
    let Some(at) = memchr::memmem::find(head, name) else {
        return 0;
    };
    let digits = head[at + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_read_from_the_head() {
        assert_eq!(content_length(b"POST / HTTP/1.1\r\nContent-Length: 120\r\n\r\n"), 120);
        assert_eq!(content_length(b"POST / HTTP/1.1\r\n\r\n"), 0);
    }
}
