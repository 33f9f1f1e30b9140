//! What became of a batch of writes.

use super::part::part_length;
use super::{Now, Shard};
use crate::hub::batch::{Batch, Outcome, Part, Write};
use crate::hub::defect::{Defect, planted};
use crate::hub::subscriber::{Backlog, Rest, SlotId, State, Wait};

impl Shard {
    pub(super) fn sent(&mut self, batch: Batch, now: Now) {
        for write in &batch.writes {
            self.slab.at_mut(write.slot).in_batch = false;
            match write.outcome {
                Outcome::Gone => self.gone(write.slot),
                Outcome::Sent(bytes) => {
                    self.counters.bytes += u64::from(bytes);
                    let (whole, subscriber) = (bytes >= write.bytes, self.slab.at_mut(write.slot));
                    let closing = subscriber.state == State::Closing;
                    // Who takes an end bit by bit has no more time for it than others.
                    if bytes > 0 && (whole || !closing) {
                        subscriber.progress_ds = now.ds();
                        subscriber.backlog.iter_mut().for_each(|backlog| backlog.idle_ds = 0);
                    }
                    match (whole, closing) {
                        (true, _) => self.sent_whole(&batch, write),
                        (false, false) => self.sent_short(&batch, write, bytes, now),
                        (false, true) => self.end_sent_short(&batch, write, bytes),
                    }
                }
            }
        }
        self.flight.land(batch.sent_us);
        self.batch = Some(batch);
    }

    fn sent_whole(&mut self, batch: &Batch, write: &Write) {
        let parts = batch.parts(write);
        self.counters.deliveries +=
            parts.iter().filter(|part| matches!(part, Part::Tail { .. } | Part::Chunk { .. })).count() as u64;
        let subscriber = self.slab.at_mut(write.slot);
        match subscriber.state {
            State::Behind => {
                if let Some(backlog) = &mut subscriber.backlog {
                    if let Some(Rest::Event(..)) = backlog.rest.take() {
                        self.counters.deliveries += 1;
                    }
                    let chunks = parts.iter().filter(|part| matches!(part, Part::Chunk { .. })).count();
                    backlog.chunk.drain(..chunks);
                }
                self.caught_up_to(write.slot, write.through);
            }
            State::Closing => self.shut_down(write.slot),
            State::Current | State::Reserved | State::Vacant => {}
        }
    }

    /// What a closing stream still gets – its response head, if nobody has seen that, and the end of its body – waits for room in the
    /// socket, as long as a closed stream may linger.
    fn end_sent_short(&mut self, batch: &Batch, write: &Write, bytes: u32) {
        self.counters.short_sends += 1;
        let subscriber = self.slab.at(write.slot);
        let mut left = bytes as usize;
        let cut = batch.parts(write).iter().find(|&&part| {
            let length = part_length(subscriber, &self.tail, part);
            let cut = left < length;
            left -= if cut { 0 } else { length };
            cut
        });
        let left = left as u32;
        let subscriber = self.slab.at_mut(write.slot);
        let rest = match cut.expect("a short write is cut somewhere") {
            Part::Rest => match subscriber.backlog.take().and_then(|backlog| backlog.rest) {
                Some(Rest::Head(head, at)) => Rest::Head(head, at + left),
                Some(Rest::LastChunk(at)) => Rest::LastChunk(at + left),
                _ => unreachable!("a stream that closes keeps nothing else"),
            },
            _ => Rest::LastChunk(left),
        };
        let mut backlog = Backlog::new(Wait::Writable, subscriber.offset);
        backlog.rest = Some(rest);
        subscriber.backlog = Some(Box::new(backlog));
    }

    /// The socket is full: what it took of the frame being written is remembered, the rest is read again later.
    fn sent_short(&mut self, batch: &Batch, write: &Write, bytes: u32, now: Now) {
        self.counters.short_sends += 1;
        let subscriber = self.slab.at(write.slot);
        let mut left = bytes as usize;
        let mut offset = write.before;
        let mut chunks = 0;
        let mut rest_done = false;
        let mut cut = None;
        for &part in batch.parts(write) {
            let length = part_length(subscriber, &self.tail, part);
            if left < length {
                cut = Some((part, left as u32));
                break;
            }
            left -= length;
            match part {
                Part::Tail { offset: sent } => offset = sent,
                Part::Chunk { index } => {
                    chunks += 1;
                    offset = subscriber.backlog.as_ref().map_or(offset, |backlog| backlog.chunk[index as usize].offset);
                }
                Part::Rest => rest_done = true,
                Part::Heartbeat | Part::LastChunk => {}
            }
        }
        let (part, at) = cut.expect("a short write is cut somewhere");
        let rest = match part {
            _ if at == 0 => None,
            Part::Tail { offset: cut } => {
                offset = cut;
                self.tail.get(cut).map(|event| Rest::Event(event.clone(), at))
            }
            Part::Chunk { index } => {
                chunks += 1;
                let event = subscriber.backlog.as_ref().map(|backlog| backlog.chunk[index as usize].clone());
                event.map(|event| {
                    offset = event.offset;
                    Rest::Event(event, at)
                })
            }
            Part::Heartbeat => Some(Rest::Heartbeat(at)),
            Part::Rest | Part::LastChunk => None,
        };
        let whole = batch.parts(write).iter().take_while(|&&other| other != part);
        self.counters.deliveries +=
            whole.filter(|part| matches!(part, Part::Tail { .. } | Part::Chunk { .. })).count() as u64;
        let id = SlotId { slot: write.slot, generation: subscriber.generation };
        let form = subscriber.form();
        let subscriber = self.slab.at_mut(write.slot);
        subscriber.offset = offset + u64::from(planted(Defect::DropsWhenBehind));
        if bytes == 0 && subscriber.state == State::Current {
            // The deadline counts from the first refusal, not from the last event, which may be long ago.
            subscriber.progress_ds = now.ds();
        }
        let blocked = match planted(Defect::SpinsOnBlocked) {
            false => Wait::Writable,
            true => Wait::Slice,
        };
        self.fall_behind(id, blocked);
        let Some(backlog) = &mut self.slab.at_mut(write.slot).backlog else {
            return;
        };
        match part {
            Part::Rest => {
                if let Some(Rest::Head(_, sent) | Rest::Event(_, sent) | Rest::Heartbeat(sent)) = &mut backlog.rest {
                    *sent += at;
                }
            }
            _ => {
                if rest_done && let Some(Rest::Event(..)) = backlog.rest {
                    self.counters.deliveries += 1;
                }
                if rest.is_some() || rest_done {
                    backlog.rest = rest;
                }
            }
        }
        let read_whole = chunks > 0 && chunks == backlog.chunk.len();
        backlog.chunk.drain(..chunks);
        let through = backlog.through;
        if blocked == Wait::Writable {
            backlog.stall(form);
            self.let_go(write.slot);
        }
        if read_whole {
            // History has looked further than to the last event that matched.
            self.slab.at_mut(write.slot).offset = through;
        }
    }
}
