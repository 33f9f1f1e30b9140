//! Where connections are accepted: any number of addresses, plain or with TLS, all at once.

use super::load::Reader;
use super::refusal::Refusal;
use super::value::parse_listen;
use std::fmt;
use std::net::SocketAddr;

/// Places to listen at, at most: each costs every shard a descriptor.
pub(crate) const LISTENERS_MAX: usize = 8;

/// One place where connections are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address and port.
    pub address: SocketAddr,
    /// Whether TLS is spoken there.
    pub tls: bool,
}

impl Listen {
    /// Without TLS.
    pub fn plain(address: SocketAddr) -> Listen {
        Listen { address, tls: false }
    }

    /// The scheme of URLs that lead there.
    pub fn scheme(self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    fn parse(word: &str) -> Result<Listen, String> {
        let (tls, address) = word.strip_prefix("tls:").map_or((false, word), |address| (true, address));
        Ok(Listen { address: parse_listen(address)?, tls })
    }
}

/// As a URL: `https://127.0.0.1:443`.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.address)
    }
}

impl Reader<'_> {
    /// The places of `--listen`; one at least, whatever was refused.
    pub(super) fn listen(&mut self, dev: bool) -> Vec<Listen> {
        let words = self.resolved.said("listen").words.clone();
        let mut found: Vec<Listen> = Vec::new();
        for word in &words {
            match Listen::parse(word) {
                Ok(listen) if listen.address.port() != 0 && found.iter().any(|it| it.address == listen.address) => {
                    self.refuse("listen", word, &"stands twice: an address is either plain or with TLS");
                }
                Ok(listen) => found.push(listen),
                Err(why) => self.refuse("listen", word, &why),
            }
        }
        if words.is_empty() {
            self.refuse("listen", "", &"names no address: write 127.0.0.1:3000, or leave it out");
        } else if found.len() > LISTENERS_MAX {
            let value = words.join(" ");
            self.refuse("listen", &value, &format!("names more than {LISTENERS_MAX} addresses"));
        }
        if let Some(beyond) = found.iter().find(|listen| dev && !listen.address.ip().is_loopback()) {
            let (place, value) = (self.resolved.place("listen"), beyond.address.to_string());
            self.refusals.push(Refusal::DevelopmentBeyondLoopback { place, value });
        }
        if found.is_empty() {
            found.push(Listen::plain(SocketAddr::from(([127, 0, 0, 1], 3000))));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, flags};

    fn load(words: &[&str]) -> Result<Vec<Listen>, String> {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        let resource = vec!["https://hub.example/.well-known/mercure".to_owned()];
        let given = [("listen", words), ("resource", resource), ("anonymous", vec!["true".to_owned()])];
        let tls = ["tls-certificate", "tls-key"].map(|name| (name, vec!["file.pem".to_owned()]));
        Config::load(flags(given.into_iter().chain(tls)), []).map(|config| config.listen).map_err(|why| why.to_string())
    }

    #[test]
    fn plain_and_tls_stand_side_by_side_in_order() {
        let listen = load(&["127.0.0.1:80", "tls:[::1]:443", "tls:localhost:8443"]).unwrap();
        let shown: Vec<String> = listen.iter().map(Listen::to_string).collect();
        assert_eq!(shown, ["http://127.0.0.1:80", "https://[::1]:443", "https://127.0.0.1:8443"]);
    }

    #[test]
    fn what_is_no_place_or_stands_twice_is_refused() {
        for (words, why) in [
            (&["tls:"][..], "isn't an address and port"),
            (&["tls::443"], "write 127.0.0.1:443 for this machine only"),
            (&["TLS:127.0.0.1:443"], "isn't an address and port"),
            (&["127.0.0.1:80", "tls:127.0.0.1:80"], "stands twice"),
            (&[], "names no address"),
            (&["tls:127.0.0.1:0"; 9], "more than 8"),
        ] {
            let said = load(words).unwrap_err();
            assert!(said.contains(why), "{words:?}: {said}");
        }
        assert_eq!(load(&["tls:127.0.0.1:0"; 8]).map(|listen| listen.len()), Ok(8));
    }
}
