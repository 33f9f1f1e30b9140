//! The simulator: whole worlds of shards and clients, made from one number each.
//!
//! A world runs the real state machines – [`Shard`](super::Shard), [`Log`](super::Log), the memory history and its
//! reader – and plays everything around them: a sequencer, queues that are slow, sockets with small buffers, clients
//! that read fast, slowly, by the byte or not at all, that drop and come back with the id they read last, clocks that
//! step, tokens that end, and nodes that crash. An oracle that knows nothing of tails, walks and cursors says what each
//! connection must receive. Every invariant of the design (§1) is checked all the time, and a failure names it, its seed
//! and what happened last.
//!
//! That the checks are worth something is proved by planting a defect for each invariant and watching it being found.
//!
//! `SIMULATOR_SEED=n` runs one seed; `SIMULATOR_SEEDS=n` so many from a start that `SIMULATOR_FROM` gives.

mod client;
mod defects;
mod isolation;
mod kick;
mod oracle;
mod random;
mod regressions;
mod rules;
mod script;
mod trace;
mod turn;
mod universe;
mod wire;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use random::Random;
use rules::Rules;
use world::World;

/// Seeds of the normal test run, in [`GROUPS`] tests that run side by side.
const SEEDS: u64 = 2_000;
const GROUPS: u64 = 4;

/// Plays one world from beginning to end. What it did, in a few numbers.
fn play(seed: u64) -> [u64; 4] {
    let mut random = Random::new(seed);
    let rules = Rules::draw(&mut random);
    let mut world = World::new(rules, random);
    world.live();
    world.settle();
    world.part();
    let received = world.connections.iter().map(|connection| connection.due.received).sum();
    let bytes = world.connections.iter().map(|connection| connection.written).sum();
    [world.connections.len() as u64, world.ledger.head(), received, bytes]
}

/// Plays a world; if it fails, which invariant it says was broken.
fn attempt<T>(play: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(play)).map_err(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "a panic without words".to_owned())
    })
}

/// Plays worlds until one fails, which is then played again with its last events written down.
fn play_all(seeds: impl Iterator<Item = u64>) -> [u64; 4] {
    let mut total = [0; 4];
    for seed in seeds {
        match attempt(|| play(seed)) {
            Ok(did) => total.iter_mut().zip(did).for_each(|(total, did)| *total += did),
            Err(broken) => {
                trace::start();
                let again = attempt(|| play(seed)).err().unwrap_or_default();
                let last = trace::finish();
                let again = if again == broken { "" } else { "\nand the second time: " }.to_owned()
                    + if again == broken { "" } else { &again };
                panic!(
                    "seed {seed}: {broken}{again}\nthe last events were:\n{last}\nrun it with SIMULATOR_SEED={seed}"
                );
            }
        }
    }
    total
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds of one of the tests that share them.
fn group(group: u64) {
    if let Some(seed) = number("SIMULATOR_SEED") {
        if group == 0 {
            println!("{:?}", play_all(std::iter::once(seed)));
        }
        return;
    }
    let from = number("SIMULATOR_FROM").unwrap_or(0);
    let seeds = number("SIMULATOR_SEEDS").unwrap_or(SEEDS);
    let [connections, events, deliveries, bytes] = play_all((from..from + seeds).filter(|seed| seed % GROUPS == group));
    println!("{connections} connections, {events} events in the last epochs, {deliveries} deliveries, {bytes} bytes");
    assert!(deliveries > seeds, "worlds in which something happens");
}

#[test]
fn every_invariant_holds_in_the_first_quarter_of_the_seeds() {
    group(0);
}

#[test]
fn every_invariant_holds_in_the_second_quarter_of_the_seeds() {
    group(1);
}

#[test]
fn every_invariant_holds_in_the_third_quarter_of_the_seeds() {
    group(2);
}

#[test]
fn every_invariant_holds_in_the_fourth_quarter_of_the_seeds() {
    group(3);
}

#[test]
fn a_seed_is_the_same_world_every_time() {
    for seed in [1, 17, 400] {
        assert_eq!(attempt(|| play(seed)), attempt(|| play(seed)));
    }
}
