//! What the members got: fresh receipts, and the judgement of old ones.

use super::Worker;
use crate::last_id::LastId;
use crate::ledger::{Ending, Span};

/// Receipts of those who left are kept unjudged (an answer to a publish may be under way) up to so many.
const RETIRED_MAX: usize = 4096;

impl Worker {
    /// A fresh receipt for who asks without an id. The old one is judged as far as it goes.
    pub(super) fn begin_anew(&mut self, at: usize) {
        self.retire(at, Ending::Cut);
        let earliest = self.plan.groups[usize::from(self.members[at].group)].earliest;
        let spans = self.spans_of(at);
        let fresh: Vec<Span> = self
            .lanes_of(at)
            .1
            .map(|lane| Span::after(if earliest { 0 } else { self.plan.lanes.settled(lane) }))
            .collect();
        self.spans[spans].copy_from_slice(&fresh);
    }

    pub(super) fn retire(&mut self, at: usize, ending: Ending) {
        let spans: Box<[Span]> = self.spans[self.spans_of(at)].into();
        let member = &mut self.members[at];
        if !std::mem::take(&mut member.asked) {
            return;
        }
        let receipt = std::mem::take(&mut member.subscriber.receipt);
        if let Some(last_id) = &mut member.subscriber.last_id {
            **last_id = LastId::default();
        }
        self.retired.push_back((at as u32, receipt, spans, ending));
        if self.retired.len() > RETIRED_MAX {
            self.judge_retired();
        }
    }

    pub(super) fn judge_retired(&mut self) {
        if let Some((at, receipt, spans, ending)) = self.retired.pop_front() {
            let mut verdict = std::mem::take(&mut self.verdict);
            verdict.judge(&receipt, &spans, self.lanes_of(at as usize).1, ending, &self.plan.lanes);
            self.verdict = verdict;
        }
    }

    pub(super) fn judge_all(&mut self) {
        for at in 0..self.members.len() {
            let member = &self.members[at];
            let group = &self.plan.groups[usize::from(member.group)];
            let complete = member.subscriber.is_streaming() && group.must_have_all();
            self.retire(at, if complete { Ending::Complete } else { Ending::Cut });
            self.judge_retired();
        }
        while !self.retired.is_empty() {
            self.judge_retired();
        }
    }

    pub(super) fn count_behind(&self) -> u64 {
        let lanes = &self.plan.lanes;
        let newest: Vec<u32> = (0..lanes.count()).map(|lane| lanes.newest(lane)).collect();
        let is_behind = |at: &usize| {
            let member = &self.members[*at];
            let group = usize::from(member.group);
            if !member.subscriber.is_streaming() || !self.plan.groups[group].must_have_all() || !self.reading[group] {
                return false;
            }
            let (first, lanes) = self.lanes_of(*at);
            lanes.zip(&self.spans[first..]).any(|(lane, span)| span.last.max(span.since) < newest[lane])
        };
        (0..self.members.len()).filter(is_behind).count() as u64
    }
}
