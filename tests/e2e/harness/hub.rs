//! A hub under test: the real binary on a port of its own, stopped when the test ends.

use super::{
    Client, Folder, HUB, ISSUER, PATIENCE, PUBLISHER_KEY, Process, RESOURCE, Response, SUBSCRIBER_KEY, Stream,
    eventually, form, publisher, query,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a hub may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How a hub is to be started.
#[derive(Debug)]
pub(crate) struct Launch {
    args: Vec<String>,
    env: Vec<(String, String)>,
    folder: Arc<Folder>,
    port: u16,
    descriptors_max: Option<u32>,
    /// Options of the file system that the data folder is on.
    disk: Option<String>,
    /// The program that becomes the hub, with its arguments before the hub's.
    through: Vec<String>,
}

impl Launch {
    /// `cinnabar` with a listening port, an I/O driver and a data folder in the environment, and no other argument.
    pub(crate) fn bare() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            folder: Arc::new(Folder::new()),
            port: free_port(),
            descriptors_max: None,
            disk: None,
            through: Vec::new(),
        }
    }

    /// `cinnabar serve` and no more.
    pub(crate) fn serve() -> Self {
        Self::bare().args(&["serve"])
    }

    /// `cinnabar serve` with an issuer and a secret for each role.
    pub(crate) fn keyed() -> Self {
        Self::serve().args(&[
            "--resource",
            RESOURCE,
            "--issuer",
            ISSUER,
            "--publisher-jwt-key",
            PUBLISHER_KEY,
            "--subscriber-jwt-key",
            SUBSCRIBER_KEY,
        ])
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a limit on descriptors that the hub can't raise.
    pub(crate) fn descriptors(mut self, max: u32) -> Self {
        self.descriptors_max = Some(max);
        self
    }

    /// With its data on a file system in memory of its own, mounted with these options, which nobody else sees; see [`Hub::data_seen`].
    pub(crate) fn disk(mut self, options: &str) -> Self {
        self.disk = Some(options.to_owned());
        self
    }

    /// Started by another program, which is given the hub's command line behind these arguments.
    pub(crate) fn through(mut self, program: &[&str]) -> Self {
        self.through = program.iter().map(|&arg| arg.to_owned()).collect();
        self
    }

    /// On the port and with the data folder of an earlier hub, which has to have stopped.
    pub(crate) fn in_place_of(mut self, port: u16, folder: Arc<Folder>) -> Self {
        (self.port, self.folder) = (port, folder);
        self
    }

    /// A file beside the hub's data, gone with it.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        self.folder.write(name, content)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_cinnabar");
        let mut command = match (self.descriptors_max, &self.disk) {
            (None, None) if !self.through.is_empty() => {
                let mut command = Command::new(&self.through[0]);
                command.args(&self.through[1..]).arg(binary);
                command
            }
            (None, None) => Command::new(binary),
            (Some(max), _) => {
                let mut command = Command::new("bash");
                command.args(["-c", &format!("ulimit -n {max}; exec \"$0\" \"$@\""), binary]);
                command
            }
            (None, Some(options)) => {
                let data = self.folder.path().join("data");
                std::fs::create_dir_all(&data).expect("a folder to mount on");
                let mut command = Command::new("unshare");
                command.args(["--mount", "bash", "-c"]);
                command.arg(format!(
                    "mount -t tmpfs -o mode=700,{options} none '{}' && exec \"$0\" \"$@\"",
                    data.display()
                ));
                command.arg(binary);
                command
            }
        };
        for (name, _) in std::env::vars() {
            if name.starts_with("CINNABAR_") || name.starts_with("MERCURE_") {
                command.env_remove(name);
            }
        }
        command
            .args(&self.args)
            .env("CINNABAR_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("CINNABAR_DATA", self.folder.path().join("data"))
            .env("CINNABAR_SHARDS", "2")
            // Tests of other things don't wait for streams to end one by one.
            .env("CINNABAR_DRAIN_WINDOW", "0")
            .env("NO_COLOR", "1")
            .envs(self.env.iter().cloned())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        if let Ok(driver) = std::env::var("CINNABAR_TEST_IO") {
            command.env("CINNABAR_IO", driver);
        }
        command
    }

    /// Starts a hub and waits until it says that it listens.
    pub(crate) fn start(self) -> Hub {
        self.try_start().unwrap_or_else(|said| panic!("{said}"))
    }

    /// The same where it may end instead; gives what it said then.
    pub(crate) fn try_start(self) -> Result<Hub, String> {
        let mut child =
            self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let collecting = [
            collect(child.stdout.take().expect("piped"), Arc::clone(&log)),
            collect(child.stderr.take().expect("piped"), Arc::clone(&log)),
        ];
        let mut hub = Hub {
            child: Some(child),
            address: SocketAddr::from(([127, 0, 0, 1], self.port)),
            folder: self.folder,
            log,
        };
        let deadline = Instant::now() + PATIENCE;
        while !hub.log().lines().any(|line| line.starts_with("listening on http")) {
            if let Some(ended) = hub.running().try_wait().expect("a child") {
                hub.child = None;
                for thread in collecting {
                    thread.join().expect("no panic while logging");
                }
                return Err(format!("the hub ended at start: {ended:?}\n{}", hub.log()));
            }
            if Instant::now() > deadline {
                return Err(format!("no `listening on http…`:\n{}", hub.log()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(hub)
    }

    /// Starts a hub that has to refuse to start, and gives what it says on standard error.
    pub(crate) fn refused(self) -> String {
        let mut child =
            self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let collecting = [
            collect(child.stdout.take().expect("piped"), Arc::clone(&log)),
            collect(child.stderr.take().expect("piped"), Arc::clone(&log)),
        ];
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                for thread in collecting {
                    thread.join().expect("no panic while logging");
                }
                let said = lock(&log);
                assert!(!status.success(), "refused with a success status:\n{said}");
                return said;
            }
            let listens = lock(&log).contains("listening on http");
            if listens || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the hub started instead of refusing:\n{}", lock(&log));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs a command that ends by itself, with something on standard input.
    pub(crate) fn output(self, input: &str) -> Output {
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        // A command that reads nothing may have ended already.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        child.wait_with_output().expect("a child")
    }

    /// Runs a command whose output is followed.
    pub(crate) fn follow(self) -> Process {
        Process::start(self.command())
    }
}

/// A running hub.
#[derive(Debug)]
pub(crate) struct Hub {
    child: Option<Child>,
    address: SocketAddr,
    folder: Arc<Folder>,
    log: Arc<Mutex<String>>,
}

impl Hub {
    /// With a secret for each role and the arguments given.
    pub(crate) fn start(args: &[&str]) -> Self {
        Launch::keyed().args(args).start()
    }

    /// With a secret for each role, letting anonymous subscribers in.
    pub(crate) fn anonymous() -> Self {
        Self::start(&["--anonymous"])
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn folder(&self) -> Arc<Folder> {
        Arc::clone(&self.folder)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}{HUB}", self.address)
    }

    /// The data folder as the hub sees it, whatever is mounted there for it.
    pub(crate) fn data_seen(&self) -> std::path::PathBuf {
        let data = self.folder.path().join("data");
        let below_root = data.strip_prefix("/").expect("temporary folders are absolute");
        std::path::Path::new("/proc").join(self.pid().to_string()).join("root").join(below_root)
    }

    /// Everything said so far on standard output and standard error.
    pub(crate) fn log(&self) -> String {
        lock(&self.log)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running hub").id()
    }

    /// What of it is in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A request without a body on a connection of its own; for answers that end.
    pub(crate) fn request(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        let mut client = self.connect();
        client.request(method, target, headers, None);
        client.response(method)
    }

    /// `POST` of form fields with the token given, on a connection of its own.
    pub(crate) fn post(&self, token: &str, fields: &[(&str, &str)]) -> Response {
        self.post_with(&[("Authorization", &format!("Bearer {token}"))], fields)
    }

    /// `POST` of form fields with the headers given.
    pub(crate) fn post_with(&self, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Response {
        let mut client = self.connect();
        client.post(headers, form(fields).as_bytes());
        client.response("POST")
    }

    /// Publishes with a token for every topic and gives the update's id.
    pub(crate) fn publish(&self, fields: &[(&str, &str)]) -> String {
        let response = self.post(&publisher(), fields);
        assert_eq!(response.status, 200, "{fields:?}: {response:?}");
        response.text()
    }

    /// Publishes one plain update and gives its id.
    pub(crate) fn say(&self, topic: &str, data: &str) -> String {
        self.publish(&[("topic", topic), ("data", data)])
    }

    /// An event stream or the refusal of it.
    pub(crate) fn try_subscribe(
        &self,
        parameters: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Result<Stream, Response> {
        let mut client = self.connect();
        client.request("GET", &query(parameters), headers, None);
        client.stream()
    }

    /// An anonymous event stream.
    pub(crate) fn subscribe(&self, parameters: &[(&str, &str)]) -> Stream {
        self.try_subscribe(parameters, &[]).unwrap_or_else(|refusal| panic!("{parameters:?}: {refusal:?}"))
    }

    /// An event stream with a token.
    pub(crate) fn subscribe_as(&self, token: &str, parameters: &[(&str, &str)]) -> Stream {
        self.try_subscribe(parameters, &[("Authorization", &format!("Bearer {token}"))])
            .unwrap_or_else(|refusal| panic!("{parameters:?}: {refusal:?}"))
    }

    /// The status of a subscription attempt.
    pub(crate) fn subscribe_status(&self, parameters: &[(&str, &str)], headers: &[(&str, &str)]) -> u16 {
        match self.try_subscribe(parameters, headers) {
            Ok(_) => 200,
            Err(refusal) => refusal.status,
        }
    }

    /// Sends SIGTERM and gives the exit status.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        signal(self.pid(), "TERM");
        self.exit_status()
    }

    /// Waits for the end of the process.
    pub(crate) fn exit_status(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the hub ends", || {
            status = self.running().try_wait().expect("a child");
            status.is_some()
        });
        self.child = None;
        status.expect("just seen")
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a running hub");
            child.wait().expect("a child");
        }
    }

    fn running(&mut self) -> &mut Child {
        self.child.as_mut().expect("a running hub")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(child.id(), "TERM");
            let deadline = Instant::now() + STOP_PATIENCE;
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    let _ = child.kill();
                    let _ = child.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if std::thread::panicking() {
            eprintln!("--- the hub said:\n{}---", self.log());
        }
    }
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("bash").args(["-c", &format!("kill -{name} {pid}")]).stderr(Stdio::null()).status();
    assert!(sent.is_ok(), "bash sends signals");
}

/// A port nobody listens on. Hubs share a port among their shards, so a port taken twice would go unnoticed: it is handed out
/// once per process, from a range that the kernel doesn't choose ports for clients from.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 80).expect("small") * 250;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Collects what a process says, on a thread that ends with it.
fn collect(pipe: impl Read + Send + 'static, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { break };
            let mut log = log.lock().expect("no panic while logging");
            log.push_str(&line);
            log.push('\n');
        }
    })
}

fn lock(log: &Mutex<String>) -> String {
    log.lock().expect("no panic while logging").clone()
}
