//! The trusted issuers and their keys: from flags, where issuers share keys, or from `[[issuer]]` tables.

use super::file::{IssuerTable, RoleTable};
use super::key_set::{KeySetSource, KeySetUrl};
use super::layer::{Resolved, Source};
use super::refusal::Refusal;
use super::value::without_credentials;
use crate::protocol::compat::{Compat, IMPLICIT_ISSUER};
use crate::protocol::keys::{KEY_SET_ALGORITHMS, VerificationKey};
use crate::protocol::token::{Issuer, Role};
use jsonwebtoken::Algorithm;
use std::fmt;
use std::fs;

/// A text that must not reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The settings that give the issuers named by flags their keys.
pub(super) const KEY_SETTINGS: [&str; 4] =
    ["publisher-jwt-key", "subscriber-jwt-key", "publisher-jwks-url", "subscriber-jwks-url"];

/// Whose tokens are accepted, and by which keys.
pub(super) type Issuers = (Vec<Issuer>, Vec<KeySetSource>);

/// What a role is checked with: a key that is at hand, or a set that will be fetched.
enum RoleKeys {
    Keys(Vec<VerificationKey>),
    Set(KeySetUrl, Vec<Algorithm>),
}

/// Builds the issuers from what was said; refusals are added to the list.
pub(super) fn build(
    resolved: &Resolved,
    tables: &[IssuerTable],
    allow_http: bool,
    compat: Option<Compat>,
    refusals: &mut Vec<Refusal>,
) -> Issuers {
    let (mut issuers, mut sets) = (Vec::new(), Vec::new());
    match &resolved.said("issuer").source {
        Source::File(path) if !tables.is_empty() => {
            for name in KEY_SETTINGS {
                if resolved.is_set(name) {
                    refusals.push(Refusal::KeyBesideTables { place: resolved.place(name), file: path.clone() });
                }
            }
            for table in tables {
                if let Some(keys) = keep(from_table(table, allow_http), refusals) {
                    add(&table.id, keys, &mut issuers, &mut sets);
                }
            }
        }
        _ => from_flags(resolved, allow_http, compat, refusals, &mut issuers, &mut sets),
    }
    for (index, issuer) in issuers.iter().enumerate() {
        if issuers[..index].iter().any(|earlier: &Issuer| earlier.id == issuer.id) {
            refusals.push(Refusal::IssuerTwice { issuer: issuer.id.clone() });
        }
    }
    (issuers, sets)
}

/// Adds an issuer; where a set will give the keys of a role, there are none yet.
fn add(id: &str, keys: [Option<RoleKeys>; 2], issuers: &mut Vec<Issuer>, sets: &mut Vec<KeySetSource>) {
    let [publisher, subscriber] = keys;
    let mut keys_of = |role, keys| match keys {
        RoleKeys::Keys(keys) => keys,
        RoleKeys::Set(url, algorithms) => {
            sets.push(KeySetSource { issuer: id.to_owned(), role, url, algorithms });
            Vec::new()
        }
    };
    let publisher = publisher.map(|keys| keys_of(Role::Publisher, keys));
    let subscriber = subscriber.map(|keys| keys_of(Role::Subscriber, keys));
    issuers.push(Issuer { id: id.to_owned(), publisher, subscriber });
}

fn from_flags(
    resolved: &Resolved,
    allow_http: bool,
    compat: Option<Compat>,
    refusals: &mut Vec<Refusal>,
    issuers: &mut Vec<Issuer>,
    sets: &mut Vec<KeySetSource>,
) {
    // Also a flag may hold several, separated by spaces, as the variable of the reference does.
    let mut ids: Vec<&str> = resolved.said("issuer").words.iter().flat_map(|word| word.split_whitespace()).collect();
    // Before version 1.0 tokens had no issuer: there are keys, and whoever signs with them is trusted.
    if ids.is_empty() && compat.is_some() && KEY_SETTINGS.iter().any(|name| resolved.is_set(name)) {
        ids.push(IMPLICIT_ISSUER);
    }
    let Some(first) = ids.first() else {
        for name in KEY_SETTINGS {
            if resolved.is_set(name) {
                refusals.push(Refusal::KeyWithoutIssuer { place: resolved.place(name) });
            }
        }
        return;
    };
    let roles = [
        (Role::Publisher, "publisher-jwt-key", "publisher-jwks-url", "publisher-jwt-alg"),
        (Role::Subscriber, "subscriber-jwt-key", "subscriber-jwks-url", "subscriber-jwt-alg"),
    ];
    let said = roles.map(|(role, key, set, algorithms)| {
        let words = resolved.said(algorithms).words.iter().flat_map(|word| word.split_whitespace());
        let words: Vec<String> = words.map(str::to_owned).collect();
        match (resolved.word(key), resolved.word(set)) {
            (Some(_), Some(_)) => {
                let (key, set) = (resolved.place(key), resolved.place(set));
                refusals.push(Refusal::KeyBesideSet { key, set });
                None
            }
            (Some(text), None) => {
                keep(role_keys(first, role, text, &words, false), refusals).map(|keys| (Some(keys), None))
            }
            (None, Some(url)) => {
                let words = if resolved.is_set(algorithms) { &words[..] } else { &[] };
                keep(key_set(first, role, url, words, allow_http), refusals).map(|set| (None, Some(set)))
            }
            (None, None) => None,
        }
    });
    if !KEY_SETTINGS.iter().any(|name| resolved.is_set(name)) {
        refusals.push(Refusal::IssuerWithoutKey { issuer: (*first).to_owned(), table: false });
    }
    for id in ids {
        let keys = said.clone().map(|said| match said? {
            (Some(keys), _) => Some(RoleKeys::Keys(keys)),
            (None, set) => set.map(|(url, algorithms)| RoleKeys::Set(url, algorithms)),
        });
        add(id, keys, issuers, sets);
    }
}

