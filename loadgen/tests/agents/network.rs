//! Several load machines on a network: the hub and the coordinator in one network namespace, an agent in each of two others,
//! all on one bridge. Needs root and iproute2; whoever runs the tests as root gets a failure where that isn't allowed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::process::{Agent, ENDLESS, refused, secret};
use crate::stand_in::story::{PROGRAM, SMALL, held, said, scenario};

/// What the names of these tests' namespaces begin with; the process's id follows.
const PREFIX: &str = "cinnabar-loadgen-";
/// The hub's and the agents' addresses. The network goes nowhere else.
const ADDRESSES: [&str; 3] = ["10.77.0.1", "10.77.0.2", "10.77.0.3"];

/// A bridge in a namespace of its own with three more namespaces on it, gone when it is dropped.
struct Network {
    name: String,
}

impl Network {
    /// Nothing where that isn't allowed, which is said loudly and is a failure for root.
    fn make(test: &str) -> Option<Self> {
        remove_what_others_left();
        let network = Self { name: format!("{PREFIX}{}-{test}", std::process::id()) };
        let bridge = network.namespace("bridge");
        if let Err(why) = ip(&["netns", "add", &bridge]) {
            eprintln!(
                "NOT TESTED: network namespaces aren't allowed here, so agents on a network are not tested: {why}"
            );
            // The owner of /proc/self is the effective user.
            let user = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("there"));
            assert_ne!(user, 0, "root must be able to make network namespaces for this test: {why}");
            return None;
        }
        let must = |arguments: &[&str]| ip(arguments).unwrap_or_else(|why| panic!("{arguments:?}: {why}"));
        must(&["-n", &bridge, "link", "add", "br0", "type", "bridge"]);
        must(&["-n", &bridge, "link", "set", "br0", "up"]);
        for (place, address) in ADDRESSES.iter().enumerate() {
            let (own, port) = (network.namespace(&place.to_string()), format!("port{place}"));
            must(&["netns", "add", &own]);
            must(&["-n", &bridge, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &own]);
            must(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"]);
            must(&["-n", &own, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
            must(&["-n", &own, "link", "set", "eth0", "up"]);
            must(&["-n", &own, "link", "set", "lo", "up"]);
        }
        Some(network)
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// A program in one of the namespaces.
    fn command(&self, place: usize, program: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(&place.to_string())]).args(program);
        command.env_remove("CINNABAR_LOADGEN_SECRET");
        command
    }

    fn agent(&self, place: usize, before: &[&str], secret: &str) -> Agent {
        let listen = format!("{}:7070", ADDRESSES[place]);
        let program = [before, &[PROGRAM, "agent", "--listen", &listen]].concat();
        Agent::start(self.command(place, &program), &["--secret-file", secret])
    }

    /// The coordinator, beside the hub.
    fn loadgen(&self, arguments: &[&str]) -> Output {
        self.command(0, &[PROGRAM]).args(arguments).arg("--quiet").output().expect("runs")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in ["bridge", "0", "1", "2"] {
            let _ = ip(&["netns", "delete", &self.namespace(name)]);
        }
    }
}

/// Of test processes that were killed before they could clean up.
fn remove_what_others_left() {
    let list = Command::new("ip").args(["netns", "list"]).output().map(|output| output.stdout).unwrap_or_default();
    for line in String::from_utf8_lossy(&list).lines() {
        let Some(name) = line.split_whitespace().next() else { continue };
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    match Command::new("ip").args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("ip (Debian package iproute2): {error}")),
    }
}

/// The hub built last in the workspace's target folder, if one has been.
fn hub() -> Option<PathBuf> {
    let target = Path::new(PROGRAM).ancestors().nth(2).expect("target/profile/name");
    let built = |profile| {
        let hub = target.join(profile).join("cinnabar");
        Some((std::fs::metadata(&hub).ok()?.modified().ok()?, hub))
    };
    let newest = ["debug", "e2e", "release"].into_iter().filter_map(built).max().map(|(_, hub)| hub);
    if newest.is_none() {
        eprintln!("not run: there is no hub in {}", target.display());
    }
    newest
}

/// Can a process here have a clock of its own? `unshare` is part of every Debian.
fn time_namespaces_are_allowed() -> bool {
    let tried = Command::new("unshare").args(["--time", "--monotonic", "1000", "--fork", "true"]).output();
    let allowed = tried.is_ok_and(|output| output.status.success());
    if !allowed {
        eprintln!("NOT TESTED: an agent with another clock, as time namespaces aren't allowed here");
    }
    allowed
}

/// Seconds an agent's clock is ahead.
const AHEAD_S: i64 = 500_000;

