//! The back end of plain system calls: a parked socket is its descriptor.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use super::Pieces;
use crate::hub::{Batch, Outcome, Shard, Sink, SlotId, SocketId, VISIT_PARTS_MAX};
use crate::server::sys::{self, Epoll, Scratch, Watch};

pub(crate) struct CallSender;

impl CallSender {
    pub(crate) fn park(&mut self, epoll: &Epoll, fd: OwnedFd, id: SlotId) -> io::Result<SocketId> {
        epoll.add(fd.as_raw_fd(), Watch::Edge, id.to_bits())?;
        Ok(SocketId(fd.into_raw_fd() as u32))
    }

    pub(crate) fn send(&mut self, shard: &Shard, batch: &mut Batch) {
        let mut writes = std::mem::take(&mut batch.writes);
        for write in &mut writes {
            let Sink::Socket(socket) = write.sink else {
                continue;
            };
            let mut slices = [IoSlice::new(&[]); VISIT_PARTS_MAX + 1];
            let mut count = 0;
            for &part in batch.parts(write) {
                for piece in shard.pieces(write, part).into_iter().filter(|piece| !piece.is_empty()) {
                    slices[count] = IoSlice::new(piece);
                    count += 1;
                }
            }
            write.outcome = outcome(sys::send(raw(socket), &slices[..count]));
        }
        batch.writes = writes;
    }

    pub(crate) fn send_pieces(&mut self, pieces: &mut Pieces) {
        for piece in &mut pieces.sends {
            let bytes = &pieces.bytes[piece.range.clone()];
            piece.outcome = outcome(sys::send(raw(piece.socket), &[IoSlice::new(bytes)]));
        }
    }

    pub(crate) fn receive(&mut self, socket: SocketId, scratch: &mut Scratch) -> io::Result<usize> {
        sys::receive(raw(socket), scratch)
    }

    pub(crate) fn shutdown(&mut self, sockets: &[SocketId]) {
        for &socket in sockets {
            sys::shutdown(raw(socket), Shutdown::Write);
        }
    }

    pub(crate) fn close(&mut self, socket: SocketId) {
        sys::close(raw(socket));
    }
}

fn outcome(sent: io::Result<usize>) -> Outcome {
    match sent {
        Ok(bytes) => Outcome::Sent(bytes as u32),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Outcome::Sent(0)
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Outcome::Sent(0),
        Err(_) => Outcome::Gone,
    }
}

fn raw(socket: SocketId) -> RawFd {
    socket.0 as RawFd
}
