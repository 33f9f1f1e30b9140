//! What a running hub asks of the machine per event and per delivery: system calls, and instructions of its own.
//!
//!     cargo bench --bench counts
//!     cargo bench --bench counts -- calls
//!     cargo bench --bench counts -- instructions
//!
//! Needs strace and valgrind (Debian: `apt-get install strace valgrind`); what isn't there is left out and named. `HUB_BINARY` names
//! another hub than the one built along.
//!
//! The hub, with one shard, runs four times: without and with subscribers, each for a few events and for more. Events are published
//! one at a time: the next when the last has reached everybody. All runs last equally long, so that what more events cost has no
//! start, no stop and no ticking of clocks in it; of that, what is left when nobody listens is the publish, and the rest, shared out
//! among the subscribers, is the delivery.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, thread};

use hub::{Hub, Tool};
use readers::Readers;

mod hub;
mod readers;

/// A kind of thing counted, and how often.
type Counts = BTreeMap<String, u64>;

/// How large the runs are.
struct Size {
    readers: usize,
    events: [usize; 2],
    /// How long a run lasts, from the first connection on; it must be enough for all its events.
    lasts: Duration,
}

/// A system call stops the hub twice while it is traced.
const CALLS: Size = Size { readers: 1_000, events: [5, 30], lasts: Duration::from_secs(5) };
/// Under valgrind the hub runs some fifty times slower.
const INSTRUCTIONS: Size = Size { readers: 500, events: [20, 120], lasts: Duration::from_secs(8) };
/// Calls fewer than this per event are chance: a tick more or less.
const CALLS_SHOWN_MIN: f64 = 1.0;

/// Counts of one more event.
struct Slope {
    /// When nobody listens.
    publish: BTreeMap<String, f64>,
    /// What a subscriber adds.
    delivery: BTreeMap<String, f64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("counts: nothing to test; `cargo bench --bench counts` counts");
        return ExitCode::SUCCESS;
    }
    let chosen = |name: &str| {
        let mut names = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
        names.peek().is_none() || names.any(|argument| argument == name)
    };
    if chosen("calls") && there("strace") {
        println!(
            "\n| system calls, {} subscribers | io | per publish | per delivery |\n|---|---|---|---|",
            CALLS.readers
        );
        for io in ["uring", "epoll"] {
            let slope = slope(Tool::Strace, io, &CALLS);
            calls(io, &slope);
        }
    }
    if chosen("instructions") && there("valgrind") {
        println!("\n| instructions, {} subscribers | io | count |\n|---|---|---|", INSTRUCTIONS.readers);
        let slope = slope(Tool::Callgrind, "epoll", &INSTRUCTIONS);
        println!("| per publish | epoll | {:.0} |", slope.publish["instructions"]);
        println!("| per delivery | epoll | {:.0} |", slope.delivery["instructions"]);
    }
    ExitCode::SUCCESS
}

fn there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("{program} isn't there, and what it counts is left out; install it: apt-get install {program}");
    }
    found
}

/// Every system call an event causes, and all of them together.
fn calls(io: &str, slope: &Slope) {
    // Less than none is a tick that fell into the shorter run.
    let row = |name: &str, per_publish: f64, per_delivery: f64| {
        println!("| {name} | {io} | {:.1} | {:.3} |", per_publish.max(0.0), per_delivery.max(0.0));
    };
    for (name, per_publish) in &slope.publish {
        let per_delivery = slope.delivery[name];
        if name != "all" && per_publish.max(per_delivery * CALLS.readers as f64) >= CALLS_SHOWN_MIN {
            row(name, *per_publish, per_delivery);
        }
    }
    row("**all**", slope.publish["all"], slope.delivery["all"]);
}

fn slope(tool: Tool, io: &str, size: &Size) -> Slope {
    let more = |readers: usize| {
        let [few, many] = size.events.map(|events| run(tool, io, readers, events, size.lasts));
        let events = (size.events[1] - size.events[0]) as f64;
        let names = many.keys().chain(few.keys());
        let count = |counts: &Counts, name| counts.get(name).copied().unwrap_or(0) as f64;
        names.map(|name| (name.clone(), (count(&many, name) - count(&few, name)) / events)).collect::<BTreeMap<_, _>>()
    };
    let (mut publish, listened) = (more(0), more(size.readers));
    for name in listened.keys() {
        publish.entry(name.clone()).or_insert(0.0);
    }
    let delivery = publish
        .iter()
        .map(|(name, per_publish)| {
            let per_event = listened.get(name).copied().unwrap_or(0.0);
            (name.clone(), (per_event - per_publish) / size.readers as f64)
        })
        .collect();
    Slope { publish, delivery }
}

/// One life of a hub.
#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn run(tool: Tool, io: &str, readers: usize, events: usize, lasts: Duration) -> Counts {
    let hub = Hub::start(tool, io);
    let begin = Instant::now();
    let mut publisher = hub.publisher();
    let mut readers = Readers::connect(hub.address(), readers);
    for number in 0..events {
        let mark = format!("event {number:06}");
        publisher.publish(&mark);
        readers.read(&mark);
    }
    match lasts.checked_sub(begin.elapsed()) {
        Some(left) => thread::sleep(left),
        None => println!("a run of {events} events took longer than {lasts:?}: what clocks cause is counted along"),
    }
    hub.stop()
}
