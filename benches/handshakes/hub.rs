//! A hub with one shard that speaks TLS, with a certificate made for the run, and listens in the clear, too.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, fs, process, thread};

/// Two readings a second apart that differ by no more are the same.
const STILL_KILOBYTES: u64 = 64;
const STILL_TRIES_MAX: usize = 60;
const SECRET: &str = "a secret that only benches use, 32 bytes and more";

/// A running hub.
pub(crate) struct Hub {
    child: Child,
    address: SocketAddr,
    clear: SocketAddr,
    folder: PathBuf,
}

impl Hub {
    /// Starts one and waits until it listens.
    pub(crate) fn start() -> Hub {
        let binary = env::var("HUB_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_cinnabar").to_owned());
        let io = env::var("HUB_IO").unwrap_or_else(|_| "uring".to_owned());
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("cinnabar-handshakes-{}-{number}", process::id()));
        fs::create_dir_all(&folder).expect("a folder for the certificate");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(folder.join("hub.key"))
            .arg("-out")
            .arg(folder.join("hub.pem"))
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl is installed").success(), "openssl made no certificate");
        let mut child = Command::new(&binary)
            .args(["serve", "--listen", "tls:127.0.0.1:0", "--listen", "127.0.0.1:0", "--tls-certificate"])
            .arg(folder.join("hub.pem"))
            .arg("--tls-key")
            .arg(folder.join("hub.key"))
            .args(["--resource", "https://hub.example/.well-known/mercure", "--issuer", "https://login.example"])
            .args(["--publisher-jwt-key", SECRET, "--anonymous", "--shards", "1", "--io", &io, "--heartbeat", "0"])
            .args(["--admin", "off", "--history", "memory", "--data"])
            .arg(folder.join("data"))
            // Or memory moves in steps of 2 MiB.
            .env("MIMALLOC_ALLOW_THP", "0")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the hub starts");
        let mut said = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let mut lines = Vec::new();
        let mut found: [Option<SocketAddr>; 2] = [None; 2];
        while found.contains(&None)
            && let Some(line) = said.next()
        {
            for (scheme, found) in ["https", "http"].into_iter().zip(&mut found) {
                let address = line.split_once(&format!("listening on {scheme}://"));
                *found = found.or(address.and_then(|(_, address)| address.trim().parse().ok()));
            }
            lines.push(line);
        }
        let [Some(address), Some(clear)] = found else {
            panic!("{binary} doesn't listen; it said:\n{}", lines.join("\n"));
        };
        // Nobody wants to hear more, but the hub must be able to speak.
        thread::spawn(move || said.for_each(drop));
        Hub { child, address, clear, folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens without TLS.
    pub(crate) fn clear(&self) -> SocketAddr {
        self.clear
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("hub.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("hub.key")
    }

    /// Its private memory, once it stands still.
    pub(crate) fn private_bytes(&self) -> f64 {
        let mut before = 0;
        for _ in 0..STILL_TRIES_MAX {
            thread::sleep(Duration::from_secs(1));
            let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).expect("the hub runs");
            let now: u64 = text
                .lines()
                .filter(|line| line.starts_with("Private_"))
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum();
            if now.abs_diff(before) <= STILL_KILOBYTES {
                return now as f64 * 1024.0;
            }
            before = now;
        }
        panic!("the hub's memory never stands still");
    }

    /// CPU time of all its threads so far. Exact as far as they wait.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the hub runs");
        let of_thread = |path: PathBuf| {
            let text = fs::read_to_string(path.join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.flatten().filter_map(|task| of_thread(task.path())).sum())
    }
}

/// However a run ends, nothing of it is left behind.
impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
