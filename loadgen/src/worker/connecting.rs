//! Members connect, get a stream or are refused, and lose it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Worker;
use super::schedule::Due;
use crate::group::WhenClosed;
use crate::ledger::Span;
use crate::subscriber::Refusal;
use crate::swarm::lock;
use crate::sys;

/// A connection that fails or is refused without `Retry-After` is tried again after so long.
const RETRY_NS: u64 = 1_000_000_000;

impl Worker {
    pub(super) fn connect_due(&mut self, now_ns: u64) -> anyhow::Result<()> {
        for group in 0..self.schedules.len() {
            loop {
                let Self { schedules, members, .. } = self;
                let Some(due) = schedules[group].next(now_ns, |at| members[at as usize].subscriber.is_away()) else {
                    break;
                };
                self.connect(due)?;
            }
        }
        Ok(())
    }

    fn connect(&mut self, due: Due) -> anyhow::Result<()> {
        let (at, goes_on) = (due.member as usize, due.goes_on);
        let has_id = self.members[at].subscriber.last_id.as_ref().is_some_and(|last_id| last_id.get().is_some());
        if !(goes_on && has_id) {
            self.begin_anew(at);
        }
        let group_at = usize::from(self.members[at].group);
        let group = &self.plan.groups[group_at];
        let place = self.plan.place_of(self.members[at].n as usize);
        let to = self.plan.dialect.target.address_of(self.members[at].n as usize);
        let connecting_ns = sys::now_ns();
        let stream = self.plan.sources.connect(to, group_at, place, group.receive_buffer)?;
        self.epoll.add(&stream, at)?;
        let wire = self.plan.dialect.wire(stream, true)?;
        let member = &mut self.members[at];
        member.asked = true;
        member.subscriber.open(wire, due.due_ns.unwrap_or(connecting_ns));
        Ok(())
    }

    pub(super) fn opened(&mut self, at: usize) {
        let group = usize::from(self.members[at].group);
        self.schedules[group].opened();
        self.failures = 0;
        let group = &self.plan.groups[group];
        if group.encoding.is_some() && !self.members[at].subscriber.is_coded() {
            self.shared.uncoded.fetch_add(1, Ordering::AcqRel);
        }
        let first_time = self.members[at].subscriber.receipt.opens();
        if first_time && !group.earliest && !self.spans_of(at).is_empty() {
            match self.plan.lanes.ask() {
                None => self.begin_with_sent(at),
                Some(question) => {
                    let spans = self.spans_of(at);
                    self.spans[spans].iter_mut().for_each(|span| span.since = Span::unknown(question));
                    self.undated.push_back((at as u32, question));
                }
            }
        }
        self.attend(at, true);
        self.shared.open.fetch_add(1, Ordering::AcqRel);
        self.shared.opened.fetch_add(1, Ordering::AcqRel);
    }

    /// From here on a member must get everything.
    fn begin_with_sent(&mut self, at: usize) {
        let since: Vec<u32> = self.lanes_of(at).1.map(|lane| self.plan.lanes.sent(lane)).collect();
        let spans = self.spans_of(at);
        for (span, since) in self.spans[spans].iter_mut().zip(since) {
            span.since = since;
        }
    }

    /// Those whose question what was sent has been answered, unless they asked anew meanwhile.
    pub(super) fn date_heads(&mut self) {
        while let Some(&(at, question)) = self.undated.front()
            && question <= self.plan.lanes.answered()
        {
            self.undated.pop_front();
            let at = at as usize;
            if self.spans[self.spans_of(at)].first().is_some_and(|span| span.since == Span::unknown(question)) {
                self.begin_with_sent(at);
            }
        }
    }

    pub(super) fn closed(&mut self, at: usize) {
        self.gone(at);
        let group_at = usize::from(self.members[at].group);
        let group = &self.plan.groups[group_at];
        if !group.must_have_all() {
            return;
        }
        self.shared.closed.fetch_add(1, Ordering::AcqRel);
        match group.when_closed {
            WhenClosed::Fail => self.members[at].subscriber.receipt.close(),
            WhenClosed::Allow => {}
            WhenClosed::Return => {
                let again_ns = sys::now_ns() + RETRY_NS;
                self.schedules[group_at].again(again_ns, at as u32, group.keeps_id);
            }
        }
    }

    pub(super) fn refused(&mut self, at: usize, refusal: Refusal) {
        let group = usize::from(self.members[at].group);
        self.schedules[group].opened();
        let keeps_id = self.plan.groups[group].keeps_id;
        let busy = matches!(refusal.status, Some(429 | 503));
        if !busy && refusal.status.is_some() {
            lock(&self.shared.trouble).get_or_insert(format!("a subscriber was refused: {}", refusal.text));
            return;
        }
        let counter: &AtomicU64 = if busy { &self.shared.refused } else { &self.shared.failed };
        counter.fetch_add(1, Ordering::AcqRel);
        self.failures += u64::from(!busy);
        let wait_ns = refusal.retry_after.map_or(RETRY_NS, |seconds| seconds * 1_000_000_000);
        self.schedules[group].again(sys::now_ns() + wait_ns, at as u32, keeps_id);
    }
}
