//! One subscriber: its connections, one after another, from the request over the response head to the events.

use std::io::{self, Read, Write};

use crate::answer::RETRY_AFTER_S_MAX;
use crate::chunked::{Chunked, Part};
use crate::coding::Decoder;
use crate::last_id::LastId;
use crate::ledger::Receipt;
use crate::payload::{Found, Scanner};
use crate::sys;
use crate::tls::Wire;

/// The longest response head read, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not connected: not yet, or not any more.
    Away,
    /// The connection or the request is on its way.
    Opening,
    /// The request is out; the head comes in.
    Head,
    /// Events come in.
    Streaming,
}

/// Why a request didn't lead to a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status, if there was an answer.
    pub(crate) status: Option<u16>,
    /// Seconds of `Retry-After`.
    pub(crate) retry_after: Option<u64>,
    pub(crate) text: String,
}

impl Refusal {
    fn connection(text: impl Into<String>) -> Self {
        Self { status: None, retry_after: None, text: text.into() }
    }
}

/// What became of a visit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// Still on the way to the response head.
    Pending,
    /// The response head came in with this visit.
    Opened,
    /// Streaming as before.
    Streaming,
    /// It never got to a stream.
    Refused(Refusal),
    /// The stream ended.
    Closed {
        /// The head came in the same visit.
        opened: bool,
    },
}

/// A subscriber and what it got.
pub(crate) struct Subscriber {
    stream: Option<Wire>,
    phase: Phase,
    /// Where the body is in its chunks, if it is chunked.
    chunked: Option<Chunked>,
    /// The response head, as far as it came in.
    head: Option<Vec<u8>>,
    decoder: Option<Box<Decoder>>,
    /// Its last id, if it keeps one.
    pub(crate) last_id: Option<Box<LastId>>,
    scanner: Scanner,
    /// What it got so far.
    pub(crate) receipt: Receipt,
    /// When it was to connect: what the time to its response head is counted from.
    pub(crate) asked_ns: u64,
}

impl Subscriber {
    /// One that isn't connected.
    pub(crate) fn new(keeps_id: bool) -> Self {
        Self {
            stream: None,
            phase: Phase::Away,
            chunked: None,
            head: None,
            decoder: None,
            last_id: keeps_id.then(Box::default),
            scanner: Scanner::default(),
            receipt: Receipt::default(),
            asked_ns: 0,
        }
    }

    /// Begins anew on a non-blocking socket whose connection may be under way still.
    pub(crate) fn open(&mut self, stream: Wire, asked_ns: u64) {
        self.stream = Some(stream);
        self.phase = Phase::Opening;
        self.asked_ns = asked_ns;
        self.chunked = None;
        self.decoder = None;
        self.scanner = Scanner::default();
    }

    /// Does it stream?
    pub(crate) fn is_streaming(&self) -> bool {
        self.phase == Phase::Streaming
    }

    /// Is it not connected?
    pub(crate) fn is_away(&self) -> bool {
        self.phase == Phase::Away
    }

    /// Is what comes in under a content coding?
    pub(crate) fn is_coded(&self) -> bool {
        self.decoder.is_some()
    }

    /// Ends the connection from this side.
    pub(crate) fn leave(&mut self) {
        self.stream = None;
        self.phase = Phase::Away;
        self.head = None;
        self.decoder = None;
        if let Some(last_id) = &mut self.last_id {
            self.receipt.may_repeat = last_id.cut();
        }
    }

    /// Does what the socket allows. `hung_up` says that the end of the stream was reported too, so that a short read
    /// isn't taken for all there is; `once` that one read is enough. `request` makes the request when it can be sent,
    /// `enter` is told of each event, and when the bytes were read that ended it: the clock is read after each read, so that
    /// what a visit does about one read's events is part of the latency of the next one's.
    pub(crate) fn visit(
        &mut self,
        hung_up: bool,
        once: bool,
        request: impl FnOnce(Option<&[u8]>) -> Vec<u8>,
        buffer: &mut [u8],
        enter: &mut impl FnMut(&mut Receipt, Found, u64),
    ) -> Visit {
        let Some(mut stream) = self.stream.take() else {
            return Visit::Pending;
        };
        let visit = self.read(&mut stream, hung_up, once, request, buffer, enter);
        match visit {
            Visit::Refused(_) | Visit::Closed { .. } => self.leave(),
            _ => self.stream = Some(stream),
        }
        visit
    }

