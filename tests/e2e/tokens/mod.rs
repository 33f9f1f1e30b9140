//! Access tokens: what is checked, how they are presented, and what an answer gives away.

mod issuers;
mod presentation;
mod validation;

use crate::harness::*;

/// The status of a publish with the token given.
fn publish_status(hub: &Hub, token: &str) -> u16 {
    hub.post(token, &[("topic", "urn:a")]).status
}

/// The status of a subscription with the token given.
fn subscribe_status(hub: &Hub, token: &str) -> u16 {
    hub.subscribe_status(&[("match", "urn:a")], &[("Authorization", &format!("Bearer {token}"))])
}

/// A publisher's token, good unless spoilt.
fn good() -> Token {
    Token::granting(&["publish"], &["*"])
}
