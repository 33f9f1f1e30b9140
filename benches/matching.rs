//! What it costs to find out who wants an event: 10,000 URL patterns and 100,000 exact selectors on one shard.
//!
//!     cargo bench --bench matching
//!
//! Memory and allocations are counted first. Criterion times; what it measured is then held against the goals in one table.

use std::collections::VecDeque;
use std::fs;
use std::hint::black_box;

use cinnabar::hub::bench::Audiences;
use cinnabar::protocol::matcher::{MatchType, Matcher};
use cinnabar::protocol::topic::HubUrl;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion};

mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const PATTERNS: usize = 10_000;
const EXACT: usize = 100_000;
/// Patterns whose memory is measured: enough that a page more or less is nothing.
const WEIGHED_PATTERNS: usize = 100_000;
const PATTERN_BYTES_GOAL: usize = 1_000;
const CACHED_NS_GOAL: f64 = 5_000.0;
const NEW_NS_GOAL: f64 = 200_000.0;
/// Patterns that are there at a time of those that come and go with each publish.
const PASSING_PATTERNS: usize = 1_000;

fn main() {
    let bytes = pattern_bytes();
    count();
    let mut criterion = Criterion::default().configure_from_args();
    resolving(&mut criterion);
    growing(&mut criterion);
    changing(&mut criterion);
    crowding(&mut criterion);
    criterion.final_summary();
    table(bytes);
}

fn hub() -> HubUrl {
    HubUrl::parse("https://hub.example/.well-known/mercure").expect("a hub's URL")
}

fn pattern(text: &str) -> Matcher {
    Matcher::parse(MatchType::UrlPattern, text, &hub()).expect("a pattern")
}

fn exact(text: &str) -> Matcher {
    Matcher::parse(MatchType::Exact, text, &hub()).expect("a selector")
}

/// Patterns as applications have them: of one tenant each, of one user or room of an application each, relative ones,
/// and some that are no web addresses. Each ten thousand hold four that match every topic of [`topic`].
fn plain_pattern(n: usize) -> String {
    match (n, n % 5) {
        (0, _) => "https://app.example/rooms/:room/messages/:message".to_owned(),
        (1, _) => "https://app.example/rooms/*".to_owned(),
        (2, _) => "https://app.example/:kind/:id/messages/:message".to_owned(),
        (3, _) => "https://*.example/rooms/:room/*".to_owned(),
        (_, 0) => format!("https://tenant-{n}.example/orders/:id"),
        (_, 1) => format!("https://app.example/users/{n}/:what"),
        (_, 2) => format!("https://app.example/projects/{n}/boards/:board/cards/:card"),
        (_, 3) => format!("/feeds/{n}/*"),
        _ => format!("urn\\:sensor\\:{n}\\:*"),
    }
}

fn topic(n: usize) -> String {
    format!("https://app.example/rooms/{n}/messages/{}", n * 7)
}

/// A shard with so many patterns and exact selectors. Of the latter one is the topic with number 0.
fn shard(patterns: usize, exact_selectors: usize) -> Audiences {
    let mut audiences = Audiences::new(hub());
    for n in 0..patterns {
        let matcher = pattern(&plain_pattern(n));
        assert!(audiences.has_room(&matcher), "{matcher:?}");
        audiences.join(&matcher);
    }
    audiences.join(&exact(&topic(0)));
    for n in 1..exact_selectors {
        audiences.join(&exact(&format!("https://app.example/rooms/{n}/exactly")));
    }
    audiences
}

/// Topics whose finding is counted.
const COUNTED_TOPICS: usize = 1_000;

