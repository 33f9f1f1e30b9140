//! The io_uring back end: sockets as registered files, a batch of sends per system call.
//!
//! A ring's file table holds at most as many files as the descriptor limit, so there is a ring for each table full.
//! Every operation completes before the call that submits it returns: the buffers are only borrowed for that call. Sends
//! and receives never wait; shutdowns are short, but done by a worker of the kernel's. On a parked socket nothing but ring
//! operations works; its descriptor is closed.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::Pieces;
use crate::hub::{Batch, Outcome, Shard, Sink, SlotId, SocketId};
use crate::server::sys::{Epoll, Scratch, Watch};

/// Operations submitted with one system call at most.
const RING_ENTRIES: u32 = 256;
/// Files of one table at most: the slot takes the low half of a [`SocketId`].
const TABLE_SLOTS_MAX: usize = 1 << 16;

/// One ring with its file table.
struct Table {
    ring: IoUring,
    free: Vec<u16>,
    /// Slots never used yet start here.
    unused: u32,
    used: u32,
}

pub(crate) struct RingSender {
    tables: Vec<Table>,
    table_slots: usize,
    iovecs: Vec<libc::iovec>,
    /// Where the vectors of each write end.
    ends: Vec<usize>,
    messages: Vec<libc::msghdr>,
    /// Indices of the writes of one table, or the slots to be shut down in it.
    chosen: Vec<u32>,
}

impl RingSender {
    pub(crate) fn new(table_slots: usize) -> io::Result<RingSender> {
        let table_slots = table_slots.min(TABLE_SLOTS_MAX);
        let tables = vec![Table::new(table_slots)?];
        Ok(RingSender {
            tables,
            table_slots,
            iovecs: Vec::new(),
            ends: Vec::new(),
            messages: Vec::new(),
            chosen: Vec::new(),
        })
    }

    pub(crate) fn park(&mut self, epoll: &Epoll, fd: OwnedFd, id: SlotId) -> io::Result<SocketId> {
        let slots = self.table_slots;
        let table = match self.tables.iter().position(|table| (table.used as usize) < slots) {
            Some(table) => table,
            None if self.tables.len() < TABLE_SLOTS_MAX => {
                self.tables.push(Table::new(slots)?);
                self.tables.len() - 1
            }
            None => return Err(io::Error::other("every ring's file table is full")),
        };
        // First the readiness events, while the descriptor exists; they outlive it with the file.
        epoll.add(fd.as_raw_fd(), Watch::Edge, id.to_bits())?;
        let slot = match self.tables[table].insert(&fd) {
            Ok(slot) => slot,
            Err(error) => {
                let _ = epoll.remove(fd.as_raw_fd());
                return Err(error);
            }
        };
        Ok(SocketId((table as u32) << 16 | u32::from(slot)))
    }

    pub(crate) fn send(&mut self, shard: &Shard, batch: &mut Batch) {
        let mut writes = std::mem::take(&mut batch.writes);
        for table in 0..self.tables.len() {
            self.chosen.clear();
            let mine = writes.iter().enumerate().filter(|(_, write)| is_plain_in(write.sink, table));
            self.chosen.extend(mine.map(|(index, _)| index as u32));
            for run in self.chosen.chunks(RING_ENTRIES as usize) {
                self.iovecs.clear();
                self.ends.clear();
                self.messages.clear();
                // All slices first: the vectors must not move once operations point into them.
                for &index in run {
                    let write = &writes[index as usize];
                    for &part in batch.parts(write) {
                        for piece in shard.pieces(write, part).into_iter().filter(|piece| !piece.is_empty()) {
                            let iov_base = piece.as_ptr().cast_mut().cast();
                            self.iovecs.push(libc::iovec { iov_base, iov_len: piece.len() });
                        }
                    }
                    self.ends.push(self.iovecs.len());
                }
                self.messages.reserve(run.len());
                let ring = &mut self.tables[table].ring;
                let mut first = 0;
                for (&index, &end) in run.iter().zip(&self.ends) {
                    let write = &writes[index as usize];
                    let iovecs = &mut self.iovecs[first..end];
                    first = end;
                    let file = types::Fixed(u32::from(place(write.sink.socket()).1));
                    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                    let entry = if let [one] = iovecs {
                        opcode::Send::new(file, one.iov_base.cast(), one.iov_len as u32).flags(flags).build()
                    } else {
                        // SAFETY: an all-zero msghdr is the documented empty one.
                        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
                        message.msg_iov = iovecs.as_mut_ptr();
                        message.msg_iovlen = iovecs.len();
                        self.messages.push(message);
                        let message = self.messages.last().expect("just pushed");
                        opcode::SendMsg::new(file, message).flags(flags as u32).build()
                    };
                    // SAFETY: the frames are borrowed from the shard, the iovecs and headers from `self` (room was
                    // reserved, they don't move), until `complete` has seen every completion.
                    unsafe { push(ring, &entry.user_data(u64::from(index))) };
                }
                complete(ring, run.len(), |completion| {
                    writes[completion.user_data() as usize].outcome = outcome(completion.result());
                });
            }
        }
        batch.writes = writes;
    }

    pub(crate) fn send_pieces(&mut self, pieces: &mut Pieces) {
        for table in 0..self.tables.len() {
            self.chosen.clear();
            let mine = pieces.sends.iter().enumerate().filter(|(_, piece)| place(piece.socket).0 == table);
            self.chosen.extend(mine.map(|(index, _)| index as u32));
            for run in self.chosen.chunks(RING_ENTRIES as usize) {
                let ring = &mut self.tables[table].ring;
                for &index in run {
                    let piece = &pieces.sends[index as usize];
                    let bytes = &pieces.bytes[piece.range.clone()];
                    let file = types::Fixed(u32::from(place(piece.socket).1));
                    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                    let entry = opcode::Send::new(file, bytes.as_ptr(), bytes.len() as u32).flags(flags).build();
                    // SAFETY: nobody writes to the bytes until `complete` has seen every completion.
                    unsafe { push(ring, &entry.user_data(u64::from(index))) };
                }
                complete(ring, run.len(), |completion| {
                    pieces.sends[completion.user_data() as usize].outcome = outcome(completion.result());
                });
            }
        }
    }

