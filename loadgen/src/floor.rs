//! The floor: what this machine's kernel allows a server that does nothing but send.
//!
//! It runs in a process of its own, so that its CPU and its cores compare with a hub's: as many threads as the hub has
//! shards, pinned one to a core as those are, each with a listener on the shared port and its share of the sockets.
//! There is no registration, no queue, no parsing beyond the blank line of a request; a broadcast is one
//! non-blocking send after another of one frame.
//!
//! Orders come as lines on standard input: `one NS` sends one event meant for that time to everyone, `flood MS` sends
//! event after event for so long and answers `done COUNT` (events sent so far) on standard output.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use socket2::{Domain, Socket, Type};

use crate::ledger::Ledger;
use crate::options::cores;
use crate::payload::{Number, SIZE_BYTES_MIN, stream_chunk};
use crate::server::Server;
use crate::sys;

/// The name of the hidden subcommand that is the floor's process.
pub(crate) const FLOOR_COMMAND: &str = "floor-server";
const BACKLOG: i32 = 4096;
/// The head every stream of a floor begins with.
pub(crate) const RESPONSE_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
    Connection: close\r\n\r\n";
/// How often an idle thread looks for new connections.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(1);

/// A floor process and the pipes to order it about.
pub(crate) struct Floor {
    /// The process and its address.
    pub(crate) server: Server,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    count: u64,
}

impl Floor {
    /// Starts one with so many sending threads and events of so many bytes of data.
    pub(crate) fn start(threads: usize, size: usize, verbose: bool) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(FLOOR_COMMAND).args(["--threads", &threads.to_string(), "--size", &size.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = Server::launch(command, verbose)?;
        let child = server.child_mut().context("the floor runs")?;
        let orders = child.stdin.take().context("a pipe to the floor")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe from the floor")?);
        Ok(Self { server, orders, answers, count: 0 })
    }

    /// Has one event sent to everyone. Answers when.
    pub(crate) fn broadcast(&mut self) -> anyhow::Result<u64> {
        let sent_ns = sys::now_ns();
        writeln!(self.orders, "one {sent_ns}").context("tell the floor to send")?;
        self.count += 1;
        Ok(sent_ns)
    }

    /// Has events sent one after another for so long. [`Self::flood_end`] must follow.
    pub(crate) fn flood(&mut self, time: Duration) -> anyhow::Result<u64> {
        let sent_ns = sys::now_ns();
        writeln!(self.orders, "flood {}", time.as_millis()).context("tell the floor to send")?;
        Ok(sent_ns)
    }

    /// Waits for the end of a flood.
    pub(crate) fn flood_end(&mut self) -> anyhow::Result<()> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("hear from the floor")?;
        self.count =
            line.trim().strip_prefix("done ").and_then(|count| count.parse().ok()).context("the floor's count")?;
        Ok(())
    }

    /// What it has sent to everyone.
    pub(crate) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        for sequence in 1..=self.count {
            ledger.enter(Number::new(0, sequence));
        }
        ledger
    }
}

/// The floor's process.
#[derive(Args, Clone, Debug)]
pub(crate) struct FloorServer {
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    size: usize,
}

#[derive(Clone, Copy)]
enum Order {
    One { time_ns: u64 },
    Flood { end_ns: u64 },
}

struct Shared {
    port: AtomicU64,
    /// All orders so far, and the newest.
    order: Mutex<(u64, Order)>,
    ordered: Condvar,
    /// All threads and the one that reads orders meet here.
    meeting: Barrier,
    /// Only the sending threads meet here.
    senders: Barrier,
    /// Events sent to everyone; in a flood the most any thread sent.
    count: AtomicU64,
}

impl FloorServer {
    /// Runs until standard input ends.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.threads > 0, "at least one thread");
        anyhow::ensure!(self.size >= SIZE_BYTES_MIN, "events are at least {SIZE_BYTES_MIN} bytes");
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            port: AtomicU64::new(0),
            order: Mutex::new((0, Order::One { time_ns: 0 })),
            ordered: Condvar::new(),
            meeting: Barrier::new(self.threads + 1),
            senders: Barrier::new(self.threads),
            count: AtomicU64::new(0),
        }));
        let size = self.size;
        for index in 0..self.threads {
            std::thread::Builder::new().name(format!("floor-{index}")).spawn(move || {
                if let Err(error) = Sender::start(shared, index, size).and_then(Sender::run) {
                    eprintln!("floor: {error:#}");
                    std::process::exit(1);
                }
            })?;
        }
        // Once for the first listener, which finds the port, once for the others.
        shared.meeting.wait();
        shared.meeting.wait();
        eprintln!("listening on http://127.0.0.1:{}/", shared.port.load(Ordering::Acquire));
        for line in io::stdin().lock().lines() {
            let line = line?;
            let (what, value) = line.split_once(' ').context("an order has two words")?;
            let value: u64 = value.parse().context("a number")?;
            let order = match what {
                "one" => Order::One { time_ns: value },
                _ => Order::Flood { end_ns: sys::now_ns() + value * 1_000_000 },
            };
            {
                let mut slot = shared.order.lock().unwrap_or_else(PoisonError::into_inner);
                *slot = (slot.0 + 1, order);
            }
            shared.ordered.notify_all();
            shared.meeting.wait();
            if let Order::Flood { .. } = order {
                println!("done {}", shared.count.load(Ordering::Acquire));
            }
        }
        Ok(())
    }
}

