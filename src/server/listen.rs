//! Listening sockets: one per shard on the same address, with the options that streams inherit.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::config::Listen;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections the kernel may hold before they are accepted; capped by net.core.somaxconn.
const BACKLOG: i32 = 16_384;
/// Send buffer asked for; the kernel doubles it. With the unsent limit below, what a stalled client pins.
const SEND_BUFFER_BYTES: usize = 20 * 1024;
/// The largest segment. Only on loopback are there larger ones, 64 KiB, and of those the send buffer holds one: a client there
/// acknowledges one at a time, and takes its 40 ms for it.
const SEGMENT_BYTES_MAX: u32 = 16 * 1024;
/// Bytes not yet sent that a socket takes before it counts as full.
const UNSENT_BYTES_MAX: u32 = 16 * 1024;

/// The longest the kernel takes, which counts milliseconds in an `int`; the hub's own sweep has no such limit.
const USER_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// A listener of a shard.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    /// Whether connections begin with a handshake.
    pub(crate) tls: bool,
    /// It isn't watched until the next tick.
    pub(crate) rests: Cell<bool>,
}

/// All listeners of a hub.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The addresses of the places, which port 0 is none of any more.
    pub(crate) bound: Vec<SocketAddr>,
    /// Those of each shard, in the order of the places.
    pub(crate) shards: Vec<Vec<Listener>>,
}

/// Opens all places for each of `shards` shards.
///
/// # Errors
/// The place that can't be listened at, and what the system says.
pub(crate) fn open_all(
    places: &[Listen],
    shards: usize,
    write_timeout: Duration,
) -> Result<Listening, (SocketAddr, io::Error)> {
    let mut all = Listening { bound: Vec::new(), shards: (0..shards).map(|_| Vec::new()).collect() };
    for &Listen { address, tls } in places {
        let failed = |error| (address, error);
        let opened = open(address, shards, write_timeout).map_err(failed)?;
        all.bound.push(opened[0].local_addr().map_err(failed)?);
        for (shard, socket) in all.shards.iter_mut().zip(opened) {
            shard.push(Listener { socket, tls, rests: Cell::new(false) });
        }
    }
    Ok(all)
}

/// Opens `count` listeners on one address. With port 0 all get the port the first one gets.
///
/// # Errors
/// What the system says, `AddrInUse` also when another hub already shares the port: two of them would split the clients.
fn open(address: SocketAddr, count: usize, write_timeout: Duration) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        // Without SO_REUSEPORT, so that it fails where someone listens.
        let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        probe.set_reuse_address(true)?;
        probe.bind(&address.into())?;
    }
    let first = listener(address, write_timeout)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(listener(address, write_timeout)?);
    }
    Ok(listeners)
}

fn listener(address: SocketAddr, write_timeout: Duration) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit these: no option is set per connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.set_tcp_mss(SEGMENT_BYTES_MAX)?;
    if !write_timeout.is_zero() {
        set_write_timeout(SockRef::from(&socket), write_timeout)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// How long the kernel keeps trying to get something to a client, for the sockets accepted from now on.
pub(crate) fn set_write_timeout(listener: SockRef<'_>, write_timeout: Duration) -> io::Result<()> {
    listener.set_tcp_user_timeout(Some(write_timeout.min(USER_TIMEOUT_MAX)))
}
