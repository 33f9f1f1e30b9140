//! Runs whose subscribers are held by agents on this machine: they find the same as a run without, and what goes wrong on the
//! way ends them with a sentence.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use crate::delay;
use crate::process::{Agent, ENDLESS, refused, secret};
use crate::stand_in::story::{PROGRAM, SMALL, held, judges, said, scenario};
use crate::stand_in::{Defect, StandIn};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--quiet").env_remove("CINNABAR_LOADGEN_SECRET");
    command
}

fn loadgen(arguments: &[&str]) -> Output {
    command(arguments).output().expect("runs")
}

fn pair() -> (Agent, Agent, String) {
    let (one, other) = (Agent::on_loopback(&[]), Agent::on_loopback(&["--client-threads", "1"]));
    let both = format!("{},{}", one.address, other.address);
    (one, other, both)
}

/// A run that lasts until it is ended, once it has connections at its first agent.
fn endless(name: &str, hub: &StandIn, agents: &str, first: &mut Agent) -> Child {
    let file = scenario(name, ENDLESS);
    let mut command = command(&["run", &file, "--url", &hub.url(), "--agents", agents]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    first.hear(" connected, ");
    child
}

#[test]
fn agents_pass_a_sound_hub_and_each_planted_defect_is_caught() {
    let (_one, _other, agents) = pair();
    let file = scenario("agents-planted", SMALL);
    let run = |defect| {
        let hub = StandIn::start(defect);
        loadgen(&["run", &file, "--url", &hub.url(), "--agents", &agents])
    };
    let sound = run(Defect::None);
    held(&sound);
    assert_eq!(said(&sound).matches("latencies taken there are right to").count(), 2, "{}", said(&sound));
    assert!(said(&sound).contains("held 31 subscribers") && said(&sound).contains("held 30 subscribers"));
    judges(run);
}

#[test]
fn agents_that_learn_late_what_was_published_accuse_nobody_and_still_find_what_is_wrong() {
    const WAY: Duration = Duration::from_millis(100);
    let (one, other) = (Agent::on_loopback(&[]), Agent::on_loopback(&[]));
    let agents = format!("{},{}", delay::before(&one.address, WAY), delay::before(&other.address, WAY));
    // Events reach subscribers long before their agent knows that they were sent, and many come and go meanwhile.
    let file = scenario("agents-late", &SMALL.replace("rate = 100.0, seconds = 0.3", "rate = 300.0, seconds = 1.0"));
    let run = |defect| {
        let hub = StandIn::start(defect);
        loadgen(&["run", &file, "--url", &hub.url(), "--agents", &agents, "--lines"])
    };
    let output = run(Defect::None);
    held(&output);
    let end = String::from_utf8_lossy(&output.stdout).lines().last().map(str::to_owned).expect("lines");
    let end: serde_json::Value = serde_json::from_str(&end).expect("an object");
    for agent in 0..2 {
        let clock = &end["record"]["agents"][agent]["clock"];
        let uncertainty_ns = clock["uncertainty_us"].as_f64().expect("a number") * 1e3;
        assert!(uncertainty_ns >= WAY.as_nanos() as f64, "{clock}");
        assert!(clock["offset_ns"].as_f64().expect("a number").abs() <= uncertainty_ns, "{clock}");
    }
    let output = run(Defect::Loss);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("with gaps"), "{}", said(&output));
}

#[test]
fn several_servers_are_measured_in_turn_and_a_server_of_each_kind_is_checked() {
    let (_one, _other, agents) = pair();
    let set = ["--set", "connections=100", "--set", "events=5", "--set", "rounds=2"];
    let hub = StandIn::start(Defect::None);
    let several = ["broadcast", "--targets", "hub,floor", "--url", &hub.url(), "--agents", &agents];
    let output = loadgen(&[&several, &set[..]].concat());
    assert_eq!(said(&output).matches("nobody closed (100 subscribers,").count(), 2, "{}", said(&output));
    assert!(!said(&output).contains("check FAILED"), "{}", said(&output));
    // Everything stored, and floods.
    let set = "connections=60 events=40 clients=3 publishers=2 pipeline=4 seconds=1 rounds=1 rest=0";
    let set: Vec<&str> = set.split(' ').flat_map(|set| ["--set", set]).collect();
    held(&loadgen(&[&["floor", "--agents", &agents], &set[..]].concat()));
    let set = ["--set", "connections=60", "--set", "seconds=1"];
    held(&loadgen(&[&["saturate", "--targets", "floor", "--agents", &agents], &set[..]].concat()));
}