/// One sending thread.
struct Sender {
    shared: &'static Shared,
    listener: TcpListener,
    /// Connections whose request isn't complete.
    heads: Vec<(TcpStream, Vec<u8>)>,
    streams: Vec<TcpStream>,
    chunk: crate::payload::Template,
    sent: u64,
    orders_done: u64,
}

impl Sender {
    fn start(shared: &'static Shared, index: usize, size: usize) -> anyhow::Result<Self> {
        sys::own_descriptor_table()?;
        sys::pin_to(&[index % cores()])?;
        let mut listener = None;
        if index == 0 {
            let first = listen(0)?;
            shared.port.store(first.local_addr()?.port().into(), Ordering::Release);
            listener = Some(first);
        }
        shared.meeting.wait();
        let listener = match listener {
            Some(listener) => listener,
            None => listen(shared.port.load(Ordering::Acquire) as u16)?,
        };
        shared.meeting.wait();
        let chunk = stream_chunk(size);
        Ok(Self { shared, listener, heads: Vec::new(), streams: Vec::new(), chunk, sent: 0, orders_done: 0 })
    }

    fn run(mut self) -> anyhow::Result<()> {
        loop {
            self.accept()?;
            let Some(order) = self.next_order() else {
                continue;
            };
            match order {
                Order::One { time_ns } => {
                    self.broadcast(time_ns);
                    self.shared.count.fetch_max(self.sent, Ordering::AcqRel);
                }
                Order::Flood { end_ns } => self.flood(end_ns),
            }
            self.shared.meeting.wait();
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    self.heads.push((stream, Vec::new()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("accept"),
            }
        }
        let mut waiting = Vec::new();
        for (mut stream, mut head) in self.heads.drain(..) {
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer) {
                Ok(0) => continue,
                Ok(read) => head.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => continue,
            }
            if !head.ends_with(b"\r\n\r\n") {
                waiting.push((stream, head));
            } else if stream.write(RESPONSE_HEAD).is_ok_and(|written| written == RESPONSE_HEAD.len()) {
                self.streams.push(stream);
            }
        }
        self.heads = waiting;
        Ok(())
    }

    fn next_order(&mut self) -> Option<Order> {
        let order = self.shared.order.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.orders_done;
        let wait = self.shared.ordered.wait_timeout_while(order, ACCEPT_INTERVAL, |(count, _)| *count == done);
        let (order, _) = wait.unwrap_or_else(PoisonError::into_inner);
        (order.0 > done).then(|| {
            self.orders_done = order.0;
            order.1
        })
    }

    fn broadcast(&mut self, time_ns: u64) {
        self.sent += 1;
        let chunk = self.chunk.fill(Number::new(0, self.sent), time_ns);
        self.streams.retain_mut(|stream| send_all(stream, chunk));
    }

    /// Sends until the time is up, then as many events more as the thread that sent most, so that all subscribers
    /// have got the same.
    fn flood(&mut self, end_ns: u64) {
        while sys::now_ns() < end_ns {
            self.broadcast(sys::now_ns());
        }
        self.shared.count.fetch_max(self.sent, Ordering::AcqRel);
        self.shared.senders.wait();
        while self.sent < self.shared.count.load(Ordering::Acquire) {
            self.broadcast(sys::now_ns());
        }
    }
}

/// Sends a frame whole; a full socket is waited for. Answers false when the peer is gone.
fn send_all(stream: &mut TcpStream, mut frame: &[u8]) -> bool {
    loop {
        match stream.write(frame) {
            Ok(written) if written == frame.len() => return true,
            Ok(written) => frame = &frame[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_micros(50)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// A listener that shares its port with those of the other threads; 0 chooses one.
pub(crate) fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).context("bind the floor's port")?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
