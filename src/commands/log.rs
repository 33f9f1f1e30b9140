//! The log: lines on standard error, written by a thread of their own. When nobody reads them they are left out and
//! counted; those who log never wait.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Lines that may wait to be written.
const LINES_MAX: usize = 1024;
/// Bytes of a line; what is longer is cut.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// How long the end waits for the lines before it to be written.
const FLUSH_MS: u64 = 500;

/// What is to be written.
struct Entry {
    /// Lines before it that were left out.
    left_out: u64,
    bytes: Vec<u8>,
    /// To be told when everything up to here is written.
    done: Option<Sender<()>>,
}

/// The end of the log where lines go in. Dropping it waits, a bounded time, until they are written.
pub(super) struct Log(Lines);

/// What lines are given to: a clone for each thread, or for each line.
#[derive(Clone)]
pub(super) struct Lines {
    queue: Sender<Entry>,
    left_out: Arc<AtomicU64>,
}

impl Log {
    /// A log on standard error. Signals must be blocked already, or the log's thread would get them.
    ///
    /// # Errors
    /// When there is no standard error, or no thread to be had.
    pub(super) fn stderr() -> io::Result<Log> {
        // A descriptor of its own: the lock of the library's would be held while a write waits.
        Log::to(File::from(io::stderr().as_fd().try_clone_to_owned()?))
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Log> {
        let (queue, entries) = bounded(LINES_MAX);
        std::thread::Builder::new().name("log".into()).spawn(move || write(&entries, out))?;
        Ok(Log(Lines { queue, left_out: Arc::default() }))
    }

    pub(super) fn lines(&self) -> Lines {
        self.0.clone()
    }

    /// A line that must not be left out, whatever the filter is: waits, a bounded time, until there is room.
    pub(super) fn say(&self, text: &str) {
        let left_out = self.0.left_out.swap(0, Ordering::Relaxed);
        let line = Entry { left_out, bytes: format!("{text}\n").into_bytes(), done: None };
        if self.0.queue.send_timeout(line, Duration::from_millis(FLUSH_MS)).is_err() {
            self.0.left_out.fetch_add(left_out + 1, Ordering::Relaxed);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let (done, written) = bounded(1);
        let left_out = self.0.left_out.swap(0, Ordering::Relaxed);
        let last = Entry { left_out, bytes: Vec::new(), done: Some(done) };
        if self.0.queue.send_timeout(last, Duration::from_millis(FLUSH_MS)).is_ok() {
            let _ = written.recv_timeout(Duration::from_millis(FLUSH_MS));
        }
    }
}

/// Takes one line per call, as the formatter writes them.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut bytes = line[..line.len().min(LINE_BYTES_MAX)].to_vec();
        if bytes.len() < line.len() {
            bytes.extend_from_slice(b"...\n");
        }
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if self.queue.try_send(Entry { left_out, bytes, done: None }).is_err() {
            self.left_out.fetch_add(left_out + 1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where standard error is closed there is nobody to tell: failures are swallowed.
fn write(entries: &Receiver<Entry>, mut out: impl Write) {
    for entry in entries {
        if entry.left_out > 0 {
            let _ = writeln!(out, "{} lines of the log were left out: standard error was not read", entry.left_out);
        }
        let _ = out.write_all(&entry.bytes);
        if let Some(done) = entry.done {
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Takes lines only while the gate is open.
    #[derive(Clone, Default)]
    struct Pipe {
        gate: Arc<Mutex<()>>,
        text: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock().unwrap();
            self.text.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Pipe {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.text.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn lines_are_written_in_order_before_the_end() {
        let pipe = Pipe::default();
        let log = Log::to(pipe.clone()).unwrap();
        let mut lines = log.lines();
        lines.write_all(b"one\n").unwrap();
        log.say("two");
        lines.write_all(b"three\n").unwrap();
        lines.write_all(&[b'x'; 2 * LINE_BYTES_MAX]).unwrap();
        drop(log);
        assert_eq!(pipe.lines()[..3], ["one", "two", "three"]);
        assert_eq!(pipe.lines()[3].len(), LINE_BYTES_MAX + 3);
    }

    /// Seen: a hub whose log nobody read stood still as soon as the pipe was full.
    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read_and_what_is_left_out_is_counted() {
        let pipe = Pipe::default();
        let log = Log::to(pipe.clone()).unwrap();
        let mut lines = log.lines();
        let closed = pipe.gate.lock().unwrap();
        for line in 0..3 * LINES_MAX {
            lines.write_all(format!("{line}\n").as_bytes()).unwrap();
        }
        drop(closed);
        drop(log);
        let written = pipe.lines();
        let (left_out, kept): (Vec<_>, Vec<_>) = written.iter().partition(|line| line.contains("left out"));
        let count = |line: &&String| line.split(' ').next().unwrap().parse::<usize>().unwrap();
        assert!(kept.len() >= LINES_MAX && kept.len() < 2 * LINES_MAX, "{}", kept.len());
        assert_eq!(kept.len() + left_out.iter().map(count).sum::<usize>(), 3 * LINES_MAX);
        assert_eq!(kept[..2], ["0", "1"]);
    }
}