#[test]
fn a_lost_agent_fails_the_run_and_the_others_are_free_again() {
    let (mut one, other, agents) = pair();
    let hub = StandIn::start(Defect::None);
    let run = endless("agents-lost", &hub, &agents, &mut one);
    let lost = other.address.clone();
    drop(other);
    let output = run.wait_with_output().expect("ends");
    refused(&output, &format!("the agent {lost} was lost"));
    one.hear("the run is given up and its");
    let file = scenario("agents-lost-next", SMALL);
    held(&loadgen(&["run", &file, "--url", &hub.url(), "--agents", &one.address]));
}

#[test]
fn when_the_coordinator_goes_away_its_connections_go_and_the_next_one_is_served() {
    let mut agent = Agent::on_loopback(&[]);
    let hub = StandIn::start(Defect::None);
    let address = agent.address.clone();
    let mut run = endless("agents-alone", &hub, &address, &mut agent);
    let client_threads = |pid: u32| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.starts_with("client-")).count()
    };
    assert!(client_threads(agent.pid()) > 0);
    // One coordinator at a time.
    let file = scenario("agents-busy", SMALL);
    refused(
        &loadgen(&["run", &file, "--url", &hub.url(), "--agents", &address]),
        "it refuses: the agent is busy with a run of 127.0.0.1",
    );
    run.kill().expect("killed");
    run.wait().expect("ended");
    agent.hear("the run is given up and its");
    // Each client thread has its sockets in a table of its own, which goes with it.
    while client_threads(agent.pid()) > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    held(&loadgen(&["run", &file, "--url", &hub.url(), "--agents", &address]));
}

#[test]
fn only_who_knows_the_secret_is_served() {
    let right = secret("agents-right", "the secret of a test, long enough\n");
    let wrong = secret("agents-wrong", "another secret, also long enough\n");
    let mut agent = Agent::on_loopback(&["--secret-file", &right]);
    let hub = StandIn::start(Defect::None);
    let file = scenario("agents-secret", SMALL);
    let url = hub.url();
    let run = |more: &[&str], environment: Option<&str>| {
        let mut command = command(&[&["run", &file, "--url", &url, "--agents"], more].concat());
        if let Some(secret) = environment {
            command.env("CINNABAR_LOADGEN_SECRET", secret);
        }
        command.output().expect("runs")
    };
    let address = agent.address.clone();
    refused(&run(&[&address, "--secret-file", &wrong], None), "the coordinator has another secret than the agent");
    agent.hear("refused: the coordinator has another secret than the agent");
    refused(&run(&[&address], None), "it wants a secret");
    refused(&run(&[&address], Some("short")), "shorter than 16 bytes");
    held(&run(&[&address, "--secret-file", &right], None));
    held(&run(&[&address], Some("the secret of a test, long enough")));
    let without = Agent::on_loopback(&[]);
    refused(&run(&[&without.address, "--secret-file", &right], None), "it has no secret");
}

#[test]
fn an_agent_that_others_reach_must_have_a_secret() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let output = Command::new(PROGRAM)
            .args(["agent", "--listen", listen])
            .env_remove("CINNABAR_LOADGEN_SECRET")
            .output()
            .expect("runs");
        refused(&output, "give --secret-file");
    }
}

#[test]
fn hostile_bytes_are_refused_and_the_agent_goes_on() {
    let secret = secret("agents-hostile", "the secret of a test, long enough");
    let mut agent = Agent::on_loopback(&["--secret-file", &secret]);
    let address = agent.address.clone();
    let send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(&address).expect("connects");
        stream.write_all(bytes).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("nothing more comes");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let frame = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    let call = |protocol: u32, proof: &str| {
        frame(&format!(
            r#"{{"loadgen_coordinator":{protocol},"version":"\u001b[2J","nonce":"x","run":"y","proof":{proof}}}"#
        ))
    };
    let mut nothing_welcome = |bytes: &[u8], words: &str| {
        let answer = send(bytes);
        assert!(answer.contains("loadgen_agent") && !answer.contains("Welcome"), "{answer}");
        let line = agent.hear(words);
        assert!(!line.contains('\x1b'), "{line:?}");
    };
    nothing_welcome(&[0xff; 100], "a frame of 4294967295 bytes, and 4096 is the most");
    nothing_welcome(b"GET / HTTP/1.1\r\n\r\n", "and 4096 is the most");
    nothing_welcome(&[0, 0, 0, 9, b'x'], "the connection ended inside a frame");
    nothing_welcome(&frame("{}"), "a frame that makes no sense");
    nothing_welcome(&call(2, "null"), "the agent wants a secret");
    nothing_welcome(&call(2, "\"AAAA\""), "another secret");
    nothing_welcome(&call(7, "null"), "speaks version 7 of the protocol");
    nothing_welcome(b"", "the connection ended");
    let hub = StandIn::start(Defect::None);
    let file = scenario("agents-hostile", SMALL);
    held(&loadgen(&["run", &file, "--url", &hub.url(), "--agents", &agent.address, "--secret-file", &secret]));
}

