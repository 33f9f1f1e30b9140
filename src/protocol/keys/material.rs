//! The key inside a PEM file (RFC 7468): which kind it is, and its bytes in the shape that `signature` takes.

use super::KeyError;
use super::der::{self, Der};

/// The kinds of keys that can sign tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A secret shared with the issuer.
    Secret,
    /// RSA, 2048 bits or more.
    Rsa,
    /// An elliptic curve key on P-256.
    P256,
    /// An elliptic curve key on P-384.
    P384,
    /// An Edwards curve key on Ed25519.
    Ed25519,
}

impl std::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KeyKind::Secret => "secret",
            KeyKind::Rsa => "RSA",
            KeyKind::P256 => "P-256",
            KeyKind::P384 => "P-384",
            KeyKind::Ed25519 => "Ed25519",
        })
    }
}

/// A key out of a PEM file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Material {
    pub(super) kind: KeyKind,
    pub(super) bytes: Vec<u8>,
}

/// What `ring` verifies with: RFC 7518 §3.3 demands the lower bound.
const RSA_PUBLIC_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// What `ring` signs with.
const RSA_PRIVATE_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Whether a key's text is meant as PEM rather than as a secret.
pub(super) fn looks_like_pem(text: &str) -> bool {
    text.contains("-----BEGIN")
}

/// The public key of a PEM text: `PUBLIC KEY`, `RSA PUBLIC KEY`, or that of a `CERTIFICATE` (whose validity isn't looked at).
pub(super) fn public(text: &str) -> Result<Material, KeyError> {
    let block = only_key(text)?;
    let bytes = Der::new(block.contents());
    let material = match block.tag() {
        "PUBLIC KEY" => subject_public_key_info(bytes)?,
        "RSA PUBLIC KEY" => Material { kind: KeyKind::Rsa, bytes: block.contents().to_vec() },
        "CERTIFICATE" => subject_public_key_info(certified_key(bytes).ok_or(KeyError::MalformedPem)?)?,
        label if label.ends_with("PRIVATE KEY") => return Err(KeyError::PrivateKey),
        _ => return Err(KeyError::NoKeyInPem),
    };
    if material.kind == KeyKind::Rsa {
        check_rsa_bits(Der::new(&material.bytes).sequence(), RSA_PUBLIC_BITS)?;
    }
    Ok(material)
}

/// The private key of a PEM text: `PRIVATE KEY` (PKCS #8), `EC PRIVATE KEY` (SEC 1) or `RSA PRIVATE KEY` (PKCS #1).
pub(super) fn private(text: &str) -> Result<Material, KeyError> {
    let block = only_key(text)?;
    let material = match block.tag() {
        "PRIVATE KEY" => private_key_info(block.contents())?,
        "EC PRIVATE KEY" => sec1_as_pkcs8(block.contents())?,
        "RSA PRIVATE KEY" => Material { kind: KeyKind::Rsa, bytes: block.contents().to_vec() },
        "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
        "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE" => return Err(KeyError::PublicKey),
        _ => return Err(KeyError::NoKeyInPem),
    };
    if material.kind == KeyKind::Rsa {
        let mut fields = Der::new(&material.bytes).sequence();
        fields.as_mut().and_then(|fields| fields.read(der::INTEGER)); // version
        check_rsa_bits(fields, RSA_PRIVATE_BITS)?;
    }
    Ok(material)
}

/// The one block that isn't the curve's parameters, which `openssl ecparam -genkey` writes before the key.
fn only_key(text: &str) -> Result<pem::Pem, KeyError> {
    // A PEM text squeezed into one line of an environment file has its line ends written as backslash and n.
    let blocks = pem::parse_many(text.replace("\\n", "\n")).map_err(|_| KeyError::MalformedPem)?;
    let mut keys = blocks.into_iter().filter(|block| block.tag() != "EC PARAMETERS");
    match (keys.next(), keys.next()) {
        (Some(key), None) if key.headers().iter().any(|(name, _)| name == "DEK-Info") => Err(KeyError::Encrypted),
        (Some(key), None) => Ok(key),
        (None, _) => Err(KeyError::NoKeyInPem),
        (Some(_), Some(_)) => Err(KeyError::SeveralKeys),
    }
}

/// An AlgorithmIdentifier (RFC 5280 §4.1.1.2) that is the only or the first thing in a key.
fn key_kind(mut identifier: Der<'_>) -> Result<KeyKind, KeyError> {
    let algorithm = identifier.read(der::OBJECT_IDENTIFIER).ok_or(KeyError::MalformedPem)?;
    match algorithm {
        OID_RSA => Ok(KeyKind::Rsa),
        OID_ED25519 => Ok(KeyKind::Ed25519),
        OID_EC => curve(identifier.read(der::OBJECT_IDENTIFIER)),
        _ => Err(KeyError::UnsupportedKind),
    }
}

fn curve(identifier: Option<&[u8]>) -> Result<KeyKind, KeyError> {
    match identifier {
        Some(OID_P256) => Ok(KeyKind::P256),
        Some(OID_P384) => Ok(KeyKind::P384),
        _ => Err(KeyError::UnsupportedKind),
    }
}

