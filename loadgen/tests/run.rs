//! Stories of whole runs: the program against its own floor, against a stand-in hub with planted defects, and against the
//! real hub and nchan where they are there.

#[path = "run/built_in.rs"]
mod built_in;
mod stand_in;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use stand_in::story::{PROGRAM, SMALL, held, judges, said, scenario};
use stand_in::{Defect, StandIn};

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("runs")
}

/// The hub built last in the workspace's target folder, if one has been.
fn hub() -> Option<PathBuf> {
    let target = Path::new(PROGRAM).ancestors().nth(2).expect("target/profile/name");
    let built = |profile| {
        let hub = target.join(profile).join("cinnabar");
        let when = std::fs::metadata(&hub).ok()?.modified().ok()?;
        Some((when, hub))
    };
    let newest = ["debug", "e2e", "release"].into_iter().filter_map(built).max().map(|(_, hub)| hub);
    if newest.is_none() {
        eprintln!("not run: there is no hub in {}", target.display());
    }
    newest
}

#[test]
fn the_floor_delivers_everything() {
    let set = ["--set", "connections=100", "--set", "events=5", "--set", "rounds=2"];
    let output = loadgen(&[&["broadcast", "--targets", "floor"], &set[..]].concat());
    held(&output);
    assert!(said(&output).contains("floor: broadcast: deliveries per second"), "{}", said(&output));
    let set = ["--set", "connections=100", "--set", "seconds=1"];
    held(&loadgen(&[&["saturate", "--targets", "floor"], &set[..]].concat()));
    held(&loadgen(&[&["steady", "--targets", "floor", "--set", "rounds=1"], &set[..]].concat()));
}

#[test]
fn the_floor_has_figures_of_its_own() {
    let set = "connections=60 events=40 clients=3 publishers=2 pipeline=4 seconds=1 rounds=1 rest=0";
    let set: Vec<&str> = set.split(' ').flat_map(|set| ["--set", set]).collect();
    let output = loadgen(&[&["floor", "--quiet"], &set[..]].concat());
    held(&output);
    for figure in [
        "floor: broadcast: deliveries per second",
        "floor: connect: response heads per second",
        "floor: single: events accepted per second",
        "floor: pipelined: CPU of the machine per event",
        "floor: replay: deliveries per second",
    ] {
        assert!(said(&output).contains(figure), "{figure}: {}", said(&output));
    }
}

#[test]
fn a_hub_is_held_against_the_floor_that_does_the_same() {
    let Some(hub) = hub() else { return };
    let hub = hub.to_str().expect("a path");
    for (scenario, sizes, goals) in [
        ("publish", &["seconds=1", "pipeline=4", "rounds=1"][..], 2),
        ("connect", &["connections=60", "rounds=1", "rest=0"], 1),
        ("replay", &["clients=3", "events=50", "rounds=1", "rest=0"], 1),
    ] {
        let set: Vec<&str> = sizes.iter().flat_map(|set| ["--set", set]).collect();
        let output = loadgen(&[&[scenario, "--targets", "hub,floor", "--quiet", "--hub", hub], &set[..]].concat());
        held(&output);
        assert_eq!(said(&output).matches("  goal ").count(), goals, "{}", said(&output));
    }
}

#[test]
fn a_sound_stand_in_passes_and_each_planted_defect_is_caught() {
    let file = scenario("planted", SMALL);
    let run = |defect| {
        let hub = StandIn::start(defect);
        let output = loadgen(&["run", &file, "--url", &hub.url()]);
        // Who returns while something is published is timed too.
        for figure in ["storm: response heads per second", "storm: time to the response head p99"] {
            assert!(said(&output).contains(figure), "{figure}: {}", said(&output));
        }
        output
    };
    judges(run);
}

