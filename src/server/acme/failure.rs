//! Why a certificate wasn't to be had, and what to do about it.

use std::fmt;

use instant_acme::{Error, Problem};

use super::client::Absent;
use crate::config::AcmeChallenge;
use crate::config::data_folder::DataFolderError;

/// What all kinds of problems begin with (RFC 8555 §6.7).
const KIND_PREFIX: &str = "urn:ietf:params:acme:error:";
/// Characters of an authority's own words that are logged.
const DETAIL_CHARS_MAX: usize = 300;

/// See the module. The sentence says both.
#[derive(Debug)]
pub(super) enum Failure {
    /// The authority doesn't answer.
    Absent(String),
    /// The authority says no.
    Refused(Said),
    /// It has looked whether the name is the hub's own, and didn't find so.
    Unproved {
        /// How it looked.
        challenge: AcmeChallenge,
        /// What it said then, if it did.
        said: Said,
    },
    /// It doesn't offer this way to prove a name.
    NotOffered(AcmeChallenge),
    /// It took too long.
    Late(&'static str),
    /// What it gave can't be used.
    Unusable(String),
    /// The data folder.
    Folder(String),
}

/// The words of an authority.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The kind of problem, without its prefix.
    pub(super) kind: String,
    /// In words.
    pub(super) detail: String,
}

impl Said {
    /// What is worth telling, fit for a line of a log.
    pub(super) fn new(problem: &Problem) -> Said {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let mut detail = problem.detail.clone().unwrap_or_default();
        for part in &problem.subproblems {
            detail = format!("{detail}; {part}");
        }
        Said { kind: plain(kind.strip_prefix(KIND_PREFIX).unwrap_or(kind)), detail: plain(&detail) }
    }
}

fn plain(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(DETAIL_CHARS_MAX).collect()
}

impl Failure {
    /// Whether somebody was there to say no: then it is asked again more rarely.
    pub(super) fn authority_answers(&self) -> bool {
        !matches!(self, Failure::Absent(_) | Failure::Folder(_))
    }

    /// The account isn't known any more (RFC 8555 §7.3).
    pub(super) fn account_is_gone(&self) -> bool {
        matches!(self, Failure::Refused(said) if said.kind == "accountDoesNotExist")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Api(problem) => Failure::Refused(Said::new(&problem)),
            Error::Timeout(_) => Failure::Late("it has not come to an end in time"),
            Error::Json(_) => Failure::Absent("what answers there isn't ACME".to_owned()),
            Error::Other(other) if other.is::<Absent>() => Failure::Absent(plain(&other.to_string())),
            other => Failure::Unusable(plain(&other.to_string())),
        }
    }
}

impl From<DataFolderError> for Failure {
    fn from(error: DataFolderError) -> Failure {
        Failure::Folder(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self {
            Failure::Absent(why) => {
                return write!(
                    f,
                    "the authority can't be reached: {why}; is --acme-directory right, and may the hub connect there?"
                );
            }
            Failure::Late(what) => return write!(f, "{what}: the authority may be busy"),
            Failure::Unusable(why) => return write!(f, "what the authority gave can't be used: {why}"),
            Failure::Folder(why) => return f.write_str(why),
            Failure::NotOffered(challenge) => {
                return write!(f, "the authority doesn't offer {}: choose another --acme-challenge", challenge.name());
            }
            Failure::Unproved { challenge, said } => {
                write!(f, "the authority has not found this hub under the name ({})", challenge.name())?;
                write_said(f, said)?;
                unproved(*challenge, &said.kind)
            }
            Failure::Refused(said) => {
                f.write_str("the authority says no")?;
                write_said(f, said)?;
                refused(&said.kind)
            }
        };
        write!(f, "; {advice}")
    }
}

fn write_said(f: &mut fmt::Formatter<'_>, said: &Said) -> fmt::Result {
    if !said.kind.is_empty() {
        write!(f, ", {}", said.kind)?;
    }
    if !said.detail.is_empty() {
        write!(f, ": {}", said.detail)?;
    }
    Ok(())
}

/// What to do when a name couldn't be proved.
fn unproved(challenge: AcmeChallenge, kind: &str) -> &'static str {
    match (kind, challenge) {
        ("dns", _) => "let the A and AAAA entries of the name lead to this hub",
        ("caa", _) => refused(kind),
        ("connection", AcmeChallenge::TlsAlpn01) => {
            "let port 443 of the name lead to a tls: address of this hub: DNS, firewall, NAT; or use --acme-challenge http-01"
        }
        (_, AcmeChallenge::TlsAlpn01) => {
            "port 443 of the name leads elsewhere, or to something in front that ends TLS: let it pass connections on as they are, or \
             use --acme-challenge http-01"
        }
        ("connection", AcmeChallenge::Http01) => {
            "let port 80 of the name lead to a plain address of this hub: DNS, firewall, NAT; or use --acme-challenge tls-alpn-01"
        }
        (_, AcmeChallenge::Http01) => {
            "port 80 of the name leads elsewhere: let requests for /.well-known/acme-challenge/ come to this hub"
        }
    }
}

