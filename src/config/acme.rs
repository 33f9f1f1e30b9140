//! Certificates by ACME (RFC 8555): for which names, of which authority, proved how.

use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use url::{Host, Url};

use super::issuer::Secret;
use super::listen::Listen;
use super::load::Reader;

/// Names a hub may get certificates for: each has one of its own, and authorities limit how many a domain gets.
const NAMES_MAX: usize = 100;

/// What is asked for, and of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The names, lower-case; not empty. Each gets a certificate of its own.
    pub names: Vec<String>,
    /// The authority's directory.
    pub directory: Url,
    /// Certificates in PEM that the authority's own server is judged by; none: those that browsers trust.
    pub authority: Option<PathBuf>,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// How the hub proves that a name is its own, the way that is tried first in front; not empty.
    pub challenges: Vec<AcmeChallenge>,
    /// The account at the authority's that this one is to belong to.
    pub external_account: Option<ExternalAccount>,
}

/// How a hub proves that a name is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// By a handshake on port 443 (RFC 8737).
    TlsAlpn01,
    /// By a file on port 80 (RFC 8555 §8.3).
    Http01,
}

impl AcmeChallenge {
    /// As the protocol and the setting have it.
    pub fn name(self) -> &'static str {
        match self {
            AcmeChallenge::TlsAlpn01 => "tls-alpn-01",
            AcmeChallenge::Http01 => "http-01",
        }
    }
}

/// What an authority gives its customers to bind an account to (RFC 8555 §7.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Its name.
    pub id: String,
    /// Its key, base64 as the authority gives it.
    pub key: Secret,
}

impl ExternalAccount {
    /// The bytes of the key.
    pub fn key_bytes(&self) -> Vec<u8> {
        base64_bytes(self.key.expose()).unwrap_or_default()
    }
}

impl Reader<'_> {
    /// What `--acme` and its companions say.
    pub(super) fn acme(&mut self, listen: &[Listen], dev: bool, has_data: bool) -> Option<Acme> {
        let words = self.resolved.said("acme").words.clone();
        let mut names: Vec<String> = Vec::new();
        for word in words.iter().flat_map(|word| word.split([',', ' '])).filter(|word| !word.is_empty()) {
            match parse_name(word) {
                Ok(name) if names.contains(&name) => {}
                Ok(name) => names.push(name),
                Err(why) => self.refuse("acme", word, &why),
            }
        }
        let directory = self.one("acme-directory", parse_directory);
        let email = self.one("acme-email", parse_email);
        let authority = self.resolved.word("acme-ca").map(PathBuf::from);
        let challenges = self.challenges(listen, !words.is_empty());
        let external_account = self.external_account();
        if words.is_empty() {
            let useless = ["acme-email", "acme-ca", "acme-eab-kid"].into_iter().find(|name| self.resolved.is_set(name));
            if let Some(name) = useless {
                self.warnings.push(format!("--{name} means nothing without --acme and the hub's name"));
            }
            return None;
        }
        let value = words.join(" ");
        if names.len() > NAMES_MAX {
            self.refuse("acme", &value, &format!("names more than {NAMES_MAX} certificates"));
        }
        if dev {
            let why =
                "can't be had in development mode, which nobody reaches from outside: --tls makes a local certificate";
            self.refuse("acme", &value, &why);
        } else if !listen.iter().any(|listen| listen.tls) {
            let why = "gets certificates that nobody would be shown: add --listen tls:0.0.0.0:443";
            self.refuse("acme", &value, &why);
        }
        if !has_data {
            let why = "needs a folder to keep account, keys and certificates in: name one with --data";
            self.refuse("acme", &value, &why);
        }
        Some(Acme { names, directory: directory?, authority, email, challenges, external_account })
    }

    fn challenges(&mut self, listen: &[Listen], wanted: bool) -> Vec<AcmeChallenge> {
        use AcmeChallenge::{Http01, TlsAlpn01};
        let has_port = |listen: &Listen, port| listen.address().is_some_and(|address| address.port() == port);
        let plain = listen.iter().any(|listen| !listen.tls);
        match self.one("acme-challenge", parse_challenge).flatten() {
            Some(Http01) if !plain && wanted => {
                let why = "is answered where no TLS is spoken: add --listen 0.0.0.0:80";
                self.refuse("acme-challenge", Http01.name(), &why);
                vec![Http01]
            }
            Some(chosen) => vec![chosen],
            None if !plain => vec![TlsAlpn01],
            // The one whose port is there: what is behind another may be something else.
            None if listen.iter().any(|listen| !listen.tls && has_port(listen, 80))
                && !listen.iter().any(|listen| listen.tls && has_port(listen, 443)) =>
            {
                vec![Http01, TlsAlpn01]
            }
            None => vec![TlsAlpn01, Http01],
        }
    }

    fn external_account(&mut self) -> Option<ExternalAccount> {
        let id = self.resolved.word("acme-eab-kid").map(str::to_owned);
        let key = self.resolved.word("acme-eab-key").map(str::to_owned);
        match (id, key) {
            (Some(id), Some(key)) => {
                if base64_bytes(&key).is_none_or(|key| key.is_empty()) {
                    self.refuse("acme-eab-key", "(secret)", &"isn't base64: give it as the authority shows it");
                }
                Some(ExternalAccount { id, key: Secret::new(key) })
            }
            (Some(id), None) => {
                self.refuse("acme-eab-kid", &id, &"is of no use without its key: give CINNABAR_ACME_EAB_KEY");
                None
            }
            (None, Some(_)) => {
                self.refuse("acme-eab-key", "(secret)", &"is of no use by itself: give --acme-eab-kid");
                None
            }
            (None, None) => None,
        }
    }
}

fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=');
    URL_SAFE_NO_PAD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

/// A DNS name as certificates have it.
fn parse_name(word: &str) -> Result<String, &'static str> {
    if word.starts_with("*.") {
        return Err(
            "stands for many names, which only an entry in the DNS can prove: list the names, or get that certificate with another \
             tool and name it with --tls-certificate",
        );
    }
    if word.parse::<IpAddr>().is_ok() {
        return Err("is an address: certificates are for names, such as hub.example");
    }
    let wrong = "isn't a host name: write one such as hub.example, without scheme, port or path";
    // What isn't ASCII becomes what the DNS has for it.
    let Ok(Host::Domain(name)) = Host::parse(word) else { return Err(wrong) };
    let is_label = |label: &str| {
        let inside = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        inside && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(is_label) { Ok(name) } else { Err(wrong) }
}

fn parse_directory(word: &str) -> Result<Url, &'static str> {
    let url = Url::parse(word).ok().filter(|url| url.scheme() == "https" && url.host().is_some());
    url.ok_or("isn't an ACME directory: write its URL, which begins with https://")
}

fn parse_email(word: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>(),;:\"?&%\\".contains(&byte);
    let parts = word.split_once('@').filter(|(user, domain)| !user.is_empty() && !domain.is_empty());
    if parts.is_some_and(|(_, domain)| !domain.contains('@')) && word.len() <= 254 && word.bytes().all(plain) {
        Ok(word.to_owned())
    } else {
        Err("isn't an e-mail address")
    }
}

