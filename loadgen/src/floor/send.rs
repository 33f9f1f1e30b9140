//! The floor that sends: a broadcast is one non-blocking send after another of one frame. There is no registration, no
//! queue, no parsing beyond the blank line of a request. With TLS every frame is sealed for each by a bare key before.
//!
//! Orders: `one NS` sends one event meant for that time to everyone, `flood MS` sends event after event for so long and
//! answers `done COUNT` (events sent so far) on standard output.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rustls::ServerConfig;

use super::seal::{Call, Caller, Stream};
use super::{Port, not_mine, obey};
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
pub(super) fn run(threads: usize, size: usize, address: IpAddr, tls: Option<Arc<ServerConfig>>) -> anyhow::Result<()> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let shared: &'static Shared = Box::leak(Box::new(Shared {
        port: Port::new(address, threads),
        order: Mutex::new((0, Order::One { time_ns: 0 })),
        ordered: Condvar::new(),
        meeting: Barrier::new(threads + 1),
        senders: Barrier::new(threads),
        count: AtomicU64::new(0),
    }));
    for index in 0..threads {
        let tls = tls.clone();
        Port::spawn(index, move || Sender::start(shared, index, size, tls)?.run())?;
    }
    shared.port.announce(scheme);
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
    callers: Vec<Caller>,
    streams: Vec<Stream>,
    tls: Option<Arc<ServerConfig>>,
    /// A record, where it is TLS.
    sealed: Vec<u8>,
    chunk: crate::payload::Template,
    sent: u64,
    orders_done: u64,
}

impl Sender {
    fn start(
        shared: &'static Shared,
        index: usize,
        size: usize,
        tls: Option<Arc<ServerConfig>>,
    ) -> anyhow::Result<Self> {
        let listener = shared.port.settle(index)?;
        let chunk = stream_chunk(size);
        Ok(Self {
            shared,
            listener,
            callers: Vec::new(),
            streams: Vec::new(),
            tls,
            sealed: Vec::new(),
            chunk,
            sent: 0,
            orders_done: 0,
        })
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
                    self.callers.push(Caller::new(stream, self.tls.as_ref())?);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("accept"),
            }
        }
        let mut waiting = Vec::new();
        for caller in self.callers.drain(..) {
            match caller.look() {
                Call::Waits(caller) => waiting.push(caller),
                Call::Streams(stream) => self.streams.push(stream),
                Call::Gone => {}
            }
        }
        self.callers = waiting;
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
        self.streams.retain_mut(|stream| stream.send(chunk, &mut self.sealed));
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
