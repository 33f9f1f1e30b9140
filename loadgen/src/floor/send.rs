//! The floor that sends: a broadcast is one non-blocking send after another of one frame. There is no registration, no
//! queue, no parsing beyond the blank line of a request.
//!
//! Orders: `one NS` sends one event meant for that time to everyone, `flood MS` sends event after event for so long and
//! answers `done COUNT` (events sent so far) on standard output.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

use super::{Port, RESPONSE_HEAD, not_mine, obey};
use crate::payload::{Number, stream_chunk};
use crate::sys;

/// How often an idle thread looks for new connections.
const ACCEPT_INTERVAL: Duration = Duration::from_millis(1);

#[derive(Clone, Copy)]
enum Order {
    One { time_ns: u64 },
    Flood { end_ns: u64 },
}

struct Shared {
    port: Port,
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

/// Runs until standard input ends.
pub(super) fn run(threads: usize, size: usize, address: IpAddr) -> anyhow::Result<()> {
    let shared: &'static Shared = Box::leak(Box::new(Shared {
        port: Port::new(address, threads),
        order: Mutex::new((0, Order::One { time_ns: 0 })),
        ordered: Condvar::new(),
        meeting: Barrier::new(threads + 1),
        senders: Barrier::new(threads),
        count: AtomicU64::new(0),
    }));
    for index in 0..threads {
        Port::spawn(index, move || Sender::start(shared, index, size)?.run())?;
    }
    shared.port.announce();
    obey(|what, value| {
        let order = match what {
            "one" => Order::One { time_ns: value },
            "flood" => Order::Flood { end_ns: sys::now_ns() + value * 1_000_000 },
            other => return not_mine(other),
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
        Ok(())
    })
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
        let listener = shared.port.settle(index)?;
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
