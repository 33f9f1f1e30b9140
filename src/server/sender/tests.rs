//! Both back ends against real sockets: the same story must come out.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{BackEnd, Sender};
use crate::admin::SealedEnd;
use crate::hub::{Draft, Event, Input, Log, Now, Outcome, Registration, Shard, ShardLimits, Sink, SlotId};
use crate::protocol::coding::{Coding, Codings, Form};
use crate::protocol::event_id::IdCipher;
use crate::protocol::known_topics::KnownTopics;
use crate::protocol::matcher::{MatchType, Matcher};
use crate::protocol::topic::HubUrl;
use crate::protocol::update::{Update, UpdateLimits};
use crate::server::sender::Flushed;
use crate::server::sys::{Drained, Epoll, Scratch};
use crate::server::tls::TlsStream;
use crate::server::tls::tests::{SUITES, Stage as TlsStage, every_kind};

const CHUNKED: Form = Form { chunked: true, coding: None };
const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_000_000 };

struct Stage {
    hub: HubUrl,
    log: Log,
    shard: Shard,
    sender: Sender,
    epoll: Epoll,
}

impl Stage {
    fn new(sender: Sender) -> Stage {
        let hub = HubUrl::parse("http://localhost:3000/.well-known/mercure").unwrap();
        let limits = ShardLimits::roomy();
        Stage {
            shard: Shard::new(limits, hub.clone(), 0),
            hub,
            log: Log::new(1, 0, IdCipher::new([7; 32])),
            sender,
            epoll: Epoll::new(64).unwrap(),
        }
    }

    /// A subscriber to `a` and the client's end of its connection.
    fn subscribe(&mut self) -> (SlotId, Sink, TcpStream) {
        self.subscribe_in(CHUNKED)
    }

    /// The same with a form of its own.
    fn subscribe_in(&mut self, form: Form) -> (SlotId, Sink, TcpStream) {
        self.subscribe_with(form, None)
    }

    /// The same, over TLS if there is some.
    fn subscribe_with(&mut self, form: Form, tls: Option<TlsStream>) -> (SlotId, Sink, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        socket2::SockRef::from(&server).set_send_buffer_size(16 * 1024).unwrap();
        let id = self.shard.reserve();
        let sink = self.sender.park(&self.epoll, OwnedFd::from(server), tls, id).unwrap();
        let registration = Registration {
            sink,
            head: b"HEAD\r\n\r\n".as_slice().into(),
            chunked: form.chunked,
            coding: form.coding,
            matchers: vec![Matcher::parse(MatchType::Exact, "a", &self.hub).unwrap()],
            ..Registration::sample()
        };
        self.shard.handle(Input::Register(id, Box::new(registration)), NOW);
        (id, sink, client)
    }

    fn publish(&mut self, bytes: usize) -> Arc<Event> {
        let body = format!("topic=a&data={}", "x".repeat(bytes));
        let update =
            Update::from_form(body.as_bytes(), &mut KnownTopics::new(self.hub.clone()), &UpdateLimits::default())
                .unwrap();
        let mut draft = Draft::new(update);
        draft.store(Codings::new(&Coding::ALL));
        let event = self.log.append(draft, NOW.wall_ms);
        self.shard.handle(Input::Events(Arc::from([event.clone()])), NOW);
        event
    }

    /// Carries slices out until none is left; the outcomes seen.
    fn slices(&mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while self.shard.busy() {
            if let Some(mut batch) = self.shard.slice() {
                self.sender.send(&self.shard, &mut batch);
                outcomes.extend(batch.writes.iter().map(|write| write.outcome));
                self.shard.handle(Input::Sent(batch), NOW);
            }
        }
        outcomes
    }
}

fn read_exactly(client: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    client.read_exact(&mut buffer).unwrap();
    buffer
}

fn senders() -> Vec<(&'static str, Sender)> {
    let mut senders = vec![("calls", Sender::calls())];
    // Where the machine denies io_uring there is nothing to test.
    if let Ok(ring) = Sender::ring(64) {
        senders.push(("ring", ring));
    }
    senders
}

fn frame_bytes(event: &Event, form: Form) -> Vec<u8> {
    event.frame.pieces(form).concat()
}

