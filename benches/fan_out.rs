//! What fan-out costs besides the sends: a shard's state machine alone, from an event to the outcomes of its writes.
//!
//!     cargo bench --bench fan_out
//!
//! Allocations and bytes are counted first, and a delivery that allocates more than it may ends the run. The nanoseconds beside them
//! are medians; criterion times the same once more, thoroughly.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput};
use crowd::{Crowd, Kind};

mod allocator;
mod crowd;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const SUBSCRIBERS: usize = 10_000;
/// Subscribers whose bytes are counted: many, since tables double.
const WEIGHED: usize = 100_000;
/// Rounds timed for the table.
const TIMED_ROUNDS: usize = 51;
/// Events published at a time where several wait for one subscriber.
const BACKLOG: usize = 16;

/// Topics with something pending at once: few, and many.
const TOPICS_AT_ONCE: [usize; 2] = [64, 1_000];

/// How a crowd is published to, and for how many deliveries.
struct Story {
    name: &'static str,
    kind: Kind,
    private: bool,
    /// Published at once, each for the topic of another subscriber.
    events: usize,
    deliveries: usize,
}

fn stories() -> [Story; 5] {
    let story = |name, kind, private, events, deliveries| Story { name, kind, private, events, deliveries };
    let [few, many] = TOPICS_AT_ONCE;
    [
        story("one event for everybody", Kind::Shared, false, 1, SUBSCRIBERS),
        story("16 events for everybody, one send each", Kind::Shared, false, BACKLOG, SUBSCRIBERS * BACKLOG),
        story("an event for each of 64 topics", Kind::OwnTopic, false, few, few),
        story("a private event for each of 64 tokens", Kind::OwnToken, true, few, few),
        story("an event for each of 1,000 topics", Kind::OwnTopic, false, many, many),
    ]
}

fn main() {
    weigh();
    println!(
        "\n| {SUBSCRIBERS} subscribers of one shard | deliveries | allocations of all | ns each |\n|---|---|---|---|"
    );
    for story in stories() {
        count(&story);
    }
    println!();
    let mut criterion = Criterion::default().configure_from_args();
    timed(&mut criterion);
    criterion.final_summary();
}

#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn count(story: &Story) {
    let (mut crowd, topics) = (gathered(story), topics(story));
    let mut round = || {
        crowd.publish(&topics, story.private);
        let begin = Instant::now();
        let (deliveries, tally) = allocator::counted(|| crowd.deliver());
        assert_eq!(deliveries, story.deliveries as u64, "{}", story.name);
        (begin.elapsed().as_nanos() as f64, tally.allocations)
    };
    for _ in 0..crowd::WARMING_ROUNDS {
        round();
    }
    let (_, allocations) = round();
    let mut times: Vec<f64> = (0..TIMED_ROUNDS).map(|_| round().0).collect();
    times.sort_by(f64::total_cmp);
    let each_ns = times[TIMED_ROUNDS / 2] / story.deliveries as f64;
    println!("| {} | {} | {allocations} | {each_ns:.0} |", story.name, story.deliveries);
    assert_eq!(allocations, 0, "{}: delivering allocates", story.name);
}

fn gathered(story: &Story) -> Crowd {
    let mut crowd = Crowd::new();
    crowd.join(story.kind, SUBSCRIBERS);
    crowd
}

fn topics(story: &Story) -> Vec<String> {
    (0..story.events).map(|number| crowd::topic(story.kind, number)).collect()
}

/// Bytes a subscriber asks of the allocator, its socket and its client's address aside: those are the server's.
fn weigh() {
    println!("\n| {WEIGHED} subscribers of one shard | bytes each | allocations each |\n|---|---|---|");
    for (name, kind) in [
        ("a shared topic", Kind::Shared),
        ("a topic of one's own", Kind::OwnTopic),
        ("a topic and a token of one's own", Kind::OwnToken),
    ] {
        let mut crowd = Crowd::new();
        let ((), tally) = allocator::counted(|| crowd.join(kind, WEIGHED));
        let each = |count: f64| count / WEIGHED as f64;
        println!("| {name} | {:.0} | {:.1} |", each(tally.bytes as f64), each(tally.allocations as f64));
        black_box(&crowd);
    }
}

fn timed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deliver");
    for story in stories() {
        group.throughput(Throughput::Elements(story.deliveries as u64));
        let (crowd, topics) = (RefCell::new(gathered(&story)), topics(&story));
        group.bench_function(story.name, |bencher| {
            bencher.iter_batched_ref(
                || crowd.borrow_mut().publish(&topics, story.private),
                |()| crowd.borrow_mut().deliver(),
                BatchSize::PerIteration,
            );
        });
    }
}
