//! The task of a connection: what came goes through the gates to the library, what that writes goes to the socket, and new
//! requests get tasks of their own.
//!
//! Nothing is kept in buffers while a connection waits; it waits for readiness, not with a read. It takes a bounded piece of input
//! per turn of the shard.

mod output;

use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{self, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection as Frames, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use monoio::net::TcpStream;

use super::gates::Gates;
use super::pipe::Pipe;
use super::scanner::{Scanner, kind};
use super::session::{Session, Underway};
use super::{INPUT_BYTES_PER_TURN, OUTPUT_BYTES_MAX, exchange};
use crate::admin::Http2End;
use crate::server::connection::{Introduction, Registered};
use crate::server::limits::{Client, Hold};
use crate::server::shard::Context;
use crate::server::sys;
use crate::server::tls;

/// What a client may send of a body before it is read: on one stream, and on all of a connection.
const WINDOW_BYTES: u32 = 64 * 1024 - 1;
/// Bytes of answers that the library holds for one stream at most.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// What a request that didn't have to be waited for counts for in its turn.
const REQUEST_BYTES: usize = 512;
/// Bytes that the socket hasn't taken, after which nothing more is read: answers of TLS itself among them.
const UNSENT_BYTES_MAX: usize = 2 * OUTPUT_BYTES_MAX;

/// What a connection is when its first bytes have shown that it is one of these.
pub(crate) struct Parts {
    /// Before the stream: fields are dropped in this order.
    pub(crate) registered: Registered,
    pub(crate) stream: TcpStream,
    pub(crate) tls: Option<Box<tls::Session>>,
    pub(crate) peer: Client,
    pub(crate) introduction: Introduction,
    pub(crate) held: Option<Hold>,
    /// What has been read of it.
    pub(crate) input: Vec<u8>,
}

/// Readiness that is waited for.
type Readiness = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// The library, before and after the beginning of the connection.
enum Library {
    Begins(Box<Handshake<Pipe, Bytes>>),
    Open(Box<Frames<Pipe, Bytes>>),
}

/// A connection at work.
struct Connection {
    context: Rc<Context>,
    session: Rc<Session>,
    /// Until its beginning is whole it is one of those that may be dropped for others.
    guest: Option<Registered>,
    library: Library,
    pipe: Pipe,
    tls: Option<Box<tls::Session>>,
    gates: Gates,
    input: Scanner,
    output: Scanner,
    /// Streams that were reset, by either side.
    resets: Vec<u32>,
    /// On its way to the socket, and how much of it has been taken.
    unsent: Vec<u8>,
    sent: usize,
    readable: Option<Readiness>,
    writable: Option<Readiness>,
    /// The readiness had to be waited for, so that the shard's loop has had its turn.
    waited: bool,
    /// What it ends for.
    end: Option<Http2End>,
    told_of_stop: bool,
    /// Nothing can be said to the client any more.
    broken: bool,
    // After what waits for it.
    socket: Rc<TcpStream>,
}

/// What the task does next.
enum Next {
    Request(Box<(Request<RecvStream>, SendResponse<Bytes>)>),
    /// It could go on without waiting: others first.
    Turn,
    End(Http2End),
}

/// Counts a connection for as long as its task lasts.
struct Counted {
    context: Rc<Context>,
    number: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.context.sessions.borrow_mut().remove(self.number);
        self.context.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(context: Rc<Context>, parts: Parts) {
    let Parts { registered, stream, tls, peer, introduction, held, input } = parts;
    let now_ms = context.clock.mono_ms();
    let session = Session::new(stream.as_raw_fd(), peer, introduction, held, now_ms);
    let number = context.sessions.borrow_mut().add(session.clone());
    // From here on the connection is counted by this, and no more as a guest.
    registered.parked.set(true);
    let _counted = Counted { context: context.clone(), number };
    let settings = context.settings();
    let streams_max = settings.http2_streams_max;
    let pipe = Pipe::default();
    let handshake = Builder::new()
        .max_concurrent_streams(streams_max)
        .max_header_list_size(u32::try_from(settings.head.head_bytes_max).unwrap_or(u32::MAX))
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        // The gates have a bound for resets. The library's own is one that a page which is left at once may reach.
        .max_pending_accept_reset_streams(streams_max as usize)
        .handshake(pipe.clone());
    drop(settings);
    let mut connection = Box::new(Connection {
        session,
        guest: Some(registered),
        library: Library::Begins(Box::new(handshake)),
        pipe,
        tls,
        gates: Gates::new(streams_max),
        input: Scanner::of_input(),
        output: Scanner::of_output(),
        resets: Vec::new(),
        unsent: Vec::new(),
        sent: 0,
        readable: None,
        writable: None,
        waited: true,
        end: None,
        told_of_stop: false,
        broken: false,
        socket: Rc::new(stream),
        context: context.clone(),
    });
    context.tally.borrow_mut().http2.connections += 1;
    let end = connection.run(&input).await;
    context.tally.borrow_mut().http2.ends[end as usize] += 1;
    context.streams_gone(&connection.session);
    if !connection.broken {
        connection.close().await;
    }
    // Whatever still waits for its readiness holds the socket open a little longer.
    sys::shutdown(connection.socket.as_raw_fd(), Shutdown::Both);
}

impl Connection {
    async fn run(&mut self, begun: &[u8]) -> Http2End {
        if let Err(end) = self.take(begun) {
            return end;
        }
        loop {
            match poll_fn(|cx| self.poll(cx)).await {
                Next::Request(asked) => {
                    let (request, respond) = *asked;
                    self.context.tally.borrow_mut().http2.requests += 1;
                    let underway = Underway::begin(&self.context, &self.session);
                    monoio::spawn(exchange::serve(underway, request, respond));
                    if !self.context.takes_pipelined(REQUEST_BYTES) {
                        self.context.next_turn().await;
                    }
                }
                Next::Turn => {
                    self.context.next_turn().await;
                    self.pipe.allow(INPUT_BYTES_PER_TURN);
                }
                Next::End(end) => return end,
            }
        }
    }

    fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<Next> {
        self.session.watch(cx.waker());
        loop {
            match self.poll_library(cx) {
                Poll::Ready(next) => return Poll::Ready(next),
                Poll::Pending => {}
            }
            let (was_full, was_open) = (self.pipe.is_full(), self.end.is_none());
            if self.write(cx).is_err() {
                self.broken = true;
                return Poll::Ready(Next::End(self.end.unwrap_or(Http2End::Gone)));
            }
            if was_full && !self.pipe.is_full() || was_open && self.end.is_some() {
                continue;
            }
            // Unless the pipe is full, the library has written all it was given.
            self.session.set_output(self.pipe.output_bytes() + self.unsent.len() - self.sent);
            self.context.let_go_on(&self.session);
            match self.decide() {
                Poll::Ready(Some(end)) => return Poll::Ready(Next::End(end)),
                Poll::Ready(None) => continue,
                Poll::Pending => {}
            }
            if self.end.is_some() || self.pipe.is_full() || self.unsent.len() > UNSENT_BYTES_MAX {
                return Poll::Pending;
            }
            if self.pipe.has_input() {
                // It has had its share of this turn.
                return Poll::Ready(Next::Turn);
            }
            // Only now the library knows of them, too.
            for id in std::mem::take(&mut self.resets) {
                self.context.stream_reset(&self.session, id);
            }
            match ready!(self.read(cx)) {
                Ok(()) if self.waited => self.pipe.allow(INPUT_BYTES_PER_TURN),
                Ok(()) => return Poll::Ready(Next::Turn),
                Err(Http2End::Gone) => {
                    self.broken = true;
                    return Poll::Ready(Next::End(Http2End::Gone));
                }
                Err(end) => self.go_away(end, Reason::ENHANCE_YOUR_CALM),
            }
        }
    }

    /// Lets the library work: what came is read, what is due is written to the pipe.
    fn poll_library(&mut self, cx: &mut task::Context<'_>) -> Poll<Next> {
        loop {
            match &mut self.library {
                Library::Begins(handshake) => {
                    let frames = match ready!(Pin::new(&mut **handshake).poll(cx)) {
                        Ok(frames) => frames,
                        Err(error) => return Poll::Ready(Next::End(self.end.unwrap_or_else(|| end_of(&error)))),
                    };
                    self.library = Library::Open(Box::new(frames));
                    // Drops it as a guest: from here on the session's own times hold.
                    self.guest = None;
                }
                Library::Open(frames) => {
                    return match ready!(frames.poll_accept(cx)) {
                        Some(Ok((_, mut respond))) if self.end.is_some() => {
                            respond.send_reset(Reason::REFUSED_STREAM);
                            continue;
                        }
                        Some(Ok(asked)) => Poll::Ready(Next::Request(Box::new(asked))),
                        Some(Err(error)) => Poll::Ready(Next::End(self.end.unwrap_or_else(|| end_of(&error)))),
                        // All streams have ended after one of both has said that it will have no others.
                        None if self.told_of_stop => Poll::Ready(Next::End(self.end.unwrap_or(Http2End::Stopping))),
                        None => Poll::Ready(Next::End(self.end.unwrap_or(Http2End::Gone))),
                    };
                }
            }
        }
    }

    /// Ends it when its time has come. Ready: the library has to know, or there is nothing left to be said.
    fn decide(&mut self) -> Poll<Option<Http2End>> {
        match self.session.take_end() {
            Some(Http2End::Stalled) => return Poll::Ready(Some(self.end.unwrap_or(Http2End::Stalled))),
            Some(Http2End::Idle) if self.end.is_none() && self.session.is_idle() => {
                self.go_away(Http2End::Idle, Reason::NO_ERROR);
                return Poll::Ready(None);
            }
            Some(end) if self.end.is_none() && end != Http2End::Idle => {
                self.go_away(end, Reason::ENHANCE_YOUR_CALM);
                return Poll::Ready(None);
            }
            _ => {}
        }
        if self.end.is_some() || !self.context.draining() {
            return Poll::Pending;
        }
        if self.context.stopping() && self.session.is_idle() {
            if self.pipe.is_full() {
                return Poll::Ready(Some(Http2End::Stopping));
            }
            self.go_away(Http2End::Stopping, Reason::NO_ERROR);
            return Poll::Ready(None);
        }
        match &mut self.library {
            // What is on its way yet is answered, also the first request of a connection that waited to be accepted.
            Library::Open(frames) if !std::mem::replace(&mut self.told_of_stop, true) => {
                frames.graceful_shutdown();
                Poll::Ready(None)
            }
            _ => Poll::Pending,
        }
    }

    /// Takes nothing more, and says why, unless the connection hasn't begun.
    fn go_away(&mut self, end: Http2End, reason: Reason) {
        self.end = Some(end);
        match &mut self.library {
            Library::Open(frames) => {
                // What was read and isn't the library's yet stays unread.
                self.pipe.allow(0);
                frames.abrupt_shutdown(reason);
            }
            Library::Begins(_) => {
                self.pipe.allow(usize::MAX);
                self.pipe.end_input();
            }
        }
    }

    /// Reads what has come, once.
    fn read(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Http2End>> {
        let socket = &self.socket;
        let readable = self.readable.get_or_insert_with(|| {
            self.waited = false;
            let socket = socket.clone();
            Box::pin(async move { socket.readable(false).await })
        });
        let Poll::Ready(readable) = readable.as_mut().poll(cx) else {
            self.waited = true;
            return Poll::Pending;
        };
        self.readable = None;
        if readable.is_err() {
            return Poll::Ready(Err(Http2End::Gone));
        }
        let context = self.context.clone();
        let mut scratch = context.scratch.borrow_mut();
        let taken = match sys::receive(self.socket.as_raw_fd(), &mut scratch) {
            Ok(0) if self.guest.as_ref().is_some_and(Registered::timed_out) => Err(Http2End::Slow),
            Ok(0) => Err(Http2End::Gone),
            Ok(read) => self.receive(&scratch.as_mut_slice()[..read]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
            Err(_) => Err(Http2End::Gone),
        };
        Poll::Ready(taken)
    }

    /// Takes bytes of the socket.
    fn receive(&mut self, bytes: &[u8]) -> Result<(), Http2End> {
        let Some(tls) = &mut self.tls else {
            return self.take(bytes);
        };
        let mut plain = Vec::new();
        let received = tls.receive(bytes, &mut plain, &mut self.unsent);
        tls.shrink();
        let closed = tls.peer_closed();
        self.take(&plain)?;
        if received.is_err() || closed { Err(Http2End::Gone) } else { Ok(()) }
    }

    /// Takes bytes of the client's, through the gates.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Http2End> {
        let now_ms = self.context.clock.mono_ms();
        let (gates, resets, mut passed) = (&mut self.gates, &mut self.resets, Ok(()));
        self.input.scan(bytes, |frame| {
            if frame.kind == kind::RST_STREAM {
                resets.push(frame.stream);
            }
            passed = passed.and_then(|()| gates.received(frame, now_ms));
        });
        passed?;
        let within_head = self.gates.is_within_head() || self.input.is_within_frame();
        self.session.set_within_head(within_head, now_ms);
        self.pipe.add_input(bytes);
        self.pipe.allow(INPUT_BYTES_PER_TURN);
        Ok(())
    }
}

/// What a connection ended for that the library has ended.
fn end_of(error: &h2::Error) -> Http2End {
    match error.reason() {
        _ if error.is_io() || error.is_remote() => Http2End::Gone,
        Some(Reason::NO_ERROR) => Http2End::Gone,
        Some(Reason::ENHANCE_YOUR_CALM) => Http2End::Excess,
        _ => Http2End::Protocol,
    }
}
