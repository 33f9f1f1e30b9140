//! Which key accepted a token, without the key: for telling whose streams end when a key is withdrawn.

use jsonwebtoken::Algorithm;

use super::Role;
use crate::protocol::keys::VerificationKey;
use crate::protocol::signature::sha256;

/// A fingerprint over issuer, role, algorithm and key. The same key keeps it however often its set is fetched again, and in
/// whatever form it is configured; where one of the four is withdrawn, nothing has the fingerprint any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyIdentity(pub u64);

impl KeyIdentity {
    /// The fingerprint of a key in the use given.
    pub fn new(issuer: &str, role: Role, algorithm: Algorithm, key: &VerificationKey) -> KeyIdentity {
        let use_of_it = [role as u8, algorithm as u8];
        // What has a fixed length first: no two of them run into each other.
        let digest = sha256(&[&use_of_it[..], key.digest(), issuer.as_bytes()].concat());
        KeyIdentity(u64::from_be_bytes(*digest.first_chunk().expect("SHA-256 has 32 bytes")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuer_role_algorithm_and_key_make_the_identity() {
        let key = |text: &str| VerificationKey::from_text(text, &[]).unwrap();
        let (a, b) = (key("a secret of thirty-two bytes, or more"), key("b secret of thirty-two bytes, or more"));
        let of = |issuer, role, algorithm, key| KeyIdentity::new(issuer, role, algorithm, key);
        let first = of("i", Role::Publisher, Algorithm::HS256, &a);
        assert_eq!(first, of("i", Role::Publisher, Algorithm::HS256, &a));
        for other in [
            of("j", Role::Publisher, Algorithm::HS256, &a),
            of("i", Role::Subscriber, Algorithm::HS256, &a),
            of("i", Role::Publisher, Algorithm::HS384, &a),
            of("i", Role::Publisher, Algorithm::HS256, &b),
        ] {
            assert_ne!(first, other);
        }
    }
}
