//! HTTP/2: over TLS, where clients and the hub agree on it by ALPN, and in the clear, where they know beforehand. Clients nobody here
//! wrote, and one that decides about every frame itself.

mod clients;
mod ends;
mod fields;
mod flow;
mod frames;
mod hostile;
mod hpack;
mod peer;
mod proxies;
mod requests;
mod streams;
mod suite;

use frames::*;
use peer::Peer;

use crate::harness::*;
use crate::tls::Sealed;

/// A connection of each kind: over TLS and in the clear.
fn both(sealed: &Sealed) -> [Peer; 2] {
    [Peer::sealed(sealed), Peer::connect(&sealed.hub)]
}

/// The value of a field with a token.
fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Others are served, on new connections of both versions.
fn assert_serves(hub: &Hub) {
    let mut stream = hub.subscribe(&[("match", "urn:others")]);
    let mut peer = Peer::connect(hub);
    let of_peer = peer.subscribe(&[("match", "urn:others")]);
    assert_eq!(peer.publish("urn:others", "still here").status, 200);
    assert_eq!(stream.data(), "still here");
    assert_eq!(peer.data(of_peer), "still here");
}
