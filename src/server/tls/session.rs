//! A TLS connection while it carries requests: bytes of the socket in, bytes for the socket out.
//!
//! The library is driven without buffers of its own, so that what a connection keeps between two requests is little, and so that
//! nothing that was read is lost when it becomes an event stream.

use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{Error, HandshakeKind, ProtocolVersion, ServerConfig};

use super::record::{
    ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, HEADER_BYTES, Keys, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX,
};
use super::stream::{SealError, TlsStream};

/// Bytes of a message of a handshake, or of a record, that may be in memory before it is whole.
const INCOMING_BYTES_MAX: usize = 32 * 1024;
/// What a record adds to what is in it, at most, in either version.
const OVERHEAD_BYTES_MAX: usize = 64;

/// See the module.
pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    /// What was read and can't be used yet: the beginning of a record.
    incoming: Vec<u8>,
    /// Sealed tickets, which go to the client with whatever is sent next.
    tickets: Vec<u8>,
    peer_closed: bool,
    /// The client has sent a record that was no data, since the handshake: new keys, as a rule.
    has_spoken: bool,
    /// There was an error: the library isn't asked for anything any more.
    broken: bool,
}

impl Session {
    /// A connection that is to begin with a handshake.
    ///
    /// # Errors
    /// None with a configuration of ours.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Session, Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Session {
            connection,
            incoming: Vec::new(),
            tickets: Vec::new(),
            peer_closed: false,
            has_spoken: false,
            broken: false,
        })
    }

    /// Takes what was read from the socket, and makes nothing of it yet.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// What was read and not made anything of yet.
    pub(crate) fn incoming(&self) -> &[u8] {
        &self.incoming
    }

    /// Makes of it what can be made: requests' bytes are added to `plain`, what has to go to the client to `out`.
    ///
    /// # Errors
    /// The connection is no good any more. What then is in `out` tells the client why.
    pub(crate) fn process(&mut self, plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Error> {
        self.advance(plain, out, |_, _| ())?;
        if self.incoming.len() > INCOMING_BYTES_MAX {
            self.broken = true;
            return Err(Error::General("a message of the handshake is too long".to_owned()));
        }
        Ok(())
    }

    /// Both at once.
    pub(crate) fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Error> {
        self.add(bytes);
        self.process(plain, out)
    }

    /// Keeps what the end of a handshake made: in TLS 1.3 that are tickets, of no use to a client before its first answer, and they go
    /// out with that. Gives back what the client waits for.
    pub(crate) fn keep_tickets(&mut self, out: Vec<u8>) -> Vec<u8> {
        if self.is_handshaking() || self.connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return out;
        }
        debug_assert!(self.tickets.is_empty(), "a handshake ends once");
        self.tickets = out;
        Vec::new()
    }

    /// Whether there are any.
    pub(crate) fn keeps_tickets(&self) -> bool {
        !self.tickets.is_empty()
    }

    /// What was kept, to be sent by itself.
    pub(crate) fn take_tickets(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.tickets)
    }

    /// Seals bytes into records.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let records = plain.len().div_ceil(PLAINTEXT_BYTES_MAX);
        self.write(plain.len() + records * OVERHEAD_BYTES_MAX, out, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Says that nothing more will follow.
    pub(crate) fn close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), SealError> {
        self.write(OVERHEAD_BYTES_MAX, out, |traffic, room| traffic.queue_close_notify(room))
    }

    fn write(
        &mut self,
        room: usize,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), SealError> {
        // All that was read has been made something of: there is no plain text now.
        let written = self.advance(&mut Vec::new(), out, |traffic, out| {
            let before = out.len();
            out.resize(before + room, 0);
            let written = write(traffic, &mut out[before..]);
            out.truncate(before + written.as_ref().map_or(0, |&written| written));
            written
        });
        match written {
            Ok(Some(Ok(_))) => Ok(()),
            Ok(Some(Err(EncryptError::EncryptExhausted))) => Err(SealError::RecordLimit),
            Ok(_) | Err(_) => Err(SealError::Broken),
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// What is spoken over it, if the client has named something.
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// Whether it goes on with what an earlier one began. `None`: not known yet.
    pub(crate) fn was_resumed(&self) -> Option<bool> {
        self.connection.handshake_kind().map(|kind| kind == HandshakeKind::Resumed)
    }

    /// Whether the client has said that nothing more will follow.
    pub(crate) fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Gives back what isn't needed while it waits.
    pub(crate) fn shrink(&mut self) {
        self.incoming.shrink_to_fit();
    }

    /// What is left of it when it becomes an event stream. Everything there was to be sent has been sent, tickets included. `None`:
    /// the client has said that it is gone, or it can't be taken apart and is no good any more.
    ///
    /// The session of a client that may have asked for new keys stays: the library answers that with the next record, and doesn't give
    /// away that it is still to do.
    pub(crate) fn park(mut self) -> Option<TlsStream> {
        debug_assert!(self.tickets.is_empty(), "records reach the client in the order of their numbers");
        if self.peer_closed || self.broken {
            return None;
        }
        if self.connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) || self.has_spoken {
            self.shrink();
            return Some(TlsStream::of_session(self));
        }
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.shrink_to_fit();
        let (secrets, _) = self.connection.dangerous_into_kernel_connection().ok()?;
        Some(TlsStream::sealed(Keys::new(&secrets)?, incoming))
    }
}

