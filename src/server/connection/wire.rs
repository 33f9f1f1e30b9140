//! The bytes of a connection, in both directions, and the answers that are owed on it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;

use super::body::Counted;
use super::familiar::Familiar;
use super::input::Input;
use crate::http::head::Version;
use crate::http::response::ResponseHead;
use crate::server::guests::Phase;
use crate::server::limits::{Client, Hold, LimitSettings};
use crate::server::routes;
use crate::server::shard::Context;
use crate::server::sys;
use crate::server::tls::Session;

/// Bytes of a connection's own that are read into: what waiting for it costs.
pub(super) const READ_BYTES: usize = 4 * 1024;
/// Answers collected for pipelined requests before they are written.
pub(super) const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Whatever happens to the task, the connection is counted out and forgotten before its descriptor closes.
pub(crate) struct Registered {
    pub(super) context: Rc<Context>,
    pub(super) guest: u64,
    /// What was entered last, and when.
    pub(super) entered: Cell<Option<(Phase, u64)>>,
    pub(crate) parked: Cell<bool>,
}

impl Registered {
    pub(super) fn enter(&self, phase: Phase) {
        let now_ms = self.context.clock.mono_ms();
        if self.entered.replace(Some((phase, now_ms))) != Some((phase, now_ms)) {
            self.context.guests.borrow_mut().enter(self.guest, phase, now_ms);
        }
    }

    pub(crate) fn timed_out(&self) -> bool {
        self.context.guests.borrow().timed_out(self.guest)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.context.guests.borrow_mut().leave(self.guest);
        self.context.shared.guests.fetch_sub(1, Ordering::Release);
        if !self.parked.get() {
            self.context.shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A publish on its way to the log, whose answer comes before all later ones.
pub(super) struct Unanswered<'c> {
    pub(super) publishing: routes::Publishing<'c>,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
}

/// Whether the connection began with a PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Introduction {
    /// It didn't.
    None,
    /// With one that names the client.
    Named,
    /// With one that names nobody: what requests say of their client is the client's own word.
    Nameless,
}

impl Introduction {
    /// Who is at the other end of a connection that began so, as the settings see it now.
    pub(crate) fn peer_now(self, peer: Client, settings: &LimitSettings) -> Client {
        let peer = peer.seen_again(settings);
        let believed = match self {
            // One of a proxy that would have to begin with a header now: through such a proxy clients say what they like.
            Introduction::None => !settings.introduced(peer),
            Introduction::Named => true,
            Introduction::Nameless => false,
        };
        Client { trusted: peer.trusted && believed, ..peer }
    }
}

/// The bytes of a connection, in both directions.
pub(crate) struct Wire<'c> {
    pub(super) context: &'c Rc<Context>,
    pub(super) unanswered: VecDeque<Unanswered<'c>>,
    // Before the stream: fields are dropped in this order.
    pub(super) registered: Registered,
    pub(super) stream: TcpStream,
    /// Whoever comes is only told where to come with TLS.
    pub(super) redirects: bool,
    /// What the bytes of the socket are sealed by; `None`: they are as they are.
    pub(super) tls: Option<Box<Session>>,
    /// Who is at the other end, or whom the PROXY protocol header named. Whether it is a proxy of ours, the settings say anew for
    /// each request.
    pub(super) peer: Client,
    pub(super) introduction: Introduction,
    /// Whose request it is, which may be another one where the peer is a proxy of ours.
    pub(super) client: Client,
    /// Counts the connection towards its client's address: for as long as it lasts, or for one request of a proxy's.
    pub(super) held: Option<Hold>,
    pub(super) input: Input,
    /// The head of the publish before.
    pub(super) familiar: Option<Box<(Familiar, Counted)>>,
    pub(super) output: Vec<u8>,
    pub(super) spare: Vec<u8>,
    /// When the last read ended, microseconds of the hub's clock.
    pub(super) read_us: u64,
    /// A request has been answered on it before.
    pub(super) served: bool,
    /// Something was read since the last head: the client was waited for, and the shard's loop had its turn.
    pub(super) fresh: bool,
}

impl<'c> Wire<'c> {
    /// Reads more input; 0 at its end.
    pub(super) async fn read(&mut self) -> io::Result<usize> {
        if self.tls.is_some() {
            return self.read_sealed().await;
        }
        let buffer = self.fill().await?;
        let read = buffer.len();
        self.input.add(&buffer);
        let filled = read == buffer.capacity();
        self.spare = buffer;
        if filled {
            self.top_up();
        }
        Ok(read)
    }

    /// The same where records have to be opened.
    async fn read_sealed(&mut self) -> io::Result<usize> {
        if self.tls.as_ref().is_some_and(|session| session.peer_closed()) {
            // Behind the last request: the end of the connection itself may never come.
            return Ok(0);
        }
        let before = self.input.unused().len();
        loop {
            let buffer = self.fill().await?;
            let Some(session) = self.tls.as_mut().filter(|_| !buffer.is_empty()) else {
                return Ok(0);
            };
            let mut out = Vec::new();
            session.add(&buffer);
            if buffer.len() == buffer.capacity() {
                let mut scratch = self.context.scratch.borrow_mut();
                if let Ok(read) = sys::receive(self.stream.as_raw_fd(), &mut scratch) {
                    session.add(&scratch.as_mut_slice()[..read]);
                }
            }
            self.spare = buffer;
            let processed = session.process(self.input.buffer(), &mut out);
            let closed = session.peer_closed();
            if !out.is_empty() {
                self.send(out).await?;
            }
            let read = self.input.unused().len() - before;
            match processed {
                _ if read > 0 => return Ok(read),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                Ok(()) if closed => return Ok(0),
                // Nothing but records without content: more has to come.
                Ok(()) => {}
            }
        }
    }

