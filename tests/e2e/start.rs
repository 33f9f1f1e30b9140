//! What the hub refuses to start with, and the sentence that says what to change.

use crate::harness::*;

#[test]
fn every_address_of_listen_is_served() {
    let launch = Launch::keyed().args(&["--anonymous"]);
    let (one, other) = (launch.port(), free_port());
    let hub =
        launch.args(&["--listen", &format!("127.0.0.1:{one}"), "--listen", &format!("127.0.0.1:{other}")]).start();
    let mut client = Client::connect(([127, 0, 0, 1], other).into());
    client.request("GET", &query(&[("match", "urn:a")]), &[], None);
    let mut stream = client.stream().expect("a stream");
    hub.say("urn:a", "1");
    assert_eq!(stream.data(), "1");
    for port in [one, other] {
        assert!(hub.log().contains(&format!("listening on http://127.0.0.1:{port}\n")), "{}", hub.log());
    }
}

#[test]
fn without_a_resource_start_is_refused_with_the_line_to_add() {
    let said = Launch::serve()
        .args(&["--issuer", ISSUER, "--publisher-jwt-key", PUBLISHER_KEY, "--subscriber-jwt-key", SUBSCRIBER_KEY])
        .refused();
    assert_says(&said, &["--resource"]);
}

#[test]
fn development_mode_binds_loopback_only() {
    let port = Launch::bare().port();
    for address in [format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
        let said = Launch::serve().args(&["--dev", "--listen", &address]).refused();
        assert_says(&said, &["loopback"]);
    }
}

#[test]
fn an_unknown_key_in_the_file_is_refused_by_name() {
    for line in ["colour = \"red\"", "max-lifetime = \"1h\"", "[[issuer]]\nid = \"a\"\ncolour = \"red\""] {
        let launch = Launch::keyed();
        let config = launch.file("cinnabar.toml", line);
        let said = launch.args(&["--config", &config]).refused();
        assert_says(&said, &[if line.contains("colour") { "colour" } else { "max-lifetime" }]);
    }
}

#[test]
fn an_unknown_flag_is_refused() {
    assert_says(&Launch::keyed().args(&["--colour", "red"]).refused(), &["--colour"]);
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (flag, value) in [
        ("--heartbeat", "soon"),
        ("--max-lifetime", "forever"),
        ("--tail-bytes", "much"),
        ("--shards", "many"),
        ("--io", "telepathy"),
        ("--resource", "not a url"),
        ("--listen", "somewhere"),
    ] {
        let said = Launch::keyed().args(&[flag, value]).refused();
        assert_says(&said, &[&flag[2..]]);
    }
}

/// Seen: `config check` accepted both, and the hub refused to start.
#[test]
fn what_the_check_accepts_starts() {
    let unusual =
        ["--write-timeout", "30d", "--cors-origin", "app://local:8000", "--publish-origin", "https://App.Example"];
    let checked =
        Launch::bare().args(&["config", "check", "--anonymous", "--resource", RESOURCE]).args(&unusual).output("");
    assert!(checked.status.success(), "{checked:?}");
    let hub = Launch::keyed().args(&unusual).start();
    assert_eq!(hub.request("GET", "/", &[]).status, 200);
}

#[test]
fn room_for_few_connections_is_said() {
    let few = Launch::keyed().args(&["--io", "epoll"]).descriptors(100).start();
    let warned = || few.log().lines().any(|line| line.contains("few connections") && line.contains("LimitNOFILE"));
    eventually("the limit on descriptors is said", warned);
    let wanted = Launch::keyed().args(&["--io", "epoll", "--max-connections", "4"]).descriptors(100).start();
    let many = Launch::keyed().args(&["--io", "epoll"]).start();
    for hub in [wanted, many] {
        assert!(!hub.log().contains("few connections"), "{}", hub.log());
    }
}

#[test]
fn a_missing_configuration_file_is_refused_by_name() {
    assert_says(&Launch::keyed().args(&["--config", "/nowhere/cinnabar.toml"]).refused(), &["/nowhere/cinnabar.toml"]);
}

#[test]
fn history_in_a_folder_is_refused_until_there_is_one() {
    assert_says(&Launch::keyed().args(&["--history", "./history"]).refused(), &["history", "memory"]);
}

#[test]
fn a_public_key_is_no_secret_of_an_hmac() {
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let said = Launch::serve()
        .args(&[
            "--resource",
            RESOURCE,
            "--issuer",
            ISSUER,
            "--subscriber-jwt-key",
            SUBSCRIBER_KEY,
            "--publisher-jwt-key",
            pem,
        ])
        .refused();
    assert!(!said.contains("panicked"), "{said}");

    let launch = Launch::serve();
    let config = launch.file(
        "cinnabar.toml",
        &format!("resource = \"{RESOURCE}\"\n[[issuer]]\nid = \"a\"\npublisher = {{ key = \"\"\"{pem}\"\"\", algorithms = [\"HS256\"] }}\n"),
    );
    assert_says(&launch.args(&["--config", &config]).refused(), &["HS256"]);
}

#[test]
fn secrets_are_not_repeated_in_refusals() {
    let said =
        Launch::serve().args(&["--publisher-jwt-key", PUBLISHER_KEY, "--subscriber-jwt-key", SUBSCRIBER_KEY]).refused();
    assert!(!said.contains(PUBLISHER_KEY) && !said.contains(SUBSCRIBER_KEY), "{said}");
}

