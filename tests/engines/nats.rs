//! NATS, and what only it has: several ways to say who one is, and a limit for the size of messages.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use cinnabar::cluster::{Address, Bounds, Engine, EngineError, LogError, Nats, NodeId, Retention, Subscriber};
use futures_util::StreamExt;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use crate::certificates::Certificates;
use crate::servers::{Daemon, Server, free_port};
use crate::suite::{BYTES, PLENTY, SECRET, append, conformance, event, eventually, refused, tell};

struct NatsServer {
    daemon: Daemon,
    address: Address,
}

impl NatsServer {
    /// Starts one with these lines in its configuration besides.
    fn with(scheme: &str, lines: &str) -> NatsServer {
        let arguments = |port: u16, data: &Path| {
            let data = data.to_str().expect("a path in UTF-8");
            let file = format!("{data}.conf");
            let text = format!(
                "listen: 127.0.0.1:{port}\nmax_payload: 4MB\njetstream {{ store_dir: \"{data}\", max_file_store: 8GB }}\n{lines}\n"
            );
            std::fs::write(&file, text).expect("a file in the temporary folder");
            vec!["--config".to_owned(), file]
        };
        let daemon = Daemon::start("nats-server", "nats-server", arguments);
        let url = format!("{scheme}://127.0.0.1:{}", daemon.port).parse().expect("a URL");
        let address = Address {
            url,
            name: "cinnabar".to_owned(),
            user: None,
            password: None,
            credentials: None,
            ca: None,
            certificate: None,
        };
        NatsServer { daemon, address }
    }

    fn at(&self, change: impl FnOnce(&mut Address)) -> Nats {
        let mut address = self.address.clone();
        change(&mut address);
        Nats::new(address, PLENTY)
    }
}

impl Server for NatsServer {
    type Engine = Nats;

    fn start() -> NatsServer {
        NatsServer::with("nats", "")
    }

    fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn engine(&self, retention: Retention) -> Nats {
        Nats::new(self.address.clone(), retention)
    }
}

conformance!(NatsServer);

#[test]
fn what_an_acknowledged_event_survives_is_said() {
    tell(|| async {
        let server = NatsServer::start();
        let opened = server.engine(PLENTY).open().await.expect("opened");
        assert!(opened.server.starts_with("NATS 2."), "{}", opened.server);
        assert!(opened.durability.0.contains("sync_interval") && !opened.durability.1, "{:?}", opened.durability);
    });
}

#[test]
fn users_passwords_and_tokens() {
    tell(|| async {
        let server = NatsServer::with("nats", &format!("authorization {{ user: hub, password: \"{SECRET}\" }}"));
        let user = Some("hub".to_owned());
        let right = server.at(|address| (address.user, address.password) = (user.clone(), Some(SECRET.to_owned())));
        right.open().await.expect("user and password are right");
        let in_url = server.at(|address| {
            address.url.set_username("hub").expect("a user");
            address.password = Some(SECRET.to_owned());
        });
        in_url.open().await.expect("the URL names the user");
        let wrong = server.at(|address| (address.user, address.password) = (user, Some(format!("{SECRET}!"))));
        assert!(refused(&wrong).await.contains("user and password"));
        assert!(refused(&server.at(|_| ())).await.contains("user and password"));

        let server = NatsServer::with("nats", &format!("authorization {{ token: \"{SECRET}\" }}"));
        server.at(|address| address.password = Some(SECRET.to_owned())).open().await.expect("the token is right");
        refused(&server.at(|address| address.password = Some(format!("{SECRET}!")))).await;
    });
}

/// An operator, an account and a user, each vouched for by the one before: what `nsc` makes.
struct Accounts {
    lines: String,
    credentials: String,
}

