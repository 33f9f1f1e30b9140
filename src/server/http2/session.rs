//! What a connection's task, the tasks of its requests and the shard know of it together.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::Shutdown;
use std::os::fd::RawFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use super::OUTPUT_BYTES_MAX;
use crate::admin::Http2End;
use crate::http::head::Head;
use crate::http::response::ResponseHead;
use crate::hub::SocketId;
use crate::server::connection::Introduction;
use crate::server::limits::{Client, Hold};
use crate::server::shard::Context;
use crate::server::sys;

/// Less room than this is none: streams aren't cut into crumbs.
const ROOM_BYTES_MIN: usize = 4 * 1024;
/// How long a client may take to read the end of a connection.
const LINGER_MS: u64 = 1_000;

/// See the module.
pub(crate) struct Session {
    fd: RawFd,
    pub(super) peer: Client,
    pub(super) introduction: Introduction,
    /// Counts the connection towards its client's address, unless that is a proxy of ours.
    _held: Option<Hold>,
    /// Requests under way.
    requests: Cell<u32>,
    /// Its event streams, by their HTTP/2 ids, which only grow.
    open: RefCell<Vec<(u32, SocketId)>>,
    /// Those that wait for room.
    blocked: RefCell<Vec<SocketId>>,
    /// Bytes that may be given to the library.
    room: Cell<usize>,
    /// Requests that wait for that.
    wanting_room: RefCell<Vec<Waker>>,
    /// Requests that wait for their clients, by their ids, and for how long they do at most.
    waits: RefCell<BTreeMap<u32, (u64, Waker)>>,
    /// The connection's task.
    task: RefCell<Option<Waker>>,
    /// What that is to end for.
    end: Cell<Option<Http2End>>,
    /// Since when there has been neither request nor stream.
    idle_since_ms: Cell<u64>,
    /// Since when the head of a request hasn't been whole; the beginning of the connection is one, too.
    within_head_since_ms: Cell<Option<u64>>,
    /// Since when the client has taken nothing.
    stuck_since_ms: Cell<Option<u64>>,
    /// Since when the end of it has been on its way.
    closing_since_ms: Cell<Option<u64>>,
}

/// What there is time for, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionTimes {
    pub(crate) head_ms: u64,
    pub(crate) idle_ms: u64,
    pub(crate) answer_ms: u64,
}

impl Session {
    pub(super) fn new(
        fd: RawFd,
        peer: Client,
        introduction: Introduction,
        held: Option<Hold>,
        now_ms: u64,
    ) -> Rc<Session> {
        Rc::new(Session {
            fd,
            peer,
            introduction,
            _held: held,
            requests: Cell::new(0),
            open: RefCell::default(),
            blocked: RefCell::default(),
            room: Cell::new(OUTPUT_BYTES_MAX),
            wanting_room: RefCell::default(),
            waits: RefCell::default(),
            task: RefCell::default(),
            end: Cell::new(None),
            idle_since_ms: Cell::new(now_ms),
            within_head_since_ms: Cell::new(None),
            stuck_since_ms: Cell::new(None),
            closing_since_ms: Cell::new(None),
        })
    }

    /// Finds out whose request it is, and counts it towards the client's address if the peer is a proxy of ours. As of HTTP/1.
    pub(super) fn whose_request(
        &self,
        context: &Context,
        head: &Head<'_>,
    ) -> Result<(Client, Option<Hold>), ResponseHead> {
        let settings = context.settings();
        let peer = self.introduction.peer_now(self.peer, &settings.limits);
        if !peer.trusted && !self.peer.trusted {
            return Ok((self.peer, None));
        }
        let client = peer.who_asks(head, &settings.limits);
        Ok((client, context.hold_address(client, &settings.limits)?))
    }

