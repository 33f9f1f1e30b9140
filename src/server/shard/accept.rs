//! Connections that come in, and what becomes of them when there is no room.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use socket2::SockRef;

use super::{Driver, listener_word};
use crate::hub::Now;
use crate::server::connection;
use crate::server::limits::Client;
use crate::server::listen::{Listener, SEND_BUFFER_BYTES};
use crate::server::shard::Context;
use crate::server::sys::Watch;

/// How long listeners stay open when a hub drains, for handshakes of TCP that have begun: a round trip to far away.
const LAST_HANDSHAKES_MS: u64 = 200;
/// Connections accepted per turn.
const ACCEPTS_MAX: usize = 16;

impl Context {
    /// Takes in a number of connections. Whether that were all who waited.
    pub(super) fn accept(self: &Rc<Self>, at: usize, now: Now) -> bool {
        let listeners = self.listeners.borrow();
        let Some(listener) = listeners.get(at) else {
            return true;
        };
        let settings = self.settings();
        for _ in 0..ACCEPTS_MAX {
            let Some(taken) = self.take_accept(&settings.limits) else {
                self.tally.borrow_mut().accept_pauses += 1;
                self.rest(listener);
                return false;
            };
            let nonblocking = if self.driver == Driver::Epoll { libc::SOCK_NONBLOCK } else { 0 };
            let (socket, address) = match SockRef::from(&listener.socket).accept4(libc::SOCK_CLOEXEC | nonblocking) {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.give_back_accept(taken);
                    self.accept_failed(listener, &error, now);
                    return error.kind() == io::ErrorKind::WouldBlock;
                }
            };
            let peer = match address.as_socket() {
                Some(peer) => Client::new(peer.ip(), &settings.limits),
                None if address.is_unix() => {
                    // Connections of TCP have it from their listener.
                    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
                    Client::UNIX
                }
                None => continue,
            };
            // A descriptor is all it is to those who read and write.
            let stream = std::net::TcpStream::from(socket);
            // Before it is counted among all: who has too many takes no room from others.
            let held = match self.hold_address(peer, &settings.limits) {
                Ok(held) => held,
                Err(answer) => {
                    connection::refuse(&stream, listener.entrance.tls, &answer, &self.date());
                    continue;
                }
            };
            let admitted = if self.shared.connections.fetch_add(1, Ordering::Relaxed) < self.connections_max.get() {
                self.guests.borrow_mut().admit(stream.as_raw_fd(), now.mono_ms)
            } else {
                None
            };
            let Some(guest) = admitted else {
                self.shared.connections.fetch_sub(1, Ordering::Relaxed);
                connection::refuse(&stream, listener.entrance.tls, &self.full(), &self.date());
                continue;
            };
            self.shared.guests.fetch_add(1, Ordering::Relaxed);
            monoio::spawn(connection::serve(self.clone(), stream, listener.entrance, peer, held, guest));
        }
        false
    }

    /// The hub drains: who begins to connect now is not heard, and tries elsewhere or again. Those who have begun get the time to come through.
    pub(super) fn begin_to_close(&self, now: Now) {
        for listener in &*self.listeners.borrow() {
            if let Err(error) = listener.hear_nobody_new() {
                tracing::debug!(shard = self.index, %error, "who begins to connect while listeners close is reset");
            }
        }
        self.listeners_end_ms.set(Some(now.mono_ms + LAST_HANDSHAKES_MS));
    }

    /// Closes the listeners when their time has come and nobody waits there any more.
    pub(super) fn empty_listeners(self: &Rc<Self>, now: Now) {
        if self.listeners_end_ms.get().is_none_or(|end_ms| now.mono_ms < end_ms) {
            return;
        }
        let places = self.listeners.borrow().len();
        // Those of all places in one turn: what is left empty is closed before anybody can come.
        let empty = |at: usize| self.listeners.borrow()[at].is_left_to_others() || self.accept(at, now);
        if (0..places).map(empty).fold(true, |all, empty| all & empty) {
            self.close_listeners();
        }
    }

    /// Closes the listeners, whoever waits there.
    pub(super) fn close_listeners(&self) {
        self.listeners_end_ms.set(None);
        let listeners = std::mem::take(&mut *self.listeners.borrow_mut());
        for listener in &listeners {
            let _ = self.epoll.borrow().remove(listener.socket.as_raw_fd());
        }
        if !listeners.is_empty() {
            self.shared.listening.fetch_sub(1, Ordering::Release);
        }
    }

    /// Out of descriptors: a spare one is given up to take the next connection and close it, so that the client is not
    /// left hanging and the listener not left readable. Where that fails (another shard was faster to take the spare one,
    /// or memory is short), the listener rests until the next tick: it would wake the loop at once, again and again.
    fn accept_failed(&self, listener: &Listener, error: &io::Error, now: Now) {
        let shortage = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
        if !error.raw_os_error().is_some_and(|code| shortage.contains(&code)) {
            return;
        }
        if let Some(left_out) = self.turned_away.take(now.mono_ms) {
            tracing::warn!(
                shard = self.index,
                %error,
                left_out,
                "connections are turned away; if it is for want of file descriptors, raise LimitNOFILE or ulimit -n"
            );
        }
        self.spare.borrow_mut().take();
        let taken = SockRef::from(&listener.socket).accept4(libc::SOCK_CLOEXEC);
        let rest = taken.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock);
        drop(taken);
        *self.spare.borrow_mut() = spare_descriptor();
        if rest {
            self.rest(listener);
        }
    }

    /// Accepts nothing until the next tick.
    fn rest(&self, listener: &Listener) {
        if self.epoll.borrow().remove(listener.socket.as_raw_fd()).is_ok() {
            listener.rests.set(true);
        }
    }

    /// Accepts again, if that had to be given up for a while.
    pub(super) fn wake_listeners(&self) {
        for (at, listener) in self.listeners.borrow().iter().enumerate().filter(|(_, listener)| listener.rests.get()) {
            let mut spare = self.spare.borrow_mut();
            *spare = spare.take().or_else(spare_descriptor);
            let added = self.epoll.borrow().add(listener.socket.as_raw_fd(), Watch::Level, listener_word(at));
            listener.rests.set(added.is_err());
        }
    }
}

/// A descriptor to give up when there is no other.
pub(super) fn spare_descriptor() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}
