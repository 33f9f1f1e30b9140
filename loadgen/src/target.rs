//! The address of a hub: where to connect and what the requests say.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, bail};

/// The path of a Mercure hub unless its URL says otherwise.
pub(crate) const HUB_PATH: &str = "/.well-known/mercure";

/// A hub's URL, taken apart and resolved.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Where to connect.
    pub(crate) address: SocketAddr,
    /// Host and port as the URL has them.
    pub(crate) authority: String,
    /// The path, with its leading slash.
    pub(crate) path: String,
    /// TLS is spoken there.
    pub(crate) secure: bool,
    /// Where the other hubs of its cluster are.
    pub(crate) others: Vec<SocketAddr>,
}

impl Target {
    /// Takes `http://host:port/path`, or the same with `https`; without a path it is a Mercure hub's usual one.
    pub(crate) fn parse(url: &str) -> anyhow::Result<Self> {
        let (secure, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => bail!("{url} doesn't start with http:// or https://"),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let path = if path.len() <= 1 { HUB_PATH } else { path };
        let with_port = if authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            authority.to_owned()
        } else {
            format!("{authority}:{}", if secure { 443 } else { 80 })
        };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("resolve {authority}"))?
            .next()
            .with_context(|| format!("{authority} has no address"))?;
        Ok(Self { address, authority: authority.to_owned(), path: path.to_owned(), secure, others: Vec::new() })
    }

    /// Where the `n`th connection goes: to the hubs of a cluster in turn.
    pub(crate) fn address_of(&self, n: usize) -> SocketAddr {
        match n % (self.others.len() + 1) {
            0 => self.address,
            other => self.others[other - 1],
        }
    }

    /// The whole URL.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", if self.secure { "https" } else { "http" }, self.authority, self.path)
    }

    /// The host without its port.
    pub(crate) fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => &self.authority,
        }
    }
}

/// The text with everything but letters, digits and `-._~` percent-encoded.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_means_the_usual_one() {
        for url in ["http://127.0.0.1:3000", "http://127.0.0.1:3000/"] {
            assert_eq!(Target::parse(url).expect("parses").url(), "http://127.0.0.1:3000/.well-known/mercure");
        }
        let other = Target::parse("http://127.0.0.1:81/events").expect("parses");
        assert_eq!((other.path.as_str(), other.address.port()), ("/events", 81));
        let secure = Target::parse("https://127.0.0.1/events").expect("parses");
        assert_eq!((secure.address.port(), secure.url().as_str()), (443, "https://127.0.0.1/events"));
        assert!(Target::parse("ftp://127.0.0.1").is_err());
    }

    #[test]
    fn the_host_is_what_stands_before_the_port() {
        for (url, host) in [("https://[::1]:3000/", "[::1]"), ("https://127.0.0.1", "127.0.0.1")] {
            assert_eq!(Target::parse(url).expect("parses").host(), host);
        }
    }

    #[test]
    fn connections_go_to_the_hubs_of_a_cluster_in_turn() {
        let mut target = Target::parse("http://127.0.0.1:1").expect("parses");
        assert_eq!([0, 1, 2].map(|n| target.address_of(n).port()), [1, 1, 1]);
        target.others = [2, 3].map(|port| ([127, 0, 0, 1], port).into()).to_vec();
        assert_eq!([0, 1, 2, 3, 4].map(|n| target.address_of(n).port()), [1, 2, 3, 1, 2]);
    }

    #[test]
    fn topics_are_encoded() {
        assert_eq!(percent_encoded("https://a.b/c d"), "https%3A%2F%2Fa.b%2Fc%20d");
    }
}