#[test]
fn who_says_nothing_keeps_no_coordinator_out() {
    let agent = Agent::on_loopback(&[]);
    let silent: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(&agent.address).expect("connects")).collect();
    let hub = StandIn::start(Defect::None);
    let file = scenario("agents-silent", SMALL);
    held(&loadgen(&["run", &file, "--url", &hub.url(), "--agents", &agent.address]));
    drop(silent);
}

#[test]
fn a_coordinator_that_makes_no_sense_is_sent_away_and_the_agent_goes_on() {
    let mut agent = Agent::on_loopback(&[]);
    let hub = StandIn::start(Defect::None);
    let address = agent.address.clone();
    let frame = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    let part = |url: &str, index: usize, count: u64| {
        frame(&format!(
            r#"{{"Part":{{"title":"t","share":{{"index":{index},"of":2}},"clock_shift_ns":0,"poll_us":1000,"preset":"Cinnabar",
            "url":"{url}","subscribe":"/","issuer":null,"single_lane":true,"groups":[{{"name":"g","count":{count},
            "topics":["urn:a"],"token":"none","reads":"AtOnce","receive_buffer":0,"encoding":null,"keeps_id":false,
            "earliest":false,"when_closed":"fail","prompt":false,"watch_kernel":false}}]}}}}"#
        ))
    };
    let good = part(&hub.url(), 0, 10);
    let connect = frame(r#"{"Order":{"Connect":{"group":0,"rate":null,"goes_on":false,"at_once":9}}}"#);
    let then = |order: &str| [&good[..], &frame(order)].concat();
    for (messages, words) in [
        (connect.clone(), "an order before there is a run"),
        (frame(r#"{"Run":"rm -rf /"}"#), "a frame that makes no sense"),
        (u32::MAX.to_be_bytes().to_vec(), "a frame of 4294967295 bytes, and 8388608 is the most"),
        (part("file:///etc/passwd", 0, 10), "doesn't start with http://"),
        (part(&hub.url(), 2, 10), "share 2 of 2"),
        (part(&hub.url(), 0, 10_000_001), "more than 10000000 subscribers"),
        (then(r#"{"Order":{"Drop":{"group":7,"share":1.0}}}"#), "a group that isn't there"),
        (
            then(r#"{"Lanes":{"news":[{"lane":1,"sent":1,"settled":1,"refused":[]}],"answers":null}}"#),
            "a lane that isn't there",
        ),
        (then(r#"{"Topics":[]}"#), "a message out of place"),
        (then("\u{1b}[2J"), "a frame that makes no sense"),
        ([&good[..], &connect, &connect[..9]].concat(), "the connection ended inside a frame: the run is given up"),
    ] {
        let mut stream = TcpStream::connect(&address).expect("connects");
        let call = frame(r#"{"loadgen_coordinator":2,"version":"","nonce":"x","run":"y","proof":null}"#);
        stream.write_all(&call).expect("sent");
        stream.write_all(&messages).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("nothing more comes");
        let line = agent.hear(words);
        assert!(!line.contains('\x1b'), "{line:?}");
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let file = scenario("agents-senseless", SMALL);
    held(&loadgen(&["run", &file, "--url", &hub.url(), "--agents", &address]));
}

#[test]
fn what_is_no_agent_or_another_version_is_told_apart() {
    let url = StandIn::start(Defect::None).url();
    let greet = |bytes: &'static [u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("bound").to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepts");
            stream.write_all(bytes).expect("sent");
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let file = scenario("agents-others", SMALL);
        loadgen(&["run", &file, "--url", &url, "--agents", &address])
    };
    refused(&greet(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "what listens there is no agent");
    let newer = br#"{"loadgen_agent":9,"version":"7.0.0","nonce":"x","wants_secret":false}"#;
    let frame: Vec<u8> = [&(newer.len() as u32).to_be_bytes()[..], newer].concat();
    let output = greet(frame.leak());
    refused(&output, "it speaks version 9 of the protocol (cinnabar-loadgen 7.0.0)");
    assert!(said(&output).contains("use the same version everywhere"), "{}", said(&output));
    let file = scenario("agents-nobody", SMALL);
    let nobody = TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("bound").to_string();
    refused(&loadgen(&["run", &file, "--url", &url, "--agents", &nobody]), "it isn't there");
}
