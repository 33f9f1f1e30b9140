//! Certificates by ACME, of an authority that nobody here wrote.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustls::ClientConfig;

use super::pebble::{EAB_KEY, Pebble, Rules};
use super::subscribe_on;
use crate::admin::metric;
use crate::harness::*;

const DAY_S: u64 = 86_400;

/// A hub to be, and the authority that looks for it at its ports.
struct Stage {
    pebble: Pebble,
    launch: Launch,
    address: SocketAddr,
}

impl Stage {
    /// `None`: no authority is to be had here.
    fn new(names: &str, validity_s: u64) -> Option<Stage> {
        Stage::with(names, |rules| Rules { validity_s, ..rules })
    }

    fn with(names: &str, change: impl FnOnce(Rules) -> Rules) -> Option<Stage> {
        let (plain, address) = (free_port(), SocketAddr::from(([127, 0, 0, 1], free_port())));
        let rules = Rules { http_port: plain, tls_port: address.port(), validity_s: 90 * DAY_S, customers_only: false };
        let pebble = Pebble::new(change(rules))?;
        let folder = Arc::new(Folder::new());
        let launch = Launch::keyed().in_place_of(plain, folder).args(&["--anonymous", "--acme", names]);
        let mut args = vec!["--listen".to_owned(), format!("127.0.0.1:{plain}")];
        args.extend(["--listen".to_owned(), format!("tls:{address}")]);
        args.extend(pebble.arguments());
        let launch = launch.args(&args.iter().map(String::as_str).collect::<Vec<_>>());
        Some(Stage { pebble, launch, address })
    }
}

