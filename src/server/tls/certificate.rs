//! One certificate with its key, read from files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::facts::{Facts, facts};
use crate::config::CertificateFiles;

/// Bytes of one of its files at most: a chain of a dozen certificates is a tenth of it.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Why a certificate can't be used. No part of a key is ever in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error("{} can't be read: {why}; name the right file, and let the hub's user read it", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What the system said.
        why: String,
    },
    /// There is no certificate in it.
    #[error("{} has no certificate in PEM: it should have -----BEGIN CERTIFICATE-----", file.display())]
    NoCertificate {
        /// Which.
        file: PathBuf,
    },
    /// There is no key in it, or one that is locked.
    #[error(
        "{} has no key in PEM that can be read: it should have -----BEGIN PRIVATE KEY----- and no passphrase", file.display()
    )]
    NoKey {
        /// Which.
        file: PathBuf,
    },
    /// The certificate or its key is of a kind the hub can't use, or broken.
    #[error("{} can't be used: {why}; the hub takes ECDSA (P-256, P-384), Ed25519 and RSA keys", file.display())]
    Unusable {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// They don't belong together.
    #[error(
        "the key {} isn't that of the certificate {}: give keys and certificates in the same order", key.display(), certificate.display()
    )]
    Mismatch {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The OCSP response isn't one.
    #[error("{} isn't an OCSP response in DER: remove it, or fetch it anew", file.display())]
    Ocsp {
        /// Which.
        file: PathBuf,
    },
}

/// A certificate ready to be shown.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) key: CertifiedKey,
    /// The DNS names it is for.
    pub(super) names: Vec<String>,
    pub(super) lifetime: Lifetime,
}

/// From when to when a certificate is good, seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) not_before_s: u64,
    pub(crate) not_after_s: u64,
}

impl Certificate {
    pub(super) fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Certificate, CertificateError> {
        let mut read = Certificate::of(&contents(&files.certificate)?, &contents(&files.key)?, files, provider)?;
        read.key.ocsp = ocsp(&files.certificate)?;
        Ok(read)
    }

    /// What is, or will be, in these files.
    fn of(
        certificate: &[u8],
        key: &[u8],
        files: &CertificateFiles,
        provider: &CryptoProvider,
    ) -> Result<Certificate, CertificateError> {
        let file = files.certificate.clone();
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| CertificateError::NoCertificate { file: file.clone() })?;
        let Some(Facts { names, not_before_s, not_after_s }) = chain.first().and_then(|first| facts(first)) else {
            let why = "it isn't a certificate".to_owned();
            return Err(match chain.is_empty() {
                true => CertificateError::NoCertificate { file },
                false => CertificateError::Unusable { file, why },
            });
        };
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey { file: files.key.clone() })?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                CertificateError::Mismatch { certificate: file.clone(), key: files.key.clone() }
            }
            rustls::Error::InvalidCertificate(why) => {
                CertificateError::Unusable { file: file.clone(), why: format!("{why:?}") }
            }
            other => CertificateError::Unusable { file: files.key.clone(), why: other.to_string() },
        })?;
        Ok(Certificate { key, names, lifetime: Lifetime { not_before_s, not_after_s } })
    }

    /// Whether it is for this name, said so in the certificate.
    pub(super) fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|it| it == name)
    }
}

/// How long the certificate with its key in this file is good for, if they can be used for this name.
pub(crate) fn lifetime(file: &Path, name: &str) -> Option<Lifetime> {
    let read = Certificate::read(&CertificateFiles::of_one(file.to_owned()), &default_provider()).ok()?;
    read.is_for(name).then_some(read.lifetime)
}

/// The same for what isn't in a file yet.
///
/// # Errors
/// Why it can't be used.
pub(crate) fn lifetime_of(pem: &[u8], name: &str) -> Result<Lifetime, String> {
    let nowhere = CertificateFiles::of_one(PathBuf::from("the certificate"));
    let read = Certificate::of(pem, pem, &nowhere, &default_provider()).map_err(|error| error.to_string())?;
    if read.is_for(name) { Ok(read.lifetime) } else { Err(format!("the certificate is for {:?}", read.names)) }
}

/// Where an OCSP response for a certificate lies, if there is one.
pub(super) fn ocsp_file(certificate: &Path) -> PathBuf {
    let mut name = certificate.as_os_str().to_owned();
    name.push(".ocsp");
    PathBuf::from(name)
}

fn ocsp(certificate: &Path) -> Result<Option<Vec<u8>>, CertificateError> {
    let file = ocsp_file(certificate);
    if matches!(file.try_exists(), Ok(false)) {
        return Ok(None);
    }
    let response = contents(&file)?;
    // A SEQUENCE: more the clients judge, whom it is for.
    if response.first() == Some(&0x30) { Ok(Some(response)) } else { Err(CertificateError::Ocsp { file }) }
}

fn contents(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        Ok(bytes)
    };
    read().map_err(|error| CertificateError::Unreadable { file: path.to_owned(), why: error.to_string() })
}
