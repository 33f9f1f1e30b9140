//! The other commands, used as from a shell.

use crate::harness::*;
use serde_json::{Value, json};

/// What signs tokens for the hub of the tests.
fn signing(key: &str) -> Vec<&str> {
    vec!["--key", key, "--issuer", ISSUER, "--audience", RESOURCE]
}

/// Runs a command that has to succeed and gives its standard output.
fn run(args: &[&str], input: &str) -> String {
    let output = Launch::bare().args(args).output(input);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs a command that has to fail and gives its standard error.
fn fail(args: &[&str]) -> String {
    let output = Launch::bare().args(args).output("");
    assert!(!output.status.success(), "{args:?}: {output:?}");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// `cinnabar sub --json`, following a topic as an anonymous subscriber.
fn follow(hub: &Hub, topic: &str) -> Process {
    let url = hub.url();
    let args = ["sub", topic, "--url", &url, "--json"];
    Launch::bare().args(&args).follow()
}

fn event(process: &Process) -> Value {
    serde_json::from_str(&process.line()).expect("a line of JSON")
}

/// Publishes until the follower has an event, as it may not be connected yet, and gives that one's data.
fn reach(hub: &Hub, follower: &Process, topic: &str) -> String {
    let mut seen = Vec::new();
    let mut tries = 0;
    eventually("the follower is connected", || {
        hub.say(topic, &format!("try {tries}"));
        tries += 1;
        std::thread::sleep(std::time::Duration::from_millis(100));
        seen.extend(follower.lines_so_far());
        !seen.is_empty()
    });
    // Whatever else was on its way has come once this one has.
    hub.say(topic, "reached");
    while seen.iter().all(|line| !line.contains("reached")) {
        seen.push(follower.line());
    }
    seen.pop().expect("the last one")
}

#[test]
fn every_command_explains_itself() {
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["doctor", "--help"],
        &["pub", "--help"],
        &["sub", "--help"],
        &["token", "--help"],
        &["token", "mint", "--help"],
        &["token", "explain", "--help"],
        &["config", "--help"],
        &["config", "check", "--help"],
        &["config", "print", "--help"],
        &["history", "--help"],
        &["history", "show", "--help"],
        &["history", "check", "--help"],
        &["history", "trim", "--help"],
        &["history", "export", "--help"],
        &["history", "import", "--help"],
    ] {
        let help = run(command, "");
        assert!(help.contains("Usage: cinnabar"), "{command:?}: {help}");
    }
    assert!(run(&["--version"], "").starts_with("cinnabar "));
    fail(&["publish-everything"]);
}

#[test]
fn pub_publishes_every_field_and_prints_the_id() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe_as(&subscriber(), &[("match", "urn:a")]);
    let url = hub.url();
    let mut args = vec![
        "pub",
        "urn:a",
        "urn:b",
        "--url",
        &url,
        "--data",
        "-hello\n",
        "--private",
        "--id",
        "x 1",
        "--type",
        "greeting",
        "--retry",
        "0",
    ];
    args.extend(signing(PUBLISHER_KEY));
    assert_eq!(run(&args, "").trim_end(), "x 1");
    let expected = Event { id: "x 1".into(), event: Some("greeting".into()), retry: Some(0), data: "-hello\n".into() };
    assert_eq!(stream.next(), expected);
}

#[test]
fn pub_reads_standard_input_whole_or_line_by_line() {
    let hub = Hub::anonymous();
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    let url = hub.url();
    let mut whole = vec!["pub", "urn:a", "--url", &url, "--data", "-"];
    whole.extend(signing(PUBLISHER_KEY));
    run(&whole, "a\nb\n");
    assert_eq!(stream.data(), "a\nb");
    let mut lines = vec!["pub", "urn:a", "--url", &url, "--lines"];
    lines.extend(signing(PUBLISHER_KEY));
    let ids = run(&lines, "1\n2\n3\n");
    assert_eq!(stream.datas(3), ["1", "2", "3"]);
    assert_eq!(ids.lines().count(), 3);
}