/// What to do when the authority doesn't want to.
fn refused(kind: &str) -> &'static str {
    match kind {
        "caa" => {
            "the CAA entry of the domain doesn't allow this authority: change it, or name another --acme-directory"
        }
        "dns" => "let the A and AAAA entries of the name lead to this hub",
        "rateLimited" => {
            "it is asked again when it may be; don't delete the data folder, it keeps what was got already"
        }
        "rejectedIdentifier" => "it gives no certificate for this name: is it a public one, and spelt right?",
        "externalAccountRequired" => "it is for its customers: give --acme-eab-kid and CINNABAR_ACME_EAB_KEY",
        "invalidContact" | "unsupportedContact" => "change --acme-email, or leave it out",
        "userActionRequired" => "there may be new terms to be agreed to: see what it says",
        "accountDoesNotExist" => "a new account is made",
        "unauthorized" => "are --acme-eab-kid and its key right, if it wants them?",
        _ => "it is asked again later",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str) -> Problem {
        Problem {
            r#type: Some(format!("{KIND_PREFIX}{kind}")),
            detail: Some(detail.to_owned()),
            status: None,
            subproblems: Vec::new(),
        }
    }

    #[test]
    fn every_sentence_says_what_to_do() {
        let refused = |kind| Failure::from(Error::Api(problem(kind, "so it is"))).to_string();
        assert!(refused("caa").contains("says no, caa: so it is; the CAA entry of the domain"));
        assert!(refused("rateLimited").contains("asked again when it may be"));
        assert!(refused("externalAccountRequired").contains("give --acme-eab-kid"));
        let unproved = |challenge, kind| {
            Failure::Unproved { challenge, said: Said::new(&problem(kind, "Connection refused")) }.to_string()
        };
        assert!(unproved(AcmeChallenge::TlsAlpn01, "connection").contains("let port 443 of the name lead to"));
        assert!(unproved(AcmeChallenge::Http01, "connection").contains("let port 80 of the name lead to"));
        assert!(unproved(AcmeChallenge::TlsAlpn01, "unauthorized").contains("something in front that ends TLS"));
        assert!(unproved(AcmeChallenge::Http01, "dns").contains("A and AAAA entries"));
        let absent = Failure::from(Error::Other(Box::new(Absent("no answer".to_owned()))));
        assert!(!absent.authority_answers() && absent.to_string().contains("is --acme-directory right"));
    }

    #[test]
    fn the_words_of_an_authority_are_fit_for_a_line() {
        let said = Said::new(&problem("dns\n", &format!("a\nb\x1b[31m{}", "c".repeat(1_000))));
        assert_eq!((said.kind.as_str(), said.detail.chars().count()), ("dns ", DETAIL_CHARS_MAX));
        assert!(said.detail.starts_with("a b [31mc"));
    }

    #[test]
    fn a_forgotten_account_is_known_as_such() {
        assert!(Failure::from(Error::Api(problem("accountDoesNotExist", ""))).account_is_gone());
        assert!(!Failure::from(Error::Api(problem("unauthorized", ""))).account_is_gone());
    }
}
