//! What was true around a run and no scenario knows: when, on which machine, with which hub.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::accounts::Opening;
use crate::machine::Machine;
use crate::sys;

/// Bytes kept of what a hub's binary says of itself.
const VERSION_BYTES_MAX: u64 = 200;
/// How long it may take to say it.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

/// Taken before the run.
pub(crate) struct Surroundings {
    pub(crate) unix_time: u64,
    pub(crate) machine: Machine,
    pub(crate) hub: Option<String>,
    pub(crate) opening: Opening,
}

impl Surroundings {
    /// Looks around. `server` is a hub's process that this program doesn't start, `binary` a hub's it does.
    pub(crate) fn look(descriptors: (u64, u64), server: Option<u32>, binary: Option<&Path>) -> Self {
        Self {
            unix_time: sys::unix_seconds(),
            machine: Machine::now(descriptors),
            hub: binary.and_then(version_line),
            opening: Opening::now(server),
        }
    }
}

/// The first line of `BINARY --version`. A binary that doesn't know the argument is nobody's error here, and one that
/// begins to serve instead is ended.
fn version_line(binary: &Path) -> Option<String> {
    let mut command = Command::new(binary);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let end = sys::now_ns() + VERSION_TIMEOUT.as_nanos() as u64;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if sys::now_ns() < end => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let mut said = Vec::new();
    child.stdout.take()?.take(VERSION_BYTES_MAX).read_to_end(&mut said).ok()?;
    let line = String::from_utf8_lossy(&said).lines().next()?.trim().to_owned();
    (status.success() && !line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_that_has_no_version_is_no_error() {
        assert_eq!(version_line(Path::new("/bin/false")), None);
        assert_eq!(version_line(Path::new("/nowhere/at/all")), None);
        assert!(version_line(Path::new("/bin/sh")).is_none_or(|line| !line.contains('\n')));
    }
}
