//! Where administrators come in: a Unix socket or an address.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};

use crate::server::unix_socket::{self, SocketFile};

/// Connections the kernel holds before they are accepted.
const BACKLOG: i32 = 64;
/// This user and root alone can open the socket.
const MODE: u32 = 0o600;

/// An open door.
#[derive(Debug)]
pub(crate) enum Door {
    /// Its file goes with it.
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

/// Listens on an address.
pub(crate) fn bind_tcp(address: SocketAddr) -> io::Result<Door> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(Door::Tcp(socket.into()))
}

/// Listens on a socket. One that a dead process has left is replaced.
pub(crate) fn bind_unix(path: &Path) -> io::Result<Door> {
    let (socket, file) = unix_socket::listen(path, MODE, BACKLOG)?;
    Ok(Door::Unix(socket.into(), file))
}
