//! The PROXY protocol, versions 1 and 2: what a proxy of TCP connections says before the first byte of its client.
//!
//! Whether a header is there is known from the configuration and never guessed (the protocol's own rule): [`parse`] is asked
//! only where one has to come. What the two ends of the proxy's connection were called is read strictly; what comes in
//! version 2 behind the addresses (TLVs) is skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// Bytes of a header of version 1, its CRLF included: what the longest pair of addresses takes.
pub const V1_BYTES_MAX: usize = 107;
/// Bytes of a header of version 2. Its length could say 64 KiB; certificates' names and the identifiers of clouds take some
/// hundred.
pub const V2_BYTES_MAX: usize = 4096;

const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;

/// What has come of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderStatus {
    /// Not all of it yet.
    Partial,
    /// All of it.
    Complete {
        /// Its bytes.
        len: usize,
        /// The client's address in canonical form; none where the proxy speaks for itself (a health check), or for somebody
        /// without one (a Unix socket, `UNKNOWN`).
        client: Option<IpAddr>,
    },
}

/// Why there is no header. The connection can't be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the sentences say it")]
pub enum ProxyHeaderError {
    #[error("the connection doesn't begin with a PROXY protocol header")]
    Missing,
    #[error("the PROXY protocol header is longer than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
    #[error("the PROXY protocol header of version 1 is malformed")]
    Malformed,
    #[error("the PROXY protocol header has version {version}; 1 and 2 are known")]
    Version { version: u8 },
    #[error("the PROXY protocol header has the unknown command {command}")]
    Command { command: u8 },
    #[error("the PROXY protocol header has the address family {family:#04x}, which isn't one of streams")]
    Family { family: u8 },
    #[error("the PROXY protocol header is too short for its addresses")]
    TooShort,
}

/// Reads a header from the start of `bytes`; what follows it isn't looked at.
///
/// # Errors
/// [`ProxyHeaderError`], as soon as what is there can't become a header any more.
pub fn parse(bytes: &[u8]) -> Result<HeaderStatus, ProxyHeaderError> {
    if bytes.starts_with(V2_START) {
        return version_2(bytes);
    }
    if bytes.starts_with(V1_START) {
        return version_1(bytes);
    }
    if V1_START.starts_with(bytes) || V2_START.starts_with(bytes) {
        return Ok(HeaderStatus::Partial);
    }
    Err(ProxyHeaderError::Missing)
}

fn version_1(bytes: &[u8]) -> Result<HeaderStatus, ProxyHeaderError> {
    let readable = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', readable) else {
        return match bytes.len() < V1_BYTES_MAX {
            true => Ok(HeaderStatus::Partial),
            false => Err(ProxyHeaderError::TooLong { bytes_max: V1_BYTES_MAX }),
        };
    };
    let line = readable[V1_START.len()..end].strip_suffix(b"\r").ok_or(ProxyHeaderError::Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError::Malformed)?;
    let client = client_of_line(line).ok_or(ProxyHeaderError::Malformed)?;
    Ok(HeaderStatus::Complete { len: end + 1, client })
}

/// What stands between `PROXY ` and CRLF. `None`: it isn't well-formed.
fn client_of_line(line: &str) -> Option<Option<IpAddr>> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        // Whatever follows is to be ignored, as the protocol has it.
        return Some(None);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let ports = [words.next()?, words.next()?];
    if words.next().is_some() || !ports.into_iter().all(is_port) {
        return None;
    }
    let client: IpAddr = match family {
        "TCP4" => {
            destination.parse::<Ipv4Addr>().ok()?;
            source.parse::<Ipv4Addr>().ok()?.into()
        }
        "TCP6" => {
            destination.parse::<Ipv6Addr>().ok()?;
            source.parse::<Ipv6Addr>().ok()?.into()
        }
        _ => return None,
    };
    Some(Some(client.to_canonical()))
}

