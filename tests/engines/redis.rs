//! Redis, and what only it has: settings that decide what an acknowledged event survives.

use std::path::Path;
use std::time::Duration;

use cinnabar::cluster::{Address, Bounds, Engine, EngineError, LogError, NodeId, Redis, Retention};

use crate::certificates::Certificates;
use crate::servers::{Daemon, Server};
use crate::suite::{BYTES, PLENTY, SECRET, append, conformance, event, eventually, named, refused, tell, unavailable};

struct RedisServer {
    daemon: Daemon,
    address: Address,
}

impl RedisServer {
    fn with(scheme: &str, options: &[&str], port_option: &str) -> RedisServer {
        let arguments = |port: u16, data: &Path| {
            let folder = data.to_str().expect("a path in UTF-8");
            let port = port.to_string();
            let fixed = ["--bind", "127.0.0.1", port_option, &port, "--dir", folder, "--save", ""];
            let durable = ["--appendonly", "yes", "--appendfsync", "always"];
            fixed.iter().chain(&durable).chain(options).map(|argument| (*argument).to_owned()).collect()
        };
        let daemon = Daemon::start("redis-server", "redis-server", arguments);
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
        RedisServer { daemon, address }
    }

    fn cli(&self, line: &str) -> String {
        let port = self.daemon.port;
        let line = format!("redis-cli -p {port} {line}");
        let output = std::process::Command::new("bash").args(["-c", &line]).output().expect("redis-cli is there");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn at(&self, change: impl FnOnce(&mut Address)) -> Redis {
        let mut address = self.address.clone();
        change(&mut address);
        Redis::new(address, PLENTY)
    }
}

impl Server for RedisServer {
    type Engine = Redis;

    fn start() -> RedisServer {
        RedisServer::with("redis", &[], "--port")
    }

    fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    fn engine(&self, retention: Retention) -> Redis {
        Redis::new(self.address.clone(), retention)
    }

