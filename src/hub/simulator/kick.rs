//! Streams ended by an administrator: those there are, those that come while they are looked for, and nobody else's.

use std::sync::Arc;

use super::client::{Client, Pace, Phase};
use super::oracle::Interest;
use super::random::Random;
use super::rules::Rules;
use super::trace::note;
use super::universe::Universe;
use super::world::World;
use crate::hub::{Denials, Denied, Input, Revocation, Start, Survey};

impl World {
    /// Ends the streams of a client, wherever it is.
    pub(super) fn kick(&mut self, client: usize) {
        note(|| format!("{:>6} client {client} is kicked", self.now.mono_ms));
        self.kicked.insert(client);
        let revocation = Arc::new(Revocation::Kicked(subject(client)));
        for shard in 0..self.nodes.len() {
            self.input(shard, Input::Revoke(revocation.clone()));
        }
    }

    fn enters(&mut self, topic: usize) -> usize {
        self.clients.push(Client {
            interest: Interest { matchers: vec![topic + 1], grants: Some(vec![topic + 1]) },
            chunked: true,
            coding: None,
            pace: Pace::Fast,
            buffer_bytes: u64::MAX,
            cursor: None,
            phase: Phase::Admitted(Start::Live),
        });
        self.clients.len() - 1
    }

    fn joins(&mut self, client: usize) -> usize {
        let access = self.mint(client, self.now.wall_ms + 3_600_000);
        self.clients[client].phase = Phase::Admitted(Start::Live);
        self.register(client, 0, access)
    }

    fn crowd_of(&mut self, count: usize, topic: usize) -> Vec<usize> {
        (0..count)
            .map(|_| {
                let client = self.enters(topic);
                self.joins(client)
            })
            .collect()
    }

    fn closed(&self) -> u64 {
        self.nodes[0].revoked.iter().map(|(_, closed)| closed).sum()
    }
}

fn subject(client: usize) -> Denied {
    Denied::Subject(format!("client {client}").into())
}

fn world() -> World {
    World::new(Rules::calm(), Random::new(0))
}

#[test]
fn a_kick_ends_all_streams_of_a_subject_and_nobody_elses() {
    let mut world = world();
    let others = world.crowd_of(3_000, 0);
    let eve = world.clients.len();
    world.enters(0);
    let theirs: Vec<usize> = (0..5).map(|_| world.joins(eve)).collect();
    world.rest();
    world.kick(eve);
    world.turn(0);
    assert!(theirs.iter().any(|&at| world.connections[at].open()), "a sweep takes several turns");
    world.rest();
    assert!(theirs.iter().all(|&at| !world.connections[at].open()));
    assert!(others.iter().all(|&at| world.connections[at].open()));
    assert_eq!(world.closed(), 5);
}

#[test]
fn a_stream_registered_while_a_kick_is_under_way_is_caught_too() {
    let mut world = world();
    world.crowd_of(6_000, 0);
    let eve = world.clients.len();
    world.enters(0);
    world.rest();
    world.kick(eve);
    world.turn(0);
    assert!(world.nodes[0].revoked.is_empty(), "it isn't over");
    // Into a slot the sweep has passed.
    world.leave(0);
    world.turn(0);
    let caught = world.joins(eve);
    assert!(world.connections[caught].slot.slot < 3_000);
    world.rest();
    assert!(!world.connections[caught].open());
    assert_eq!(world.closed(), 1);
    let later = world.joins(eve);
    world.rest();
    assert!(world.connections[later].open(), "who isn't denied may come back");
}

#[test]
fn who_was_denied_between_its_judgement_and_its_registration_is_not_let_in() {
    let mut world = world();
    let (eve, ann) = (world.enters(0), world.enters(0));
    let mut denials = Denials::default();
    denials.deny(&subject(eve), world.now.wall_ms + 1_000).unwrap();
    world.kicked.insert(eve);
    world.input(0, Input::Deny(Arc::new(denials)));
    let (theirs, other) = (world.joins(eve), world.joins(ann));
    world.rest();
    assert_eq!([theirs, other].map(|at| world.connections[at].open()), [false, true]);
    world.pass(1_000);
    let later = world.joins(eve);
    world.rest();
    assert!(world.connections[later].open(), "the denial is over");
}

#[test]
fn a_kick_by_topic_ends_the_streams_that_follow_it() {
    let mut world = world();
    let (those, others) = (world.crowd_of(20, 0), world.crowd_of(20, 1));
    world.rest();
    let topic = Universe::get().topics[0].as_str();
    world.kicked.extend(0..20);
    world.input(0, Input::Revoke(Arc::new(Revocation::Kicked(Denied::Topic(topic.into())))));
    world.rest();
    assert!(those.iter().all(|&at| !world.connections[at].open()));
    assert!(others.iter().all(|&at| world.connections[at].open()));
    assert_eq!(world.closed(), 20);
}

#[test]
fn a_survey_finds_the_slowest_readers_and_the_largest_audiences() {
    let mut world = world();
    world.crowd_of(50, 0);
    let few = world.crowd_of(7, 1);
    world.rest();
    for (at, room) in few.iter().zip([0, 40, 10_000]) {
        let connection = &mut world.connections[*at];
        connection.buffer_bytes = connection.written - connection.read + room;
        let client = connection.client;
        world.clients[client].pace = Pace::Stopped;
    }
    for _ in 0..30 {
        world.publish_on(vec![1], 100);
        world.commit(1);
        world.turn(0);
    }
    let ask = |world: &mut World, survey: Survey| {
        world.input(0, Input::Survey(Arc::new(survey)));
        for _ in 0..20 {
            world.turn(0);
        }
        world.nodes[0].findings.pop().expect("an answer")
    };
    let slow = ask(&mut world, Survey::Slow(2));
    assert_eq!((slow.matched, slow.streams.len()), (2, 2));
    assert!(slow.streams[0].bytes_behind >= slow.streams[1].bytes_behind && slow.streams[1].bytes_behind > 0);
    assert!(slow.streams.iter().all(|stream| stream.blocked && stream.behind && stream.events_behind <= 30));
    let audiences = ask(&mut world, Survey::Audiences(1));
    assert_eq!((audiences.matched, audiences.audiences.len(), audiences.audiences[0].1), (2, 1, 50));
    let of_one = ask(&mut world, Survey::Streams(Some(subject(50)), 10));
    assert_eq!((of_one.matched, of_one.streams.len()), (1, 1));
    let all = ask(&mut world, Survey::Streams(None, 10));
    assert_eq!((all.matched, all.streams.len()), (57, 10));
}
