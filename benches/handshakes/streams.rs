//! Connections of HTTP/2, over TLS or in the clear, that hold event streams, in frames written here (RFC 9113 §4), so that nothing is
//! sent that isn't meant.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, Stream};

const PATIENCE: Duration = Duration::from_secs(30);
/// The preface, SETTINGS without a setting, and the answer to the hub's (§3.4, §6.5).
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";
const FRAME_HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
/// END_STREAM and END_HEADERS (§6.2).
const WHOLE_REQUEST: u8 = 5;
const PATH: &[u8] = b"/.well-known/mercure?match=urn:bench";
const AUTHORITY: &[u8] = b"localhost";

/// A connection with its streams.
pub(crate) struct Streams {
    socket: TcpStream,
    session: Option<ClientConnection>,
    /// Of the next stream.
    next: u32,
    /// What came in and wasn't looked at yet.
    incoming: Vec<u8>,
}

impl Streams {
    /// Connects, without a stream so far.
    pub(crate) fn connect(address: SocketAddr, session: Option<ClientConnection>) -> Streams {
        let socket = TcpStream::connect(address).expect("the hub accepts");
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        let mut streams = Streams { socket, session, next: 1, incoming: Vec::new() };
        streams.say(OPENING);
        while streams.next_frame() != SETTINGS {}
        let spoken = streams.session.as_ref().map(|session| session.alpn_protocol());
        assert!(spoken.is_none_or(|spoken| spoken == Some(b"h2")), "the hub speaks HTTP/2");
        streams
    }

    /// So many streams more, each with its answer.
    pub(crate) fn open(&mut self, count: usize) {
        // GET, https, and literals for path and authority (RFC 7541 §6).
        let literal = |index, value: &[u8]| [&[index, value.len() as u8][..], value].concat();
        let block = [&[0x82, 0x87][..], &literal(4, PATH), &literal(1, AUTHORITY)].concat();
        for _ in 0..count {
            let mut frame = vec![0, 0, block.len() as u8, HEADERS, WHOLE_REQUEST];
            frame.extend_from_slice(&self.next.to_be_bytes());
            frame.extend_from_slice(&block);
            self.say(&frame);
            self.next += 2;
        }
        for _ in 0..count {
            while self.next_frame() != HEADERS {}
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        let said = match &mut self.session {
            Some(session) => Stream::new(session, &mut self.socket).write_all(bytes),
            None => self.socket.write_all(bytes),
        };
        said.expect("the hub takes it");
    }

    /// The kind of the next frame.
    fn next_frame(&mut self) -> u8 {
        loop {
            if let Some(&[a, b, c, kind, ..]) = self.incoming.first_chunk::<FRAME_HEADER_BYTES>() {
                let end = FRAME_HEADER_BYTES + u32::from_be_bytes([0, a, b, c]) as usize;
                if self.incoming.len() >= end {
                    self.incoming.drain(..end);
                    return kind;
                }
            }
            let mut bytes = [0; 4096];
            let read = match &mut self.session {
                Some(session) => Stream::new(session, &mut self.socket).read(&mut bytes),
                None => self.socket.read(&mut bytes),
            };
            let read = read.expect("the hub answers");
            assert_ne!(read, 0, "the hub closed");
            self.incoming.extend_from_slice(&bytes[..read]);
        }
    }
}
