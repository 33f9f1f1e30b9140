//! How a shard's bytes reach its parked sockets: one function in – sockets and frames – and outcomes out.
//!
//! Two back ends: [`ring`] submits a batch of sends with one system call and keeps its sockets as registered files,
//! which don't count against the descriptor limit; [`calls`] makes one system call per send and runs where io_uring
//! is denied. No send outlives the call that submitted it, so a slot may be used again right after.

mod calls;
mod ring;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;

use crate::hub::{Batch, Shard, Sink, SlotId, SocketId};
use crate::server::sys::{Drained, Epoll, Scratch};

/// Reads per look into a socket's input; whoever has more to say is closed by the shard's limits.
const DRAIN_READS_MAX: u32 = 4;
/// Bytes of it after which there is no further read.
const DRAIN_BYTES_MAX: u32 = 64 * 1024;

/// The sockets of a shard's event streams and the way to write to them.
pub(crate) enum Sender {
    /// Registered files and batches of ring operations.
    Ring(ring::RingSender),
    /// Descriptors and system calls.
    Calls(calls::CallSender),
}

impl Sender {
    /// The io_uring back end; `table_slots`: the descriptor limit, which bounds one ring's file table.
    pub(crate) fn ring(table_slots: usize) -> io::Result<Sender> {
        Ok(Sender::Ring(ring::RingSender::new(table_slots)?))
    }

    /// The system-call back end.
    pub(crate) fn calls() -> Sender {
        Sender::Calls(calls::CallSender)
    }

    /// Takes a socket over: registers it for readiness, once, and makes it ready to be sent to.
    pub(crate) fn park(&mut self, epoll: &Epoll, fd: OwnedFd, id: SlotId) -> io::Result<SocketId> {
        match self {
            Sender::Ring(ring) => ring.park(epoll, fd, id),
            Sender::Calls(calls) => calls.park(epoll, fd, id),
        }
    }

    /// Carries a batch out: every write gets its outcome.
    pub(crate) fn send(&mut self, shard: &Shard, batch: &mut Batch) {
        match self {
            Sender::Ring(ring) => ring.send(shard, batch),
            Sender::Calls(calls) => calls.send(shard, batch),
        }
    }

    /// Reads and throws away what a client sent on a stream.
    pub(crate) fn drain(&mut self, sink: Sink, scratch: &mut Scratch) -> Drained {
        let Sink::Socket(socket) = sink;
        let mut bytes = 0;
        for _ in 0..DRAIN_READS_MAX {
            let read = match self {
                Sender::Ring(ring) => ring.receive(socket, scratch),
                Sender::Calls(calls) => calls.receive(socket, scratch),
            };
            match read {
                Ok(0) => return Drained::End,
                Ok(read) => bytes += read as u32,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Drained::End,
            }
            if bytes >= DRAIN_BYTES_MAX {
                break;
            }
        }
        Drained::Bytes(bytes)
    }

    /// Ends the sending direction of all of these.
    pub(crate) fn shutdown(&mut self, sinks: &[Sink]) {
        match self {
            Sender::Ring(ring) => ring.shutdown(sinks),
            Sender::Calls(calls) => calls.shutdown(sinks),
        }
    }

    /// Closes a parked socket and frees its place.
    pub(crate) fn close(&mut self, sink: Sink) {
        let Sink::Socket(socket) = sink;
        match self {
            Sender::Ring(ring) => ring.close(socket),
            Sender::Calls(calls) => calls.close(socket),
        }
    }
}
