//! Where connections come from. There are some 28,000 ports to each source address, so hundreds of thousands of
//! connections need many: on loopback there is all of 127.0.0.0/8, elsewhere those the user names.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::str::FromStr;

use anyhow::Context;
use socket2::{Domain, Socket, Type};

use crate::sys;

/// Connections from one loopback address.
const CONNECTIONS_PER_SOURCE: usize = 8_000;
/// Addresses tried before a connection fails for want of a port.
const SOURCES_TRIED_MAX: usize = 8;

/// Something to connect from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This address.
    Address(IpAddr),
    /// Whatever address this interface has.
    Interface(String),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Self::Interface(text.to_owned()), Self::Address))
    }
}

/// What to connect from; nothing named means loopback's addresses, or what the system chooses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(pub(crate) Vec<Source>);

impl Sources {
    /// The address for a connection. `net` keeps groups apart, so that they can be told apart at the server.
    fn of(&self, to: SocketAddr, net: usize, place: usize, attempt: usize) -> Option<Source> {
        if !self.0.is_empty() {
            let fits = |source: &&Source| !matches!(source, Source::Address(ip) if ip.is_ipv4() != to.is_ipv4());
            let count = self.0.iter().filter(fits).count().max(1);
            return self.0.iter().filter(fits).nth((place + attempt) % count).cloned();
        }
        let loopback = matches!(to.ip(), IpAddr::V4(ip) if ip.is_loopback());
        let host = 1 + place / CONNECTIONS_PER_SOURCE + attempt * 29;
        loopback.then(|| {
            let address = Ipv4Addr::new(127, Self::net(net), (host / 250 % 250) as u8, (1 + host % 250) as u8);
            Source::Address(address.into())
        })
    }

    /// The second number of a group's loopback addresses.
    pub(crate) fn net(group: usize) -> u8 {
        (1 + group % 200) as u8
    }

    /// Begins to connect, without waiting.
    pub(crate) fn connect(
        &self,
        to: SocketAddr,
        net: usize,
        place: usize,
        receive_buffer: usize,
    ) -> anyhow::Result<TcpStream> {
        for attempt in 0..SOURCES_TRIED_MAX {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).context("open a socket")?;
            socket.set_nonblocking(true)?;
            if receive_buffer > 0 {
                // Before connecting: the window scale is agreed on then.
                socket.set_recv_buffer_size(receive_buffer)?;
            }
            match self.of(to, net, place, attempt) {
                Some(Source::Address(source)) => {
                    sys::bind_address_no_port(&socket)?;
                    let bound = socket.bind(&SocketAddr::from((source, 0)).into());
                    bound.with_context(|| format!("bind to {source}"))?;
                }
                Some(Source::Interface(name)) => {
                    socket.bind_device(Some(name.as_bytes())).with_context(|| format!("connect from {name}"))?;
                }
                None => {}
            }
            match socket.connect(&to.into()) {
                Ok(()) => return Ok(socket.into()),
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => return Ok(socket.into()),
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
                Err(error) => return Err(error).context("connect"),
            }
        }
        anyhow::bail!("no port is free to connect from: name more addresses with --source")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_connections_are_spread_and_others_are_not() {
        let to = "127.0.0.1:80".parse().expect("an address");
        let sources = Sources::default();
        assert_eq!(sources.of(to, 0, 0, 0), sources.of(to, 0, 7_999, 0));
        assert_ne!(sources.of(to, 0, 0, 0), sources.of(to, 0, 8_000, 0));
        assert_ne!(sources.of(to, 0, 0, 0), sources.of(to, 1, 0, 0));
        assert_ne!(sources.of(to, 0, 0, 0), sources.of(to, 0, 0, 1));
        assert_eq!(sources.of("192.0.2.1:80".parse().expect("an address"), 0, 0, 0), None);
    }

    #[test]
    fn named_addresses_are_used_in_turn_if_they_are_of_the_right_kind() {
        let named = ["192.0.2.7", "2001:db8::1", "eth9"].map(|text| text.parse::<Source>().expect("anything parses"));
        assert_eq!(named[2], Source::Interface("eth9".to_owned()));
        let sources = Sources(named.to_vec());
        let to = "198.51.100.1:80".parse().expect("an address");
        let expected = [&named[0], &named[2], &named[0]].map(|source| Some(source.clone()));
        assert_eq!([0, 1, 2].map(|place| sources.of(to, 0, place, 0)), expected);
        let to = "[2001:db8::9]:80".parse().expect("an address");
        assert_eq!(sources.of(to, 0, 4, 0), Some(named[1].clone()));
    }
}