/// Allocations of finding out who wants an event. A topic that is new is kept for the next time, with who wanted it.
fn count() {
    let mut audiences = shard(PATTERNS, EXACT);
    let event = audiences.event(&topic(0));
    assert_eq!(audiences.resolve(&event), 5);
    let new: Vec<_> = (1..=COUNTED_TOPICS).map(|n| audiences.event(&topic(EXACT + n))).collect();
    let (_, cached) = allocator::counted(|| audiences.resolve(&event));
    let ((), fresh) = allocator::counted(|| new.iter().for_each(|event| assert_eq!(audiences.resolve(event), 4)));
    println!("\n| {PATTERNS} patterns, {EXACT} exact selectors | allocations |\n|---|---|");
    println!("| cached topic | {} |", cached.allocations);
    println!("| new topic | {:.1} |\n", fresh.allocations as f64 / COUNTED_TOPICS as f64);
}

/// Resolves events of one cached topic.
fn cached(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, audiences: &mut Audiences, matches: usize) {
    let event = audiences.event(&topic(0));
    assert_eq!(audiences.resolve(&event), matches);
    group.bench_function(name, |bencher| bencher.iter(|| audiences.resolve(black_box(&event))));
}

/// Resolves events whose topics have never been there before.
fn fresh(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, audiences: &mut Audiences, matches: usize) {
    let mut number = 1_000_000;
    let audiences = std::cell::RefCell::new(audiences);
    group.bench_function(name, |bencher| {
        bencher.iter_batched_ref(
            || {
                number += 1;
                audiences.borrow_mut().event(&topic(number))
            },
            |event| assert_eq!(audiences.borrow_mut().resolve(event), matches),
            BatchSize::SmallInput,
        );
    });
}

fn resolving(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resolve");
    let mut audiences = shard(PATTERNS, EXACT);
    cached(&mut group, "cached", &mut audiences, 5);
    fresh(&mut group, "new", &mut audiences, 4);
}

/// The same matches among ten and a hundred times fewer selectors.
fn growing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fewer");
    for fewer in [10, 100] {
        let mut audiences = shard(PATTERNS / fewer, EXACT / fewer);
        cached(&mut group, &format!("cached-{fewer}"), &mut audiences, 5);
        fresh(&mut group, &format!("new-{fewer}"), &mut audiences, 4);
    }
}

/// Before each publish a pattern is added, and an older one goes.
fn changing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pattern-per-publish");
    let arrivals: Vec<Matcher> = (0..2 * PASSING_PATTERNS).map(|n| pattern(&format!("/arrivals/{n}/:id"))).collect();
    for topics in [1, 5_000] {
        let mut audiences = shard(PATTERNS, EXACT);
        let events: Vec<_> = (1..=topics).map(|n| audiences.event(&topic(n))).collect();
        let mut there: VecDeque<_> =
            arrivals[..PASSING_PATTERNS].iter().map(|matcher| audiences.join(matcher)).collect();
        let mut number = PASSING_PATTERNS;
        let mut change = |audiences: &mut Audiences| {
            audiences.leave(there.pop_front().expect("as many as come go"));
            there.push_back(audiences.join(&arrivals[number % arrivals.len()]));
            number += 1;
            number % topics
        };
        group.bench_function(format!("both-{topics}"), |bencher| {
            bencher.iter(|| {
                let next = change(&mut audiences);
                assert_eq!(audiences.resolve(&events[next]), 4);
            });
        });
        let audiences = std::cell::RefCell::new(&mut audiences);
        group.bench_function(format!("resolve-{topics}"), |bencher| {
            bencher.iter_batched(
                || change(&mut audiences.borrow_mut()),
                |next| assert_eq!(audiences.borrow_mut().resolve(&events[next]), 4),
                BatchSize::PerIteration,
            );
        });
    }
}

