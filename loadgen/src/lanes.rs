//! What was published, lane by lane. A lane is one publishing connection's events to one topic, numbered from 1: within
//! a lane a subscriber must see the numbers rise without a gap, but for those the server refused.
//!
//! Publishers write here, client threads read: what was sent when a subscriber came decides what it must get.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::payload::Number;

/// A topic somebody publishes to.
struct Topic {
    /// The connections that do, one bit each.
    publishers: u64,
    /// Its first lane.
    first: u32,
    /// Subscribers that read it at once and have their response head.
    audience: AtomicU32,
}

#[derive(Default)]
struct Lane {
    sent: AtomicU32,
    settled: AtomicU32,
    refused: Mutex<Vec<u32>>,
}

/// All lanes at one server.
pub(crate) struct Lanes {
    names: HashMap<String, u32>,
    topics: Vec<Topic>,
    lanes: Vec<Lane>,
    /// Every topic is the first one.
    any: bool,
}

impl Lanes {
    /// The lanes for these topics and the connections, as bits, that publish to each.
    pub(crate) fn new(published: impl IntoIterator<Item = (String, u64)>) -> Self {
        let mut all = Self { names: HashMap::new(), topics: Vec::new(), lanes: Vec::new(), any: false };
        let mut masks: Vec<u64> = Vec::new();
        for (name, mask) in published {
            let next = masks.len() as u32;
            let topic = *all.names.entry(name).or_insert(next);
            if topic == next {
                masks.push(0);
            }
            masks[topic as usize] |= mask;
        }
        for publishers in masks {
            let first = all.lanes.len() as u32;
            all.lanes.extend((0..publishers.count_ones()).map(|_| Lane::default()));
            all.topics.push(Topic { publishers, first, audience: AtomicU32::new(0) });
        }
        all
    }

    /// One lane that everybody gets, whatever is asked for.
    pub(crate) fn single() -> Self {
        Self { any: true, ..Self::new([(String::new(), 1)]) }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lanes.len()
    }

    /// The topic's index, if somebody publishes to it.
    pub(crate) fn topic(&self, name: &str) -> Option<u32> {
        if self.any { Some(0) } else { self.names.get(name).copied() }
    }

    /// A topic's lanes.
    pub(crate) fn of_topic(&self, topic: u32) -> Range<usize> {
        let topic = &self.topics[topic as usize];
        let first = topic.first as usize;
        first..first + topic.publishers.count_ones() as usize
    }

    /// The lane of an event.
    pub(crate) fn of(&self, number: Number) -> Option<usize> {
        let topic = self.topics.get(number.topic())?;
        let bit = 1_u64 << number.publisher();
        (topic.publishers & bit != 0)
            .then(|| topic.first as usize + (topic.publishers & (bit - 1)).count_ones() as usize)
    }

    /// Takes the next number of a topic for a connection, which sends it next.
    pub(crate) fn next(&self, topic: u32, publisher: usize) -> Number {
        let lane = self.of(Number::on(topic as usize, publisher, 0)).expect("a publisher's topics have lanes");
        let sequence = self.lanes[lane].sent.fetch_add(1, Ordering::AcqRel) + 1;
        Number::on(topic as usize, publisher, sequence.into())
    }

    /// An event was answered. Answers come in order.
    pub(crate) fn settle(&self, number: Number, accepted: bool) {
        let lane = &self.lanes[self.of(number).expect("only numbers of lanes are sent")];
        let sequence = number.sequence() as u32;
        if !accepted {
            lane.refused.lock().unwrap_or_else(PoisonError::into_inner).push(sequence);
        }
        lane.settled.store(sequence, Ordering::Release);
    }

    /// The newest number sent, or about to be.
    pub(crate) fn sent(&self, lane: usize) -> u32 {
        self.lanes[lane].sent.load(Ordering::Acquire)
    }

    /// The newest number answered.
    pub(crate) fn settled(&self, lane: usize) -> u32 {
        self.lanes[lane].settled.load(Ordering::Acquire)
    }

    /// The newest number accepted; 0 for none.
    pub(crate) fn newest(&self, lane: usize) -> u32 {
        let refused = self.refused(lane);
        let mut newest = self.settled(lane);
        for &number in refused.iter().rev() {
            if number != newest {
                break;
            }
            newest -= 1;
        }
        newest
    }

    /// The numbers refused, in order.
    pub(crate) fn refused(&self, lane: usize) -> Vec<u32> {
        self.lanes[lane].refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Events accepted so far, on all lanes.
    pub(crate) fn accepted(&self) -> u64 {
        (0..self.lanes.len()).map(|lane| u64::from(self.settled(lane)) - self.refused(lane).len() as u64).sum()
    }

    /// A subscriber of the topic came (or left).
    pub(crate) fn attend(&self, topic: u32, comes: bool) {
        let audience = &self.topics[topic as usize].audience;
        if comes {
            audience.fetch_add(1, Ordering::AcqRel);
        } else {
            audience.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Subscribers that will get an event of the topic at once.
    pub(crate) fn audience(&self, topic: u32) -> u64 {
        self.topics[topic as usize].audience.load(Ordering::Acquire).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_of_a_topic_has_a_lane() {
        let lanes = Lanes::new([("a".to_owned(), 0b101), ("b".to_owned(), 0b010), ("a".to_owned(), 0b1000)]);
        assert_eq!((lanes.topic("a"), lanes.topic("b"), lanes.topic("c")), (Some(0), Some(1), None));
        assert_eq!((lanes.of_topic(0), lanes.of_topic(1)), (0..3, 3..4));
        let found: Vec<_> =
            [(0, 0), (0, 2), (0, 3), (1, 1), (0, 1), (2, 0)].map(|(t, p)| lanes.of(Number::on(t, p, 9))).to_vec();
        assert_eq!(found, [Some(0), Some(1), Some(2), Some(3), None, None]);
    }

    #[test]
    fn refused_numbers_are_no_events() {
        let lanes = Lanes::single();
        let numbers: Vec<Number> = (0..4).map(|_| lanes.next(0, 0)).collect();
        for (number, accepted) in numbers.iter().zip([true, false, true, false]) {
            lanes.settle(*number, accepted);
        }
        assert_eq!((lanes.sent(0), lanes.settled(0), lanes.newest(0)), (4, 4, 3));
        assert_eq!((lanes.refused(0), lanes.accepted()), (vec![2, 4], 2));
    }
}
