//! `cinnabar-loadgen agent` as a process of a test: what it says is heard, and it ends with the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::stand_in::story::{PROGRAM, said};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// A file with a secret.
pub(crate) fn secret(name: &str, text: &str) -> String {
    let file: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.secret"));
    std::fs::write(&file, text).expect("written");
    file.to_str().expect("a path").to_owned()
}

/// The run could not be made, and it is said why.
pub(crate) fn refused(output: &Output, words: &str) {
    assert_eq!(output.status.code(), Some(2), "{}", said(output));
    assert!(said(output).contains(words), "{words:?}: {}", said(output));
}
