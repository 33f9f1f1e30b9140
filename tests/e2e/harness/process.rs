//! A program whose output is followed line by line.

use super::PATIENCE;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A running program, ended with the test.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// A line typed into bash.
    pub(crate) fn bash(line: &str) -> Self {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("exec {line}")]).stderr(Stdio::null());
        Self::start(command)
    }

    /// The next line.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line before the program ends and before patience does")
    }

    /// The lines there are, without waiting.
    pub(crate) fn lines_so_far(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }
}

/// The program that builds and runs what is written in Go; `None` where there is none, which is said, and is a failure where `CI` is set.
pub(crate) fn go() -> Option<&'static str> {
    let go = ["go", "/usr/local/go/bin/go"].into_iter().find(|go| Command::new(go).arg("version").output().is_ok());
    if go.is_none() {
        assert!(std::env::var_os("CI").is_none(), "there is no Go");
        eprintln!("skipped: there is no Go");
    }
    go
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
