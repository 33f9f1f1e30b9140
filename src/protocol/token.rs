//! Access tokens: JSON Web Tokens that say who may publish and subscribe to what (draft 1.0, "Authorization"; RFC 9068).
//!
//! Every rule is a function of its own. [`TokenVerifier::verify`] stops at the first that fails; `explain` walks them all
//! for a person. Claims count only once the signature has been verified; before that, `alg` and `iss` choose among the
//! keys that the configuration gives, and nothing in a token ever brings a key along (`jwk`, `jku`, `x5u` and `x5c` are
//! not read). `kid` is a hint: it chooses among keys that have a name, which those of key sets may have.

mod error;
mod explain;
mod identity;
mod jws;
mod mint;
mod verdict;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

pub use error::TokenError;
use error::{quoted, shortened};
pub use explain::{Check, Outcome, decode_unverified};
pub use identity::KeyIdentity;
use jws::Jws;
pub use jws::{Part, TOKEN_BYTES_MAX};
pub use mint::{Mint, MintError, mint};
pub use verdict::{VERDICT_TOKENS_BYTES_MAX, VERDICTS_MAX, VerdictCache};

use super::compat::{Compat, IMPLICIT_ISSUER};
use super::grants::Grants;
use super::keys::VerificationKey;
use super::topic::HubUrl;

type Members = Map<String, Value>;

/// Keys a signature is tried with: a token without `kid` must not cost as many checks as a key set has keys.
const KEYS_TRIED_MAX: usize = 4;

/// What a token is presented for: each role of an issuer has keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Publishing.
    Publisher,
    /// Everything else: event streams and the subscription API.
    Subscriber,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Publisher => "publisher",
            Role::Subscriber => "subscriber",
        })
    }
}

/// Whose tokens are accepted, and for what.
#[derive(Debug, Clone)]
pub struct TokenRules {
    /// The trusted issuers; their ids are distinct.
    pub issuers: Vec<Issuer>,
    /// The resource identifier, which tokens must name in `aud`.
    pub audience: String,
    /// What relative matchers in grants are relative to.
    pub hub: HubUrl,
    /// Whether tokens of before version 1.0 are accepted too.
    pub compat: Option<Compat>,
}

/// A trusted issuer.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// What its tokens have in `iss`, compared byte for byte.
    pub id: String,
    /// The keys that may sign tokens for publishing; `None` if none of its tokens may be used for that. No key at all: its
    /// key set could not be fetched yet, or has none.
    pub publisher: Option<Vec<VerificationKey>>,
    /// The keys that may sign tokens for subscribing, likewise.
    pub subscriber: Option<Vec<VerificationKey>>,
}

/// What a valid token gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// `iss`.
    pub issuer: Arc<str>,
    /// `sub`, if it is a string.
    pub subject: Option<Box<str>>,
    /// `jti`, if it is a string.
    pub token_id: Option<Box<str>>,
    /// `exp` in milliseconds since 1970, rounded down: from then on the token is expired. [`NEVER_MS`]: it has none.
    pub expires_at_ms: u64,
    /// `nbf` in milliseconds since 1970, rounded up: before that the token isn't valid yet. 0: it has
    /// none.
    pub not_before_ms: u64,
    /// Which key said so.
    pub key: KeyIdentity,
    /// What the bearer may do.
    pub grants: Grants,
}

/// The end of what has no end.
pub const NEVER_MS: u64 = u64::MAX;

// Every subscriber with a token of its own holds one.
const _: () = assert!(size_of::<Access>() <= 112);

impl Access {
    /// Whether the token's time has come and isn't over. All the other rules hold as long as the keys do.
    pub fn valid_at(&self, now_unix_ms: u64) -> bool {
        now_unix_ms < self.expires_at_ms && self.not_before_ms <= now_unix_ms
    }
}

/// The rules for tokens, ready to be applied.
#[derive(Debug)]
pub struct TokenVerifier {
    issuers: Box<[TrustedIssuer]>,
    audience: String,
    hub: HubUrl,
    compat: Option<Compat>,
}

#[derive(Debug)]
struct TrustedIssuer {
    id: Arc<str>,
    publisher: Option<Box<[VerificationKey]>>,
    subscriber: Option<Box<[VerificationKey]>>,
}

impl TrustedIssuer {
    fn keys(&self, role: Role) -> Option<&[VerificationKey]> {
        match role {
            Role::Publisher => self.publisher.as_deref(),
            Role::Subscriber => self.subscriber.as_deref(),
        }
    }
}

impl TokenVerifier {
    /// A verifier for these rules.
    pub fn new(rules: TokenRules) -> TokenVerifier {
        let issuers = rules.issuers.into_iter().map(|issuer| TrustedIssuer {
            id: issuer.id.into(),
            publisher: issuer.publisher.map(Vec::into_boxed_slice),
            subscriber: issuer.subscriber.map(Vec::into_boxed_slice),
        });
        TokenVerifier { issuers: issuers.collect(), audience: rules.audience, hub: rules.hub, compat: rules.compat }
    }

