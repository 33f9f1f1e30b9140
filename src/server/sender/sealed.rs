//! Streams with TLS: what is written to them is sealed here, record by record, in rounds over the batch.
//!
//! A record is sealed when it is about to be sent, into a buffer of the shard's. If the socket takes all of it, the stream's next
//! record is of the next round; what it doesn't take is kept with the stream, and the stream takes nothing more until that is gone.
//! Outcomes count plaintext: what has been sealed will be sent, so it counts, all of it.

use std::collections::VecDeque;

use super::{BackEnd, Flushed, Piece, Pieces};
use crate::admin::SealedEnd;
use crate::hub::{Batch, Outcome, Shard, Sink, SocketId, Write};
use crate::server::tls::{InputEnd, SealError, TlsStream};

/// Sealed bytes in the shard's buffer before they are sent: a round may take several sends.
const SEALED_BYTES_MAX: usize = 256 * 1024;
/// Sockets in a part of the table.
const PART_SLOTS: usize = 1 << 16;

/// The streams with TLS of a shard, by the numbers of their sockets, which are small: parts of the table grow as far as they are used.
#[derive(Default)]
pub(super) struct SealedStreams {
    parts: Vec<Vec<Option<Box<TlsStream>>>>,
    count: usize,
    /// In the order of [`SealedEnd::ALL`].
    pub(super) ends: [u64; SealedEnd::ALL.len()],
    pieces: Pieces,
    /// What has to be in one piece to be sealed.
    spare: Vec<u8>,
    /// Writes of the batch with something left to be sealed.
    pending: VecDeque<u32>,
    /// The write each piece belongs to.
    of_writes: Vec<u32>,
}

impl SealedStreams {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn add(&mut self, socket: SocketId, stream: TlsStream) {
        let (part, slot) = place(socket);
        if self.parts.len() <= part {
            self.parts.resize_with(part + 1, Vec::new);
        }
        let part = &mut self.parts[part];
        if part.len() <= slot {
            part.resize_with(slot + 1, || None);
        }
        debug_assert!(part[slot].is_none(), "a socket is one stream's");
        part[slot] = Some(Box::new(stream));
        self.count += 1;
    }

    pub(super) fn remove(&mut self, socket: SocketId) {
        let (part, slot) = place(socket);
        let held = self.parts.get_mut(part).and_then(|part| part.get_mut(slot)).and_then(Option::take);
        self.count -= usize::from(held.is_some());
        if self.count == 0 {
            // Everybody has left: so does the table.
            self.parts = Vec::new();
        }
    }

    /// Carries out the writes to streams with TLS; the others have their outcomes.
    pub(super) fn send(&mut self, back_end: &mut BackEnd, shard: &Shard, batch: &mut Batch) {
        let mut writes = std::mem::take(&mut batch.writes);
        self.pending.clear();
        for (index, write) in writes.iter_mut().enumerate() {
            let Sink::Sealed(socket) = write.sink else {
                continue;
            };
            write.outcome = match self.get(socket) {
                Some(stream) if stream.kept().is_empty() => {
                    self.pending.push_back(index as u32);
                    Outcome::Sent(0)
                }
                Some(_) => Outcome::Sent(0),
                None => Outcome::Gone,
            };
        }
        while !self.pending.is_empty() {
            self.clear();
            while self.pieces.bytes.len() < SEALED_BYTES_MAX
                && let Some(index) = self.pending.pop_front()
            {
                self.seal_next(shard, batch, &mut writes[index as usize], index);
            }
            back_end.send_pieces(&mut self.pieces);
            self.take_outcomes(&mut writes);
        }
        batch.writes = writes;
    }

    /// Seals the next record of a write, as far as there is one.
    fn seal_next(&mut self, shard: &Shard, batch: &Batch, write: &mut Write, index: u32) {
        let (Sink::Sealed(socket), Outcome::Sent(done)) = (write.sink, write.outcome) else {
            return;
        };
        let mut skip = done as usize;
        let pieces = batch.parts(write).iter().flat_map(|&part| shard.pieces(write, part)).map(|piece| {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            &piece[skipped..]
        });
        let from = self.pieces.bytes.len();
        let (part, slot) = place(socket);
        let stream = self.parts[part][slot].as_mut().expect("it was there when the batch began");
        let sealed = stream.seal(pieces.filter(|piece| !piece.is_empty()), &mut self.spare, &mut self.pieces.bytes);
        match sealed {
            Ok(0) => {}
            Ok(bytes) => {
                write.outcome = Outcome::Sent(done + bytes as u32);
                let range = from..self.pieces.bytes.len();
                self.pieces.sends.push(Piece { socket, range, outcome: Outcome::Gone });
                self.of_writes.push(index);
            }
            Err(error) => {
                self.ends[SealedEnd::RecordLimit as usize] += u64::from(error == SealError::RecordLimit);
                // The client hears of it if the socket takes it; the write is its last.
                stream.end(&mut self.pieces.bytes);
                let range = from..self.pieces.bytes.len();
                self.pieces.sends.push(Piece { socket, range, outcome: Outcome::Gone });
                self.of_writes.push(u32::MAX);
                write.outcome = Outcome::Gone;
            }
        }
    }