fn is_port(text: &str) -> bool {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain && (text == "0" || !text.starts_with('0')) && text.parse::<u16>().is_ok()
}

fn version_2(bytes: &[u8]) -> Result<HeaderStatus, ProxyHeaderError> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(HeaderStatus::Partial);
    };
    let [.., version_and_command, family, high, low] = *fixed;
    if version_and_command >> 4 != 2 {
        return Err(ProxyHeaderError::Version { version: version_and_command >> 4 });
    }
    let len = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if len > V2_BYTES_MAX {
        return Err(ProxyHeaderError::TooLong { bytes_max: V2_BYTES_MAX });
    }
    let local = match version_and_command & 0x0F {
        0 => true,
        1 => false,
        command => return Err(ProxyHeaderError::Command { command }),
    };
    let Some(addresses) = bytes.get(V2_FIXED_BYTES..len) else {
        return Ok(HeaderStatus::Partial);
    };
    // Two addresses and two ports of IPv4 or IPv6, or two paths: the source comes first.
    let client = match family {
        _ if local => None,
        0x00 => None,
        0x11 => Some(IpAddr::from(*first::<12, 4>(addresses)?)),
        0x21 => Some(IpAddr::from(*first::<36, 16>(addresses)?)),
        0x31 => first::<216, 108>(addresses).map(|_| None)?,
        family => return Err(ProxyHeaderError::Family { family }),
    };
    Ok(HeaderStatus::Complete { len, client: client.map(|address| address.to_canonical()) })
}