impl Accounts {
    fn make() -> Accounts {
        let [operator, account, system, user] =
            [(1, 14 << 3), (2, 0), (4, 0), (3, 20 << 3)].map(|(seed, kind)| Key::new(seed, kind));
        let by_operator =
            operator.signed(&operator, json!({ "type": "operator", "version": 2, "system_account": system.id() }));
        let room = json!({ "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1, "subs": -1, "data": -1, "payload": -1,
            "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1 });
        let of_account = operator.signed(&account, json!({ "type": "account", "version": 2, "limits": room }));
        let of_system = operator.signed(
            &system,
            json!({ "type": "account", "version": 2, "limits": { "subs": -1, "data": -1,
            "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1 } }),
        );
        let of_user =
            account.signed(&user, json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 }));
        let lines = format!(
            "operator: {by_operator}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account}, {}: {of_system} }}",
            system.id(),
            account.id(),
            system.id()
        );
        let credentials = format!(
            "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed()
        );
        Accounts { lines, credentials }
    }
}

/// A key pair as NATS writes it: a letter for its kind, the key, a checksum, in base 32.
struct Key {
    kind: u8,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl Key {
    fn new(seed: u8, kind: u8) -> Key {
        let seed = [seed; 32];
        Key { kind, seed, pair: Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed") }
    }

    fn id(&self) -> String {
        written(&[&[self.kind], self.pair.public_key().as_ref()].concat())
    }

    fn seed(&self) -> String {
        written(&[&[18 << 3 | self.kind >> 5, self.kind << 3], &self.seed[..]].concat())
    }

    fn signed(&self, whom: &Key, claims: serde_json::Value) -> String {
        let url = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        let claims = json!({ "jti": "x", "iat": 1, "iss": self.id(), "name": "x", "sub": whom.id(), "nats": claims });
        let text = format!("{}.{}", url(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#), url(claims.to_string().as_bytes()));
        format!("{text}.{}", url(self.pair.sign(text.as_bytes()).as_ref()))
    }
}

fn written(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0u16, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| sum << 1 ^ if sum >> 15 == 1 { 0x1021 } else { 0 })
    });
    let mut bits: Vec<_> =
        bytes.iter().chain(&sum.to_le_bytes()).flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    bits.resize(bits.len().next_multiple_of(5), 0);
    let letter =
        |bits: &[u8]| b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(bits.iter().fold(0, |all, bit| all << 1 | bit))];
    bits.chunks(5).map(|bits| char::from(letter(bits))).collect()
}

#[test]
fn credentials_in_a_file() {
    tell(|| async {
        let made = Accounts::make();
        let server = NatsServer::with("nats", &made.lines);
        let folder = crate::folder::Folder::new();
        let file = folder.write("hub.creds", &made.credentials);
        let engine = server.at(|address| address.credentials = Some(file.into()));
        let log = engine.open().await.expect("opened").identity;
        assert_eq!(append(&engine, &log, vec![event("1")]).await, [1]);
        refused(&server.at(|_| ())).await;
        let file = folder.write("broken.creds", SECRET);
        let broken = server.at(|address| address.credentials = Some(file.into()));
        assert!(refused(&broken).await.contains("broken.creds"));
        let missing = server.at(|address| address.credentials = Some("missing.creds".into()));
        assert!(refused(&missing).await.contains("missing.creds"));
    });
}

#[test]
fn private_certificates() {
    tell(|| async {
        let made = Certificates::make();
        let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| made.text(name));
        let lines =
            format!("tls {{ ca_file: \"{ca}\", cert_file: \"{certificate}\", key_file: \"{key}\", verify: true }}");
        let server = NatsServer::with("tls", &lines);
        let client = (made.path("client.pem"), made.path("client.key"));
        let engine =
            server.at(|address| (address.ca, address.certificate) = (Some(made.path("ca.pem")), Some(client.clone())));
        let log = engine.open().await.expect("opened").identity;
        assert_eq!(append(&engine, &log, vec![event("1")]).await, [1]);
        let other = server
            .at(|address| (address.ca, address.certificate) = (Some(made.path("other.pem")), Some(client.clone())));
        assert!(refused(&other).await.contains("certificate"));
        let none = server.at(|address| address.ca = Some(made.path("ca.pem")));
        let why = none.open().await.expect_err("a certificate is wanted").to_string();
        assert!(why.contains("ertificate"), "{why}");
        let missing = server.at(|address| address.ca = Some(made.path("missing.pem")));
        assert!(refused(&missing).await.contains("missing.pem"));
    });
}

#[test]
fn a_server_without_jetstream_says_so() {
    tell(|| async {
        let lines = "accounts { A { users [ { user: hub, password: x } ] } }";
        let server = NatsServer::with("nats", lines);
        let engine =
            server.at(|address| (address.user, address.password) = (Some("hub".to_owned()), Some("x".to_owned())));
        let why = engine.open().await.expect_err("there is no JetStream").to_string();
        assert!(why.contains("--jetstream"), "{why}");
    });
}

#[test]
fn a_user_that_may_too_little_is_told_what_it_needs() {
    tell(|| async {
        let lines = r#"authorization { users = [
            { user: few, password: x, permissions: { publish: "other.>", subscribe: "_INBOX.>" } }
            { user: hub, password: x, permissions: {
                publish: ["$JS.API.>", "$KV.cinnabar_members.>", "$KV.cinnabar_leases.>", "$KV.cinnabar_claims.>", "cinnabar.log.>"], subscribe: "_INBOX.>" } }
        ] }"#;
        let server = NatsServer::with("nats", lines);
        let at = |user: &str| {
            server.at(|address| (address.user, address.password) = (Some(user.to_owned()), Some("x".to_owned())))
        };
        let why = refused(&at("few")).await;
        assert!(why.contains("$JS.API.>"), "{why}");
        let engine = at("hub");
        let log = engine.open().await.expect("opened").identity;
        assert_eq!(append(&engine, &log, vec![event("1")]).await, [1]);
        assert_eq!(engine.follow(&log, 1, 1, BYTES, Duration::from_millis(1)).await, Ok(Vec::new()));
        engine.arrive(NodeId([1; 16]), Duration::from_secs(9)).await.expect("known");
        assert_eq!(engine.renew(NodeId([1; 16]), Duration::from_secs(9)).await, Ok(true));
    });
}

