//! What is left of a TLS connection when it is an event stream: little more than its keys (TLS 1.3), or else the whole session.
//!
//! A record that was sealed has used up its number, so it has to reach the client, all of it and once: what a socket doesn't take
//! of it is kept, and until that is gone nothing more is sealed. Memory is taken for it only then, for one record at most and the
//! end of the stream behind it.

use super::record::{ALERT, APPLICATION_DATA, HANDSHAKE, HEADER_BYTES, Keys, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX};
use super::session::Session;

/// The alert that says that nothing more will follow (RFC 8446 §6.1).
const CLOSE_NOTIFY: &[u8] = &[1, 0];

/// See the module.
#[derive(Debug)]
pub(crate) struct TlsStream {
    cipher: Cipher,
    /// Sealed bytes that the socket hasn't taken.
    kept: Vec<u8>,
    /// The beginning of a record of the client's.
    incoming: Vec<u8>,
    /// The end has been sealed: once nothing is kept, the sending direction is shut down.
    ended: bool,
}

enum Cipher {
    Sealed(Keys),
    Session(Box<Session>),
}

/// Never shown.
impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Cipher::Sealed(_) => "Sealed",
            Cipher::Session(_) => "Session",
        })
    }
}

/// Why nothing can be sealed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    /// As many records as its key is good for.
    #[error("as many records as one key is good for")]
    RecordLimit,
    /// The session is no good any more.
    #[error("the session is over")]
    Broken,
}

/// Why a stream ends that the client has said something on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InputEnd {
    /// It said that nothing more will follow.
    #[error("the client has closed")]
    Closed,
    /// It wants other keys, or something else that a parked stream doesn't do.
    #[error("the client wants a message of a handshake answered")]
    Handshake,
    /// What it sent isn't TLS, or not this connection's.
    #[error("a record can't be opened")]
    Broken,
}

impl TlsStream {
    /// A stream of TLS 1.3, and what of the client's was read already.
    pub(super) fn sealed(keys: Keys, incoming: Vec<u8>) -> TlsStream {
        TlsStream { cipher: Cipher::Sealed(keys), kept: Vec::new(), incoming, ended: false }
    }

    /// A stream whose session has to stay.
    pub(super) fn of_session(session: Session) -> TlsStream {
        let cipher = Cipher::Session(Box::new(session));
        TlsStream { cipher, kept: Vec::new(), incoming: Vec::new(), ended: false }
    }

    /// Seals as much as fits into one record, and appends that to `out`; how much. The caller sends it or gives the rest to
    /// [`TlsStream::keep`]. `spare` is for what has to be in one piece.
    ///
    /// # Errors
    /// [`SealError`]: the stream has to end.
    pub(crate) fn seal<'p>(
        &mut self,
        pieces: impl Iterator<Item = &'p [u8]>,
        spare: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<usize, SealError> {
        debug_assert!(self.kept.is_empty() && !self.ended, "what is kept goes first");
        match &mut self.cipher {
            Cipher::Sealed(keys) => keys.seal(APPLICATION_DATA, pieces, out).map_err(|_| SealError::RecordLimit),
            Cipher::Session(session) => {
                spare.clear();
                for piece in pieces {
                    let room = PLAINTEXT_BYTES_MAX - spare.len();
                    spare.extend_from_slice(&piece[..piece.len().min(room)]);
                }
                if !spare.is_empty() {
                    session.seal(spare, out)?;
                }
                Ok(spare.len())
            }
        }
    }

    /// Keeps what the socket didn't take of sealed bytes.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        debug_assert!(self.kept.is_empty(), "one record at most is kept");
        self.kept = rest.to_vec();
    }

    /// What has to be sent before anything else.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// The socket has taken so many bytes of that.
    pub(crate) fn kept_sent(&mut self, bytes: usize) {
        if bytes >= self.kept.len() {
            self.kept = Vec::new();
        } else {
            self.kept.drain(..bytes);
        }
    }

    /// Says that nothing more will follow, behind what is kept. False: it was said before, or can't be said.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) -> bool {
        if std::mem::replace(&mut self.ended, true) {
            return false;
        }
        match &mut self.cipher {
            Cipher::Sealed(keys) => keys.seal(ALERT, std::iter::once(CLOSE_NOTIFY), out).is_ok(),
            Cipher::Session(session) => session.close_notify(out).is_ok(),
        }
    }

    /// Puts the end behind what is kept.
    pub(crate) fn keep_end(&mut self) {
        let mut kept = std::mem::take(&mut self.kept);
        self.end(&mut kept);
        self.kept = kept;
    }

    /// Whether the end has been sealed.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether it is more than its keys.
    #[cfg(test)]
    pub(crate) fn keeps_session(&self) -> bool {
        matches!(self.cipher, Cipher::Session(_))
    }

    /// As if all records but one had been sealed.
    #[cfg(test)]
    pub(crate) fn skip_to_last(&mut self) {
        if let Cipher::Sealed(keys) = &mut self.cipher {
            keys.skip_to_last();
        }
    }

    /// Opens what the client has sent, and throws it away.
    ///
    /// # Errors
    /// [`InputEnd`]: the stream is over.
    pub(crate) fn receive(&mut self, bytes: &mut [u8]) -> Result<(), InputEnd> {
        match &mut self.cipher {
            Cipher::Sealed(keys) => {
                if self.incoming.is_empty() {
                    let used = open_all(keys, bytes)?;
                    self.incoming = bytes[used..].to_vec();
                    return Ok(());
                }
                let mut incoming = std::mem::take(&mut self.incoming);
                incoming.extend_from_slice(bytes);
                let used = open_all(keys, &mut incoming)?;
                // A vector of its own: what is left is as long as it has to be.
                self.incoming = incoming[used..].to_vec();
                Ok(())
            }
            Cipher::Session(session) => {
                let (mut plain, mut out) = (Vec::new(), Vec::new());
                let received = session.receive(bytes, &mut plain, &mut out);
                if session.peer_closed() {
                    return Err(InputEnd::Closed);
                }
                received.map_err(|_| InputEnd::Broken)?;
                session.shrink();
                if out.is_empty() { Ok(()) } else { Err(InputEnd::Handshake) }
            }
        }
    }
}

/// Opens the whole records there are; how many bytes they were. What is left is shorter than a record.
fn open_all(keys: &mut Keys, bytes: &mut [u8]) -> Result<usize, InputEnd> {
    let mut used = 0;
    while let Some(header) = bytes[used..].first_chunk::<HEADER_BYTES>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != APPLICATION_DATA || length > RECORD_BYTES_MAX {
            return Err(InputEnd::Broken);
        }
        let Some(record) = bytes[used..].get_mut(..HEADER_BYTES + length) else {
            break;
        };
        match keys.open(record) {
            Ok((APPLICATION_DATA, _)) => {}
            Ok((ALERT, CLOSE_NOTIFY)) => return Err(InputEnd::Closed),
            // KeyUpdate is the one there can be.
            Ok((HANDSHAKE, _)) => return Err(InputEnd::Handshake),
            Ok(_) | Err(_) => return Err(InputEnd::Broken),
        }
        used += HEADER_BYTES + length;
    }
    Ok(used)
}
