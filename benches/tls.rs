//! What a full TLS 1.3 handshake costs the hub, beside the server's half of the same handshake made in memory by the library
//! alone, with the same key, in the same run; and the memory of connections of HTTP/2 over TLS and of their streams, with what it is made of.
//!
//!     cargo bench --bench tls
//!
//! CPU time is compared, not time: clients share the cores with the hub. The hub's is that of all its threads, from accepting a
//! connection to its end, without what it uses at rest; what the kernel does for it is part of that. `HUB_BINARY` measures another hub, `HUB_IO` (uring) names its I/O
//! driver.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark reads the clock and prints"
)]

#[path = "handshakes/caller.rs"]
mod caller;
#[path = "handshakes/clock.rs"]
mod clock;
#[path = "handshakes/hub.rs"]
mod hub;
#[path = "handshakes/streams.rs"]
mod streams;

use std::ops::DerefMut;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use caller::Caller;
use hub::Hub;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection, SideData, version,
};
use streams::Streams;

/// Rounds of the comparison.
const ROUNDS: usize = 9;
/// Handshakes in a round, of each kind.
const HANDSHAKES: usize = 1_000;
/// Clients that connect at the same time, and halves of servers in memory.
const CLIENTS: usize = 64;
/// Between two looks at them.
const LOOK: Duration = Duration::from_micros(500);
/// The goal: the hub's share of bare handshakes, per second and core.
const SHARE_MIN: f64 = 0.70;
/// Connections of HTTP/2 whose memory is measured, and the streams that each gets besides its first.
const CONNECTIONS: usize = 500;
const FURTHER: usize = 9;
/// The goals.
const CONNECTION_BYTES_MAX: f64 = 30_000.0;
const STREAM_BYTES_MAX: f64 = 3_000.0;

/// What clients trust and servers show.
struct World {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: ServerName<'static>,
}

impl World {
    fn new(certificate: &Path, key: &Path) -> World {
        let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a certificate that can be trusted");
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.resumption = rustls::client::Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .expect("TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a pair");
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        // The bare handshake and nothing behind it.
        server.send_tls13_tickets = 0;
        let name = ServerName::try_from("localhost").expect("a name");
        World { client: Arc::new(client), server: Arc::new(server), name }
    }

    fn client(&self) -> ClientConnection {
        self.client_for(b"http/1.1")
    }

    fn client_for(&self, alpn: &[u8]) -> ClientConnection {
        let (config, name) = (Arc::clone(&self.client), self.name.clone());
        ClientConnection::new_with_alpn(config, name, vec![alpn.to_vec()]).expect("a client")
    }

    /// So many handshakes in memory: the CPU time of the server's halves.
    fn bare(&self, count: usize) -> Duration {
        let mut clients: Vec<ClientConnection> = (0..count).map(|_| self.client()).collect();
        let hellos: Vec<_> = clients.iter_mut().map(said).collect();
        let begin = clock::thread_cpu();
        let (mut servers, mut flights) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for hello in &hellos {
            let mut server = ServerConnection::new(Arc::clone(&self.server)).expect("a server");
            hear(&mut server, hello);
            flights.push(said(&mut server));
            servers.push(server);
        }
        let mut spent = clock::thread_cpu() - begin;
        let answer = |(client, flight): (&mut ClientConnection, &Vec<u8>)| {
            hear(client, flight);
            said(client)
        };
        let answers: Vec<_> = clients.iter_mut().zip(&flights).map(answer).collect();
        let begin = clock::thread_cpu();
        for (server, answer) in servers.iter_mut().zip(&answers) {
            hear(server, answer);
        }
        spent += clock::thread_cpu() - begin;
        assert!(servers.iter().all(|server| !server.is_handshaking()), "all handshakes are over");
        spent
    }
}

/// What a half of a connection has to say.
fn said<T>(half: &mut impl DerefMut<Target = ConnectionCommon<T>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while half.wants_write() {
        half.write_tls(&mut bytes).expect("memory");
    }
    bytes
}

/// Tells it what the other has said.
fn hear<T: SideData>(half: &mut impl DerefMut<Target = ConnectionCommon<T>>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        half.read_tls(&mut bytes).expect("memory");
        half.process_new_packets().expect("a good other half");
    }
}

/// What a connection of HTTP/2 costs a fresh hub, bytes: before it has a stream, its first stream, and each further one.
fn memory(tls: bool) -> [f64; 3] {
    let hub = Hub::start();
    let world = World::new(&hub.certificate(), &hub.key());
    let connect = || match tls {
        true => Streams::connect(hub.address(), Some(world.client_for(b"h2"))),
        false => Streams::connect(hub.clear(), None),
    };
    // What a hub allocates once is no connection's.
    let mut few: Vec<Streams> = (0..CONNECTIONS / 10).map(|_| connect()).collect();
    few.iter_mut().for_each(|streams| streams.open(1 + FURTHER));
    drop(few);
    let before = hub.private_bytes();
    let mut all: Vec<Streams> = (0..CONNECTIONS).map(|_| connect()).collect();
    let without = hub.private_bytes();
    all.iter_mut().for_each(|streams| streams.open(1));
    let with_one = hub.private_bytes();
    all.iter_mut().for_each(|streams| streams.open(FURTHER));
    let with_all = hub.private_bytes();
    let connections = CONNECTIONS as f64;
    [
        (without - before) / connections,
        (with_one - without) / connections,
        (with_all - with_one) / (connections * FURTHER as f64),
    ]
}

