//! TLS for connections to PostgreSQL: what the client's library asks for, on rustls.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use crate::cluster::{Address, EngineError};

/// Makes connections private; what it trusts and shows stands in the configuration.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Whoever answers has to prove to be the host of the URL, with a certificate.
    pub(super) fn verifying(address: &Address) -> Result<Tls, EngineError> {
        crate::cluster::tls::client_config(address).map(|config| Tls(Arc::new(config)))
    }

    /// Whoever answers is believed: this keeps out those who listen, not those who pretend.
    pub(super) fn believing(address: &Address) -> Result<Tls, EngineError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Believing(provider.clone()));
        let mut config = match address.certificate {
            Some(_) => crate::cluster::tls::client_config(address)?,
            None => ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("ring can do both versions of TLS")
                .dangerous()
                .with_custom_certificate_verifier(verifier.clone())
                .with_no_client_auth(),
        };
        config.dangerous().set_certificate_verifier(verifier);
        Ok(Tls(Arc::new(config)))
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Sealed<S>;
    type TlsConnect = Handshake;
    type Error = Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, Infallible> {
        // Asked for where no handshake follows, too: a Unix socket has no name.
        Ok(Handshake { config: self.0.clone(), host: ServerName::try_from(host.to_owned()) })
    }
}

/// A handshake to come.
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    host: Result<ServerName<'static>, InvalidDnsNameError>,
}

impl<S> TlsConnect<S> for Handshake
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Sealed<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Sealed<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let host = self.host.map_err(io::Error::other)?;
            TlsConnector::from(self.config).connect(host, stream).await.map(Sealed)
        })
    }
}

/// A connection nobody else can read.
pub(super) struct Sealed<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Sealed<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let certificate = self.0.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        match certificate.and_then(|certificate| end_point(certificate)) {
            Some(digest) => ChannelBinding::tls_server_end_point(digest),
            None => ChannelBinding::none(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Sealed<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Sealed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// What a password's proof is bound to (`tls-server-end-point`, RFC 5929 section 4.1): the digest of the server's certificate by the
/// function it was signed with, SHA-256 instead of those before it. `None` where that function can't be told.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = signed_with(certificate)?;
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

/// Reads `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID … } … }` (RFC 5280) as far as it has to.
fn signed_with(certificate: &[u8]) -> Option<&'static Algorithm> {
    let (certificate, _) = element(certificate, 0x30)?;
    let (_, rest) = element(certificate, 0x30)?;
    let (algorithm, _) = element(rest, 0x30)?;
    let (oid, _) = element(algorithm, 0x06)?;
    match oid {
        // 1.2.840.113549.1.1: RSA with MD5, SHA-1, SHA-256, SHA-384, SHA-512.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, with] => match with {
            4 | 5 | 11 => Some(&SHA256),
            12 => Some(&SHA384),
            13 => Some(&SHA512),
            _ => None,
        },
        // 1.2.840.10045.4: ECDSA with SHA-1, SHA-256, SHA-384, SHA-512.
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 2] => Some(&SHA256),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 3] => Some(&SHA384),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 4] => Some(&SHA512),
        _ => None,
    }
}

/// The content of the DER element at the beginning, which has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    if length < 0x80 {
        return rest.split_at_checked(length.into());
    }
    let digits = usize::from(length & 0x7f);
    if !(1..=4).contains(&digits) {
        return None;
    }
    let (length, rest) = rest.split_at_checked(digits)?;
    rest.split_at_checked(length.iter().fold(0, |value, &digit| value << 8 | usize::from(digit)))
}

/// Believes every certificate, but wants its owner on the other end.
#[derive(Debug)]
struct Believing(Arc<CryptoProvider>);

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A certificate as far as it is read.
    fn certificate(oid: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| [&[tag, 0x81, u8::try_from(content.len()).unwrap()], content].concat();
        let algorithm = wrap(0x30, &[wrap(0x06, oid), vec![0x05, 0x00]].concat());
        wrap(0x30, &[wrap(0x30, &[0x02, 0x01, 0x01]), algorithm, vec![0x03, 0x01, 0x00]].concat())
    }

    #[test]
    fn a_password_is_bound_to_the_certificate_by_the_digest_it_was_signed_with() {
        let rsa =
            |with| end_point(&certificate(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, with])).map(|d| d.len());
        assert_eq!([5, 11, 12, 13, 10].map(rsa), [Some(32), Some(32), Some(48), Some(64), None]);
        let ecdsa = |with| end_point(&certificate(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, with])).map(|d| d.len());
        assert_eq!([2, 3, 4, 9].map(ecdsa), [Some(32), Some(48), Some(64), None]);
    }

    proptest! {
        #[test]
        fn what_is_no_certificate_is_bound_to_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = end_point(&bytes);
        }
    }
}
