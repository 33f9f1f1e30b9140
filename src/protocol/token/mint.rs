//! Making tokens: for the command line, for development mode, for tests.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::TOKEN_BYTES_MAX;
use crate::protocol::grants::{CLAIM_ENTRIES_MAX, DETAIL_TOPICS_MAX, DETAIL_TYPE};
use crate::protocol::keys::{KeyError, SigningKey};
use crate::protocol::matcher::MatchType;

/// What goes into a token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mint {
    /// `iss`.
    pub issuer: String,
    /// `aud`: the hub's resource identifier.
    pub audience: String,
    /// `sub`: whom the token is about.
    pub subject: Option<String>,
    /// `client_id`: the program that is to use it.
    pub client_id: Option<String>,
    /// `jti`: a name for this one token.
    pub token_id: Option<String>,
    /// `iat`, in seconds since 1970.
    pub issued_at_s: u64,
    /// `exp`, in seconds since 1970.
    pub expires_at_s: u64,
    /// What it lets its bearer publish to.
    pub publish: Vec<(MatchType, String)>,
    /// What private updates it lets its bearer read.
    pub subscribe: Vec<(MatchType, String)>,
    /// A JSON object that the bearer's subscriptions are announced with.
    pub payload: Option<Value>,
    /// `kid`: the name of the key, for issuers that have several.
    pub key_id: Option<String>,
    /// As before version 1.0: the grants stand in the claim `mercure`, and there is no `aud`.
    pub compat: bool,
}

/// Why no token was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// It would be expired from the start.
    #[error("the token would expire before it is issued")]
    Expires,
    /// The payload isn't a JSON object.
    #[error("the payload must be a JSON object, such as {{\"name\":\"Zoe\"}}")]
    Payload,
    /// A payload with nothing to subscribe to.
    #[error("the payload is announced with subscriptions: grant something to subscribe to, or leave it out")]
    PayloadWithoutSubscribe,
    /// More topics than hubs accept.
    #[error(
        "a token grants at most {DETAIL_TOPICS_MAX} topics, and this would be {topics}: use patterns that cover several"
    )]
    TooManyTopics {
        /// How many, over both actions.
        topics: usize,
    },
    /// More entries of one action than hubs accept.
    #[error("a token has at most {CLAIM_ENTRIES_MAX} entries for an action: use templates that cover several topics")]
    TooManyEntries,
    /// What only the claim of before version 1.0 can grant.
    #[error("a URI template is granted with --compat only; write a URL pattern, with :id for {{id}}")]
    TopicWithoutCompat,
    /// Longer than hubs accept.
    #[error(
        "the token would have {bytes} bytes and at most {TOKEN_BYTES_MAX} are accepted: use patterns that cover several topics"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The key can't sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Makes an access token as the protocol's version 1.0 has it, or the ones before.
pub fn mint(token: &Mint, key: &SigningKey) -> Result<String, MintError> {
    let kind = if token.compat { "JWT" } else { "at+jwt" };
    let mut header = json!({"typ": kind, "alg": format!("{:?}", key.algorithm())});
    if let Some(key_id) = &token.key_id {
        header["kid"] = key_id.as_str().into();
    }
    let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", encode(&header), encode(&claims(token)?));
    let token = format!("{message}.{}", key.sign(message.as_bytes())?);
    match token.len() {
        0..=TOKEN_BYTES_MAX => Ok(token),
        bytes => Err(MintError::TooLong { bytes }),
    }
}

fn claims(token: &Mint) -> Result<Value, MintError> {
    if token.expires_at_s <= token.issued_at_s {
        return Err(MintError::Expires);
    }
    let mut claims = json!({
        "iss": token.issuer,
        "iat": token.issued_at_s,
        "exp": token.expires_at_s,
    });
    for (name, value) in [("sub", &token.subject), ("client_id", &token.client_id), ("jti", &token.token_id)] {
        if let Some(value) = value {
            claims[name] = value.as_str().into();
        }
    }
    if token.compat {
        claims["mercure"] = mercure_claim(token)?;
        return Ok(claims);
    }
    claims["aud"] = token.audience.as_str().into();
    let details = details(token)?;
    if !details.is_empty() {
        claims["authorization_details"] = details.into();
    }
    Ok(claims)
}

/// The claim of before version 1.0: texts and templates as strings, the rest as objects.
fn mercure_claim(token: &Mint) -> Result<Value, MintError> {
    let entry = |matcher: &(MatchType, String)| match matcher {
        (MatchType::Topic, text) => Value::from(text.as_str()),
        _ => topic(matcher).into(),
    };
    let mut claim = Map::new();
    for (action, matchers) in [("publish", &token.publish), ("subscribe", &token.subscribe)] {
        if matchers.len() > CLAIM_ENTRIES_MAX {
            return Err(MintError::TooManyEntries);
        }
        if !matchers.is_empty() {
            claim.insert(action.to_owned(), matchers.iter().map(entry).collect());
        }
    }
    claim.extend(token.payload.iter().map(|payload| ("payload".to_owned(), payload.clone())));
    Ok(claim.into())
}

fn details(token: &Mint) -> Result<Vec<Value>, MintError> {
    let (publish, subscribe) = (&token.publish, &token.subscribe);
    // What is granted for both actions alike is written once.
    let entries = if publish == subscribe {
        vec![(vec!["publish", "subscribe"], publish)]
    } else {
        vec![(vec!["publish"], publish), (vec!["subscribe"], subscribe)]
    };
    let topics: usize = entries.iter().map(|(_, matchers)| matchers.len()).sum();
    if entries.iter().any(|(_, matchers)| matchers.iter().any(|(kind, _)| *kind == MatchType::Topic)) {
        return Err(MintError::TopicWithoutCompat);
    }
    if topics > DETAIL_TOPICS_MAX {
        return Err(MintError::TooManyTopics { topics });
    }
    match &token.payload {
        Some(payload) if !payload.is_object() => return Err(MintError::Payload),
        Some(_) if subscribe.is_empty() => return Err(MintError::PayloadWithoutSubscribe),
        _ => {}
    }
    let granting = entries.into_iter().filter(|(_, matchers)| !matchers.is_empty());
    let entry = |(actions, matchers): (Vec<&str>, &Vec<_>)| {
        let topics: Vec<_> = matchers.iter().map(topic).collect();
        let payload = token.payload.as_ref().filter(|_| actions.contains(&"subscribe"));
        let mut entry = json!({"type": DETAIL_TYPE, "actions": actions, "topics": topics});
        if let Some(payload) = payload {
            entry["payload"] = payload.clone();
        }
        entry
    };
    Ok(granting.map(entry).collect())
}

fn topic((kind, text): &(MatchType, String)) -> Map<String, Value> {
    let mut topic = Map::from_iter([("match".to_owned(), text.as_str().into())]);
    if *kind != MatchType::Exact {
        topic.insert("match_type".to_owned(), kind.name().into());
    }
    topic
}
