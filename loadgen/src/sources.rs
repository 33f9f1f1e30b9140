//! Where connections come from. There are some 28,000 ports to each source address, so hundreds of thousands of
//! connections need many: on loopback there is all of 127.0.0.0/8, elsewhere those the user names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use anyhow::Context;
use socket2::{Domain, Socket, Type};

use crate::sys;

/// Connections from one loopback address.
const CONNECTIONS_PER_SOURCE: usize = 8_000;
/// Addresses tried before a connection fails for want of a port.
const SOURCES_TRIED_MAX: usize = 8;

/// The addresses to connect from; none named means loopback's, or what the system chooses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(pub(crate) Vec<IpAddr>);

impl Sources {
    /// The address for a connection. `net` keeps groups apart, so that they can be told apart at the server.
    fn of(&self, to: SocketAddr, net: usize, place: usize, attempt: usize) -> Option<IpAddr> {
        if !self.0.is_empty() {
            let same: Vec<&IpAddr> = self.0.iter().filter(|ip| ip.is_ipv4() == to.is_ipv4()).collect();
            return (!same.is_empty()).then(|| *same[(place + attempt) % same.len()]);
        }
        let loopback = matches!(to.ip(), IpAddr::V4(ip) if ip.is_loopback());
        let host = 1 + place / CONNECTIONS_PER_SOURCE + attempt * 29;
        loopback.then(|| Ipv4Addr::new(127, Self::net(net), (host / 250 % 250) as u8, (1 + host % 250) as u8).into())
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
            if let Some(source) = self.of(to, net, place, attempt) {
                sys::bind_address_no_port(&socket)?;
                let bound = socket.bind(&SocketAddr::from((source, 0)).into());
                bound.with_context(|| format!("bind to {source}"))?;
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
        let named = ["192.0.2.7", "2001:db8::1", "192.0.2.8"].map(|ip| ip.parse().expect("an address"));
        let sources = Sources(named.to_vec());
        let to = "198.51.100.1:80".parse().expect("an address");
        assert_eq!([0, 1, 2].map(|place| sources.of(to, 0, place, 0)), [named[0], named[2], named[0]].map(Some));
        assert_eq!(sources.of("[2001:db8::9]:80".parse().expect("an address"), 0, 5, 0), Some(named[1]));
    }
}
