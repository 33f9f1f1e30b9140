use super::*;
use Algorithm::*;

pub(crate) const RSA: &str = include_str!("testdata/rsa-pkcs8.pem");
pub(crate) const RSA_PUBLIC: &str = include_str!("testdata/rsa-public.pem");
pub(crate) const P256: &str = include_str!("testdata/p256-pkcs8.pem");
pub(crate) const P256_PUBLIC: &str = include_str!("testdata/p256-public.pem");
const P384: &str = include_str!("testdata/p384-pkcs8.pem");
const P384_PUBLIC: &str = include_str!("testdata/p384-public.pem");
const ED25519: &str = include_str!("testdata/ed25519-pkcs8.pem");
const ED25519_PUBLIC: &str = include_str!("testdata/ed25519-public.pem");
const SECRET_64: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn refusal(text: &str, algorithms: &[Algorithm]) -> KeyError {
    VerificationKey::from_text(text, algorithms).expect_err("must be refused")
}

#[test]
fn every_algorithm_signs_what_its_key_verifies() {
    for (private, public, algorithms) in [
        (SECRET_64, SECRET_64, &[HS256, HS384, HS512][..]),
        (RSA, RSA_PUBLIC, &[RS256, RS384, RS512, PS256, PS384, PS512]),
        (P256, P256_PUBLIC, &[ES256]),
        (P384, P384_PUBLIC, &[ES384]),
        (ED25519, ED25519_PUBLIC, &[EdDSA]),
    ] {
        for &algorithm in algorithms {
            let signature = SigningKey::from_text(private, Some(algorithm)).unwrap().sign(b"message").unwrap();
            let key = VerificationKey::from_text(public, &[algorithm]).unwrap();
            assert!(key.verifies(algorithm, b"message", &signature), "{algorithm:?}");
            assert!(!key.verifies(algorithm, b"massage", &signature), "{algorithm:?}");
            assert!(!key.verifies(algorithm, b"message", ""), "{algorithm:?}");
        }
    }
}

#[test]
fn an_algorithm_outside_the_keys_list_never_verifies() {
    let signature = SigningKey::from_text(RSA, Some(RS384)).unwrap().sign(b"message").unwrap();
    let key = VerificationKey::from_text(RSA_PUBLIC, &[RS256, PS256]).unwrap();
    assert!(!key.verifies(RS384, b"message", &signature));
}

#[test]
fn without_an_algorithm_the_kind_of_key_decides() {
    for (text, kind, algorithm) in [
        ("!ChangeThisMercureHubJWTSecretKey!", KeyKind::Secret, HS256),
        (RSA_PUBLIC, KeyKind::Rsa, RS256),
        (P256_PUBLIC, KeyKind::P256, ES256),
        (P384_PUBLIC, KeyKind::P384, ES384),
        (ED25519_PUBLIC, KeyKind::Ed25519, EdDSA),
    ] {
        let key = VerificationKey::from_text(text, &[]).unwrap();
        assert_eq!((key.kind(), key.algorithms()), (kind, &[algorithm][..]));
    }
    for (text, algorithm) in [(SECRET_64, HS256), (RSA, RS256), (P256, ES256), (P384, ES384), (ED25519, EdDSA)] {
        assert_eq!(SigningKey::from_text(text, None).unwrap().algorithm(), algorithm);
    }
}

#[test]
fn every_usual_wrapping_of_a_key_is_read() {
    let rsa = SigningKey::from_text(include_str!("testdata/rsa-pkcs1.pem"), None).unwrap();
    let signature = rsa.sign(b"message").unwrap();
    let one_line = RSA_PUBLIC.replace('\n', "\\n");
    for public in [
        RSA_PUBLIC,
        include_str!("testdata/rsa-public-pkcs1.pem"),
        include_str!("testdata/rsa-certificate.pem"),
        &RSA_PUBLIC.replace('\n', "\r\n"),
        &one_line,
    ] {
        assert!(VerificationKey::from_text(public, &[]).unwrap().verifies(RS256, b"message", &signature));
    }
    let ec = SigningKey::from_text(include_str!("testdata/p256-sec1.pem"), None).unwrap();
    let signature = ec.sign(b"message").unwrap();
    for public in [P256_PUBLIC, include_str!("testdata/p256-certificate.pem")] {
        assert!(VerificationKey::from_text(public, &[]).unwrap().verifies(ES256, b"message", &signature));
    }
}

