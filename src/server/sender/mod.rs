//! How a shard's bytes reach its parked sockets: one function in – sockets and frames – and outcomes out.
//!
//! Two back ends: [`ring`] submits a batch of sends with one system call and keeps its sockets as registered files,
//! which don't count against the descriptor limit; [`calls`] makes one system call per send and runs where io_uring
//! is denied. No send outlives the call that submitted it, so a slot may be used again right after.
//!
//! What goes to connections with TLS is sealed before ([`sealed`]), whichever back end it is. What goes to streams of HTTP/2
//! connections goes no further than to their sessions ([`Streams`]).

mod calls;
mod ring;
mod sealed;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use crate::admin::SealedEnd;
use crate::hub::{Batch, Outcome, Shard, Sink, SlotId, SocketId};
use crate::server::http2::{Link, Streams};
use crate::server::sys::{Drained, Epoll, Scratch};
use crate::server::tls::TlsStream;
use sealed::SealedStreams;

/// Reads per look into a socket's input; whoever has more to say is closed by the shard's limits.
const DRAIN_READS_MAX: u32 = 4;
/// Bytes of it after which there is no further read.
const DRAIN_BYTES_MAX: u32 = 64 * 1024;

/// The sockets of a shard's event streams and the way to write to them.
pub(crate) struct Sender {
    back_end: BackEnd,
    sealed: SealedStreams,
    streams: Streams,
}

/// What sends.
enum BackEnd {
    /// Registered files and batches of ring operations.
    Ring(ring::RingSender),
    /// Descriptors and system calls.
    Calls(calls::CallSender),
}

/// Sends that each have bytes of one buffer.
#[derive(Default)]
struct Pieces {
    bytes: Vec<u8>,
    sends: Vec<Piece>,
}

/// One of them.
struct Piece {
    socket: SocketId,
    range: Range<usize>,
    outcome: Outcome,
}

/// What became of the bytes that were kept for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// None are left: it may be written to.
    All,
    /// It is full again.
    Full,
    /// The connection is no more.
    Gone,
}

impl Sender {
    /// The io_uring back end; `table_slots`: the descriptor limit, which bounds one ring's file table.
    pub(crate) fn ring(table_slots: usize) -> io::Result<Sender> {
        let back_end = BackEnd::Ring(ring::RingSender::new(table_slots)?);
        Ok(Sender { back_end, sealed: SealedStreams::default(), streams: Streams::default() })
    }

    /// The system-call back end.
    pub(crate) fn calls() -> Sender {
        Sender {
            back_end: BackEnd::Calls(calls::CallSender),
            sealed: SealedStreams::default(),
            streams: Streams::default(),
        }
    }

    /// Takes a socket over: registers it for readiness, once, and makes it ready to be sent to, sealed if it has TLS.
    pub(crate) fn park(&mut self, epoll: &Epoll, fd: OwnedFd, tls: Option<TlsStream>, id: SlotId) -> io::Result<Sink> {
        let socket = match &mut self.back_end {
            BackEnd::Ring(ring) => ring.park(epoll, fd, id),
            BackEnd::Calls(calls) => calls.park(epoll, fd, id),
        }?;
        Ok(match tls {
            None => Sink::Socket(socket),
            Some(stream) => {
                self.sealed.add(socket, stream);
                Sink::Sealed(socket)
            }
        })
    }

    /// Carries a batch out: every write gets its outcome.
    pub(crate) fn send(&mut self, shard: &Shard, batch: &mut Batch) {
        match &mut self.back_end {
            BackEnd::Ring(ring) => ring.send(shard, batch),
            BackEnd::Calls(calls) => calls.send(shard, batch),
        }
        if !self.sealed.is_empty() {
            self.sealed.send(&mut self.back_end, shard, batch);
        }
        if self.streams.len() > 0 {
            self.streams.send(shard, batch);
        }
    }

    /// Sends what is kept for a socket that has room again. Until all of it is out nothing else goes there.
    pub(crate) fn flush(&mut self, sink: Sink) -> Flushed {
        match sink {
            Sink::Socket(_) | Sink::Session(_) => Flushed::All,
            Sink::Sealed(socket) => self.sealed.flush(&mut self.back_end, socket),
        }
    }

    /// Reads and throws away what a client sent on a stream.
    pub(crate) fn drain(&mut self, sink: Sink, scratch: &mut Scratch) -> Drained {
        let socket = sink.socket();
        let mut bytes = 0;
        for _ in 0..DRAIN_READS_MAX {
            let read = match &mut self.back_end {
                BackEnd::Ring(ring) => ring.receive(socket, scratch),
                BackEnd::Calls(calls) => calls.receive(socket, scratch),
            };
            match read {
                Ok(0) => return Drained::End,
                Ok(read) => {
                    bytes += read as u32;
                    if matches!(sink, Sink::Sealed(_))
                        && !self.sealed.receive(socket, &mut scratch.as_mut_slice()[..read])
                    {
                        return Drained::End;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Drained::End,
            }
            if bytes >= DRAIN_BYTES_MAX {
                break;
            }
        }
        Drained::Bytes(bytes)
    }

    /// Ends the sending direction of all of these. Where something is kept, that goes first, and the end follows it.
    pub(crate) fn shutdown(&mut self, sinks: &[Sink]) {
        let ready: Vec<SocketId> = match self.sealed.is_empty() {
            true => sinks.iter().map(|sink| sink.socket()).collect(),
            false => self.sealed.end(&mut self.back_end, sinks),
        };
        self.back_end.shutdown(&ready);
    }

    /// Takes an event stream of a session: it is sent to from now on.
    pub(crate) fn attach(&mut self, link: Link) -> Sink {
        Sink::Session(self.streams.add(link))
    }

    /// The event streams of sessions.
    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The same, to be changed.
    pub(crate) fn streams_mut(&mut self) -> &mut Streams {
        &mut self.streams
    }

    /// Ends an event stream of a session; whose it was.
    pub(crate) fn end_stream(&mut self, stream: SocketId) -> Option<SlotId> {
        self.streams.end(stream)
    }

    /// Closes a parked socket and frees its place; of a session, the place of a stream.
    pub(crate) fn close(&mut self, sink: Sink, now_ms: u64) {
        match sink {
            Sink::Socket(_) => {}
            Sink::Sealed(socket) => self.sealed.remove(socket),
            Sink::Session(stream) => return self.streams.remove(stream, now_ms),
        }
        match &mut self.back_end {
            BackEnd::Ring(ring) => ring.close(sink.socket()),
            BackEnd::Calls(calls) => calls.close(sink.socket()),
        }
    }

    /// Streams that TLS has ended, in the order of [`SealedEnd::ALL`].
    pub(crate) fn sealed_ends(&self) -> [u64; SealedEnd::ALL.len()] {
        self.sealed.ends
    }
}

impl BackEnd {
    /// Sends pieces of one buffer: each gets its outcome.
    fn send_pieces(&mut self, pieces: &mut Pieces) {
        match self {
            BackEnd::Ring(ring) => ring.send_pieces(pieces),
            BackEnd::Calls(calls) => calls.send_pieces(pieces),
        }
    }

    fn shutdown(&mut self, sockets: &[SocketId]) {
        match self {
            BackEnd::Ring(ring) => ring.shutdown(sockets),
            BackEnd::Calls(calls) => calls.shutdown(sockets),
        }
    }
}
