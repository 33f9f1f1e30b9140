//! Records that come byte by byte, on connections that are only ever so far.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::ClientConnection;

use super::{AttackPlan, Pace, Shared, connect};
use crate::dialect::{Ask, Dialect};

/// How long the server may take to answer what comes before the bytes that trickle.
const PATIENCE: Duration = Duration::from_secs(30);
/// Content of a record that is sent on a stream.
const JUNK: &[u8] = &[b'x'; 1000];
/// What a stream begins with.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A connection and what it says, a byte at a time.
struct Trickle {
    socket: TcpStream,
    bytes: Vec<u8>,
    said: usize,
}

impl Trickle {
    /// The `n`th: the kinds come in turn.
    fn open(dialect: &Dialect, n: u64, shared: &Shared) -> anyhow::Result<Self> {
        let trust = dialect.trust.as_ref().context("records are TLS's")?;
        let mut session = trust.session()?;
        let mut socket = connect(dialect, n, shared)?;
        let ask = Ask { topics: &["https://loadgen.example/nothing".to_owned()], ..Ask::default() };
        let request = dialect.subscribe(ask);
        let mut bytes = Vec::new();
        if !n.is_multiple_of(3) {
            socket.set_nonblocking(false)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            while session.is_handshaking() {
                session.complete_io(&mut socket)?;
            }
            session.writer().write_all(&request)?;
            if n % 3 == 2 {
                begin_stream(&mut session, &mut socket)?;
                session.writer().write_all(JUNK)?;
            }
            socket.set_nonblocking(true)?;
        }
        while session.wants_write() {
            session.write_tls(&mut bytes)?;
        }
        socket.set_nodelay(true)?;
        Ok(Self { socket, bytes, said: 0 })
    }

    /// Says one byte more. False: it has said all, or the server has ended it.
    fn speak(&mut self, shared: &Shared) -> bool {
        let Some(byte) = self.bytes.get(self.said) else {
            return false;
        };
        match self.socket.write(std::slice::from_ref(byte)) {
            Ok(written) => self.said += written,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {}
            Err(_) => {
                Shared::add(&shared.ended);
                return false;
            }
        }
        self.said < self.bytes.len()
    }
}

/// Sends the request and waits for the head of the answer.
fn begin_stream(session: &mut ClientConnection, socket: &mut TcpStream) -> anyhow::Result<()> {
    let mut head = Vec::new();
    while memchr::memmem::find(&head, b"\r\n\r\n").is_none() {
        if head.len() > HEAD_BYTES_MAX {
            bail!("a response head of more than {HEAD_BYTES_MAX} bytes");
        }
        let mut piece = [0; 4096];
        let read = rustls::Stream::new(session, socket).read(&mut piece)?;
        if read == 0 {
            bail!("the server closed before it answered");
        }
        head.extend_from_slice(&piece[..read]);
    }
    if !head.starts_with(b"HTTP/1.1 200") {
        bail!("a subscription was answered {}", String::from_utf8_lossy(&head));
    }
    Ok(())
}

pub(super) fn run(plan: &AttackPlan, dialect: &Dialect, mut pace: Pace<'_>) -> anyhow::Result<()> {
    let mut held: Vec<Trickle> = Vec::with_capacity(plan.connections);
    let mut n = 0;
    while pace.next() {
        if held.len() < plan.connections {
            held.push(Trickle::open(dialect, n, pace.shared)?);
            n += 1;
            continue;
        }
        let at = pace.units as usize % held.len();
        if !held[at].speak(pace.shared) {
            // The same kind in its place.
            let next = n + (at as u64 + 3 - n % 3) % 3;
            held[at] = Trickle::open(dialect, next, pace.shared)?;
            n = next + 1;
        }
    }
    Ok(())
}
