//! The event streams of a shard: how a connection becomes one, what its socket says, and what the state machine wants done.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use crate::hub::{Input, Now, Output, Registration, Shard, Sink, SlotId};
use crate::server::limits::{Client, Hold};
use crate::server::peers::Peer;
use crate::server::recall::Read;
use crate::server::sender::Flushed;
use crate::server::shard::Context;
use crate::server::sys::{Drained, Ready};
use crate::server::tls::TlsStream;

/// Whose stream it will be, and where it is counted. What is still held when this is dropped isn't counted any more.
pub(crate) struct Whose {
    pub(crate) client: Client,
    pub(crate) by_address: Option<Hold>,
    pub(crate) by_subject: Option<Hold>,
}

impl Context {
    /// Turns a connection into an event stream: its socket is parked in the slab and its task may end.
    pub(crate) fn park(
        &self,
        fd: OwnedFd,
        tls: Option<TlsStream>,
        whose: Whose,
        unread: usize,
        make: impl FnOnce(Sink, u32) -> Registration,
    ) -> io::Result<()> {
        self.bell.set_urgent(true);
        // What was acknowledged before – in a cluster, what has been followed – must be behind this stream in the log: all that lies in the inbox, whose length is
        // bounded, and not only as much as one turn takes.
        self.take_in_messages(self.messages.len(), self.now());
        let mut shard = self.shard.borrow_mut();
        let id = shard.reserve();
        let parked = self.sender.borrow_mut().park(&self.epoll.borrow(), fd, tls, id);
        let now = self.now();
        match parked {
            Ok(sink) => {
                let Whose { client, by_address, by_subject } = whose;
                let address = self.peers.borrow_mut().intern(Peer {
                    address: client.address,
                    by_address: by_address.and_then(Hold::keep),
                    by_subject: by_subject.and_then(Hold::keep),
                });
                shard.handle(Input::Register(id, Box::new(make(sink, address))), now);
                if unread > 0 {
                    shard.handle(Input::Received(id, unread as u32), now);
                }
                self.tell_coded_streams(&shard);
                drop(shard);
                self.carry_out();
                // The loop may be waiting for readiness, which a new stream causes none of.
                self.rouse();
                Ok(())
            }
            Err(error) => {
                shard.handle(Input::Abandon(id), now);
                self.shared.connections.fetch_sub(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Tells the compressor for whom it works.
    pub(super) fn tell_coded_streams(&self, shard: &Shard) {
        let streams = shard.coded_streams();
        if self.coded_streams.replace(streams) != streams {
            self.shared.coded_streams.put(self.index, streams);
        }
    }

    /// Does what the shard wants done: all shutdowns at once, then what is to be closed, which may be the same sockets.
    pub(super) fn carry_out(&self) {
        let (mut shutdowns, mut closes) = (Vec::new(), Vec::new());
        loop {
            let output = self.shard.borrow_mut().output();
            let Some(output) = output else { break };
            match output {
                Output::Read { id, after, forgiven, filter } => {
                    self.reads.ask(Read { shard: self.index, slot: id, after, forgiven, filter });
                }
                Output::Revoked(revocation, closed) => self.orders.borrow_mut().revoked(&revocation, closed),
                Output::Surveyed(survey, findings) => self.surveyed(&survey, findings),
                // Its connection goes on: nothing is waited for, and it is forgotten in the same breath.
                Output::Shutdown(Sink::Session(stream)) => {
                    let ended = self.sender.borrow_mut().end_stream(stream);
                    if let Some(slot) = ended {
                        self.shard.borrow_mut().handle(Input::Gone(slot), self.now());
                    }
                }
                Output::Shutdown(sink) => shutdowns.push(sink),
                Output::Close { sink, address } => closes.push((sink, address)),
            }
        }
        let mut sender = self.sender.borrow_mut();
        for &sink in &shutdowns {
            sender.drain(sink, &mut self.scratch.borrow_mut());
        }
        sender.shutdown(&shutdowns);
        for (sink, address) in closes {
            sender.close(sink, self.clock.mono_ms());
            let peer = self.peers.borrow_mut().release(address);
            self.shared.limits.give_back(peer);
            if !matches!(sink, Sink::Session(_)) {
                self.shared.connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn socket_ready(&self, id: SlotId, event: Ready, now: Now) {
        let mut shard = self.shard.borrow_mut();
        if event.gone() {
            shard.handle(Input::Gone(id), now);
            return;
        }
        if event.readable()
            && let Some(sink) = shard.sink(id)
        {
            match self.sender.borrow_mut().drain(sink, &mut self.scratch.borrow_mut()) {
                Drained::Bytes(0) => {}
                Drained::Bytes(bytes) => shard.handle(Input::Received(id, bytes), now),
                Drained::End => shard.handle(Input::Gone(id), now),
            }
        }
        if event.writable() {
            let flushed = shard.sink(id).map(|sink| self.sender.borrow_mut().flush(sink));
            match flushed {
                Some(Flushed::All) => shard.handle(Input::Writable(id), now),
                Some(Flushed::Gone) => shard.handle(Input::Gone(id), now),
                Some(Flushed::Full) | None => {}
            }
        }
    }
}
