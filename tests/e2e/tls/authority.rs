//! A certificate authority of our own and what it issues, made by openssl.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedCipherSuite};

use crate::harness::Folder;
use crate::servers::shell;

/// See the module.
#[derive(Debug)]
pub(crate) struct Authority(Folder);

impl Authority {
    pub(crate) fn new() -> Authority {
        let folder = Folder::new();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key";
        shell(&format!(
            "cd {} && openssl req -x509 {key} -out ca.pem -days 30 -subj /CN=tests",
            folder.path().display()
        ));
        Authority(folder)
    }

    /// Makes `name.pem` and `name.key`, for these names.
    pub(crate) fn issue(&self, name: &str, dns: &[&str], days: u32) {
        let names: Vec<String> = dns.iter().map(|name| format!("DNS:{name}")).collect();
        let extensions = format!("basicConstraints=critical,CA:FALSE\nsubjectAltName={}\n", names.join(","));
        self.0.write(&format!("{name}.extensions"), &extensions);
        let folder = self.0.path().display();
        let key = format!("-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key");
        let sign = "-CA ca.pem -CAkey ca.key -CAcreateserial";
        shell(&format!(
            "cd {folder} && openssl req -new {key} -out {name}.csr -subj /CN={name} \
             && openssl x509 -req -in {name}.csr {sign} -days {days} -extfile {name}.extensions -out {name}.new \
             && mv {name}.new {name}.pem"
        ));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path in UTF-8").to_owned()
    }

    pub(super) fn der(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).expect("a certificate")
    }

    /// A client that trusts it.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client_by(ring::default_provider())
    }

    /// One that speaks a single cipher suite.
    pub(super) fn client_with(&self, suite: SupportedCipherSuite) -> ClientConfig {
        self.client_by(CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() })
    }

    fn client_by(&self, provider: CryptoProvider) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der("ca.pem")).expect("a certificate");
        let is_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
        let versions = match (provider.cipher_suites.iter().any(is_13), provider.cipher_suites.iter().all(is_13)) {
            (true, true) => vec![&TLS13],
            (false, _) => vec![&TLS12],
            _ => vec![&TLS13, &TLS12],
        };
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)
            .expect("suites of these versions")
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// A client of every suite that trusts these.
pub(super) fn trusting(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("suites of these versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// One suite of each kind: the three of TLS 1.3, and one of 1.2.
pub(super) fn suites() -> Vec<SupportedCipherSuite> {
    let mut suites = ring::ALL_CIPHER_SUITES.to_vec();
    let first_of_12 = suites.iter().position(|suite| suite.tls13().is_none()).expect("there are some");
    suites.truncate(first_of_12 + 1);
    suites
}
