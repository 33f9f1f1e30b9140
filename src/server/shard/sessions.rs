//! HTTP/2 connections as the shard sees them: their event streams are its subscribers, and its clock is theirs.

use bytes::Bytes;
use h2::SendStream;
use std::rc::Rc;

use crate::hub::{Input, Now, Registration, Sink, SocketId};
use crate::server::http2::{Link, Session, SessionTimes};
use crate::server::limits::Hold;
use crate::server::peers::Peer;
use crate::server::shard::{ANSWER_TIMEOUT_MS, Context, IDLE_TIMEOUT_MS, Whose};

impl Context {
    /// Makes a request an event stream of its connection, as [`Context::park`] does with a connection that has one request.
    pub(crate) fn attach(
        &self,
        session: &Rc<Session>,
        send: SendStream<Bytes>,
        whose: Whose,
        make: impl FnOnce(Sink, u32) -> Registration,
    ) {
        self.bell.set_urgent(true);
        // What was acknowledged before must be behind this stream in the log.
        self.take_in_messages(self.messages.len(), self.now());
        let mut shard = self.shard.borrow_mut();
        let id = shard.reserve();
        let sink = self.sender.borrow_mut().attach(Link::new(session.clone(), send, id));
        let Whose { client, by_address, by_subject } = whose;
        let address = self.peers.borrow_mut().intern(Peer {
            address: client.address,
            by_address: by_address.and_then(Hold::keep),
            by_subject: by_subject.and_then(Hold::keep),
        });
        shard.handle(Input::Register(id, Box::new(make(sink, address))), self.now());
        self.tell_coded_streams(&shard);
        drop(shard);
        self.carry_out();
        self.rouse();
    }

    /// Lets those of a session's streams go on that have room again.
    pub(crate) fn let_go_on(&self, session: &Session) {
        let slots = self.sender.borrow_mut().streams_mut().unblocked(session);
        if slots.is_empty() {
            return;
        }
        let mut shard = self.shard.borrow_mut();
        for slot in slots {
            shard.handle(Input::Writable(slot), self.now());
        }
        drop(shard);
        self.carry_out();
        self.rouse();
    }

    /// A stream was reset: whoever read it is gone.
    pub(crate) fn stream_reset(&self, session: &Session, id: u32) {
        if let Some(stream) = session.stream(id) {
            self.lose(&[stream]);
        }
    }

    /// The connection is no more, and with it all its streams.
    pub(crate) fn streams_gone(&self, session: &Session) {
        self.lose(&session.streams());
    }

    fn lose(&self, streams: &[SocketId]) {
        for &stream in streams {
            let slot = self.sender.borrow().streams().slot(stream);
            if let Some(slot) = slot {
                self.shard.borrow_mut().handle(Input::Gone(slot), self.now());
                self.carry_out();
            }
        }
    }

    /// Ends sessions whose time is up.
    pub(super) fn sweep_sessions(&self, now: Now) {
        let head_ms = self.settings().head_timeout_ms;
        let times = SessionTimes { head_ms, idle_ms: IDLE_TIMEOUT_MS, answer_ms: ANSWER_TIMEOUT_MS };
        self.sessions.borrow().sweep(times, now.mono_ms);
    }
}