    fn wipe(&mut self) {
        assert_eq!(self.cli("flushall").trim(), "OK");
    }
}

conformance!(RedisServer);

#[test]
fn what_an_acknowledged_event_survives_is_said() {
    tell(|| async {
        let server = RedisServer::start();
        let opened = server.engine(PLENTY).open().await.expect("opened");
        assert!(opened.server.starts_with("Redis 7.") || opened.server.starts_with("Redis 8."), "{}", opened.server);
        assert!(opened.durability.0.contains("power failure") && !opened.durability.1, "{:?}", opened.durability);
        server.cli("config set appendonly no");
        let opened = server.engine(PLENTY).open().await.expect("opened");
        assert!(opened.durability.0.contains("set appendonly yes") && opened.durability.1, "{:?}", opened.durability);
        server.cli("acl setuser hub on nopass '~{cinnabar}:*' +@all -config");
        let opened = server.at(|address| address.user = Some("hub".to_owned())).open().await.expect("opened");
        assert!(opened.durability.1, "{:?}", opened.durability);
    });
}

#[test]
fn users_and_passwords() {
    tell(|| async {
        let server = RedisServer::start();
        let password = SECRET.replace(' ', "");
        server.cli(&format!("acl setuser hub on '>{password}' '~*' '&*' +@all"));
        server.cli(&format!("config set requirepass '{SECRET}'"));
        let engine = server.at(|address| address.password = Some(SECRET.to_owned()));
        engine.open().await.expect("the password is right");
        let user =
            server.at(|address| (address.user, address.password) = (Some("hub".to_owned()), Some(password.clone())));
        user.open().await.expect("user and password are right");
        let in_url = server.at(|address| {
            address.url.set_username("hub").expect("a user");
            address.password = Some(password.clone());
        });
        in_url.open().await.expect("the URL names the user");
        let wrong = server.at(|address| address.password = Some(format!("{SECRET}!")));
        assert!(refused(&wrong).await.contains("password"));
        let none = server.at(|_| ());
        assert!(refused(&none).await.contains("wants a password"));
        let database = server.at(|address| {
            address.password = Some(SECRET.to_owned());
            address.url.set_path("/99");
        });
        assert!(refused(&database).await.contains("no database"));
    });
}

#[test]
fn a_user_that_may_too_little_is_told_what_it_needs() {
    tell(|| async {
        let server = RedisServer::start();
        server.cli("acl setuser hub on nopass '~{other}:*' +@all");
        let why = refused(&server.at(|address| address.user = Some("hub".to_owned()))).await;
        assert!(why.contains("key pattern"), "{why}");
        server.cli("acl setuser hub '~{cinnabar}:*' -@all +@read +@write +@scripting +@connection +@transaction +info '+config|get'");
        let engine = server.at(|address| address.user = Some("hub".to_owned()));
        let opened = engine.open().await.expect("opened");
        assert!(!opened.durability.1, "{:?}", opened.durability);
        append(&engine, &opened.identity, vec![event("1")]).await;
        assert_eq!(engine.follow(&opened.identity, 1, 1, BYTES, Duration::from_millis(1)).await, Ok(Vec::new()));
    });
}

#[test]
fn private_certificates() {
    tell(|| async {
        let made = Certificates::make();
        let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| made.text(name));
        let options =
            ["--port", "0", "--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        let server = RedisServer::with("rediss", &options, "--tls-port");
        let client = (made.path("client.pem"), made.path("client.key"));
        let engine =
            server.at(|address| (address.ca, address.certificate) = (Some(made.path("ca.pem")), Some(client.clone())));
        let log = engine.open().await.expect("opened").identity;
        assert_eq!(append(&engine, &log, vec![event("1")]).await, [1]);
        let other = server
            .at(|address| (address.ca, address.certificate) = (Some(made.path("other.pem")), Some(client.clone())));
        assert!(refused(&other).await.contains("certificate isn't accepted"));
        let none = server.at(|address| address.ca = Some(made.path("ca.pem")));
        let why = match none.open().await {
            Err(EngineError::Refused(why) | EngineError::Unavailable(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(why.contains("client certificate"), "{why}");
        let missing = server.at(|address| address.ca = Some(made.path("missing.pem")));
        assert!(refused(&missing).await.contains("missing.pem"));
    });
}

#[test]
fn a_full_redis_refuses_and_keeps_nothing_of_the_batch() {
    tell(|| async {
        let server = RedisServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        append(&engine, &log, vec![event("1")]).await;
        server.cli("config set maxmemory 1");
        let appended = engine.append(&log, vec![event("2"), event("3")]).await;
        assert!(matches!(&appended[1], Err(EngineError::Refused(why)) if why.contains("maxmemory")), "{appended:?}");
        assert_eq!(engine.bounds(&log).await, Ok(Bounds { first: 1, last: 1 }));
        server.cli("config set maxmemory 0");
        assert_eq!(append(&engine, &log, vec![event("2")]).await, [2]);
    });
}

#[test]
fn a_script_redis_has_forgotten_is_told_again() {
    tell(|| async {
        let server = RedisServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        append(&engine, &log, vec![event("1")]).await;
        server.cli("script flush");
        assert_eq!(append(&engine, &log, vec![event("2")]).await, [2]);
    });
}

#[test]
fn events_deleted_by_somebody_are_missed_not_skipped() {
    tell(|| async {
        let server = RedisServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        append(&engine, &log, (0..5).map(|_| event("x")).collect()).await;
        server.cli("xdel {cinnabar}:log 3-0");
        let gap = engine.follow(&log, 2, 10, BYTES, Duration::ZERO).await;
        assert_eq!(gap, Err(EngineError::Log(LogError::Trimmed { first: 4 })));
        // Who asks for more gets what comes before the gap, and is told of it next.
        let before = engine.follow(&log, 0, 10, BYTES, Duration::ZERO).await.expect("two events");
        assert_eq!(before.iter().map(|placed| placed.offset).collect::<Vec<_>>(), [1, 2]);
        let before = engine.range(&log, 0, 10, BYTES).await.expect("two events");
        assert_eq!(before.iter().map(|placed| placed.offset).collect::<Vec<_>>(), [1, 2]);
        let gap = engine.range(&log, 2, 10, BYTES).await;
        assert_eq!(gap, Err(EngineError::Log(LogError::Trimmed { first: 4 })));
        server.cli("del {cinnabar}:log");
        let gap = engine.follow(&log, 2, 10, BYTES, Duration::ZERO).await;
        assert_eq!(gap, Err(EngineError::Log(LogError::Trimmed { first: 6 })));
        assert_eq!(append(&engine, &log, vec![event("6")]).await, [6]);
        assert_eq!(engine.bounds(&log).await, Ok(Bounds { first: 6, last: 6 }));
        server.cli("xadd {cinnabar}:log 9-0 a b");
        let appended = engine.append(&log, vec![event("7"), event("8"), event("9")]).await;
        assert!(
            matches!(&appended[0], Err(EngineError::Refused(why)) if why.contains("somebody else writes")),
            "{appended:?}"
        );
    });
}

#[test]
fn in_a_redis_cluster_everything_is_on_one_node() {
    tell(|| async {
        let server = RedisServer::with("redis", &["--cluster-enabled", "yes"], "--port");
        let engine = server.engine(PLENTY);
        assert!(unavailable(&engine.open().await), "no node keeps anything yet");
        server.cli("cluster addslotsrange 0 16383");
        let log = eventually("the cluster is complete", || async { engine.open().await.ok() }).await.identity;
        append(&engine, &log, vec![named("a")]).await;
        assert_eq!(engine.find(&log, "a").await, Ok(Some(1)));
        engine.arrive(NodeId([1; 16]), Duration::from_secs(9)).await.expect("known");
        assert_eq!(engine.renew(NodeId([1; 16]), Duration::from_secs(9)).await, Ok(true));
        assert_eq!(engine.claim(NodeId([1; 16]), Duration::from_secs(9)).await, Ok(None));
    });
}

#[test]
fn a_replica_refuses_until_it_is_a_primary_again() {
    tell(|| async {
        let server = RedisServer::start();
        let engine = server.engine(PLENTY);
        let log = engine.open().await.expect("opened").identity;
        append(&engine, &log, vec![event("1")]).await;
        // Nobody is there, so that it keeps what it has.
        server.cli("replicaof 127.0.0.1 1");
        let appended = engine.append(&log, vec![event("2")]).await;
        assert!(matches!(&appended[0], Err(EngineError::Refused(why)) if why.contains("primary")), "{appended:?}");
        server.cli("replicaof no one");
        let bounds = eventually("it is a primary again", || async { engine.bounds(&log).await.ok() }).await;
        assert_eq!(bounds, Bounds { first: 1, last: 1 });
    });
}