/// What a round of one kind took.
#[derive(Clone, Copy)]
struct Cost {
    /// Each.
    cpu: Duration,
    /// All of them.
    elapsed: Duration,
}

fn bare_round(world: &World) -> Cost {
    let begin = Instant::now();
    let cpu: Duration = (0..HANDSHAKES / CLIENTS).map(|_| world.bare(CLIENTS)).sum();
    Cost { cpu: cpu / (HANDSHAKES / CLIENTS * CLIENTS) as u32, elapsed: begin.elapsed() }
}

fn hub_round(world: &World, hub: &Hub, idle: f64) -> Cost {
    let (cpu, begin) = (hub.cpu(), Instant::now());
    let mut left = HANDSHAKES;
    let mut callers: Vec<Caller> = Vec::new();
    while left > 0 || !callers.is_empty() {
        while left > 0 && callers.len() < CLIENTS {
            left -= 1;
            callers.push(Caller::connect(hub.address(), world.client()));
        }
        callers.retain_mut(|caller| !caller.hear().expect("the hub shakes hands"));
        // Together, as many clients of many machines would: one that thinks before it speaks would have the hub wake up for each.
        callers.iter_mut().for_each(|caller| caller.say().expect("the hub takes it"));
        // Who sleeps in a read has the hub pay for waking it.
        thread::sleep(LOOK);
    }
    let elapsed = begin.elapsed();
    // The last ends are still to be noticed.
    thread::sleep(Duration::from_millis(50));
    let at_rest = begin.elapsed().mul_f64(idle);
    Cost { cpu: (hub.cpu() - cpu).saturating_sub(at_rest) / HANDSHAKES as u32, elapsed }
}

/// The share of a core that the hub uses when nobody is there: clocks and metrics, which no handshake is to blame for.
fn at_rest(hub: &Hub) -> f64 {
    let (cpu, begin) = (hub.cpu(), Instant::now());
    thread::sleep(Duration::from_secs(3));
    (hub.cpu() - cpu).as_secs_f64() / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn spread(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    format!("{:.2} ({low:.2} to {high:.2})", median(values.to_vec()))
}

fn main() {
    let hub = Hub::start();
    let world = World::new(&hub.certificate(), &hub.key());
    // What is made once is no handshake's.
    bare_round(&world);
    let idle = at_rest(&hub);
    hub_round(&world, &hub, idle);
    let (mut bares, mut hubs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bares.push(bare_round(&world));
        hubs.push(hub_round(&world, &hub, idle));
    }
    let micros = |cost: &Cost| cost.cpu.as_nanos() as f64 / 1e3;
    let shares: Vec<f64> = bares.iter().zip(&hubs).map(|(bare, hub)| micros(bare) / micros(hub)).collect();
    println!(
        "\n| full TLS 1.3 handshakes ({ROUNDS} rounds of {HANDSHAKES}) | CPU of the server for each, µs | per second and core |\n|---|---|---|"
    );
    for (what, costs) in [("in memory, the library alone", &bares), ("the hub", &hubs)] {
        let each: Vec<f64> = costs.iter().map(micros).collect();
        println!("| {what} | {} | {:.0} |", spread(&each), 1e6 / median(each.clone()));
    }
    let walls = hubs.iter().map(|cost| HANDSHAKES as f64 / cost.elapsed.as_secs_f64()).collect();
    println!("\nThe hub with {CLIENTS} clients on the same cores: {:.0} handshakes per second.", median(walls));
    println!("\n| what | goal | reached |\n|---|---|---|");
    println!("| the hub's share of bare handshakes per second and core | ≥ {SHARE_MIN:.2} | {} |", spread(&shares));
    drop(hub);
    let ([connection, first, further], [clear, first_clear, further_clear]) = (memory(true), memory(false));
    println!(
        "| memory of a connection of HTTP/2 over TLS with one stream, of {CONNECTIONS} | ≤ {CONNECTION_BYTES_MAX} B | {:.0} B |",
        connection + first
    );
    println!(
        "| memory of each further stream, {FURTHER} on each connection | ≤ {STREAM_BYTES_MAX} B | {further:.0} B |"
    );
    println!("\n| what it is made of, B | over TLS | in the clear |\n|---|---|---|");
    println!(
        "| socket, task, buffers and HTTP/2 of a connection; TLS adds its session | {connection:.0} | {clear:.0} |"
    );
    println!("| its first stream | {first:.0} | {first_clear:.0} |");
    println!("| each further stream | {further:.0} | {further_clear:.0} |");
}
