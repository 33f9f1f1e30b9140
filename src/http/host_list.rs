//! The hosts a server answers to, by its public URLs.

use url::Url;

use super::authority;

/// Hosts with their ports. An empty list allows nobody; whether it is asked is its owner's to decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostList(Vec<Listed>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    host: String,
    port: u16,
    /// The port is the scheme's own, which clients leave out.
    usual: bool,
}

impl HostList {
    /// The hosts of these `http` and `https` URLs; whatever else they name doesn't count.
    pub fn of_urls<'u>(urls: impl IntoIterator<Item = &'u Url>) -> HostList {
        let listed = |url: &Url| {
            let (host, port) = (url.host_str()?.to_owned(), url.port_or_known_default()?);
            Some(Listed { host, port, usual: url.port().is_none() })
        };
        HostList(urls.into_iter().filter_map(listed).collect())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them has this name, on whatever port.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        self.0.iter().any(|listed| is_same(&listed.host, name))
    }

    /// Whether a request with this `Host` is for one of them. The letter case doesn't count, the port does.
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        let Some((name, port)) = authority::split(host) else {
            return false;
        };
        self.0.iter().any(|listed| {
            let port_fits = match port {
                None => listed.usual,
                Some(port) => port.parse() == Ok(listed.port),
            };
            port_fits && is_same(&listed.host, name)
        })
    }
}

/// An IPv6 address may be written in several ways.
fn is_same(listed: &str, name: &str) -> bool {
    let address = authority::bracketed(listed);
    listed.eq_ignore_ascii_case(name) || (address.is_some() && address == authority::bracketed(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(urls: &[&str]) -> HostList {
        HostList::of_urls(&urls.iter().map(|url| Url::parse(url).unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn the_host_counts_and_the_port() {
        let hosts = list(&["https://hub.example/.well-known/mercure", "http://inside:3000", "https://bücher.example"]);
        for host in ["hub.example", "HUB.example", "hub.example:443", "inside:3000", "xn--bcher-kva.example"] {
            assert!(hosts.allows(host), "{host}");
        }
        for host in [
            "",
            "hub.example:80",
            "hub.example:3000",
            "hub.example.",
            "inside",
            "inside:80",
            "x.hub.example",
            "hub.example.evil.example",
            "[::1]",
            "hub.example:x",
        ] {
            assert!(!hosts.allows(host), "{host}");
        }
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        let hosts = list(&["http://[2001:db8::1]:3000", "http://192.0.2.1"]);
        assert!(hosts.allows("[2001:db8:0:0::1]:3000") && hosts.allows("192.0.2.1:80"));
        assert!(!hosts.allows("[2001:db8::2]:3000") && !hosts.allows("[2001:db8::1]"));
    }

    #[test]
    fn an_empty_list_allows_nobody() {
        assert!(list(&[]).is_empty() && !list(&[]).allows("hub.example"));
        assert!(!list(&["https://hub.example"]).is_empty());
    }
}
