//! `host` or `host:port` as in the `Host` field and in origins.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether this is a name, IPv4 address or bracketed IPv6 address with an optional port, and nothing else.
///
/// Narrower than RFC 3986: percent-encoding, the comma of a joined list and other sub-delimiters are refused, as
/// are an empty port, empty labels, and numbers that only some parsers take for an address (`127.1`,
/// `0x7f.0.0.1`).
#[must_use]
pub fn is_valid(authority: &str) -> bool {
    split(authority).is_some_and(|(host, port)| {
        is_host(host) && port.is_none_or(|port| port.len() <= 5 && is_digits(port) && port.parse::<u16>().is_ok())
    })
}

/// Whether this names the machine itself: `localhost`, 127.0.0.0/8 or `[::1]`, with any port or none.
#[must_use]
pub fn is_loopback(authority: &str) -> bool {
    is_valid(authority)
        && split(authority).is_some_and(|(host, _)| {
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
                || bracketed(host).is_some_and(|address| address == Ipv6Addr::LOCALHOST)
        })
}

/// Host (with its brackets) and port.
#[must_use]
pub fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    let host_len = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at(host_len);
    match rest {
        "" => Some((host, None)),
        _ => Some((host, Some(rest.strip_prefix(':')?))),
    }
}

fn is_host(host: &str) -> bool {
    if host.starts_with('[') {
        return bracketed(host).is_some();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let label_is_valid = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if !name.split('.').all(label_is_valid) {
        return false;
    }
    // The URL standard takes a name whose last label is a number for an IPv4 address, others for a name.
    let last = name.rsplit('.').next().unwrap_or_default();
    let ends_in_number = is_digits(last) || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    !ends_in_number || host.parse::<Ipv4Addr>().is_ok()
}

pub(super) fn bracketed(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_read() {
        for host in [
            "e.com",
            "E.com:80",
            "e.com.",
            "localhost:3000",
            "a_b.example",
            "127.0.0.1",
            "127.0.0.1:65535",
            "[::1]",
            "[2001:db8::1]:443",
            "xn--bcher-kva.example",
            "7a.example",
            "0x7f.example",
        ] {
            assert!(is_valid(host), "{host}");
        }
    }

    #[test]
    fn hosts_that_are_refused() {
        for host in [
            "",
            ":80",
            "e.com:",
            "e.com:+80",
            "e.com:65536",
            "e.com:000080",
            "e.com:80:80",
            "e.com,f.com",
            "e.com/",
            "/",
            "me@e.com",
            "e com",
            " e.com",
            ".",
            "..",
            "a..b",
            ".e.com",
            "e%2ecom",
            "é.com",
            "::1",
            "[::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "127.1",
            "0x7f.0.0.1",
            "127.0.0.0x1",
            "1",
            "256.1.1.1",
            "127.0.0.1.",
            "http://e.com",
            "e.com?x",
            "e.com#x",
            "*",
        ] {
            assert!(!is_valid(host), "{host}");
        }
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for host in ["localhost", "LocalHost:3000", "127.0.0.1:80", "127.9.9.9", "[::1]:3000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["localhost.e.com", "e.localhost", "128.0.0.1", "127.0.0.1.e.com", "[::2]", "127.1", "localhost:x", ""]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