    fn read(
        &mut self,
        stream: &mut Wire,
        hung_up: bool,
        once: bool,
        request: impl FnOnce(Option<&[u8]>) -> Vec<u8>,
        buffer: &mut [u8],
        enter: &mut impl FnMut(&mut Receipt, Found, u64),
    ) -> Visit {
        if self.phase == Phase::Opening {
            let request = request(self.last_id.as_ref().and_then(|last_id| last_id.get()));
            match stream.write(&request) {
                Ok(written) if written == request.len() => {
                    self.phase = Phase::Head;
                    self.head = Some(Vec::new());
                }
                Ok(_) => return Visit::Refused(Refusal::connection("the request didn't fit into the socket")),
                Err(error) if is_not_yet(&error) => return Visit::Pending,
                Err(error) => return Visit::Refused(Refusal::connection(format!("connect: {error}"))),
            }
        }
        let mut opened = false;
        loop {
            let read = match stream.read(buffer) {
                Ok(0) if self.phase == Phase::Head => {
                    return Visit::Refused(Refusal::connection("closed without an answer"));
                }
                Ok(0) => return Visit::Closed { opened },
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if self.phase == Phase::Head => {
                    return Visit::Refused(Refusal::connection(error.to_string()));
                }
                Err(_) => return Visit::Closed { opened },
            };
            let read_ns = sys::now_ns();
            let mut piece = &buffer[..read];
            let rest;
            if let Some(head) = &mut self.head {
                head.extend_from_slice(piece);
                match take_head(head) {
                    Ok(None) => continue,
                    Ok(Some((found, body))) => {
                        self.chunked = found.chunked.then(Chunked::default);
                        self.decoder = match Decoder::for_coding(&found.coding) {
                            Ok(decoder) => decoder.map(Box::new),
                            Err(problem) => return Visit::Refused(Refusal::connection(problem)),
                        };
                        self.phase = Phase::Streaming;
                        self.head = None;
                        opened = true;
                        rest = body;
                        piece = &rest;
                    }
                    Err(refusal) => return Visit::Refused(refusal),
                }
            }
            if !self.content(piece, read_ns, enter) {
                return Visit::Closed { opened };
            }
            // A short read emptied the socket; being edge-triggered, the next byte will be reported.
            if once || (read < buffer.len() && !hung_up) {
                break;
            }
        }
        match self.phase {
            Phase::Streaming if opened => Visit::Opened,
            Phase::Streaming => Visit::Streaming,
            _ => Visit::Pending,
        }
    }

    /// Answers false when the stream ended.
    fn content(&mut self, mut piece: &[u8], read_ns: u64, enter: &mut impl FnMut(&mut Receipt, Found, u64)) -> bool {
        let Some(mut chunked) = self.chunked else {
            return self.decoded(piece, read_ns, enter);
        };
        let goes_on = loop {
            match chunked.next(&mut piece) {
                Ok(Part::Content(content)) => {
                    if !self.decoded(content, read_ns, enter) {
                        break false;
                    }
                }
                Ok(Part::More) => break true,
                Ok(Part::End) => break false,
                Err(_) => {
                    self.receipt.tear();
                    break false;
                }
            }
        };
        self.chunked = Some(chunked);
        goes_on
    }

    /// Takes content out of its coding. Answers false when it is broken.
    fn decoded(&mut self, content: &[u8], read_ns: u64, enter: &mut impl FnMut(&mut Receipt, Found, u64)) -> bool {
        let Self { decoder, scanner, last_id, receipt, .. } = self;
        let mut plain = |text: &[u8]| {
            scanner.scan(text, |found| enter(receipt, found, read_ns));
            if let Some(last_id) = last_id {
                last_id.scan(text);
            }
        };
        let Some(decoder) = decoder else {
            plain(content);
            return true;
        };
        let whole = decoder.decode(content, &mut plain);
        if !whole {
            receipt.tear();
        }
        whole
    }
}

fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted)
}

/// What matters of a response head.
struct Head {
    chunked: bool,
    coding: String,
}

