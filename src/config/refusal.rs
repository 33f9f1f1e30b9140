//! Why the hub doesn't start: each refusal is a sentence that names what was said, where, and what to change.

use super::layer::Place;
use crate::http::origin::OriginError;
use crate::protocol::token::Role;
use std::fmt;
use std::path::PathBuf;

/// All that is wrong with a configuration: people should not have to start five times to read five sentences.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusals(pub Vec<Refusal>);

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{refusal}")?;
        }
        Ok(())
    }
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum Refusal {
    #[error("the configuration file {} can't be read: {why}", path.display())]
    FileUnreadable { path: PathBuf, why: String },
    #[error("{} isn't valid TOML: {why}", path.display())]
    NotToml { path: PathBuf, why: String },
    #[error("{} has the key `{key}`, which isn't known{}", path.display(), did_you_mean(nearest))]
    UnknownKey { path: PathBuf, key: String, nearest: Option<String> },
    #[error("{} has `{key}` as {found}; write {expected}", path.display())]
    WrongKind { path: PathBuf, key: String, found: &'static str, expected: &'static str },
    #[error(
        "the environment has {name}, which isn't known{}; unset it if it is meant for something else",
        did_you_mean(nearest)
    )]
    UnknownVariable { name: String, nearest: Option<String> },
    #[error("the environment variable {name} isn't UTF-8")]
    VariableNotUtf8 { name: String },

    #[error("{place} is `{value}`, which {why}")]
    Value { place: Place, value: String, why: String },
    #[error("{place} must be more than zero: {why}")]
    Zero { place: Place, why: &'static str },

    #[error(
        "the hub must know its public URL, which tokens name as their audience: add `--resource {example}` with your own \
         host name{}, or start with `--dev` to try things out on this machine",
        file.as_ref().map(|file| format!(" (or `resource = \"{example}\"` to {})", file.display())).unwrap_or_default()
    )]
    ResourceMissing { example: String, file: Option<PathBuf> },
    #[error(
        "development mode listens on loopback only, and {place} is {value}: use 127.0.0.1, or leave `--dev` out and add `--resource`"
    )]
    DevelopmentBeyondLoopback { place: Place, value: String },
    #[error(
        "nobody could use this hub, as it trusts no issuer of tokens and lets nobody in without one: add `--issuer ISS` with \
         `--publisher-jwt-key` and `--subscriber-jwt-key` (or `--anonymous` for public updates only, or `--dev` to try things out)"
    )]
    NobodyCouldUseIt,
    #[error(
        "{cors} has `*`, which allows every page and so can't go with {credential}, which lets pages act with a user's \
         cookie: list the origins instead of `*`"
    )]
    EveryOriginWithCredentials { cors: Place, credential: Place },
    #[error("{place} has what can't be in a list of origins: {error}")]
    Origin { place: Place, error: OriginError },
    #[error("{place} is `*`, which would let every page publish with a user's cookie: list the origins")]
    EveryOriginPublishes { place: Place },
    #[error(
        "{place} is `none`, so there is no folder for history: name one, or add `--history memory`, which forgets events with the \
         process"
    )]
    HistoryWithoutData { place: Place },
    #[error(
        "{place} is `none`, but the secret of development mode's tokens is kept in that folder: name one, or leave the setting out"
    )]
    DevelopmentWithoutData { place: Place },

    #[error("{place} is set, but it isn't said whose key it is: add `--issuer ISS` with the `iss` of those tokens")]
    KeyWithoutIssuer { place: Place },
    #[error(
        "{place} is set, but the issuers come from [[issuer]] tables in {}, which have keys of their own: move the key there, \
         or name the issuers with `--issuer`", file.display()
    )]
    KeyBesideTables { place: Place, file: PathBuf },
    #[error("the issuer `{issuer}` has no key: add {}", missing_key(*table))]
    IssuerWithoutKey { issuer: String, table: bool },
    #[error(
        "the issuer `{issuer}` can't be named as an authorization server: its `iss` isn't an https URL without query and \
         fragment"
    )]
    AuthorizationServer { issuer: String },
    #[error("the issuer `{issuer}` is listed twice: leave one")]
    IssuerTwice { issuer: String },
    #[error("{} has an [[issuer]] without `id`: add `id = \"…\"`, the `iss` of its tokens", path.display())]
    IssuerWithoutId { path: PathBuf },
    #[error("the {role} of issuer `{issuer}` has both `key` and `key_file`: leave one")]
    TwoKeys { issuer: String, role: Role },
    #[error("the {role} of issuer `{issuer}` has `jwks_url` and a key of its own: leave one")]
    KeyAndSet { issuer: String, role: Role },
    #[error("{key} and {set} are both set, and a role has one or the other: leave one")]
    KeyBesideSet { key: Place, set: Place },
    #[error("the key set of the {role} of issuer `{issuer}` is `{url}`, which {why}")]
    KeySetUrl { issuer: String, role: Role, url: String, why: &'static str },
    #[error(
        "the key set of the {role} of issuer `{issuer}` is allowed {algorithm}, which needs a shared secret, and a set holds public \
         keys: leave it out"
    )]
    KeySetWithSecretAlgorithm { issuer: String, role: Role, algorithm: String },
    #[error("development mode can't be switched on or off by a reload: restart the hub")]
    DevelopmentByReload,
    #[error("the {role} key of issuer `{issuer}` can't be read from {}: {why}", path.display())]
    KeyFileUnreadable { issuer: String, role: Role, path: PathBuf, why: String },
    #[error("the {role} key of issuer `{issuer}` is allowed `{algorithm}`, which isn't an algorithm: use {ALGORITHMS}")]
    UnknownAlgorithm { issuer: String, role: Role, algorithm: String },
    #[error(
        "the {role} key of issuer `{issuer}` is a PEM key, and {algorithm} needs a shared secret: name the key's own \
         algorithm, e.g. {}", algorithm_example(*role, *table)
    )]
    PemWithSecretAlgorithm { issuer: String, role: Role, algorithm: String, table: bool },
    #[error("the {role} key of issuer `{issuer}` can't be used: {why}")]
    KeyUnusable { issuer: String, role: Role, why: String },
}

/// The algorithms a key may be allowed.
pub(super) const ALGORITHMS: &str =
    "HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA";

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

fn missing_key(table: bool) -> &'static str {
    if table {
        "a `publisher` or `subscriber` table with `key`, `key_file` or `jwks_url`"
    } else {
        "`--publisher-jwt-key KEY`, `--subscriber-jwt-key KEY` or both (or `--publisher-jwks-url URL`, `--subscriber-jwks-url URL`)"
    }
}

fn algorithm_example(role: Role, table: bool) -> String {
    if table { "`algorithms = [\"EdDSA\"]`".to_owned() } else { format!("`--{role}-jwt-alg EdDSA`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_shown() {
        let refusals = Refusals(vec![Refusal::NobodyCouldUseIt, Refusal::IssuerTwice { issuer: "a".to_owned() }]);
        let text = refusals.to_string();
        assert!(text.contains("nobody could use this hub"));
        assert!(text.ends_with("the issuer `a` is listed twice: leave one"));
        assert_eq!(text.lines().count(), 2);
    }
}
