//! Signatures of tokens: the JSON Web Algorithms (RFC 7518 §3, RFC 8037 §3.1) that a hub accepts, computed by `ring`.
//!
//! `jsonwebtoken` leaves cryptography to a provider it is given once per process; this is ours. Shapes of key material:
//! a secret for HMAC; PKCS#1 DER for RSA, public and private; the uncompressed point (public) or PKCS#8 DER (private) for
//! ECDSA; 32 bytes (public) or PKCS#8 DER (private) for Ed25519. RSA keys shorter than 2048 bits are refused (RFC 7518 §3.3).

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, new_error};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{self as scheme, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use ring::{digest, hmac};

/// Makes `ring` the cryptography of `jsonwebtoken` in this process. May be called any number of times.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        PROVIDER.install_default().expect("no other part of this program installs a provider");
    });
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(not_offered()),
        rsa_pub_components_from_public_key: |_| Err(not_offered()),
        ec_pub_components_from_private_key: |_, _| Err(not_offered()),
        ed_pub_components_from_private_key: |_, _| Err(not_offered()),
        compute_digest: |_, _| Err(not_offered()),
    },
};

/// The utilities for making key sets out of private keys: a hub only reads key sets. An error, not the library's panic.
fn not_offered() -> Error {
    new_error(ErrorKind::Provider("this program reads key sets and does not make them".into()))
}

/// What one JSON Web Algorithm is in `ring`.
enum Scheme {
    Hmac(hmac::Algorithm),
    Rsa(&'static scheme::RsaParameters, &'static dyn scheme::RsaEncoding),
    Ecdsa(&'static scheme::EcdsaVerificationAlgorithm, &'static scheme::EcdsaSigningAlgorithm),
    Ed25519,
}