#[test]
fn two_agents_on_a_network_check_every_delivery_and_one_has_another_clock() {
    let (Some(hub), Some(network)) = (hub(), Network::make("all")) else { return };
    let hub = hub.to_str().expect("a path");
    let secret = secret("namespaces-all", "the secret of a test, long enough\n");
    let ahead = AHEAD_S.to_string();
    let has_clock = time_namespaces_are_allowed();
    let other_clock = ["unshare", "--time", "--monotonic", &ahead, "--fork", "--kill-child"];
    let one = network.agent(1, &[], &secret);
    let other = network.agent(2, if has_clock { &other_clock } else { &[] }, &secret);
    let agents = format!("{},{}", one.address, other.address);
    let file = scenario("namespaces-all", SMALL);
    let records = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("namespaces-{}.jsonl", std::process::id()));
    let run = ["run", &file, "--hub", hub, "--agents", &agents, "--secret-file", &secret];

    // The hub this program starts listens on loopback unless it is told otherwise.
    refused(&network.loadgen(&run), "--listen-address");

    let json = ["--json", records.to_str().expect("a path"), "--listen-address", ADDRESSES[0]];
    let output = network.loadgen(&[&run[..], &json].concat());
    held(&output);
    let text = std::fs::read_to_string(&records).expect("kept");
    std::fs::remove_file(&records).expect("removed");
    let record: serde_json::Value = serde_json::from_str(text.lines().next().expect("a run")).expect("a record");
    let of = |agent: usize, field: &str| &record["agents"][agent][field];
    assert_eq!((of(0, "agent"), of(1, "agent")), (&one.address.as_str().into(), &other.address.as_str().into()));
    assert_eq!((of(0, "subscribers"), of(1, "subscribers")), (&31.into(), &30.into()));
    for agent in 0..2 {
        assert!(of(agent, "accounts")["total_s"].as_f64().is_some_and(|seconds| seconds > 0.0), "{record}");
        assert!(of(agent, "machine")["cores"].as_u64().is_some_and(|cores| cores > 0), "{record}");
        // All of them have the kernel's clock but for what the time namespace adds: the truth is known.
        let truth = if agent == 1 && has_clock { AHEAD_S * 1_000_000_000 } else { 0 };
        let clock = of(agent, "clock");
        let offset = clock["offset_ns"].as_i64().expect("a number");
        // Written to a tenth of a microsecond.
        let uncertainty = clock["uncertainty_us"].as_f64().expect("a number") * 1e3 + 100.0;
        assert!((offset - truth).unsigned_abs() as f64 <= uncertainty, "{clock}");
    }
    // With a clock that is wrong by days every latency would be the highest that is kept.
    let latency = |figure: &str| {
        let figures = record["figures"].as_array().expect("figures");
        figures.iter().find(|known| known["key"] == figure).and_then(|known| known["value"].as_f64())
    };
    let max = latency("hub.broadcast.latency_max_ms").expect("measured");
    assert!(max > 0.0 && max < 300_000.0, "{max}");

    // What this program starts besides listens there too.
    let set = ["--set", "connections=60", "--set", "events=5", "--set", "rounds=1"];
    let floor = ["broadcast", "--targets", "floor", "--agents", &agents, "--secret-file", &secret];
    held(&network.loadgen(&[&floor[..], &["--listen-address", ADDRESSES[0]], &set].concat()));
}

#[test]
fn an_agent_whose_network_is_gone_fails_the_run_and_drops_its_connections() {
    let (Some(hub), Some(network)) = (hub(), Network::make("lost")) else { return };
    let secret = secret("namespaces-lost", "the secret of a test, long enough\n");
    let wrong = crate::process::secret("namespaces-wrong", "another secret, also long enough\n");
    let mut one = network.agent(1, &[], &secret);
    let mut other = network.agent(2, &[], &secret);
    let agents = format!("{},{}", one.address, other.address);
    let file = scenario("namespaces-lost", ENDLESS);
    let hub = hub.to_str().expect("a path");
    let run = ["run", &file, "--hub", hub, "--listen-address", ADDRESSES[0], "--agents", &agents, "--secret-file"];

    let output = network.loadgen(&[&run[..], &[&wrong]].concat());
    refused(&output, "the coordinator has another secret than the agent");

    let mut command = network.command(0, &[PROGRAM]);
    command.args(run).args([&secret, "--quiet"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let coordinator = command.spawn().expect("starts");
    one.hear(" connected, ");
    other.hear(" connected, ");
    ip(&["-n", &network.namespace("2"), "link", "set", "eth0", "down"]).expect("the cable is pulled");
    let output = coordinator.wait_with_output().expect("ends");
    refused(&output, &format!("the agent {} was lost: nothing was heard for 10 s", other.address));
    assert!(!said(&output).contains("check ok"), "{}", said(&output));
    one.hear("the connection ended: the run is given up");
    other.hear("nothing was heard for 10 s: the run is given up and its");
}
