//! What the library takes for a connection: two buffers, which the connection's task fills and empties.
//!
//! Nobody is woken here: whoever changes a buffer polls the library afterwards.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::OUTPUT_BYTES_MAX;

/// See the module. Copies are of the same buffers.
#[derive(Clone, Debug, Default)]
pub(super) struct Pipe(Rc<RefCell<Buffers>>);

#[derive(Debug, Default)]
struct Buffers {
    input: Vec<u8>,
    /// Bytes of it that have been read.
    used: usize,
    /// Bytes that may be read yet, before more are allowed.
    allowed: usize,
    /// No more will come.
    ended: bool,
    output: Vec<u8>,
}

impl Pipe {
    /// More of what the client sent.
    pub(super) fn add_input(&self, bytes: &[u8]) {
        let mut buffers = self.0.borrow_mut();
        let used = std::mem::take(&mut buffers.used);
        buffers.input.drain(..used);
        buffers.input.extend_from_slice(bytes);
    }

    /// The client will send no more.
    pub(super) fn end_input(&self) {
        self.0.borrow_mut().ended = true;
    }

    /// From now on so many bytes may be read.
    pub(super) fn allow(&self, bytes: usize) {
        self.0.borrow_mut().allowed = bytes;
    }

    /// Whether something waits to be read.
    pub(super) fn has_input(&self) -> bool {
        let buffers = self.0.borrow();
        buffers.used < buffers.input.len()
    }

    /// Takes what was written.
    pub(super) fn take_output(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().output)
    }

    /// Bytes that were written and not taken.
    pub(super) fn output_bytes(&self) -> usize {
        self.0.borrow().output.len()
    }

    /// Whether nothing more may be written before some is taken.
    pub(super) fn is_full(&self) -> bool {
        self.output_bytes() >= OUTPUT_BYTES_MAX
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut buffers = self.0.borrow_mut();
        let count = (buffers.input.len() - buffers.used).min(buffers.allowed).min(into.remaining());
        if count == 0 {
            let over = buffers.ended && buffers.used == buffers.input.len();
            return if over { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        let from = buffers.used;
        into.put_slice(&buffers.input[from..from + count]);
        buffers.used += count;
        buffers.allowed -= count;
        if buffers.used == buffers.input.len() {
            // A connection that waits keeps nothing.
            (buffers.input, buffers.used) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut buffers = self.0.borrow_mut();
        if buffers.output.len() >= OUTPUT_BYTES_MAX {
            return Poll::Pending;
        }
        buffers.output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn read(pipe: &Pipe, bytes: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        let mut into = ReadBuf::new(&mut buffer);
        let read = Pin::new(&mut pipe.clone()).poll_read(&mut Context::from_waker(Waker::noop()), &mut into);
        read.is_ready().then(|| into.filled().to_vec())
    }

    #[test]
    fn as_much_is_read_as_is_allowed() {
        let pipe = Pipe::default();
        pipe.add_input(b"abcdef");
        assert_eq!(read(&pipe, 9), None);
        pipe.allow(4);
        assert_eq!(read(&pipe, 3), Some(b"abc".to_vec()));
        assert_eq!(read(&pipe, 3), Some(b"d".to_vec()));
        assert_eq!(read(&pipe, 3), None);
        assert!(pipe.has_input());
        pipe.add_input(b"g");
        pipe.end_input();
        assert_eq!(read(&pipe, 3), None, "the end comes after what is there");
        pipe.allow(9);
        assert_eq!(read(&pipe, 9), Some(b"efg".to_vec()));
        assert!(!pipe.has_input());
        assert_eq!(read(&pipe, 9), Some(Vec::new()));
    }

    #[test]
    fn a_full_pipe_takes_nothing_until_it_is_emptied() {
        let pipe = Pipe::default();
        let write = |bytes: &[u8]| {
            Pin::new(&mut pipe.clone()).poll_write(&mut Context::from_waker(Waker::noop()), bytes).is_ready()
        };
        assert!(write(&[7; OUTPUT_BYTES_MAX]) && pipe.is_full());
        assert!(!write(b"x"));
        assert_eq!(pipe.take_output().len(), OUTPUT_BYTES_MAX);
        assert!(write(b"x") && !pipe.is_full());
    }
}