fn try_shown(address: SocketAddr, client: &Arc<ClientConfig>, name: &str) -> Option<Vec<u8>> {
    let mut client = Client::connect_tls(address, client.clone(), name);
    client.try_send(format!("OPTIONS {HUB} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).ok()?;
    assert_eq!(client.response("OPTIONS").status, 204);
    Some(client.tls().peer_certificates().expect("it was shown one")[0].to_vec())
}

/// Waits for a certificate of this name and gives it.
fn shown(address: SocketAddr, client: &Arc<ClientConfig>, name: &str) -> Vec<u8> {
    let mut found = None;
    eventually("a certificate is shown", || {
        found = try_shown(address, client, name);
        found.is_some()
    });
    found.expect("just seen")
}

fn got(hub: &Hub) -> f64 {
    metric(hub, "cinnabar_acme_tries_total{outcome=\"got\"}")
}

#[test]
fn two_names_get_certificates_by_handshakes_which_a_restart_keeps() {
    let Some(mut stage) = Stage::new("one.example,two.example", 90 * DAY_S) else { return };
    stage.pebble.start();
    let (port, address) = (stage.launch.port(), stage.address);
    let mut hub = stage.launch.args(&["--acme-challenge", "tls-alpn-01", "--acme-email", "me@hub.example"]).start();
    let client = stage.pebble.client();
    let certificates = ["one.example", "two.example"].map(|name| shown(address, &client, name));
    assert_ne!(certificates[0], certificates[1]);
    eventually("both are counted", || got(&hub) == 2.0);
    assert_eq!(metric(&hub, "cinnabar_acme_tries_total{outcome=\"failed\"}"), 0.0);
    assert!(metric(&hub, "cinnabar_tls_certificate_expires_seconds{name=\"two.example\"}") > 80.0 * DAY_S as f64);
    let next = metric(&hub, "cinnabar_acme_next_time_seconds{name=\"one.example\"}");
    let now = metric(&hub, "cinnabar_acme_got_time_seconds{name=\"one.example\"}");
    assert!((next - now) / DAY_S as f64 > 56.0 && (next - now) / DAY_S as f64 <= 60.0, "{next} {now}");
    for entry in walk(&hub.folder().path().join("data/acme")) {
        let mode = std::fs::metadata(&entry).expect("it is there").permissions().mode() & 0o777;
        assert!(mode == 0o600 || mode == 0o700, "{entry:?}: {mode:o}");
    }
    let log = hub.log();
    assert!(log.contains("an ACME account was made") && !log.contains("PRIVATE KEY"), "{log}");
    // Nobody is asked again: the authority is gone.
    let folder = hub.folder();
    hub.stop();
    stage.pebble.stop();
    let stage = Stage { pebble: stage.pebble, launch: Launch::keyed(), address };
    let mut args = vec!["--anonymous".to_owned(), "--acme".to_owned(), "one.example two.example".to_owned()];
    args.extend(["--listen".to_owned(), format!("127.0.0.1:{port}"), "--listen".to_owned(), format!("tls:{address}")]);
    args.extend(stage.pebble.arguments());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let hub = stage.launch.in_place_of(port, folder).args(&args).start();
    for (name, certificate) in ["one.example", "two.example"].into_iter().zip(certificates) {
        assert_eq!(try_shown(address, &client, name), Some(certificate), "{name}");
    }
    assert!(!hub.log().contains("a certificate is asked for"), "{}", hub.log());
}

#[test]
fn a_name_gets_a_certificate_by_a_file() {
    let Some(mut stage) = Stage::new("hub.example", 90 * DAY_S) else { return };
    stage.pebble.start();
    let address = stage.address;
    // Whoever looks comes under the name that is to be proved, which needn't be one the hub answers to.
    let args = ["--acme-challenge", "http-01", "--public-url", "https://other.example"];
    let hub = stage.launch.args(&args).start();
    let client = stage.pebble.client();
    eventually("a certificate", || got(&hub) == 1.0);
    let mut tls = Client::connect_tls(address, client, "hub.example");
    tls.request("OPTIONS", HUB, &[("Host", "other.example")], None);
    assert_eq!(tls.response("OPTIONS").status, 204);
    assert!(hub.log().contains("challenge=\"http-01\""), "{}", hub.log());
    let file = "/.well-known/acme-challenge/anything";
    assert_eq!(hub.request("GET", file, &[("Host", "other.example")]).status, 404, "nothing is open");
}

#[test]
fn a_hub_serves_while_the_authority_is_away_and_asks_again() {
    let Some(mut stage) = Stage::new("hub.example", 90 * DAY_S) else { return };
    let address = stage.address;
    let hub = stage.launch.start();
    eventually("it is said", || hub.log().contains("the authority can't be reached"));
    let mut stream = hub.subscribe(&[("match", "urn:a")]);
    hub.say("urn:a", "1");
    assert_eq!(stream.data(), "1");
    // Who comes with TLS is told that there is no certificate yet: an alert, access_denied.
    let mut early = Client::connect(address);
    early.send(&hello("hub.example"));
    assert_eq!(early.read_to_end(), [21, 3, 3, 0, 2, 2, 49]);
    let failures = "cinnabar_tls_handshake_failures_total{reason=\"no-certificate\"}";
    eventually("it is counted", || metric(&hub, failures) == 1.0);
    assert!(hub.log().contains("there is no certificate yet for the name"), "{}", hub.log());
    stage.pebble.start();
    // It is asked again by itself, the later the longer it was away; this is for patience's sake.
    signal(hub.pid(), "HUP");
    shown(address, &stage.pebble.client(), "hub.example");
    // The challenge is over: nobody is shown anything for it.
    let mut looking = (*stage.pebble.client()).clone();
    looking.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let mut late = Client::connect_tls(address, Arc::new(looking), "hub.example");
    assert!(late.try_send(b"x").is_err());
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_no_connection_with_it() {
    let Some(mut stage) = Stage::new("hub.example", 45) else { return };
    stage.pebble.start();
    let address = stage.address;
    let hub = stage.launch.start();
    let client = stage.pebble.client();
    let first = shown(address, &client, "hub.example");
    let mut stream = subscribe_on(Client::connect_tls(address, client.clone(), "hub.example"), &[("match", "urn:a")]);
    let mut kept_alive = Client::connect_tls(address, client.clone(), "hub.example");
    kept_alive.request("OPTIONS", HUB, &[], None);
    assert_eq!(kept_alive.response("OPTIONS").status, 204);
    // In the middle of all this the configuration is read again.
    signal(hub.pid(), "HUP");
    eventually("another one is shown", || shown(address, &client, "hub.example") != first);
    eventually("and a third is got", || got(&hub) >= 3.0);
    hub.say("urn:a", "1");
    assert_eq!(stream.data(), "1");
    kept_alive.request("OPTIONS", HUB, &[], None);
    assert_eq!(kept_alive.response("OPTIONS").status, 204);
    assert!(!hub.log().contains("ends soon"), "{}", hub.log());
}

#[test]
fn what_goes_wrong_is_said_with_what_to_do_and_the_other_way_is_tried() {
    let nowhere = free_port();
    let Some(mut stage) = Stage::with("hub.example,blocked.example", |rules| Rules { tls_port: nowhere, ..rules })
    else {
        return;
    };
    stage.pebble.start();
    let address = stage.address;
    let hub = stage.launch.start();
    eventually("it is said", || hub.log().contains("port 443 of the name leads elsewhere"));
    eventually("so is the other", || hub.log().contains("is it a public one, and spelt right?"));
    assert!(hub.log().contains("rejectedIdentifier"), "{}", hub.log());
    // Somebody mends it and says so, rather than wait for a minute.
    signal(hub.pid(), "HUP");
    shown(address, &stage.pebble.client(), "hub.example");
    eventually("it is counted", || got(&hub) == 1.0);
    assert!(metric(&hub, "cinnabar_acme_tries_total{outcome=\"failed\"}") >= 2.0);
    assert!(metric(&hub, "cinnabar_acme_failed_time_seconds{name=\"blocked.example\"}") > 0.0);
}

#[test]
fn an_authority_for_customers_is_told_which_one_it_is() {
    let Some(mut stage) = Stage::with("hub.example", |rules| Rules { customers_only: true, ..rules }) else { return };
    stage.pebble.start();
    let address = stage.address;
    let launch = stage.launch.args(&["--acme-eab-kid", "kid-1"]).env("CINNABAR_ACME_EAB_KEY", EAB_KEY);
    let hub = launch.start();
    shown(address, &stage.pebble.client(), "hub.example");
    assert!(!hub.log().contains(EAB_KEY));
}

/// The beginning of a handshake that asks for this name, as rustls' client has it.
fn hello(name: &str) -> Vec<u8> {
    let config = super::trusting(rustls::RootCertStore::empty());
    let name = name.to_owned().try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a good configuration");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("it is in memory");
    bytes
}

/// Everything below a folder, and it.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![folder.to_owned()];
    let mut at = 0;
    while let Some(path) = all.get(at).cloned() {
        at += 1;
        if let Ok(entries) = std::fs::read_dir(&path) {
            all.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    all
}
