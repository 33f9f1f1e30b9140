//! The event streams of HTTP/2 connections, as the sender sees them: where their bytes go.
//!
//! Nothing waits here: a stream takes what its window and its session have room for, which is what counts as sent. The rest stays
//! where it is, in the log.

use std::rc::Rc;

use bytes::Bytes;
use h2::{Reason, SendStream};

use super::session::Session;
use crate::hub::{Batch, Outcome, Shard, Sink, SlotId, SocketId, Write};

/// An event stream of a session.
pub(crate) struct Link {
    session: Rc<Session>,
    send: SendStream<Bytes>,
    id: u32,
    slot: SlotId,
    /// What was given last breaks off within something.
    cut: bool,
    ended: bool,
    blocked: bool,
    /// It was its window that had no room, not the session.
    by_window: bool,
}

impl Link {
    pub(crate) fn new(session: Rc<Session>, send: SendStream<Bytes>, slot: SlotId) -> Link {
        let id = send.stream_id().as_u32();
        Link { session, send, id, slot, cut: false, ended: false, blocked: false, by_window: false }
    }

    /// Takes as much of these as there is room for.
    fn write<'p>(&mut self, total: usize, pieces: impl Iterator<Item = &'p [u8]>) -> Outcome {
        if total == 0 {
            return Outcome::Sent(0);
        }
        let wanted = total.min(self.session.room());
        self.send.reserve_capacity(wanted);
        let count = if wanted == 0 { 0 } else { self.send.capacity().min(wanted) };
        if count > 0 {
            let mut bytes = Vec::with_capacity(count);
            for piece in pieces {
                let room = count - bytes.len();
                bytes.extend_from_slice(&piece[..piece.len().min(room)]);
            }
            if self.send.send_data(Bytes::from(bytes), false).is_err() {
                return Outcome::Gone;
            }
            self.session.use_room(count);
            self.cut = count < total;
        }
        self.blocked = count < total;
        self.by_window = count < wanted;
        Outcome::Sent(count as u32)
    }

    fn may_go_on(&self) -> bool {
        self.session.room() > 0 && (!self.by_window || self.send.capacity() > 0)
    }

    /// Ends it: in order, or, where it breaks off within something, so that the client sees that.
    fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if self.cut || self.send.send_data(Bytes::new(), true).is_err() {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

/// The event streams of a shard's HTTP/2 connections, by their numbers.
#[derive(Default)]
pub(crate) struct Streams {
    links: Vec<Option<Box<Link>>>,
    free: Vec<u32>,
}

impl Streams {
    pub(crate) fn len(&self) -> usize {
        self.links.len() - self.free.len()
    }

    pub(crate) fn add(&mut self, link: Link) -> SocketId {
        let at = self.free.pop().unwrap_or_else(|| {
            self.links.push(None);
            (self.links.len() - 1) as u32
        });
        link.session.opened(link.id, SocketId(at));
        self.links[at as usize] = Some(Box::new(link));
        SocketId(at)
    }

    /// Whose it is.
    pub(crate) fn slot(&self, stream: SocketId) -> Option<SlotId> {
        Some(self.links.get(stream.0 as usize)?.as_ref()?.slot)
    }

    /// Carries out the writes to these streams; the others have their outcomes.
    pub(crate) fn send(&mut self, shard: &Shard, batch: &mut Batch) {
        let mut writes = std::mem::take(&mut batch.writes);
        for write in &mut writes {
            if let Sink::Session(stream) = write.sink {
                write.outcome = self.write(stream, shard, batch, write);
            }
        }
        batch.writes = writes;
    }

    fn write(&mut self, stream: SocketId, shard: &Shard, batch: &Batch, write: &Write) -> Outcome {
        let Some(link) = self.get(stream) else {
            return Outcome::Gone;
        };
        let pieces = || batch.parts(write).iter().flat_map(|&part| shard.pieces(write, part));
        let was_blocked = link.blocked;
        let outcome = link.write(pieces().map(<[u8]>::len).sum(), pieces());
        if link.blocked && !was_blocked {
            link.session.block(stream);
        }
        outcome
    }

    /// Who of a session's streams may go on.
    pub(crate) fn unblocked(&mut self, session: &Session) -> Vec<SlotId> {
        let mut slots = Vec::new();
        for stream in session.take_blocked() {
            match self.get(stream) {
                Some(link) if !std::ptr::eq(&*link.session, session) || !link.blocked => {}
                Some(link) if link.may_go_on() => {
                    link.blocked = false;
                    slots.push(link.slot);
                }
                Some(_) => session.block(stream),
                None => {}
            }
        }
        slots
    }

    /// Ends a stream; whose it was.
    pub(crate) fn end(&mut self, stream: SocketId) -> Option<SlotId> {
        let link = self.get(stream)?;
        link.end();
        Some(link.slot)
    }

    /// Forgets a stream. If it hasn't ended, the client is told that it is over.
    pub(crate) fn remove(&mut self, stream: SocketId, now_ms: u64) {
        let Some(mut link) = self.links.get_mut(stream.0 as usize).and_then(Option::take) else {
            return;
        };
        link.end();
        link.session.ended(link.id, now_ms);
        self.free.push(stream.0);
        if self.len() == 0 {
            // Everybody has left: so does the table.
            *self = Streams::default();
        }
    }

    fn get(&mut self, stream: SocketId) -> Option<&mut Link> {
        self.links.get_mut(stream.0 as usize)?.as_deref_mut()
    }
}
