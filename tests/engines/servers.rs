//! Real servers on loopback, in folders that disappear with the test.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use cinnabar::cluster::{Engine, Retention};

use crate::folder::Folder;

/// How long anything may take before the test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Enough for every story that isn't about too much.
pub(crate) const PLENTY: Retention = Retention { events_max: 1_000_000, bytes_max: 1 << 30, age_max_ms: None };

/// What the stories need of a server. One engine is one implementation of this.
pub(crate) trait Server {
    /// The engine that is tested.
    type Engine: Engine;

    /// Starts a server with nothing in it.
    fn start() -> Self;

    /// Its process.
    fn daemon(&mut self) -> &mut Daemon;

    /// A new engine that goes to this server. Those of one server share a log.
    fn engine(&self, retention: Retention) -> Self::Engine;

    /// Throws away everything the server has, also while it runs.
    fn wipe(&mut self) {
        let daemon = self.daemon();
        daemon.kill();
        daemon.empty();
        daemon.run();
    }

    /// The server as it was when this was called before, newer things lost: first keeps a copy of its data, then goes back to it.
    fn keep_copy(&mut self) {
        let daemon = self.daemon();
        daemon.kill();
        daemon.copy();
        daemon.run();
    }

    /// See [`Server::keep_copy`].
    fn go_back(&mut self) {
        let daemon = self.daemon();
        daemon.kill();
        daemon.go_back();
        daemon.run();
    }

    /// Stops it as it stands, without closing anything.
    fn pause(&mut self) {
        self.daemon().signal("STOP");
    }

    /// Lets it go on.
    fn resume(&mut self) {
        self.daemon().signal("CONT");
    }
}

/// A server's process and its folder.
#[derive(Debug)]
pub(crate) struct Daemon {
    program: &'static str,
    package: &'static str,
    arguments: Vec<String>,
    pub(crate) port: u16,
    folder: Folder,
    child: Option<Child>,
}

impl Daemon {
    /// Starts a program of a Debian package; the arguments follow from the port it shall listen on and the folder for its data.
    pub(crate) fn start(
        program: &'static str,
        package: &'static str,
        arguments: impl FnOnce(u16, &Path) -> Vec<String>,
    ) -> Daemon {
        let folder = Folder::new();
        let port = free_port();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder in the temporary folder");
        let arguments = arguments(port, &data);
        let mut daemon = Daemon { program, package, arguments, port, folder, child: None };
        daemon.run();
        daemon
    }

    /// The folder of its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts it with the data it has, and waits until it listens.
    pub(crate) fn run(&mut self) {
        let path = format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a file in the temporary folder");
        let mut command = Command::new(self.program);
        command.args(&self.arguments).env("PATH", path).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!(
                "{} is not installed, and this test needs it: apt-get install {} (tests/run does that)",
                self.program, self.package
            ),
            _ => panic!("{}: {error}", self.program),
        });
        self.child = Some(child);
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().expect("a child").is_some());
            assert!(!ended && start.elapsed() < PATIENCE, "{} did not start:\n{}", self.program, self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// kill -9, of the processes it has started too.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let started = processes_of(child.id());
            let _ = child.kill();
            let _ = child.wait();
            for id in &started {
                let _ = Command::new("bash").args(["-c", &format!("kill -KILL {id} 2>&-")]).status();
            }
            let start = Instant::now();
            while started.iter().any(|id| is_alive(id)) && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Sends a signal by name, to the processes it has started too.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("a running server").id();
        let started = processes_of(id).join(" ");
        // Those that have ended meanwhile don't matter.
        let sent = Command::new("bash").args(["-c", &format!("kill -{name} {id} {started} 2>&-; true")]).status();
        assert!(sent.is_ok_and(|status| status.success()), "bash sends signals");
    }

    /// Throws its data away.
    pub(crate) fn empty(&self) {
        std::fs::remove_dir_all(self.data()).expect("the data is there");
        std::fs::create_dir(self.data()).expect("a folder in the temporary folder");
    }

    fn copy(&self) {
        shell(&format!("cp -a {0}/data {0}/copy", self.folder.path().display()));
    }

    fn go_back(&self) {
        shell(&format!("rm -rf {0}/data && mv {0}/copy {0}/data", self.folder.path().display()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.program, self.log());
        }
    }
}

/// The processes that one has started: PostgreSQL has one for each connection.
fn processes_of(id: u32) -> Vec<String> {
    let started = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    started.split_whitespace().map(str::to_owned).collect()
}

fn is_alive(id: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // Behind the name, which is in brackets, stands the state.
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Runs a line of bash that has to succeed.
pub(crate) fn shell(line: &str) {
    let output = Command::new("bash").args(["-c", line]).output().expect("bash is there");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A port nobody listens on, handed out once per process and below those the kernel chooses for clients.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 30_000 + u16::try_from(std::process::id() % 26).expect("small") * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