#[test]
fn head_and_events_arrive_as_one_gapless_stream() {
    for form in Form::ALL {
        for (name, sender) in senders() {
            let mut stage = Stage::new(sender);
            let (_, _, mut client) = stage.subscribe_in(form);
            stage.slices();
            let frames: Vec<u8> = (0..5).flat_map(|_| frame_bytes(&stage.publish(100), form)).collect();
            let outcomes = stage.slices();
            let whole = Outcome::Sent(frames.len() as u32);
            assert_eq!(outcomes, [whole], "{name} {form:?}: five events leave in one send");
            let want = [b"HEAD\r\n\r\n".as_slice(), &frames].concat();
            assert_eq!(read_exactly(&mut client, want.len()), want, "{name} {form:?}");
        }
    }
}

#[test]
fn a_full_socket_gives_a_short_send_and_the_rest_follows_unbroken() {
    for form in Form::ALL {
        for (name, sender) in senders() {
            let mut stage = Stage::new(sender);
            let (id, _, mut client) = stage.subscribe_in(form);
            let mut want = b"HEAD\r\n\r\n".to_vec();
            for bytes in [40_000, 300, 70_000].into_iter().cycle().take(90) {
                want.extend_from_slice(&frame_bytes(&stage.publish(bytes), form));
            }
            let outcomes = stage.slices();
            let last = outcomes.last().copied().unwrap();
            let Outcome::Sent(_) = last else { panic!("{name}: the socket is full, not gone: {last:?}") };
            let mut got = Vec::new();
            let mut buffer = vec![0; 256 * 1024];
            // The last bytes read may not be acknowledged yet when the socket is tried again: then nothing comes for a while.
            client.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
            while got.len() < want.len() {
                if let Ok(read) = client.read(&mut buffer) {
                    assert!(read > 0, "{name}: the stream goes on");
                    got.extend_from_slice(&buffer[..read]);
                }
                stage.shard.handle(Input::Writable(id), NOW);
                stage.slices();
            }
            assert!(got == want, "{name} {form:?}: every byte once, in order");
        }
    }
}

#[test]
fn a_broken_connection_is_gone_and_its_place_is_used_again() {
    for (name, sender) in senders() {
        let mut stage = Stage::new(sender);
        let (_, first, client) = stage.subscribe();
        stage.slices();
        socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        // The reset is processed before the call that closed returns: loopback.
        stage.publish(10);
        assert_eq!(stage.slices(), [Outcome::Gone], "{name}");
        while let Some(output) = stage.shard.output() {
            if let crate::hub::Output::Close { sink, .. } = output {
                stage.sender.close(sink, 0);
            }
        }
        let (_, second, _client) = stage.subscribe();
        if name == "ring" {
            assert_eq!(first, second, "{name}: the slot of the file table is free again");
        }
    }
}

#[test]
fn what_a_client_says_is_thrown_away_and_its_end_is_seen() {
    use std::io::Write;
    for (name, sender) in senders() {
        let mut stage = Stage::new(sender);
        let (_, sink, mut client) = stage.subscribe();
        let mut scratch = Scratch::new();
        assert_eq!(stage.sender.drain(sink, &mut scratch), Drained::Bytes(0), "{name}: nothing said");
        client.write_all(&[1; 1000]).unwrap();
        assert_eq!(stage.sender.drain(sink, &mut scratch), Drained::Bytes(1000), "{name}");
        drop(client);
        assert_eq!(stage.sender.drain(sink, &mut scratch), Drained::End, "{name}");
    }
}

#[test]
fn many_streams_are_shut_down_at_once_and_only_those() {
    for (name, sender) in senders() {
        let mut stage = Stage::new(sender);
        let mut clients: Vec<_> = (0..20).map(|_| stage.subscribe()).collect();
        stage.slices();
        let ended: Vec<Sink> = clients[..15].iter().map(|&(_, sink, _)| sink).collect();
        stage.sender.shutdown(&ended);
        stage.sender.shutdown(&[]);
        for (at, (_, _, client)) in clients.iter_mut().enumerate() {
            read_exactly(client, 8);
            client.set_nonblocking(true).unwrap();
            let end = client.read(&mut [0; 8]).is_ok_and(|read| read == 0);
            assert_eq!(end, at < 15, "{name}: stream {at}");
        }
    }
}

