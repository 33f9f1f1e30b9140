//! Three hubs, one engine, and a proxy between each of them and it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::engines::Backend;
use crate::harness::{Folder, Hub, Launch, Response};
use crate::plan::HUBS;
use crate::proxy::{Mode, Proxy};

/// How long hubs may take until all is well again.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Cluster<S> {
    nodes: Vec<Node>,
    server: Mutex<S>,
}

/// A hub's place, whether it is running or not.
#[derive(Debug)]
struct Node {
    proxy: Proxy,
    url: String,
    port: u16,
    folder: Arc<Folder>,
    hub: Mutex<Option<Hub>>,
}

impl<S: Backend> Cluster<S> {
    pub(crate) fn start() -> Cluster<S> {
        let mut server = S::start();
        let engine = server.daemon().port;
        let nodes = (0..HUBS)
            .map(|_| {
                let proxy = Proxy::to(engine);
                let url = server.url().replace(&format!(":{engine}"), &format!(":{}", proxy.port));
                let hub = member(&url).start();
                let (port, folder) = (hub.address().port(), hub.folder());
                Node { proxy, url, port, folder, hub: Mutex::new(Some(hub)) }
            })
            .collect();
        Cluster { nodes, server: Mutex::new(server) }
    }

    pub(crate) fn address(&self, hub: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.nodes[hub].port))
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        (0..HUBS).map(|hub| self.address(hub)).collect()
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, S> {
        self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn proxy(&self, hub: usize) -> &Proxy {
        &self.nodes[hub].proxy
    }

    pub(crate) fn kill_hub(&self, hub: usize) {
        if let Some(mut running) = self.hub(hub).take() {
            running.kill();
        }
    }

    /// Starts a hub where it was. One that doesn't reach the engine ends, and is started again, as by any service manager.
    pub(crate) fn start_hub(&self, hub: usize) {
        let node = &self.nodes[hub];
        let start = Instant::now();
        loop {
            match member(&node.url).in_place_of(node.port, node.folder.clone()).try_start() {
                Ok(running) => {
                    *self.hub(hub) = Some(running);
                    return;
                }
                Err(said) => {
                    assert!(said.contains("can't join the cluster"), "{said}");
                    assert!(start.elapsed() < PATIENCE, "{said}");
                }
            }
        }
    }

    /// Waits until every hub is ready.
    pub(crate) fn until_ready(&self) {
        let start = Instant::now();
        for hub in 0..HUBS {
            self.proxy(hub).set(Mode::Open);
        }
        for hub in 0..HUBS {
            while !self.is_ready(hub) {
                assert!(
                    start.elapsed() < PATIENCE,
                    "hub {hub} isn't ready although the engine is there:\n{}",
                    self.log(hub)
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn is_ready(&self, hub: usize) -> bool {
        self.look(hub, "/health/ready").is_some_and(|answer| answer.status == 200)
    }

    /// How often a hub, since its last start, found another log.
    pub(crate) fn losses(&self, hub: usize) -> u64 {
        let text = self.look(hub, "/metrics").expect("the hub answers").text();
        let line = text.lines().find_map(|line| line.strip_prefix("cinnabar_cluster_losses_total "));
        line.and_then(|number| number.parse::<f64>().ok()).expect("the hub counts") as u64
    }

    pub(crate) fn log(&self, hub: usize) -> String {
        self.hub(hub).as_ref().map(Hub::log).unwrap_or_default()
    }

    fn look(&self, hub: usize, path: &str) -> Option<Response> {
        let folder = self.nodes[hub].folder.path().join("data/admin.sock");
        let mut socket = std::os::unix::net::UnixStream::connect(folder).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        std::io::Write::write_all(&mut socket, request.as_bytes()).ok()?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut socket, &mut bytes).ok()?;
        let end = memchr::memmem::find(&bytes, b"\r\n\r\n")?;
        let mut response = Response::parse(&bytes[..end]);
        response.body = bytes.split_off(end + 4);
        Some(response)
    }

    fn hub(&self, hub: usize) -> MutexGuard<'_, Option<Hub>> {
        self.nodes[hub].hub.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn member(url: &str) -> Launch {
    Launch::keyed().args(&["--anonymous", "--heartbeat", "1s", "--cluster", url])
}
