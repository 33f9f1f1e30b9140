//! What was published, lane by lane. A lane is one publishing connection's events to one topic, numbered from 1: within
//! a lane a subscriber must see the numbers rise without a gap, but for those the server refused.
//!
//! Publishers write here, client threads read: what was sent when a subscriber came decides what it must get. An agent has a
//! mirror of its coordinator's lanes, which is always a little behind: there a subscriber that comes asks what was sent.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

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
    /// What is asked of the coordinator; nothing where the publishers are.
    asks: Option<Asks>,
}

/// An agent's questions what had been sent by now, counted.
#[derive(Default)]
struct Asks {
    wanted: AtomicBool,
    asked: AtomicU64,
    answered: AtomicU64,
}

/// How a lane stands, as an agent is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneState {
    pub(crate) lane: usize,
    pub(crate) sent: u32,
    pub(crate) settled: u32,
    /// The numbers refused that weren't told before.
    pub(crate) refused: Vec<u32>,
}

/// What an agent was told of each lane: sent, settled, how many refused.
#[derive(Default)]
pub(crate) struct Told(Vec<(u32, u32, usize)>);

impl Lanes {
    /// The lanes for these topics and the connections, as bits, that publish to each.
    pub(crate) fn new(published: impl IntoIterator<Item = (String, u64)>) -> Self {
        let mut all = Self { names: HashMap::new(), topics: Vec::new(), lanes: Vec::new(), any: false, asks: None };
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

    /// The same lanes as a mirror.
    pub(crate) fn mirrored(self) -> Self {
        Self { asks: Some(Asks::default()), ..self }
    }

    /// The topics in order with the connections that publish to them; nothing for one lane that everybody gets.
    pub(crate) fn published(&self) -> Option<Vec<(String, u64)>> {
        let mut all: Vec<(String, u64)> = self.topics.iter().map(|topic| (String::new(), topic.publishers)).collect();
        for (name, at) in &self.names {
            all[*at as usize].0.clone_from(name);
        }
        (!self.any).then_some(all)
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

    /// What has changed since an agent was last told.
    pub(crate) fn news(&self, told: &mut Told) -> Vec<LaneState> {
        told.0.resize(self.lanes.len(), (0, 0, 0));
        let mut news = Vec::new();
        for (lane, (told_sent, told_settled, told_refused)) in told.0.iter_mut().enumerate() {
            // What was refused is entered before it is settled, and sent before both: what is read in this order fits.
            let settled = self.settled(lane);
            let mut refused = Vec::new();
            if settled != *told_settled {
                let all = self.lanes[lane].refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.extend(all[*told_refused..].iter().take_while(|number| **number <= settled));
            }
            let sent = self.sent(lane);
            if (sent, settled) != (*told_sent, *told_settled) {
                *told_refused += refused.len();
                (*told_sent, *told_settled) = (sent, settled);
                news.push(LaneState { lane, sent, settled, refused });
            }
        }
        news
    }

    /// Enters what the coordinator told. Answers false when there is no such lane.
    pub(crate) fn mirror(&self, state: LaneState) -> bool {
        let Some(lane) = self.lanes.get(state.lane) else {
            return false;
        };
        lane.refused.lock().unwrap_or_else(PoisonError::into_inner).extend(state.refused);
        lane.sent.fetch_max(state.sent, Ordering::AcqRel);
        lane.settled.fetch_max(state.settled, Ordering::AcqRel);
        true
    }

    /// Where the lanes are a mirror: a number to wait for. What the mirror says of numbers sent, once [`Self::answered`] is
    /// as high, is no less than what had been sent at this call.
    pub(crate) fn ask(&self) -> Option<u64> {
        self.asks.as_ref().map(|asks| {
            let next = asks.asked.load(Ordering::Acquire) + 1;
            asks.wanted.store(true, Ordering::Release);
            next
        })
    }

    /// The next question to the coordinator, if anybody has one.
    pub(crate) fn question(&self) -> Option<u64> {
        let asks = self.asks.as_ref().filter(|asks| asks.wanted.swap(false, Ordering::AcqRel))?;
        Some(asks.asked.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The coordinator has answered a question.
    pub(crate) fn answer(&self, question: u64) {
        if let Some(asks) = &self.asks {
            asks.answered.fetch_max(question, Ordering::AcqRel);
        }
    }

    /// The newest question that was answered.
    pub(crate) fn answered(&self) -> u64 {
        self.asks.as_ref().map_or(u64::MAX, |asks| asks.answered.load(Ordering::Acquire))
    }

    /// Topics whose audience isn't what was told, with what it is now.
    pub(crate) fn audiences(&self, told: &mut Vec<u32>) -> Vec<(u32, u32)> {
        told.resize(self.topics.len(), 0);
        let now = |topic: &Topic| topic.audience.load(Ordering::Acquire);
        let mut news = Vec::new();
        for ((at, topic), told) in self.topics.iter().enumerate().zip(told) {
            if *told != now(topic) {
                *told = now(topic);
                news.push((at as u32, *told));
            }
        }
        news
    }

    /// An agent's part of a topic's audience changed. Answers false when there is no such topic.
    pub(crate) fn attend_many(&self, topic: u32, before: u32, now: u32) -> bool {
        let audience = self.topics.get(topic as usize).map(|topic| &topic.audience);
        audience.map(|audience| audience.fetch_add(now.wrapping_sub(before), Ordering::AcqRel)).is_some()
    }

    /// How many topics there are.
    pub(crate) fn topics(&self) -> usize {
        self.topics.len()
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

    fn tell(lanes: &Lanes, told: &mut Told, mirror: &Lanes) -> usize {
        let news = lanes.news(told);
        let count = news.len();
        assert!(news.into_iter().all(|state| mirror.mirror(state)));
        count
    }

    #[test]
    fn a_mirror_has_what_was_told() {
        let published = [("a".to_owned(), 0b11), ("b".to_owned(), 0b10)];
        let lanes = Lanes::new(published.clone());
        assert_eq!(lanes.published(), Some(published.to_vec()));
        let mirror = Lanes::new(lanes.published().expect("topics")).mirrored();
        let mut told = Told::default();
        assert_eq!(tell(&lanes, &mut told, &mirror), 0, "nothing was published");
        let numbers: Vec<Number> = (0..4).map(|_| lanes.next(0, 1)).collect();
        lanes.settle(numbers[0], true);
        lanes.settle(numbers[1], false);
        assert_eq!(tell(&lanes, &mut told, &mirror), 1);
        assert_eq!((mirror.sent(1), mirror.settled(1), mirror.newest(1), mirror.refused(1)), (4, 2, 1, vec![2]));
        assert_eq!(tell(&lanes, &mut told, &mirror), 0, "nothing is told twice");
        lanes.settle(numbers[2], false);
        lanes.settle(numbers[3], true);
        lanes.next(1, 1);
        assert_eq!(tell(&lanes, &mut told, &mirror), 2);
        assert_eq!((mirror.newest(1), mirror.refused(1), mirror.sent(2)), (4, vec![2, 3], 1));
        assert!(!mirror.mirror(LaneState { lane: 3, sent: 1, settled: 1, refused: Vec::new() }), "no such lane");
        assert_eq!(Lanes::single().published(), None);
    }

    #[test]
    fn who_asks_waits_for_an_answer_to_a_later_question() {
        let own = Lanes::single();
        assert_eq!((own.ask(), own.question()), (None, None), "where the publishers are nobody asks");
        let mirror = Lanes::single().mirrored();
        assert_eq!(mirror.question(), None, "nobody has asked");
        assert_eq!((mirror.ask(), mirror.ask()), (Some(1), Some(1)));
        assert_eq!(mirror.question(), Some(1));
        assert_eq!(mirror.ask(), Some(2), "the first may have been answered already");
        mirror.answer(1);
        assert_eq!((mirror.answered(), mirror.question()), (1, Some(2)));
    }

    #[test]
    fn audiences_of_agents_add_up() {
        let (lanes, mirror) = (Lanes::new([("a".to_owned(), 1)]), Lanes::new([("a".to_owned(), 1)]).mirrored());
        let mut told = Vec::new();
        lanes.attend(0, true);
        mirror.attend(0, true);
        mirror.attend(0, true);
        assert_eq!(mirror.audiences(&mut told), [(0, 2)]);
        assert!(lanes.attend_many(0, 0, 2));
        mirror.attend(0, false);
        assert_eq!(mirror.audiences(&mut told), [(0, 1)]);
        assert!(lanes.attend_many(0, 2, 1) && !lanes.attend_many(7, 0, 1));
        assert_eq!((lanes.audience(0), mirror.audiences(&mut told)), (2, Vec::new()));
    }
}