    /// Whether there is neither request nor stream.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.get() == 0 && self.open.borrow().is_empty()
    }

    /// A request has become an event stream.
    pub(super) fn opened(&self, id: u32, stream: SocketId) {
        let mut open = self.open.borrow_mut();
        let at = open.partition_point(|&(other, _)| other < id);
        open.insert(at, (id, stream));
    }

    /// It has ended.
    pub(super) fn ended(&self, id: u32, now_ms: u64) {
        let mut open = self.open.borrow_mut();
        if let Ok(at) = open.binary_search_by_key(&id, |&(other, _)| other) {
            open.remove(at);
        }
        if open.is_empty() {
            *open = Vec::new();
            self.idle_since_ms.set(now_ms);
            drop(open);
            self.wake();
        }
    }

    /// The event stream that has this id.
    pub(crate) fn stream(&self, id: u32) -> Option<SocketId> {
        let open = self.open.borrow();
        open.binary_search_by_key(&id, |&(other, _)| other).ok().map(|at| open[at].1)
    }

    /// All event streams.
    pub(crate) fn streams(&self) -> Vec<SocketId> {
        self.open.borrow().iter().map(|&(_, stream)| stream).collect()
    }

    /// A stream has something left that found no room.
    pub(super) fn block(&self, stream: SocketId) {
        self.blocked.borrow_mut().push(stream);
    }

    /// Those there are, which have to be looked at.
    pub(super) fn take_blocked(&self) -> Vec<SocketId> {
        std::mem::take(&mut self.blocked.borrow_mut())
    }

    /// Bytes that may be given to the library now.
    pub(super) fn room(&self) -> usize {
        if self.room.get() < ROOM_BYTES_MIN { 0 } else { self.room.get() }
    }

    /// So many have been given.
    pub(super) fn use_room(&self, bytes: usize) {
        self.room.set(self.room.get().saturating_sub(bytes));
    }

    /// So many bytes are on their way: the library has nothing left besides.
    pub(super) fn set_output(&self, bytes: usize) {
        self.room.set(OUTPUT_BYTES_MAX.saturating_sub(bytes));
        if self.room() > 0 {
            for waker in std::mem::take(&mut *self.wanting_room.borrow_mut()) {
                waker.wake();
            }
        }
    }

    /// Waits until there is room for an answer.
    pub(super) async fn wait_for_room(&self) {
        poll_fn(|cx| {
            if self.room() > 0 {
                return Poll::Ready(());
            }
            self.wanting_room.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits for what a client has to do for its request, until a time at most: the shard's clock wakes it then. `None`: it is
    /// too late.
    pub(super) async fn within<T>(
        &self,
        context: &Context,
        id: u32,
        deadline_ms: u64,
        doing: impl Future<Output = T>,
    ) -> Option<T> {
        struct Entry<'s>(&'s Session, u32);
        impl Drop for Entry<'_> {
            fn drop(&mut self) {
                self.0.waits.borrow_mut().remove(&self.1);
            }
        }
        let _entry = Entry(self, id);
        let mut doing = pin!(doing);
        poll_fn(|cx| match doing.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if context.clock.mono_ms() >= deadline_ms => Poll::Ready(None),
            Poll::Pending => {
                self.waits.borrow_mut().insert(id, (deadline_ms, cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    /// Who is to be woken when something of this changes.
    pub(super) fn watch(&self, task: &Waker) {
        let mut held = self.task.borrow_mut();
        if !held.as_ref().is_some_and(|held| held.will_wake(task)) {
            *held = Some(task.clone());
        }
    }

    pub(super) fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// What the connection is to end for, once.
    pub(super) fn take_end(&self) -> Option<Http2End> {
        self.end.take()
    }

    fn order_end(&self, end: Http2End) {
        self.end.set(Some(end));
        self.wake();
    }

    /// Whether what has come of the client breaks off within a head.
    pub(super) fn set_within_head(&self, within: bool, now_ms: u64) {
        let since = self.within_head_since_ms.get().unwrap_or(now_ms);
        self.within_head_since_ms.set(within.then_some(since));
    }

    /// Whether the socket has taken nothing.
    pub(super) fn set_stuck(&self, stuck: bool, now_ms: u64) {
        let since = self.stuck_since_ms.get().unwrap_or(now_ms);
        self.stuck_since_ms.set(stuck.then_some(since));
    }

    /// Only its end has to be sent.
    pub(super) fn set_closing(&self, now_ms: u64) {
        self.closing_since_ms.set(Some(now_ms));
    }

    /// Ends what has taken too long.
    fn look_after(&self, times: SessionTimes, now_ms: u64) {
        let late = |since: Option<u64>, limit_ms: u64| since.is_some_and(|since| now_ms >= since + limit_ms);
        if let Some(closing) = self.closing_since_ms.get() {
            if now_ms >= closing + LINGER_MS {
                sys::shutdown(self.fd, Shutdown::Both);
            }
            return;
        }
        if late(self.stuck_since_ms.get(), times.answer_ms) {
            self.order_end(Http2End::Stalled);
        } else if late(self.within_head_since_ms.get(), times.head_ms) {
            self.order_end(Http2End::Slow);
        } else if self.is_idle() && now_ms >= self.idle_since_ms.get() + times.idle_ms {
            self.order_end(Http2End::Idle);
        }
        self.waits.borrow_mut().retain(|_, (deadline_ms, waker)| {
            let waits = *deadline_ms > now_ms;
            if !waits {
                waker.wake_by_ref();
            }
            waits
        });
    }
}

/// A request under way: the connection isn't idle, and the hub doesn't stop before it is answered.
pub(super) struct Underway {
    pub(super) context: Rc<Context>,
    pub(super) session: Rc<Session>,
}

impl Underway {
    pub(super) fn begin(context: &Rc<Context>, session: &Rc<Session>) -> Underway {
        session.requests.set(session.requests.get() + 1);
        context.shared.guests.fetch_add(1, Ordering::Relaxed);
        Underway { context: context.clone(), session: session.clone() }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.context.shared.guests.fetch_sub(1, Ordering::Release);
        let session = &self.session;
        session.requests.set(session.requests.get() - 1);
        if session.is_idle() {
            session.idle_since_ms.set(self.context.clock.mono_ms());
            session.wake();
        }
    }
}

/// The HTTP/2 connections of a shard.
#[derive(Default)]
pub(crate) struct Sessions {
    entries: BTreeMap<u64, Rc<Session>>,
    next: u64,
}

impl Sessions {
    /// A number for it, to be given back.
    pub(super) fn add(&mut self, session: Rc<Session>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.entries.insert(number, session);
        number
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.entries.remove(&number);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Requests under way on them.
    pub(crate) fn requests(&self) -> u64 {
        self.entries.values().map(|session| u64::from(session.requests.get())).sum()
    }

    /// Ends those, and the waits of those, whose time is up.
    pub(crate) fn sweep(&self, times: SessionTimes, now_ms: u64) {
        self.entries.values().for_each(|session| session.look_after(times, now_ms));
    }

    /// Has all of them look at what has changed.
    pub(crate) fn wake(&self) {
        self.entries.values().for_each(|session| session.wake());
    }
}