#[test]
fn pem_is_never_a_secret() {
    for pem in [RSA_PUBLIC, P256_PUBLIC, ED25519_PUBLIC, RSA, "-----BEGIN", "x\n-----BEGIN RUBBISH-----"] {
        for algorithm in [HS256, HS384, HS512] {
            assert_eq!(refusal(pem, &[algorithm]), KeyError::PemAsSecret(algorithm));
            assert_eq!(SigningKey::from_text(pem, Some(algorithm)).unwrap_err(), KeyError::PemAsSecret(algorithm));
        }
        assert_eq!(refusal(pem, &[RS256, HS256]), KeyError::PemAsSecret(HS256));
    }
}

#[test]
fn a_json_web_key_is_never_a_secret() {
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x"}"#;
    assert_eq!(refusal(jwk, &[]), KeyError::JwkAsSecret);
}

#[test]
fn a_secret_is_never_a_public_key() {
    assert_eq!(refusal(SECRET_64, &[RS256]), KeyError::SecretAsPem(RS256));
    assert_eq!(refusal(SECRET_64, &[HS256, EdDSA]), KeyError::SecretAsPem(EdDSA));
}

#[test]
fn a_secret_is_as_long_as_its_hash() {
    for (algorithm, bytes_min) in [(HS256, 32), (HS384, 48), (HS512, 64)] {
        let bytes = bytes_min - 1;
        assert_eq!(
            refusal(&SECRET_64[..bytes], &[algorithm]),
            KeyError::SecretTooShort { algorithm, bytes, bytes_min }
        );
        VerificationKey::from_text(&SECRET_64[..bytes_min], &[algorithm]).unwrap();
    }
    assert_eq!(refusal("", &[]), KeyError::SecretTooShort { algorithm: HS256, bytes: 0, bytes_min: 32 });
    // One that is long enough for the first algorithm only.
    assert!(matches!(refusal(&SECRET_64[..40], &[HS256, HS512]), KeyError::SecretTooShort { algorithm: HS512, .. }));
}

#[test]
fn the_kind_of_key_fits_the_algorithm() {
    for (pem, kind, algorithm) in [
        (RSA_PUBLIC, KeyKind::Rsa, ES256),
        (P256_PUBLIC, KeyKind::P256, ES384),
        (P384_PUBLIC, KeyKind::P384, ES256),
        (P256_PUBLIC, KeyKind::P256, RS256),
        (ED25519_PUBLIC, KeyKind::Ed25519, PS256),
    ] {
        assert_eq!(refusal(pem, &[algorithm]), KeyError::Unfit { kind, algorithm });
    }
}

#[test]
fn weak_and_unknown_keys_are_refused() {
    assert_eq!(
        refusal(include_str!("testdata/rsa-1024-public.pem"), &[]),
        KeyError::RsaBits { bits: 1024, bits_min: 2048, bits_max: 8192 }
    );
    // Its points are as long as those of P-256.
    assert_eq!(refusal(include_str!("testdata/secp256k1-public.pem"), &[]), KeyError::UnsupportedKind);
}

#[test]
fn the_wrong_half_of_a_pair_is_named() {
    for private in [RSA, P256, ED25519, include_str!("testdata/p256-sec1.pem"), include_str!("testdata/rsa-pkcs1.pem")]
    {
        assert_eq!(refusal(private, &[]), KeyError::PrivateKey);
    }
    assert_eq!(SigningKey::from_text(P256_PUBLIC, None).unwrap_err(), KeyError::PublicKey);
    let encrypted = include_str!("testdata/p256-encrypted.pem");
    assert_eq!(SigningKey::from_text(encrypted, None).unwrap_err(), KeyError::Encrypted);
}

#[test]
fn damaged_pem_is_refused() {
    assert_eq!(refusal("-----BEGIN PUBLIC KEY-----\nMIIB\n", &[]), KeyError::NoKeyInPem);
    assert_eq!(refusal("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", &[]), KeyError::MalformedPem);
    assert_eq!(refusal(&format!("{P256_PUBLIC}\n{RSA_PUBLIC}"), &[]), KeyError::SeveralKeys);
    let no_key = "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----";
    assert_eq!(refusal(no_key, &[]), KeyError::NoKeyInPem);
}

#[test]
fn no_key_shows_itself() {
    let verification = format!("{:?}", VerificationKey::from_text(SECRET_64, &[]).unwrap());
    let signing = format!("{:?}", SigningKey::from_text(SECRET_64, None).unwrap());
    for text in [verification, signing] {
        assert!(!text.contains("0123") && !text.contains("48, 49"), "{text}");
    }
}
