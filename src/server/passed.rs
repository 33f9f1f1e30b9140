//! Sockets that whoever started the hub has opened for it, as systemd does (sd_listen_fds(3)): descriptors from 3 on, with names.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use socket2::{Socket, Type};

use crate::config::LISTENERS_MAX;
use crate::server::sys;

/// The first of them.
const FIRST: i32 = 3;
/// What a socket without a name is called.
const UNNAMED: &str = "unknown";

/// Why the sockets of systemd can't be listened on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassedError {
    /// There are none.
    #[error(
        "systemd has passed no socket to listen on: have it start the hub by a cinnabar.socket, or write an address with --listen \
         instead of systemd"
    )]
    Nothing,
    /// More than a hub can listen on.
    #[error("systemd has passed {0} sockets, and a hub listens on {LISTENERS_MAX} places at most")]
    TooMany(usize),
    /// None of this name.
    #[error(
        "systemd has passed no socket with the name {wanted}; it has passed {names}: FileDescriptorName= in the socket's unit gives it \
         one"
    )]
    NoSuchName {
        /// The name.
        wanted: String,
        /// Those there are.
        names: Names,
    },
    /// It isn't one that connections can be accepted on.
    #[error(
        "{name} that systemd has passed isn't a socket that accepts streams: its unit needs ListenStream=, and Accept=no"
    )]
    NoListener {
        /// Its name.
        name: String,
    },
    /// In development mode, one that others can reach.
    #[error(
        "development mode listens on loopback only, and systemd has passed {0}: leave --dev out, or use a loopback address"
    )]
    BeyondLoopback(String),
    /// What the system said.
    #[error("the sockets of systemd can't be used: {0}")]
    System(String),
}

/// Names as a list, or that there are none.
#[derive(Debug, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(", ")) }
    }
}

/// What was passed and isn't taken yet.
#[derive(Debug, Default)]
pub(crate) struct Passed(Vec<(String, OwnedFd)>);

impl Passed {
    /// Takes what is meant for this process. To be called once.
    pub(crate) fn take() -> Result<Passed, PassedError> {
        let said = |name: &str| std::env::var(name).unwrap_or_default();
        // Meant for another process, which didn't clear what it was told.
        if said("LISTEN_PID").parse() != Ok(std::process::id()) {
            return Ok(Passed::default());
        }
        let count: usize = said("LISTEN_FDS").parse().unwrap_or(0);
        if count > LISTENERS_MAX {
            return Err(PassedError::TooMany(count));
        }
        let names = said("LISTEN_FDNAMES");
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let passed = (FIRST..).take(count).map(|number| {
            let fd = sys::adopt_passed(number).map_err(|error| PassedError::System(error.to_string()))?;
            Ok((names.next().unwrap_or(UNNAMED).to_owned(), fd))
        });
        Ok(Passed(passed.collect::<Result<_, PassedError>>()?))
    }

    /// Those of a name.
    pub(crate) fn named(&mut self, wanted: &str) -> Result<Vec<Socket>, PassedError> {
        let names = Names(self.0.iter().map(|(name, _)| name.clone()).collect());
        let taken: Vec<_> = self.0.extract_if(.., |(name, _)| name == wanted).collect();
        match taken.is_empty() {
            true if names.0.is_empty() => Err(PassedError::Nothing),
            true => Err(PassedError::NoSuchName { wanted: wanted.to_owned(), names }),
            false => listeners(taken),
        }
    }

    /// All that are left.
    pub(crate) fn rest(&mut self) -> Result<Vec<Socket>, PassedError> {
        match std::mem::take(&mut self.0) {
            left if left.is_empty() => Err(PassedError::Nothing),
            left => listeners(left),
        }
    }

    /// The names of those that nobody has taken.
    pub(crate) fn untaken(&self) -> Option<Names> {
        let names: Vec<String> = self.0.iter().map(|(name, _)| name.clone()).collect();
        Some(Names(names)).filter(|names| !names.0.is_empty())
    }
}

fn listeners(taken: Vec<(String, OwnedFd)>) -> Result<Vec<Socket>, PassedError> {
    let listener = |(name, fd): (String, OwnedFd)| {
        let socket = Socket::from(fd);
        let listens = socket.r#type().is_ok_and(|kind| kind == Type::STREAM) && socket.is_listener().unwrap_or(false);
        let system = |error: io::Error| PassedError::System(error.to_string());
        let address = socket.local_addr().map_err(system)?;
        if !listens || address.as_socket().is_none() && !address.is_unix() {
            return Err(PassedError::NoListener { name });
        }
        socket.set_nonblocking(true).map_err(system)?;
        Ok(socket)
    };
    taken.into_iter().map(listener).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn passed(names: &[&str]) -> Passed {
        let listener = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        Passed(names.iter().map(|&name| (name.to_owned(), listener())).collect())
    }

    #[test]
    fn those_of_a_name_are_taken_first_and_the_rest_is_for_whom_it_is() {
        let mut passed = passed(&["http", "https", "http"]);
        assert_eq!(passed.named("http").map(|sockets| sockets.len()), Ok(2));
        assert_eq!(passed.untaken(), Some(Names(vec!["https".to_owned()])));
        assert_eq!(passed.rest().map(|sockets| sockets.len()), Ok(1));
        assert_eq!(passed.untaken(), None);
        assert_eq!(passed.rest().map(|_| ()), Err(PassedError::Nothing));
    }

    #[test]
    fn a_name_that_is_not_there_is_said_with_those_that_are() {
        let said = passed(&["a", "b"]).named("c").unwrap_err().to_string();
        assert!(said.contains("the name c; it has passed a, b"), "{said}");
        assert_eq!(Passed::default().named("c").map(|_| ()), Err(PassedError::Nothing));
    }

    #[test]
    fn what_does_not_accept_streams_is_refused_by_its_name() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let connection = std::os::unix::net::UnixStream::pair().unwrap().0;
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        for fd in [OwnedFd::from(connection), OwnedFd::from(udp)] {
            let said = Passed(vec![("odd".to_owned(), fd)]).rest().map(|_| ());
            assert_eq!(said, Err(PassedError::NoListener { name: "odd".to_owned() }));
        }
        assert!(Passed(vec![("odd".to_owned(), file.into())]).rest().is_err());
    }

    #[test]
    fn a_unix_socket_can_be_passed_too() {
        let name = crate::config::data_folder::to_hex(&crate::config::data_folder::random_key()[..8]);
        let path = std::env::temp_dir().join(format!("cinnabar-passed-{name}.sock"));
        let listener = UnixListener::bind(&path).unwrap();
        let taken = Passed(vec![("hub".to_owned(), listener.into())]).rest().unwrap();
        assert!(taken[0].local_addr().unwrap().is_unix());
        std::fs::remove_file(path).unwrap();
    }
}