#[test]
fn an_event_the_server_finds_too_large_is_refused_with_its_limit() {
    tell(|| async {
        let server = NatsServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        let appended = engine.append(&log, vec![event("1"), event(&"x".repeat(5 << 20)), event("2")]).await;
        assert!(matches!(&appended[1], Err(EngineError::Refused(why)) if why.contains("4194304")), "{appended:?}");
        assert_eq!((&appended[0], &appended[2]), (&Ok(1), &Ok(2)));
    });
}

/// A bucket nobody answers for is one whose servers are choosing who stores first.
#[test]
fn nobody_is_entered_while_nobody_answers_for_the_bucket() {
    tell(|| async {
        let server = NatsServer::start();
        let engine = server.engine(PLENTY);
        engine.open().await.expect("opened");
        let node = NodeId([1; 16]);
        let entered = || vec![Subscriber { id: "urn:uuid:1".to_owned(), document: "1".to_owned() }];
        engine.arrive(node, Duration::from_secs(9)).await.expect("known");
        let client = async_nats::connect(server.address.url.as_str()).await.expect("the server is there");
        let listens_to = async |subjects: &str| {
            let stream = "KV_cinnabar_members";
            let info = client.request(format!("$JS.API.STREAM.INFO.{stream}"), "".into()).await.expect("answered");
            let info: serde_json::Value = serde_json::from_slice(&info.payload).expect("JSON");
            let mut config = info["config"].clone();
            config["subjects"] = json!([subjects]);
            let update = client.request(format!("$JS.API.STREAM.UPDATE.{stream}"), config.to_string().into());
            let updated: serde_json::Value =
                serde_json::from_slice(&update.await.expect("answered").payload).expect("JSON");
            assert!(updated["error"].is_null(), "{updated}");
        };
        listens_to("elsewhere.>").await;
        let lost = engine.enter(node, entered()).await;
        assert!(matches!(lost, Err(EngineError::Unavailable(_))), "{lost:?}");
        listens_to("$KV.cinnabar_members.>").await;
        engine.enter(node, entered()).await.expect("entered");
        assert!(engine.member("urn:uuid:1").await.expect("asked").is_some());
    });
}

#[test]
fn a_cursor_behind_the_last_number_there_can_be_is_none() {
    tell(|| async {
        let server = NatsServer::start();
        let engine = server.engine(PLENTY);
        engine.open().await.expect("opened");
        assert!(engine.members(&u64::MAX.to_string(), 10, BYTES).await.is_err());
    });
}

#[test]
fn who_follows_a_busy_log_keeps_its_consumer() {
    // Seen: what came while the rest was being read was sent to nobody, and every time a new consumer had to be made.
    tell(|| async {
        const EVENTS: usize = 3_000;
        let server = NatsServer::start();
        let (writer, reader) = (server.engine(PLENTY), server.engine(PLENTY));
        let log = writer.open().await.expect("opened").identity;
        let writing = async {
            for batch in 0..EVENTS / 3 {
                append(&writer, &log, (0..3).map(|n| event(&format!("{batch} {n}"))).collect()).await;
            }
        };
        let reading = async {
            let mut after = 0;
            while after < EVENTS as u64 {
                let entries = reader.follow(&log, after, 512, BYTES, Duration::from_secs(1)).await.expect("followed");
                entries.iter().for_each(|placed| after = follows(after, placed.offset));
            }
        };
        tokio::join!(writing, reading);
        let client = async_nats::connect(server.address.url.as_str()).await.expect("connected");
        let info = client.request("$JS.API.STREAM.INFO.cinnabar", "".into()).await.expect("answered");
        let info: serde_json::Value = serde_json::from_slice(&info.payload).expect("JSON");
        assert_eq!(info["state"]["consumer_count"], json!(1));
    });
}

