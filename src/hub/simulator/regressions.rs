//! Worlds that once went wrong, each made as small as it can be.

use std::sync::Arc;

use super::client::{Client, Pace, Phase};
use super::oracle::{Interest, Publish};
use super::random::Random;
use super::rules::Rules;
use super::universe::ANNOUNCED;
use super::world::World;
use crate::hub::{Input, Range, Reader, Start};

impl World {
    fn join(&mut self, topics: &[usize], grants: Option<Vec<usize>>, start: Start, buffer_bytes: u64) -> usize {
        self.clients.push(Client {
            interest: Interest { matchers: topics.iter().map(|topic| topic + 1).collect(), grants },
            chunked: true,
            coding: None,
            pace: Pace::Fast,
            buffer_bytes,
            cursor: None,
            phase: Phase::Admitted(start),
        });
        let client = self.clients.len() - 1;
        let access = self.mint(client, self.now.wall_ms + 3_600_000);
        self.register(client, 0, access)
    }

    fn send_event(&mut self, topic: usize, private: bool) {
        let serial = self.serial();
        let queued = self.publish(Publish {
            serial,
            topics: vec![topic],
            private,
            announcement: false,
            id: None,
            event_type: None,
            data: format!("{serial} {}", "x".repeat(100)),
        });
        assert!(queued);
        self.commit(1);
    }

    fn send_announcement(&mut self) {
        let serial = self.serial();
        let queued = self.publish(Publish {
            serial,
            topics: vec![ANNOUNCED],
            private: true,
            announcement: true,
            id: None,
            event_type: None,
            data: format!("{serial} true"),
        });
        assert!(queued);
        self.commit(1);
    }

    fn takes_everything(&mut self, at: usize) {
        assert!(self.connections[at].open());
        self.settle();
        assert!(self.connections[at].open());
    }
}

fn world(change: impl FnOnce(&mut Rules)) -> World {
    let mut rules = Rules::calm();
    change(&mut rules);
    World::new(rules, Random::new(0))
}

/// Seen: of 100 private events and a public one in a burst, the public one never came. A visit looked at 65 pending
/// events, wrote none, and took that for the end.
#[test]
fn a_public_event_behind_many_private_ones_is_delivered() {
    let mut world = world(|_| {});
    let reader = world.join(&[0], None, Start::Live, u64::MAX);
    world.rest();
    (0..100).for_each(|_| world.send_event(0, true));
    world.send_event(0, false);
    world.rest();
    assert_eq!(world.connections[reader].due.received, 1);
    world.takes_everything(reader);
}

/// Seen: the same with two selectors, one of which had far more pending than the other.
#[test]
fn a_public_event_behind_private_ones_of_another_selector_is_delivered() {
    let mut world = world(|_| {});
    let reader = world.join(&[0, 1], Some(vec![2]), Start::Live, u64::MAX);
    world.rest();
    for n in 0..200 {
        world.send_event(usize::from(n % 3 == 0), n % 70 != 0);
    }
    world.takes_everything(reader);
}

/// Seen: a stream on a quiet topic was closed as trimmed when its first event met a full socket, because it read on from
/// where it had started.
#[test]
fn a_quiet_stream_that_is_refused_an_event_does_not_read_from_its_own_old_offset() {
    let mut world = world(|rules| {
        rules.limits.tail_bytes_max = 2_000;
        rules.retention.events_max = 20;
    });
    let quiet = world.join(&[1], None, Start::Live, 60);
    world.rest();
    (0..100).for_each(|_| {
        world.send_event(0, false);
        world.turn(0);
    });
    world.clients[0].pace = Pace::Stopped;
    world.connections[quiet].buffer_bytes = 0;
    world.send_event(1, false);
    world.turn(0);
    assert!(world.connections[quiet].blocked_ms.is_some());
    world.connections[quiet].buffer_bytes = 60;
    world.takes_everything(quiet);
    assert_eq!(world.connections[quiet].due.received, 1);
}

/// Seen: the same after a refused heartbeat.
#[test]
fn a_quiet_stream_that_is_refused_a_heartbeat_does_not_read_from_its_own_old_offset() {
    let mut world = world(|rules| {
        rules.limits.tail_bytes_max = 2_000;
        rules.limits.heartbeat_ms = 1_000;
        rules.retention.events_max = 20;
    });
    let quiet = world.join(&[1], None, Start::Live, 58);
    world.rest();
    (0..100).for_each(|_| {
        world.send_event(0, false);
        world.turn(0);
    });
    world.connections[quiet].buffer_bytes = 0;
    world.clients[0].pace = Pace::Stopped;
    world.pass(3_000);
    assert!(world.connections[quiet].blocked_ms.is_some());
    world.connections[quiet].buffer_bytes = 1_000;
    world.takes_everything(quiet);
}