    /// Every key in every role and with every algorithm it may be used with, by its identity and its name.
    pub fn keys(&self) -> impl Iterator<Item = (KeyIdentity, Option<&str>)> {
        let roles =
            self.issuers.iter().flat_map(|issuer| [Role::Publisher, Role::Subscriber].map(|role| (issuer, role)));
        roles.flat_map(|(issuer, role)| {
            let keys = issuer.keys(role).unwrap_or_default().iter();
            keys.flat_map(move |key| {
                let algorithms = key.algorithms().iter();
                algorithms.map(move |algorithm| (KeyIdentity::new(&issuer.id, role, *algorithm, key), key.id()))
            })
        })
    }

    /// What a token gives in a role at a time (milliseconds since 1970), or the first rule that it breaks.
    ///
    /// Costs a signature check, which for RSA and ECDSA is tens to hundreds of microseconds.
    pub fn verify(&self, token: &str, role: Role, now_unix_ms: u64) -> Result<Access, TokenError> {
        let jws = Jws::split(token)?;
        let header = jws.header()?;
        let claims = jws.claims()?;
        self.check_type(&header)?;
        check_critical(&header)?;
        let algorithm = algorithm(&header)?;
        let issuer = self.issuer(&claims)?;
        let keys = keys(issuer, role, algorithm, &header)?;
        let key = check_signature(&keys, issuer, role, algorithm, &jws)?;

        let expires_at_ms = self.expiration(&claims, now_unix_ms)?;
        let not_before_ms = not_before(&claims, now_unix_ms)?;
        self.check_audience(&claims)?;
        let grants = self.grants(&claims)?;
        let text = |claim| claims.get(claim).and_then(Value::as_str).map(Box::from);
        Ok(Access {
            issuer: Arc::clone(&issuer.id),
            subject: text("sub"),
            token_id: text("jti"),
            expires_at_ms,
            not_before_ms,
            key: KeyIdentity::new(&issuer.id, role, algorithm, key),
            grants,
        })
    }

    fn check_type(&self, header: &Members) -> Result<(), TokenError> {
        if self.compat.is_some() { Ok(()) } else { check_type(header) }
    }

    fn expiration(&self, claims: &Members, now_unix_ms: u64) -> Result<u64, TokenError> {
        match expiration(claims, now_unix_ms) {
            Err(TokenError::ExpirationMissing) if self.compat.is_some() => Ok(NEVER_MS),
            result => result,
        }
    }

    fn issuer(&self, claims: &Members) -> Result<&TrustedIssuer, TokenError> {
        let named = self.named_issuer(claims);
        let fallback = || match &*self.issuers {
            _ if self.compat.is_none() => None,
            [only] => Some(only),
            several => several.iter().find(|issuer| *issuer.id == *IMPLICIT_ISSUER),
        };
        named.or_else(|error| fallback().ok_or(error))
    }

    fn named_issuer(&self, claims: &Members) -> Result<&TrustedIssuer, TokenError> {
        let found = claims.get("iss");
        let id =
            found.and_then(Value::as_str).ok_or_else(|| TokenError::IssuerMalformed { found: found.map(shortened) })?;
        let trusted = || self.issuers.iter().map(|issuer| quoted(&issuer.id)).collect();
        self.issuers
            .iter()
            .find(|issuer| *issuer.id == *id)
            .ok_or_else(|| TokenError::IssuerUnknown { found: id.to_owned(), trusted: trusted() })
    }