#[test]
fn pub_says_what_the_hub_refused() {
    let hub = Hub::anonymous();
    let url = hub.url();
    let mut reserved = vec!["pub", "/.well-known/mercure/x", "--url", &url];
    reserved.extend(signing(PUBLISHER_KEY));
    assert!(fail(&reserved).contains("kept for the hub"));
    let mut other_key = vec!["pub", "urn:a", "--url", &url];
    other_key.extend(signing(SUBSCRIBER_KEY));
    assert!(fail(&other_key).contains("401"));
    let nobody = format!("http://127.0.0.1:{}{HUB}", Launch::bare().port());
    assert!(fail(&["pub", "urn:a", "--url", &nobody, "--token", "a.b.c"]).contains(&nobody));
}

#[test]
fn sub_prints_events_as_they_come_and_stops_at_its_count() {
    let hub = Hub::anonymous();
    let ids: Vec<String> = (0..3).map(|n| hub.say("urn:a", &format!("{n}\nsecond line"))).collect();
    let url = hub.url();
    let text = run(&["sub", "urn:a", "--url", &url, "--last-event-id", "earliest", "--count", "1"], "");
    assert_eq!(text, format!("id: {}\n0\nsecond line\n\n", ids[0]));
    let json = run(&["sub", "urn:a", "--url", &url, "--last-event-id", &ids[0], "--count", "2", "--json"], "");
    let events: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events[1], json!({"id": ids[2], "type": "message", "data": "2\nsecond line"}));
}

#[test]
fn sub_signs_its_own_token_for_private_updates() {
    let hub = Hub::start(&[]);
    let id = hub.publish(&[("topic", "https://e.example/1"), ("private", "on"), ("data", "secret")]);
    let url = hub.url();
    let mut args = vec![
        "sub",
        "--pattern",
        "https://e.example/:id",
        "--url",
        &url,
        "--last-event-id",
        "earliest",
        "--count",
        "1",
        "--json",
    ];
    args.extend(signing(SUBSCRIBER_KEY));
    let event: Value = serde_json::from_str(&run(&args, "")).expect("JSON");
    assert_eq!(event, json!({"id": id, "type": "message", "data": "secret"}));
}

