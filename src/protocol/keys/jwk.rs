//! JSON Web Key Sets (RFC 7517): an issuer's public keys, as it publishes them.
//!
//! A set holds what its owner likes: keys for encryption, of kinds nobody here reads, for algorithms that aren't allowed.
//! Those are left out, each with a reason for the log. A symmetric key (`oct`) is never taken, nor is one that shows its
//! private half: who can read the set could sign with it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::material::{self, KeyKind, Material};
use super::{VerificationKey, accepted, names};

/// Bytes of a key set's text.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;
/// Keys in a set. Issuers have a handful: the ones in use, the next ones, and those of tokens not yet expired.
pub const KEY_SET_KEYS_MAX: usize = 64;
/// Bytes of a `kid`.
const KEY_ID_BYTES_MAX: usize = 512;
/// Members that only a private or symmetric key has (RFC 7518 §6.2.2, §6.3.2, §6.4.1; RFC 8037 §2).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// What the keys of a set may be used with unless the configuration says otherwise: all we verify with a public key.
pub const KEY_SET_ALGORITHMS: [Algorithm; 9] = [
    Algorithm::EdDSA,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Why a text is no key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Longer than [`KEY_SET_BYTES_MAX`].
    #[error("it has more than {KEY_SET_BYTES_MAX} bytes")]
    TooLarge,
    /// Not JSON.
    #[error("it isn't JSON ({0})")]
    NotJson(String),
    /// No array of keys.
    #[error("it isn't a JSON Web Key Set: an object with an array `keys` is expected")]
    NotASet,
    /// More than [`KEY_SET_KEYS_MAX`].
    #[error("it has {keys} keys and at most {KEY_SET_KEYS_MAX} are accepted")]
    TooManyKeys {
        /// How many.
        keys: usize,
    },
}

/// Why a key of a set isn't used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Something else than an object.
    #[error("it isn't a JSON object")]
    NotAnObject,
    /// A member is missing, or isn't what it must be.
    #[error("its member {0} is missing or malformed")]
    Member(&'static str),
    /// A symmetric key.
    #[error("it is a shared secret (kty oct), which doesn't belong into a set that others can read")]
    Symmetric,
    /// A private key.
    #[error("it shows its private half (member {0}): whoever reads the set can sign with it, so replace the key")]
    Private(&'static str),
    /// Another kind of key or curve.
    #[error("it is neither RSA, nor on P-256, P-384 or Ed25519")]
    Kind,
    /// An RSA key of a size that isn't used.
    #[error("its modulus or exponent is of a size that isn't accepted (2048 to 8192 bits)")]
    RsaSize,
    /// Not for signatures.
    #[error("it isn't for checking signatures (use or key_ops)")]
    Use,
    /// Its `alg`, its kind and the configured algorithms have nothing in common.
    #[error("it can't be used with any of the algorithms that are allowed ({})", names(.0))]
    Algorithm(Vec<Algorithm>),
}

/// What a set comes to.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    /// The keys that can be used.
    pub keys: Vec<VerificationKey>,
    /// What was left out: its `kid` or its place in the set, and why.
    pub left_out: Vec<(String, JwkError)>,
}

impl KeySet {
    /// The keys in a set's text that may be used with these algorithms. Each key gets those of them that it fits.
    pub fn parse(text: &[u8], allowed: &[Algorithm]) -> Result<KeySet, KeySetError> {
        if text.len() > KEY_SET_BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let json: Value = serde_json::from_slice(text).map_err(|why| KeySetError::NotJson(why.to_string()))?;
        let jwks = json.get("keys").and_then(Value::as_array).ok_or(KeySetError::NotASet)?;
        if jwks.len() > KEY_SET_KEYS_MAX {
            return Err(KeySetError::TooManyKeys { keys: jwks.len() });
        }
        let mut set = KeySet::default();
        for (place, jwk) in jwks.iter().enumerate() {
            match key(jwk, allowed) {
                Ok(key) => set.keys.push(key),
                Err(why) => {
                    let id = jwk.get("kid").and_then(Value::as_str).map(|id| id.chars().take(60).collect());
                    set.left_out.push((id.unwrap_or_else(|| format!("number {}", place + 1)), why));
                }
            }
        }
        Ok(set)
    }
}

