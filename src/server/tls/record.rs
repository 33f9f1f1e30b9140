//! Records of TLS 1.3 (RFC 8446 §5), sealed and opened by the keys of a connection alone.

use std::fmt;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

/// Bytes in a record at most, before it is sealed (§5.1).
pub(crate) const PLAINTEXT_BYTES_MAX: usize = 1 << 14;
/// Bytes of a sealed record at most, without its header (§5.2).
pub(super) const RECORD_BYTES_MAX: usize = PLAINTEXT_BYTES_MAX + 256;
/// Bytes of a record's header.
pub(super) const HEADER_BYTES: usize = 5;
/// Records sealed or opened under one key at most: AES-GCM is good for 2^24.5 full ones (§5.5), and no stream needs more.
pub(super) const RECORDS_MAX: u64 = 1 << 24;

/// Content types (§5.1).
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

const TAG_BYTES: usize = 16;
const KEY_BYTES_MAX: usize = 32;
const IV_BYTES: usize = 12;

/// The three suites of TLS 1.3 that the hub speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Suite {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Suite::Aes128Gcm => &AES_128_GCM,
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

/// What seals and opens the records of a connection.
pub(super) struct Keys {
    suite: Suite,
    sends: Direction,
    receives: Direction,
}

/// Never shown.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// One direction. The key is expanded for every record: kept so it would take five times the room of all this.
struct Direction {
    key: [u8; KEY_BYTES_MAX],
    iv: [u8; IV_BYTES],
    /// Of the next record.
    sequence: u64,
}

/// Why a record isn't one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("a record wasn't sealed by the client's key")]
    NotSealed,
    #[error("as many records as one key is good for")]
    Limit,
}

impl Keys {
    /// `None`: a suite that isn't known.
    pub(super) fn new(secrets: &ExtractedSecrets) -> Option<Keys> {
        let (suite, sends) = Direction::new(&secrets.tx)?;
        let (_, receives) = Direction::new(&secrets.rx)?;
        Some(Keys { suite, sends, receives })
    }

    /// Appends a record to `out` that has as much of `pieces` as fits into one; how much. Nothing is appended for nothing.
    ///
    /// # Errors
    /// [`RecordError::Limit`].
    pub(super) fn seal<'p>(
        &mut self,
        content_type: u8,
        pieces: impl Iterator<Item = &'p [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<usize, RecordError> {
        let header_at = out.len();
        let body_at = header_at + HEADER_BYTES;
        out.resize(body_at, 0);
        for piece in pieces {
            let room = PLAINTEXT_BYTES_MAX - (out.len() - body_at);
            out.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() >= room {
                break;
            }
        }
        let sealed = out.len() - body_at;
        // The last record of all says that there won't be others.
        let limit = RECORDS_MAX + u64::from(content_type == ALERT);
        if sealed == 0 || self.sends.sequence >= limit {
            out.truncate(header_at);
            return if sealed == 0 { Ok(0) } else { Err(RecordError::Limit) };
        }
        out.push(content_type);
        let [high, low] = ((sealed + 1 + TAG_BYTES) as u16).to_be_bytes();
        out[header_at..body_at].copy_from_slice(&[APPLICATION_DATA, 3, 3, high, low]);
        let (nonce, key) = self.sends.next(self.suite);
        let (header, body) = out[header_at..].split_at_mut(HEADER_BYTES);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), body).expect("a record is short enough");
        out.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens a whole record in its place, header included: its content type and what is in it.
    pub(super) fn open<'r>(&mut self, record: &'r mut [u8]) -> Result<(u8, &'r [u8]), RecordError> {
        if self.receives.sequence >= RECORDS_MAX {
            return Err(RecordError::Limit);
        }
        let Some((header, body)) = record.split_first_chunk_mut::<HEADER_BYTES>() else {
            return Err(RecordError::NotSealed);
        };
        if header[0] != APPLICATION_DATA {
            return Err(RecordError::NotSealed);
        }
        let (nonce, key) = self.receives.next(self.suite);
        let opened = key.open_in_place(nonce, Aad::from(&header[..]), body).map_err(|_| RecordError::NotSealed)?;
        // Zeros behind the content type are padding (§5.4).
        let end = opened.iter().rposition(|&byte| byte != 0).ok_or(RecordError::NotSealed)?;
        if end > PLAINTEXT_BYTES_MAX { Err(RecordError::NotSealed) } else { Ok((opened[end], &opened[..end])) }
    }

    #[cfg(test)]
    pub(super) fn skip_to_last(&mut self) {
        self.sends.sequence = RECORDS_MAX - 1;
    }
}

impl Direction {
    fn new((sequence, secrets): &(u64, ConnectionTrafficSecrets)) -> Option<(Suite, Direction)> {
        let (suite, secret, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Suite::ChaCha20Poly1305, key, iv),
            _ => return None,
        };
        let secret = secret.as_ref();
        if secret.len() != suite.algorithm().key_len() {
            return None;
        }
        let mut key = [0; KEY_BYTES_MAX];
        key[..secret.len()].copy_from_slice(secret);
        Some((suite, Direction { key, iv: iv.as_ref().try_into().ok()?, sequence: *sequence }))
    }

    /// The key, and the nonce of the next record (§5.3): no other will have it.
    fn next(&mut self, suite: Suite) -> (Nonce, LessSafeKey) {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[IV_BYTES - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        self.sequence += 1;
        let algorithm = suite.algorithm();
        let key = UnboundKey::new(algorithm, &self.key[..algorithm.key_len()]).expect("a key is as long as its kind");
        (Nonce::assume_unique_for_key(nonce), LessSafeKey::new(key))
    }
}
