//! Members who leave when they have everything, and come back.

use super::Worker;

/// Who leaves waits so long for what it must still get.
const LEAVE_PATIENCE_NS: u64 = 15_000_000_000;

/// One who leaves when it has got so far on each lane.
pub(super) struct Leaver {
    pub(super) member: u32,
    until: Box<[u32]>,
    deadline_ns: u64,
    comes_back: bool,
}

/// Members leave and come back at a rate.
pub(super) struct Churn {
    pub(super) group: usize,
    pub(super) gap_ns: u64,
    pub(super) next_ns: u64,
    /// The member to try next.
    pub(super) cursor: usize,
}

impl Worker {
    pub(super) fn leave(&mut self, at: usize, now_ns: u64, comes_back: bool) {
        let until = self.lanes_of(at).1.map(|lane| self.plan.lanes.newest(lane)).collect();
        let deadline_ns = now_ns + LEAVE_PATIENCE_NS;
        self.leavers.push(Leaver { member: at as u32, until, deadline_ns, comes_back });
    }

    pub(super) fn let_leave(&mut self, now_ns: u64) {
        let mut at = 0;
        while at < self.leavers.len() {
            let leaver = &self.leavers[at];
            let member = leaver.member as usize;
            let spans = &self.spans[self.spans_of(member)];
            let has_all = spans.iter().zip(&leaver.until).all(|(span, until)| span.last.max(span.since) >= *until);
            let gone = !self.members[member].subscriber.is_streaming();
            if !has_all && !gone && now_ns < leaver.deadline_ns {
                at += 1;
                continue;
            }
            let leaver = self.leavers.swap_remove(at);
            if gone {
                continue;
            }
            if !has_all {
                self.members[member].subscriber.receipt.miss();
            }
            self.close(member);
            if leaver.comes_back {
                let group = usize::from(self.members[member].group);
                self.schedules[group].again(now_ns, leaver.member, false);
            }
        }
    }

    pub(super) fn churn_due(&mut self, now_ns: u64) {
        for place in 0..self.churns.len() {
            while self.churns[place].next_ns <= now_ns {
                let churn = &mut self.churns[place];
                churn.next_ns += churn.gap_ns;
                let (group, start) = (churn.group, churn.cursor);
                let range = self.of_group(group);
                let candidates = (start..range.end).chain(range.start..start);
                let streams = |at: &usize| self.members[*at].subscriber.is_streaming();
                let is_leaving = |at: &usize| self.leavers.iter().any(|leaver| leaver.member as usize == *at);
                let Some(at) = candidates.filter(streams).find(|at| !is_leaving(at)) else {
                    break;
                };
                self.churns[place].cursor = if at + 1 == range.end { range.start } else { at + 1 };
                self.leave(at, now_ns, true);
            }
        }
    }
}
