//! A client of HTTP/2 that decides about every frame itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::frames::*;
use super::hpack::{Decoder, Fields};
use crate::harness::*;
use crate::tls::Sealed;

/// What either side may send before the other gives it more, of a stream and of all together, unless settings say otherwise.
const WINDOW_BYTES: i64 = 65_535;
/// The longest payload that anybody has to take.
const PAYLOAD_BYTES_MAX: usize = 16_384;

/// What has come on a stream.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) fields: Option<Fields>,
    pub(super) body: Vec<u8>,
    /// With `END_STREAM`.
    pub(super) ended: bool,
    pub(super) reset: Option<Code>,
    /// Bytes of the body that were read as events.
    taken: usize,
}

impl Answer {
    pub(super) fn is_over(&self) -> bool {
        self.ended || self.reset.is_some()
    }

    /// The next lines up to an empty one.
    fn block(&mut self) -> Option<String> {
        let rest = &self.body[self.taken..];
        let end = memchr::memmem::find(rest, b"\n\n")?;
        let block = String::from_utf8(rest[..end].to_vec()).expect("events in UTF-8");
        self.taken += end + 2;
        Some(block)
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    client: Client,
    scheme: &'static str,
    decoder: Decoder,
    next_stream: u32,
    answers: BTreeMap<u32, Answer>,
    /// Of a field block that goes on in another frame.
    block: Vec<u8>,
    /// The hub's last word: the last stream it took up, and why.
    pub(super) goaway: Option<(u32, Code)>,
    /// Whether what is read is given back as window, of streams and of the connection.
    pub(super) gives: [bool; 2],
    hub_settings: BTreeMap<u16, u32>,
    window: i64,
    windows: BTreeMap<u32, i64>,
}

impl Peer {
    /// In the clear, with prior knowledge.
    pub(super) fn connect(hub: &Hub) -> Peer {
        Peer::with(hub, &[])
    }

    /// The same with settings.
    pub(super) fn with(hub: &Hub, values: &[(u16, u32)]) -> Peer {
        let mut peer = Peer::silent(hub.connect());
        peer.begin(values);
        peer
    }

    /// Over TLS.
    pub(super) fn sealed(sealed: &Sealed) -> Peer {
        let mut config = sealed.authority.client();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let mut peer = Peer::silent(Client::connect_tls(sealed.address, Arc::new(config), "localhost"));
        peer.scheme = "https";
        peer.begin(&[]);
        assert_eq!(peer.client.tls().alpn_protocol(), Some(&b"h2"[..]));
        peer
    }

    /// Has said nothing yet.
    pub(super) fn silent(client: Client) -> Peer {
        Peer {
            client,
            scheme: "http",
            decoder: Decoder::new(),
            next_stream: 1,
            answers: BTreeMap::new(),
            block: Vec::new(),
            goaway: None,
            gives: [true; 2],
            hub_settings: BTreeMap::new(),
            window: WINDOW_BYTES,
            windows: BTreeMap::new(),
        }
    }

    fn begin(&mut self, values: &[(u16, u32)]) {
        self.send(&[PREFACE, &settings(values).bytes()].concat());
        while self.hub_settings.is_empty() {
            self.read_on();
        }
    }

    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    pub(super) fn hub_setting(&self, name: u16) -> Option<u32> {
        self.hub_settings.get(&name).copied()
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.client.send(bytes);
    }

    pub(super) fn frame(&mut self, frame: &Frame) {
        self.send(&frame.bytes());
    }

    /// A stream nobody has used yet.
    pub(super) fn fresh_stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }

