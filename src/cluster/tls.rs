//! How connections to engines are made private.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::{Address, EngineError};

/// What a client of this engine trusts and shows. Files are read anew with every connection, so that renewed certificates are taken up.
pub(super) fn client_config(address: &Address) -> Result<ClientConfig, EngineError> {
    let mut roots = RootCertStore::empty();
    match &address.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unreadable(path, error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(EngineError::Refused(
                    "this system has no certificates to judge the engine's by; install ca-certificates or name a file of them".to_owned(),
                ));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring can do both versions of TLS")
        .with_root_certificates(roots);
    let Some((certificate, key)) = &address.certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
    builder.with_client_auth_cert(chain, private).map_err(|error| unreadable(key, error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, EngineError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(unreadable(path, "it has no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(path, error)),
    }
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> EngineError {
    EngineError::Refused(format!("{}: {error}", path.display()))
}

/// Why a handshake failed: a certificate that isn't accepted won't be the next time either.
pub(super) fn failed(address: &Address, error: std::io::Error) -> EngineError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => EngineError::Refused(format!(
            "{address:?}: its certificate isn't accepted ({why:?}); name the file of the certificates it is to be judged by, and the host \
             as its certificate does"
        )),
        Some(rustls::Error::AlertReceived(alert)) => EngineError::Refused(format!(
            "{address:?}: it ended the handshake ({alert:?}); does it want a client certificate, or another one?"
        )),
        Some(other) => EngineError::Refused(format!("{address:?}: {other}; does it speak TLS there?")),
        None => EngineError::Unavailable(format!("{address:?}: {error}")),
    }
}
