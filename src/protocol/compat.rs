//! The protocol before 1.0: which of its two last versions a hub also speaks, and what that loosens.
//!
//! Nothing of it holds unless it was asked for. The rules themselves stand where those of 1.0 do, each under a
//! `compat` of its own; what they loosen is said here once, for the log and for people who want to leave it.

use std::fmt;

/// The issuer of tokens nobody has named: with keys and without issuers, whoever signs with them is trusted, whatever
/// `iss` says.
pub const IMPLICIT_ISSUER: &str = "*";

/// The version before 1.0 that is spoken beside the current one, by the number the reference hub gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// Version 7: what differs from [`Compat::Eight`] is said by the methods.
    Seven,
    /// Version 8.
    Eight,
}

impl Compat {
    /// The version of that number, `7` or `8`.
    pub fn from_number(number: &str) -> Option<Compat> {
        match number {
            "7" => Some(Compat::Seven),
            "8" => Some(Compat::Eight),
            _ => None,
        }
    }

    /// Whether any valid token may publish public updates to any topic.
    pub fn publishes_public_updates_ungranted(self) -> bool {
        self == Compat::Seven
    }

    /// Whether the parameter `Last-Event-ID` is a cursor.
    pub fn reads_old_cursor(self) -> bool {
        self == Compat::Seven
    }

    /// What is looser than in 1.0, a sentence each.
    pub fn loosened(self) -> Vec<&'static str> {
        let always = [
            "a token of any type passes (typ is not checked), so one made for another purpose with the same key does too",
            "a token for any audience passes (aud is not checked), so one made for another service with the same key does too",
            "a token without exp never expires, and streams opened with it end by --max-lifetime only",
            "a token of an unknown issuer, or of none, is taken for one of the single configured issuer",
            "grants are also read from the claim mercure (or https://mercure.rocks/) of tokens without authorization_details",
            "a token is also taken from the query parameter authorization, where proxies and browser histories keep it, \
             and for publishing without a check of the origin",
            "a token is also taken from the cookie mercureAuthorization",
            "subscribers may select by topic=, by URI template too",
        ];
        let of_seven = [
            "any valid token may publish public updates to any topic, granted or not",
            "the parameter Last-Event-ID is a cursor too",
        ];
        let of_seven = of_seven.into_iter().filter(|_| self == Compat::Seven);
        always.into_iter().chain(of_seven).collect()
    }
}

impl fmt::Display for Compat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compat::Seven => "7",
            Compat::Eight => "8",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_versions() {
        for compat in [Compat::Seven, Compat::Eight] {
            assert_eq!(Compat::from_number(&compat.to_string()), Some(compat));
        }
        for other in ["", "6", "9", "07", "seven", "true"] {
            assert_eq!(Compat::from_number(other), None);
        }
    }

    #[test]
    fn the_older_version_is_the_looser_one() {
        let [seven, eight] = [Compat::Seven, Compat::Eight].map(Compat::loosened);
        assert!(seven.starts_with(&eight) && seven.len() > eight.len());
    }
}
