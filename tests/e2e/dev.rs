//! Development mode: one command, and everything it prints works.

use crate::harness::*;
use std::os::unix::fs::PermissionsExt;

fn dev() -> Hub {
    Launch::serve().args(&["--dev"]).start()
}

/// The lines of the banner that start with `curl`.
fn curl_lines(hub: &Hub) -> Vec<String> {
    let mut lines = Vec::new();
    eventually("two curl lines are printed", || {
        lines = hub.log().lines().map(str::trim).filter(|line| line.starts_with("curl ")).map(str::to_owned).collect();
        lines.len() >= 2
    });
    lines
}

#[test]
fn without_a_subcommand_a_hub_in_development_mode_starts() {
    let hub = Launch::bare().start();
    let url = format!("http://localhost:{}{HUB}", hub.address().port());
    eventually("it prints its address and that it is for development", || {
        let log = hub.log();
        log.to_lowercase().contains("development") && (log.contains(&url) || log.contains(&hub.url()))
    });
    let host = hub.address().to_string();
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[("Host", &host)]), 200);
}

#[test]
fn the_printed_curl_lines_work_when_pasted() {
    let hub = dev();
    let lines = curl_lines(&hub);
    let subscribe =
        lines.iter().find(|line| line.contains(" -N") || line.contains("--no-buffer")).expect("a line that subscribes");
    let publish = lines.iter().find(|line| *line != subscribe).expect("a line that publishes");
    let subscriber = Process::bash(subscribe);
    // The subscriber may not be there yet when the first update is published: publish until one arrives.
    let mut seen = Vec::new();
    eventually("an event arrives", || {
        let id = Process::bash(publish).line();
        assert!(id.starts_with("urn:uuid:"), "{publish} answered {id}");
        std::thread::sleep(std::time::Duration::from_millis(200));
        seen.extend(subscriber.lines_so_far());
        seen.iter().any(|line| line.starts_with("data:"))
    });
    assert!(seen.iter().any(|line| line.starts_with("id: urn:uuid:")), "{seen:?}");
}

#[test]
fn a_foreign_host_is_refused_and_the_names_of_loopback_are_not() {
    let hub = dev();
    let port = hub.address().port();
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1"] {
        for (method, target) in [
            ("GET", query(&[("match", "urn:a")])),
            ("POST", HUB.to_owned()),
            ("GET", "/".to_owned()),
            ("OPTIONS", HUB.to_owned()),
        ] {
            let status = hub.request(method, &target, &[("Host", host)]).status;
            assert!(matches!(status, 421 | 403), "{method} {target} for {host}: {status}");
        }
    }
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("LOCALHOST:{port}")] {
        assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[("Host", &host)]), 200, "{host}");
    }
}

#[test]
fn anonymous_clients_may_subscribe_but_not_publish() {
    let hub = dev();
    let host = hub.address().to_string();
    assert_eq!(hub.subscribe_status(&[("match", "urn:a")], &[("Host", &host)]), 200);
    assert_eq!(hub.post_with(&[("Host", &host)], &[("topic", "urn:a")]).status, 401);
}

#[test]
fn loopback_origins_are_allowed_and_others_are_not() {
    let hub = dev();
    let host = hub.address().to_string();
    for origin in ["http://localhost:5173", "http://127.0.0.1:8080", "https://localhost"] {
        let stream =
            hub.try_subscribe(&[("match", "urn:a")], &[("Host", &host), ("Origin", origin)]).expect("a stream");
        assert_eq!(stream.head.header("access-control-allow-origin"), Some(origin));
    }
    for origin in ["https://evil.example", "http://localhost.evil.example", "null"] {
        let stream =
            hub.try_subscribe(&[("match", "urn:a")], &[("Host", &host), ("Origin", origin)]).expect("a stream");
        assert_eq!(stream.head.header("access-control-allow-origin"), None, "{origin}");
    }
}

#[test]
fn the_secret_stays_in_a_folder_only_its_owner_can_enter() {
    let mut hub = dev();
    let publish = curl_lines(&hub).into_iter().find(|line| line.contains("data")).expect("a line that publishes");
    let folder = hub.folder();
    let port = hub.address().port();
    let data = folder.path().join("data");
    let mode = std::fs::metadata(&data).expect("the data folder").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
    for entry in std::fs::read_dir(&data).expect("the data folder") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} is readable by others", entry.path());
    }
    hub.stop();
    let again = Launch::serve().args(&["--dev"]).in_place_of(port, folder).start();
    let answer = Process::bash(&publish).line();
    assert!(answer.starts_with("urn:uuid:"), "yesterday's token on today's hub: {answer}\n{}", again.log());
}

#[test]
fn the_answer_to_an_invalid_token_says_what_is_wrong() {
    let hub = dev();
    let host = hub.address().to_string();
    let response = hub.post_with(&[("Host", &host), ("Authorization", "Bearer a.b.c")], &[("topic", "urn:a")]);
    assert_eq!(response.status, 401);
    assert_eq!(response.bearer_error().as_deref(), Some("invalid_token"));
    let short = Hub::start(&[]).post("a.b.c", &[("topic", "urn:a")]).text();
    assert!(response.text().len() > short.len(), "{} / {short}", response.text());
    response.problem();
}

/// Seen: with a resource at another path a hub answered at the usual one all the same, and relative topics were
/// resolved against localhost.
#[test]
fn a_hub_answers_at_the_path_of_its_resource() {
    let hub = Launch::serve().args(&["--dev", "--resource", "https://hub.example/live/events"]).start();
    let lines = curl_lines(&hub);
    assert!(lines.iter().all(|line| line.contains("/live/events")), "{lines:?}");
    assert_eq!(hub.request("GET", &query(&[("match", "urn:a")]), &[("Host", "localhost")]).status, 404);
    let publish = lines.iter().find(|line| line.contains("-d topic=")).expect("a line that publishes");
    let token = publish.split("Bearer ").nth(1).and_then(|rest| rest.split('\'').next()).expect("a token");
    let mut client = hub.connect();
    let target = "/live/events?match_urlpattern=https://hub.example/live/books/:id";
    client.request("GET", target, &[("Host", "localhost")], None);
    let mut stream = client.stream().expect("a stream");
    let mut publisher = hub.connect();
    let post = |client: &mut Client, body: &str| {
        let headers = [
            ("Host", "localhost"),
            ("Authorization", &format!("Bearer {token}")),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        client.request("POST", "/live/events", &headers, Some(body.as_bytes()));
        client.response("POST").status
    };
    assert_eq!(post(&mut publisher, "topic=books/1&data=relative"), 200);
    assert_eq!(stream.data(), "relative");
    assert_eq!(post(&mut publisher, "topic=https://hub.example/live/events/x"), 400, "the hub's own namespace");
}