fn scheme_of(algorithm: Algorithm) -> Result<Scheme, Error> {
    Ok(match algorithm {
        Algorithm::HS256 => Scheme::Hmac(hmac::HMAC_SHA256),
        Algorithm::HS384 => Scheme::Hmac(hmac::HMAC_SHA384),
        Algorithm::HS512 => Scheme::Hmac(hmac::HMAC_SHA512),
        Algorithm::RS256 => Scheme::Rsa(&scheme::RSA_PKCS1_2048_8192_SHA256, &scheme::RSA_PKCS1_SHA256),
        Algorithm::RS384 => Scheme::Rsa(&scheme::RSA_PKCS1_2048_8192_SHA384, &scheme::RSA_PKCS1_SHA384),
        Algorithm::RS512 => Scheme::Rsa(&scheme::RSA_PKCS1_2048_8192_SHA512, &scheme::RSA_PKCS1_SHA512),
        Algorithm::PS256 => Scheme::Rsa(&scheme::RSA_PSS_2048_8192_SHA256, &scheme::RSA_PSS_SHA256),
        Algorithm::PS384 => Scheme::Rsa(&scheme::RSA_PSS_2048_8192_SHA384, &scheme::RSA_PSS_SHA384),
        Algorithm::PS512 => Scheme::Rsa(&scheme::RSA_PSS_2048_8192_SHA512, &scheme::RSA_PSS_SHA512),
        Algorithm::ES256 => Scheme::Ecdsa(&scheme::ECDSA_P256_SHA256_FIXED, &scheme::ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::ES384 => Scheme::Ecdsa(&scheme::ECDSA_P384_SHA384_FIXED, &scheme::ECDSA_P384_SHA384_FIXED_SIGNING),
        Algorithm::EdDSA => Scheme::Ed25519,
        _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    })
}

/// The first guard against a key used with an algorithm of another family (a public key taken for a secret).
fn fits(algorithm: Algorithm, family: AlgorithmFamily) -> Result<(), Error> {
    if algorithm.family() == family { Ok(()) } else { Err(new_error(ErrorKind::InvalidAlgorithm)) }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    fits(*algorithm, key.family())?;
    let check = match (scheme_of(*algorithm)?, key.kind()) {
        (Scheme::Hmac(hash), DecodingKeyKind::SecretOrDer(secret)) => Check::Hmac(hmac::Key::new(hash, secret)),
        (Scheme::Rsa(parameters, _), DecodingKeyKind::SecretOrDer(der)) => Check::Public(parameters, der.clone()),
        (Scheme::Rsa(parameters, _), DecodingKeyKind::RsaModulusExponent { n, e }) => {
            // Key sets in the wild write a leading zero byte, which ring refuses.
            let strip = |bytes: &[u8]| bytes.iter().copied().skip_while(|&byte| byte == 0).collect();
            Check::Components(parameters, scheme::RsaPublicKeyComponents { n: strip(n), e: strip(e) })
        }
        (Scheme::Ecdsa(curve, _), DecodingKeyKind::SecretOrDer(point)) => Check::Public(curve, point.clone()),
        (Scheme::Ed25519, DecodingKeyKind::SecretOrDer(key)) => Check::Public(&scheme::ED25519, key.clone()),
        _ => return Err(new_error(ErrorKind::InvalidKeyFormat)),
    };
    Ok(Box::new(Verifier { algorithm: *algorithm, check }))
}

struct Verifier {
    algorithm: Algorithm,
    check: Check,
}

enum Check {
    Hmac(hmac::Key),
    Public(&'static dyn scheme::VerificationAlgorithm, Vec<u8>),
    Components(&'static scheme::RsaParameters, scheme::RsaPublicKeyComponents<Vec<u8>>),
}

impl signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        match &self.check {
            Check::Hmac(key) => hmac::verify(key, message, signature),
            Check::Public(algorithm, key) => scheme::UnparsedPublicKey::new(*algorithm, key).verify(message, signature),
            Check::Components(parameters, key) => key.verify(parameters, message, signature),
        }
        .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    fits(*algorithm, key.family())?;
    let der = key.as_bytes();
    let pen = match scheme_of(*algorithm)? {
        Scheme::Hmac(hash) => Pen::Hmac(hmac::Key::new(hash, der)),
        Scheme::Rsa(_, padding) => Pen::Rsa(
            RsaKeyPair::from_der(der).map_err(|reason| new_error(ErrorKind::InvalidRsaKey(reason.to_string())))?,
            padding,
        ),
        Scheme::Ecdsa(_, curve) => Pen::Ecdsa(
            EcdsaKeyPair::from_pkcs8(curve, der, &randomness()).map_err(|_| new_error(ErrorKind::InvalidEcdsaKey))?,
        ),
        // Most tools write Ed25519 keys without the public half, which is then derived.
        Scheme::Ed25519 => Pen::Ed25519(
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| new_error(ErrorKind::InvalidEddsaKey))?,
        ),
    };
    Ok(Box::new(Signer { algorithm: *algorithm, pen }))
}

struct Signer {
    algorithm: Algorithm,
    pen: Pen,
}

enum Pen {
    Hmac(hmac::Key),
    Rsa(RsaKeyPair, &'static dyn scheme::RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl signature::Signer<Vec<u8>> for Signer {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let failed = |_| signature::Error::new();
        Ok(match &self.pen {
            Pen::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
            Pen::Rsa(key, padding) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(*padding, &randomness(), message, &mut signature).map_err(failed)?;
                signature
            }
            Pen::Ecdsa(key) => key.sign(&randomness(), message).map_err(failed)?.as_ref().to_vec(),
            Pen::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        })
    }
}

impl JwtSigner for Signer {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// ECDSA and RSASSA-PSS draw a nonce or a salt for every signature.
#[expect(
    clippy::disallowed_methods,
    reason = "only minting signs, in a command and at the start of development mode, never in a hub's event loop"
)]
fn randomness() -> SystemRandom {
    SystemRandom::new()
}

/// SHA-256, for naming a token without keeping it.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wycheproof;
