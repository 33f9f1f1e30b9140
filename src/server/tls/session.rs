//! A TLS connection while it carries requests: bytes of the socket in, bytes for the socket out.
//!
//! The library is driven without buffers of its own, so that what a connection keeps between two requests is little, and so that
//! nothing that was read is lost when it becomes an event stream.

use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{Error, HandshakeKind, ProtocolVersion, ServerConfig};

use super::flight::{INCOMING_BYTES_MAX, Look, next_record, sealed_records};
use super::record::{Keys, PLAINTEXT_BYTES_MAX};
use super::stream::{SealError, TlsStream};

/// Records without data that may come behind each other after the handshake: each change of keys is one, and costs.
const SPOKEN_MAX: usize = 64;
/// What a record adds to what is in it, at most, in either version.
const OVERHEAD_BYTES_MAX: usize = 64;

/// See the module.
pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    /// What was read and can't be used yet: the beginning of a record, or records of a message that isn't whole.
    incoming: Vec<u8>,
    /// Sealed tickets, which go to the client with whatever is sent next.
    tickets: Vec<u8>,
    peer_closed: bool,
    /// The client has sent a record that was no data, behind the handshake: new keys, as a rule.
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
        let may_go = self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) && !self.has_spoken;
        // A whole record that is still there has been opened, and is the beginning of a message.
        if !may_go || next_record(&self.incoming) != Look::Partial {
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
        let (mut used, mut spoken, before) = (0, 0, out.len());
        let mut then = Some(then);
        let outcome = loop {
            let was_done = !self.connection.is_handshaking();
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
            if !self.connection.is_handshaking() {
                // The last message of the handshake is one, too.
                let known = with_data + usize::from(!was_done);
                spoken += sealed_records(&self.incoming[used..used + discard]).saturating_sub(known);
            }
            if spoken > SPOKEN_MAX && ended.is_none() {
                ended = Some(Err(Error::General("too many records without data".to_owned())));
            }
            used += discard;
            if let Some(outcome) = ended {
                break outcome;
            }
        };
        self.incoming.drain(..used);
        self.has_spoken |= spoken > 0;
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

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    let before = out.len();
    if let Err(EncodeError::InsufficientSize(wanted)) = data.encode(&mut []) {
        out.resize(before + wanted.required_size, 0);
        data.encode(&mut out[before..]).expect("there is as much room as it wants");
    }
}
