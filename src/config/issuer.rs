//! The trusted issuers and their keys: from flags, where issuers share keys, or from `[[issuer]]` tables.

use super::file::{IssuerTable, RoleTable};
use super::layer::{Resolved, Source};
use super::refusal::Refusal;
use crate::protocol::compat::{Compat, IMPLICIT_ISSUER};
use crate::protocol::keys::VerificationKey;
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

/// Builds the issuers from what was said; refusals are added to the list.
pub(super) fn build(
    resolved: &Resolved,
    tables: &[IssuerTable],
    compat: Option<Compat>,
    refusals: &mut Vec<Refusal>,
) -> Vec<Issuer> {
    let issuers = match &resolved.said("issuer").source {
        Source::File(path) if !tables.is_empty() => {
            for name in ["publisher-jwt-key", "subscriber-jwt-key"] {
                if resolved.is_set(name) {
                    refusals.push(Refusal::KeyBesideTables { place: resolved.place(name), file: path.clone() });
                }
            }
            tables.iter().filter_map(|table| keep(from_table(table), refusals)).collect()
        }
        _ => from_flags(resolved, compat, refusals),
    };
    for (index, issuer) in issuers.iter().enumerate() {
        if issuers[..index].iter().any(|earlier: &Issuer| earlier.id == issuer.id) {
            refusals.push(Refusal::IssuerTwice { issuer: issuer.id.clone() });
        }
    }
    issuers
}

fn from_flags(resolved: &Resolved, compat: Option<Compat>, refusals: &mut Vec<Refusal>) -> Vec<Issuer> {
    // Also a flag may hold several, separated by spaces, as the variable of the reference does.
    let mut ids: Vec<&str> = resolved.said("issuer").words.iter().flat_map(|word| word.split_whitespace()).collect();
    let keys = [
        (Role::Publisher, "publisher-jwt-key", "publisher-jwt-alg"),
        (Role::Subscriber, "subscriber-jwt-key", "subscriber-jwt-alg"),
    ];
    // Before version 1.0 tokens had no issuer: there are keys, and whoever signs with them is trusted.
    if ids.is_empty() && compat.is_some() && keys.iter().any(|(_, key, _)| resolved.is_set(key)) {
        ids.push(IMPLICIT_ISSUER);
    }
    let Some(first) = ids.first() else {
        for (_, key, _) in keys {
            if resolved.is_set(key) {
                refusals.push(Refusal::KeyWithoutIssuer { place: resolved.place(key) });
            }
        }
        return Vec::new();
    };
    let [publisher, subscriber] = keys.map(|(role, key, algorithms)| {
        let text = resolved.word(key)?;
        let algorithms: Vec<String> = resolved
            .said(algorithms)
            .words
            .iter()
            .flat_map(|word| word.split_whitespace())
            .map(str::to_owned)
            .collect();
        keep(role_keys(first, role, text, &algorithms, false), refusals)
    });
    if !resolved.is_set("publisher-jwt-key") && !resolved.is_set("subscriber-jwt-key") {
        refusals.push(Refusal::IssuerWithoutKey { issuer: (*first).to_owned(), table: false });
    }
    ids.iter()
        .map(|id| Issuer { id: (*id).to_owned(), publisher: publisher.clone(), subscriber: subscriber.clone() })
        .collect()
}

fn from_table(table: &IssuerTable) -> Result<Issuer, Refusal> {
    let role = |role, said: &Option<RoleTable>| match said {
        Some(said) => from_role_table(&table.id, role, said).map(Some),
        None => Ok(None),
    };
    let publisher = role(Role::Publisher, &table.publisher)?;
    let subscriber = role(Role::Subscriber, &table.subscriber)?;
    if publisher.is_none() && subscriber.is_none() {
        return Err(Refusal::IssuerWithoutKey { issuer: table.id.clone(), table: true });
    }
    Ok(Issuer { id: table.id.clone(), publisher, subscriber })
}

fn from_role_table(issuer: &str, role: Role, said: &RoleTable) -> Result<Vec<VerificationKey>, Refusal> {
    let issuer_owned = || issuer.to_owned();
    if said.jwks_url.is_some() {
        return Err(Refusal::KeySet { issuer: issuer_owned(), role });
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
    role_keys(issuer, role, &text, algorithms, true)
}

/// The keys of a role from one text, checked as far as can be without a token.
fn role_keys(
    issuer: &str,
    role: Role,
    text: &str,
    algorithms: &[String],
    table: bool,
) -> Result<Vec<VerificationKey>, Refusal> {
    let algorithms = algorithms
        .iter()
        .map(|name| {
            // The library knows more than we verify with.
            name.parse().ok().filter(|algorithm| is_offered(*algorithm)).ok_or_else(|| Refusal::UnknownAlgorithm {
                issuer: issuer.to_owned(),
                role,
                algorithm: name.clone(),
            })
        })
        .collect::<Result<Vec<Algorithm>, Refusal>>()?;
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
