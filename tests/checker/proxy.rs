//! A small TCP proxy between one hub and the engine, so that this hub's connections can break while the others' don't.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use crate::servers::free_port;

/// How soon a change is noticed.
const TURN: Duration = Duration::from_millis(20);

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    /// Who connects is cut off at once.
    Refusing,
    /// Nothing passes in either direction; connections stay.
    Silent,
    /// What the hub says reaches the engine, and not what that answers.
    Unanswered,
}

/// A running proxy; it ends with the test.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    mode: Mutex<Mode>,
    /// Connections that were made before the last cut are cut.
    cuts: AtomicU64,
    ends: AtomicBool,
}

impl Proxy {
    /// Passes on to a port of this machine.
    pub(crate) fn to(engine: u16) -> Proxy {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let shared =
            Arc::new(Shared { mode: Mutex::new(Mode::Open), cuts: AtomicU64::new(0), ends: AtomicBool::new(false) });
        let acceptor = {
            let shared = shared.clone();
            std::thread::spawn(move || shared.accept(&listener, SocketAddr::from(([127, 0, 0, 1], engine))))
        };
        Proxy { port, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().expect("nobody panics with it") = mode;
    }

    /// Cuts all connections, in the middle of what they carry.
    pub(crate) fn cut(&self) {
        self.shared.cuts.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn mode(&self) -> Mode {
        *self.mode.lock().expect("nobody panics with it")
    }

    fn accept(self: &Arc<Shared>, listener: &TcpListener, engine: SocketAddr) {
        while !self.ends.load(Ordering::SeqCst) {
            let Ok((hub, _)) = listener.accept() else {
                std::thread::sleep(TURN / 4);
                continue;
            };
            let made = self.cuts.load(Ordering::SeqCst);
            let engine = match self.mode() {
                Mode::Refusing => Err(ErrorKind::ConnectionRefused.into()),
                _ => TcpStream::connect(engine),
            };
            let Ok(engine) = engine else {
                let _ = SockRef::from(&hub).set_linger(Some(Duration::ZERO));
                continue;
            };
            let gone = Arc::new(AtomicBool::new(false));
            for socket in [&hub, &engine] {
                socket.set_nonblocking(false).expect("a socket");
                socket.set_nodelay(true).expect("a socket");
                socket.set_read_timeout(Some(TURN)).expect("a valid timeout");
                socket.set_write_timeout(Some(TURN)).expect("a valid timeout");
            }
            let copies = (hub.try_clone().expect("a second handle"), engine.try_clone().expect("a second handle"));
            let asks = Pipe { shared: self.clone(), gone: gone.clone(), made, answers: false };
            let answers = Pipe { shared: self.clone(), gone, made, answers: true };
            std::thread::spawn(move || asks.pass(hub, engine));
            std::thread::spawn(move || answers.pass(copies.1, copies.0));
        }
    }
}

/// One direction of a connection.
struct Pipe {
    shared: Arc<Shared>,
    gone: Arc<AtomicBool>,
    /// Cuts there had been when it was made.
    made: u64,
    answers: bool,
}

impl Pipe {
    fn pass(self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while !self.is_over() {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if waits(&error) => continue,
                Err(_) => break,
            };
            while self.is_held() && !self.is_over() {
                std::thread::sleep(TURN / 4);
            }
            // Who is cut while there is something to pass on gets half of it.
            let count = if self.is_over() { count / 2 } else { count };
            if !self.push(&mut to, &buffer[..count]) {
                break;
            }
        }
        self.gone.store(true, Ordering::SeqCst);
        for socket in [&from, &to] {
            // A reset, once the other direction has let go too.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    fn push(&self, to: &mut TcpStream, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(0) => return false,
                Ok(count) => bytes = &bytes[count..],
                Err(error) if waits(&error) && !self.is_over() => {}
                Err(_) => return false,
            }
        }
        true
    }

    fn is_held(&self) -> bool {
        match self.shared.mode() {
            Mode::Silent => true,
            Mode::Unanswered => self.answers,
            Mode::Open | Mode::Refusing => false,
        }
    }

    fn is_over(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
            || self.shared.cuts.load(Ordering::SeqCst) != self.made
            || self.shared.ends.load(Ordering::SeqCst)
    }
}

fn waits(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something that sends back what it gets.
    fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                let mut copy = socket.try_clone().expect("a second handle");
                std::thread::spawn(move || std::io::copy(&mut socket, &mut copy));
            }
        });
        port
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", proxy.port)).expect("it accepts");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a valid timeout");
        socket
    }

    fn read(socket: &mut TcpStream) -> Option<u8> {
        let mut byte = [0];
        socket.read_exact(&mut byte).is_ok().then_some(byte[0])
    }

    #[test]
    fn it_passes_on_holds_and_cuts() {
        let proxy = Proxy::to(echo());
        let mut socket = connect(&proxy);
        socket.write_all(b"a").expect("it reads");
        assert_eq!(read(&mut socket), Some(b'a'));
        for mode in [Mode::Silent, Mode::Unanswered] {
            proxy.set(mode);
            socket.write_all(b"b").expect("it reads");
            socket.set_read_timeout(Some(TURN * 5)).expect("a valid timeout");
            assert_eq!(read(&mut socket), None);
            socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a valid timeout");
            proxy.set(Mode::Open);
            assert_eq!(read(&mut socket), Some(b'b'));
        }
        proxy.cut();
        assert_eq!(read(&mut socket), None);
        let mut socket = connect(&proxy);
        socket.write_all(b"c").expect("it reads");
        assert_eq!(read(&mut socket), Some(b'c'));
        proxy.set(Mode::Refusing);
        assert_eq!(read(&mut connect(&proxy)), None);
        socket.write_all(b"d").expect("it reads");
        assert_eq!(read(&mut socket), Some(b'd'), "those there are stay");
    }
}
