//! The floor's connections: plain, or with TLS by the library until the response head is out, and then a bare key that seals.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::RESPONSE_HEAD;
use crate::tls::RecordKey;

/// What a floor with TLS shows and speaks.
pub(super) fn configuration(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates = vec![CertificateDer::from_pem_file(certificate).context("the floor's certificate")?];
    let key = PrivateKeyDer::from_pem_file(key).context("the floor's key")?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.enable_secret_extraction = true;
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A connection whose request isn't complete.
pub(super) struct Caller {
    socket: TcpStream,
    session: Option<Box<ServerConnection>>,
    head: Vec<u8>,
}

/// What became of a look at it.
pub(super) enum Call {
    Waits(Caller),
    Streams(Stream),
    Gone,
}

impl Caller {
    pub(super) fn new(socket: TcpStream, config: Option<&Arc<ServerConfig>>) -> anyhow::Result<Self> {
        let session = config.map(|config| ServerConnection::new(Arc::clone(config)).map(Box::new)).transpose()?;
        Ok(Self { socket, session, head: Vec::new() })
    }

    /// Reads what is there, and answers a request that is complete.
    pub(super) fn look(mut self) -> Call {
        let mut buffer = [0; 4096];
        let read = match self.socket.read(&mut buffer) {
            Ok(0) => return Call::Gone,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Call::Waits(self),
            Err(_) => return Call::Gone,
        };
        if self.take(&buffer[..read]).is_err() {
            return Call::Gone;
        }
        if !self.head.ends_with(b"\r\n\r\n") {
            return Call::Waits(self);
        }
        self.answer().map_or(Call::Gone, Call::Streams)
    }

    fn take(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(session) = &mut self.session else {
            self.head.extend_from_slice(bytes);
            return Ok(());
        };
        while !bytes.is_empty() {
            session.read_tls(&mut bytes)?;
            let state = session.process_new_packets().map_err(io::Error::other)?;
            let at = self.head.len();
            self.head.resize(at + state.plaintext_bytes_to_read(), 0);
            session.reader().read_exact(&mut self.head[at..])?;
        }
        flush(session, &mut self.socket)
    }

    fn answer(mut self) -> io::Result<Stream> {
        let key = match self.session {
            None => {
                self.socket.write_all(RESPONSE_HEAD)?;
                None
            }
            Some(mut session) => {
                session.writer().write_all(RESPONSE_HEAD)?;
                flush(&mut session, &mut self.socket)?;
                let secrets = session.dangerous_extract_secrets().map_err(io::Error::other)?;
                let key = RecordKey::new(secrets.tx).ok_or_else(|| io::Error::other("a cipher nobody knows"))?;
                Some(Box::new(key))
            }
        };
        Ok(Stream { socket: self.socket, key })
    }
}

/// A flight fits into an empty socket.
fn flush(session: &mut ServerConnection, socket: &mut TcpStream) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(socket)?;
    }
    Ok(())
}

/// A connection that only sends.
pub(super) struct Stream {
    socket: TcpStream,
    key: Option<Box<RecordKey>>,
}

impl Stream {
    /// Sends a frame whole, as one record where it is TLS; a full socket is waited for. Answers false when the peer is gone.
    pub(super) fn send(&mut self, frame: &[u8], sealed: &mut Vec<u8>) -> bool {
        let Some(key) = &mut self.key else {
            return send_all(&mut self.socket, frame);
        };
        key.seal(frame, sealed);
        send_all(&mut self.socket, sealed)
    }
}

fn send_all(stream: &mut TcpStream, mut frame: &[u8]) -> bool {
    loop {
        match stream.write(frame) {
            Ok(written) if written == frame.len() => return true,
            Ok(written) => frame = &frame[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_micros(50)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}
