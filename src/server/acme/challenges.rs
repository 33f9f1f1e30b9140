//! Open challenges: what the hub shows an authority that looks whether a name is the hub's own.
//!
//! Shards ask here, and only while somebody comes with what a challenge looks like: the lock is held for a look-up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

/// What a client speaks that only looks (RFC 8737 §6.2).
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// Where a file is looked for (RFC 8555 §8.3).
const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Challenges(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    /// Certificates by name, for who comes with [`ACME_TLS`].
    certificates: HashMap<String, Arc<CertifiedKey>>,
    /// Contents of files by token.
    answers: HashMap<String, String>,
}

/// A challenge that is answered as long as this is there.
#[derive(Debug)]
pub(super) struct Answered {
    all: Arc<Challenges>,
    what: What,
}

#[derive(Debug)]
enum What {
    Name(String),
    Token(String),
}

impl Challenges {
    /// The certificate that answers for a name.
    pub(crate) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.open().certificates.get(&name.to_ascii_lowercase()).cloned()
    }

    /// What is to be found at this path of any host; `None`: it is nothing that was asked for.
    pub(crate) fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(CHALLENGE_PATH)?;
        self.open().answers.get(token).cloned()
    }

    /// Answers handshakes for a name with the digest of a key authorization (RFC 8737 §3).
    ///
    /// # Errors
    /// When the library can't make a certificate for this name.
    pub(super) fn answer_handshakes(self: &Arc<Self>, name: &str, digest: &[u8]) -> Result<Answered, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let certificate = params.self_signed(&key)?.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // Not by `from_der`, which refuses the extension that it is all about.
        let key = any_ecdsa_type(&key).expect("a key that was just made can be used");
        let certified = Arc::new(CertifiedKey::new(vec![certificate], key));
        self.open().certificates.insert(name.to_owned(), certified);
        Ok(Answered { all: self.clone(), what: What::Name(name.to_owned()) })
    }

    /// Answers requests for a token's file.
    pub(super) fn answer_requests(self: &Arc<Self>, token: &str, key_authorization: &str) -> Answered {
        self.open().answers.insert(token.to_owned(), key_authorization.to_owned());
        Answered { all: self.clone(), what: What::Token(token.to_owned()) }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().expect("nobody panics while holding challenges")
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        let mut open = self.all.open();
        match &self.what {
            What::Name(name) => drop(open.certificates.remove(name)),
            What::Token(token) => drop(open.answers.remove(token)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_while_it_is_open_and_no_longer() {
        let all = Arc::new(Challenges::default());
        let file = all.answer_requests("t0ken", "t0ken.thumb");
        let handshake = all.answer_handshakes("hub.example", &[7; 32]).unwrap();
        assert_eq!(all.answer("/.well-known/acme-challenge/t0ken").as_deref(), Some("t0ken.thumb"));
        for other in ["/.well-known/acme-challenge/", "/.well-known/acme-challenge/t0ken/", "/t0ken", "t0ken"] {
            assert_eq!(all.answer(other), None, "{other}");
        }
        let shown = all.certificate("HUB.example").unwrap();
        // 1.3.6.1.5.5.7.1.31, critical, the digest as an OCTET STRING in an OCTET STRING.
        let mut extension = vec![6, 8, 43, 6, 1, 5, 5, 7, 1, 31, 1, 1, 255, 4, 34, 4, 32];
        extension.extend([7; 32]);
        assert!(shown.cert[0].windows(extension.len()).any(|window| window == extension));
        assert!(all.certificate("www.hub.example").is_none());
        drop((file, handshake));
        assert_eq!(all.answer("/.well-known/acme-challenge/t0ken"), None);
        assert!(all.certificate("hub.example").is_none());
    }
}