/// Seen: an event trimmed from a small tail before a quiet reader's turn sent that reader back to where it had started.
#[test]
fn a_quiet_stream_whose_event_left_the_tail_reads_that_event_from_history() {
    let mut world = world(|rules| {
        rules.limits.tail_bytes_max = 600;
        rules.retention.events_max = 20;
    });
    let quiet = world.join(&[1], None, Start::Live, u64::MAX);
    world.rest();
    (0..100).for_each(|_| {
        world.send_event(0, false);
        world.turn(0);
    });
    world.send_event(1, false);
    (0..10).for_each(|_| world.send_event(0, false));
    world.takes_everything(quiet);
    assert_eq!(world.connections[quiet].due.received, 1);
}

/// Seen: a stream that asked for everything kept was closed when nothing was, because its cursor stayed at 0.
#[test]
fn earliest_of_an_empty_history_waits_for_what_comes() {
    let mut world = world(|rules| {
        rules.limits.tail_bytes_max = 600;
        rules.retention.age_max_ms = Some(1_000);
    });
    (0..10).for_each(|_| world.send_event(0, false));
    world.rest();
    world.pass(3_000);
    let reader = world.join(&[0], None, Start::Earliest, u64::MAX);
    world.rest();
    world.send_event(0, false);
    world.takes_everything(reader);
    assert_eq!(world.connections[reader].due.received, 1);
}

/// Seen: the same with a roomier tail, which then delivered what history had let go.
#[test]
fn earliest_is_what_history_keeps_even_if_the_tail_holds_more() {
    let mut world = world(|rules| rules.retention.age_max_ms = Some(1_000));
    (0..10).for_each(|_| world.send_event(0, false));
    world.rest();
    world.pass(3_000);
    let reader = world.join(&[0], None, Start::Earliest, u64::MAX);
    world.takes_everything(reader);
    assert_eq!(world.connections[reader].due.received, 0);
}

/// Seen: a stream that asked for everything kept, announcements too, was told after its first chunk that announcements before its place are
/// gone. It was closed, came back, began anew, and was told again.
#[test]
fn what_was_gone_when_a_stream_began_does_not_end_it_later() {
    let mut world = world(|rules| {
        rules.limits.tail_bytes_max = 600;
        rules.retention.events_max = 100;
    });
    (0..60).for_each(|_| {
        world.send_event(0, false);
        world.send_announcement();
    });
    let reader = world.join(&[0, ANNOUNCED], Some(vec![ANNOUNCED + 1]), Start::Earliest, u64::MAX);
    world.takes_everything(reader);
    // A fifth of what is kept may be announcements.
    assert_eq!(world.connections[reader].due.received, 60 + 20);
}

/// Seen: events were written for up to 50 ms to a stream registered just before its token's end.
#[test]
fn a_token_that_ends_before_the_next_tick_ends_its_stream_at_once() {
    let mut world = world(|_| {});
    let client = Client {
        interest: Interest { matchers: vec![1], grants: Some(vec![1]) },
        chunked: true,
        coding: None,
        pace: Pace::Fast,
        buffer_bytes: u64::MAX,
        cursor: None,
        phase: Phase::Admitted(Start::Live),
    };
    world.clients.push(client);
    let access = world.mint(0, world.now.wall_ms + 20);
    let at = world.register(0, 0, access);
    world.now.mono_ms += 30;
    world.now.wall_ms += 30;
    world.send_event(0, true);
    world.rest();
    // The response head still goes out: a request is not left without an answer.
    assert_eq!(world.connections[at].due.received, 0);
    assert!(!world.connections[at].open());
}

/// Seen: a socket that took nothing was open for ever when it was reported writable again and again.
#[test]
fn a_refused_write_does_not_start_the_deadline_anew() {
    let mut world = world(|rules| rules.limits.write_timeout_ms = 2_000);
    let stuck = world.join(&[0], None, Start::Live, 60);
    world.rest();
    world.clients[0].pace = Pace::Stopped;
    world.send_event(0, false);
    let slot = world.connections[stuck].slot;
    for _ in 0..40 {
        world.input(0, Input::Writable(slot));
        world.pass(100);
    }
    assert!(!world.connections[stuck].open());
}

/// Seen: the same when each time something had to be read from history.
#[test]
fn a_refused_write_of_what_history_has_does_not_start_the_deadline_anew() {
    for cut in [0, 50] {
        let mut world = world(|rules| {
            rules.limits.write_timeout_ms = 2_000;
            rules.limits.tail_bytes_max = 600;
            rules.copies = true;
        });
        let stuck = world.join(&[0], None, Start::Live, 1_000);
        world.rest();
        world.clients[0].pace = Pace::Stopped;
        let connection = &mut world.connections[stuck];
        connection.buffer_bytes = connection.written - connection.read + cut;
        (0..20).for_each(|_| {
            world.send_event(0, false);
            world.turn(0);
        });
        let slot = world.connections[stuck].slot;
        for _ in 0..60 {
            world.input(0, Input::Writable(slot));
            world.pass(200);
        }
        assert!(!world.connections[stuck].open(), "{cut}");
        assert!(world.nodes[0].shard.counters().history_reads > 5);
    }
}