/// Once the head is complete: what it says, and what came after it.
fn take_head(head: &[u8]) -> Result<Option<(Head, Vec<u8>)>, Refusal> {
    let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else {
        if head.len() > HEAD_BYTES_MAX {
            return Err(Refusal::connection(format!("a response head of more than {HEAD_BYTES_MAX} bytes")));
        }
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status: Option<u16> = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let value = |name: &str| {
        let named =
            |line: &str| line.split_once(':').filter(|(n, _)| *n == name).map(|(_, value)| value.trim().to_owned());
        text.split("\r\n").find_map(named)
    };
    if status != Some(200) {
        let body = String::from_utf8_lossy(&head[end + 4..]);
        let text = format!("{status_line}: {}", body.chars().take(200).collect::<String>());
        let retry_after = value("retry-after").and_then(|value| value.parse().ok());
        let retry_after = retry_after.map(|seconds: u64| seconds.min(RETRY_AFTER_S_MAX));
        return Err(Refusal { status, retry_after, text });
    }
    let chunked = value("transfer-encoding").is_some_and(|value| value.ends_with("chunked"));
    let coding = value("content-encoding").unwrap_or_default();
    Ok(Some((Head { chunked, coding }, head[end + 4..].to_vec())))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::payload::{Number, Template, stream_chunk};

    /// A subscriber and the server's end of its connection.
    fn pair() -> (Subscriber, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        client.set_nonblocking(true).expect("non-blocking");
        let mut subscriber = Subscriber::new(true);
        subscriber.open(Wire::Plain(client), 0);
        let server = listener.accept().expect("accepts").0;
        server.set_nodelay(true).expect("no delay");
        (subscriber, server)
    }

    fn visit(subscriber: &mut Subscriber, hung_up: bool, buffer: &mut [u8]) -> (Visit, Vec<u64>) {
        std::thread::sleep(Duration::from_millis(20));
        let mut got = Vec::new();
        let visit =
            subscriber.visit(hung_up, false, |_| b"GET / HTTP/1.1\r\n\r\n".to_vec(), buffer, &mut |_, found, _| {
                if let Found::Event { number, .. } = found {
                    got.push(number.sequence());
                }
            });
        (visit, got)
    }

    #[test]
    fn a_subscriber_goes_from_request_to_events_to_the_end() {
        let (mut subscriber, mut server) = pair();
        let buffer = &mut [0; 512];
        assert_eq!(visit(&mut subscriber, false, buffer).0, Visit::Pending);
        let mut request = [0; 18];
        server.read_exact(&mut request).expect("reads");
        server.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n").expect("writes");
        assert_eq!(visit(&mut subscriber, false, buffer).0, Visit::Opened);
        let mut chunk = stream_chunk(700);
        server.write_all(chunk.fill(Number::new(1, 1), 5)).expect("writes");
        let second = chunk.fill(Number::new(1, 2), 6).to_vec();
        server.write_all(&second[..400]).expect("writes");
        assert_eq!(visit(&mut subscriber, false, buffer), (Visit::Streaming, vec![1]));
        server.write_all(&second[400..]).expect("writes");
        assert_eq!(visit(&mut subscriber, false, buffer), (Visit::Streaming, vec![2]));
        server.write_all(b"0\r\n\r\n").expect("writes");
        assert_eq!(visit(&mut subscriber, false, buffer).0, Visit::Closed { opened: false });
        assert!(!subscriber.receipt.may_repeat);
    }

    #[test]
    fn an_event_read_after_others_is_not_timed_with_them() {
        let (mut subscriber, mut server) = pair();
        server.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").expect("writes");
        assert_eq!(visit(&mut subscriber, false, &mut [0; 512]).0, Visit::Opened);
        let mut chunk = stream_chunk(300);
        let both = [chunk.fill(Number::new(0, 1), 5).to_vec(), chunk.fill(Number::new(0, 2), 5).to_vec()].concat();
        server.write_all(&both).expect("writes");
        std::thread::sleep(Duration::from_millis(20));
        // One visit, and a read for each: what is done about the first event is part of the second's latency.
        let (mut read, mut done) = (Vec::new(), Vec::new());
        let buffer = &mut [0; 400];
        subscriber.visit(false, false, |_| Vec::new(), buffer, &mut |_, _, read_ns| {
            read.push(read_ns);
            done.push(sys::now_ns());
        });
        assert!(read.len() == 2 && read[0] <= done[0] && done[0] <= read[1], "read at {read:?}, done at {done:?}");
    }

    #[test]
    fn an_end_reported_together_with_the_last_event_is_seen() {
        let (mut subscriber, mut server) = pair();
        server.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").expect("writes");
        server.write_all(stream_chunk(100).fill(Number::new(0, 1), 5)).expect("writes");
        drop(server);
        assert_eq!(visit(&mut subscriber, true, &mut [0; 4096]), (Visit::Closed { opened: true }, vec![1]));
    }

    #[test]
    fn a_compressed_stream_is_read_event_by_event() {
        let (mut subscriber, mut server) = pair();
        let head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
        server.write_all(head).expect("writes");
        assert_eq!(visit(&mut subscriber, false, &mut [0; 512]).0, Visit::Opened);
        let mut encoder = flate2::write::GzEncoder::new(server, flate2::Compression::default());
        for sequence in 1..=2 {
            let mut event = Template::new(b"id: x\ndata: ", 300, b"\n\n", " ", "=");
            encoder.write_all(event.fill(Number::new(0, sequence), 5)).expect("writes");
            encoder.flush().expect("flushes");
            assert_eq!(visit(&mut subscriber, false, &mut [0; 512]), (Visit::Streaming, vec![sequence]));
        }
        let last_id = subscriber.last_id.as_ref().and_then(|last_id| last_id.get());
        assert_eq!(last_id, Some(&b"x"[..]));
    }

    #[test]
    fn a_refusal_says_what_the_server_said() {
        let (mut subscriber, mut server) = pair();
        server.write_all(b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\n\r\nnot now").expect("writes");
        let refusal =
            Refusal { status: Some(503), retry_after: Some(3), text: "http/1.1 503 busy: not now".to_owned() };
        assert_eq!(visit(&mut subscriber, false, &mut [0; 512]).0, Visit::Refused(refusal));
        assert!(subscriber.is_away());
    }
}