fn parse_challenge(word: &str) -> Result<Option<AcmeChallenge>, &'static str> {
    match word {
        "auto" => Ok(None),
        "tls-alpn-01" => Ok(Some(AcmeChallenge::TlsAlpn01)),
        "http-01" => Ok(Some(AcmeChallenge::Http01)),
        _ => Err("is neither auto, tls-alpn-01 nor http-01"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layer::load_anonymous as load;

    fn said(given: &[(&'static str, &[&str])]) -> String {
        load(given).unwrap_err().to_string()
    }

    const TLS: (&str, &[&str]) = ("listen", &["tls:0.0.0.0:443"]);
    const NAME: (&str, &[&str]) = ("acme", &["hub.example"]);

    #[test]
    fn names_come_one_by_one_or_in_a_list() {
        let acme =
            load(&[TLS, ("acme", &["Hub.Example,b.example", "bücher.example", "b.example"])]).unwrap().acme.unwrap();
        assert_eq!(acme.names, ["hub.example", "b.example", "xn--bcher-kva.example"]);
        assert_eq!(acme.directory.as_str(), "https://acme-v02.api.letsencrypt.org/directory");
        assert_eq!(acme.challenges, [AcmeChallenge::TlsAlpn01]);
        assert_eq!(load(&[TLS, ("tls-certificate", &["a"]), ("tls-key", &["b"])]).unwrap().acme, None);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (name, why) in [
            ("*.hub.example", "list the names"),
            ("192.0.2.1", "is an address"),
            ("::1", "is an address"),
            ("https://hub.example", "isn't a host name"),
            ("hub.example:443", "isn't a host name"),
            ("hub_1.example", "isn't a host name"),
            ("-hub.example", "isn't a host name"),
            ("hub..example", "isn't a host name"),
        ] {
            let said = said(&[TLS, ("acme", &[name])]);
            assert!(said.contains(why), "{name}: {said}");
        }
    }

    #[test]
    fn the_way_that_can_work_is_tried_first() {
        use AcmeChallenge::{Http01, TlsAlpn01};
        for (listen, challenge, want) in [
            (&["tls:0.0.0.0:443"][..], "auto", &[TlsAlpn01][..]),
            (&["0.0.0.0:80", "tls:0.0.0.0:443"], "auto", &[TlsAlpn01, Http01]),
            (&["0.0.0.0:80", "tls:0.0.0.0:8443"], "auto", &[Http01, TlsAlpn01]),
            (&["127.0.0.1:3000", "tls:0.0.0.0:8443"], "auto", &[TlsAlpn01, Http01]),
            (&["0.0.0.0:80", "tls:0.0.0.0:443"], "http-01", &[Http01]),
        ] {
            let config = load(&[("listen", listen), NAME, ("acme-challenge", &[challenge])]).unwrap();
            assert_eq!(config.acme.unwrap().challenges, want, "{listen:?}");
        }
        assert!(said(&[TLS, NAME, ("acme-challenge", &["http-01"])]).contains("add --listen 0.0.0.0:80"));
        assert!(
            said(&[TLS, NAME, ("acme-challenge", &["dns-01"])]).contains("is neither auto, tls-alpn-01 nor http-01")
        );
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_way_out() {
        assert!(said(&[NAME]).contains("add --listen tls:0.0.0.0:443"));
        let dev = [("dev", &["true"][..]), ("listen", &["tls:127.0.0.1:0"]), NAME];
        assert!(said(&dev).contains("--tls makes a local certificate"));
        let nowhere = [TLS, NAME, ("data", &["none"][..]), ("history", &["memory"])];
        assert!(said(&nowhere).contains("name one with --data"));
        for directory in ["http://acme.example/dir", "acme.example", "https:"] {
            assert!(said(&[TLS, NAME, ("acme-directory", &[directory])]).contains("isn't an ACME directory"));
        }
        for email in ["me", "me@", "a@b@c", "a b@c", "a@b?x=y", "a@b,c@d"] {
            assert!(said(&[TLS, NAME, ("acme-email", &[email])]).contains("isn't an e-mail address"), "{email}");
        }
    }

    #[test]
    fn an_external_account_has_both_halves_and_its_key_stays_hidden() {
        let given = [TLS, NAME, ("acme-eab-kid", &["kid-1"][..]), ("acme-eab-key", &["AAEC_-8="])];
        let config = load(&given).unwrap();
        let account = config.acme.as_ref().unwrap().external_account.clone().unwrap();
        assert_eq!((account.id.as_str(), account.key_bytes()), ("kid-1", vec![0, 1, 2, 255, 239]));
        assert!(!format!("{config:?}").contains("AAEC") && !config.table().contains("AAEC"));
        assert!(said(&given[..3]).contains("give CINNABAR_ACME_EAB_KEY"));
        assert!(said(&[TLS, NAME, given[3]]).contains("give --acme-eab-kid"));
        assert!(said(&[TLS, NAME, given[2], ("acme-eab-key", &["no base64!"])]).contains("isn't base64"));
    }

    #[test]
    fn companions_without_a_name_are_worth_a_word() {
        let config = load(&[("acme-email", &["me@hub.example"])]).unwrap();
        assert!(config.warnings.iter().any(|warning| warning.contains("--acme-email means nothing without --acme")));
    }
}
