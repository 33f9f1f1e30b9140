//! Public URLs: which host names the hub answers to.

use crate::harness::*;

fn status(hub: &Hub, host: &str) -> u16 {
    hub.subscribe_status(&[("match", "urn:a")], &[("Host", host)])
}

#[test]
fn requests_for_other_hosts_are_misdirected() {
    let hub = Hub::start(&["--anonymous", "--public-url", "https://hub.example", "--public-url", "http://inside:3000"]);
    for host in ["hub.example", "HUB.EXAMPLE", "hub.example:443", "inside:3000"] {
        assert_eq!(status(&hub, host), 200, "{host}");
    }
    for host in ["evil.example", "hub.example:8443", "inside", "hub.example.evil.example", "127.0.0.1", "localhost"] {
        for (method, target) in [
            ("GET", query(&[("match", "a")])),
            ("POST", HUB.to_owned()),
            ("OPTIONS", HUB.to_owned()),
            ("GET", "/".to_owned()),
        ] {
            let answer = hub.request(method, &target, &[("Host", host)]);
            assert_eq!(answer.status, 421, "{method} {target} for {host}");
            assert!(answer.problem()["detail"].as_str().expect("a sentence").contains("--public-url"));
        }
    }
}

#[test]
fn the_authority_of_an_absolute_target_counts_and_so_does_a_missing_host() {
    let hub = Hub::start(&["--anonymous", "--public-url", "https://hub.example"]);
    let status = |request: &str| {
        let mut client = hub.connect();
        client.send(request.as_bytes());
        client.head().expect("an answer").status
    };
    let target = "/.well-known/mercure?match=a";
    assert_eq!(status(&format!("GET http://hub.example{target} HTTP/1.1\r\nHost: hub.example\r\n\r\n")), 200);
    assert_eq!(status(&format!("GET http://evil.example{target} HTTP/1.1\r\nHost: evil.example\r\n\r\n")), 421);
    assert_eq!(status(&format!("GET http://evil.example{target} HTTP/1.1\r\nHost: hub.example\r\n\r\n")), 400);
    assert_eq!(status(&format!("GET {target} HTTP/1.0\r\nHost: hub.example\r\n\r\n")), 200);
    assert_eq!(status(&format!("GET {target} HTTP/1.0\r\n\r\n")), 421);
}

#[test]
fn without_public_urls_any_host_is_answered() {
    let hub = Hub::anonymous();
    for host in ["hub.example", "anything.example:1234", "127.0.0.1"] {
        assert_eq!(status(&hub, host), 200, "{host}");
    }
}

#[test]
fn a_resource_under_another_host_is_warned_about() {
    let hub = Hub::start(&["--anonymous", "--public-url", "http://inside:3000"]);
    eventually("the warning", || hub.log().contains("doesn't name hub.example"));
    assert_eq!(status(&hub, "hub.example"), 421);
}

#[test]
fn development_mode_keeps_the_names_of_loopback_beside_public_ones() {
    let hub = Launch::serve().args(&["--dev", "--public-url", "https://tunnel.example"]).start();
    for (host, expected) in
        [("localhost", 200), ("127.0.0.1:3000", 200), ("tunnel.example", 200), ("evil.example", 421)]
    {
        assert_eq!(status(&hub, host), expected, "{host}");
    }
}
