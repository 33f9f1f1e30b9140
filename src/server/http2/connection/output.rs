//! What goes to the client: taken from the library, sealed, and written as far as the socket takes it; and the end of a connection.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::task::{self, Poll};

use h2::Reason;

use super::Connection;
use crate::server::http2::scanner::kind;
use crate::server::sys;

/// Bytes of input that are thrown away behind the end of a connection.
const SKIPPED_BYTES_MAX: usize = 64 * 1024;

impl Connection {
    /// Writes what the socket takes of what there is.
    pub(super) fn write(&mut self, cx: &mut task::Context<'_>) -> io::Result<()> {
        loop {
            if self.sent == self.unsent.len() {
                (self.unsent, self.sent) = (Vec::new(), 0);
            }
            if self.unsent.is_empty() && !self.seal()? {
                self.session.set_stuck(false, 0);
                return Ok(());
            }
            if let Some(writable) = &mut self.writable {
                let Poll::Ready(writable) = writable.as_mut().poll(cx) else {
                    return Ok(());
                };
                self.writable = None;
                writable?;
            }
            match sys::send(self.socket.as_raw_fd(), &[IoSlice::new(&self.unsent[self.sent..])]) {
                Ok(count) => {
                    self.sent += count;
                    self.session.set_stuck(false, 0);
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    self.session.set_stuck(true, self.context.clock.mono_ms());
                    let socket = self.socket.clone();
                    self.writable = Some(Box::pin(async move { socket.writable(false).await }));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what the library has written, and seals it if it has to be. Whether there was any.
    fn seal(&mut self) -> io::Result<bool> {
        let output = self.pipe.take_output();
        if output.is_empty() {
            return Ok(false);
        }
        let now_ms = self.context.clock.mono_ms();
        let (gates, resets, mut passed) = (&mut self.gates, &mut self.resets, Ok(()));
        self.output.scan(&output, |frame| {
            if frame.kind == kind::RST_STREAM {
                resets.push(frame.stream);
            }
            passed = passed.and_then(|()| gates.sent(frame, now_ms));
        });
        match &mut self.tls {
            None => self.unsent = output,
            Some(tls) => tls.seal(&output, &mut self.unsent).map_err(io::Error::other)?,
        }
        if let Err(end) = passed
            && self.end.is_none()
        {
            self.go_away(end, Reason::ENHANCE_YOUR_CALM);
        }
        Ok(true)
    }

    /// Sends what is left, and closes so that the client can read it: a close with unread input would reset the connection.
    pub(super) async fn close(&mut self) {
        self.session.set_closing(self.context.clock.mono_ms());
        if !self.flush().await {
            return;
        }
        if let Some(tls) = &mut self.tls {
            // A session that is over has nothing to say.
            let _ = tls.close_notify(&mut self.unsent);
            if !self.flush().await {
                return;
            }
        }
        sys::shutdown(self.socket.as_raw_fd(), Shutdown::Write);
        let mut skipped = 0;
        while skipped < SKIPPED_BYTES_MAX && self.socket.readable(false).await.is_ok() {
            let context = self.context.clone();
            let received = sys::receive(self.socket.as_raw_fd(), &mut context.scratch.borrow_mut());
            match received {
                Ok(0) => return,
                Ok(read) => skipped += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            context.next_turn().await;
        }
    }

    /// Writes all there is. False: the client doesn't take it.
    async fn flush(&mut self) -> bool {
        poll_fn(|cx| match self.write(cx) {
            Ok(()) if self.unsent.is_empty() => Poll::Ready(true),
            Ok(()) => Poll::Pending,
            Err(_) => Poll::Ready(false),
        })
        .await
    }
}
