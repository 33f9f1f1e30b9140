use std::sync::RwLock;

use super::*;
use crate::history::{MemoryHistory, Retention};
use crate::protocol::event_id::IdCipher;
use crate::protocol::topic::Topic;
use crate::protocol::update::Update;

fn draft() -> Draft {
    Draft::new(Update {
        topics: vec![Topic::of_hub("urn:a")],
        data: "x".into(),
        private: false,
        id: None,
        event_type: None,
        retry: None,
    })
}

fn sequencer(shards: usize) -> (SequencerHandle, SequencerThread, Vec<Receiver<Message>>, Arc<History>) {
    let log = Log::new(1, 0, IdCipher::new([7; 32]));
    let retention = Retention { events_max: 1 << 20, bytes_max: 1 << 30, age_max_ms: None };
    let history = Arc::new(History::Memory(RwLock::new(MemoryHistory::new(retention, log.locator()))));
    let (inboxes, messages): (Vec<_>, Vec<_>) =
        (0..shards).map(|_| Inbox::new().unwrap()).map(|(inbox, messages, _)| (inbox, messages)).unzip();
    let (handle, thread, _) = SequencerHandle::new(log, history.clone(), None, bounded(1).0, inboxes, Clock::start());
    (handle, thread, messages, history)
}

/// Offsets of the events, and tickets answered, that lie with a shard.
fn read(messages: &Receiver<Message>) -> (Vec<u64>, Vec<u64>) {
    let (mut offsets, mut tickets) = (Vec::new(), Vec::new());
    for message in messages.try_iter() {
        match message {
            Message::Events(events) => offsets.extend(events.iter().map(|event| event.offset)),
            Message::Published(answers) => tickets.extend(answers.iter().map(|(ticket, _)| ticket.0)),
            _ => unreachable!("nobody sends anything else"),
        }
    }
    (offsets, tickets)
}

#[test]
fn a_shard_commits_on_the_spot_what_is_queued_and_every_shard_gets_it() {
    let (sequencer, _thread, messages, _) = sequencer(2);
    for ticket in 0..3 {
        sequencer.append(draft(), (ticket % 2) as usize, Ticket(ticket)).unwrap();
    }
    sequencer.commit(0);
    assert_eq!(read(&messages[0]), (vec![1, 2, 3], vec![0, 2]));
    assert_eq!(read(&messages[1]), (vec![1, 2, 3], vec![1]));
    assert_eq!(sequencer.queued_bytes(), 0);
}

#[test]
fn where_a_shard_would_have_to_wait_the_thread_commits() {
    let (sequencer, thread, messages, history) = sequencer(1);
    sequencer.append(draft(), 0, Ticket(0)).unwrap();
    let History::Memory(memory) = &*history else { unreachable!("it was made so") };
    let reading = memory.read().unwrap();
    sequencer.commit(0);
    assert_eq!(read(&messages[0]).0, [0; 0]);
    drop(reading);
    sequencer.stop(Duration::from_secs(1));
    thread.run();
    assert_eq!(read(&messages[0]), (vec![1], vec![0]));
}

#[test]
fn what_a_full_shard_has_no_room_for_comes_later_and_in_order() {
    let (sequencer, thread, messages, _) = sequencer(2);
    let count = 5000;
    for ticket in 0..count {
        sequencer.append(draft(), 0, Ticket(ticket)).unwrap_or_else(|_| panic!("{ticket} has no room"));
        sequencer.commit(0);
        if ticket % 64 == 0 {
            // The other shard is stuck; this one isn't.
            let _ = read(&messages[0]);
        }
        if sequencer.desk.orders.len() > 100 {
            break;
        }
    }
    assert!(!sequencer.desk.orders.is_empty(), "nothing is committed past a shard that is stuck");
    let reader = std::thread::spawn(move || {
        let mut offsets = Vec::new();
        while let Ok(message) = messages[1].recv_timeout(Duration::from_secs(2)) {
            if let Message::Events(events) = message {
                offsets.extend(events.iter().map(|event| event.offset));
            }
            let _ = read(&messages[0]);
        }
        offsets
    });
    let thread = std::thread::spawn(|| thread.run());
    sequencer.stop(Duration::from_secs(10));
    thread.join().unwrap();
    let offsets = reader.join().unwrap();
    assert_eq!(offsets, (1..=offsets.len() as u64).collect::<Vec<_>>());
    assert!(sequencer.desk.orders.is_empty() && offsets.len() > 4000);
}

/// Seen: a publisher that waited for its answer got it only when somebody else published.
#[test]
fn what_a_full_shard_has_no_room_for_is_left_to_the_thread_at_once() {
    let (sequencer, thread, messages, _) = sequencer(2);
    let full = messages[1].capacity().expect("bounded") as u64;
    for ticket in 0..=full {
        assert!(thread.called.is_empty(), "{ticket}");
        sequencer.append(draft(), 0, Ticket(ticket)).expect("room");
        sequencer.commit(0);
        let _ = read(&messages[0]);
    }
    assert!(sequencer.desk.orders.is_empty() && !thread.called.is_empty());
}

/// Nobody wakes a shard here but for what is in its messages, so that a wake-up that got lost would leave something in the
/// queue for good.
#[test]
fn nothing_is_left_in_the_queue_whoever_had_the_pen() {
    const EACH: u64 = 20_000;
    let (sequencer, thread, messages, _) = sequencer(4);
    let thread = std::thread::spawn(|| thread.run());
    let counts: Vec<u64> = std::thread::scope(|scope| {
        let publishing = messages.iter().enumerate().map(|(shard, messages)| {
            let sequencer = &sequencer;
            scope.spawn(move || {
                let (mut answered, mut seen) = (0, 0);
                for ticket in 0..EACH {
                    let mut next = Some(draft());
                    while let Some(draft) = next.take() {
                        next = sequencer.append(draft, shard, Ticket(ticket)).err().map(|QueueFull(back)| back);
                        sequencer.commit(shard);
                        if ticket % 64 == 0 {
                            sequencer.trim();
                        }
                    }
                    // Publishers wait for each answer: the queue is empty as often as can be.
                    while answered <= ticket {
                        let (offsets, tickets) = read(messages);
                        for offset in offsets {
                            assert_eq!(offset, seen + 1, "in order, none left out");
                            seen = offset;
                        }
                        answered += tickets.len() as u64;
                        std::thread::yield_now();
                    }
                }
                // The others go on; what they commit must find room here.
                while seen < 4 * EACH {
                    for offset in read(messages).0 {
                        seen = offset;
                    }
                    std::thread::yield_now();
                }
                answered
            })
        });
        publishing.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(counts, [EACH; 4]);
    sequencer.stop(Duration::from_secs(10));
    thread.join().unwrap();
}
