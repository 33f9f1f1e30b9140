//! What lies between a client and its non-blocking socket: nothing, or TLS.
//!
//! Seen from outside both read and write as a socket does. Whole records only are given to the library, so that a session can be
//! taken apart between any two of them.

use std::io::{self, Read, Write};
use std::mem;
use std::net::TcpStream;

use rustls::{ClientConnection, ProtocolVersion};

use super::record::{ALERT, APPLICATION_DATA, HANDSHAKE, HEADER_BYTES, RecordKey};

/// Bytes of a record at most, header included (RFC 5246 §6.2.3 allows the most).
const RECORD_BYTES_MAX: usize = HEADER_BYTES + (1 << 14) + 2048;
/// What a handshake reads at once: a server's flight is shorter.
const FLIGHT_BYTES: usize = 4096;
const CLOSE_NOTIFY: &[u8] = &[1, 0];
/// The message of a handshake that a server may send at any time without wanting an answer (RFC 8446 §4.6.1).
const NEW_SESSION_TICKET: u8 = 4;

/// See the module.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsWire>),
}

impl Wire {
    /// One with TLS, whose handshake the first write begins. Who `parks` sends one request and only receives then.
    pub(crate) fn tls(socket: TcpStream, session: ClientConnection, parks: bool) -> Self {
        let state = State::Session(Box::new(session));
        let nothing = Vec::new;
        let wire =
            TlsWire { socket, state, parks, incoming: nothing(), plain: nothing(), out: nothing(), ended: false };
        Self::Tls(Box::new(wire))
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(tls) => &tls.socket,
        }
    }

    /// Has the server closed it, or said something nobody asked for?
    pub(crate) fn is_stale(&mut self) -> bool {
        match self {
            Wire::Plain(socket) => {
                !matches!(socket.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Wire::Tls(tls) => {
                let over = match tls.pull(&mut [0; FLIGHT_BYTES]) {
                    Ok(read) => read == 0,
                    Err(error) => error.kind() != io::ErrorKind::WouldBlock,
                };
                over || tls.ended || !tls.plain.is_empty()
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.read(buffer),
            Wire::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Wire {
    /// With TLS all or nothing is taken; nothing (`WouldBlock`) as long as there is a handshake to be made.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.write(bytes),
            Wire::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(_) => Ok(()),
            Wire::Tls(tls) => tls.send(),
        }
    }
}

enum State {
    Session(Box<ClientConnection>),
    /// What is left of a session that only receives.
    Receiving(Box<RecordKey>),
    Broken,
}

/// A connection with TLS.
pub(crate) struct TlsWire {
    socket: TcpStream,
    state: State,
    parks: bool,
    /// The beginning of a record of the server's.
    incoming: Vec<u8>,
    /// Opened, and not read yet.
    plain: Vec<u8>,
    /// Sealed, and not taken by the socket yet.
    out: Vec<u8>,
    /// The server has said that nothing more will follow.
    ended: bool,
}

impl TlsWire {
    /// A buffer shorter than a record is filled from what is there and one look at the socket.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.send_some()?;
        let mut outcome = Ok(1);
        while self.plain.len() < buffer.len() && !self.ended {
            outcome = self.pull(buffer);
            // A short read emptied the socket: what comes later is reported.
            if !matches!(outcome, Ok(read) if read == buffer.len() && read >= RECORD_BYTES_MAX) {
                break;
            }
        }
        let taken = self.plain.len().min(buffer.len());
        if taken == 0 {
            return match outcome {
                Ok(0) => Ok(0),
                Ok(_) if self.ended => Ok(0),
                Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error),
            };
        }
        buffer[..taken].copy_from_slice(&self.plain[..taken]);
        if taken == self.plain.len() {
            self.plain = Vec::new()
        } else {
            drop(self.plain.drain(..taken))
        }
        Ok(taken)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let State::Session(session) = &mut self.state else {
                return Err(io::Error::other("a parked connection only receives"));
            };
            if !session.is_handshaking() {
                break;
            }
            self.send()?;
            if self.pull(&mut [0; FLIGHT_BYTES])? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the handshake"));
            }
        }
        self.send_some()?;
        if !self.out.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let State::Session(session) = &mut self.state {
            session.writer().write_all(bytes)?;
        }
        self.send_some()?;
        Ok(bytes.len())
    }

    /// Sends what there is to be sent, as far as the socket takes it.
    fn send_some(&mut self) -> io::Result<()> {
        match self.send() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }

    fn send(&mut self) -> io::Result<()> {
        if let State::Session(session) = &mut self.state {
            while session.wants_write() {
                session.write_tls(&mut self.out)?;
            }
        }
        while !self.out.is_empty() {
            let sent = self.socket.write(&self.out)?;
            self.out.drain(..sent);
        }
        // Whoever is idle keeps nothing.
        self.out = Vec::new();
        Ok(())
    }

    /// Reads the socket once and opens what is whole. Answers how many bytes there were; 0 is the end.
    fn pull(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(scratch)?;
        self.incoming.extend_from_slice(&scratch[..read]);
        let mut incoming = mem::take(&mut self.incoming);
        let used = self.open_records(&mut incoming);
        if used.is_err() {
            // What the library has to say about it, if the socket takes it.
            let _ = self.send();
            self.state = State::Broken;
        }
        let used = used?;
        if used < incoming.len() {
            self.incoming = incoming.split_off(used);
        }
        Ok(read)
    }

    /// Opens the whole records of these. Answers how many bytes they are.
    fn open_records(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut used = 0;
        while let Some(header) = bytes[used..].first_chunk::<HEADER_BYTES>() {
            let end = used + HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]));
            if end - used > RECORD_BYTES_MAX {
                return Err(io::Error::other("what the server sent isn't TLS"));
            }
            let Some(record) = bytes.get_mut(used..end) else {
                break;
            };
            used = end;
            self.open(record)?;
        }
        Ok(used)
    }

    fn open(&mut self, record: &mut [u8]) -> io::Result<()> {
        match &mut self.state {
            State::Session(session) => {
                let mut rest = &record[..];
                while !rest.is_empty() {
                    session.read_tls(&mut rest)?;
                    let state = session.process_new_packets().map_err(io::Error::other)?;
                    let at = self.plain.len();
                    self.plain.resize(at + state.plaintext_bytes_to_read(), 0);
                    session.reader().read_exact(&mut self.plain[at..])?;
                    self.ended |= state.peer_has_closed();
                }
                // Tickets come before the first of it.
                let may_park = self.parks && !self.plain.is_empty() && !self.ended;
                if may_park && session.protocol_version() == Some(ProtocolVersion::TLSv1_3) && !session.wants_write() {
                    self.park()?;
                }
            }
            State::Receiving(key) => match key.open(record) {
                Some((APPLICATION_DATA, content)) => self.plain.extend_from_slice(content),
                Some((ALERT, CLOSE_NOTIFY)) => self.ended = true,
                Some((HANDSHAKE, content)) if content.first() == Some(&NEW_SESSION_TICKET) => {}
                _ => return Err(io::Error::other("a record can't be opened, or wants something of a stream")),
            },
            State::Broken => return Err(io::Error::other("the session is over")),
        }
        Ok(())
    }

    fn park(&mut self) -> io::Result<()> {
        if let State::Session(session) = mem::replace(&mut self.state, State::Broken) {
            let secrets = session.dangerous_extract_secrets().map_err(io::Error::other)?;
            let key = RecordKey::new(secrets.rx).ok_or_else(|| io::Error::other("a cipher nobody knows"))?;
            self.state = State::Receiving(Box::new(key));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener};
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection};

    use super::*;
    use crate::tls::{Identity, Tls, Trust};

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// The server's side of a connection.
    struct Peer {
        socket: TcpStream,
        session: ServerConnection,
    }

    impl Peer {
        /// Reads a request of so many bytes.
        fn read(&mut self, bytes: usize) -> Vec<u8> {
            let mut request = vec![0; bytes];
            rustls::Stream::new(&mut self.session, &mut self.socket).read_exact(&mut request).expect("a request");
            request
        }

        fn write(&mut self, bytes: &[u8]) {
            rustls::Stream::new(&mut self.session, &mut self.socket).write_all(bytes).expect("written");
        }
    }

    fn server(identity: &Identity) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::try_from(identity.key.clone()).expect("PKCS #8");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate.clone().into()], key);
        Arc::new(config.expect("a pair"))
    }

    fn pair(trust: &Trust, config: &Arc<ServerConfig>, parks: bool) -> (Wire, Peer) {
        let listener = TcpListener::bind((ADDRESS, 0)).expect("binds");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        client.set_nonblocking(true).expect("non-blocking");
        let wire = Wire::tls(client, trust.session().expect("a session"), parks);
        let session = ServerConnection::new(Arc::clone(config)).expect("a session");
        (wire, Peer { socket: listener.accept().expect("accepts").0, session })
    }

    /// Tries until it isn't too early any more.
    fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                other => return other,
            }
        }
    }

    /// Sends a request and reads so many bytes of the answer.
    fn ask(wire: &mut Wire, bytes: usize) -> io::Result<Vec<u8>> {
        let mut answer = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        assert_eq!(patiently(|| wire.write(b"request"))?, 7);
        while answer.len() < bytes {
            let read = patiently(|| wire.read(&mut buffer))?;
            assert_ne!(read, 0, "it ended early");
            answer.extend_from_slice(&buffer[..read]);
        }
        Ok(answer)
    }

    fn is_parked(wire: &Wire) -> bool {
        matches!(wire, Wire::Tls(tls) if matches!(tls.state, State::Receiving(_)))
    }

    #[test]
    fn a_subscriber_keeps_a_key_and_reads_records_of_any_size_to_the_end() {
        let identity = Identity::make(ADDRESS).expect("made");
        let config = server(&identity);
        let trust = Trust::new(identity.certificate.clone(), "127.0.0.1", Tls::default()).expect("makes sense");
        let (mut wire, mut peer) = pair(&trust, &config, true);
        let large: Vec<u8> = (0..100_000).map(|n| n as u8).collect();
        let sent = large.clone();
        let server = std::thread::spawn(move || {
            assert_eq!(peer.read(7), b"request");
            peer.write(b"head");
            peer.write(&sent);
            peer.session.send_close_notify();
            peer.session.write_tls(&mut peer.socket).expect("written");
            peer
        });
        let answer = ask(&mut wire, 4 + large.len()).expect("answered");
        assert!(answer.starts_with(b"head") && answer[4..] == large);
        assert!(is_parked(&wire));
        assert_eq!(patiently(|| wire.read(&mut [0; 10])).expect("the end"), 0);
        drop(server.join().expect("ran"));
    }

    #[test]
    fn a_publisher_keeps_its_session_and_so_does_tls_1_2() {
        let identity = Identity::make(ADDRESS).expect("made");
        let config = server(&identity);
        for (only_tls12, parks) in [(false, false), (true, true)] {
            let tls = Tls { only_tls12, resume: false };
            let trust = Trust::new(identity.certificate.clone(), "127.0.0.1", tls).expect("makes sense");
            let (mut wire, mut peer) = pair(&trust, &config, parks);
            let server = std::thread::spawn(move || {
                for _ in 0..2 {
                    peer.read(7);
                    peer.write(b"answer");
                }
            });
            for _ in 0..2 {
                assert_eq!(ask(&mut wire, 6).expect("answered"), b"answer");
            }
            assert!(!is_parked(&wire));
            server.join().expect("ran");
        }
    }

    #[test]
    fn sessions_are_resumed_only_where_that_is_asked_for() {
        let identity = Identity::make(ADDRESS).expect("made");
        let config = server(&identity);
        for resume in [false, true] {
            let tls = Tls { only_tls12: false, resume };
            let trust = Trust::new(identity.certificate.clone(), "127.0.0.1", tls).expect("makes sense");
            let kinds = [(); 2].map(|()| {
                let (mut wire, mut peer) = pair(&trust, &config, true);
                let server = std::thread::spawn(move || {
                    peer.read(7);
                    peer.write(b"answer");
                    peer.session.handshake_kind()
                });
                ask(&mut wire, 6).expect("answered");
                server.join().expect("ran")
            });
            assert_eq!(kinds[0] == kinds[1], !resume, "{kinds:?}");
        }
    }

    #[test]
    fn another_certificate_is_not_trusted() {
        let [shown, expected] = [(); 2].map(|()| Identity::make(ADDRESS).expect("made"));
        let config = server(&shown);
        let trust = Trust::new(expected.certificate, "127.0.0.1", Tls::default()).expect("makes sense");
        let (mut wire, mut peer) = pair(&trust, &config, true);
        let server = std::thread::spawn(move || peer.session.complete_io(&mut peer.socket).is_err());
        let error = ask(&mut wire, 1).expect_err("refused").to_string();
        assert!(error.contains("certificate"), "{error}");
        assert!(server.join().expect("ran"), "the server heard of it");
    }
}
