//! Sockets in the file system: made with their permissions, one at a time, and removed in the end.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

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

/// Listens on a socket that those can open whom the mode lets write. One that a dead process has left is replaced.
///
/// # Errors
/// What the system says, `AddrInUse` where somebody listens there.
pub(crate) fn listen(path: &Path, mode: u32, backlog: i32) -> io::Result<(Socket, SocketFile)> {
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    let inode = fs::symlink_metadata(path)?.ino();
    let file = SocketFile { path: path.to_owned(), inode };
    // Nobody can connect before it listens.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    Ok((socket, file))
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
    use crate::config::data_folder::{random_key, to_hex};

    fn scratch() -> PathBuf {
        let name = to_hex(&random_key()[..8]);
        std::env::temp_dir().join(format!("cinnabar-{name}.sock"))
    }

    fn bind(path: &Path) -> io::Result<(Socket, SocketFile)> {
        listen(path, 0o600, 8)
    }

    #[test]
    fn a_socket_has_its_mode_and_goes_with_the_listener() {
        let path = scratch();
        let bound = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let taken = bind(&path).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_left_by_a_dead_process_is_replaced_and_nothing_else_is() {
        let path = scratch();
        let (listener, file) = bind(&path).unwrap();
        std::mem::forget(file);
        drop(listener);
        assert!(path.exists());
        let replaced = bind(&path).unwrap();
        drop(replaced);
        fs::write(&path, "a file").unwrap();
        assert!(bind(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"a file");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn another_ones_socket_is_left_where_it_is() {
        let path = scratch();
        let bound = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let other = bind(&path).unwrap();
        drop(bound);
        assert!(path.exists());
        drop(other);
    }
}
