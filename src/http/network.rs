//! Networks of addresses, as an operator writes them: `192.0.2.7`, `10.0.0.0/8`, `2001:db8::/32`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// Networks in a list: all of them are looked at for every connection.
pub const NETWORKS_MAX: usize = 256;

/// An address and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// Why a text is no network; the message completes the sentence "…, which …".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum NetworkError {
    #[error("isn't an address or a network: write 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32")]
    Unreadable,
    #[error("has more bits than its address: write {bits_max} at most behind the slash")]
    PrefixTooLong { bits_max: u8 },
    #[error("has bits behind its prefix: write {meant} for the network, or the address alone")]
    BitsBehindPrefix { meant: Network },
    #[error("is everybody")]
    Everybody,
    #[error("is an IPv4 address written as IPv6: write it as IPv4")]
    Mapped,
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Unreadable)?;
        if address.to_canonical() != address {
            return Err(NetworkError::Mapped);
        }
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => bits_max,
            Some(digits) if !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                let bits = digits.parse::<u16>().map_err(|_| NetworkError::Unreadable)?;
                u8::try_from(bits)
                    .ok()
                    .filter(|&bits| bits <= bits_max)
                    .ok_or(NetworkError::PrefixTooLong { bits_max })?
            }
            Some(_) => return Err(NetworkError::Unreadable),
        };
        if prefix_bits == 0 {
            return Err(NetworkError::Everybody);
        }
        let meant = Network { address: first_bits(address, prefix_bits), prefix_bits };
        if meant.address == address { Ok(meant) } else { Err(NetworkError::BitsBehindPrefix { meant }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl Network {
    /// Whether the address, in its canonical form, belongs to it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && first_bits(address, self.prefix_bits) == self.address
    }
}

/// The address with all bits behind the first ones 0. `bits` is 1 at least.
fn first_bits(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX << 32u8.saturating_sub(bits);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX << 128u8.saturating_sub(bits);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// Some networks; an empty list has nobody in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkList(Box<[Network]>);

impl NetworkList {
    /// This list, and one address more.
    #[must_use]
    pub fn with(&self, address: IpAddr) -> NetworkList {
        let prefix_bits = if address.is_ipv4() { 32 } else { 128 };
        NetworkList::new(self.0.iter().copied().chain([Network { address, prefix_bits }]))
    }

    /// A list of these.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> NetworkList {
        NetworkList(networks.into_iter().collect())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the address belongs to one of them. An IPv4 address that IPv6 carries is one of IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Result<Network, NetworkError> {
        text.parse()
    }

    fn list(texts: &[&str]) -> NetworkList {
        NetworkList::new(texts.iter().map(|text| network(text).unwrap()))
    }

    fn has(list: &NetworkList, address: &str) -> bool {
        list.contains(address.parse().unwrap())
    }

    #[test]
    fn an_address_belongs_to_the_networks_whose_first_bits_it_has() {
        let list = list(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/33", "::1", "224.0.0.0/3"]);
        for address in ["10.255.1.2", "192.0.2.7", "::ffff:10.1.1.1", "2001:db8:7fff::1", "::1", "255.255.255.255"] {
            assert!(has(&list, address), "{address}");
        }
        for address in ["11.0.0.0", "192.0.2.6", "2001:db8:8000::1", "::2", "::a00:1", "127.255.255.255"] {
            assert!(!has(&list, address), "{address}");
        }
        assert!(!has(&NetworkList::default(), "127.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_told_what_to_write() {
        for text in
            ["", "proxy", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0/8", "/8", "[::1]", "::1%lo", " ::1"]
        {
            assert_eq!(network(text), Err(NetworkError::Unreadable), "{text}");
        }
        assert_eq!(network("10.0.0.0/33"), Err(NetworkError::PrefixTooLong { bits_max: 32 }));
        assert_eq!(network("::1/999"), Err(NetworkError::PrefixTooLong { bits_max: 128 }));
        for text in ["0.0.0.0/0", "::/0"] {
            assert_eq!(network(text), Err(NetworkError::Everybody), "{text}");
        }
        assert_eq!(network("::ffff:10.0.0.1"), Err(NetworkError::Mapped));
        let why = network("10.1.2.3/8").unwrap_err();
        assert_eq!(
            why.to_string(),
            "has bits behind its prefix: write 10.0.0.0/8 for the network, or the address alone"
        );
    }

    proptest! {
        #[test]
        fn a_network_has_its_own_addresses_and_reads_back(bits in any::<u128>(), v6 in any::<bool>(), prefix in 1u8..=128) {
            let address: IpAddr = if v6 { Ipv6Addr::from_bits(bits).into() } else { Ipv4Addr::from_bits(bits as u32).into() };
            prop_assume!(address.to_canonical() == address);
            let prefix = if v6 { prefix } else { prefix.min(32) };
            let first = first_bits(address, prefix);
            prop_assume!(first.to_canonical() == first);
            let read = network(&format!("{first}/{prefix}"));
            prop_assert_eq!(read.clone(), Ok(Network { address: first, prefix_bits: prefix }));
            prop_assert!(read.unwrap().contains(address));
        }

        #[test]
        fn no_text_is_a_panic(text in ".{0,24}") {
            let _ = network(&text);
        }
    }
}