/// The first `N` bytes, where there are `WHOLE` at least.
fn first<const WHOLE: usize, const N: usize>(addresses: &[u8]) -> Result<&[u8; N], ProxyHeaderError> {
    let whole = addresses.first_chunk::<WHOLE>().ok_or(ProxyHeaderError::TooShort)?;
    Ok(whole.first_chunk().expect("the source is a part of the whole"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(version_and_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [V2_START, &[version_and_command, family], &length, rest].concat()
    }

    fn client(bytes: &[u8]) -> Result<Option<String>, ProxyHeaderError> {
        match parse(bytes)? {
            HeaderStatus::Complete { len, client } => {
                assert_eq!(len, bytes.len());
                Ok(client.map(|address| address.to_string()))
            }
            HeaderStatus::Partial => panic!("partial: {bytes:?}"),
        }
    }

    #[test]
    fn version_1_names_the_client() {
        for (line, address) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 5000 443\r\n", Some("192.0.2.1")),
            ("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", Some("2001:db8::1")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Some("192.0.2.1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN whatever is here\r\n", None),
        ] {
            assert_eq!(client(line.as_bytes()), Ok(address.map(str::to_owned)), "{line:?}");
        }
        let longest = format!("PROXY UNKNOWN {0} {0} 65535 65535\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        assert_eq!(longest.len(), V1_BYTES_MAX);
        assert_eq!(client(longest.as_bytes()), Ok(None));
    }

    #[test]
    fn version_1_is_read_strictly() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.1 5000 443\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 5000 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 5000 443 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 05000 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +5000 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.1 5000 443\r\n",
            "PROXY TCP4 ::1 ::1 5000 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 5000 443\r\n",
            "PROXY TCP6 ::1%lo ::1 5000 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 5000\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 5000 443\r\n",
            "PROXY \r\n",
            "PROXY unknown\r\n",
        ] {
            assert_eq!(client(line.as_bytes()), Err(ProxyHeaderError::Malformed), "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(parse(endless.as_bytes()), Err(ProxyHeaderError::TooLong { bytes_max: V1_BYTES_MAX }));
    }

    #[test]
    fn version_2_names_the_client() {
        let v4 = [[192, 0, 2, 1], [198, 51, 100, 1], [0, 80, 1, 187]].concat();
        let mut v6 = vec![0; 36];
        (v6[0], v6[1], v6[15]) = (0x20, 0x01, 7);
        assert_eq!(client(&v2(0x21, 0x11, &v4)), Ok(Some("192.0.2.1".to_owned())));
        assert_eq!(
            client(&v2(0x21, 0x11, &[v4.as_slice(), &[3, 0, 4, 1, 2, 3, 4]].concat())),
            Ok(Some("192.0.2.1".to_owned()))
        );
        assert_eq!(client(&v2(0x21, 0x21, &v6)), Ok(Some("2001::7".to_owned())));
        assert_eq!(client(&v2(0x21, 0x31, &[b'/'; 216])), Ok(None), "a Unix socket");
        assert_eq!(client(&v2(0x21, 0x00, b"tlv")), Ok(None), "unspecified");
        assert_eq!(client(&v2(0x20, 0x11, &v4)), Ok(None), "local: the proxy itself");
        assert_eq!(client(&v2(0x20, 0x00, b"")), Ok(None));
    }

    #[test]
    fn version_2_is_read_strictly() {
        for (header, error) in [
            (v2(0x11, 0x11, &[0; 12]), ProxyHeaderError::Version { version: 1 }),
            (v2(0x22, 0x11, &[0; 12]), ProxyHeaderError::Command { command: 2 }),
            (v2(0x21, 0x12, &[0; 12]), ProxyHeaderError::Family { family: 0x12 }),
            (v2(0x21, 0x41, &[0; 12]), ProxyHeaderError::Family { family: 0x41 }),
            (v2(0x21, 0x11, &[0; 11]), ProxyHeaderError::TooShort),
            (v2(0x21, 0x21, &[0; 35]), ProxyHeaderError::TooShort),
            (v2(0x21, 0x31, &[0; 215]), ProxyHeaderError::TooShort),
            (v2(0x21, 0x11, &[0; V2_BYTES_MAX]), ProxyHeaderError::TooLong { bytes_max: V2_BYTES_MAX }),
        ] {
            assert_eq!(parse(&header), Err(error));
        }
        assert!(parse(&v2(0x21, 0x11, &[0; V2_BYTES_MAX - V2_FIXED_BYTES])).is_ok());
    }

    #[test]
    fn what_is_no_header_is_known_by_its_first_bytes() {
        for bytes in
            [&b"G"[..], b"GET / HTTP/1.1\r\n", b"PROXIES", b"\r\n\r\n\0\r\nQUIT\r", b"\r\nGET", b"\x16\x03\x01"]
        {
            assert_eq!(parse(bytes), Err(ProxyHeaderError::Missing), "{bytes:?}");
        }
        assert_eq!(parse(b""), Ok(HeaderStatus::Partial));
    }

    fn headers() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<(u32, u16)>().prop_map(|(address, port)| {
                let address = Ipv4Addr::from_bits(address);
                format!("PROXY TCP4 {address} 192.0.2.1 {port} 80\r\n").into_bytes()
            }),
            any::<u128>().prop_map(|address| {
                let address = Ipv6Addr::from_bits(address);
                format!("PROXY TCP6 {address} ::1 1 80\r\n").into_bytes()
            }),
            proptest::collection::vec(any::<u8>(), 12..300).prop_map(|rest| v2(0x21, 0x11, &rest)),
        ]
    }

    proptest! {
        #[test]
        fn a_header_is_the_same_however_it_is_cut(header in headers(), behind in proptest::collection::vec(any::<u8>(), 0..20)) {
            for cut in 0..header.len() {
                prop_assert_eq!(parse(&header[..cut]), Ok(HeaderStatus::Partial));
            }
            let whole = parse(&header);
            let is_whole = matches!(whole, Ok(HeaderStatus::Complete { len, client: Some(_) }) if len == header.len());
            prop_assert!(is_whole);
            prop_assert_eq!(parse(&[header, behind].concat()), whole);
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), v2 in any::<bool>()) {
            let start = if v2 { V2_START } else { V1_START };
            let _ = parse(&bytes);
            let _ = parse(&[start, &bytes].concat());
        }
    }
}