    /// Reads from the socket into the connection's own buffer, which is to be put back; nothing at its end. The shard's loop has
    /// its turn before the task goes on, even where epoll's driver finds the bytes there and would not yield: a client that sends
    /// without pause must not keep the loop to itself.
    pub(super) async fn fill(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = std::mem::take(&mut self.spare);
        if buffer.capacity() < READ_BYTES {
            buffer = Vec::with_capacity(READ_BYTES);
        }
        let mut pending = false;
        let (result, buffer) = {
            let mut reading = pin!(self.stream.read(buffer));
            poll_fn(|cx| {
                let polled = reading.as_mut().poll(cx);
                pending |= polled.is_pending();
                polled
            })
            .await
        };
        self.read_us = self.context.clock.mono_us();
        if !pending {
            self.registered.context.next_turn().await;
        }
        self.fresh = true;
        let read = result?;
        debug_assert_eq!(read, buffer.len(), "a read sets the buffer's length");
        Ok(buffer)
    }

    /// Takes what else is there, after a read that was filled: what is sent together is answered with one write, and while
    /// nothing comes, the connection keeps no more than a small buffer. What ends the connection, the next read tells.
    fn top_up(&mut self) {
        let mut scratch = self.context.scratch.borrow_mut();
        if let Ok(read) = sys::receive(self.stream.as_raw_fd(), &mut scratch) {
            self.input.add(&scratch.as_mut_slice()[..read]);
        }
    }

    /// Gives back what a large request or answer left: a connection that waits keeps small buffers only.
    pub(super) fn shrink(&mut self) {
        self.spare.clear();
        for buffer in [self.input.buffer(), &mut self.output, &mut self.spare] {
            buffer.shrink_to(READ_BYTES);
        }
        self.tls.iter_mut().for_each(|session| session.shrink());
    }

    /// Who is at the other end, as the settings see it now.
    pub(super) fn peer_now(&self, settings: &LimitSettings) -> Client {
        self.introduction.peer_now(self.peer, settings)
    }

    /// A request is answered: the next one of a proxy's may be another client's.
    pub(super) fn served(&mut self) {
        self.served = true;
        if self.peer.trusted {
            self.held = None;
        }
    }

    /// Waits until everything published on it is in the log, and adds the answers to the output.
    pub(super) async fn settle(&mut self) {
        if !self.unanswered.is_empty() {
            self.context.commit_queued();
        }
        while let Some(Unanswered { publishing, version, keep_alive }) = self.unanswered.pop_front() {
            match publishing.finish().await {
                Ok((judged, stored)) => {
                    judged.answer(stored.id(), version, keep_alive, &self.context.date(), &mut self.output);
                }
                Err(refused) => refused.encode(version, keep_alive, false, &self.context.date(), &mut self.output),
            }
        }
    }

    /// Adds an answer to the output, after those that are owed.
    pub(super) async fn answer(
        &mut self,
        response: &ResponseHead,
        version: Version,
        keep_alive: bool,
        head_only: bool,
    ) {
        self.settle().await;
        response.encode(version, keep_alive, head_only, &self.context.date(), &mut self.output);
    }

    /// Writes all answers, those included that have to be waited for.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.settle().await;
        if self.output.is_empty() {
            return Ok(());
        }
        if self.tls.is_some() {
            return self.flush_sealed().await;
        }
        // As a rule it fits into the socket: no round through the ring.
        let written = match sys::send(self.stream.as_raw_fd(), &[IoSlice::new(&self.output)]) {
            Ok(written) => written,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error),
        };
        if written < self.output.len() {
            let rest = self.output.split_off(written);
            self.stream.write_all(rest).await.0?;
        }
        self.output.clear();
        if self.output.capacity() > OUTPUT_BYTES_MAX {
            self.output = Vec::new();
        }
        Ok(())
    }

    async fn flush_sealed(&mut self) -> io::Result<()> {
        let output = std::mem::take(&mut self.output);
        let mut sealed = Vec::new();
        if let Some(session) = &mut self.tls {
            session.seal(&output, &mut sealed).map_err(io::Error::other)?;
        }
        drop(output);
        self.send(sealed).await
    }

    /// Says that nothing more will follow, where the client has to be told so.
    pub(super) async fn close_notify(&mut self) -> io::Result<()> {
        let Some(session) = &mut self.tls else {
            return Ok(());
        };
        let mut sealed = Vec::new();
        // A session that is over has nothing to say.
        let _ = session.close_notify(&mut sealed);
        self.send(sealed).await
    }

    /// Writes bytes as they are.
    pub(super) async fn send(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        let written = match sys::send(self.stream.as_raw_fd(), &[IoSlice::new(&bytes)]) {
            Ok(written) => written,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error),
        };
        if written < bytes.len() {
            self.stream.write_all(bytes.split_off(written)).await.0?;
        }
        Ok(())
    }
}
