//! Records of TLS 1.3 (RFC 8446 §5), opened and sealed by the secrets that are left of a session.

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

/// Bytes of a record's header.
pub(super) const HEADER_BYTES: usize = 5;
/// Content types (§5.1).
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

const TAG_BYTES: usize = 16;
const IV_BYTES: usize = 12;

/// One direction of a connection. The key is expanded once and kept so.
pub(crate) struct RecordKey {
    key: LessSafeKey,
    iv: [u8; IV_BYTES],
    /// Of the next record.
    sequence: u64,
}

impl RecordKey {
    /// `None`: a cipher that isn't one of the three of TLS 1.3.
    pub(crate) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Option<Self> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        Some(Self { key, iv: iv.as_ref().try_into().ok()?, sequence })
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[IV_BYTES - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Opens a whole record in its place, header included: its content type and what is in it. `None`: it wasn't sealed by this
    /// key.
    pub(super) fn open<'r>(&mut self, record: &'r mut [u8]) -> Option<(u8, &'r [u8])> {
        let (header, body) = record.split_first_chunk_mut::<HEADER_BYTES>()?;
        let nonce = self.nonce();
        let opened = self.key.open_in_place(nonce, Aad::from(&header[..]), body).ok()?;
        // Zeros behind the content type are padding (§5.4).
        let end = opened.iter().rposition(|byte| *byte != 0)?;
        Some((opened[end], &opened[..end]))
    }

    /// Puts a record with this content, of 16 KiB at most, in the place of what is in `out`.
    pub(crate) fn seal(&mut self, content: &[u8], out: &mut Vec<u8>) {
        let length = (content.len() + 1 + TAG_BYTES) as u16;
        let [high, low] = length.to_be_bytes();
        let header = [APPLICATION_DATA, 3, 3, high, low];
        out.clear();
        out.extend_from_slice(&header);
        out.extend_from_slice(content);
        out.push(APPLICATION_DATA);
        let nonce = self.nonce();
        let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut out[HEADER_BYTES..]);
        out.extend_from_slice(sealed.expect("a record is short enough").as_ref());
    }
}
