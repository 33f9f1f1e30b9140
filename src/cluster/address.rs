//! Where an engine is, and what opens it.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// Where an engine is and how to get in.
#[derive(Clone)]
pub struct Address {
    /// `redis:`, `rediss:`, `nats:`, `tls:`, `postgres:`, `postgresql:`; without a password.
    pub url: Url,
    /// Whose log it is: what names of keys, streams, buckets and tables begin with. Letters, digits and `_`, 32 at most.
    pub name: String,
    /// The user, if the URL names none.
    pub user: Option<String>,
    /// The password, or the token where an engine has those.
    pub password: Option<String>,
    /// A file of NATS credentials (`.creds`).
    pub credentials: Option<PathBuf>,
    /// Certificates in PEM that the engine's certificate is judged by, instead of those of the system.
    pub ca: Option<PathBuf>,
    /// A certificate of our own in PEM and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Address {
    /// The host as a resolver takes it: an IPv6 address without its brackets.
    pub(super) fn host(&self) -> String {
        match self.url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => "localhost".to_owned(),
        }
    }

    /// Who we are there, if anybody: the URL's word goes first.
    pub(super) fn login(&self) -> Option<String> {
        let named = percent_decode_str(self.url.username()).decode_utf8_lossy();
        if named.is_empty() { self.user.clone() } else { Some(named.into_owned()) }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Passwords are in no log.
        write!(f, "{}", self.url)
    }
}