fn key(jwk: &Value, allowed: &[Algorithm]) -> Result<VerificationKey, JwkError> {
    let jwk = jwk.as_object().ok_or(JwkError::NotAnObject)?;
    if text(jwk, "kty")? == "oct" {
        return Err(JwkError::Symmetric);
    }
    if let Some(member) = PRIVATE_MEMBERS.into_iter().find(|member| jwk.contains_key(*member)) {
        return Err(JwkError::Private(member));
    }
    check_use(jwk)?;
    let material = material(jwk)?;
    let named = jwk.get("alg").map(|_| text(jwk, "alg")).transpose()?;
    let algorithms: Vec<_> = accepted(material.kind)
        .iter()
        .copied()
        .filter(|algorithm| allowed.contains(algorithm))
        .filter(|algorithm| named.is_none_or(|named| format!("{algorithm:?}") == named))
        .collect();
    if algorithms.is_empty() {
        return Err(JwkError::Algorithm(allowed.to_vec()));
    }
    let id = jwk.get("kid").map(|_| text(jwk, "kid")).transpose()?;
    if id.is_some_and(|id| id.len() > KEY_ID_BYTES_MAX) {
        return Err(JwkError::Member("kid"));
    }
    Ok(VerificationKey::new(&material, algorithms.into(), id.map(Box::from)))
}

fn text<'a>(jwk: &'a Map<String, Value>, member: &'static str) -> Result<&'a str, JwkError> {
    jwk.get(member).and_then(Value::as_str).ok_or(JwkError::Member(member))
}

/// RFC 7517 §4.2 and §4.3: where they are there, both must allow to verify.
fn check_use(jwk: &Map<String, Value>) -> Result<(), JwkError> {
    if jwk.contains_key("use") && text(jwk, "use")? != "sig" {
        return Err(JwkError::Use);
    }
    match jwk.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => Ok(()),
        Some(Value::Array(_)) => Err(JwkError::Use),
        Some(_) => Err(JwkError::Member("key_ops")),
    }
}

fn material(jwk: &Map<String, Value>) -> Result<Material, JwkError> {
    let bytes = |member| URL_SAFE_NO_PAD.decode(text(jwk, member)?).map_err(|_| JwkError::Member(member));
    let exactly = |member, length| match bytes(member) {
        Ok(bytes) if bytes.len() == length => Ok(bytes),
        _ => Err(JwkError::Member(member)),
    };
    let point = |kind, length| {
        let (x, y) = (exactly("x", length)?, exactly("y", length)?);
        Ok(Material { kind, bytes: [&[4][..], &x, &y].concat() })
    };
    match text(jwk, "kty")? {
        "RSA" => material::rsa(&bytes("n")?, &bytes("e")?).ok_or(JwkError::RsaSize),
        "EC" => match text(jwk, "crv")? {
            "P-256" => point(KeyKind::P256, 32),
            "P-384" => point(KeyKind::P384, 48),
            _ => Err(JwkError::Kind),
        },
        "OKP" => match text(jwk, "crv")? {
            "Ed25519" => Ok(Material { kind: KeyKind::Ed25519, bytes: exactly("x", 32)? }),
            _ => Err(JwkError::Kind),
        },
        _ => Err(JwkError::Kind),
    }
}

