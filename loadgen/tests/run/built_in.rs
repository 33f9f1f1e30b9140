//! The built-in scenarios as they are shipped, each run small: every delivery is right, and everything is measured that they are
//! there for. How fast anything is isn't looked at.
//!
//! They run against the real hub where there is one, else against the stand-in, which can't do all.

use std::process::{Command, Output};

use super::hub;
use super::stand_in::story::{PROGRAM, held, said};
use super::stand_in::{Defect, StandIn};

/// Runs a scenario with these variables, at a hub with these arguments.
fn run(scenario: &str, set: &str, arguments: &str) -> Option<Output> {
    let mut command = Command::new(PROGRAM);
    command.args([scenario, "--quiet"]).args(set.split_whitespace().flat_map(|set| ["--set", set]));
    let stand_in;
    if let Some(hub) = hub() {
        command.arg("--hub").arg(hub).arg("--").args(arguments.split_whitespace());
    } else {
        // It waits for who doesn't read, and is only one.
        if ["slow", "stalled", "presence"].contains(&scenario) {
            return None;
        }
        stand_in = StandIn::start(Defect::None);
        command.args(["--url", &stand_in.url()]);
    }
    Some(command.output().expect("runs"))
}

/// Everything came as it had to, these figures are there, and no goal is without its figure.
fn measures(scenario: &str, set: &str, arguments: &str, figures: &[&str]) {
    let Some(output) = run(scenario, set, arguments) else { return };
    held(&output);
    let said = said(&output);
    assert!(!said.contains("check FAILED"), "{said}");
    if hub().is_some() {
        figures.iter().for_each(|figure| assert!(said.contains(figure), "{figure}: {said}"));
        assert!(said.contains("  goal ") || said.contains("  check ok      hub: pause."), "{said}");
        assert!(!said.contains("not measured"), "{said}");
    }
}

#[test]
fn mixed_has_readers_beside_broadcasts() {
    let figures = [
        "mixed: time in which half the subscribers of broadcasts or more waited for one",
        "mixed: deliveries to crowd per second",
        "mixed: latency of readers p99",
        "check ok      hub: mixed.broadcasts_events at least 5",
    ];
    measures("mixed", "crowd=200 seconds=1", "", &figures);
}

#[test]
fn mixed_fails_without_broadcasts() {
    let output = run("mixed", "crowd=200 seconds=1 broadcasts=1000000", "").expect("all can do it");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("check FAILED  hub: mixed.broadcasts_events at least 1000000"), "{}", said(&output));
}

#[test]
fn idle_has_memory_and_what_heartbeats_cost() {
    let figures = [
        "idle: user memory per connection",
        "after: user memory per connection",
        "rest: heartbeats received",
        "rest: server CPU per heartbeat",
        "rest: server CPU on heartbeats, per second",
        "hub: gone.private_bytes / start.private_bytes (or 2,048 KiB more)",
    ];
    measures("idle", "connections=200 broadcasts=2 seconds=3", "--heartbeat 1s", &figures);
}

#[test]
fn store_has_what_publishers_that_wait_reach() {
    let Some(output) = run("store", "publishers=8 seconds=1", "--history file") else { return };
    held(&output);
    let said = said(&output);
    for figure in ["single: events accepted per second", "single: time to the answer to a publish p99"] {
        assert!(said.contains(figure), "{figure}: {said}");
    }
}

#[test]
fn cluster_has_when_the_last_subscriber_has_an_event() {
    let Some(output) = run("cluster", "hubs=1 publishers=8 seconds=1", "") else { return };
    held(&output);
    let said = said(&output);
    for figure in
        ["steady: until the last of everyone has an event p99", "full: until the last of everyone has an event p50"]
    {
        assert!(said.contains(figure), "{figure}: {said}");
    }
}

#[test]
fn hubs_of_a_cluster_have_to_be_started_here() {
    let stand_in = StandIn::start(Defect::None);
    let output = Command::new(PROGRAM).args(["cluster", "--url", &stand_in.url()]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("the 3 hubs of this scenario are started here"), "{}", said(&output));
}

#[test]
fn slow_has_windows_without_and_with_slow_readers() {
    let figures = ["without: latency p99", "with: latency of others p99", "with: turns over 2 ms of CPU"];
    measures("slow", "connections=100 never=4 hardly=4 seconds=1 pairs=1", "", &figures);
}

#[test]
fn stalled_has_the_kernels_memory_for_each() {
    let found = Command::new("ss").arg("-V").output();
    if found.is_err() {
        eprintln!("not run: there is no ss");
        return;
    }
    let figures = ["flood: kernel memory at the server per connection of stalled, most"];
    measures("stalled", "stalled=20 connections=50 seconds=1 ahead=32", "", &figures);
}

#[test]
fn presence_has_both_hubs() {
    let figures = ["with: crowd: latency p99", "without: crowd: latency p99"];
    measures("presence", "crowd=200 connections=20 pairs=1", "", &figures);
}

#[test]
fn tls_attacks_are_made_and_others_get_everything() {
    if hub().is_none() {
        return;
    }
    let set = "connections=20 seconds=2.0 handshakes=60 handshakes_rate=100.0 trickling=12 bytes_rate=300.0 pairs=1";
    let figures = [
        "abandoned: handshakes the server answered to abandoned",
        "trickled: connections, bytes or requests of trickled",
        "hub: abandoned.latency_p99_ms / calm.latency_p99_ms",
        "hub: end.private_bytes / start.private_bytes",
    ];
    measures("tls-attacks", set, "", &figures);
}

#[test]
fn h2_resets_are_made_over_tls_and_in_the_clear() {
    if hub().is_none() {
        return;
    }
    let set = "connections=20 seconds=2.0 resets=600 resets_rate=400.0 resetting=2 pairs=1";
    let figures = [
        "secure: with: connections, bytes or requests of resets",
        "clear: with: connections, bytes or requests of resets",
        "secure: with.latency_p99_ms / without.latency_p99_ms",
        "clear: end.private_bytes / start.private_bytes",
    ];
    measures("h2-resets", set, "", &figures);
}

#[test]
fn tls_idle_has_memory_with_either_version_and_without() {
    if hub().is_none() {
        return;
    }
    let of = |target| format!("{target}: idle: user memory per connection");
    let figures = ["plain", "sealed", "unsealed"].map(of);
    measures("tls-idle", "connections=300 broadcasts=2", "", &figures.each_ref().map(String::as_str));
}

/// These mostly wait, so they do it side by side.
#[test]
fn storm_pause_churn_and_soak_have_those_who_come_and_go() {
    let come = ["response heads per second", "time to the response head p99"];
    let storm = ["storm: latency of watchers p99"];
    let growth = ["after: its growth since before"];
    std::thread::scope(|scope| {
        for (scenario, set, figures) in [
            ("storm", "crowd=200 rate=400 watchers=10 away=1 missed=2", [&come[..], &storm].concat()),
            ("pause", "rate=100 seconds=2", vec!["pause: latency of frozen max"]),
            ("churn", "connections=200 churn=50 seconds=1", [&come[..], &growth].concat()),
            ("soak", "connections=100 churn=20 seconds=1 first=1", [&come[..], &growth].concat()),
        ] {
            scope.spawn(move || measures(scenario, set, "", &figures));
        }
    });
}
