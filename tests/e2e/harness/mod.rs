//! What every story needs: a hub of its own, clients that see every byte, tokens, and patience.

mod client;
mod flood;
mod folder;
mod hub;
mod key_server;
mod mint;
mod process;
mod response;
mod stream;

pub(crate) use client::{Client, form, query};
pub(crate) use flood::flood;
pub(crate) use folder::Folder;
pub(crate) use hub::{Hub, Launch, free_port, signal};
pub(crate) use key_server::{IssuerKey, KeyServer, key_set};
pub(crate) use mint::{Token, base64url, details, now, publisher, publisher_of, subscriber, subscriber_of};
pub(crate) use process::{Process, go};
pub(crate) use response::{Response, read_chunk};
pub(crate) use stream::{End, Event, Stream};

use std::time::{Duration, Instant};

/// The hub's path.
pub(crate) const HUB: &str = "/.well-known/mercure";

/// What the hub calls itself: the audience of tokens and the base of relative topics and patterns.
pub(crate) const RESOURCE: &str = "https://hub.example/.well-known/mercure";

/// The issuer the hub trusts.
pub(crate) const ISSUER: &str = "https://issuer.example";

/// The secret behind publishers' tokens.
pub(crate) const PUBLISHER_KEY: &str = "a-secret-for-publishers-0123456789abcdef";

/// The secret behind subscribers' tokens.
pub(crate) const SUBSCRIBER_KEY: &str = "a-secret-for-subscribers-0123456789abcdef";

/// How long a test waits for something that should happen. Long, because machines can be slow and a failure is rare.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds and panics with `what` when it doesn't within [`PATIENCE`].
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
