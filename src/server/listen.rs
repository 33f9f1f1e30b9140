//! Listening sockets: for an address one per shard, with the options that streams inherit; for a socket in the file system, and for those
//! systemd has opened, one that all shards share. Of these every shard is woken when somebody comes, and the first takes it.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::config::{LISTENERS_MAX, Listen, ListenPlace};
use crate::server::passed::{Passed, PassedError};
use crate::server::unix_socket::{self, SocketFile};

/// Connections the kernel may hold before they are accepted; capped by net.core.somaxconn.
const BACKLOG: i32 = 16_384;
/// Send buffer asked for; the kernel doubles it. With the unsent limit below, what a stalled client pins.
pub(crate) const SEND_BUFFER_BYTES: usize = 20 * 1024;
/// The largest segment. Only on loopback are there larger ones, 64 KiB, and of those the send buffer holds one: a client there
/// acknowledges one at a time, and takes its 40 ms for it.
const SEGMENT_BYTES_MAX: u32 = 16 * 1024;
/// Bytes not yet sent that a socket takes before it counts as full.
const UNSENT_BYTES_MAX: u32 = 16 * 1024;

/// The longest the kernel takes, which counts milliseconds in an `int`; the hub's own sweep has no such limit.
const USER_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// What comes of a connection that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entrance {
    /// It begins with a handshake.
    pub(crate) tls: bool,
    /// Its requests are only told where to come with TLS.
    pub(crate) redirects: bool,
}

/// Whose a listening socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// A shard's own, on an address it shares with the other shards.
    Shard,
    /// The hub's, for all shards.
    Hub,
    /// Somebody else's, who goes on listening when the hub has stopped.
    Starter,
}

/// A listener of a shard.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    pub(crate) entrance: Entrance,
    whose: Whose,
    /// Of an address, and not of the file system.
    tcp: bool,
    /// It isn't watched until the next tick.
    pub(crate) rests: Cell<bool>,
}

impl Listener {
    /// From now on whoever begins to connect isn't heard; who has begun comes through, and waits to be accepted. Closing resets
    /// whoever waits or hasn't come through, so it is for when nobody is left. A client that wasn't heard tries again a second later:
    /// it is refused then, or finds who has taken this hub's place. The file of a Unix socket has to be removed before.
    pub(crate) fn hear_nobody_new(&self) -> io::Result<()> {
        match self.whose {
            Whose::Shard => SockRef::from(&self.socket).attach_filter(&NO_SYN),
            Whose::Hub | Whose::Starter => Ok(()),
        }
    }

    /// Whether who waits here is served by whoever comes after this hub: it is left to them.
    pub(crate) fn is_left_to_others(&self) -> bool {
        self.whose == Whose::Starter
    }

    /// How long the kernel keeps trying to get something to a client, for the connections accepted from now on.
    pub(crate) fn set_write_timeout(&self, write_timeout: Duration) -> io::Result<()> {
        if self.tcp { set_write_timeout(&self.socket, write_timeout) } else { Ok(()) }
    }
}

/// A filter for segments, by the flags of TCP: SYN without ACK is dropped, all others pass.
const NO_SYN: [SockFilter; 5] = [
    filter(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, TCP_FLAGS_AT),
    filter(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, TCP_SYN | TCP_ACK),
    filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, TCP_SYN),
    filter(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    filter(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
];
/// Where in a segment the flags are, and two of them (RFC 9293 §3.1).
const TCP_FLAGS_AT: u32 = 13;
const TCP_SYN: u32 = 0x02;
const TCP_ACK: u32 = 0x10;

const fn filter(code: u32, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter::new(code as u16, jt, jf, k)
}

/// All listeners of a hub.
#[derive(Debug)]
pub(crate) struct Listening {
    /// The places as they were opened: with ports, and with what systemd had instead of its name.
    pub(crate) bound: Vec<Listen>,
    /// Those of each shard, in the order of the places.
    pub(crate) shards: Vec<Vec<Listener>>,
    /// The files of sockets, which go when nobody new is to be heard.
    pub(crate) files: Vec<SocketFile>,
}

/// Why a place can't be listened at.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system says why.
    #[error("can't listen on {place}: {error}{}", advice(.error))]
    Place {
        /// The address or socket.
        place: String,
        /// What it said. No source, because the sentence holds it: shown with its sources it would come twice.
        error: io::Error,
    },
    /// See [`PassedError`].
    #[error(transparent)]
    Passed(#[from] PassedError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has it, maybe another hub: choose another with --listen",
        io::ErrorKind::NotFound => "; its folder has to be there",
        _ => "",
    }
}