/// SubjectPublicKeyInfo, RFC 5280 §4.1.
fn subject_public_key_info(mut bytes: Der<'_>) -> Result<Material, KeyError> {
    let mut info = bytes.sequence().ok_or(KeyError::MalformedPem)?;
    let kind = key_kind(info.sequence().ok_or(KeyError::MalformedPem)?)?;
    let key = info.bit_string().ok_or(KeyError::MalformedPem)?;
    let whole = match kind {
        KeyKind::P256 => key.len() == 65 && key[0] == 4,
        KeyKind::P384 => key.len() == 97 && key[0] == 4,
        KeyKind::Ed25519 => key.len() == 32,
        KeyKind::Rsa | KeyKind::Secret => true,
    };
    if !whole || !info.is_empty() || !bytes.is_empty() {
        return Err(KeyError::MalformedPem);
    }
    Ok(Material { kind, bytes: key.to_vec() })
}

/// The SubjectPublicKeyInfo of a certificate, RFC 5280 §4.1: the sixth field after the optional version.
fn certified_key(mut bytes: Der<'_>) -> Option<Der<'_>> {
    let mut certificate = bytes.sequence()?.sequence()?;
    if certificate.peek(der::CONTEXT_0) {
        certificate.read(der::CONTEXT_0)?;
    }
    certificate.read(der::INTEGER)?; // serial number
    for _signature_issuer_validity_subject in 0..4 {
        certificate.sequence()?;
    }
    Some(Der::new(certificate.whole(der::SEQUENCE)?))
}

/// PrivateKeyInfo, RFC 5958 §2. RSA keys come out of their wrapping, the others stay in it.
fn private_key_info(pkcs8: &[u8]) -> Result<Material, KeyError> {
    let malformed = KeyError::MalformedPem;
    let mut info = Der::new(pkcs8).sequence().ok_or(malformed.clone())?;
    info.read(der::INTEGER).ok_or(malformed.clone())?;
    let kind = key_kind(info.sequence().ok_or(malformed.clone())?)?;
    let key = info.read(der::OCTET_STRING).ok_or(malformed)?;
    let bytes = if kind == KeyKind::Rsa { key } else { pkcs8 };
    Ok(Material { kind, bytes: bytes.to_vec() })
}

/// ECPrivateKey (RFC 5915 §3) put into the wrapping that `ring` reads.
fn sec1_as_pkcs8(sec1: &[u8]) -> Result<Material, KeyError> {
    let malformed = KeyError::MalformedPem;
    let mut key = Der::new(sec1).sequence().ok_or(malformed.clone())?;
    key.read(der::INTEGER).ok_or(malformed.clone())?;
    key.read(der::OCTET_STRING).ok_or(malformed.clone())?;
    let oid = Der::new(key.read(der::CONTEXT_0).ok_or(malformed)?).read(der::OBJECT_IDENTIFIER);
    let kind = curve(oid)?;
    let identifier = der::write(
        der::SEQUENCE,
        &[
            &der::write(der::OBJECT_IDENTIFIER, &[OID_EC]),
            &der::write(der::OBJECT_IDENTIFIER, &[oid.unwrap_or_default()]),
        ],
    );
    let version = der::write(der::INTEGER, &[&[0]]);
    let key = der::write(der::OCTET_STRING, &[sec1]);
    Ok(Material { kind, bytes: der::write(der::SEQUENCE, &[&version, &identifier, &key]) })
}

/// An RSA key from its modulus and its public exponent, as RSAPublicKey (RFC 8017 appendix A.1.1). Sets in the wild write a
/// leading zero byte.
pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Material> {
    let positive = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        [&[0; 1][..usize::from(bytes.get(zeros).is_some_and(|&byte| byte >= 0x80))], &bytes[zeros..]].concat()
    };
    // ring takes exponents of up to 33 bits, odd and more than 1.
    let (modulus, exponent) = (positive(modulus), positive(exponent));
    let sound = matches!(exponent[..], [.., last] if exponent.len() <= 5 && last % 2 == 1 && exponent != [1]);
    if !sound || modulus.len() > RSA_PUBLIC_BITS.end() / 8 + 1 {
        return None;
    }
    let bytes =
        der::write(der::SEQUENCE, &[&der::write(der::INTEGER, &[&modulus]), &der::write(der::INTEGER, &[&exponent])]);
    check_rsa_bits(Der::new(&bytes).sequence(), RSA_PUBLIC_BITS).ok()?;
    Some(Material { kind: KeyKind::Rsa, bytes })
}

/// `fields` stand before the modulus of an RSA key (RFC 8017 appendix A.1).
fn check_rsa_bits(fields: Option<Der<'_>>, accepted: std::ops::RangeInclusive<usize>) -> Result<(), KeyError> {
    let modulus = fields.and_then(|mut fields| fields.read(der::INTEGER)).ok_or(KeyError::MalformedPem)?;
    let bits = modulus
        .iter()
        .position(|&byte| byte != 0)
        .map_or(0, |zeros| (modulus.len() - zeros) * 8 - modulus[zeros].leading_zeros() as usize);
    if accepted.contains(&bits) {
        Ok(())
    } else {
        Err(KeyError::RsaBits { bits, bits_min: *accepted.start(), bits_max: *accepted.end() })
    }
}
