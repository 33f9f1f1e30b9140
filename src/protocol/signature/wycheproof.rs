//! Project Wycheproof's vectors for every accepted algorithm: forged, malleable and malformed signatures as well as good ones.

use jsonwebtoken::{Algorithm, DecodingKey};
use wycheproof::{TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify, rsa_pss_verify};

use super::verifier;
use crate::protocol::keys::VerificationKey;

/// Counts the vectors, so that a set that came out empty fails its test.
#[derive(Default)]
struct Tally {
    good: usize,
    bad: usize,
}

impl Tally {
    fn check(
        &mut self,
        key: &DecodingKey,
        algorithm: Algorithm,
        case: (usize, &str, TestResult),
        msg: &[u8],
        sig: &[u8],
    ) {
        let (id, comment, expected) = case;
        let accepted = verifier(&algorithm, key).is_ok_and(|verifier| verifier.verify(msg, &sig.to_vec()).is_ok());
        match expected {
            TestResult::Valid => {
                self.good += 1;
                assert!(accepted, "{algorithm:?} vector {id} ({comment}) must pass");
            }
            TestResult::Invalid => {
                self.bad += 1;
                assert!(!accepted, "{algorithm:?} vector {id} ({comment}) must fail");
            }
            TestResult::Acceptable => {}
        }
    }

    fn assert_some(&self) {
        assert!(self.good > 20 && self.bad > 20, "{} good, {} bad", self.good, self.bad);
    }
}

#[test]
fn ecdsa_fixed_size_signatures() {
    for (set, algorithm) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, Algorithm::ES256),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, Algorithm::ES384),
    ] {
        let mut tally = Tally::default();
        for group in ecdsa::TestSet::load(set).unwrap().test_groups {
            let key = DecodingKey::from_ec_der(&group.key.key);
            VerificationKey::from_text(&group.pem, &[algorithm]).unwrap();
            for t in &group.tests {
                tally.check(&key, algorithm, (t.tc_id, &t.comment, t.result), &t.msg, &t.sig);
            }
        }
        tally.assert_some();
    }
}

#[test]
fn ed25519() {
    let mut tally = Tally::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = DecodingKey::from_ed_der(&group.key.pk);
        VerificationKey::from_text(&group.pem, &[Algorithm::EdDSA]).unwrap();
        for t in &group.tests {
            tally.check(&key, Algorithm::EdDSA, (t.tc_id, &t.comment, t.result), &t.msg, &t.sig);
        }
    }
    tally.assert_some();
}

#[test]
fn rsa_pkcs1() {
    use rsa_pkcs1_verify::TestName::*;
    for (algorithm, sets) in [
        (Algorithm::RS256, vec![Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256]),
        (Algorithm::RS384, vec![Rsa2048Sha384, Rsa3072Sha384]),
        (Algorithm::RS512, vec![Rsa2048Sha512, Rsa3072Sha512, Rsa4096Sha512]),
    ] {
        let mut tally = Tally::default();
        for group in sets.into_iter().flat_map(|set| rsa_pkcs1_verify::TestSet::load(set).unwrap().test_groups) {
            let key = DecodingKey::from_rsa_der(&group.asn_key);
            VerificationKey::from_text(&group.pem, &[algorithm]).unwrap();
            for t in &group.tests {
                tally.check(&key, algorithm, (t.tc_id, &t.comment, t.result), &t.msg, &t.sig);
            }
        }
        assert!(tally.good > 5 && tally.bad > 20, "{} good, {} bad", tally.good, tally.bad);
    }
}

#[test]
fn rsa_pss_with_a_salt_as_long_as_the_hash() {
    use rsa_pss_verify::TestName::*;
    for (algorithm, sets) in [
        (Algorithm::PS256, vec![RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32]),
        (Algorithm::PS384, vec![RsaPss2048Sha384Mgf1SaltLen48, RsaPss4096Sha384Mgf1SaltLen48]),
        (Algorithm::PS512, vec![RsaPss4096Sha512Mgf1SaltLen64]),
    ] {
        let mut tally = Tally::default();
        for group in sets.into_iter().flat_map(|set| rsa_pss_verify::TestSet::load(set).unwrap().test_groups) {
            let key = DecodingKey::from_rsa_der(&group.asn_key);
            for t in &group.tests {
                tally.check(&key, algorithm, (t.tc_id, &t.comment, t.result), &t.msg, &t.sig);
            }
        }
        tally.assert_some();
    }
}

#[test]
fn hmac_with_whole_tags() {
    for (set, algorithm, tag_bits) in [
        (mac::TestName::HmacSha256, Algorithm::HS256, 256),
        (mac::TestName::HmacSha384, Algorithm::HS384, 384),
        (mac::TestName::HmacSha512, Algorithm::HS512, 512),
    ] {
        let mut tally = Tally::default();
        for group in mac::TestSet::load(set).unwrap().test_groups {
            for t in &group.tests {
                let key = DecodingKey::from_secret(&t.key);
                // RFC 7518 §3.2 has no truncated tags: a good one that was cut short is bad here.
                let expected = if group.tag_size == tag_bits { t.result } else { TestResult::Invalid };
                tally.check(&key, algorithm, (t.tc_id, &t.comment, expected), &t.msg, &t.tag);
            }
        }
        tally.assert_some();
    }
}
