//! An HTTP/1.1 client that hides nothing: bytes go out as they are written and answers are read strictly.

use super::{HUB, PATIENCE, Response, Stream};
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// The body of a form with the fields given.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The hub's path with the parameters given.
pub(crate) fn query(parameters: &[(&str, &str)]) -> String {
    format!("{HUB}?{}", form(parameters))
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: TcpStream,
    /// Where TLS is spoken.
    tls: Option<Box<ClientConnection>>,
    unread: Vec<u8>,
    /// The hub has said that nothing more follows, which TLS has a message for.
    told: bool,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the hub accepts"))
    }

    /// From an address of this machine's own: `127.0.0.7` is one as good as `127.0.0.1`.
    pub(crate) fn connect_from(from: &str, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let from: IpAddr = from.parse().expect("an address");
        socket.bind(&SocketAddr::new(from, 0).into()).expect("an address of this machine");
        socket.connect(&address.into()).expect("the hub accepts");
        Self::over(socket.into())
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).expect("a valid timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a valid timeout");
        socket.set_nodelay(true).expect("a TCP socket");
        Self { socket, tls: None, unread: Vec::new(), told: false }
    }

    /// With TLS, to a name.
    pub(crate) fn connect_tls(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> Self {
        let mut client = Self::connect(address);
        client.begin_tls(config, name);
        client
    }

    /// Speaks TLS from now on.
    pub(crate) fn begin_tls(&mut self, config: Arc<ClientConfig>, name: &str) {
        let name = name.to_owned().try_into().expect("a name");
        self.tls = Some(Box::new(ClientConnection::new(config, name).expect("a good configuration")));
    }

    /// A handshake whose messages are sent in pieces of so many bytes, so slowly that a hub with nothing else to do reads them one by one.
    pub(crate) fn shake_hands_in_pieces(&mut self, count: usize) {
        let tls = self.tls.as_mut().expect("it speaks TLS");
        while tls.is_handshaking() || tls.wants_write() {
            let mut bytes = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut bytes).expect("memory");
            }
            for piece in bytes.chunks(count) {
                self.socket.write_all(piece).expect("the hub reads");
                std::thread::sleep(Duration::from_micros(200));
            }
            if tls.is_handshaking() {
                assert!(tls.read_tls(&mut self.socket).expect("the hub answers") > 0, "the hub has closed");
                tls.process_new_packets().expect("a good hub");
            }
        }
    }

    /// The TLS connection, once something was sent or read.
    pub(crate) fn tls(&mut self) -> &mut ClientConnection {
        self.tls.as_mut().expect("it speaks TLS")
    }

    /// Whether it ended as TLS has it: with a message that says so.
    pub(crate) fn was_told_of_the_end(&self) -> bool {
        self.told
    }

    /// Bytes of the largest segment that the two ends have agreed on.
    pub(crate) fn segment_bytes(&self) -> u32 {
        SockRef::from(&self.socket).tcp_mss().expect("connected")
    }

    pub(crate) fn local_port(&self) -> u16 {
        self.socket.local_addr().expect("connected").port()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the hub reads");
    }

    /// Sends what the hub may not want to read to its end.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.tls {
            None => self.socket.write_all(bytes),
            Some(tls) => {
                let mut sealed = rustls::Stream::new(tls.as_mut(), &mut self.socket);
                sealed.write_all(bytes).and_then(|()| sealed.flush())
            }
        }
    }

    /// What isn't taken for so long is an error of whoever sends.
    pub(crate) fn give_up_writing_after_a_second(&self) {
        self.socket.set_write_timeout(Some(Duration::from_secs(1))).expect("a valid timeout");
    }

    pub(crate) fn finish_sending(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    pub(crate) fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) {
        self.try_request(method, target, headers, body).expect("the hub reads");
    }

    fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> std::io::Result<()> {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str("Host: hub.example\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        self.try_send(&bytes)
    }

    /// A form to the hub's path.
    pub(crate) fn post(&mut self, headers: &[(&str, &str)], body: &[u8]) {
        self.try_post(headers, body).expect("the hub reads");
    }

    /// The same to a hub that may have ended.
    pub(crate) fn try_post(&mut self, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<()> {
        let mut all = vec![("Content-Type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        self.try_request("POST", HUB, &all, Some(body))
    }

    /// The next answer, which has to be a whole one.
    pub(crate) fn response(&mut self, method: &str) -> Response {
        self.try_response(method).unwrap_or_else(|| panic!("the connection ended without an answer to {method}"))
    }

    /// The next answer, or nothing where the connection ends before it.
    pub(crate) fn try_response(&mut self, method: &str) -> Option<Response> {
        let head = self.head()?;
        Some(Response::read(head, method, self))
    }

    /// An event stream where the answer is one, else the refusal.
    pub(crate) fn stream(mut self) -> Result<Stream, Response> {
        let head = self.head().expect("an answer before the connection ends");
        let refused = head.status != 200;
        if refused { Err(Response::read(head, "GET", &mut self)) } else { Ok(Stream::new(head, self)) }
    }

    /// The head of the next answer, without its body.
    pub(crate) fn head(&mut self) -> Option<Response> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return Some(Response::parse(&head[..end]));
            }
            if !self.fill() {
                assert!(
                    self.unread.is_empty(),
                    "the connection ended within a head: {:?}",
                    String::from_utf8_lossy(&self.unread)
                );
                return None;
            }
        }
    }

    /// One line without its CRLF.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8(line[..end].to_vec()).expect("a line in UTF-8"));
            }
            if !self.fill() {
                return None;
            }
        }
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.unread.len() < count {
            if !self.fill() {
                return None;
            }
        }
        Some(self.unread.drain(..count).collect())
    }

    /// What has come, at least one byte; empty at the end of the connection.
    pub(crate) fn some(&mut self) -> Vec<u8> {
        if self.unread.is_empty() {
            self.fill();
        }
        std::mem::take(&mut self.unread)
    }

    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.unread)
    }

    /// Whether something has come that wasn't read yet.
    pub(crate) fn has_unread(&self) -> bool {
        self.socket.set_nonblocking(true).expect("a TCP socket");
        let seen = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false).expect("a TCP socket");
        seen.is_ok()
    }

    /// Waits until the hub has closed the connection and nothing is left to read.
    pub(crate) fn expect_closed(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "more than an answer: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Reads more; false at the end of the connection, be it orderly or not.
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 65_536];
        let read = match &mut self.tls {
            None => self.socket.read(&mut chunk),
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.socket).read(&mut chunk),
        };
        match read {
            Ok(0) => {
                self.told = self.tls.is_some();
                false
            }
            Ok(count) => {
                self.unread.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            // Without that message.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            // A machine that was suspended wakes up with this in a read that has a deadline.
            Err(error) if error.kind() == ErrorKind::Interrupted => self.fill(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}; unread so far: {:?}", String::from_utf8_lossy(&self.unread))
            }
            Err(error) => panic!("reading from the hub: {error}"),
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}
