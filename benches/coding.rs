//! What it costs to compress an event once for all streams of a content coding, and how much smaller it gets.
//!
//!     cargo bench --bench coding
//!
//! Bytes and allocations are counted first; criterion times after that. The events are orders in JSON, of the kind in
//! docs/compression.md.

use std::hint::black_box;

use cinnabar::protocol::coding::{Coding, Compressor, Form};
use cinnabar::protocol::event_id::EVENT_ID_BYTES;
use cinnabar::protocol::frame::FrameDraft;
use cinnabar::protocol::update::Update;
use criterion::{BenchmarkId, Criterion};

mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

const EVENTS: u64 = 100;
/// Bytes of data in an event.
const SIZES: [usize; 3] = [256, 1024, 4096];

/// An order with about so many bytes, a different one for each seed.
fn order(bytes: usize, seed: u64) -> FrameDraft {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (id, customer) = (format!("{:016x}{:016x}", next(), next()), next() % 10_000);
    let mut data = format!(
        r#"{{"id":"{id}","status":"shipped","customer":{{"name":"Customer {customer}","email":"c{customer}@example.com"}},"items":["#
    );
    while data.len() < bytes {
        let (sku, article, quantity) = (next() % 100_000, next() % 1_000, next() % 9 + 1);
        let (whole, cents) = (next() % 200, next() % 100);
        data.push_str(&format!(
            r#"{{"sku":"SKU-{sku}","title":"Article number {article}","quantity":{quantity},"price":{whole}.{cents:02}}},"#
        ));
    }
    data.truncate(bytes);
    FrameDraft::new(&Update { topics: Vec::new(), data, private: false, id: None, event_type: None, retry: None })
}

/// Bytes on the wire of an average event.
fn wire_bytes(bytes: usize, coding: Option<Coding>) -> usize {
    let mut compressor = Compressor::default();
    let frames = (1..=EVENTS).map(|seed| {
        let mut draft = order(bytes, seed);
        if let Some(coding) = coding {
            draft.compress(coding, &mut compressor);
        }
        draft.finish(&[b'0'; EVENT_ID_BYTES]).length(Form { chunked: true, coding })
    });
    frames.sum::<usize>() / EVENTS as usize
}

/// Allocations of compressing an event, once the compressor has what it keeps. What zstd takes by the C library's own allocator
/// is not among them.
fn allocations(bytes: usize, coding: Coding) -> f64 {
    let mut compressor = Compressor::default();
    let mut drafts: Vec<FrameDraft> = (0..=EVENTS).map(|seed| order(bytes, seed)).collect();
    let (first, others) = drafts.split_first_mut().expect("one and more");
    first.compress(coding, &mut compressor);
    let ((), tally) =
        allocator::counted(|| others.iter_mut().for_each(|draft| _ = draft.compress(coding, &mut compressor)));
    tally.allocations as f64 / EVENTS as f64
}

fn main() {
    println!("\n| data, bytes | coding | on the wire, bytes | plain | allocations |\n|---|---|---|---|---|");
    for bytes in SIZES {
        let plain = wire_bytes(bytes, None);
        for coding in Coding::ALL {
            let (name, coded) = (coding.name(), wire_bytes(bytes, Some(coding)));
            println!("| {bytes} | {name} | {coded} | {plain} | {:.1} |", allocations(bytes, coding));
        }
    }
    println!();
    let mut criterion = Criterion::default().configure_from_args();
    timed(&mut criterion);
    criterion.final_summary();
}

fn timed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compress");
    for coding in Coding::ALL {
        for bytes in SIZES {
            let mut compressor = Compressor::default();
            let mut drafts: Vec<FrameDraft> = (1..=EVENTS).map(|seed| order(bytes, seed)).collect();
            let mut turn = 0;
            group.bench_function(BenchmarkId::new(coding.name(), bytes), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % drafts.len();
                    black_box(drafts[turn].compress(coding, &mut compressor))
                });
            });
        }
    }
    group.finish();
}
