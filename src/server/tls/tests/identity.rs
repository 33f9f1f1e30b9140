//! A certificate and its key, made for a test.

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::protocol::keys::der::{BIT_STRING, CONTEXT_0, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, write};

const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// See the module.
pub(crate) struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Identity {
    /// For these names, until so many days after 1970, signed by itself.
    #[allow(clippy::disallowed_methods, reason = "tests live in the real world")]
    pub(crate) fn new(names: &[&str], days: u64) -> Identity {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).unwrap();
        let algorithm = write(SEQUENCE, &[&write(OBJECT_IDENTIFIER, &[ECDSA_WITH_SHA256])]);
        let common_name = write(SEQUENCE, &[&write(OBJECT_IDENTIFIER, &[COMMON_NAME]), &write(12, &[b"test"])]);
        let name = write(SEQUENCE, &[&write(0x31, &[&common_name])]);
        let until = format!("{}000000Z", date(days));
        let validity = write(SEQUENCE, &[&write(0x17, &[b"200101000000Z"]), &write(0x18, &[until.as_bytes()])]);
        let kind = write(SEQUENCE, &[&write(OBJECT_IDENTIFIER, &[EC_PUBLIC_KEY]), &write(OBJECT_IDENTIFIER, &[P256])]);
        let public = write(SEQUENCE, &[&kind, &write(BIT_STRING, &[&[0], pair.public_key().as_ref()])]);
        let names: Vec<Vec<u8>> = names.iter().map(|name| write(0x82, &[name.as_bytes()])).collect();
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let names = write(OCTET_STRING, &[&write(SEQUENCE, &names)]);
        let extension = write(SEQUENCE, &[&write(OBJECT_IDENTIFIER, &[SUBJECT_ALT_NAME]), &names]);
        let extensions = write(0xa3, &[&write(SEQUENCE, &[&extension])]);
        let version = write(CONTEXT_0, &[&write(INTEGER, &[&[2]])]);
        let serial = write(INTEGER, &[&[7]]);
        let parts: [&[u8]; 8] = [&version, &serial, &algorithm, &name, &validity, &name, &public, &extensions];
        let signed = write(SEQUENCE, &parts);
        let signature = pair.sign(&random, &signed).unwrap();
        let signature = write(BIT_STRING, &[&[0], signature.as_ref()]);
        Identity { certificate: write(SEQUENCE, &[&signed, &algorithm, &signature]), key: key.as_ref().to_vec() }
    }

    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.certificate.clone()
    }

    pub(crate) fn certified(&self) -> CertifiedKey {
        let chain = vec![CertificateDer::from(self.certificate())];
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        CertifiedKey::from_der(chain, key, &default_provider()).unwrap()
    }

    /// Both as PEM.
    pub(crate) fn pem(&self) -> [String; 2] {
        let pem = |tag: &str, bytes: &[u8]| pem::encode(&pem::Pem::new(tag, bytes));
        [pem("CERTIFICATE", &self.certificate), pem("PRIVATE KEY", &self.key)]
    }
}

/// `YYYYMMDD` of days after 1970, by counting.
fn date(days: u64) -> String {
    let leap = |year: u64| u64::from(year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + leap(year) {
        left -= 365 + leap(year);
        year += 1;
    }
    let months = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= months[month] {
        left -= months[month];
        month += 1;
    }
    format!("{year:04}{:02}{:02}", month + 1, left + 1)
}
