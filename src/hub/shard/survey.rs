//! What an administrator may see of a shard: its streams, its slowest readers, its largest audiences.
//!
//! A survey looks at everything in bounded pieces, one per turn, and keeps no more than it was asked for. What it found
//! may have changed by the time it is over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::revoke::{LOOK_NS, PIECE_NS};
use super::{Now, Output, Shard};
use crate::hub::budget::Budget;
use crate::hub::denials::Denied;
use crate::hub::pattern_index::PARSE_NS;
use crate::hub::subscriber::{SlotId, State, Subscriber, Wait};
use crate::protocol::coding::Coding;
use crate::protocol::matcher::Matcher;
use crate::protocol::token::Access;
use crate::protocol::topic::ParsedTopic;

/// Rows of one survey at most.
pub const SURVEY_ROWS_MAX: usize = 1_000;
/// Matchers shown of a stream.
pub const SHOWN_MATCHERS_MAX: usize = 20;
/// Showing a stream or keeping it in mind.
const SHOW_NS: u64 = 500;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Survey {
    /// Streams: all, or those of somebody.
    Streams(Option<Denied>, usize),
    /// Readers that are behind, those with most bytes before them first.
    Slow(usize),
    /// Matchers, those with the largest audience first.
    Audiences(usize),
}

/// A stream, as an administrator sees it.
#[derive(Clone, Debug)]
pub struct StreamView {
    /// Its place in the slab.
    pub id: SlotId,
    /// It reads from its own cursor.
    pub behind: bool,
    /// Its socket is full.
    pub blocked: bool,
    /// Whose it is; `None`: anonymous.
    pub access: Option<Arc<Access>>,
    /// What it follows, the first [`SHOWN_MATCHERS_MAX`].
    pub matchers: Vec<Matcher>,
    /// The client's address, as the server numbers them.
    pub address: u32,
    /// Events of the log it has still to look at.
    pub events_behind: u64,
    /// Their bytes, as far as the tail holds them.
    pub bytes_behind: u64,
    /// The content coding of its body.
    pub coding: Option<Coding>,
    /// How long its socket has taken nothing.
    pub silent_ms: u64,
}

/// What a survey found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Of streams and slow readers: the rows.
    pub streams: Vec<StreamView>,
    /// Of audiences: matchers and how many follow them.
    pub audiences: Vec<(Matcher, u64)>,
    /// How many there were, shown or not.
    pub matched: u64,
}

/// A survey under way.
#[derive(Debug)]
pub(super) struct Round {
    survey: Arc<Survey>,
    next: usize,
    /// The largest so far: (size, slot or selector). The smallest of them is on top.
    largest: BinaryHeap<Reverse<(u64, u32)>>,
    findings: Findings,
}

impl Shard {
    pub(super) fn begin_survey(&mut self, survey: Arc<Survey>) {
        let (largest, findings) = (BinaryHeap::new(), Findings::default());
        self.rounds.push_back(Round { survey, next: 0, largest, findings });
    }

    /// A bounded piece of the oldest survey; hands over what was found when it is over.
    pub(super) fn look_around(&mut self, now: Now) {
        let Some(mut round) = self.rounds.pop_front() else {
            return;
        };
        let end = match &*round.survey {
            Survey::Streams(..) | Survey::Slow(_) => self.slab.capacity(),
            Survey::Audiences(_) => self.selectors.capacity(),
        };
        let mut budget = Budget::new(PIECE_NS);
        let survey = round.survey.clone();
        let topic = match &*survey {
            Survey::Streams(Some(Denied::Topic(topic)), _) => {
                budget.spend(PARSE_NS);
                Some(ParsedTopic::new(topic, self.selectors.hub()))
            }
            _ => None,
        };
        while round.next < end && !budget.is_spent() {
            budget.spend(LOOK_NS);
            let at = round.next as u32;
            round.next += 1;
            match &*survey {
                Survey::Streams(whom, limit) => {
                    if self.is_shown(at, whom.as_ref(), topic.as_ref(), &mut budget) {
                        budget.spend(SHOW_NS);
                        round.findings.matched += 1;
                        if round.findings.streams.len() < *limit {
                            round.findings.streams.push(self.view(at, now));
                        }
                    }
                }
                Survey::Slow(limit) => {
                    let subscriber = self.slab.at(at);
                    if subscriber.state == State::Behind {
                        budget.spend(SHOW_NS);
                        round.findings.matched += 1;
                        keep_largest(&mut round.largest, (self.bytes_behind(subscriber), at), *limit);
                    }
                }
                Survey::Audiences(limit) => {
                    let members = self.selectors.get(at).members.len() as u64;
                    if members > 0 {
                        round.findings.matched += 1;
                        keep_largest(&mut round.largest, (members, at), *limit);
                    }
                }
            }
        }
        if round.next < end {
            self.rounds.push_front(round);
            return;
        }
        let Round { largest, mut findings, .. } = round;
        for Reverse((size, at)) in largest.into_sorted_vec() {
            match &*survey {
                // Who was slow may have gone since, and somebody else have its slot.
                Survey::Slow(_) if self.slab.get(at).is_some_and(|s| s.state == State::Behind) => {
                    findings.streams.push(self.view(at, now));
                }
                Survey::Audiences(_) => {
                    findings.audiences.extend(self.selectors.matcher(at).map(|m| (m.clone(), size)))
                }
                Survey::Slow(_) | Survey::Streams(..) => {}
            }
        }
        self.outputs.push_back(Output::Surveyed(survey, findings));
    }

    fn is_shown(&self, slot: u32, whom: Option<&Denied>, topic: Option<&ParsedTopic<'_>>, budget: &mut Budget) -> bool {
        let subscriber = self.slab.at(slot);
        matches!(subscriber.state, State::Current | State::Behind)
            && match (whom, topic) {
                (None, _) => true,
                (Some(_), Some(topic)) => self.selectors.matchers_of(subscriber.places.as_slice()).any(|matcher| {
                    budget.spend(matcher.cost_ns(topic));
                    matcher.matches(topic)
                }),
                (Some(whom), None) => subscriber.access.as_ref().is_some_and(|access| whom.names(access)),
            }
    }

    fn bytes_behind(&self, subscriber: &Subscriber) -> u64 {
        self.tail.bytes_since(subscriber.offset + 1)
    }

    fn view(&self, slot: u32, now: Now) -> StreamView {
        let subscriber = self.slab.at(slot);
        let behind = subscriber.state == State::Behind;
        let matchers = self.selectors.matchers_of(subscriber.places.as_slice());
        StreamView {
            id: SlotId { slot, generation: subscriber.generation },
            behind,
            blocked: subscriber.backlog.as_ref().is_some_and(|backlog| backlog.wait == Wait::Writable),
            access: subscriber.access.clone(),
            matchers: matchers.take(SHOWN_MATCHERS_MAX).cloned().collect(),
            address: subscriber.address,
            // Of a current one the offset is no cursor: it may be long past.
            events_behind: if behind { self.tail.head().saturating_sub(subscriber.offset) } else { 0 },
            bytes_behind: if behind { self.bytes_behind(subscriber) } else { 0 },
            coding: subscriber.coding,
            silent_ms: u64::from(now.ds().saturating_sub(subscriber.progress_ds)) * 100,
        }
    }
}

fn keep_largest(largest: &mut BinaryHeap<Reverse<(u64, u32)>>, entry: (u64, u32), limit: usize) {
    if largest.len() < limit {
        largest.push(Reverse(entry));
    } else if largest.peek().is_some_and(|Reverse(smallest)| *smallest < entry) {
        largest.pop();
        largest.push(Reverse(entry));
    }
}