#[test]
fn sub_resumes_without_loss_or_repeat_when_streams_end() {
    let hub = Hub::start(&["--anonymous", "--max-lifetime", "1s"]);
    hub.publish(&[("topic", "urn:a"), ("retry", "20"), ("data", "0")]);
    let url = hub.url();
    let follower =
        Launch::bare().args(&["sub", "urn:a", "--url", &url, "--json", "--last-event-id", "earliest"]).follow();
    for n in 0..100 {
        if n > 0 {
            hub.say("urn:a", &n.to_string());
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
        assert_eq!(event(&follower)["data"], n.to_string());
    }
}

#[test]
fn sub_comes_back_after_a_restart_of_the_hub() {
    let mut hub = Hub::anonymous();
    let follower = follow(&hub, "urn:a");
    reach(&hub, &follower, "urn:a");
    let (port, folder) = (hub.address().port(), hub.folder());
    hub.kill();
    let hub = Launch::keyed().args(&["--anonymous"]).in_place_of(port, folder).start();
    reach(&hub, &follower, "urn:a");
}

#[test]
fn sub_gives_up_when_it_is_refused() {
    let hub = Hub::start(&[]);
    let url = hub.url();
    let said = fail(&["sub", "urn:a", "--url", &url]);
    assert!(said.contains("401"), "{said}");
    let anonymous = Hub::anonymous();
    let said = fail(&["sub", "--pattern", "https://e.example/([", "--url", &anonymous.url()]);
    assert!(said.contains("400") || said.contains("pattern"), "{said}");
}

#[test]
fn a_minted_token_is_accepted_by_the_hub() {
    let hub = Hub::start(&[]);
    let mut mint =
        vec!["token", "mint", "--publish", "urn:a", "--publish-pattern", "https://e.example/:id", "--ttl", "5m"];
    mint.extend(signing(PUBLISHER_KEY));
    let token = run(&mint, "");
    let status = |topic: &str| hub.post(token.trim(), &[("topic", topic)]).status;
    assert_eq!(status("urn:a"), 200);
    assert_eq!(status("https://e.example/1"), 200);
    assert_eq!(status("urn:b"), 403);
}

#[test]
fn explain_says_what_is_right_and_wrong_about_a_token() {
    let explain = |token: &str, input: &str, more: &[&str]| {
        let mut args = vec![
            "token",
            "explain",
            token,
            "--resource",
            RESOURCE,
            "--issuer",
            ISSUER,
            "--publisher-jwt-key",
            PUBLISHER_KEY,
            "--subscriber-jwt-key",
            SUBSCRIBER_KEY,
        ];
        args.extend(more);
        let output = Launch::bare().args(&args).output(input);
        (output.status.success(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let good = publisher_of(&["urn:a"]);
    let (fine, said) = explain(&good, "", &["--action", "publish", "--topic", "urn:a"]);
    assert!(fine, "{said}");
    let (fine, said) = explain("-", &good, &["--action", "publish", "--topic", "urn:b"]);
    assert!(!fine, "not granted: {said}");
    for (spoilt, word) in [
        (Token::granting(&["publish"], &["*"]).claim("aud", json!("https://other.example")), "https://other.example"),
        (Token::granting(&["publish"], &["*"]).without_claim("exp"), "exp"),
        (Token::granting(&["publish"], &["*"]).header("typ", json!("JWT")), "typ"),
        (
            Token::with_details(
                json!([{"type": "https://mercure.rocks/authorization-detail", "actions": ["publish"], "topics": ["urn:a"]}]),
            ),
            "authorization_details",
        ),
    ] {
        let (fine, said) = explain(&spoilt.sign(PUBLISHER_KEY), "", &["--action", "publish"]);
        assert!(!fine && said.lines().any(|line| line.contains("FAIL") && line.contains(word)), "{word}: {said}");
    }
}

#[test]
fn config_check_says_whether_a_hub_would_start() {
    let keys = ["--issuer", ISSUER, "--publisher-jwt-key", PUBLISHER_KEY, "--subscriber-jwt-key", SUBSCRIBER_KEY];
    let mut args = vec!["config", "check"];
    args.extend(keys);
    assert!(fail(&args).contains("--resource"));
    args.extend(["--resource", RESOURCE]);
    run(&args, "");
}

#[test]
fn config_print_shows_each_value_with_its_source_and_no_secret() {
    let launch = Launch::bare();
    let config = launch.file("cinnabar.toml", "max_lifetime = \"30m\"\ncors_origin = [\"https://a.example\"]\n");
    let output = launch
        .args(&[
            "config",
            "print",
            "--config",
            &config,
            "--resource",
            RESOURCE,
            "--issuer",
            ISSUER,
            "--write-timeout",
            "9s",
        ])
        .args(&["--publisher-jwt-key", PUBLISHER_KEY, "--subscriber-jwt-key", SUBSCRIBER_KEY])
        .env("CINNABAR_HEARTBEAT", "7s")
        .output("");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{said}");
    for (name, value, source) in [
        ("max-lifetime", "30m", "cinnabar.toml"),
        ("cors-origin", "https://a.example", "cinnabar.toml"),
        ("heartbeat", "7s", "CINNABAR_HEARTBEAT"),
        ("write-timeout", "9s", "flag"),
        ("history", "file", "default"),
    ] {
        let line = said
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name))
            .unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(line.contains(value) && line.contains(source), "{line}");
    }
    assert!(!said.contains(PUBLISHER_KEY) && !said.contains(SUBSCRIBER_KEY), "{said}");
}

/// Seen: `CINNABAR_URL=` was refused as no URL, and `CINNABAR_DATA=` was the current folder.
#[test]
fn empty_variables_of_the_client_commands_count_as_unset() {
    let empty = |launch: Launch| {
        ["CINNABAR_URL", "CINNABAR_DATA", "CINNABAR_ISSUER"].iter().fold(launch, |launch, name| launch.env(name, ""))
    };
    let minted =
        empty(Launch::bare()).args(&["token", "mint", "--key", PUBLISHER_KEY, "--publish", "urn:a"]).output("");
    assert!(minted.status.success(), "{minted:?}");
    let token = String::from_utf8(minted.stdout).expect("a token");
    let explained = empty(Launch::bare()).args(&["token", "explain", token.trim()]).output("");
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("http://localhost:"), "judged as a hub in development mode: {explained:?}");

    let unsigned = empty(Launch::bare()).args(&["token", "mint", "--publish", "urn:a"]).output("");
    let said = String::from_utf8_lossy(&unsigned.stderr).into_owned();
    assert!(said.contains("no key to sign with"), "{said}");
}
