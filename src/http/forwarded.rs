//! Whom a proxy speaks for: the fields `X-Forwarded-For` and `Forwarded` (RFC 7239).
//!
//! Every proxy appends whom it was asked by, so what stands on the right is the most trustworthy, and what stands left of the
//! first address that isn't a proxy of ours may be anybody's invention. The list is therefore read from the right, and split
//! at every comma: an unfinished quote that a client sends swallows nothing of what a proxy adds behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::head::Head;
use super::network::NetworkList;

/// Entries that are looked at: nobody has more proxies of his own in a row.
pub const HOPS_MAX: usize = 32;

/// The field that our proxies write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedField {
    /// None that counts.
    Off,
    /// `X-Forwarded-For`
    #[default]
    XForwardedFor,
    /// `Forwarded`
    Forwarded,
}

/// The client behind `peer`, who is at the other end of the connection: the first address from the right that isn't trusted.
///
/// Where a trusted proxy names nobody, or something that isn't an address (`unknown`, `_hidden`, a Unix socket), the last
/// address known stands for whoever is behind it.
#[must_use]
pub fn client(head: &Head<'_>, peer: IpAddr, trusted: &NetworkList, field: ForwardedField) -> IpAddr {
    let name = match field {
        ForwardedField::Off => return peer,
        ForwardedField::XForwardedFor => "x-forwarded-for",
        ForwardedField::Forwarded => "forwarded",
    };
    if !trusted.contains(peer) {
        return peer;
    }
    let values: Vec<&[u8]> = head.get_all(name).collect();
    let entries = values.iter().rev().flat_map(|value| value.rsplit(|&byte| byte == b','));
    let hops = entries.map(|entry| match field {
        ForwardedField::Forwarded => forwarded_for(entry),
        _ => std::str::from_utf8(entry).ok().and_then(node),
    });
    walk(peer, trusted, hops)
}