    /// The pseudo-fields of a request, and the fields given.
    pub(super) fn fields<'a>(
        &self,
        method: &'a str,
        path: &'a str,
        fields: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let pseudo = [(":method", method), (":scheme", self.scheme), (":authority", "hub.example"), (":path", path)];
        [&pseudo[..], fields].concat()
    }

    /// A request without a body. Gives its stream.
    pub(super) fn request(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> u32 {
        let stream = self.fresh_stream();
        let fields = self.fields(method, path, fields);
        self.frame(&headers(stream, &fields, END_STREAM));
        stream
    }

    pub(super) fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> u32 {
        self.request("GET", path, fields)
    }

    /// An anonymous event stream, whose head has come.
    pub(super) fn subscribe(&mut self, parameters: &[(&str, &str)]) -> u32 {
        let stream = self.get(&query(parameters), &[]);
        assert_eq!(self.head(stream).status, 200);
        stream
    }

    /// A form to the hub's path, in as many frames as it takes. Gives its stream.
    pub(super) fn post(&mut self, fields: &[(&str, &str)], body: &[u8]) -> u32 {
        let stream = self.begin_form("POST", fields);
        self.body(stream, body);
        stream
    }

    /// The head of a request with a form.
    pub(super) fn begin_form(&mut self, method: &str, fields: &[(&str, &str)]) -> u32 {
        let stream = self.fresh_stream();
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let fields = [&form[..], fields].concat();
        let fields = self.fields(method, HUB, &fields);
        self.frame(&headers(stream, &fields, 0));
        stream
    }

    /// A whole body, as the hub's windows allow; what it doesn't want any more is left out.
    pub(super) fn body(&mut self, stream: u32, body: &[u8]) {
        let mut rest = body;
        loop {
            let (of_stream, of_all) = (self.window_of(stream), self.window);
            let room = usize::try_from(of_stream.min(of_all)).unwrap_or(0).min(PAYLOAD_BYTES_MAX);
            let (piece, after) = rest.split_at(rest.len().min(room));
            if !piece.is_empty() || rest.is_empty() {
                self.frame(&data(stream, piece, if after.is_empty() { END_STREAM } else { 0 }));
                self.window -= piece.len() as i64;
                self.windows.insert(stream, of_stream - piece.len() as i64);
                rest = after;
                if rest.is_empty() {
                    return;
                }
            } else {
                self.read_on();
                if self.answers.get(&stream).is_some_and(Answer::is_over) {
                    return;
                }
            }
        }
    }

    fn window_of(&self, stream: u32) -> i64 {
        let initial = self.hub_setting(INITIAL_WINDOW_SIZE).map_or(WINDOW_BYTES, i64::from);
        self.windows.get(&stream).copied().unwrap_or(initial)
    }

    /// Publishes with a token for everything.
    pub(super) fn publish(&mut self, topic: &str, data: &str) -> Response {
        let bearer = format!("Bearer {}", publisher());
        let stream = self.post(&[("authorization", &bearer)], form(&[("topic", topic), ("data", data)]).as_bytes());
        self.response(stream)
    }

    /// The answer's head, with a body as far as it has come.
    pub(super) fn head(&mut self, stream: u32) -> Response {
        while self.answer(stream).fields.is_none() {
            let answer = self.answer(stream);
            assert!(!answer.is_over(), "no answer on stream {stream}: {answer:?}");
            self.read_on();
        }
        let answer = self.answer(stream);
        Response::of(answer.fields.as_ref().expect("just seen"), &answer.body)
    }

    /// A whole answer.
    pub(super) fn response(&mut self, stream: u32) -> Response {
        self.until_over(stream);
        assert!(self.answer(stream).ended, "stream {stream} was reset: {:?}", self.answer(stream));
        self.head(stream)
    }

    /// Answers of requests with and without a body that end.
    pub(super) fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> Response {
        let stream = self.request(method, path, fields);
        self.response(stream)
    }

    /// Waits until the hub says no more on a stream.
    pub(super) fn until_over(&mut self, stream: u32) -> &mut Answer {
        while !self.answer(stream).is_over() {
            self.read_on();
        }
        self.answer(stream)
    }

    /// Why the hub gave a stream up.
    pub(super) fn reset_of(&mut self, stream: u32) -> Option<Code> {
        self.until_over(stream).reset
    }

    pub(super) fn answer(&mut self, stream: u32) -> &mut Answer {
        self.answers.entry(stream).or_default()
    }

    /// The next event of a stream; comments are skipped.
    pub(super) fn next(&mut self, stream: u32) -> Event {
        loop {
            while let Some(block) = self.answer(stream).block() {
                if let Some(event) = event(&block) {
                    return event;
                }
            }
            let answer = self.answer(stream);
            assert!(!answer.is_over(), "stream {stream} ended instead of an event: {:?}", answer.reset);
            self.read_on();
        }
    }

    pub(super) fn data(&mut self, stream: u32) -> String {
        self.next(stream).data
    }

    /// Waits until everything sent so far has been read by the hub, and reads what it sent before it said so.
    pub(super) fn settle(&mut self) {
        const WORD: [u8; 8] = *b"settled?";
        self.frame(&ping(WORD));
        loop {
            let frame = self.read().expect("an answer to the PING");
            if frame.kind == PING && frame.has(ACK) && frame.payload == WORD {
                return;
            }
        }
    }

    fn read_on(&mut self) {
        if self.read().is_none() {
            panic!("the connection ended, the hub's last word was {:?}", self.goaway);
        }
    }

    /// The next frame, once it has had its effect; `None` at the end of the connection.
    pub(super) fn read(&mut self) -> Option<Frame> {
        let head = self.client.exactly(9)?;
        let (mut frame, length) = Frame::parse(&head);
        assert!(length <= PAYLOAD_BYTES_MAX, "a frame of {length} bytes");
        frame.payload = self.client.exactly(length)?;
        self.take(&frame);
        Some(frame)
    }

    fn take(&mut self, frame: &Frame) {
        match frame.kind {
            SETTINGS if !frame.has(ACK) => {
                for value in frame.payload.chunks(6) {
                    let name = u16::from_be_bytes([value[0], value[1]]);
                    self.hub_settings.insert(name, u32::from_be_bytes(value[2..].try_into().expect("four bytes")));
                }
                // One without any has been seen all the same.
                self.hub_settings.entry(0).or_default();
                self.answer_with(&Frame { flags: ACK, ..settings(&[]) });
            }
            PING if !frame.has(ACK) => self.answer_with(&Frame { flags: ACK, ..frame.clone() }),
            HEADERS | CONTINUATION => {
                self.block.extend_from_slice(&frame.payload);
                if frame.has(END_HEADERS) {
                    let fields = self.decoder.decode(&std::mem::take(&mut self.block));
                    self.answer(frame.stream).fields.get_or_insert(fields);
                }
                self.answer(frame.stream).ended |= frame.kind == HEADERS && frame.has(END_STREAM);
            }
            DATA => self.take_data(frame),
            RST_STREAM => self.answer(frame.stream).reset = Some(Code(frame.number(0))),
            GOAWAY => self.goaway = Some((frame.number(0), Code(frame.number(4)))),
            WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.number(0)),
            WINDOW_UPDATE => {
                let window = self.window_of(frame.stream) + i64::from(frame.number(0));
                self.windows.insert(frame.stream, window);
            }
            _ => {}
        }
    }

    fn take_data(&mut self, frame: &Frame) {
        let answer = self.answer(frame.stream);
        answer.body.extend_from_slice(&frame.payload);
        answer.ended |= frame.has(END_STREAM);
        let bytes = frame.payload.len() as u32;
        let [of_streams, of_connection] = self.gives;
        if bytes > 0 && of_streams && !frame.has(END_STREAM) {
            self.answer_with(&window_update(frame.stream, bytes));
        }
        if bytes > 0 && of_connection {
            self.answer_with(&window_update(0, bytes));
        }
    }

    /// The hub may be gone by now.
    fn answer_with(&mut self, frame: &Frame) {
        let _ = self.client.try_send(&frame.bytes());
    }

    /// Reads to the end of the connection, and gives the hub's last word.
    pub(super) fn until_closed(&mut self) -> Option<Code> {
        while self.read().is_some() {}
        self.goaway.map(|(_, code)| code)
    }

    /// Sends so many batches, with a PING behind each that has to be answered, until the hub has had enough. Gives its last word.
    pub(super) fn flood(&mut self, batches: usize, mut batch: impl FnMut(&mut Peer) -> Vec<u8>) -> Option<Code> {
        for n in 0..batches as u64 {
            let word = (n | 1 << 63).to_be_bytes();
            let bytes = [batch(self), ping(word).bytes()].concat();
            if self.client.try_send(&bytes).is_err() {
                return self.until_closed();
            }
            loop {
                let Some(frame) = self.read() else { return self.goaway.map(|(_, code)| code) };
                if frame.kind == PING && frame.has(ACK) && frame.payload == word {
                    break;
                }
                if frame.kind == GOAWAY {
                    return self.until_closed();
                }
            }
        }
        None
    }
}

/// What a block of lines says; `None` where it is comments only, or a retry time.
fn event(block: &str) -> Option<Event> {
    let mut event = Event::default();
    let mut data: Vec<&str> = Vec::new();
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => value.clone_into(&mut event.id),
            "event" => event.event = Some(value.to_owned()),
            "data" => data.push(value),
            "" | "retry" => {}
            _ => panic!("an unknown field: {line:?}"),
        }
    }
    event.data = data.join("\n");
    (!data.is_empty()).then_some(event)
}
