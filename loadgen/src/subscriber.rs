//! One subscriber: a connection, from its request over the response head to the events, each checked as it comes.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::chunked::{Chunked, Part};
use crate::ledger::Receipt;
use crate::payload::{Found, Scanner};

/// The longest response head read, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

enum Phase {
    /// The connection or the request is on its way.
    Opening,
    /// The request is out; the head comes in.
    Head(Vec<u8>),
    /// Events come in, chunked or as they are.
    Streaming(Option<Chunked>),
    Over,
}

/// What became of a visit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// Still on the way to the response head.
    Pending,
    /// The response head came in with this visit, and so many events behind it.
    Opened(u64),
    /// Streaming, with so many events in this visit.
    Delivered(u64),
    /// It never got to a stream.
    Refused(String),
    /// The stream ended.
    Closed,
}

/// A subscriber and what it got.
pub(crate) struct Subscriber {
    stream: Option<TcpStream>,
    phase: Phase,
    scanner: Scanner,
    /// What it got so far.
    pub(crate) receipt: Receipt,
}

impl Subscriber {
    /// A subscriber on a non-blocking socket whose connection may be under way still.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream: Some(stream), phase: Phase::Opening, scanner: Scanner::default(), receipt: Receipt::default() }
    }

    /// Does what the socket allows. `hung_up` says that the end of the stream was reported too, so that a short read
    /// isn't taken for all there is. `last` holds the newest sequence number of each publisher, `latency` is told the
    /// intended send time of each event.
    pub(crate) fn visit(
        &mut self,
        hung_up: bool,
        request: &[u8],
        buffer: &mut [u8],
        last: &mut [u32],
        latency: &mut impl FnMut(u64),
    ) -> Visit {
        let Some(mut stream) = self.stream.take() else {
            return Visit::Pending;
        };
        let visit = self.read(&mut stream, hung_up, request, buffer, last, latency);
        match visit {
            Visit::Refused(_) => self.phase = Phase::Over,
            Visit::Closed => {
                self.phase = Phase::Over;
                self.receipt.close();
            }
            _ => self.stream = Some(stream),
        }
        visit
    }

    fn read(
        &mut self,
        stream: &mut TcpStream,
        hung_up: bool,
        request: &[u8],
        buffer: &mut [u8],
        last: &mut [u32],
        latency: &mut impl FnMut(u64),
    ) -> Visit {
        if let Phase::Opening = self.phase {
            match stream.write(request) {
                Ok(written) if written == request.len() => self.phase = Phase::Head(Vec::new()),
                Ok(_) => {
                    return Visit::Refused("the request didn't fit into the socket".to_owned());
                }
                Err(error) if is_not_yet(&error) => return Visit::Pending,
                Err(error) => return Visit::Refused(format!("connect: {error}")),
            }
        }
        let mut delivered = 0;
        let mut opened = false;
        loop {
            let read = match stream.read(buffer) {
                Ok(0) if matches!(self.phase, Phase::Head(_)) => {
                    return Visit::Refused("closed without an answer".to_owned());
                }
                Ok(0) => return Visit::Closed,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if matches!(self.phase, Phase::Head(_)) => {
                    return Visit::Refused(error.to_string());
                }
                Err(_) => return Visit::Closed,
            };
            let mut piece = &buffer[..read];
            let rest;
            if let Phase::Head(head) = &mut self.phase {
                head.extend_from_slice(piece);
                match take_head(head) {
                    Ok(None) => continue,
                    Ok(Some((chunked, body))) => {
                        self.phase = Phase::Streaming(chunked.then(Chunked::default));
                        opened = true;
                        rest = body;
                        piece = &rest;
                    }
                    Err(problem) => return Visit::Refused(problem),
                }
            }
            match self.content(piece, last, latency) {
                Some(count) => delivered += count,
                None => return Visit::Closed,
            }
            // A short read emptied the socket; being edge-triggered, the next byte will be reported.
            if read < buffer.len() && !hung_up {
                break;
            }
        }
        match self.phase {
            Phase::Streaming(_) if opened => Visit::Opened(delivered),
            Phase::Streaming(_) => Visit::Delivered(delivered),
            _ => Visit::Pending,
        }
    }

    /// Answers the number of events, or nothing when the stream ended.
    fn content(&mut self, mut piece: &[u8], last: &mut [u32], latency: &mut impl FnMut(u64)) -> Option<u64> {
        let mut count = 0;
        let receipt = &mut self.receipt;
        let mut enter = |found| match found {
            Found::Event { number, time_ns } => match last.get_mut(number.publisher()) {
                Some(last) => {
                    receipt.enter(number, last);
                    latency(time_ns);
                    count += 1;
                }
                None => receipt.tear(),
            },
            Found::Torn => receipt.tear(),
        };
        let Phase::Streaming(Some(chunked)) = &mut self.phase else {
            self.scanner.scan(piece, enter);
            return Some(count);
        };
        loop {
            match chunked.next(&mut piece) {
                Ok(Part::Content(content)) => self.scanner.scan(content, &mut enter),
                Ok(Part::More) => return Some(count),
                Ok(Part::End) => return None,
                Err(_) => {
                    self.receipt.tear();
                    return None;
                }
            }
        }
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted)
}

