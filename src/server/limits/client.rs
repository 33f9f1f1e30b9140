//! Who is at the other end: a client, or a proxy of ours that speaks for one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::LimitSettings;
use super::counts::Key;
use crate::http::forwarded;
use crate::http::head::Head;

/// Somebody with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// In canonical form: an IPv4 address is one, whichever socket it came by.
    pub(crate) address: IpAddr,
    /// A proxy of ours: what it says of others counts, and limits by address are none of its.
    pub(crate) trusted: bool,
}

impl Client {
    /// Whoever comes by a Unix socket, and has no address: a proxy of ours, which may open the socket's file. No claim about an address
    /// leads here.
    pub(crate) const UNIX: Client = Client { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), trusted: true };

    pub(crate) fn new(address: IpAddr, settings: &LimitSettings) -> Client {
        let address = match address.to_canonical() {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            address => address,
        };
        Client { address, trusted: settings.trusted.contains(address) }
    }

    /// The same peer as the settings see it now.
    pub(crate) fn seen_again(self, settings: &LimitSettings) -> Client {
        if self.is_unix() { Client::UNIX } else { Client::new(self.address, settings) }
    }

    /// Whether it came by a Unix socket.
    pub(crate) fn is_unix(self) -> bool {
        self.address == Client::UNIX.address
    }

    /// Who sent a request that came over a connection of this one's.
    pub(crate) fn who_asks(self, head: &Head<'_>, settings: &LimitSettings) -> Client {
        if !self.trusted {
            return self;
        }
        match forwarded::client(head, self.address, &settings.trusted, settings.forwarded) {
            address if address == self.address => self,
            address => Client::new(address, settings),
        }
    }

    /// What its connections are counted under. Of an IPv6 address the first 64 bits: a household or a rented machine has
    /// at least as many addresses as the rest makes.
    pub(super) fn key(self) -> Key {
        match self.address {
            IpAddr::V4(address) => [4, address.to_bits().into()],
            IpAddr::V6(address) => [6, (address.to_bits() >> 64) as u64],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClientLimits;
    use crate::http::head::{HeadLimits, HeadStatus, parse};
    use crate::http::network::NetworkList;

    fn settings() -> LimitSettings {
        let trusted_proxies = NetworkList::new(["10.0.0.0/8".parse().unwrap()]);
        LimitSettings::new(&ClientLimits { trusted_proxies, ..ClientLimits::default() })
    }

    fn client(address: &str) -> Client {
        Client::new(address.parse().unwrap(), &settings())
    }

    #[test]
    fn ipv6_is_counted_by_64_bits_and_ipv4_whole() {
        assert_eq!(client("2001:db8:0:1::1").key(), client("2001:db8:0:1:ffff::2").key());
        assert_ne!(client("2001:db8:0:1::1").key(), client("2001:db8:0:2::1").key());
        assert_ne!(client("192.0.2.1").key(), client("192.0.2.2").key());
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_ne!(client("0.0.0.6").key(), client("::6").key());
    }

    #[test]
    fn a_proxy_of_ours_speaks_for_others_and_nobody_else_does() {
        let raw = b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
        let Ok(HeadStatus::Complete(head)) = parse(raw, &HeadLimits::default()) else { panic!("a head") };
        assert_eq!(client("10.0.0.1").who_asks(&head, &settings()), client("192.0.2.1"));
        assert_eq!(client("::ffff:10.0.0.1").who_asks(&head, &settings()), client("192.0.2.1"));
        assert_eq!(client("198.51.100.1").who_asks(&head, &settings()), client("198.51.100.1"));
        assert!(client("10.0.0.1").trusted && !client("192.0.2.1").trusted);
        assert_eq!(Client::UNIX.who_asks(&head, &settings()), client("192.0.2.1"));
    }

    #[test]
    fn who_comes_by_a_unix_socket_is_a_proxy_of_ours_and_nobody_can_claim_to_be() {
        let settings = settings();
        for claim in ["::", "0.0.0.0", "::ffff:0.0.0.0"] {
            assert!(!client(claim).trusted && !client(claim).is_unix(), "{claim}");
            let raw = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {claim}\r\n\r\n");
            let Ok(HeadStatus::Complete(head)) = parse(raw.as_bytes(), &HeadLimits::default()) else {
                panic!("a head")
            };
            assert!(!client("10.0.0.1").who_asks(&head, &settings).is_unix(), "{claim}");
        }
        let Ok(HeadStatus::Complete(silent)) = parse(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &HeadLimits::default())
        else {
            panic!("a head")
        };
        assert_eq!(Client::UNIX.who_asks(&silent, &settings), Client::UNIX);
        assert_eq!(Client::UNIX.seen_again(&settings), Client::UNIX);
    }
}