    /// Keeps what sockets didn't take; those that took all are asked for more.
    fn take_outcomes(&mut self, writes: &mut [Write]) {
        for (piece, &index) in self.pieces.sends.iter().zip(&self.of_writes) {
            let Some(write) = writes.get_mut(index as usize) else {
                continue;
            };
            match piece.outcome {
                Outcome::Sent(bytes) if bytes as usize == piece.range.len() => self.pending.push_back(index),
                Outcome::Sent(bytes) => {
                    let (part, slot) = place(piece.socket);
                    let stream = self.parts[part][slot].as_mut().expect("it was just sealed for");
                    stream.keep(&self.pieces.bytes[piece.range.start + bytes as usize..piece.range.end]);
                }
                Outcome::Gone => write.outcome = Outcome::Gone,
            }
        }
    }

    /// Sends what is kept for a socket.
    pub(super) fn flush(&mut self, back_end: &mut BackEnd, socket: SocketId) -> Flushed {
        let Some(kept) = self.get(socket).map(|stream| stream.kept().to_vec()) else {
            return Flushed::Gone;
        };
        if kept.is_empty() {
            return Flushed::All;
        }
        let range = 0..kept.len();
        let mut pieces = Pieces { bytes: kept, sends: vec![Piece { socket, range, outcome: Outcome::Gone }] };
        back_end.send_pieces(&mut pieces);
        let (Outcome::Sent(bytes), Some(stream)) = (pieces.sends[0].outcome, self.get(socket)) else {
            return Flushed::Gone;
        };
        stream.kept_sent(bytes as usize);
        if !stream.kept().is_empty() {
            return Flushed::Full;
        }
        if stream.has_ended() {
            back_end.shutdown(&[socket]);
        }
        Flushed::All
    }

    /// Says to the clients of these that nothing more will follow. Those whose sending direction can be shut down now; for the
    /// others that is done when what is kept for them has been sent.
    pub(super) fn end(&mut self, back_end: &mut BackEnd, sinks: &[Sink]) -> Vec<SocketId> {
        self.clear();
        let mut ready = Vec::new();
        for &sink in sinks {
            let socket = sink.socket();
            let from = self.pieces.bytes.len();
            let (part, slot) = place(socket);
            let stream = self.parts.get_mut(part).and_then(|part| part.get_mut(slot)).and_then(Option::as_mut);
            match stream.filter(|_| matches!(sink, Sink::Sealed(_))) {
                None => ready.push(socket),
                Some(stream) if !stream.kept().is_empty() => stream.keep_end(),
                Some(stream) => {
                    if stream.end(&mut self.pieces.bytes) {
                        let range = from..self.pieces.bytes.len();
                        self.pieces.sends.push(Piece { socket, range, outcome: Outcome::Gone });
                    } else {
                        ready.push(socket);
                    }
                }
            }
        }
        back_end.send_pieces(&mut self.pieces);
        for piece in &self.pieces.sends {
            let sent = match piece.outcome {
                Outcome::Sent(bytes) => bytes as usize,
                Outcome::Gone => piece.range.len(),
            };
            if sent == piece.range.len() {
                ready.push(piece.socket);
            } else {
                let (part, slot) = place(piece.socket);
                let stream = self.parts[part][slot].as_mut().expect("it was just sealed for");
                stream.keep(&self.pieces.bytes[piece.range.start + sent..piece.range.end]);
            }
        }
        ready
    }

    /// Opens what a client has sent. False: its stream is over.
    pub(super) fn receive(&mut self, socket: SocketId, bytes: &mut [u8]) -> bool {
        let received = self.get(socket).map_or(Err(InputEnd::Closed), |stream| stream.receive(bytes));
        match received {
            Err(InputEnd::Handshake) => self.ends[SealedEnd::KeyUpdate as usize] += 1,
            Err(InputEnd::Broken) => self.ends[SealedEnd::BadRecord as usize] += 1,
            Err(InputEnd::Closed) | Ok(()) => {}
        }
        received.is_ok()
    }

    fn get(&mut self, socket: SocketId) -> Option<&mut TlsStream> {
        let (part, slot) = place(socket);
        self.parts.get_mut(part)?.get_mut(slot)?.as_deref_mut()
    }

    fn clear(&mut self) {
        self.pieces.bytes.clear();
        self.pieces.sends.clear();
        self.of_writes.clear();
    }
}

/// Where in the table a socket is: the two halves of its number, as the ring back end makes them.
fn place(socket: SocketId) -> (usize, usize) {
    (socket.0 as usize / PART_SLOTS, socket.0 as usize % PART_SLOTS)
}