#[test]
fn who_comes_back_by_itself_has_missed_nothing() {
    let back = "topics = [\"urn:a\", \"urn:victim\"]\nkeep-id = true\nwhen-closed = \"return\"";
    let file = scenario("back", &SMALL.replace("topics = [\"urn:a\", \"urn:victim\"]", back));
    let hub = StandIn::start(Defect::Close);
    let output = loadgen(&["run", &file, "--url", &hub.url()]);
    held(&output);
    assert!(said(&output).contains("storm: streams the server ended"), "{}", said(&output));
}

#[test]
fn a_real_hub_delivers_everything() {
    let Some(hub) = hub() else { return };
    let hub = hub.to_str().expect("a path");
    let file = scenario("real", SMALL);
    let file = &file;
    held(&loadgen(&["run", file, "--hub", hub]));
    held(&loadgen(&["run", file, "--hub", hub, "--preset", "mercure-0", "--", "--compat", "8"]));
}

#[test]
fn a_real_hub_delivers_everything_over_tls() {
    let Some(hub) = hub() else { return };
    let hub = hub.to_str().expect("a path");
    for (name, tls) in [("tls13", "tls = true"), ("tls12", "tls = \"1.2\""), ("resumed", "tls = true\nresume = true")] {
        let file = scenario(
            name,
            &SMALL.replace("[[group]]\nname = \"everyone\"", &format!("[hub]\n{tls}\n[[group]]\nname = \"everyone\"")),
        );
        held(&loadgen(&["run", &file, "--hub", hub]));
    }
}

#[test]
fn a_hub_over_tls_is_held_against_a_floor_that_seals_and_sends() {
    let Some(hub) = hub() else { return };
    let hub = hub.to_str().expect("a path");
    let set = ["--set", "connections=60", "--set", "events=5", "--set", "rounds=1"];
    let output = loadgen(&[&["tls-broadcast", "--targets", "hub,floor", "--quiet", "--hub", hub], &set[..]].concat());
    held(&output);
    assert_eq!(said(&output).matches("  goal ").count(), 2, "{}", said(&output));
}

#[test]
fn a_server_at_an_https_url_needs_a_certificate_to_be_known_by() {
    let file = scenario("unknown", SMALL);
    let output = loadgen(&["run", &file, "--url", "https://127.0.0.1:9/"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--tls-certificate"), "{}", said(&output));
}

#[test]
fn a_hub_and_another_server_are_measured_in_turn() {
    let Some(hub) = hub() else { return };
    let file = scenario("beside", &SMALL.replace("rounds = 2", "rounds = 1"));
    let other = StandIn::start(Defect::None);
    let (file, hub) = (&file, hub.to_str().expect("a path"));
    let output = loadgen(&["run", file, "--targets", "hub,url", "--hub", hub, "--url", &other.url()]);
    held(&output);
    assert!(said(&output).contains("hub / url: broadcast: deliveries per second"), "{}", said(&output));
}

#[test]
fn nchan_delivers_everything_where_it_is_installed() {
    let output = loadgen(&[
        "topics",
        "--targets",
        "nchan",
        "--set",
        "readers=40",
        "--set",
        "topics=10",
        "--set",
        "seconds=1",
        "--set",
        "rate=100",
        "--set",
        "rounds=1",
    ]);
    if said(&output).contains("nchan isn't installed") {
        assert_eq!(output.status.code(), Some(2));
        return;
    }
    held(&output);
}

#[test]
fn a_mistake_in_a_file_is_named_with_its_line() {
    let file = scenario("mistake", &SMALL.replace("count = 40", "cuont = 40"));
    let output = loadgen(&["run", &file, "--url", "http://127.0.0.1:9/"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("line 6") && said(&output).contains("cuont"), "{}", said(&output));
}

#[test]
fn built_in_scenarios_are_listed_and_shown() {
    assert!(said(&loadgen(&["list"])).contains("\nidle "));
    assert!(said(&loadgen(&["show", "storm"])).contains("[[publisher]]"));
    assert_eq!(loadgen(&["show", "none"]).status.code(), Some(2));
}
