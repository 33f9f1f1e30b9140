//! The servers that hubs of a cluster meet at, as their packages install them.

use std::path::Path;

use cinnabar::cluster::{Address, Nats, Redis, Retention};

use crate::postgres::PostgresServer;
use crate::servers::{Daemon, Server};

/// A server hubs can be told of.
pub(super) trait Backend: Server {
    /// For `--cluster`.
    fn url(&self) -> String;
}

pub(super) struct RedisServer(pub(super) Daemon);

impl RedisServer {
    pub(super) fn with(options: &[&str]) -> RedisServer {
        RedisServer::on("--port", options)
    }

    /// One that speaks TLS alone.
    pub(super) fn with_tls(options: &[&str]) -> RedisServer {
        RedisServer::on("--tls-port", &[&["--port", "0"], options].concat())
    }

    fn on(listens: &str, options: &[&str]) -> RedisServer {
        RedisServer(Daemon::start("redis-server", "redis-server", |port, data| {
            let folder = data.to_str().expect("a path in UTF-8");
            let port = port.to_string();
            let fixed = ["--bind", "127.0.0.1", listens, &port, "--dir", folder, "--save", ""];
            let durable = ["--appendonly", "yes", "--appendfsync", "always"];
            fixed.iter().chain(&durable).chain(options).map(|argument| (*argument).to_owned()).collect()
        }))
    }
}

impl Server for RedisServer {
    type Engine = Redis;

    fn start() -> RedisServer {
        RedisServer::with(&[])
    }

    fn daemon(&mut self) -> &mut Daemon {
        &mut self.0
    }

    fn engine(&self, retention: Retention) -> Redis {
        Redis::new(address(&self.url()), retention)
    }
}

impl Backend for RedisServer {
    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0.port)
    }
}

pub(super) struct NatsServer(pub(super) Daemon);

impl NatsServer {
    /// With more lines in its configuration.
    pub(super) fn with(lines: &str) -> NatsServer {
        NatsServer(Daemon::start("nats-server", "nats-server", |port: u16, data: &Path| {
            let data = data.to_str().expect("a path in UTF-8");
            let file = format!("{data}.conf");
            let listen = format!("listen: 127.0.0.1:{port}\n");
            let text = format!("{listen}jetstream {{ store_dir: \"{data}\", max_file_store: 8GB }}\n{lines}");
            std::fs::write(&file, text).expect("a file in the temporary folder");
            vec!["--config".to_owned(), file]
        }))
    }
}

impl Server for NatsServer {
    type Engine = Nats;

    fn start() -> NatsServer {
        NatsServer::with("")
    }

    fn daemon(&mut self) -> &mut Daemon {
        &mut self.0
    }

    fn engine(&self, retention: Retention) -> Nats {
        Nats::new(address(&self.url()), retention)
    }
}

impl Backend for NatsServer {
    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.0.port)
    }
}

impl Backend for PostgresServer {
    fn url(&self) -> String {
        self.address.url.to_string()
    }
}

fn address(url: &str) -> Address {
    Address {
        url: url.parse().expect("a URL"),
        name: "cinnabar".to_owned(),
        user: None,
        password: None,
        credentials: None,
        ca: None,
        certificate: None,
    }
}