fn walk(peer: IpAddr, trusted: &NetworkList, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
    let mut client = peer;
    for hop in hops.take(HOPS_MAX) {
        if !trusted.contains(client) {
            break;
        }
        match hop {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// The address in the `for` of one `forwarded-element`.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let element = std::str::from_utf8(element).ok()?;
    let mut found = None;
    for pair in element.split(';') {
        let Some((name, value)) = pair.trim_matches([' ', '\t']).split_once('=') else {
            continue;
        };
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            // Which of the two is meant? Nobody knows.
            return None;
        }
    }
    let value = found?;
    // No backslash: an address needs none, and what has one is read in two ways.
    let unquoted = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'));
    unquoted.filter(|value| !value.contains(['"', '\\'])).and_then(node)
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`. The
/// port may be an obfuscated one (RFC 7239 §6.3), which some proxies write.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let address: IpAddr = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
            return None;
        }
        address.parse::<Ipv6Addr>().ok()?.into()
    } else if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else if let Ok(address) = text.parse::<SocketAddr>() {
        address.ip()
    } else {
        let (address, port) = text.split_once(':')?;
        if !is_port(port) {
            return None;
        }
        address.parse::<Ipv4Addr>().ok()?.into()
    };
    Some(address.to_canonical())
}

fn is_port(port: &str) -> bool {
    let obfuscated = port.strip_prefix('_').is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    });
    obfuscated || (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::head::{HeadLimits, HeadStatus, parse};

    fn trusted() -> NetworkList {
        NetworkList::new(["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap()))
    }

    fn client_of(peer: &str, field: ForwardedField, fields: &[&str]) -> String {
        let raw = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", fields.concat());
        let Ok(HeadStatus::Complete(head)) = parse(raw.as_bytes(), &HeadLimits::default()) else {
            panic!("not a head: {raw:?}");
        };
        client(&head, peer.parse().unwrap(), &trusted(), field).to_string()
    }

    fn by_x(peer: &str, values: &[&str]) -> String {
        let fields: Vec<String> = values.iter().map(|value| format!("X-Forwarded-For: {value}\r\n")).collect();
        client_of(peer, ForwardedField::XForwardedFor, &fields.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn by_forwarded(values: &[&str]) -> String {
        let fields: Vec<String> = values.iter().map(|value| format!("Forwarded: {value}\r\n")).collect();
        client_of("127.0.0.1", ForwardedField::Forwarded, &fields.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn only_a_trusted_peer_is_believed() {
        assert_eq!(by_x("127.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(by_x("203.0.113.9", &["192.0.2.1"]), "203.0.113.9");
        assert_eq!(client_of("127.0.0.1", ForwardedField::Off, &["X-Forwarded-For: 192.0.2.1\r\n"]), "127.0.0.1");
        let other = ["X-Forwarded-For: 192.0.2.1\r\n"];
        assert_eq!(client_of("127.0.0.1", ForwardedField::Forwarded, &other), "127.0.0.1", "only one field counts");
    }

    #[test]
    fn the_walk_goes_from_the_right_past_trusted_proxies_to_the_first_stranger() {
        assert_eq!(by_x("127.0.0.1", &["6.6.6.6, 192.0.2.1, 10.0.0.3 , 10.0.0.2"]), "192.0.2.1");
        assert_eq!(by_x("127.0.0.1", &["6.6.6.6", "192.0.2.1,10.0.0.3", "10.0.0.2"]), "192.0.2.1");
        assert_eq!(by_x("127.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "all of them ours");
        assert_eq!(by_x("127.0.0.1", &[]), "127.0.0.1");
        let long = "10.0.0.1,".repeat(HOPS_MAX);
        assert_eq!(by_x("127.0.0.1", &[&format!("6.6.6.6,{}", long.trim_end_matches(','))]), "10.0.0.1", "bounded");
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        for value in [
            "unknown",
            "",
            "192.0.2.1 x",
            "localhost",
            "192.0.2.1, unknown",
            "192.0.2.1,",
            "1.2.3.4:x",
            "[::1",
            "\u{e9}",
        ] {
            assert_eq!(by_x("127.0.0.1", &[value]), "127.0.0.1", "{value}");
        }
        assert_eq!(by_x("127.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn addresses_come_with_ports_and_brackets() {
        for (value, address) in [
            ("192.0.2.1:1234", "192.0.2.1"),
            ("2001:dba::1", "2001:dba::1"),
            ("[2001:dba::1]", "2001:dba::1"),
            ("[2001:dba::1]:1234", "2001:dba::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(by_x("127.0.0.1", &[value]), address);
        }
    }

    #[test]
    fn elements_of_forwarded() {
        for (value, address) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"[2001:dba::1]:4711\";proto=https", "2001:dba::1"),
            ("proto=http;for=192.0.2.1:_port;by=10.0.0.1", "192.0.2.1"),
            ("for=6.6.6.6, for=192.0.2.1, for=10.1.1.1", "192.0.2.1"),
            ("for=192.0.2.1;for=192.0.2.2", "127.0.0.1"),
            ("for=_hidden", "127.0.0.1"),
            ("for=unknown", "127.0.0.1"),
            ("for=\"unix:/run/x\"", "127.0.0.1"),
            ("for=\"192.0.2.1", "127.0.0.1"),
            ("for=\"\\192.0.2.1\"", "127.0.0.1"),
            ("proto=https", "127.0.0.1"),
            ("192.0.2.1", "127.0.0.1"),
        ] {
            assert_eq!(by_forwarded(&[value]), address, "{value}");
        }
    }

    /// A quote that the client leaves open must not swallow what the proxy appends.
    #[test]
    fn an_open_quote_of_the_client_hides_nothing() {
        assert_eq!(by_forwarded(&["for=\"6.6.6.6, for=192.0.2.1"]), "192.0.2.1");
        assert_eq!(by_forwarded(&["for=6.6.6.6;x=\"", "for=192.0.2.1;y=\""]), "192.0.2.1");
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_the_proxy_s_own_entry_holds(forged in "[ -~]{0,60}", by_field in any::<bool>()) {
            prop_assert_eq!(by_x("127.0.0.1", &[&format!("{forged}, 192.0.2.1")]), "192.0.2.1");
            prop_assert_eq!(by_forwarded(&[&format!("{forged}, for=192.0.2.1")]), "192.0.2.1");
            if by_field {
                prop_assert_eq!(by_x("127.0.0.1", &[&forged, "192.0.2.1"]), "192.0.2.1");
            }
        }

        #[test]
        fn a_stranger_is_himself_whatever_he_says(forged in "[ -~]{0,60}") {
            prop_assert_eq!(by_x("192.0.2.1", &[&forged]), "192.0.2.1");
        }
    }
}