impl Session {
    /// Goes through what was read. When nothing more can be made of it and data may be sent, `then` sends some.
    fn advance<R>(
        &mut self,
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
        then: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>, &mut Vec<u8>) -> R,
    ) -> Result<Option<R>, Error> {
        if self.broken {
            return Err(Error::General("the session is over".to_owned()));
        }
        let (mut used, before) = (0, out.len());
        let mut then = Some(then);
        let outcome = loop {
            let done = !self.connection.is_handshaking();
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut self.incoming[used..]);
            let (mut ended, mut with_data) = (None, 0);
            match state {
                Err(error) => ended = Some(Err(error)),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                with_data += 1;
                                plain.extend_from_slice(record.payload);
                            }
                            Err(error) => {
                                ended = Some(Err(error));
                                break;
                            }
                        }
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    ended = Some(Ok(then.take().map(|then| then(&mut traffic, out))));
                }
                // Closed, or waiting for more of a handshake; early data is never accepted.
                Ok(_) => ended = Some(Ok(None)),
            }
            self.has_spoken |= done && records(&self.incoming[used..used + discard]) > with_data;
            used += discard;
            if let Some(outcome) = ended {
                break outcome;
            }
        };
        self.incoming.drain(..used);
        if outcome.is_err() {
            self.broken = true;
            // An alert may be left to be sent; nothing that was read is looked at any more.
            while self.connection.wants_write()
                && let Ok(ConnectionState::EncodeTlsData(data)) =
                    self.connection.process_tls_records(&mut self.incoming).state
            {
                encode(data, out);
            }
        }
        if out.len() > before {
            out.splice(before..before, self.take_tickets());
        }
        outcome
    }
}

/// How many records begin in bytes that begin with one.
fn records(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        bytes = rest.get(length..).unwrap_or_default();
        count += 1;
    }
    count
}

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    let before = out.len();
    if let Err(EncodeError::InsufficientSize(wanted)) = data.encode(&mut []) {
        out.resize(before + wanted.required_size, 0);
        data.encode(&mut out[before..]).expect("there is as much room as it wants");
    }
}

/// Whether what a client has sent of its part of a handshake is worth looking at: the first message is there to its end, or the first
/// record of another kind, or it is no TLS. Bytes that come one by one don't cost a look each.
pub(crate) fn flight_is_whole(incoming: &[u8]) -> bool {
    let (mut rest, mut message, mut prefix) = (incoming, 0, Vec::new());
    while let Some((header, body)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        match header[0] {
            _ if length > RECORD_BYTES_MAX => return true,
            HANDSHAKE => {}
            CHANGE_CIPHER_SPEC | ALERT | APPLICATION_DATA => return body.len() >= length,
            _ => return true,
        }
        let body = &body[..length.min(body.len())];
        message += body.len();
        prefix.extend(body.iter().take(4 - prefix.len()));
        if let [_, a, b, c] = prefix[..] {
            let wanted = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
            if message >= wanted || wanted > INCOMING_BYTES_MAX {
                return true;
            }
        }
        if body.len() < length {
            return false;
        }
        rest = &rest[HEADER_BYTES + length..];
    }
    false
}
