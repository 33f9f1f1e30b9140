//! Where administrators come in: a Unix socket or an address.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Connections the kernel holds before they are accepted.
const BACKLOG: i32 = 64;

/// An open door.
#[derive(Debug)]
pub(crate) enum Door {
    /// Its file goes with it.
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

/// The file of a socket, removed in the end unless another one stands in its place by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
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

/// Listens on a socket that this user and root alone can open. One that a dead process has left is replaced.
pub(crate) fn bind_unix(path: &Path) -> io::Result<Door> {
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    let inode = fs::symlink_metadata(path)?.ino();
    let file = SocketFile { path: path.to_owned(), inode };
    // Nobody can connect before it listens.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    Ok(Door::Unix(socket.into(), file))
}

fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        return Ok(());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Somebody answers, or has a full queue: it is theirs.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::data_folder::random_key;

    fn scratch() -> PathBuf {
        let name = crate::config::data_folder::to_hex(&random_key()[..8]);
        std::env::temp_dir().join(format!("cinnabar-{name}.sock"))
    }

    #[test]
    fn a_socket_is_its_owners_and_goes_with_the_listener() {
        let path = scratch();
        let door = bind_unix(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let taken = bind_unix(&path).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(door);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_left_by_a_dead_process_is_replaced_and_nothing_else_is() {
        let path = scratch();
        let Door::Unix(listener, file) = bind_unix(&path).unwrap() else { panic!("a Unix socket") };
        std::mem::forget(file);
        drop(listener);
        assert!(path.exists());
        let replaced = bind_unix(&path).unwrap();
        drop(replaced);
        fs::write(&path, "a file").unwrap();
        assert!(bind_unix(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"a file");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn another_ones_socket_is_left_where_it_is() {
        let path = scratch();
        let door = bind_unix(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let other = bind_unix(&path).unwrap();
        drop(door);
        assert!(path.exists());
        drop(other);
    }
}