/// Seen: 300 readers that may not read 65 private events cost a slice 19,500 judgements.
#[test]
fn judging_private_events_is_work_of_a_slice() {
    let mut world = world(|_| {});
    (0..300).for_each(|_| {
        world.join(&[0], Some(vec![2]), Start::Live, u64::MAX);
    });
    world.rest();
    (0..65).for_each(|_| world.send_event(0, true));
    for _ in 0..3 {
        world.turn(0);
        let judged = world.nodes[0].shard.census().judged;
        assert!(judged < 2_300, "isolated: {judged} private events judged in one slice");
    }
    world.settle();
}

/// Seen: 300 stalled clients, each cut in another event of 900 kB, kept 250 MB that neither tail nor history held.
#[test]
fn a_stalled_client_keeps_no_event_alive() {
    let mut world = world(|rules| {
        rules.limits.tail_bytes_max = 600;
        rules.retention.events_max = 3;
    });
    // The response head is 100 bytes or so: the first event is cut.
    let stuck = world.join(&[0], None, Start::Live, 300);
    world.rest();
    world.clients[0].pace = Pace::Stopped;
    world.send_event(0, false);
    world.send_event(0, false);
    let range = Range { after: 0, forgiven: world.history.dropped(), announcements: false, count: 9 };
    let cut_in = Arc::downgrade(&world.history.range(range).unwrap()[1]);
    world.pass(500);
    assert!(world.connections[stuck].blocked_ms.is_some() && cut_in.upgrade().is_some());
    (0..20).for_each(|_| world.send_event(0, false));
    world.pass(500);
    assert!(cut_in.upgrade().is_none());
    // It is told when it reads on.
    world.clients[0].pace = Pace::Fast;
    world.rest();
    assert!(!world.connections[stuck].open());
}

/// Seen: as soon as nobody but a disk had the event it was cut in, a client was closed, although history had everything.
#[test]
fn a_stalled_client_goes_on_inside_an_event_that_is_read_again() {
    for buffer_bytes in [150, 300, 500, 1_000] {
        let mut world = world(|rules| {
            rules.limits.tail_bytes_max = 600;
            rules.copies = true;
        });
        let stuck = world.join(&[0], None, Start::Live, buffer_bytes);
        world.rest();
        world.clients[0].pace = Pace::Stopped;
        (0..10).for_each(|_| world.send_event(0, false));
        world.pass(500);
        assert!(world.connections[stuck].blocked_ms.is_some());
        (0..20).for_each(|_| world.send_event(0, false));
        world.pass(500);
        // Cut again and again, each time in an event that only history has.
        world.clients[0].pace = Pace::Slow;
        world.pass(2_000);
        world.takes_everything(stuck);
        assert_eq!(world.connections[stuck].due.received, 30);
    }
}

/// Seen: a stream that had passed over foreign events for a second, and was current since a moment, was taken for one whose heartbeat
/// had been forgotten.
#[test]
fn a_stream_that_has_caught_up_is_due_its_heartbeat_within_a_sweep() {
    for events in [1_000, 3_600, 3_800] {
        let mut world = world(|rules| {
            rules.limits.heartbeat_ms = 800;
            rules.slice_ns = 2_000;
        });
        (0..events).for_each(|_| world.send_event(0, false));
        world.rest();
        let quiet = world.join(&[1], None, Start::After(0), u64::MAX);
        let mut waited = 0;
        while world.connections[quiet].wire.comments() == 0 {
            world.pass(50);
            waited += 50;
            assert!(waited < 20_000, "{events}");
        }
    }
}

/// Seen: a reader that took nothing for too long read on just when its stream was ended, and the simulator, which looked for the reason
/// once the end had been written, found none.
#[test]
fn a_stream_ended_for_its_full_socket_gets_its_end_when_there_is_room() {
    let mut world = world(|rules| rules.limits.write_timeout_ms = 2_000);
    let stuck = world.join(&[0], None, Start::Live, 1_000);
    world.rest();
    world.clients[0].pace = Pace::Stopped;
    world.connections[stuck].buffer_bytes = 0;
    world.send_event(0, false);
    let ended = (0..100).any(|_| {
        world.pass(50);
        world.connections[stuck].ending
    });
    assert!(ended && world.connections[stuck].open());
    world.clients[0].pace = Pace::Fast;
    world.connections[stuck].buffer_bytes = 1_000;
    world.rest();
    assert!(world.connections[stuck].wire.over() && !world.connections[stuck].open());
}