#[test]
fn one_empty_file_table_is_kept_so_that_coming_and_going_builds_no_rings() {
    let Ok(sender) = Sender::ring(2) else { return };
    let mut stage = Stage::new(sender);
    let tables = |stage: &Stage| match &stage.sender.back_end {
        BackEnd::Ring(ring) => ring.tables(),
        BackEnd::Calls(_) => unreachable!("made a line above"),
    };
    let streams: Vec<_> = (0..7).map(|_| stage.subscribe()).collect();
    assert_eq!(tables(&stage), 4);
    for (closed, kept) in [(6, 4), (5, 4), (4, 3), (3, 3), (2, 2), (1, 2), (0, 1)] {
        stage.sender.close(streams[closed].1, 0);
        assert_eq!(tables(&stage), kept, "after the close of {closed}");
    }
}

#[test]
fn a_ring_takes_another_table_when_one_is_full() {
    let Ok(sender) = Sender::ring(4) else { return };
    let mut stage = Stage::new(sender);
    let mut clients: Vec<_> = (0..11).map(|_| stage.subscribe()).collect();
    stage.slices();
    let frame = stage.publish(50).frame.chunked().to_vec();
    stage.slices();
    for (_, sink, client) in &mut clients {
        let got = read_exactly(client, 8 + frame.len());
        assert_eq!(&got[8..], &frame[..]);
        stage.sender.close(*sink, 0);
    }
}

#[test]
fn plain_and_sealed_streams_of_one_batch_each_get_theirs() {
    let tls = TlsStage::new("sender-mixed");
    for (name, sender) in senders() {
        let mut stage = Stage::new(sender);
        let mut plain: Vec<_> = (0..3).map(|_| stage.subscribe()).collect();
        let mut sealed = Vec::new();
        for (suite, client, stream) in every_kind(&tls) {
            let (_, sink, socket) = stage.subscribe_with(CHUNKED, Some(stream));
            assert!(matches!(sink, Sink::Sealed(_)));
            sealed.push((suite, client, socket));
        }
        stage.slices();
        let frames: Vec<u8> = (0..5).flat_map(|_| frame_bytes(&stage.publish(100), CHUNKED)).collect();
        let whole = Outcome::Sent(frames.len() as u32);
        assert_eq!(stage.slices(), [whole; 7], "{name}: plaintext is what counts");
        let want = [b"HEAD\r\n\r\n".as_slice(), &frames].concat();
        for (_, _, client) in &mut plain {
            assert_eq!(read_exactly(client, want.len()), want, "{name}");
        }
        for (suite, client, socket) in &mut sealed {
            let mut got = Vec::new();
            while got.len() < want.len() {
                let mut buffer = [0; 4096];
                let read = socket.read(&mut buffer).unwrap();
                got.extend(client.takes(&buffer[..read]));
            }
            assert_eq!(got, want, "{name} {suite}");
        }
    }
}

#[test]
fn a_full_socket_has_a_record_kept_for_it_and_is_asked_for_nothing_more_until_that_is_out() {
    let tls = TlsStage::new("sender-full");
    for (name, sender) in senders() {
        let mut stage = Stage::new(sender);
        let mut readers = Vec::new();
        for (suite, client, stream) in every_kind(&tls) {
            let (id, sink, socket) = stage.subscribe_with(CHUNKED, Some(stream));
            // The last bytes read may not be acknowledged yet when the socket is tried again: then nothing comes for a while.
            socket.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
            readers.push((suite, client, socket, id, sink, Vec::new()));
        }
        let mut want = b"HEAD\r\n\r\n".to_vec();
        for bytes in [40_000, 300, 70_000].into_iter().cycle().take(60) {
            want.extend_from_slice(&frame_bytes(&stage.publish(bytes), CHUNKED));
        }
        stage.slices();
        let mut refused = 0;
        for (suite, client, socket, id, sink, got) in &mut readers {
            let mut buffer = vec![0; 64 * 1024];
            while got.len() < want.len() {
                // The shard may ask before the socket has room: nothing is sealed then.
                stage.shard.handle(Input::Writable(*id), NOW);
                refused += stage.slices().iter().filter(|&&outcome| outcome == Outcome::Sent(0)).count();
                if let Ok(read) = socket.read(&mut buffer) {
                    assert!(read > 0, "{name} {suite}: the stream goes on");
                    got.extend(client.takes(&buffer[..read]));
                }
                if stage.sender.flush(*sink) == Flushed::All {
                    stage.shard.handle(Input::Writable(*id), NOW);
                    stage.slices();
                }
            }
            assert!(*got == want, "{name} {suite}: every byte once, in order");
        }
        assert!(refused > 0, "{name}");
    }
}

