//! What is wrong with a token, in sentences that say what to change.

use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::{Part, Role, TOKEN_BYTES_MAX};
use crate::protocol::grants::{ClaimError, GrantsError};
use crate::protocol::keys::names;
use crate::protocol::matcher::MatcherError;
use crate::protocol::pattern::PatternError;

/// Which rule a token breaks. The sentences are for the log and for `token explain`; a client is only told that the token
/// is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`TOKEN_BYTES_MAX`].
    #[error(
        "the token has {bytes} bytes and at most {TOKEN_BYTES_MAX} are accepted: grant by pattern instead of topic by topic"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not header, claims and signature.
    #[error(
        "a token is three parts with dots between them (JWS compact form) and this has {parts}: send it as the issuer made it"
    )]
    NotCompact {
        /// How many parts there are.
        parts: usize,
    },
    /// A part isn't base64url in its only spelling.
    #[error("the {0} is not base64url without padding (RFC 7515): the token was cut or changed on its way")]
    Base64(Part),
    /// A part isn't JSON that everybody reads alike.
    #[error("the {part} can't be read as JSON: {reason}")]
    Json {
        /// Header or claims.
        part: Part,
        /// What the parser says.
        reason: String,
    },
    /// A part is another JSON value.
    #[error("the {0} must be a JSON object")]
    NotAnObject(Part),
    /// The third part is empty.
    #[error("the token is not signed: the part after the second dot is empty")]
    Unsigned,
    /// `typ` isn't `at+jwt`.
    #[error("typ must be \"at+jwt\" and {}: let the issuer set it in the header", found_text(found))]
    Type {
        /// What it is.
        found: Option<String>,
    },
    /// `crit` is there.
    #[error(
        "the header has crit, which demands extensions (RFC 7515 §4.1.11), and this hub has none: let the issuer leave it out"
    )]
    Critical,
    /// `alg` is missing, `none`, or unknown.
    #[error(
        "alg must name a signature algorithm of RFC 7518 or 8037 that this hub knows (HS*, RS*, PS*, ES256, ES384, EdDSA) and {}",
        found_text(found)
    )]
    Algorithm {
        /// What it is.
        found: Option<String>,
    },
    /// `iss` is missing or isn't a string.
    #[error("iss must be a string that names the issuer and {}", found_text(found))]
    IssuerMalformed {
        /// What it is.
        found: Option<String>,
    },
    /// `iss` isn't trusted.
    #[error("the issuer {} is not trusted: trusted are {}; the comparison is exact, to the last slash", quoted(found), trusted.join(", "))]
    IssuerUnknown {
        /// What it is.
        found: String,
        /// The configured ones.
        trusted: Vec<String>,
    },
    /// The issuer has no key for the role.
    #[error(
        "the issuer {} has no {role} key: configure one, or use its tokens for the other role only",
        quoted(issuer)
    )]
    NoKey {
        /// Who.
        issuer: String,
        /// For what.
        role: Role,
    },
    /// The issuer's keys come from a set that has none.
    #[error(
        "there is no {role} key of the issuer {} at hand: its key set could not be fetched yet, or holds none that can be used; the \
         log says which",
        quoted(issuer)
    )]
    KeySetEmpty {
        /// Who.
        issuer: String,
        /// For what.
        role: Role,
    },
    /// No key of the issuer's has the name that the token gives.
    #[error(
        "kid is {} and no {role} key of the issuer {} has that name: a hub fetches the key set again now and then when that happens, so \
         try again; if it stays so, compare with the kids in the set",
        quoted(found),
        quoted(issuer)
    )]
    KeyUnknown {
        /// Who.
        issuer: String,
        /// For what.
        role: Role,
        /// What the token says.
        found: String,
    },
    /// Too many keys could have made the signature.
    #[error(
        "the token has no kid and {keys} {role} keys of the issuer {} could have signed it: let the issuer put kid into the header",
        quoted(issuer)
    )]
    KeyAmbiguous {
        /// Who.
        issuer: String,
        /// For what.
        role: Role,
        /// How many.
        keys: usize,
    },
    /// `alg` isn't allowed for any of the issuer's keys.
    #[error("alg is {} and the issuer's {role} keys are for {}: sign with one of those, or change the key's algorithms", names(&[*algorithm]), names(allowed))]
    AlgorithmNotAllowed {
        /// What the token says.
        algorithm: Algorithm,
        /// For what.
        role: Role,
        /// What the keys are for.
        allowed: Vec<Algorithm>,
    },
    /// No key of the issuer's made the signature.
    #[error(
        "the signature is not by the {role} key of the issuer {}: the key configured here and the one that signed differ, or the token was changed",
        quoted(issuer)
    )]
    Signature {
        /// Who.
        issuer: String,
        /// For what.
        role: Role,
    },
    /// `exp` is missing.
    #[error("exp is missing: a token must expire; set it to seconds since 1970")]
    ExpirationMissing,
    /// `exp` or `nbf` isn't a number.
    #[error("{claim} must be a JSON number, seconds since 1970, and {}", found_text(&Some(found.clone())))]
    TimeMalformed {
        /// Which claim.
        claim: &'static str,
        /// What it is.
        found: String,
    },
    /// `exp` is over.
    #[error("the token expired {} ago: get a new one", span(now_unix_ms - expires_at_ms))]
    Expired {
        /// When, in milliseconds since 1970.
        expires_at_ms: u64,
        /// The time of the check.
        now_unix_ms: u64,
    },
    /// `nbf` is to come.
    #[error("the token becomes valid in {}: wait, or compare the clocks of the issuer and the hub", span(not_before_ms - now_unix_ms))]
    NotYetValid {
        /// When, in milliseconds since 1970.
        not_before_ms: u64,
        /// The time of the check.
        now_unix_ms: u64,
    },
    /// `aud` is missing or neither a string nor an array of strings.
    #[error("aud must be a string or an array of strings and {}: set it to {}", found_text(found), quoted(expected))]
    AudienceMalformed {
        /// What it is.
        found: Option<String>,
        /// The resource identifier.
        expected: String,
    },
    /// `aud` names others.
    #[error(
        "the token is for {found} and this hub is {}: let the issuer put that into aud, exactly, or change the hub's resource identifier",
        quoted(expected)
    )]
    AudienceWrong {
        /// What it is.
        found: String,
        /// The resource identifier.
        expected: String,
    },
    /// `authorization_details` can't be read.
    #[error(transparent)]
    Grants(#[from] GrantsError),
    /// The claim of before version 1.0 can't be read.
    #[error(transparent)]
    MercureClaim(#[from] ClaimError),
}

impl TokenError {
    /// Whether the same token may be fine later: the hub is full, the token isn't wrong.
    pub fn may_pass(&self) -> bool {
        let reason = match self {
            TokenError::Grants(GrantsError::Matcher { reason, .. }) => reason,
            TokenError::MercureClaim(ClaimError::Matcher { reason, .. }) => reason,
            _ => return false,
        };
        *reason == MatcherError::Pattern(PatternError::TooManyRegexes)
    }
}

/// How much of a stranger's text goes into a sentence.
const SHOWN_CHARS_MAX: usize = 200;

/// A stranger's text in quotation marks, as [`shortened`].
pub(super) fn quoted(text: &str) -> String {
    shortened(&Value::from(text))
}

/// A stranger's JSON on one line, at a bounded length, without characters that could disturb a terminal or a log.
pub(super) fn shortened(value: &Value) -> String {
    let json = value.to_string();
    let mut shown = String::new();
    for c in json.chars().take(SHOWN_CHARS_MAX) {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if json.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

fn found_text(found: &Option<String>) -> String {
    found.as_ref().map_or_else(|| "is missing".to_owned(), |found| format!("is {found}"))
}

/// "1 h 2 min", to the two largest units.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