    pub(crate) fn receive(&mut self, socket: SocketId, scratch: &mut Scratch) -> io::Result<usize> {
        let (table, slot) = place(socket);
        let buffer = scratch.as_mut_slice();
        let file = types::Fixed(u32::from(slot));
        let entry = opcode::Recv::new(file, buffer.as_mut_ptr(), buffer.len() as u32).flags(libc::MSG_DONTWAIT).build();
        let result = self.one(table, &entry);
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }

    /// Ends the sending direction of all of these. A shutdown is the one operation that the kernel hands to a worker
    /// thread of its own, so many are submitted and waited for at once.
    pub(crate) fn shutdown(&mut self, sockets: &[SocketId]) {
        for (table, Table { ring, .. }) in self.tables.iter_mut().enumerate() {
            self.chosen.clear();
            let places = sockets.iter().map(|&socket| place(socket));
            self.chosen.extend(places.filter(|place| place.0 == table).map(|(_, slot)| u32::from(slot)));
            for run in self.chosen.chunks(RING_ENTRIES as usize) {
                for &slot in run {
                    // SAFETY: the operation points to nothing.
                    unsafe { push(ring, &opcode::Shutdown::new(types::Fixed(slot), libc::SHUT_WR).build()) };
                }
                // Failure means that the peer was faster.
                complete(ring, run.len(), |_| {});
            }
        }
    }

    pub(crate) fn close(&mut self, socket: SocketId) {
        let (table, slot) = place(socket);
        let table = &mut self.tables[table];
        // An empty entry in place of the file: its last reference goes, and with it the readiness events.
        match table.ring.submitter().register_files_update(u32::from(slot), &[-1]) {
            Ok(_) => {
                table.free.push(slot);
                table.used -= 1;
            }
            // The slot is not used again; the socket stays open until its client goes.
            Err(error) => tracing::error!(%error, slot, "a socket could not be taken out of its ring's file table"),
        }
        // One empty table is kept: where the others are full, connections that come and go would build a ring each time.
        while let [.., before, last] = &self.tables[..]
            && before.used == 0
            && last.used == 0
        {
            self.tables.pop();
        }
    }

    /// How many file tables there are.
    #[cfg(test)]
    pub(super) fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Submits one operation and returns its result, negative error numbers included.
    fn one(&mut self, table: usize, entry: &squeue::Entry) -> i32 {
        let ring = &mut self.tables[table].ring;
        let mut result = -libc::EIO;
        // SAFETY: what the operation points to outlives this call, and so the operation.
        unsafe { push(ring, entry) };
        complete(ring, 1, |completion| result = completion.result());
        result
    }
}

impl Table {
    fn new(slots: usize) -> io::Result<Table> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_cqsize(RING_ENTRIES * 2)
            .build(RING_ENTRIES)?;
        ring.submitter().register_files_sparse(slots as u32)?;
        Ok(Table { ring, free: Vec::new(), unused: 0, used: 0 })
    }

    fn insert(&mut self, fd: &OwnedFd) -> io::Result<u16> {
        let (slot, fresh) = match self.free.pop() {
            Some(slot) => (slot, false),
            None => (self.unused as u16, true),
        };
        match self.ring.submitter().register_files_update(u32::from(slot), &[fd.as_raw_fd()]) {
            Ok(_) => {
                self.unused += u32::from(fresh);
                self.used += 1;
                Ok(slot)
            }
            Err(error) => {
                if !fresh {
                    self.free.push(slot);
                }
                Err(error)
            }
        }
    }
}

/// Whether a write goes as it is to a socket of this table.
fn is_plain_in(sink: Sink, table: usize) -> bool {
    matches!(sink, Sink::Socket(socket) if place(socket).0 == table)
}

fn outcome(result: i32) -> Outcome {
    match result {
        bytes if bytes >= 0 => Outcome::Sent(bytes as u32),
        error if [libc::EAGAIN, libc::EINTR, libc::ENOBUFS].contains(&-error) => Outcome::Sent(0),
        _ => Outcome::Gone,
    }
}

/// Table and slot of a parked socket.
fn place(socket: SocketId) -> (usize, u16) {
    ((socket.0 >> 16) as usize, socket.0 as u16)
}

/// Queues an operation.
///
/// # Safety
/// What the entry points to must stay valid until its completion has been seen.
unsafe fn push(ring: &mut IoUring, entry: &squeue::Entry) {
    // SAFETY: the caller's promise.
    let pushed = unsafe { ring.submission().push(entry) };
    pushed.expect("no more than RING_ENTRIES operations are queued between submissions");
}

/// Submits what is queued and sees all `count` completions, which are there at once but for shutdowns.
fn complete(ring: &mut IoUring, count: usize, mut each: impl FnMut(&cqueue::Entry)) {
    let mut seen = 0;
    while seen < count {
        match ring.submit_and_wait(count - seen) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) || error.raw_os_error() == Some(libc::EBUSY) => {}
            // Any other error would leave operations that point to our buffers in an unknown state.
            Err(error) => panic!("submitting to the sender's ring failed: {error}"),
        }
        for completion in ring.completion() {
            each(&completion);
            seen += 1;
        }
    }
}
