//! `cinnabar-loadgen agent` as a process of a test: what it says is heard, and it ends with the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One round of broadcasts, then everybody returns with the last id while more come, and some come anew.
pub(crate) const SMALL: &str = r#"title = "small"
[[group]]
name = "everyone"
count = 40
topics = ["urn:a"]
keep-id = true
[[group]]
name = "own"
count = 20
topics = ["urn:t/{n % 5}", "urn:a"]
token = "shared"
[[group]]
name = "victim"
count = 1
topics = ["urn:a", "urn:victim"]
[[publisher]]
name = "one"
topics = ["urn:a"]
sizes = [300]
one-at-a-time = true
[[publisher]]
name = "some"
topics = ["urn:a", "urn:t/{n % 5}"]
sizes = [64, 3000]
connections = 3
rate = 200.0
[steps]
rounds = 2
setup = [
  { connect = { group = "everyone", measure = "come" } },
  { connect = { group = "own" } },
  { connect = { group = "victim" } },
  { publish = { by = "one", count = 2 } },
]
round = [
  { publish = { by = "one", count = 3, measure = "broadcast" } },
  { together = { measure = "storm", tracks = [
    [{ publish = { by = "some" } }],
    [
      { drop = { group = "everyone", share = 0.5 } },
      { wait = { seconds = 0.1 } },
      { return = { group = "everyone", rate = 1000.0 } },
      { churn = { group = "own", rate = 100.0, seconds = 0.3 } },
      { stop-reading = { group = "everyone" } },
      { wait = { seconds = 0.1 } },
      { read-on = { group = "everyone" } },
    ],
  ] } },
]
finish = [{ leave = { group = "own" } }]
"#;

/// Publishes for longer than any test lasts.
pub(crate) const ENDLESS: &str = r#"title = "endless"
[[group]]
name = "all"
count = 30
topics = ["urn:a"]
[[publisher]]
name = "p"
topics = ["urn:a"]
sizes = [300]
rate = 50.0
[steps]
setup = [{ connect = { group = "all" } }]
round = [{ publish = { by = "p", seconds = 600.0, measure = "on" } }]
"#;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_cinnabar-loadgen");

/// An agent that runs until it is dropped.
pub(crate) struct Agent {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    /// Where it listens.
    pub(crate) address: String,
}

impl Agent {
    /// Started by a command that ends with the program and `agent`; these are the arguments after it.
    pub(crate) fn start(mut command: Command, arguments: &[&str]) -> Self {
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut agent = Self { child, lines, said: Vec::new(), address: String::new() };
        let line = agent.hear("listening on ");
        agent.address = line.rsplit(' ').next().expect("an address").to_owned();
        agent
    }

    /// On a free loopback port.
    pub(crate) fn on_loopback(arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["agent", "--listen", "127.0.0.1:0"]).env_remove("CINNABAR_LOADGEN_SECRET");
        Self::start(command, arguments)
    }

    /// Waits for a line with these words. Each line is heard once.
    pub(crate) fn hear(&mut self, words: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("never said {words:?}: {:#?}", self.said),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without {words:?}: {:#?}", self.said),
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A scenario's file, of a name no other test uses.
pub(crate) fn scenario(name: &str, text: &str) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    std::fs::write(&file, text).expect("written");
    file.to_str().expect("a path").to_owned()
}

/// A file with a secret.
pub(crate) fn secret(name: &str, text: &str) -> String {
    let file: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.secret"));
    std::fs::write(&file, text).expect("written");
    file.to_str().expect("a path").to_owned()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Every delivery was checked, and was as it had to be.
pub(crate) fn held(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
    assert!(said(output).contains("every event once, whole, in one order"), "{}", said(output));
}

/// The run could not be made, and it is said why.
pub(crate) fn refused(output: &Output, words: &str) {
    assert_eq!(output.status.code(), Some(2), "{}", said(output));
    assert!(said(output).contains(words), "{words:?}: {}", said(output));
}