#[test]
fn the_log_says_once_which_driver_runs() {
    let mut hub = Hub::anonymous();
    hub.stop();
    let log = hub.log();
    if let Ok(driver) = std::env::var("CINNABAR_TEST_IO") {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&driver)).collect();
        assert_eq!(lines.len(), 1, "{log}");
    }
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let launch = Launch::keyed();
    let config = launch.file("cinnabar.toml", "anonymous = true\ncookie_name = \"from_file\"\nmax_lifetime = \"30m\"\ncors_origin = [\"https://file.example\"]\n");
    let hub = launch.env("CINNABAR_COOKIE_NAME", "from_environment").args(&["--config", &config]).start();
    let token = subscriber();
    assert_eq!(hub.subscribe_status(&[("match", "a")], &[]), 200, "anonymous comes from the file");
    assert_eq!(hub.subscribe_status(&[("match", "a")], &[("Cookie", "from_environment=a.b.c")]), 401);
    assert_eq!(hub.subscribe_status(&[("match", "a")], &[("Cookie", &format!("from_file={token}"))]), 200);
    let stream = hub.try_subscribe(&[("match", "a")], &[("Origin", "https://file.example")]).expect("a stream");
    assert_eq!(stream.head.header("access-control-allow-origin"), Some("https://file.example"));

    let hub = Launch::keyed()
        .env("CINNABAR_COOKIE_NAME", "from_environment")
        .args(&["--anonymous", "--cookie-name", "from_flag"])
        .start();
    assert_eq!(hub.subscribe_status(&[("match", "a")], &[("Cookie", "from_flag=a.b.c")]), 401);
    assert_eq!(hub.subscribe_status(&[("match", "a")], &[("Cookie", "from_environment=a.b.c")]), 200);
}

#[test]
fn connections_beyond_the_maximum_are_not_served_and_those_within_are() {
    let hub = Hub::start(&["--anonymous", "--max-connections", "20"]);
    let mut streams: Vec<Stream> = (0..10).map(|_| hub.subscribe(&[("match", "urn:a")])).collect();
    let mut more = Vec::new();
    for _ in 0..100 {
        let mut client = hub.connect();
        let sent = client.try_send(format!("GET {HUB}?match=urn:a HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        if sent.is_ok() {
            more.push(client);
        }
    }
    let refused = more
        .into_iter()
        .map(|mut client| client.head().map(|head| (head.status, client)))
        .map(|answer| match answer {
            Some((200, client)) => Some(client),
            _ => None,
        })
        .collect::<Vec<_>>();
    let served = refused.iter().flatten().count();
    assert!(served <= 10, "{served} of 100 beyond the ten held");
    drop(refused);
    eventually("the slots of those who left are free, and those who stayed are served", || {
        let mut client = hub.connect();
        client.request(
            "POST",
            HUB,
            &[
                ("Authorization", &format!("Bearer {}", publisher())),
                ("Content-Type", "application/x-www-form-urlencoded"),
            ],
            Some(b"topic=urn:a&data=x"),
        );
        client.try_response("POST").is_some_and(|response| response.status == 200)
    });
    for stream in &mut streams {
        assert_eq!(stream.data(), "x");
    }
}

#[test]
fn a_taken_port_is_refused_with_the_system_s_words_once() {
    let hub = Hub::anonymous();
    let said = Launch::keyed().args(&["--listen", &hub.address().to_string()]).refused();
    assert_says(&said, &["can't listen on", "--listen"]);
    assert_eq!(said.matches("Address already in use").count(), 1, "{said}");
}

/// Seen: a line in the log for each, and a loop that spun when two shards fought for the spare descriptor.
#[test]
fn without_descriptors_connections_are_turned_away_quietly_and_served_again_later() {
    let hub = Hub::anonymous();
    let mut early = hub.subscribe(&[("match", "urn:a")]);
    let open = std::fs::read_dir(format!("/proc/{}/fd", hub.pid())).expect("Linux").count();
    let soft_limit = |limit: usize| {
        let pid = hub.pid().to_string();
        let changed =
            std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:")]).status();
        changed.is_ok_and(|status| status.success())
    };
    if !soft_limit(open + 4) {
        return;
    }
    let start = std::time::Instant::now();
    let crowd: Vec<_> = (0..400).map(|_| std::net::TcpStream::connect(hub.address()).expect("a backlog")).collect();
    eventually("the log says why", || hub.log().contains("connections are turned away"));
    drop(crowd);
    assert!(soft_limit(1024));
    eventually("new connections are served", || {
        let mut client = hub.connect();
        let request = format!("HEAD {HUB}?match=urn:a HTTP/1.1\r\nHost: h\r\n\r\n");
        client.try_send(request.as_bytes()).is_ok() && client.head().is_some_and(|head| head.status == 200)
    });
    let said = hub.log().lines().filter(|line| line.contains("connections are turned away")).count();
    // Ten a second for each of two shards.
    let most = 20 * (start.elapsed().as_secs() as usize + 2);
    assert!(said <= most, "two shards said it {said} times, at most {most} are allowed:\n{}", hub.log());
    hub.say("urn:a", "x");
    assert_eq!(early.data(), "x");
}

fn assert_says(said: &str, words: &[&str]) {
    let lower = said.to_lowercase();
    for word in words {
        assert!(lower.contains(&word.to_lowercase()), "{word:?} is missing in:\n{said}");
    }
    assert!(!lower.contains("panicked"), "a sentence, not a panic:\n{said}");
}
