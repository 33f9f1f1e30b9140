//! Where key sets come from: URLs that the configuration trusts, read as strictly as they will be fetched.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use url::{Host, Url};

use crate::protocol::token::Role;

/// The key set of an issuer in a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetSource {
    /// `iss` of the tokens.
    pub issuer: String,
    /// What the tokens are presented for.
    pub role: Role,
    /// Where the set is.
    pub url: KeySetUrl,
    /// What its keys may be used with.
    pub algorithms: Vec<Algorithm>,
}

/// A place to fetch a key set from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeySetUrl {
    /// `https:`, or `http:` where that is allowed.
    Web {
        /// The URL.
        url: Url,
        /// Nothing but loopback addresses is connected to: it isn't encrypted and nobody allowed that beyond.
        loopback_only: bool,
    },
    /// `file:`, an absolute path.
    File(PathBuf),
}

impl fmt::Display for KeySetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySetUrl::Web { url, .. } => f.write_str(url.as_str()),
            KeySetUrl::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}

impl KeySetUrl {
    /// Reads a URL. The error completes the sentence "…, which …".
    pub(super) fn parse(word: &str, allow_http: bool) -> Result<KeySetUrl, &'static str> {
        let url =
            Url::parse(word).map_err(|_| "isn't a URL: write https://…, or file:///… for a file of this machine")?;
        match url.scheme() {
            // The parser would read `file:keys.json` as a file of the root folder.
            "file" if word.get(5..6).is_none_or(|slash| slash != "/") => Err(
                "isn't an absolute path: write file:/// and the path from the root, such as file:///etc/cinnabar/keys.json",
            ),
            "file" => {
                let path = url.to_file_path().ok().filter(|_| url.query().is_none() && url.fragment().is_none());
                path.map(KeySetUrl::File).ok_or("isn't the path of a file: write file:///etc/cinnabar/keys.json")
            }
            "https" | "http" => KeySetUrl::web(url, allow_http),
            _ => Err(
                "isn't a URL that key sets are fetched from: write https://…, or file:///… for a file of this machine",
            ),
        }
    }

    fn web(url: Url, allow_http: bool) -> Result<KeySetUrl, &'static str> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("names a user or a password: a key set is public, leave them out");
        }
        if url.fragment().is_some() {
            return Err("has a fragment: leave out what begins with #");
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if address.is_some_and(is_link_local) {
            return Err("has a link-local address, where clouds keep credentials: no key set is fetched from there");
        }
        let is_loopback = address.map_or(url.host_str() == Some("localhost"), |address| address.is_loopback());
        if url.scheme() == "http" && !allow_http && !is_loopback {
            return Err(
                "isn't encrypted, so that anybody on the way could add a key: write https://…, or add `--jwks-allow-http` where \
                 you trust the network",
            );
        }
        let loopback_only = url.scheme() == "http" && !allow_http;
        Ok(KeySetUrl::Web { url, loopback_only })
    }
}

/// Whether an address is link-local (RFC 3927, RFC 4291 §2.5.6), in IPv6's ways of writing an IPv4 address too.
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            // RFC 6052: the prefix of translators.
            let translated = match address.segments() {
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some((u32::from(high) << 16 | u32::from(low)).into()),
                _ => address.to_ipv4(),
            };
            address.is_unicast_link_local()
                || translated.is_some_and(|address: std::net::Ipv4Addr| address.is_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(word: &str) -> Result<KeySetUrl, &'static str> {
        KeySetUrl::parse(word, false)
    }

    #[test]
    fn sets_come_from_https_from_loopback_and_from_files() {
        for word in [
            "https://login.example/keys",
            "https://10.0.0.7:8443/keys?v=1",
            "http://localhost:9000/keys",
            "http://127.0.0.9/keys",
            "http://[::1]:80/keys",
        ] {
            assert!(matches!(parse(word), Ok(KeySetUrl::Web { .. })), "{word}");
        }
        assert_eq!(parse("file:///etc/keys.json"), Ok(KeySetUrl::File("/etc/keys.json".into())));
        assert_eq!(parse("file:///a%20b"), Ok(KeySetUrl::File("/a b".into())));
    }

    #[test]
    fn what_is_not_encrypted_stays_on_the_machine_unless_allowed() {
        let word = "http://login.example/keys";
        assert!(parse(word).unwrap_err().contains("--jwks-allow-http"));
        assert!(parse("http://10.0.0.1/keys").is_err());
        assert!(parse("http://localhost.example/keys").is_err());
        assert!(matches!(KeySetUrl::parse(word, true), Ok(KeySetUrl::Web { loopback_only: false, .. })));
        assert!(matches!(parse("http://localhost/keys"), Ok(KeySetUrl::Web { loopback_only: true, .. })));
    }

    #[test]
    fn other_urls_are_refused() {
        for word in [
            "keys.json",
            "/etc/keys.json",
            "file:keys.json",
            "file://other/keys.json",
            "file:///keys.json#a",
            "ftp://a.example/keys",
            "data:,{}",
            "https://user@a.example/keys",
            "https://a.example/keys#1",
            "https://169.254.169.254/keys",
            "https://[fe80::1]/keys",
            "https://[::ffff:169.254.169.254]/keys",
        ] {
            assert!(parse(word).is_err(), "{word}");
        }
        assert!(KeySetUrl::parse("http://169.254.169.254/keys", true).is_err());
    }

    #[test]
    fn link_local_is_recognised_however_it_is_written() {
        for (text, expected) in [
            ("169.254.169.254", true),
            ("169.253.255.255", false),
            ("10.0.0.1", false),
            ("127.0.0.1", false),
            ("fe80::1", true),
            ("febf::1", true),
            ("fec0::1", false),
            ("fd00:ec2::254", false),
            ("::ffff:169.254.0.1", true),
            ("::169.254.0.1", true),
            ("64:ff9b::a9fe:a9fe", true),
            ("64:ff9b::a00:1", false),
            ("::1", false),
        ] {
            assert_eq!(is_link_local(text.parse().unwrap()), expected, "{text}");
        }
    }
}
