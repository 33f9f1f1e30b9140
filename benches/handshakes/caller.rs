//! A client that makes one handshake on a socket that it never waits for.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustls::ClientConnection;

/// A handshake under way.
pub(crate) struct Caller {
    socket: TcpStream,
    session: ClientConnection,
    /// Its last message was sent, and that nothing follows.
    closing: bool,
}

impl Caller {
    /// Connects; on loopback that takes no waiting.
    pub(crate) fn connect(address: SocketAddr, session: ClientConnection) -> Caller {
        let socket = TcpStream::connect(address).expect("the hub accepts");
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_nonblocking(true).expect("a TCP socket");
        Caller { socket, session, closing: false }
    }

    /// Takes what the hub has sent. True: it has taken the last message, and then heard that nothing follows, as a rule with a read of
    /// its own.
    pub(crate) fn hear(&mut self) -> io::Result<bool> {
        if !self.session.is_handshaking() && !self.closing {
            self.closing = true;
            self.session.send_close_notify();
            return Ok(false);
        }
        let mut bytes = [0; 4096];
        let read = match self.socket.read(&mut bytes) {
            Ok(0) if self.closing => return Ok(true),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut bytes = &bytes[..read];
        while !bytes.is_empty() {
            self.session.read_tls(&mut bytes)?;
            self.session.process_new_packets().map_err(io::Error::other)?;
        }
        Ok(false)
    }

    /// Sends what there is to say.
    pub(crate) fn say(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        self.socket.flush()
    }
}
