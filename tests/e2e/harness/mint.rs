//! Tokens, made here byte by byte so that the broken ones can be made too.

use super::{ISSUER, PUBLISHER_KEY, RESOURCE, SUBSCRIBER_KEY};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// The type of the authorization details that speak of Mercure.
const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";

/// A token before it is signed: a good one, to be spoilt by the test.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Token {
    /// Good for an hour and granting `actions` on the topics given.
    pub(crate) fn granting(actions: &[&str], topics: &[&str]) -> Self {
        Self::with_details(json!([details(actions, topics)]))
    }

    /// Good for an hour, with whatever is to stand in `authorization_details`.
    pub(crate) fn with_details(details: Value) -> Self {
        Self {
            header: json!({"typ": "at+jwt", "alg": "HS256"}),
            claims: json!({
                "iss": ISSUER,
                "aud": RESOURCE,
                "sub": "somebody",
                "client_id": "tests",
                "iat": now(),
                "exp": now() + 3600,
                "jti": "t1",
                "authorization_details": details,
            }),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: Value) -> Self {
        set(&mut self.header, name, value);
        self
    }

    pub(crate) fn claim(mut self, name: &str, value: Value) -> Self {
        set(&mut self.claims, name, value);
        self
    }

    pub(crate) fn without_header(mut self, name: &str) -> Self {
        self.header.as_object_mut().expect("an object").remove(name);
        self
    }

    pub(crate) fn without_claim(mut self, name: &str) -> Self {
        self.claims.as_object_mut().expect("an object").remove(name);
        self
    }

    /// The part that is signed.
    pub(crate) fn signing_input(&self) -> String {
        format!("{}.{}", base64url(self.header.to_string().as_bytes()), base64url(self.claims.to_string().as_bytes()))
    }

    /// Signed with HMAC-SHA-256, whatever the header says.
    pub(crate) fn sign(&self, secret: &str) -> String {
        self.sign_with(|input| {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
            ring::hmac::sign(&key, input).as_ref().to_vec()
        })
    }

    /// Signed by the function given.
    pub(crate) fn sign_with(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let input = self.signing_input();
        let signature = sign(input.as_bytes());
        format!("{input}.{}", base64url(&signature))
    }
}

/// A Mercure authorization detail on exact topics (and `*`).
pub(crate) fn details(actions: &[&str], topics: &[&str]) -> Value {
    let topics: Vec<Value> = topics.iter().map(|topic| json!({"match": topic})).collect();
    json!({"type": DETAIL_TYPE, "actions": actions, "topics": topics})
}

/// A token that publishes anything.
pub(crate) fn publisher() -> String {
    publisher_of(&["*"])
}

/// A token that publishes to the topics given.
pub(crate) fn publisher_of(topics: &[&str]) -> String {
    Token::granting(&["publish"], topics).sign(PUBLISHER_KEY)
}

/// A token that may read everything.
pub(crate) fn subscriber() -> String {
    subscriber_of(&["*"])
}

/// A token that may read private updates of the topics given.
pub(crate) fn subscriber_of(topics: &[&str]) -> String {
    Token::granting(&["subscribe"], topics).sign(SUBSCRIBER_KEY)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Base64 for URLs, without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(bits);
        for place in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * place)) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

fn set(object: &mut Value, name: &str, value: Value) {
    object.as_object_mut().expect("an object").insert(name.to_owned(), value);
}
