//! Keys that check tokens and keys that sign them, each bound to the algorithms it may be used with (RFC 8725 §3.1).
//!
//! A key is given as text: PEM, or a secret. The two never mix: a public key taken for an HMAC secret would let everybody
//! who knows it sign tokens, so such pairs are refused where they are configured, not where a token comes in.

pub(crate) mod der;
pub(super) mod jwk;
mod material;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};

pub use jwk::{JwkError, KEY_SET_ALGORITHMS, KEY_SET_BYTES_MAX, KEY_SET_KEYS_MAX, KeySet, KeySetError};
pub use material::KeyKind;
use material::Material;

use super::signature;

/// Why a key can't be used. The sentences are for the person who configures it; no part of the key is in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A PEM key with HS256, HS384 or HS512.
    #[error(
        "{0:?} needs a shared secret and the key is PEM: a public key used as a secret would let everybody sign tokens. \
         Give the algorithm of the key (RS256, PS256, ES256, ES384, EdDSA, …) or a secret"
    )]
    PemAsSecret(Algorithm),
    /// A JSON Web Key or a set of them where a secret is expected.
    #[error("the key is a JSON Web Key; give the secret itself, the public key as PEM, or the URL of the key set")]
    JwkAsSecret,
    /// A secret with an algorithm that needs a key pair.
    #[error("{0:?} needs a public key in PEM (-----BEGIN PUBLIC KEY-----) and the key is not PEM")]
    SecretAsPem(Algorithm),
    /// RFC 7518 §3.2: an HMAC key is at least as long as the hash.
    #[error(
        "the secret has {bytes} bytes and {algorithm:?} needs at least {bytes_min}: make one with `openssl rand -hex {bytes_min}`"
    )]
    SecretTooShort {
        /// The algorithm that asks for more.
        algorithm: Algorithm,
        /// What was given.
        bytes: usize,
        /// What it needs.
        bytes_min: usize,
    },
    /// The kind of the key isn't the algorithm's.
    #[error("{algorithm:?} can't be used with a key of kind {kind}, which goes with {}", names(accepted(*kind)))]
    Unfit {
        /// The kind of key in the PEM text.
        kind: KeyKind,
        /// The configured algorithm.
        algorithm: Algorithm,
    },
    /// Not readable as PEM, or no such key inside.
    #[error(
        "the PEM text is damaged: expected the lines from -----BEGIN …----- to -----END …----- exactly as the tool wrote them"
    )]
    MalformedPem,
    /// PEM of something else.
    #[error(
        "the PEM text holds no key this program reads (PUBLIC KEY, RSA PUBLIC KEY, CERTIFICATE; to sign: PRIVATE KEY, EC PRIVATE KEY, RSA PRIVATE KEY)"
    )]
    NoKeyInPem,
    /// More than one key or certificate.
    #[error("the PEM text holds several keys; give one key each")]
    SeveralKeys,
    /// A private key where a public key belongs.
    #[error(
        "the key is a private key and checking tokens takes the public one: make it with `openssl pkey -in FILE -pubout`, and keep the private key with the issuer"
    )]
    PrivateKey,
    /// A public key where a private key belongs.
    #[error("the key is a public key and signing takes the private one (-----BEGIN PRIVATE KEY-----)")]
    PublicKey,
    /// A private key under a passphrase.
    #[error("the private key is encrypted: decrypt it with `openssl pkey -in FILE -out PLAIN_FILE`")]
    Encrypted,
    /// Another kind of key or curve.
    #[error("the key is neither RSA, nor an elliptic curve key on P-256 or P-384, nor Ed25519")]
    UnsupportedKind,
    /// An RSA key of a size that isn't used.
    #[error("the RSA key has {bits} bits; {bits_min} to {bits_max} are accepted")]
    RsaBits {
        /// Bits of the modulus.
        bits: usize,
        /// The smallest accepted.
        bits_min: usize,
        /// The largest accepted.
        bits_max: usize,
    },
    /// The private key doesn't hold together.
    #[error("the private key can't be used to sign: {0}")]
    Refused(String),
}

/// A key that checks tokens, and the algorithms it may be used with: at least one, all of its kind.
#[derive(Debug, Clone)]
pub struct VerificationKey {
    kind: KeyKind,
    algorithms: Box<[Algorithm]>,
    key: DecodingKey,
    /// `kid`, of a key out of a key set.
    id: Option<Box<str>>,
    /// SHA-256 of the kind and the bytes of the key.
    digest: [u8; 32],
}

impl VerificationKey {
    /// A key from a secret or the PEM text of a public key or certificate. Without algorithms the kind of the key decides:
    /// HS256 for a secret, RS256, ES256, ES384 or EdDSA for PEM. A secret is taken to the last byte, line ends included.
    pub fn from_text(text: &str, algorithms: &[Algorithm]) -> Result<VerificationKey, KeyError> {
        let material = read(text, algorithms, material::public)?;
        let algorithms = algorithms_for(&material, algorithms)?;
        Ok(VerificationKey::new(&material, algorithms, None))
    }