/// Patterns that begin alike, told apart by a later segment; then the worst a shard takes: as many as it has room for of those
/// that nothing tells apart.
fn crowding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("alike");
    for (name, text) in
        [("later", "https://app.example/:kind/:id/number-#"), ("crowd", "https://app.example/:kind/#-:id")]
    {
        let mut audiences = shard(0, EXACT);
        let fitting = (0..PATTERNS).map(|n| pattern(&text.replace('#', &n.to_string())));
        let taken = fitting.take_while(|matcher| {
            let room = audiences.has_room(matcher);
            if room {
                audiences.join(matcher);
            }
            room
        });
        println!("{name}: a shard has room for {} of {PATTERNS} patterns {text}", taken.count());
        cached(&mut group, &format!("{name}-cached"), &mut audiences, 1);
        fresh(&mut group, &format!("{name}-new"), &mut audiences, 0);
    }
}

/// What a plain pattern takes of the process's own memory, subscribed to by one subscriber.
fn pattern_bytes() -> usize {
    let mut audiences = Audiences::new(hub());
    for n in 0..PATTERNS {
        audiences.join(&pattern(&plain_pattern(n)));
    }
    let before = private_bytes();
    for n in PATTERNS..PATTERNS + WEIGHED_PATTERNS {
        audiences.join(&pattern(&plain_pattern(n)));
    }
    let bytes = private_bytes().saturating_sub(before) / WEIGHED_PATTERNS;
    black_box(&audiences);
    bytes
}

fn private_bytes() -> usize {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux tells what a process takes");
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).expect("a line for it");
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number of kilobytes")
}

/// The median that criterion has written down, in nanoseconds.
fn median_ns(name: &str) -> Option<f64> {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let home = std::env::var("CRITERION_HOME").unwrap_or_else(|_| format!("{target}/criterion"));
    let text = fs::read_to_string(format!("{home}/{name}/new/estimates.json")).ok()?;
    let estimates: serde_json::Value = serde_json::from_str(&text).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

fn table(pattern_bytes: usize) {
    println!("\n| what | goal | median | met |");
    println!("|---|---|---|---|");
    let met = |met| if met { "yes" } else { "no" };
    let within = pattern_bytes <= PATTERN_BYTES_GOAL;
    println!("| memory per plain pattern | ≤ {PATTERN_BYTES_GOAL} B | {pattern_bytes} B | {} |", met(within));
    for (what, name, goal_ns) in [
        ("cached topic", "resolve/cached", CACHED_NS_GOAL),
        ("new topic", "resolve/new", NEW_NS_GOAL),
        ("cached topic, a tenth of the selectors", "fewer/cached-10", CACHED_NS_GOAL),
        ("new topic, a tenth of the selectors", "fewer/new-10", NEW_NS_GOAL),
        ("cached topic, a hundredth of the selectors", "fewer/cached-100", CACHED_NS_GOAL),
        ("new topic, a hundredth of the selectors", "fewer/new-100", NEW_NS_GOAL),
        ("one topic, a pattern added before each publish", "pattern-per-publish/resolve-1", CACHED_NS_GOAL),
        ("the same with the adding, and the dropping of an older one", "pattern-per-publish/both-1", f64::INFINITY),
        ("5,000 topics in turn, a pattern added before each publish", "pattern-per-publish/resolve-5000", NEW_NS_GOAL),
        ("the same with the adding, and the dropping of an older one", "pattern-per-publish/both-5000", f64::INFINITY),
        ("cached topic, patterns that differ in a later segment", "alike/later-cached", CACHED_NS_GOAL),
        ("new topic, patterns that differ in a later segment", "alike/later-new", NEW_NS_GOAL),
        ("cached topic, as many as a shard takes that nothing tells apart", "alike/crowd-cached", CACHED_NS_GOAL),
        ("new topic, as many as a shard takes that nothing tells apart", "alike/crowd-new", f64::INFINITY),
    ] {
        if let Some(ns) = median_ns(name) {
            let median = ns / 1_000.0;
            match goal_ns.is_finite() {
                true => println!("| {what} | ≤ {} µs | {median:.2} µs | {} |", goal_ns / 1_000.0, met(ns <= goal_ns)),
                false => println!("| {what} | – | {median:.2} µs | – |"),
            }
        }
    }
}
