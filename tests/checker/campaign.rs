//! Runs one after the other, and what came of them.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::engines::Backend;
use crate::judge::{Violation, judge};
use crate::plan::Plan;
use crate::record::{Fate, Record};
use crate::run::run;

/// What every `cargo test` runs with each engine.
pub(crate) const FIXED_SEEDS: [u64; 2] = [1, 2];
/// Violations that are shown of a run, and lines of each hub's log.
const SHOWN_MAX: usize = 20;

/// One cluster at a time: machines are small.
pub(crate) static TURN: Mutex<()> = Mutex::new(());

/// Makes the runs that are wanted with an engine; all have to pass.
pub(crate) fn pass<S: Backend + Send>(engine: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let seeds = seeds();
    let (mut table, mut failed) = (Vec::new(), 0);
    for seed in &seeds {
        let plan = Plan::of(*seed);
        let start = Instant::now();
        let record = run::<S>(&plan);
        let violations = judge(&record);
        let line = line(engine, &plan, &record, &violations, start);
        println!("{line}");
        table.push(line);
        if !violations.is_empty() {
            failed += 1;
            explain(engine, &plan, &record, &violations);
        }
    }
    println!("\n{}", table.join("\n"));
    println!("{engine}: {} of {} runs passed", seeds.len() - failed, seeds.len());
    assert_eq!(failed, 0, "runs with {engine} that failed");
}

/// The fixed ones unless the environment says otherwise.
fn seeds() -> Vec<u64> {
    let number =
        |name| std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")));
    if let Some(seed) = number("CINNABAR_CHECKER_SEED") {
        return vec![seed];
    }
    match number("CINNABAR_CHECKER_SEEDS") {
        Some(count) => (0..count).map(|place| RandomState::new().hash_one(place) >> 20).collect(),
        None => FIXED_SEEDS.to_vec(),
    }
}

fn line(engine: &str, plan: &Plan, record: &Record, violations: &[Violation], start: Instant) -> String {
    let there: std::collections::HashSet<&str> = record.logs[0].iter().map(|event| event.essence.as_str()).collect();
    let of_fate = |wanted: fn(&Fate) -> bool| record.published.iter().filter(move |update| wanted(&update.fate));
    let unknown = |fate: &Fate| *fate == Fate::Unknown;
    format!(
        "{engine:8} seed {:14}: {:5} events, {:5} acknowledged, {:4} unknown ({:3} there), {:6} received in {:4} connections, {:2} faults, {:2} s: {}",
        plan.seed,
        record.logs[0].len(),
        of_fate(|fate| matches!(fate, Fate::Acknowledged(_))).count(),
        of_fate(unknown).count(),
        of_fate(unknown).filter(|update| there.contains(update.essence.as_str())).count(),
        record.chains.iter().map(|chain| chain.seen.len()).sum::<usize>(),
        record.chains.iter().map(|chain| chain.connections).sum::<u32>(),
        plan.faults(),
        start.elapsed().as_secs(),
        if violations.is_empty() { "passed".to_owned() } else { format!("{} VIOLATIONS", violations.len()) },
    )
}

fn explain(engine: &str, plan: &Plan, record: &Record, violations: &[Violation]) {
    println!("{}", plan.story());
    for violation in violations.iter().take(SHOWN_MAX) {
        println!("  {violation:?}");
    }
    for (hub, said) in record.said.iter().enumerate() {
        let lines: Vec<&str> = said.lines().collect();
        println!("  hub {hub} said at last:\n    {}", lines[lines.len().saturating_sub(SHOWN_MAX)..].join("\n    "));
    }
    println!(
        "again: CINNABAR_CHECKER_SEED={} cargo test --profile e2e --test checker -- --nocapture {engine}\n",
        plan.seed
    );
}
