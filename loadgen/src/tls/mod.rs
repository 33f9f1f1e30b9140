//! TLS: the certificate of a server this program starts ([`Shown`]), what clients trust and offer ([`Trust`]), and what lies
//! between a client and its socket ([`Wire`]).
//!
//! A subscriber only receives. Once its first event or the response head is there, its session is taken apart, and the keys are all it keeps:
//! what this program spends on a record is little more than opening it.

mod identity;
mod record;
mod shown;
mod trust;
mod wire;

use identity::Identity;
pub(crate) use record::RecordKey;
pub(crate) use shown::Shown;
pub(crate) use trust::{Tls, Trust};
pub(crate) use wire::Wire;

/// What is spoken inside.
const ALPN: &[u8] = b"http/1.1";