    fn new(material: &Material, algorithms: Box<[Algorithm]>, id: Option<Box<str>>) -> VerificationKey {
        let key = match material.kind {
            KeyKind::Secret => DecodingKey::from_secret(&material.bytes),
            KeyKind::Rsa => DecodingKey::from_rsa_der(&material.bytes),
            KeyKind::P256 | KeyKind::P384 => DecodingKey::from_ec_der(&material.bytes),
            KeyKind::Ed25519 => DecodingKey::from_ed_der(&material.bytes),
        };
        signature::install();
        let digest = signature::sha256(&[&[material.kind as u8], &material.bytes[..]].concat());
        VerificationKey { kind: material.kind, algorithms, key, id, digest }
    }

    /// The name tokens call it by in `kid`; only keys of key sets have one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Tells keys apart without showing them: the same key has the same digest wherever it was read from.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The algorithms a token may name to be checked with this key.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// Whether `signature` (base64url) is this key's over `message`; false for an algorithm that isn't among the key's.
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        self.algorithms.contains(&algorithm)
            && crypto::verify(signature, message, &self.key, algorithm).is_ok_and(|verified| verified)
    }
}

/// A key that signs tokens, for the command that mints them and for development mode.
#[derive(Debug, Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    /// A key from a secret or the PEM text of a private key. Without an algorithm the kind of the key decides, as for
    /// [`VerificationKey::from_text`].
    pub fn from_text(text: &str, algorithm: Option<Algorithm>) -> Result<SigningKey, KeyError> {
        let material = read(text, algorithm.as_slice(), material::private)?;
        let algorithm = algorithms_for(&material, algorithm.as_slice())?[0];
        let key = match material.kind {
            KeyKind::Secret => EncodingKey::from_secret(&material.bytes),
            KeyKind::Rsa => EncodingKey::from_rsa_der(&material.bytes),
            KeyKind::P256 | KeyKind::P384 => EncodingKey::from_ec_der(&material.bytes),
            KeyKind::Ed25519 => EncodingKey::from_ed_der(&material.bytes),
        };
        signature::install();
        let key = SigningKey { algorithm, key };
        // Signing once shows whether the parts of the key belong together.
        key.sign(b"").map(|_| key)
    }

    /// The algorithm it signs with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signature of a message, base64url.
    pub fn sign(&self, message: &[u8]) -> Result<String, KeyError> {
        crypto::sign(message, &self.key, self.algorithm).map_err(|error| {
            KeyError::Refused(match error.into_kind() {
                ErrorKind::InvalidRsaKey(reason) => {
                    format!("its parts don't fit together ({reason})")
                }
                ErrorKind::InvalidEcdsaKey | ErrorKind::InvalidEddsaKey => {
                    "its parts don't fit together, or its public half is missing".into()
                }
                kind => format!("{kind:?}"),
            })
        })
    }
}

/// The algorithms that a kind of key can be used with, the default first.
fn accepted(kind: KeyKind) -> &'static [Algorithm] {
    use Algorithm::*;
    match kind {
        KeyKind::Secret => &[HS256, HS384, HS512],
        KeyKind::Rsa => &[RS256, RS384, RS512, PS256, PS384, PS512],
        KeyKind::P256 => &[ES256],
        KeyKind::P384 => &[ES384],
        KeyKind::Ed25519 => &[EdDSA],
    }
}

/// "RS256, PS256".
pub(super) fn names(algorithms: &[Algorithm]) -> String {
    let names: Vec<_> = algorithms.iter().map(|algorithm| format!("{algorithm:?}")).collect();
    names.join(", ")
}

fn read(
    text: &str,
    algorithms: &[Algorithm],
    from_pem: fn(&str) -> Result<Material, KeyError>,
) -> Result<Material, KeyError> {
    let is_hmac = |algorithm: &&Algorithm| accepted(KeyKind::Secret).contains(algorithm);
    if material::looks_like_pem(text) {
        return match algorithms.iter().find(is_hmac) {
            Some(&hmac) => Err(KeyError::PemAsSecret(hmac)),
            None => from_pem(text),
        };
    }
    if let Some(&other) = algorithms.iter().find(|algorithm| !is_hmac(algorithm)) {
        return Err(KeyError::SecretAsPem(other));
    }
    let is_jwk = |json: serde_json::Value| ["kty", "keys"].iter().any(|member| json.get(member).is_some());
    if serde_json::from_str(text).is_ok_and(is_jwk) {
        return Err(KeyError::JwkAsSecret);
    }
    Ok(Material { kind: KeyKind::Secret, bytes: text.as_bytes().to_vec() })
}

fn algorithms_for(material: &Material, asked: &[Algorithm]) -> Result<Box<[Algorithm]>, KeyError> {
    let kind = material.kind;
    let algorithms = if asked.is_empty() { &accepted(kind)[..1] } else { asked };
    for &algorithm in algorithms {
        if !accepted(kind).contains(&algorithm) {
            return Err(KeyError::Unfit { kind, algorithm });
        }
        let bytes_min = match algorithm {
            Algorithm::HS256 => 32,
            Algorithm::HS384 => 48,
            Algorithm::HS512 => 64,
            _ => 0,
        };
        let bytes = material.bytes.len();
        if bytes < bytes_min {
            return Err(KeyError::SecretTooShort { algorithm, bytes, bytes_min });
        }
    }
    Ok(algorithms.into())
}

#[cfg(test)]
pub(super) mod tests;
