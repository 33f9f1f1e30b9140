//! A token seen by a person: every rule with what it found, never only the first that fails.

use serde_json::Value;

use super::error::{quoted, shortened, span};
use super::jws::Jws;
use super::{NEVER_MS, Role, TokenError, TokenVerifier};
use crate::protocol::keys::{VerificationKey, names};
use crate::protocol::matcher::Matcher;

/// One rule and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The rule, by the name of what it looks at.
    pub rule: &'static str,
    /// Whether it holds.
    pub outcome: Outcome,
    /// What was found, for people. May be empty.
    pub detail: String,
}

/// What came of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It doesn't, and this sentence says what to change.
    Fail(String),
    /// It couldn't be looked at, because another one failed.
    Skipped,
}

/// The header and the claims of a token that nobody has verified, to be shown.
pub fn decode_unverified(token: &str) -> Result<(Value, Value), TokenError> {
    let jws = Jws::split(token)?;
    Ok((jws.header()?.into(), jws.claims()?.into()))
}

/// The rules in the order in which they are looked at.
const RULES: [&str; 13] = [
    "form",
    "header",
    "claims",
    "typ",
    "crit",
    "alg",
    "iss",
    "key",
    "signature",
    "exp",
    "nbf",
    "aud",
    "authorization_details",
];

impl TokenVerifier {
    /// Applies every rule of [`TokenVerifier::verify`]. The token is valid when all of them pass.
    pub fn explain(&self, token: &str, role: Role, now_unix_ms: u64) -> Vec<Check> {
        let mut report = Report::default();
        let Some(jws) = report.add("form", format!("{} bytes", token.len()), Jws::split(token)) else {
            return report.finish();
        };
        let header = report.add("header", String::new(), jws.header());
        let claims = report.add("claims", String::new(), jws.claims());
        let mut algorithm = None;
        if let Some(header) = &header {
            let found = |name| header.get(name).map_or("absent".to_owned(), shortened);
            report.add("typ", found("typ"), self.check_type(header));
            report.add("crit", found("crit"), super::check_critical(header));
            algorithm = report.add("alg", found("alg"), super::algorithm(header));
        }
        let Some(claims) = &claims else {
            return report.finish();
        };
        let found = |name| claims.get(name).map_or("absent".to_owned(), shortened);
        let issuer = self.issuer(claims);
        let taken_for = match &issuer {
            Ok(issuer) if self.named_issuer(claims).is_err() => format!(" (taken for {})", quoted(&issuer.id)),
            _ => String::new(),
        };
        let issuer = report.add("iss", found("iss") + &taken_for, issuer);
        if let (Some(issuer), Some(algorithm), Some(header)) = (issuer, algorithm, &header) {
            let described: Vec<_> = issuer.keys(role).unwrap_or_default().iter().map(describe).collect();
            let keys = super::keys(issuer, role, algorithm, header);
            if let Some(keys) = report.add("key", described.join(", "), keys) {
                let maker = super::check_signature(&keys, issuer, role, algorithm, &jws);
                let described = maker.as_ref().map_or(String::new(), |key| format!("by {}", describe(key)));
                report.add("signature", described, maker);
            }
        }
        let exp = self.expiration(claims, now_unix_ms);
        let left = match &exp {
            Ok(NEVER_MS) => " (never expires)".to_owned(),
            Ok(exp) => format!(" (in {})", span(exp - now_unix_ms)),
            Err(_) => String::new(),
        };
        report.add("exp", found("exp") + &left, exp);
        report.add("nbf", found("nbf"), super::not_before(claims, now_unix_ms));
        report.add("aud", found("aud"), self.check_audience(claims));
        let grants = self.grants(claims);
        let source = match self.reads_mercure_claim(claims.get("authorization_details")) {
            true => "by the claim mercure: ",
            false => "",
        };
        let described = grants.as_ref().map_or(String::new(), |grants| {
            format!("{source}publish: {}; subscribe: {}", listed(&grants.publish), listed(&grants.subscribe))
        });
        report.add("authorization_details", described, grants);
        report.finish()
    }
}

#[derive(Default)]
struct Report(Vec<Check>);

impl Report {
    fn add<T>(&mut self, rule: &'static str, detail: String, result: Result<T, TokenError>) -> Option<T> {
        let (outcome, value) = match result {
            Ok(value) => (Outcome::Pass, Some(value)),
            Err(error) => (Outcome::Fail(error.to_string()), None),
        };
        self.0.push(Check { rule, outcome, detail });
        value
    }

    /// All the rules in their order, those that were not reached as skipped.
    fn finish(mut self) -> Vec<Check> {
        let mut check_of = |rule| {
            let place = self.0.iter().position(|check| check.rule == rule);
            place.map(|place| self.0.swap_remove(place))
        };
        let skipped = |rule| Check { rule, outcome: Outcome::Skipped, detail: String::new() };
        RULES.into_iter().map(|rule| check_of(rule).unwrap_or_else(|| skipped(rule))).collect()
    }
}

/// "RSA (RS256, PS256)", with the kid of a key that has one.
fn describe(key: &VerificationKey) -> String {
    let id = key.id().map(|id| format!(" {}", quoted(id))).unwrap_or_default();
    format!("{}{id} ({})", key.kind(), names(key.algorithms()))
}

fn listed(matchers: &[Matcher]) -> String {
    if matchers.is_empty() {
        return "nothing".to_owned();
    }
    let listed: Vec<_> =
        matchers.iter().map(|matcher| format!("{} {}", matcher.kind().name(), quoted(matcher.text()))).collect();
    listed.join(", ")
}