/// Once the head is complete: whether the stream is chunked, and what came after the head.
fn take_head(head: &[u8]) -> Result<Option<(bool, Vec<u8>)>, String> {
    let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else {
        if head.len() > HEAD_BYTES_MAX {
            return Err(format!("a response head of more than {HEAD_BYTES_MAX} bytes"));
        }
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        let body = String::from_utf8_lossy(&head[end + 4..]);
        return Err(format!("{status}: {}", body.chars().take(200).collect::<String>()));
    }
    let chunked = lines.any(|line| line.starts_with("transfer-encoding:") && line.ends_with("chunked"));
    Ok(Some((chunked, head[end + 4..].to_vec())))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::payload::{Number, stream_chunk};

    /// A subscriber and the server's end of its connection.
    fn pair() -> (Subscriber, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        client.set_nonblocking(true).expect("non-blocking");
        (Subscriber::new(client), listener.accept().expect("accepts").0)
    }

    fn visit(subscriber: &mut Subscriber, last: &mut [u32]) -> Visit {
        std::thread::sleep(Duration::from_millis(20));
        subscriber.visit(false, b"GET / HTTP/1.1\r\n\r\n", &mut [0; 512], last, &mut |_| ())
    }

    #[test]
    fn a_subscriber_goes_from_request_to_events_to_the_end() {
        let (mut subscriber, mut server) = pair();
        let mut last = [0; 2];
        assert_eq!(visit(&mut subscriber, &mut last), Visit::Pending);
        let mut request = [0; 18];
        server.read_exact(&mut request).expect("reads");
        server.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n").expect("writes");
        assert_eq!(visit(&mut subscriber, &mut last), Visit::Opened(0));
        let mut chunk = stream_chunk(700);
        server.write_all(chunk.fill(Number::new(1, 1), 5)).expect("writes");
        let second = chunk.fill(Number::new(1, 2), 6).to_vec();
        server.write_all(&second[..400]).expect("writes");
        assert_eq!(visit(&mut subscriber, &mut last), Visit::Delivered(1));
        server.write_all(&second[400..]).expect("writes");
        assert_eq!(visit(&mut subscriber, &mut last), Visit::Delivered(1));
        assert_eq!(last, [0, 2]);
        server.write_all(b"0\r\n\r\n").expect("writes");
        assert_eq!(visit(&mut subscriber, &mut last), Visit::Closed);
        assert_eq!(subscriber.receipt.count(), 2);
    }

    #[test]
    fn an_end_reported_together_with_the_last_event_is_seen() {
        let (mut subscriber, mut server) = pair();
        server.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").expect("writes");
        server.write_all(stream_chunk(100).fill(Number::new(0, 1), 5)).expect("writes");
        drop(server);
        std::thread::sleep(Duration::from_millis(20));
        let visit = subscriber.visit(true, b"", &mut [0; 4096], &mut [0], &mut |_| ());
        assert_eq!((visit, subscriber.receipt.count()), (Visit::Closed, 1));
    }

    #[test]
    fn a_refusal_says_what_the_server_said() {
        let (mut subscriber, mut server) = pair();
        server.write_all(b"HTTP/1.1 401 Unauthorized\r\n\r\nno anonymous subscribers").expect("writes");
        let refused = Visit::Refused("http/1.1 401 unauthorized: no anonymous subscribers".to_owned());
        assert_eq!(visit(&mut subscriber, &mut [0]), refused);
    }
}