fn follows(after: u64, offset: u64) -> u64 {
    assert_eq!(offset, after + 1);
    offset
}

#[test]
fn a_consumer_that_has_gone_past_an_event_is_given_up() {
    // Seen: the newest events of a log stayed away from one hub until somebody published again.
    tell(|| async {
        let server = NatsServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        append(&engine, &log, vec![event("1")]).await;
        assert_eq!(engine.follow(&log, 0, 1, BYTES, Duration::ZERO).await.expect("followed").len(), 1);
        append(&engine, &log, vec![event("2")]).await;
        // As if the answer had gone to somebody who doesn't read any more.
        let client = async_nats::connect(server.address.url.as_str()).await.expect("connected");
        let names = client.request("$JS.API.CONSUMER.NAMES.cinnabar", "".into()).await.expect("answered");
        let names: serde_json::Value = serde_json::from_slice(&names.payload).expect("JSON");
        let next =
            format!("$JS.API.CONSUMER.MSG.NEXT.cinnabar.{}", names["consumers"][0].as_str().expect("there is one"));
        let inbox = client.new_inbox();
        let mut stolen = client.subscribe(inbox.clone()).await.expect("subscribed");
        client.publish_with_reply(next, inbox, r#"{"batch":1,"no_wait":true}"#.into()).await.expect("asked");
        assert!(stolen.next().await.expect("an answer").status.is_none(), "it is the event");
        let entries = eventually("the second event is followed", || async {
            let entries = engine.follow(&log, 1, 1, BYTES, Duration::from_millis(100)).await.expect("followed");
            (!entries.is_empty()).then_some(entries)
        })
        .await;
        assert_eq!((entries[0].offset, &*entries[0].entry.update.data), (2, "2"));
    });
}

#[test]
fn limits_that_have_changed_are_taken_over() {
    tell(|| async {
        let server = NatsServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        append(&engine, &log, (0..50).map(|_| event("x")).collect()).await;
        let fewer = server.engine(Retention { events_max: 10, ..PLENTY });
        let opened = fewer.open().await.expect("opened");
        assert_eq!((opened.identity, opened.bounds), (log, Bounds { first: 41, last: 50 }));
        let trimmed = engine.follow(&log, 3, 10, BYTES, Duration::ZERO).await;
        assert_eq!(trimmed, Err(EngineError::Log(LogError::Trimmed { first: 41 })));
    });
}

#[test]
fn a_cluster_of_three_keeps_three_copies_and_one_may_fail() {
    tell(|| async {
        let routes: Vec<_> = (0..3).map(|_| free_port()).collect();
        let lines = |number: usize| {
            let all = routes.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect::<Vec<_>>().join(", ");
            format!(
                "server_name: s{number}\ncluster {{ name: c, listen: 127.0.0.1:{}, routes: [{all}] }}",
                routes[number]
            )
        };
        let mut servers: Vec<_> = (0..3).map(|number| NatsServer::with("nats", &lines(number))).collect();
        let engine = servers[0].engine(PLENTY);
        let opened = eventually("the cluster has a leader", || async { engine.open().await.ok() }).await;
        assert!(opened.durability.0.contains("3 servers"), "{:?}", opened.durability);
        let log = opened.identity;
        append(&engine, &log, vec![event("1")]).await;
        servers[0].daemon().kill();
        let offset = eventually("another server answers", || async {
            let appended = engine.append(&log, vec![event("2")]).await;
            appended.into_iter().next().and_then(Result::ok)
        })
        .await;
        assert!(offset >= 2);
        let kept = eventually("what was kept can be read", || async {
            engine.follow(&log, 0, 2, BYTES, Duration::from_secs(1)).await.ok()
        })
        .await;
        assert_eq!(kept[0].entry.update.data, "1");
    });
}

/// A request whose bytes were used up to the last one waited for more, each time it was made: readers of such a place never got on.
#[test]
fn bytes_that_are_used_up_to_the_last_one_end_a_request() {
    tell(|| async {
        let server = NatsServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        let written = append(&engine, &log, (0..20).map(|n| event(&format!("{n:10}"))).collect()).await;
        // Messages are shorter than that, so that one of these is exactly the length of several.
        for bytes in 1..500 {
            let read = engine.range(&log, 0, 20, bytes).await.expect("read");
            let offsets: Vec<u64> = read.iter().map(|placed| placed.offset).collect();
            assert!(!offsets.is_empty() && written.starts_with(&offsets), "{bytes}: {offsets:?}");
        }
    });
}
