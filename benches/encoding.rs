//! What it costs to make the bytes of an event, once for everybody who will receive it.
//!
//!     cargo bench --bench encoding
//!
//! Allocations are counted first; criterion times after that.

use std::hint::black_box;

use cinnabar::hub::{Draft, Log};
use cinnabar::protocol::event_id::IdCipher;
use cinnabar::protocol::event_stream;
use cinnabar::protocol::frame::FrameDraft;
use cinnabar::protocol::topic::{HubUrl, Topic};
use cinnabar::protocol::update::Update;
use criterion::{BatchSize, Criterion, Throughput};

mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const ID: &str = "urn:uuid:2b4de4d4-7b6f-8a1c-9b52-0c6f0e5b7a11";
const DATA_BYTES: [usize; 3] = [200, 4 << 10, 64 << 10];

fn main() {
    counts();
    let mut criterion = Criterion::default().configure_from_args();
    events(&mut criterion);
    ids(&mut criterion);
    criterion.final_summary();
}

/// Data of one line.
fn line(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// Data as indented JSON has it: lines of some 30 bytes.
fn lines(bytes: usize) -> String {
    "  \"name\": \"a value of its own\",\n".repeat(bytes / 32)
}

fn update(data: String) -> Update {
    let hub = HubUrl::parse("https://hub.example/.well-known/mercure").expect("a hub's URL");
    Update {
        topics: vec![Topic::parse("https://app.example/rooms/7/messages", &hub).expect("a topic")],
        data,
        private: false,
        id: None,
        event_type: Some("message".into()),
        retry: None,
    }
}

fn cipher() -> IdCipher {
    IdCipher::new([7; 32])
}

fn counts() {
    println!("\n| what | allocations |\n|---|---|");
    let row = |what: &str, allocations: u64| println!("| {what} | {allocations} |");
    let mut out = Vec::with_capacity(1 << 10);
    let data = line(200);
    let (_, tally) = allocator::counted(|| event_stream::encode(&mut out, Some("message"), None, ID, &data));
    row("event stream bytes of an event, into a buffer there is", tally.allocations);
    let update = update(data);
    let (frame, tally) = allocator::counted(|| FrameDraft::new(&update));
    row("a frame", tally.allocations);
    black_box(frame);
    let (id, tally) = allocator::counted(|| cipher().encode(1, 77));
    row("an id", tally.allocations);
    black_box(id);
    let mut log = Log::new(1, 0, cipher());
    let (event, tally) = allocator::counted(|| log.append(Draft::new(update), 0));
    row("an update to an event of the log, everything above", tally.allocations);
    black_box(event);
    println!();
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for bytes in DATA_BYTES {
        group.throughput(Throughput::Bytes(bytes as u64));
        for (name, data) in [("one line", line(bytes)), ("lines", lines(bytes))] {
            let mut out = Vec::with_capacity(4 * bytes);
            group.bench_function(format!("event stream, {bytes} bytes, {name}"), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    event_stream::encode(&mut out, Some("message"), None, ID, black_box(&data));
                });
            });
            let update = update(data);
            let id = cipher().encode(1, 77);
            group.bench_function(format!("frame, {bytes} bytes, {name}"), |bencher| {
                bencher.iter(|| FrameDraft::new(black_box(&update)).finish(&id));
            });
        }
    }
    group.finish();
    let mut log = Log::new(1, 0, cipher());
    let update = update(line(200));
    criterion.bench_function("append to the log, 200 bytes", |bencher| {
        bencher.iter_batched(|| update.clone(), |update| log.append(Draft::new(update), 0), BatchSize::SmallInput);
    });
}

fn ids(criterion: &mut Criterion) {
    let cipher = cipher();
    let mut offset = 0;
    criterion.bench_function("id, encode", |bencher| {
        bencher.iter(|| {
            offset += 1;
            cipher.encode(1, black_box(offset))
        });
    });
    let id = cipher.encode(1, 77);
    let id = std::str::from_utf8(&id).expect("an id is ASCII");
    assert_eq!(cipher.decode(id), Some((1, 77)));
    criterion.bench_function("id, decode", |bencher| bencher.iter(|| cipher.decode(black_box(id))));
    criterion.bench_function("id, a stranger's", |bencher| bencher.iter(|| cipher.decode(black_box(ID))));
}