#[test]
fn the_end_of_a_sealed_stream_is_told_behind_all_that_was_sealed() {
    let tls = TlsStage::new("sender-end");
    for (name, sender) in senders() {
        for full in [false, true] {
            let mut stage = Stage::new(sender_like(&sender));
            for (suite, mut client, stream) in every_kind(&tls) {
                let (_, sink, mut socket) = stage.subscribe_with(CHUNKED, Some(stream));
                if full {
                    stage.publish(3_000_000);
                }
                stage.slices();
                stage.sender.shutdown(&[sink]);
                socket.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
                let (mut buffer, mut ended) = (vec![0; 64 * 1024], false);
                while !ended {
                    match socket.read(&mut buffer) {
                        Ok(0) => ended = true,
                        Ok(read) => _ = client.takes(&buffer[..read]),
                        Err(_) => {}
                    }
                    stage.sender.flush(sink);
                }
                assert!(client.has_end(), "{name} {suite}, full {full}");
            }
        }
    }
}

#[test]
fn a_stream_whose_key_is_used_up_is_told_so_and_gone() {
    let tls = TlsStage::new("sender-limit");
    for (name, sender) in senders() {
        let mut stage = Stage::new(sender);
        for (number, &suite) in SUITES.iter().enumerate() {
            let (_, mut stream) = tls.parked(suite);
            stream.skip_to_last();
            let (_, _, mut socket) = stage.subscribe_with(CHUNKED, Some(stream));
            assert_eq!(stage.slices(), [Outcome::Sent(8)], "{name}: the head");
            stage.publish(10);
            assert_eq!(stage.slices(), [Outcome::Gone], "{name}");
            assert_eq!(stage.sender.sealed_ends()[SealedEnd::RecordLimit as usize], number as u64 + 1);
            while let Some(output) = stage.shard.output() {
                if let crate::hub::Output::Close { sink, .. } = output {
                    stage.sender.close(sink, 0);
                }
            }
            let mut all = Vec::new();
            socket.read_to_end(&mut all).unwrap();
            // The client has seen none of the records that were left out, and can't open these.
            assert_eq!(
                all.len(),
                [8, 2].map(|bytes| bytes + 22).iter().sum::<usize>(),
                "{name}: the head, and the end"
            );
        }
    }
}

#[test]
fn what_a_client_says_on_a_sealed_stream_is_opened_and_its_end_is_seen() {
    use std::io::Write;
    let tls = TlsStage::new("sender-talk");
    for (name, sender) in senders() {
        let mut stage = Stage::new(sender);
        for (suite, mut client, stream) in every_kind(&tls) {
            let (_, sink, mut socket) = stage.subscribe_with(CHUNKED, Some(stream));
            let mut scratch = Scratch::new();
            let said = client.says(b"hello");
            socket.write_all(&said).unwrap();
            assert_eq!(stage.sender.drain(sink, &mut scratch), Drained::Bytes(said.len() as u32), "{name} {suite}");
            socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            assert_eq!(stage.sender.drain(sink, &mut scratch), Drained::End, "{name} {suite}");
            stage.sender.close(sink, 0);
        }
    }
}

/// Another one of its kind.
fn sender_like(sender: &Sender) -> Sender {
    match sender.back_end {
        BackEnd::Ring(_) => Sender::ring(64).unwrap(),
        BackEnd::Calls(_) => Sender::calls(),
    }
}