    fn check_audience(&self, claims: &Members) -> Result<(), TokenError> {
        if self.compat.is_some() {
            return Ok(());
        }
        let found = claims.get("aud");
        let named: Option<Vec<&str>> = match found {
            Some(Value::String(audience)) => Some(vec![audience]),
            Some(Value::Array(audiences)) => audiences.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let expected = || self.audience.clone();
        match named {
            None => Err(TokenError::AudienceMalformed { found: found.map(shortened), expected: expected() }),
            Some(named) if named.contains(&&*self.audience) => Ok(()),
            Some(_) => {
                Err(TokenError::AudienceWrong { found: found.map(shortened).unwrap_or_default(), expected: expected() })
            }
        }
    }

    fn grants(&self, claims: &Members) -> Result<Grants, TokenError> {
        match claims.get("authorization_details") {
            details if self.reads_mercure_claim(details) => Ok(Grants::from_mercure_claim(claims, &self.hub)?),
            None => Ok(Grants::default()),
            Some(details) => Ok(Grants::from_details(details, &self.hub)?),
        }
    }

    /// Whether the claim of before version 1.0 counts, beside these details.
    fn reads_mercure_claim(&self, details: Option<&Value>) -> bool {
        self.compat.is_some() && details.is_none_or(|details| details.as_array().is_some_and(Vec::is_empty))
    }
}

/// RFC 9068 §4: a token made for another purpose, such as an ID token, must not pass.
fn check_type(header: &Members) -> Result<(), TokenError> {
    let found = header.get("typ");
    let is_access_token = found.and_then(Value::as_str).is_some_and(|typ| {
        let subtype = match typ.split_at_checked("application/".len()) {
            Some((tree, subtype)) if tree.eq_ignore_ascii_case("application/") => subtype,
            _ => typ,
        };
        subtype.eq_ignore_ascii_case("at+jwt")
    });
    if is_access_token { Ok(()) } else { Err(TokenError::Type { found: found.map(shortened) }) }
}

/// RFC 7515 §4.1.11. An empty list is against the RFC, and no extension is implemented.
fn check_critical(header: &Members) -> Result<(), TokenError> {
    if header.contains_key("crit") { Err(TokenError::Critical) } else { Ok(()) }
}

fn algorithm(header: &Members) -> Result<Algorithm, TokenError> {
    let found = header.get("alg");
    found
        .and_then(Value::as_str)
        .and_then(|name| Algorithm::from_str(name).ok())
        .ok_or_else(|| TokenError::Algorithm { found: found.map(shortened) })
}

/// The issuer's keys for the role that may be used with the algorithm and have the name that the token gives, if both
/// have one: at least one.
fn keys<'i>(
    issuer: &'i TrustedIssuer,
    role: Role,
    algorithm: Algorithm,
    header: &Members,
) -> Result<Vec<&'i VerificationKey>, TokenError> {
    let issuer_owned = || issuer.id.to_string();
    let Some(all) = issuer.keys(role) else {
        return Err(TokenError::NoKey { issuer: issuer_owned(), role });
    };
    if all.is_empty() {
        return Err(TokenError::KeySetEmpty { issuer: issuer_owned(), role });
    }
    // A `kid` that isn't a string names nothing.
    let named = header.get("kid").and_then(Value::as_str);
    let named_so = |key: &VerificationKey| key.id().is_none_or(|id| named.is_none_or(|named| named == id));
    let mut keys: Vec<_> = all.iter().filter(|key| named_so(key)).collect();
    if let (true, Some(found)) = (keys.is_empty(), named) {
        return Err(TokenError::KeyUnknown { issuer: issuer_owned(), role, found: found.to_owned() });
    }
    keys.retain(|key| key.algorithms().contains(&algorithm));
    if keys.is_empty() {
        let mut allowed = Vec::new();
        for algorithm in all.iter().flat_map(VerificationKey::algorithms) {
            if !allowed.contains(algorithm) {
                allowed.push(*algorithm);
            }
        }
        return Err(TokenError::AlgorithmNotAllowed { algorithm, role, allowed });
    }
    if keys.len() > KEYS_TRIED_MAX {
        return Err(TokenError::KeyAmbiguous { issuer: issuer_owned(), role, keys: keys.len() });
    }
    Ok(keys)
}

/// The key that made the signature.
fn check_signature<'k>(
    keys: &[&'k VerificationKey],
    issuer: &TrustedIssuer,
    role: Role,
    algorithm: Algorithm,
    jws: &Jws<'_>,
) -> Result<&'k VerificationKey, TokenError> {
    let signature = jws.signature()?;
    let message = jws.message.as_bytes();
    let mut keys = keys.iter();
    keys.find(|key| key.verifies(algorithm, message, signature))
        .copied()
        .ok_or_else(|| TokenError::Signature { issuer: issuer.id.to_string(), role })
}

/// RFC 7519 §4.1.4: valid before `exp`, not at it.
fn expiration(claims: &Members, now_unix_ms: u64) -> Result<u64, TokenError> {
    let exp = claims.get("exp").ok_or(TokenError::ExpirationMissing)?;
    let expires_at_ms = unix_ms("exp", exp, f64::floor)?;
    if now_unix_ms < expires_at_ms {
        Ok(expires_at_ms)
    } else {
        Err(TokenError::Expired { expires_at_ms, now_unix_ms })
    }
}

/// RFC 7519 §4.1.5: valid from `nbf` on.
fn not_before(claims: &Members, now_unix_ms: u64) -> Result<u64, TokenError> {
    let Some(nbf) = claims.get("nbf") else {
        return Ok(0);
    };
    let not_before_ms = unix_ms("nbf", nbf, f64::ceil)?;
    if not_before_ms <= now_unix_ms {
        Ok(not_before_ms)
    } else {
        Err(TokenError::NotYetValid { not_before_ms, now_unix_ms })
    }
}

/// A NumericDate (RFC 7519 §2) in milliseconds. Before 1970 is 1970; beyond what fits is the last that fits.
fn unix_ms(claim: &'static str, value: &Value, round: fn(f64) -> f64) -> Result<u64, TokenError> {
    if let Some(seconds) = value.as_u64() {
        return Ok(seconds.saturating_mul(1000));
    }
    match value.as_f64() {
        // `as` saturates, also for what a product of finite numbers can become.
        Some(seconds) if seconds.is_finite() => Ok(round(seconds * 1000.0) as u64),
        _ => Err(TokenError::TimeMalformed { claim, found: shortened(value) }),
    }
}

#[cfg(test)]
mod tests;
