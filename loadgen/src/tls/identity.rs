//! A key and a certificate of its own for a server this program starts: made for the run, trusted by its clients alone.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, IsCa, KeyPair, SanType};

const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "key.pem";

/// See the module. The key is on P-256, the kind most servers have.
#[derive(Clone)]
pub(crate) struct Identity {
    /// DER.
    pub(crate) certificate: Vec<u8>,
    /// PKCS #8.
    pub(crate) key: Vec<u8>,
}

impl Identity {
    /// A fresh one for a server at this address.
    pub(crate) fn make(address: IpAddr) -> anyhow::Result<Self> {
        let key = KeyPair::generate().context("make a key")?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(address)];
        params.is_ca = IsCa::ExplicitNoCa;
        let certificate = params.self_signed(&key).context("make a certificate")?;
        Ok(Self { certificate: certificate.der().to_vec(), key: key.serialize_der() })
    }

    /// Writes both into a new folder that only this user may read: the paths of certificate and key.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
        let about = || format!("write a certificate to {}", folder.display());
        fs::DirBuilder::new().mode(0o700).create(folder).with_context(about)?;
        let paths = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
        for (path, label, der) in [(&paths.0, "CERTIFICATE", &self.certificate), (&paths.1, "PRIVATE KEY", &self.key)] {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(about)?;
            std::io::Write::write_all(&mut file, pem(label, der).as_bytes()).with_context(about)?;
        }
        Ok(paths)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