#[cfg(test)]
pub(in crate::protocol) mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::protocol::keys::tests::{P256_PUBLIC, RSA, RSA_PUBLIC};
    use crate::protocol::keys::{KeyError, SigningKey};

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn ed25519() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": X, "kid": "a"})
    }

    fn with(mut jwk: Value, name: &str, value: Value) -> Value {
        jwk[name] = value;
        jwk
    }

    fn parse(jwks: Value) -> KeySet {
        KeySet::parse(json!({ "keys": jwks }).to_string().as_bytes(), &KEY_SET_ALGORITHMS).unwrap()
    }

    fn refused(jwk: Value) -> JwkError {
        let set = parse(json!([jwk]));
        assert!(set.keys.is_empty());
        set.left_out[0].1.clone()
    }

    /// The JWK of an RSA or P-256 key in PEM, made from the bytes of the key.
    pub(crate) fn jwk_of(pem: &str) -> Value {
        let material = material::public(pem).unwrap();
        let text = |bytes: &[u8]| Value::from(URL_SAFE_NO_PAD.encode(bytes));
        match material.kind {
            KeyKind::Rsa => {
                let mut fields = super::super::der::Der::new(&material.bytes).sequence().unwrap();
                let (n, e) = (fields.read(2).unwrap(), fields.read(2).unwrap());
                json!({"kty": "RSA", "n": text(n), "e": text(e)})
            }
            KeyKind::P256 => {
                json!({"kty": "EC", "crv": "P-256", "x": text(&material.bytes[1..33]), "y": text(&material.bytes[33..])})
            }
            kind => panic!("{kind} isn't needed"),
        }
    }

    #[test]
    fn a_key_out_of_a_set_is_the_same_as_out_of_pem() {
        let set = parse(json!([jwk_of(RSA_PUBLIC), jwk_of(P256_PUBLIC)]));
        let pem = |text| VerificationKey::from_text(text, &[]).unwrap();
        for (key, algorithm, pem) in
            [(&set.keys[0], Algorithm::RS256, pem(RSA_PUBLIC)), (&set.keys[1], Algorithm::ES256, pem(P256_PUBLIC))]
        {
            assert!(key.algorithms().contains(&algorithm));
            assert_eq!(key.digest(), pem.digest());
        }
        let signer = SigningKey::from_text(RSA, Some(Algorithm::PS384)).unwrap();
        assert!(set.keys[0].verifies(Algorithm::PS384, b"m", &signer.sign(b"m").unwrap()));
    }

    #[test]
    fn the_key_decides_which_algorithms_it_fits() {
        assert_eq!(parse(json!([ed25519()])).keys[0].algorithms(), [Algorithm::EdDSA]);
        assert_eq!(parse(json!([jwk_of(RSA_PUBLIC)])).keys[0].algorithms().len(), 6);
        let named = parse(json!([with(jwk_of(RSA_PUBLIC), "alg", json!("PS256"))]));
        assert_eq!(named.keys[0].algorithms(), [Algorithm::PS256]);
        assert_eq!(named.keys[0].id(), None);
        let text = json!({"keys": [jwk_of(RSA_PUBLIC), ed25519()]}).to_string();
        let set = KeySet::parse(text.as_bytes(), &[Algorithm::RS512]).unwrap();
        assert_eq!(set.keys[0].algorithms(), [Algorithm::RS512]);
        assert_eq!(set.left_out, [("a".to_owned(), JwkError::Algorithm(vec![Algorithm::RS512]))]);
    }

    #[test]
    fn a_set_never_gives_a_secret() {
        let oct = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 64]), "alg": "HS256", "use": "sig"});
        assert_eq!(refused(oct.clone()), JwkError::Symmetric);
        // Not even where the configuration would allow it.
        let text = json!({"keys": [oct, with(ed25519(), "alg", json!("HS256"))]}).to_string();
        assert!(KeySet::parse(text.as_bytes(), &[Algorithm::HS256, Algorithm::EdDSA]).unwrap().keys.is_empty());
    }

    #[test]
    fn private_keys_and_keys_for_other_uses_are_left_out() {
        assert_eq!(refused(with(ed25519(), "d", json!(X))), JwkError::Private("d"));
        assert_eq!(refused(with(jwk_of(RSA_PUBLIC), "p", json!("AQAB"))), JwkError::Private("p"));
        assert_eq!(refused(with(ed25519(), "use", json!("enc"))), JwkError::Use);
        assert_eq!(refused(with(ed25519(), "key_ops", json!(["sign"]))), JwkError::Use);
        assert_eq!(refused(with(ed25519(), "key_ops", json!("verify"))), JwkError::Member("key_ops"));
        assert_eq!(parse(json!([with(ed25519(), "key_ops", json!(["verify"]))])).keys.len(), 1);
        assert_eq!(parse(json!([with(ed25519(), "use", json!("sig"))])).keys.len(), 1);
    }

    #[test]
    fn what_does_not_hold_together_is_left_out() {
        for (jwk, why) in [
            (json!("key"), JwkError::NotAnObject),
            (json!({}), JwkError::Member("kty")),
            (json!({"kty": "XYZ"}), JwkError::Kind),
            (with(ed25519(), "crv", json!("X25519")), JwkError::Kind),
            (with(jwk_of(P256_PUBLIC), "crv", json!("P-521")), JwkError::Kind),
            (with(jwk_of(P256_PUBLIC), "crv", json!("P-384")), JwkError::Member("x")),
            (with(jwk_of(P256_PUBLIC), "kty", json!("OKP")), JwkError::Kind),
            (with(ed25519(), "x", json!("AAAA")), JwkError::Member("x")),
            (with(ed25519(), "x", json!("+/==")), JwkError::Member("x")),
            (with(ed25519(), "kid", json!(7)), JwkError::Member("kid")),
            (with(ed25519(), "kid", json!("k".repeat(KEY_ID_BYTES_MAX + 1))), JwkError::Member("kid")),
            (with(ed25519(), "alg", json!("ES256")), JwkError::Algorithm(KEY_SET_ALGORITHMS.to_vec())),
            (with(ed25519(), "alg", json!("none")), JwkError::Algorithm(KEY_SET_ALGORITHMS.to_vec())),
            (with(jwk_of(RSA_PUBLIC), "n", json!(URL_SAFE_NO_PAD.encode([0xff; 128]))), JwkError::RsaSize),
            (with(jwk_of(RSA_PUBLIC), "n", json!(URL_SAFE_NO_PAD.encode([0xff; 4000]))), JwkError::RsaSize),
            (with(jwk_of(RSA_PUBLIC), "e", json!("")), JwkError::RsaSize),
            (with(jwk_of(RSA_PUBLIC), "e", json!("Ag")), JwkError::RsaSize),
        ] {
            assert_eq!(refused(jwk.clone()), why, "{jwk}");
        }
    }

    #[test]
    fn a_text_that_is_no_set_is_refused_whole() {
        let error = |text: &str| KeySet::parse(text.as_bytes(), &KEY_SET_ALGORITHMS).unwrap_err();
        assert!(matches!(error("<html>"), KeySetError::NotJson(_)));
        assert_eq!(error("[]"), KeySetError::NotASet);
        assert_eq!(error(r#"{"keys": {}}"#), KeySetError::NotASet);
        assert_eq!(error(&" ".repeat(KEY_SET_BYTES_MAX + 1)), KeySetError::TooLarge);
        let many = json!({"keys": vec![ed25519(); KEY_SET_KEYS_MAX + 1]}).to_string();
        assert_eq!(error(&many), KeySetError::TooManyKeys { keys: KEY_SET_KEYS_MAX + 1 });
        assert!(parse(json!([])).keys.is_empty(), "a set without keys is one: all of them were removed");
        assert_eq!(VerificationKey::from_text(&many, &[]).map(|_| ()), Err(KeyError::JwkAsSecret), "nor a secret");
    }

    proptest! {
        #[test]
        fn any_members_are_read_without_panic(
            kty in "RSA|EC|OKP|oct", crv in "P-256|P-384|Ed25519", n in "[A-Za-z0-9_-]{0,90}", e in "[A-Za-z0-9_-]{0,12}",
        ) {
            let jwk = json!({"kty": kty, "crv": crv, "n": n, "e": e, "x": n, "y": n});
            parse(json!([jwk]));
        }
    }
}
