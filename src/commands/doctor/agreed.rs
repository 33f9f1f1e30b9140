//! Which version of HTTP browsers would get from a public URL: what TLS agrees on when HTTP/2 is offered.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, crypto};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// `h2`, `http/1.1`, or nothing where the server doesn't choose; none where it can't be asked.
pub(super) fn protocol(url: &Url) -> Option<String> {
    if url.scheme() != "https" {
        return None;
    }
    // Without the brackets of an IPv6 address.
    let host = url.host_str()?.trim_matches(['[', ']']);
    let provider = Arc::new(crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(schemes)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let address = (host, url.port_or_known_default()?).to_socket_addrs().ok()?.next()?;
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).ok()?;
    }
    Some(String::from_utf8_lossy(connection.alpn_protocol().unwrap_or_default()).into_owned())
}

/// Believes every certificate: nothing is sent over this connection, and nothing that comes is believed but the choice of
/// a protocol. The requests, which carry the token, have a client of their own that checks it.
#[derive(Debug)]
struct Anybody(Vec<SignatureScheme>);

impl ServerCertVerifier for Anybody {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ServerConfig, ServerConnection};
    use std::net::TcpListener;

    const CERTIFICATE: &[u8] = include_bytes!("../../protocol/keys/testdata/p256-certificate.pem");
    const KEY: &[u8] = include_bytes!("../../protocol/keys/testdata/p256-pkcs8.pem");

    /// The URL of a server that agrees to one of these and does nothing else.
    fn server(protocols: &[&[u8]]) -> Url {
        let provider = Arc::new(crypto::ring::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()];
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(KEY).unwrap())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
            while connection.is_handshaking() && connection.complete_io(&mut socket).is_ok() {}
        });
        Url::parse(&url).unwrap()
    }

    #[test]
    fn what_browsers_would_get_is_what_the_server_chooses() {
        assert_eq!(protocol(&server(&[b"h2", b"http/1.1"])).as_deref(), Some("h2"));
        assert_eq!(protocol(&server(&[b"http/1.1"])).as_deref(), Some("http/1.1"));
        assert_eq!(protocol(&server(&[])).as_deref(), Some(""));
    }

    #[test]
    fn where_there_is_no_tls_nobody_can_be_asked() {
        assert_eq!(protocol(&Url::parse("http://127.0.0.1/").unwrap()), None);
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(protocol(&Url::parse(&format!("https://{nobody}/")).unwrap()), None);
    }
}
