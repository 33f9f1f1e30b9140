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
use crate::server::listen::Listener;
use crate::server::shard::Context;
use crate::server::sys::Watch;

/// Connections accepted per turn.
const ACCEPTS_MAX: usize = 16;

impl Context {
    pub(super) fn accept(self: &Rc<Self>, at: usize, now: Now) {
        let listeners = self.listeners.borrow();
        let Some(listener) = listeners.get(at) else {
            return;
        };
        let settings = self.settings();
        for _ in 0..ACCEPTS_MAX {
            let Some(taken) = self.take_accept(&settings.limits) else {
                self.tally.borrow_mut().accept_pauses += 1;
                self.rest(listener);
                return;
            };
            let nonblocking = if self.driver == Driver::Epoll { libc::SOCK_NONBLOCK } else { 0 };
            let (socket, address) = match SockRef::from(&listener.socket).accept4(libc::SOCK_CLOEXEC | nonblocking) {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.give_back_accept(taken);
                    self.accept_failed(listener, &error, now);
                    return;
                }
            };
            let Some(peer) = address.as_socket() else {
                continue;
            };
            let stream = std::net::TcpStream::from(socket);
            let peer = Client::new(peer.ip(), &settings.limits);
            // Before it is counted among all: who has too many takes no room from others.
            let held = match self.hold_address(peer, &settings.limits) {
                Ok(held) => held,
                Err(answer) => {
                    connection::refuse(&stream, listener.tls, &answer, &self.date());
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
                connection::refuse(&stream, listener.tls, &self.full(), &self.date());
                continue;
            };
            self.shared.guests.fetch_add(1, Ordering::Relaxed);
            monoio::spawn(connection::serve(self.clone(), stream, listener.tls, peer, held, guest));
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