fn from_table(table: &IssuerTable, allow_http: bool) -> Result<[Option<RoleKeys>; 2], Refusal> {
    let role = |role, said: &Option<RoleTable>| match said {
        Some(said) => from_role_table(&table.id, role, said, allow_http).map(Some),
        None => Ok(None),
    };
    let publisher = role(Role::Publisher, &table.publisher)?;
    let subscriber = role(Role::Subscriber, &table.subscriber)?;
    if publisher.is_none() && subscriber.is_none() {
        return Err(Refusal::IssuerWithoutKey { issuer: table.id.clone(), table: true });
    }
    Ok([publisher, subscriber])
}

fn from_role_table(issuer: &str, role: Role, said: &RoleTable, allow_http: bool) -> Result<RoleKeys, Refusal> {
    let issuer_owned = || issuer.to_owned();
    if let Some(url) = &said.jwks_url {
        if said.key.is_some() || said.key_file.is_some() {
            return Err(Refusal::KeyAndSet { issuer: issuer_owned(), role });
        }
        let (url, algorithms) = key_set(issuer, role, url, &said.algorithms, allow_http)?;
        return Ok(RoleKeys::Set(url, algorithms));
    }
    let text = match (&said.key, &said.key_file) {
        (Some(_), Some(_)) => {
            return Err(Refusal::TwoKeys { issuer: issuer_owned(), role });
        }
        (None, None) => {
            return Err(Refusal::IssuerWithoutKey { issuer: issuer_owned(), table: true });
        }
        (Some(text), None) => text.clone(),
        (None, Some(path)) => fs::read_to_string(path)
            // Editors end a file with a line break; it isn't part of a secret.
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|why| Refusal::KeyFileUnreadable {
                issuer: issuer_owned(),
                role,
                path: path.clone(),
                why: why.to_string(),
            })?,
    };
    let default = ["HS256".to_owned()];
    let algorithms = if said.algorithms.is_empty() { &default[..] } else { &said.algorithms };
    role_keys(issuer, role, &text, algorithms, true).map(RoleKeys::Keys)
}

/// Where a role's keys will come from, and what they may be used with.
fn key_set(
    issuer: &str,
    role: Role,
    url: &str,
    algorithms: &[String],
    allow_http: bool,
) -> Result<(KeySetUrl, Vec<Algorithm>), Refusal> {
    let algorithms = match algorithms {
        [] => KEY_SET_ALGORITHMS.to_vec(),
        names => parse_algorithms(issuer, role, names)?,
    };
    if let Some(secret) = algorithms.iter().find(|algorithm| is_hmac(**algorithm)) {
        let algorithm = format!("{secret:?}");
        return Err(Refusal::KeySetWithSecretAlgorithm { issuer: issuer.to_owned(), role, algorithm });
    }
    let parsed = KeySetUrl::parse(url, allow_http).map_err(|why| {
        let url = without_credentials(url);
        Refusal::KeySetUrl { issuer: issuer.to_owned(), role, url, why }
    })?;
    Ok((parsed, algorithms))
}

fn parse_algorithms(issuer: &str, role: Role, names: &[String]) -> Result<Vec<Algorithm>, Refusal> {
    // The library knows more than we verify with.
    let parsed = names.iter().map(|name| {
        name.parse().ok().filter(|algorithm| is_offered(*algorithm)).ok_or_else(|| Refusal::UnknownAlgorithm {
            issuer: issuer.to_owned(),
            role,
            algorithm: name.clone(),
        })
    });
    parsed.collect()
}

/// The keys of a role from one text, checked as far as can be without a token.
fn role_keys(
    issuer: &str,
    role: Role,
    text: &str,
    algorithms: &[String],
    table: bool,
) -> Result<Vec<VerificationKey>, Refusal> {
    let algorithms = parse_algorithms(issuer, role, algorithms)?;
    let secret_algorithm = algorithms.iter().find(|algorithm| is_hmac(**algorithm));
    if let Some(algorithm) = secret_algorithm.filter(|_| text.contains("-----BEGIN ")) {
        let algorithm = format!("{algorithm:?}");
        return Err(Refusal::PemWithSecretAlgorithm { issuer: issuer.to_owned(), role, algorithm, table });
    }
    let key =
        validate_key(text, &algorithms).map_err(|why| Refusal::KeyUnusable { issuer: issuer.to_owned(), role, why })?;
    Ok(vec![key])
}

fn is_hmac(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

/// Whether it is one of those our refusals name.
fn is_offered(algorithm: Algorithm) -> bool {
    let name = format!("{algorithm:?}");
    super::refusal::ALGORITHMS.split([',', ' ']).any(|offered| offered == name)
}

fn keep<T>(result: Result<T, Refusal>, refusals: &mut Vec<Refusal>) -> Option<T> {
    result.map_err(|refusal| refusals.push(refusal)).ok()
}

/// The one place where a key's text is judged: by making the key of it that will check tokens.
fn validate_key(text: &str, algorithms: &[Algorithm]) -> Result<VerificationKey, String> {
    VerificationKey::from_text(text, algorithms).map_err(|why| why.to_string())
}
