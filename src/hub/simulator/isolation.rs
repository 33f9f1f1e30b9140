//! Crowds in which somebody else's size or slowness must not matter. Delays are counted in slices: each is bounded work.

use super::client::{Client, Pace, Phase};
use super::oracle::{Interest, Publish};
use super::random::Random;
use super::rules::Rules;
use super::world::World;
use crate::hub::Start;

/// Work of one delivery with a small event: the visit, the send, and its bytes.
const DELIVERY_NS: u64 = 9_500;
/// Slices after which every kind of work had its turn.
const ROUND_SLICES: usize = 4;

/// A matcher for the topic of that number alone.
fn only(topic: usize) -> usize {
    topic + 1
}

impl World {
    fn crowd(&mut self, count: usize, topic: usize, pace: Pace, buffer_bytes: u64) -> Vec<usize> {
        let join = |_| {
            self.clients.push(Client {
                interest: Interest { matchers: vec![only(topic)], grants: None },
                chunked: true,
                coding: None,
                pace,
                buffer_bytes,
                cursor: None,
                phase: Phase::Admitted(Start::Live),
            });
            self.register(self.clients.len() - 1, 0, None)
        };
        (0..count).map(join).collect()
    }

    fn say(&mut self, topic: usize, bytes: usize) {
        let serial = self.serial();
        let said = self.publish(Publish {
            serial,
            topics: vec![topic],
            private: false,
            announcement: false,
            id: None,
            event_type: None,
            data: format!("{serial} {}", "x".repeat(bytes)),
        });
        assert!(said, "isolated: a publisher is held up");
        self.commit(1);
    }

    fn received(&self, connections: &[usize], events: u64) -> bool {
        connections.iter().all(|&at| self.connections[at].due.received >= events)
    }

    /// Slices until all these connections have so many events.
    fn slices_until(&mut self, connections: &[usize], events: u64, slices_max: usize, what: &str) -> usize {
        for slices in 0..=slices_max {
            if self.received(connections, events) {
                return slices;
            }
            self.turn(0);
        }
        panic!("isolated: {what} took more than {slices_max} slices");
    }

    fn slices_for(&self, deliveries: usize) -> usize {
        (deliveries as u64 * DELIVERY_NS).div_ceil(self.rules.slice_ns) as usize
    }
}

fn world(seed: u64) -> (World, Random) {
    let random = Random::new(seed);
    (World::new(Rules::calm(), random.clone()), random)
}

/// A message to ten isn't stuck behind one to many.
pub(super) fn ten_readers_behind_a_broadcast(seed: u64) {
    let (mut world, mut random) = world(seed);
    let many = random.between(700, 1_500) as usize;
    let crowd = world.crowd(many, 0, Pace::Fast, u64::MAX);
    let ten = world.crowd(10, 1, Pace::Fast, u64::MAX);
    world.rest();
    world.say(0, 100);
    world.turn(0);
    assert!(!world.received(&crowd, 1), "a broadcast that takes several slices");
    world.say(1, 100);
    world.slices_until(&ten, 1, ROUND_SLICES, "an event for ten behind a broadcast");
    let slices_max = 2 * world.slices_for(many + 10) + ROUND_SLICES;
    world.slices_until(&crowd, 1, slices_max, "a broadcast");
}

/// However many small events come, the oldest one gets half of the slices.
pub(super) fn a_broadcast_in_a_flood(seed: u64) {
    let (mut world, mut random) = world(seed);
    let many = random.between(500, 1_000) as usize;
    let crowd = world.crowd(many, 0, Pace::Fast, u64::MAX);
    for topic in 1..15 {
        world.crowd(10, topic, Pace::Fast, u64::MAX);
    }
    world.rest();
    world.say(0, 100);
    let slices_max = 2 * world.slices_for(many) + ROUND_SLICES;
    for _ in 0..slices_max {
        for topic in 1..15 {
            world.say(topic, 20);
        }
        world.turn(0);
    }
    assert!(
        world.received(&crowd, 1),
        "isolated: a broadcast starves in a flood of small events, {slices_max} slices were not enough"
    );
    world.rest();
}

/// Clients that never read cost the others nothing.
pub(super) fn stalled_clients_in_a_crowd(seed: u64) {
    let (mut world, mut random) = world(seed);
    let (fast, stalled) = (random.between(50, 300) as usize, random.between(20, 300) as usize);
    world.crowd(stalled / 2, 0, Pace::Stopped, 200);
    let crowd = world.crowd(fast, 0, Pace::Fast, u64::MAX);
    world.crowd(stalled / 2, 0, Pace::Stopped, 300);
    for event in 1..8 {
        world.say(0, 100);
        let slices_max = 2 * world.slices_for(fast + stalled) + ROUND_SLICES;
        world.slices_until(&crowd, event, slices_max, "a broadcast among stalled clients");
        let idle = (0..slices_max).any(|_| !world.turn(0));
        assert!(idle, "isolated: the shard is busy with sockets that take nothing");
    }
}

/// However many slow readers are catching up, an idle stream gets its heartbeat and an ending one its last chunk.
pub(super) fn an_idle_stream_among_slow_readers(seed: u64) {
    let random = Random::new(seed);
    let mut rules = Rules::calm();
    rules.limits.heartbeat_ms = 1_000;
    let mut world = World::new(rules, random.clone());
    let idle = world.crowd(1, 1, Pace::Fast, u64::MAX)[0];
    let slow = world.crowd(400, 0, Pace::Fast, 1_000);
    world.rest();
    // More than the slow readers' sockets take at once, so that they read from their cursors from now on.
    for _ in 0..300 {
        world.say(0, 200);
    }
    let mut waited = 0;
    for _ in 0..150 {
        for &at in &slow {
            world.read_some(at);
        }
        world.now.mono_ms += 10;
        world.now.wall_ms += 10;
        if world.now.mono_ms.is_multiple_of(50) {
            world.input(0, crate::hub::Input::Tick);
        }
        waited = match world.nodes[0].shard.census().heartbeats {
            0 => 0,
            _ => waited + 1,
        };
        assert!(waited <= 2 * ROUND_SLICES, "isolated: an idle stream's heartbeat waits for {waited} slices");
        world.turn(0);
    }
    assert!(world.connections[idle].wire.comments() > 0, "isolated: an idle stream gets heartbeats");
    assert!(!world.received(&slow, 300), "slow readers that are busy all the time");
}

#[test]
fn ten_readers_do_not_wait_for_a_broadcast() {
    (0..10).for_each(ten_readers_behind_a_broadcast);
}

#[test]
fn a_broadcast_does_not_starve_in_a_flood_of_small_events() {
    (0..10).for_each(a_broadcast_in_a_flood);
}

#[test]
fn stalled_clients_do_not_delay_the_others() {
    (0..10).for_each(stalled_clients_in_a_crowd);
}

#[test]
fn slow_readers_do_not_hold_up_heartbeats() {
    (0..3).for_each(an_idle_stream_among_slow_readers);
}
