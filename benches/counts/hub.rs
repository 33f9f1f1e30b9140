//! A hub that runs under a tool that counts, and who publishes to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::{env, fs, process, thread};

use cinnabar::protocol::keys::SigningKey;
use cinnabar::protocol::matcher::MatchType;
use cinnabar::protocol::token::{Mint, mint};

use super::Counts;

/// Where a hub has its resource.
pub(crate) const PATH: &str = "/.well-known/mercure";
/// What everybody listens to.
pub(crate) const TOPIC: &str = "https://app.example/news";
/// What an event carries besides its mark.
const DATA_BYTES: usize = 200;
const RESOURCE: &str = "https://hub.example/.well-known/mercure";
const ISSUER: &str = "https://login.example";
const SECRET: &str = "a secret that only benches use, 32 bytes and more";

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// System calls.
    Strace,
    /// Instructions outside the kernel.
    Callgrind,
}

/// A running hub.
pub(crate) struct Hub {
    child: Child,
    address: SocketAddr,
    tool: Tool,
    /// Where the tool writes.
    folder: PathBuf,
}

impl Hub {
    /// Starts one and waits until it listens.
    pub(crate) fn start(tool: Tool, io: &str) -> Hub {
        let binary = env::var("HUB_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_cinnabar").to_owned());
        let folder = env::temp_dir().join(format!("cinnabar-counts-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder for what is counted");
        let mut command = match tool {
            Tool::Strace => {
                let mut command = Command::new("strace");
                // Detached, so that the process started here is the hub.
                command.args(["-D", "-f", "-c", "-o"]).arg(folder.join("counts"));
                command
            }
            Tool::Callgrind => {
                let mut command = Command::new("valgrind");
                command.arg("--tool=callgrind").arg(format!("--log-file={}", folder.join("counts").display()));
                command.arg(format!("--callgrind-out-file={}", folder.join("callgrind").display()));
                command
            }
        };
        command.arg(&binary).args(["serve", "--listen", "127.0.0.1:0", "--resource", RESOURCE, "--issuer", ISSUER]);
        command.args(["--publisher-jwt-key", SECRET, "--anonymous", "--shards", "1", "--io", io, "--heartbeat", "0"]);
        command.args(["--admin", "off", "--history", "memory", "--data"]).arg(folder.join("data"));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the tool is there");
        let mut said = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let mut lines = Vec::new();
        let address = said.by_ref().find_map(|line| {
            let address = line.split_once("listening on http://").and_then(|(_, address)| address.trim().parse().ok());
            lines.push(line);
            address
        });
        let Some(address) = address else {
            panic!("{binary} doesn't listen under {tool:?}; it said:\n{}", lines.join("\n"));
        };
        // Nobody wants to hear more, but the hub must be able to speak.
        thread::spawn(move || said.for_each(drop));
        Hub { child, address, tool, folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn publisher(&self) -> Publisher {
        let socket = TcpStream::connect(self.address).expect("the hub accepts");
        socket.set_nodelay(true).expect("a TCP socket");
        Publisher { socket, token: token() }
    }

    /// Stops it, and reads what was counted over its whole life.
    pub(crate) fn stop(mut self) -> Counts {
        let stopped = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill is there");
        assert!(stopped.success(), "the hub is still there");
        self.child.wait().expect("the hub is a child");
        // strace outlives the hub by as long as it takes to write its table.
        let counts = (0..500).find_map(|_| {
            let text = fs::read_to_string(self.folder.join("counts")).unwrap_or_default();
            let counts = match self.tool {
                Tool::Strace => calls(&text),
                Tool::Callgrind => instructions(&text),
            };
            if counts.is_none() {
                thread::sleep(std::time::Duration::from_millis(10));
            }
            counts
        });
        counts.expect("the tool says what it counted when the hub has ended")
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

/// The table of `strace -c`: the fourth column is the number of calls, the last the name.
fn calls(text: &str) -> Option<Counts> {
    let mut counts = Counts::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let (Some(Ok(calls)), Some(name)) = (words.get(3).map(|word| word.parse()), words.last()) {
            counts.insert(if *name == "total" { "all" } else { name }.to_owned(), calls);
        }
    }
    counts.contains_key("all").then_some(counts)
}

/// The line `==pid== Collected : 123456` of callgrind.
fn instructions(text: &str) -> Option<Counts> {
    let (_, rest) = text.split_once("Collected :")?;
    let count = rest.split_whitespace().next()?.parse().ok()?;
    Some(Counts::from([("instructions".to_owned(), count)]))
}

/// A token that may publish everything, as long as anybody will run this.
fn token() -> String {
    let order = Mint {
        issuer: ISSUER.into(),
        audience: RESOURCE.into(),
        subject: Some("counts".into()),
        client_id: Some("counts".into()),
        issued_at_s: 1_700_000_000,
        expires_at_s: 7_000_000_000,
        publish: vec![(MatchType::Exact, "*".into())],
        ..Mint::default()
    };
    let key = SigningKey::from_text(SECRET, None).expect("a key");
    mint(&order, &key).expect("a token")
}

/// Who publishes, on one connection.
pub(crate) struct Publisher {
    socket: TcpStream,
    token: String,
}

impl Publisher {
    /// Publishes one event and waits for the answer.
    pub(crate) fn publish(&mut self, mark: &str) {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("topic", TOPIC)
            .append_pair("data", &format!("{mark} {}", "x".repeat(DATA_BYTES)))
            .finish();
        let request = format!(
            "POST {PATH} HTTP/1.1\r\nHost: hub.example\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        self.socket.write_all(request.as_bytes()).expect("the hub reads");
        let mut answer = Vec::new();
        let mut bytes = [0; 4096];
        // The answer is a head and an id, in one piece or two.
        while !whole(&answer) {
            let count = self.socket.read(&mut bytes).expect("the hub answers");
            assert_ne!(count, 0, "the hub closed: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&bytes[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
}

/// Whether as much of an answer is there as its head says.
fn whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|length| length.trim().parse().ok()).is_none_or(|length: usize| body.len() >= length)
}
