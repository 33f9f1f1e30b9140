//! What a server that this program starts with TLS shows, and what its clients make of it.

use std::net::IpAddr;
use std::path::PathBuf;

use super::{Identity, Tls, Trust};
use crate::sys;

/// What a server with TLS that this program starts is given: its files go when this does.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Of certificate and key.
    pub(crate) paths: (PathBuf, PathBuf),
    /// What clients make of it.
    pub(crate) trust: Trust,
    folder: PathBuf,
}

impl Shown {
    /// A certificate for a server at this address.
    pub(crate) fn make(address: IpAddr, tls: Tls) -> anyhow::Result<Self> {
        let identity = Identity::make(address)?;
        let name = format!("cinnabar-loadgen-tls-{}-{}", std::process::id(), sys::now_ns());
        let folder = std::env::temp_dir().join(name);
        let paths = identity.write(&folder)?;
        let trust = Trust::new(identity.certificate, &address.to_string(), tls)?;
        Ok(Self { paths, trust, folder })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