/// Opens all places for each of `shards` shards. `dev`: only loopback may be listened on.
///
/// # Errors
/// See [`ListenError`].
pub(crate) fn open_all(
    places: &[Listen],
    shards: usize,
    write_timeout: Duration,
    dev: bool,
) -> Result<Listening, ListenError> {
    let mut all = Listening { bound: Vec::new(), shards: (0..shards).map(|_| Vec::new()).collect(), files: Vec::new() };
    let by_systemd = places.iter().any(|listen| matches!(listen.place, ListenPlace::Systemd(_)));
    let mut passed = if by_systemd { Passed::take()? } else { Passed::default() };
    // What is named goes to who names it, and what is left to who doesn't.
    let mut named: Vec<Option<Vec<Socket>>> = Vec::new();
    for listen in places {
        named.push(match &listen.place {
            ListenPlace::Systemd(Some(name)) => Some(passed.named(name)?),
            _ => None,
        });
    }
    for (listen, named) in places.iter().zip(named) {
        let failed = |error| ListenError::Place { place: listen.place.to_string(), error };
        match &listen.place {
            ListenPlace::Address(address) => {
                let opened = open(*address, shards, write_timeout).map_err(failed)?;
                let bound = opened[0].local_addr().map_err(failed)?.as_socket().unwrap_or(*address);
                all.add(Listen { place: ListenPlace::Address(bound), ..listen.clone() }, Whose::Shard, opened);
            }
            ListenPlace::Unix { path, mode } => {
                let (socket, file) = unix_socket::listen(path, *mode, BACKLOG).map_err(failed)?;
                all.files.push(file);
                all.share(listen.clone(), Whose::Hub, socket).map_err(failed)?;
            }
            ListenPlace::Systemd(_) => {
                let sockets = match named {
                    Some(named) => named,
                    None => passed.rest()?,
                };
                for socket in sockets {
                    let place = place_of(&socket).map_err(failed)?;
                    let listen = Listen { place, ..listen.clone() };
                    if listen.address().is_some() {
                        set_options(&socket, write_timeout).map_err(failed)?;
                    }
                    if dev && !listen.is_local() {
                        return Err(PassedError::BeyondLoopback(listen.place.to_string()).into());
                    }
                    all.share(listen, Whose::Starter, socket).map_err(failed)?;
                }
            }
        }
    }
    if all.bound.len() > LISTENERS_MAX {
        return Err(PassedError::TooMany(all.bound.len()).into());
    }
    if let Some(names) = passed.untaken() {
        tracing::warn!(%names, "systemd has passed sockets that no --listen takes");
    }
    Ok(all)
}

impl Listening {
    /// A place with a socket for each shard.
    fn add(&mut self, listen: Listen, whose: Whose, sockets: Vec<Socket>) {
        let entrance = Entrance { tls: listen.tls, redirects: listen.redirects };
        let tcp = listen.address().is_some();
        self.bound.push(listen);
        for (shard, socket) in self.shards.iter_mut().zip(sockets) {
            shard.push(Listener { socket, entrance, whose, tcp, rests: Cell::new(false) });
        }
    }

    /// A place with one socket for all shards, each of which has a descriptor of it.
    fn share(&mut self, listen: Listen, whose: Whose, socket: Socket) -> io::Result<()> {
        let sockets = self.shards.iter().map(|_| socket.try_clone()).collect::<io::Result<_>>()?;
        self.add(listen, whose, sockets);
        Ok(())
    }
}

/// Where a socket that was passed listens.
fn place_of(socket: &Socket) -> io::Result<ListenPlace> {
    let address = socket.local_addr()?;
    Ok(match address.as_socket() {
        Some(address) => ListenPlace::Address(address),
        None => {
            let path = address.as_pathname().map_or_else(|| PathBuf::from("(unnamed)"), PathBuf::from);
            ListenPlace::Unix { path, mode: 0 }
        }
    })
}

/// Opens `count` listeners on one address. With port 0 all get the port the first one gets.
///
/// # Errors
/// What the system says, `AddrInUse` also when another hub already shares the port: two of them would split the clients.
fn open(address: SocketAddr, count: usize, write_timeout: Duration) -> io::Result<Vec<Socket>> {
    if address.port() != 0 {
        // Without SO_REUSEPORT, so that it fails where someone listens.
        let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        probe.set_reuse_address(true)?;
        probe.bind(&address.into())?;
    }
    let first = listener(address, write_timeout)?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(listener(address, write_timeout)?);
    }
    Ok(listeners)
}

fn listener(address: SocketAddr, write_timeout: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    set_options(&socket, write_timeout)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// What accepted sockets inherit: no option is set per connection.
fn set_options(socket: &Socket, write_timeout: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.set_tcp_mss(SEGMENT_BYTES_MAX)?;
    if write_timeout.is_zero() { Ok(()) } else { set_write_timeout(socket, write_timeout) }
}

fn set_write_timeout(socket: &Socket, write_timeout: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(write_timeout.min(USER_TIMEOUT_MAX)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn listening(places: &[Listen]) -> Listening {
        open_all(places, 2, Duration::from_secs(60), false).unwrap()
    }

    #[test]
    fn who_begins_to_connect_while_listeners_close_is_not_heard_and_who_was_there_is() {
        let all = listening(&[Listen::plain("127.0.0.1:0".parse().unwrap())]);
        let address = all.bound[0].address().unwrap();
        let before: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        for listener in all.shards.iter().flatten() {
            listener.hear_nobody_new().unwrap();
        }
        let after = TcpStream::connect_timeout(&address, Duration::from_millis(500)).unwrap_err();
        assert_eq!(after.kind(), io::ErrorKind::TimedOut, "neither let in nor refused");
        let accepted = all.shards.iter().flatten().map(|listener| {
            let accept = || SockRef::from(&listener.socket).accept().ok();
            std::iter::from_fn(accept).count()
        });
        assert_eq!(accepted.sum::<usize>(), before.len());
    }

    #[test]
    fn all_shards_share_a_socket_of_the_file_system() {
        let name = crate::config::data_folder::to_hex(&crate::config::data_folder::random_key()[..8]);
        let path = std::env::temp_dir().join(format!("cinnabar-shared-{name}.sock"));
        let place = ListenPlace::Unix { path: path.clone(), mode: 0o600 };
        let mut all = listening(&[Listen { place, tls: false, redirects: false }]);
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let accepted = SockRef::from(&all.shards[1][0].socket).accept().unwrap().1;
        assert!(accepted.is_unix());
        assert!(SockRef::from(&all.shards[0][0].socket).accept().is_err(), "there was one only");
        all.files.clear();
        assert!(!path.exists());
    }
}
