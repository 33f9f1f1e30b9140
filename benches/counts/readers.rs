//! Subscribers that read every event before the next is published.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::hub::{PATH, TOPIC};

/// Streams of one topic.
pub(crate) struct Readers {
    sockets: Vec<TcpStream>,
    buffer: Vec<u8>,
}

impl Readers {
    /// Connects so many, each with its response head read.
    pub(crate) fn connect(address: SocketAddr, readers: usize) -> Readers {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("match", TOPIC).finish();
        let request = format!("GET {PATH}?{query} HTTP/1.1\r\nHost: hub.example\r\nAccept: text/event-stream\r\n\r\n");
        let sockets = (0..readers).map(|_| {
            let mut socket = TcpStream::connect(address).expect("the hub accepts");
            socket.write_all(request.as_bytes()).expect("the hub reads");
            let mut head = Vec::new();
            read_until(&mut socket, &mut head, |head| head.windows(4).any(|end| end == b"\r\n\r\n"));
            assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
            socket
        });
        Readers { sockets: sockets.collect(), buffer: Vec::new() }
    }

    /// Reads one event on every stream: the one with this mark, once and whole.
    pub(crate) fn read(&mut self, mark: &str) {
        for socket in &mut self.sockets {
            self.buffer.clear();
            read_until(socket, &mut self.buffer, |bytes| bytes.ends_with(b"\n\n\r\n") && marks(bytes, mark) > 0);
            assert_eq!(marks(&self.buffer, mark), 1, "an event comes once");
        }
    }
}

fn marks(bytes: &[u8], mark: &str) -> usize {
    bytes.windows(mark.len()).filter(|window| *window == mark.as_bytes()).count()
}

fn read_until(socket: &mut TcpStream, bytes: &mut Vec<u8>, enough: impl Fn(&[u8]) -> bool) {
    let mut piece = [0; 4096];
    while !enough(bytes) {
        let count = socket.read(&mut piece).expect("the hub sends");
        assert_ne!(count, 0, "the hub closed: {}", String::from_utf8_lossy(bytes));
        bytes.extend_from_slice(&piece[..count]);
    }
}
