//! TLS: certificates and how they are renewed, connections while they carry requests ([`Session`]), and what is left of one when
//! it is an event stream ([`TlsStream`]).
//!
//! Nothing here reads or writes a socket: bytes come in and go out as slices. Who drives it is `connection` for requests and
//! `sender` for streams.

mod certificate;
mod certificates;
pub(crate) mod development;
mod facts;
mod flight;
mod names;
mod record;
mod session;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

pub use certificate::CertificateError;
pub(crate) use certificate::{Lifetime, lifetime, lifetime_of};
pub(crate) use certificates::{Certificates, Managed, Read};
pub use development::DevelopmentCertificateError;
pub(crate) use flight::{FirstMessage, Look, next_record, whole_records};
pub(crate) use session::Session;
pub(crate) use stream::{InputEnd, SealError, TlsStream};

/// What is spoken over TLS, the hub's favourite first (RFC 7301 §6).
pub(crate) const ALPN: &[&[u8]] = &[HTTP2, b"http/1.1"];
/// HTTP/2 over TLS (RFC 9113 §3.2).
pub(crate) const HTTP2: &[u8] = b"h2";

/// A fatal alert in the clear, `internal_error`: for who is turned away before a handshake (RFC 8446 §6).
pub(crate) const TURNED_AWAY: &[u8] = &[21, 3, 3, 0, 2, 2, 80];
